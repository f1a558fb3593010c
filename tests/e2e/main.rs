//! Installed as users install it: the image of `make image` released into a real registry over TLS, the chart by its digest
//! with helm, a real node that pulls, and a workload that mounts the Secrets and calls a provider with each token once a
//! second. `make e2e` runs it; it needs a node.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cluster;
mod dns;
mod families;
mod fips;
mod hosts;
mod providers;
mod workload;

use cluster::{Cluster, archive};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client};
use providers::Providers;
use serde_json::json;
use std::time::{Duration, Instant};
use testkit::emulator::Life;
use testkit::node::{GATEWAY, Network};
use testkit::publishing::{Registry, Release, archive_tool};
use testkit::stand::process::Scratch;
use testkit::stand::{eventually, yaml};
use workload::Workload;

const RELEASE: &str = "video-token-operator";
const NAMESPACE: &str = "video-token-operator";
const SOON: Duration = Duration::from_mins(2);

fn step(begun: Instant, text: &str) {
    #[allow(clippy::print_stderr)] // minutes pass: whoever waits wants to see
    {
        eprintln!("e2e: {:>4} s  {text}", begun.elapsed().as_secs());
    }
}

/// Releases the image of `make image` into the registry.
fn release(registry: &Registry) -> Release {
    let dist = Scratch::new("vto-dist-").unwrap();
    let image = archive("IMAGE");
    for name in ["video-token-operator.oci.tar", "video-token-operator.cdx.json"] {
        std::fs::copy(image.with_file_name(name), dist.file(name)).unwrap();
    }
    archive_tool(dist.path()).unwrap();
    registry.release(dist.path()).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Makes the operator's namespace, which enforces `restricted`.
async fn make_namespace(client: &Client) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE,
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    yaml::apply(client, "default", &namespace.to_string()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node of its own: make e2e"]
async fn installed_by_helm_it_keeps_a_workload_supplied_through_upgrade_and_loss() {
    let begun = Instant::now();
    let providers = Providers::start(Network::DualStack).await;
    let registry = Registry::start(GATEWAY.parse().unwrap()).await.unwrap();
    let release = release(&registry);
    for reference in [&release.image, &release.chart] {
        let said = release.verify(&release.certificate, reference).unwrap();
        assert!(said.contains("verified:"), "{said}");
    }
    step(begun, &format!("released and signed: {}", release.image));
    let chart = vec![format!("oci://{}", release.chart), format!("--ca-file={}", release.ca.display())];
    let cluster = Cluster::start(Network::DualStack, &providers, chart, &[]).await;
    let client = cluster.plane.client().unwrap();
    step(begun, "a control plane, a node and DNS are there");
    cluster.refuses_to_pull(&release.image).await;
    cluster.node.trusts(&registry.host(), &release.ca).unwrap();
    step(begun, "the node refuses the registry's certificate, and is given its CA");

    make_namespace(&client).await;
    cluster.install_as_the_readme_says(&registry.host(), &release.ca);
    let digest = release.image.rsplit_once('@').unwrap().1;
    for pod in cluster.operators().await {
        let container = pod.status.unwrap().container_statuses.unwrap().remove(0);
        assert!(container.image_id.ends_with(digest), "{} runs, not {digest}", container.image_id);
    }
    step(begun, "the README's helm install: the operator is ready in a namespace that enforces `restricted`");

    let said = cluster.helm(&["test", RELEASE], &["--timeout", "2m"]);
    assert!(said.contains("Succeeded"), "{said}");
    step(begun, "helm test: succeeded");

    providers.set_life(Life::Seconds(60));
    providers.apply(&client).await;
    providers.all_ready(&client).await;
    step(begun, "five providers: five tokens are ready");

    let workload = Workload::start(&client, &providers).await;
    workload.has_seen(4, SOON * 4, &cluster.node).await;
    step(begun, &format!("three renewals of each token seen from its file: {}", workload.tally()));

    providers.set_life(Life::Promised);
    workload.has_seen(5, SOON * 2, &cluster.node).await;
    providers.all_ready(&client).await;
    let issued = providers.issued();
    cluster.install(&["--set", "podAnnotations.upgraded=yes"]);
    workload.goes_on().await;
    assert_eq!(providers.issued(), issued, "an upgrade issues nothing");
    step(begun, &format!("helm upgrade: no token issued, no call refused: {}", workload.tally()));

    let leader = cluster.leader().await;
    let lost = Instant::now();
    cluster.lose(&leader.0).await;
    providers.renew_one(&client).await;
    let next = cluster.leader().await;
    assert!(next.0 != leader.0 && next.1 != leader.1, "{leader:?} is lost, {next:?} leads");
    assert_eq!(providers.issued(), issued + 1, "the other leader issues what was asked for, once");
    let took = lost.elapsed().as_secs();
    assert!(took > 5, "a lease that was left without a word isn't taken after {took} s: was it released?");
    workload.goes_on().await;
    step(begun, &format!("the leader is killed and its Pod gone: another renews after {took} s: {}", workload.tally()));

    cluster.helm(&["uninstall", RELEASE], &["--wait", "--timeout", "2m"]);
    eventually(SOON, "the operator's Pods are gone", async || {
        let left = cluster.operators().await.len();
        if left == 0 { Ok(()) } else { Err(format!("{left} are left")) }
    })
    .await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), providers::NAMESPACE);
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=video-token-operator");
    assert_eq!(secrets.list(&ours).await.unwrap().items.len(), 5, "the Secrets stay");
    assert_eq!(
        providers::tokens(&client).list(&ListParams::default()).await.unwrap().items.len(),
        5,
        "the objects stay"
    );
    workload.goes_on().await;
    step(begun, "helm uninstall: CRDs, objects and Secrets are still there");
}
