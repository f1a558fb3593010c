//! The image with AWS-LC's FIPS module, on a node: `make e2e FIPS=1`.

use crate::cluster::Cluster;
use crate::families::all_issue;
use crate::providers::{self, NAMESPACE};
use crate::{SOON, step};
use serde_json::{Value, json};
use std::time::Instant;
use testkit::node::Network;
use testkit::scene::condition;
use testkit::stand::{eventually, yaml};

/// A provider that signs a text by this algorithm, and its token.
fn signer(name: &str, algorithm: &str, text: &str) -> [Value; 2] {
    let message = json!({"text": text, "algorithm": algorithm, "encoding": "Hex", "token": "{{ signature }}"});
    let signed = json!({"key": {"secretRef": {"name": "signing-key", "key": "key"}}, "message": message});
    [
        json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "TokenProvider", "metadata": {"name": name},
            "spec": {"signed": signed}}),
        json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "VideoAccessToken", "metadata": {"name": name},
            "spec": {"providerRef": {"name": name}, "scope": {"signed": {}}}}),
    ]
}

/// What `--version` says in each of the operator's containers.
async fn versions(cluster: &Cluster) -> Vec<String> {
    let containers = cluster.operators().await.into_iter();
    let ids = containers.map(|pod| pod.status.unwrap().container_statuses.unwrap().remove(0).container_id.unwrap());
    ids.map(|id| cluster.node.exec(&id, &["/video-token-operator", "--version"]).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node of its own and the FIPS image: make e2e FIPS=1"]
async fn with_the_fips_module_every_provider_issues_and_a_digest_is_refused() {
    let begun = Instant::now();
    let (cluster, _providers) = all_issue(Network::DualStack, "-fips", begun).await;
    let versions = versions(&cluster).await;
    let module = concat!("video-token-operator ", env!("CARGO_PKG_VERSION"), " (FIPS: AWS-LC FIPS ");
    assert!(!versions.is_empty() && versions.iter().all(|said| said.starts_with(module)), "{versions:?}");
    step(begun, &format!("--version in {} containers: {}", versions.len(), versions[0].trim()));

    let client = cluster.plane.client().unwrap();
    let key = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"key": "a-secret-of-this-test"},
        "metadata": {"name": "signing-key", "labels": {"videotoken.dev/credentials": "true"},
            "annotations": {"videotoken.dev/signing-key": "true"}}});
    yaml::apply(&client, NAMESPACE, &key.to_string()).await.unwrap();
    let tokens = providers::tokens(&client);
    for (name, algorithm, text, kind, refused) in [
        ("hmac", "HmacSha256", "{{ expires_at | unix }}", "Ready", ""),
        ("digest", "Sha256", "{{ key }}{{ expires_at | unix }}", "Stalled", "spec.signed.message.algorithm"),
    ] {
        for object in signer(name, algorithm, text) {
            yaml::apply(&client, NAMESPACE, &object.to_string()).await.unwrap();
        }
        let message = eventually(SOON, &format!("{name} is {kind}"), async || {
            let object = tokens.get(name).await.map_err(|error| error.to_string())?;
            let object = serde_json::to_value(object).map_err(|error| error.to_string())?;
            let found = condition(&object, kind);
            if found["status"] == "True" { Ok(found["message"].to_string()) } else { Err(object["status"].to_string()) }
        })
        .await;
        let told = refused.is_empty() || message.contains(refused) && message.contains("FIPS build");
        assert!(told, "{name}: {message}");
        step(begun, &format!("{algorithm} is {kind}: {message}"));
    }
}
