//! A control plane, a node and DNS, with helm for them.

use crate::providers::Providers;
use crate::{NAMESPACE, RELEASE, SOON};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use testkit::chart::{run, tool};
use testkit::dns::ClusterDns;
use testkit::node::{Network, Node, apiserver_args};
use testkit::stand::controlplane::repository;
use testkit::stand::{ControlPlane, ControlPlaneOptions, eventually, yaml};

/// The file that this variable names.
pub(crate) fn archive(variable: &str) -> PathBuf {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is unset: run make e2e")).into()
}

/// The cluster, with helm for it.
pub(crate) struct Cluster {
    pub(crate) plane: ControlPlane,
    pub(crate) node: Node,
    pub(crate) dns: ClusterDns,
    values: String,
    chart: Vec<String>,
}

impl Cluster {
    /// Starts a cluster whose node has these images beside busybox. `chart` contains the chart and helm's arguments to
    /// read it.
    pub(crate) async fn start(network: Network, providers: &Providers, chart: Vec<String>, images: &[&Path]) -> Self {
        let options = ControlPlaneOptions {
            controllers: ["garbagecollector", "namespace", "serviceaccount"].map(str::to_owned).to_vec(),
            install: false,
            apiserver_args: apiserver_args(network),
            ..ControlPlaneOptions::default()
        };
        let plane = ControlPlane::start(options).await.unwrap();
        let busybox = archive("BUSYBOX");
        let images = [&[&*busybox], images].concat();
        let node = Node::start(&plane, network, &images).await.unwrap_or_else(|error| panic!("{error:#}"));
        let dns = ClusterDns::start(&plane, network, providers.zone()).await;
        let dns = dns.unwrap_or_else(|error| panic!("{error:#}"));
        Self { plane, node, dns, values: providers.values().to_string(), chart }
    }

    pub(crate) fn helm(&self, command: &[&str], more: &[&str]) -> String {
        let kubeconfig = self.plane.kubeconfig_path();
        let mut args = command.to_vec();
        args.extend(["--namespace", NAMESPACE, "--kubeconfig", kubeconfig.to_str().unwrap()]);
        args.extend(more);
        let said = run(&tool("helm").unwrap(), &args, &self.values);
        said.unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", self.pods(), self.node.logs()))
    }

    /// `helm upgrade --install` with the values and more of them.
    pub(crate) fn install(&self, more: &[&str]) {
        let mut args = vec!["--install", "--wait", "--timeout", "3m", "--values", "-"];
        args.extend(self.chart.iter().map(String::as_str));
        args.extend(more);
        self.helm(&["upgrade", RELEASE], &args);
    }

    /// Runs the README's command that installs from a registry, with this registry and its CA, and the values.
    pub(crate) fn install_as_the_readme_says(&self, registry: &str, ca: &Path) {
        let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
        let block = readme.split_once("```sh needs-release\nhelm ").unwrap().1.split_once("```").unwrap().0;
        let command = block.replace("\\\n", " ").replace("registry.example.com", registry);
        let args: Vec<&str> = command.split_whitespace().collect();
        let ca = format!("--ca-file={}", ca.display());
        self.helm(&args, &["--wait", "--timeout", "3m", "--values", "-", &ca]);
    }

    /// Waits until a Pod of this image fails to start, because the node doesn't trust the registry's certificate.
    pub(crate) async fn refuses_to_pull(&self, image: &str) {
        const NAME: &str = "stranger";
        let client = self.plane.client().unwrap();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME}, "spec": {
            "automountServiceAccountToken": false, "containers": [{"name": NAME, "image": image}]}});
        yaml::apply(&client, "default", &pod.to_string()).await.unwrap();
        let pods: Api<Pod> = Api::namespaced(client, "default");
        eventually(SOON, "the node refuses the registry's certificate", async || {
            let status = pods.get(NAME).await.map_err(|error| error.to_string())?.status.unwrap_or_default();
            let state = status.container_statuses.unwrap_or_default().into_iter().next().and_then(|each| each.state);
            let waiting = state.and_then(|state| state.waiting).and_then(|waiting| waiting.message).unwrap_or_default();
            if waiting.contains("certificate signed by unknown authority") { Ok(()) } else { Err(waiting) }
        })
        .await;
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        pods.delete(NAME, &at_once).await.unwrap();
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        let kubeconfig = self.plane.kubeconfig_path();
        let mut all = vec!["--kubeconfig", kubeconfig.to_str().unwrap()];
        all.extend(args);
        run(&self.plane.binaries().join("kubectl"), &all, "").unwrap_or_else(|error| format!("{error:#}"))
    }

    pub(crate) fn pods(&self) -> String {
        self.kubectl(&["get", "pods,events", "--all-namespaces", "-o", "wide"])
    }

    /// The operator's Pods.
    pub(crate) async fn operators(&self) -> Vec<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.plane.client().unwrap(), NAMESPACE);
        pods.list(&ListParams::default().labels("app.kubernetes.io/name=video-token-operator")).await.unwrap().items
    }

    /// The addresses of the operator's Pods.
    pub(crate) async fn operators_addresses(&self) -> BTreeSet<IpAddr> {
        let operators = self.operators().await;
        let addresses = operators.into_iter().filter_map(|pod| pod.status?.pod_ips).flatten();
        addresses.map(|address| address.ip.parse().unwrap()).collect()
    }

    /// Asks each operator for this path, at each of its addresses.
    pub(crate) async fn each_operator_serves(&self, path: &str) {
        for address in self.operators_addresses().await {
            let url = format!("http://{}{path}", SocketAddr::new(address, 8080));
            let response = reqwest::get(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
            assert!(response.status().is_success(), "{url}: {}", response.status());
        }
    }

    /// Who holds the Lease: the Pod's name, and the process's own suffix.
    pub(crate) async fn leader(&self) -> (String, String) {
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
    pub(crate) async fn lose(&self, pod: &str) {
        let pods: Api<Pod> = Api::namespaced(self.plane.client().unwrap(), NAMESPACE);
        let status = pods.get(pod).await.unwrap().status.unwrap();
        let container = status.container_statuses.unwrap_or_default().remove(0).container_id.unwrap();
        self.node.kill(&container).unwrap();
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        pods.delete(pod, &at_once).await.unwrap();
    }
}
