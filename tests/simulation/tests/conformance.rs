//! The API server in memory answers as the real one: the same random requests to both, the same answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use simulation::api_server::service::serve;
use simulation::world::{Link, Rates, World};
use std::collections::BTreeMap;
use testkit::stand::shared;
use tower::service_fn;

/// One of the two servers, with the version and UID of each object that it returned last.
struct Server {
    client: Client,
    namespace: String,
    seen: BTreeMap<String, (String, String)>,
}

/// The part of an answer that both servers must agree on.
#[derive(Debug, PartialEq)]
struct Answer {
    code: u16,
    reason: Value,
    body: Value,
    /// True if the object has a new version.
    written: bool,
}

/// A request, without what differs between the servers.
#[derive(Clone, Debug)]
struct Step {
    method: Method,
    kind: &'static str,
    name: String,
    query: &'static str,
    media_type: &'static str,
    body: Value,
    /// Precondition: 0 none, 1 the version and UID that were seen last, 2 another version, 3 another UID, 4 create only.
    precondition: u8,
    metadata_only: bool,
}

const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

impl Server {
    async fn send(&mut self, step: &Step) -> Answer {
        let group = if step.kind == "leases" { "/apis/coordination.k8s.io/v1" } else { "/api/v1" };
        let name =
            if step.name.is_empty() || step.method == Method::POST { String::new() } else { format!("/{}", step.name) };
        let uri = format!("{group}/namespaces/{}/{}{name}?{}", self.namespace, step.kind, step.query);
        let mut body = step.body.clone();
        self.precondition(step, &mut body);
        let accept = if step.metadata_only { METADATA_ONLY } else { "application/json" };
        let request = Request::builder().method(step.method.clone()).uri(uri).header("accept", accept);
        let request = request.header("content-type", step.media_type);
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let response = self.client.send(request.body(Body::from(bytes)).unwrap()).await.unwrap();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect_bytes().await.unwrap();
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        self.compared(step, code, value)
    }

    fn precondition(&self, step: &Step, body: &mut Value) {
        let (uid, version) = self.seen.get(&step.name).cloned().unwrap_or_default();
        let other = "00000000-0000-4000-8000-000000000000".to_owned();
        let (uid, version) = match step.precondition {
            1 if !uid.is_empty() => (Some(uid), Some(version)),
            2 if !uid.is_empty() => (None, Some("7".to_owned())),
            3 => (Some(other), None),
            4 => (None, Some("1".to_owned())),
            _ => return,
        };
        let at = if step.method == Method::DELETE { "preconditions" } else { "metadata" };
        if let Some(uid) = uid {
            body[at]["uid"] = uid.into();
        }
        if let Some(version) = version {
            body[at]["resourceVersion"] = version.into();
        }
    }

    fn compared(&mut self, step: &Step, code: u16, mut value: Value) -> Answer {
        if code >= 400 {
            return Answer { code, reason: value["reason"].take(), body: Value::Null, written: false };
        }
        if step.method == Method::DELETE {
            return Answer { code, reason: Value::Null, body: Value::Null, written: true };
        }
        if let Some(items) = value.get_mut("items").and_then(Value::as_array_mut) {
            items.iter_mut().for_each(strip);
            return Answer { code, reason: Value::Null, body: value["items"].take(), written: false };
        }
        let text = |member: &str| value["metadata"][member].as_str().unwrap_or_default().to_owned();
        let now = (text("uid"), text("resourceVersion"));
        let before = self.seen.insert(step.name.clone(), now.clone());
        strip(&mut value);
        Answer { code, reason: Value::Null, body: value, written: before != Some(now) }
    }
}

/// Removes what differs between two servers, and the kinds that the real one leaves out in lists.
fn strip(object: &mut Value) {
    let map = object.as_object_mut().unwrap();
    map.remove("kind");
    map.remove("apiVersion");
    let meta = map["metadata"].as_object_mut().unwrap();
    for name in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "namespace"] {
        meta.remove(name);
    }
}

fn step(random: &mut fastrand::Rng) -> Step {
    let pick = |random: &mut fastrand::Rng, all: &[&str]| (*random.choice(all).unwrap()).to_owned();
    let name = format!("s{}", random.u8(..3));
    let value = pick(random, &["YQ==", "Yg==", "Yw=="]);
    let label = pick(random, &["x", "y"]);
    let json_type = "application/json";
    let plain = |method, query| Step {
        method,
        kind: "secrets",
        name: name.clone(),
        query,
        media_type: json_type,
        body: Value::Null,
        precondition: 0,
        metadata_only: false,
    };
    match random.u8(..10) {
        0 => Step { metadata_only: random.bool(), ..plain(Method::GET, "") },
        1 => {
            let query = ["labelSelector=l%3Dx", "labelSelector=l%3Dy", "limit=500"][random.usize(..3)];
            Step { name: String::new(), ..plain(Method::GET, query) }
        }
        2 | 3 => Step { body: json!({}), precondition: random.u8(..4), ..plain(Method::DELETE, "") },
        4 => {
            let meta = json!({"name": name.as_str(), "labels": {"l": label}});
            let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque"});
            Step { body, ..plain(Method::POST, "") }
        }
        5 => {
            let patch = [
                json!({"data": {"k": value}}),
                json!({"data": {"k": null}}),
                json!({"metadata": {"labels": {"l": label}}}),
            ];
            let body = patch[random.usize(..3)].clone();
            Step {
                body,
                precondition: random.u8(..4),
                media_type: "application/merge-patch+json",
                ..plain(Method::PATCH, "")
            }
        }
        6 => {
            let lease = format!("l{}", random.u8(..2));
            let body = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": lease.as_str()},
                "spec": {"holderIdentity": label, "leaseTransitions": random.u8(..2)}});
            let method = if random.bool() { Method::POST } else { Method::PUT };
            let precondition = if method == Method::PUT { 1 + random.u8(..2) } else { 0 };
            Step { kind: "leases", name: lease, body, precondition, ..plain(method, "") }
        }
        _ => {
            let mut body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name.as_str(), "labels": {"l": label}},
                "type": "Opaque"});
            let keys = ["k", "m", "n"];
            body["data"] = json!({keys[random.usize(..3)]: value});
            let media_type = "application/apply-patch+yaml";
            let precondition = random.u8(..5);
            Step {
                media_type,
                body,
                precondition,
                ..plain(Method::PATCH, "fieldManager=video-token-operator&force=true")
            }
        }
    }
}

#[tokio::test]
async fn the_same_requests_get_the_same_answers_as_from_the_real_api_server() -> anyhow::Result<()> {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    eprintln!("SEED={seed}");
    let stand = shared().await?;
    let world = World::new(seed, Rates::default(), None);
    let link = Link::new("test");
    let memory = service_fn(move |request| serve(world.clone(), link.clone(), request));
    let namespace = stand.namespace("conformance").await?;
    let mut real = Server { client: stand.client()?, namespace: namespace.clone(), seen: BTreeMap::new() };
    let mut ours = Server { client: Client::new(memory, "default"), namespace, seen: BTreeMap::new() };
    let mut random = fastrand::Rng::with_seed(seed);
    let mut differences = Vec::new();
    for n in 0..400 {
        let step = step(&mut random);
        let (expected, answered) = (real.send(&step).await, ours.send(&step).await);
        if answered != expected {
            differences.push(format!("request {n}: {step:?}\n  real {expected:?}\n  ours {answered:?}"));
        }
    }
    assert!(
        differences.is_empty(),
        "SEED={seed}: {} differences\n{}",
        differences.len(),
        differences[..differences.len().min(5)].join("\n")
    );
    Ok(())
}
