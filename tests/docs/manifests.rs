//! Checks that the API server accepts the manifests of each page and knows all their fields.

use crate::pages::{Block, blocks, pages, title};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use testkit::chart::template;
use testkit::stand::{shared, yaml};

/// Merges `patch` into `base`. Lists are replaced.
fn merge(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (name, member) in patch {
                merge(base.entry(name).or_insert(Value::Null), member);
            }
        }
        (base, patch) => base.clone_from(patch),
    }
}

/// Returns the object that a partial manifest belongs to: the first of its kind on the page, or a minimal one.
fn whole(kind: &str, of_page: &[Value], part: &Value) -> Value {
    let plain = |version: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "part"}});
    let mut object = match (of_page.iter().find(|object| object["kind"] == kind), kind) {
        (Some(object), _) => object.clone(),
        (None, "ConfigMap" | "Pod") => plain("v1"),
        (None, _) => panic!("part-of={kind}: the page shows no whole {kind}"),
    };
    merge(&mut object, part);
    if kind == "Pod" {
        for container in object["spec"]["containers"].as_array_mut().unwrap() {
            container["image"] = json!("any");
        }
    }
    object
}

fn documents(block: &Block) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(&block.text);
    documents
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .filter(|d: &Value| !d.is_null())
        .collect()
}

#[tokio::test]
async fn the_api_server_takes_every_manifest_of_every_page() {
    let plane = shared().await.unwrap();
    let client = plane.client().unwrap();
    for page in pages() {
        let title = title(&page);
        let blocks = blocks(&page);
        let mut objects: Vec<Value> = blocks.iter().filter(|block| block.fence == "yaml").flat_map(documents).collect();
        for block in &blocks {
            if let Some(kind) = block.fence.strip_prefix("yaml part-of=") {
                let parts: Vec<Value> = documents(block).iter().map(|part| whole(kind, &objects, part)).collect();
                objects.extend(parts);
            }
        }
        let homes: BTreeSet<&str> =
            objects.iter().filter_map(|object| object["metadata"]["namespace"].as_str()).collect();
        for home in homes {
            let home = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": home}});
            yaml::apply(&client, "default", &home.to_string()).await.unwrap();
        }
        for object in objects {
            let said = yaml::dry_run(&client, "default", yaml::parse(&object.to_string()).unwrap()).await;
            said.unwrap_or_else(|error| panic!("{title}: {error:#}\n{object:#}"));
        }
    }
}

#[test]
fn helm_takes_the_values_of_every_page() {
    let mut taken = 0;
    for page in pages() {
        for block in blocks(&page).iter().filter(|block| block.fence == "yaml values") {
            let rendered = template("vto", "video", &block.text, &[]);
            assert!(rendered.is_ok(), "{}: {rendered:?}", title(&page));
            taken += 1;
        }
    }
    assert!(taken > 0);
}
