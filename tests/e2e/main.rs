//! Installed as users install it: the image of `make image` released into a real registry, the chart by its digest with
//! helm, a real node that pulls, and a workload that mounts the Secrets and calls a provider with each token once a
//! second. `make e2e` runs it; it needs a node.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod providers;
mod workload;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use providers::Providers;
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use testkit::chart::{run, tool};
use testkit::emulator::Life;
use testkit::node::{Node, apiserver_args};
use testkit::publishing::{Registry, Release, archive_tool};
use testkit::stand::process::Scratch;
use testkit::stand::{ControlPlane, ControlPlaneOptions, eventually, yaml};
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

fn archive(variable: &str) -> PathBuf {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is unset: run make e2e")).into()
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

/// The cluster, with helm for it.
struct Cluster {
    plane: ControlPlane,
    node: Node,
    values: String,
    chart: String,
}

impl Cluster {
    async fn start(values: String, chart: String, registry: &str) -> Self {
        let options = ControlPlaneOptions {
            controllers: ["garbagecollector", "namespace", "serviceaccount"].map(str::to_owned).to_vec(),
            install: false,
            apiserver_args: apiserver_args(),
            ..ControlPlaneOptions::default()
        };
        let plane = ControlPlane::start(options).await.unwrap();
        let busybox = archive("BUSYBOX");
        let node = Node::start(&plane, &[&busybox]).await.unwrap_or_else(|error| panic!("{error:#}"));
        node.pulls_from(registry).unwrap();
        Self { plane, node, values, chart }
    }

    fn helm(&self, command: &[&str], more: &[&str]) -> String {
        let kubeconfig = self.plane.kubeconfig_path();
        let mut args = command.to_vec();
        args.extend(["--namespace", NAMESPACE, "--kubeconfig", kubeconfig.to_str().unwrap()]);
        args.extend(more);
        let said = run(&tool("helm").unwrap(), &args, &self.values);
        said.unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", self.pods(), self.node.logs()))
    }

    /// `helm upgrade --install` with the values and more of them.
    fn install(&self, more: &[&str]) {
        let mut args = vec!["--install", "--plain-http", "--wait", "--timeout", "3m", "--values", "-"];
        args.extend(more);
        self.helm(&["upgrade", RELEASE, &self.chart], &args);
    }

    fn kubectl(&self, args: &[&str]) -> String {
        let kubeconfig = self.plane.kubeconfig_path();
        let mut all = vec!["--kubeconfig", kubeconfig.to_str().unwrap()];
        all.extend(args);
        run(&self.plane.binaries().join("kubectl"), &all, "").unwrap_or_else(|error| format!("{error:#}"))
    }

    fn pods(&self) -> String {
        self.kubectl(&["get", "pods,events", "--all-namespaces", "-o", "wide"])
    }

    /// Who holds the Lease: the Pod's name, and the process's own suffix.
    async fn leader(&self) -> (String, String) {
        let leases: Api<Lease> = Api::namespaced(self.plane.client().unwrap(), NAMESPACE);
        eventually(SOON, "somebody leads", async || {
            let lease = leases.get(RELEASE).await.map_err(|error| error.to_string())?;
            let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
            let (pod, process) = holder.rsplit_once('_').ok_or(format!("holder {holder:?}"))?;
            Ok::<_, String>((pod.to_owned(), process.to_owned()))
        })
        .await
    }

    /// Takes a Pod away as the loss of its node does: its processes end where they stand, its object goes at once.
    async fn lose(&self, pod: &str) {
        let pods: Api<Pod> = Api::namespaced(self.plane.client().unwrap(), NAMESPACE);
        let status = pods.get(pod).await.unwrap().status.unwrap();
        let container = status.container_statuses.unwrap_or_default().remove(0).container_id.unwrap();
        self.node.kill(&container).unwrap();
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        pods.delete(pod, &at_once).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a node of its own: make e2e"]
async fn installed_by_helm_it_keeps_a_workload_supplied_through_upgrade_and_loss() {
    let begun = Instant::now();
    let providers = Providers::start().await;
    let registry = Registry::start().await.unwrap();
    let release = release(&registry);
    for reference in [&release.image, &release.chart] {
        let said = release.verify(&release.certificate, reference).unwrap();
        assert!(said.contains("verified:"), "{said}");
    }
    step(begun, &format!("released and signed: {}", release.image));
    let chart = format!("oci://{}", release.chart);
    let cluster = Cluster::start(providers.values().to_string(), chart, &registry.host()).await;
    let client = cluster.plane.client().unwrap();
    step(begun, "a control plane and a node are there");

    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE,
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    yaml::apply(&client, "default", &namespace.to_string()).await.unwrap();
    cluster.install(&[]);
    let operators = ListParams::default().labels("app.kubernetes.io/name=video-token-operator");
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let digest = release.image.rsplit_once('@').unwrap().1;
    for pod in pods.list(&operators).await.unwrap() {
        let container = pod.status.unwrap().container_statuses.unwrap().remove(0);
        assert!(container.image_id.ends_with(digest), "{} runs, not {digest}", container.image_id);
    }
    step(begun, "helm install from the registry: the operator is ready in a namespace that enforces `restricted`");

    // no cluster DNS here: the test Pod finds the Service by its hosts file
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let metrics = services.get(&format!("{RELEASE}-metrics")).await.unwrap();
    let address = metrics.spec.unwrap().cluster_ip.unwrap();
    let host = format!("{RELEASE}-metrics.{NAMESPACE}.svc");
    let aliases = [format!("hostAliases[0].ip={address}"), format!("hostAliases[0].hostnames[0]={host}")].join(",");
    let found = ["--set", aliases.as_str()];
    cluster.install(&found);
    let said = cluster.helm(&["test", RELEASE], &["--timeout", "2m"]);
    assert!(said.contains("Succeeded"), "{said}");
    step(begun, "helm test: succeeded");

    providers.set_life(Life::Seconds(60));
    for object in providers.objects() {
        yaml::apply(&client, providers::NAMESPACE, &object.to_string()).await.unwrap();
    }
    providers.all_ready(&client).await;
    step(begun, "five providers: five tokens are ready");

    let workload = Workload::start(&client, &providers).await;
    workload.has_seen(4, SOON * 4, &cluster.node).await;
    step(begun, &format!("three renewals of each token seen from its file: {}", workload.tally()));

    providers.set_life(Life::Promised);
    workload.has_seen(5, SOON * 2, &cluster.node).await;
    providers.all_ready(&client).await;
    let issued = providers.issued();
    cluster.install(&[&found[..], &["--set", "podAnnotations.upgraded=yes"]].concat());
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
        let left = pods.list(&operators).await.map_err(|error| error.to_string())?.items.len();
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
