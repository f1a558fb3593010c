//! What readers take home: the API server takes deploy/examples as it is, and the README shows it as it is.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};
use testkit::stand::{shared, yaml};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[tokio::test]
async fn the_api_server_takes_each_example_as_it_is() {
    let plane = shared().await.unwrap();
    let client = plane.client().unwrap();
    for (namespace, path) in
        [("analytics", "deploy/examples/video-indexer.yaml"), ("cinema", "deploy/examples/own-account.yaml")]
    {
        let home = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n");
        yaml::apply(&client, namespace, &home).await.unwrap();
        // unknown fields are errors here, as with kubectl
        let applied = yaml::apply(&client, namespace, &read(path)).await;
        assert!(applied.is_ok(), "{path}: {applied:?}");
    }
}

#[test]
fn the_readme_shows_the_first_example_as_it_is() {
    let example = read("deploy/examples/video-indexer.yaml");
    assert!(read("README.md").contains(&format!("```yaml\n{example}```\n")), "copy deploy/examples/video-indexer.yaml");
}
