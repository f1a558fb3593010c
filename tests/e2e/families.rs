//! Clusters of both address families and of IPv6 alone, with the DNS of a cluster. The node has the image from the first.

use crate::cluster::{Cluster, archive};
use crate::dns::{self, Loss};
use crate::providers::Providers;
use crate::workload::Workload;
use crate::{RELEASE, SOON, make_namespace, step};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use std::net::IpAddr;
use std::time::Instant;
use testkit::node::Network;
use testkit::stand::controlplane::repository;

/// Installs the operator from the image with this suffix of its tag, and has each provider issue a token.
pub(crate) async fn all_issue(network: Network, suffix: &str, begun: Instant) -> (Cluster, Providers) {
    let providers = Providers::start(network).await;
    let chart = vec![repository().join("charts/video-token-operator").display().to_string()];
    let cluster = Cluster::start(network, &providers, chart, &[&archive("IMAGE")]).await;
    let client = cluster.plane.client().unwrap();
    make_namespace(&client).await;
    let image =
        format!("image.repository=localhost/video-token-operator,image.tag={}{suffix}", env!("CARGO_PKG_VERSION"));
    cluster.install(&["--set", &image, "--set", "statusPage.enabled=true"]);
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    let api_server = services.get("kubernetes").await.unwrap().spec.unwrap().cluster_ip.unwrap();
    let addresses = cluster.operators_addresses().await;
    let has = |is: fn(&IpAddr) -> bool| addresses.iter().any(is);
    let has_ipv4 = network == Network::DualStack;
    assert!(has(IpAddr::is_ipv6) && has(IpAddr::is_ipv4) == has_ipv4, "{addresses:?}");
    assert_eq!(api_server.parse::<IpAddr>().unwrap().is_ipv4(), has_ipv4, "{api_server}");
    let said = cluster.helm(&["test", RELEASE], &["--timeout", "2m"]);
    assert!(said.contains("Succeeded"), "{said}");
    for path in ["/metrics", "/"] {
        cluster.each_operator_serves(path).await;
    }
    step(begun, &format!("helm install and test: probes, /metrics and the status page at {addresses:?}"));

    providers.apply(&client).await;
    providers.all_ready(&client).await;
    assert_eq!(dns::names_asked_for(&cluster).await, providers.looked_up());
    step(begun, "five providers: five tokens are ready, and the names of their hosts are all that was looked up");
    (cluster, providers)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node of its own: make e2e"]
async fn with_ipv6_alone_every_provider_issues() {
    all_issue(Network::Ipv6, "", Instant::now()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node of its own: make e2e"]
async fn with_both_families_every_provider_issues_and_a_loss_of_dns_is_named_and_outlived() {
    let begun = Instant::now();
    let (mut cluster, providers) = all_issue(Network::DualStack, "", begun).await;
    let workload = Workload::start(&cluster.plane.client().unwrap(), &providers).await;
    workload.has_seen(1, SOON, &cluster.node).await;
    for (loss, said) in [(Loss::Stopped, "Temporary failure"), (Loss::Paused, "no name server answers within 8 s")] {
        let took = dns::lost_and_found(&mut cluster, &providers, &workload, loss, said).await;
        step(begun, &format!("DNS {loss:?}: renewed {took} s after it is back; {}", workload.tally()));
    }
    assert_eq!(dns::names_asked_for(&cluster).await, providers.looked_up());
}
