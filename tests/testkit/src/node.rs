//! A real node beside the control plane: containerd, kubelet, scheduler, kube-proxy, a bridge for Pods, and the
//! controllers that make Pods of Deployments.
//!
//! It takes over the network namespace, mounts and processes that it finds itself in: tests/e2e/run.sh gives it its own,
//! with the bridge in it, and all is gone when they are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;
use serde_json::json;

use crate::chart::run;
use crate::stand::ControlPlane;
use crate::stand::controlplane::built;
use crate::stand::process::{Process, Scratch};
use crate::stand::wait::poll;

/// The bridge's address: the node's own, and what Pods reach this process by. tests/e2e/run.sh gives it.
pub const GATEWAY: &str = "10.88.0.1";

/// The same of IPv6.
pub const GATEWAY_IPV6: &str = "fd00:88::1";

/// The address families of a cluster: of its node, its Pods and its Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4 and, second, IPv6.
    DualStack,
    /// IPv6 alone.
    Ipv6,
}

/// The addresses of one family.
#[derive(Debug)]
pub struct Family {
    /// The node's own.
    pub node: &'static str,
    /// Where DNS is served. tests/e2e/run.sh gives it.
    pub dns: &'static str,
    pods: &'static str,
    first_pod: &'static str,
    services: &'static str,
    everything: &'static str,
}

const IPV4: Family = Family {
    node: GATEWAY,
    dns: "10.88.1.10",
    pods: "10.88.0.0/24",
    first_pod: "10.88.0.10",
    services: "10.0.0.0/24",
    everything: "0.0.0.0/0",
};

const IPV6: Family = Family {
    node: GATEWAY_IPV6,
    dns: "fd00:88:1::10",
    pods: "fd00:88::/64",
    first_pod: "fd00:88::10",
    services: "fd00:10::/112",
    everything: "::/0",
};

impl Network {
    /// Its families, the one that comes first in the cluster first.
    pub fn families(self) -> &'static [Family] {
        match self {
            Self::DualStack => &[IPV4, IPV6],
            Self::Ipv6 => &[IPV6],
        }
    }

    fn each(self, of: impl Fn(&Family) -> &'static str) -> Vec<&'static str> {
        self.families().iter().map(of).collect()
    }
}

/// What busybox runs under: the sandbox of each Pod, and the workload.
pub const BUSYBOX: &str = "localhost/busybox:1";

/// What the control plane must be told so that Pods reach it.
pub fn apiserver_args(network: Network) -> Vec<String> {
    let (nodes, services) = (network.each(|family| family.node), network.each(|family| family.services));
    vec![
        "--bind-address=::".to_owned(),
        format!("--advertise-address={}", nodes[0]),
        format!("--service-cluster-ip-range={}", services.join(",")),
        "--endpoint-reconciler-type=lease".to_owned(),
    ]
}

/// A running node, named `node`. Dropped, its programs are killed.
#[derive(Debug)]
pub struct Node {
    // in this order: what uses containerd before containerd
    programs: Vec<Process>,
    containerd: Process,
    binaries: PathBuf,
    directory: Scratch,
}

impl Node {
    /// Starts one, and waits until it is ready. `images` are archives that it has from the first.
    pub async fn start(plane: &ControlPlane, network: Network, images: &[&Path]) -> Result<Self> {
        let binaries = tokio::task::spawn_blocking(|| built("tests/node/build.sh")).await??;
        let directory = Scratch::new("vto-node-")?;
        write_files(plane, network, &binaries, &directory)?;
        let config = directory.file("containerd.toml").display().to_string();
        let containerd = spawn(&binaries, "containerd", &[&format!("--config={config}")], &directory)?;
        let mut node = Self { programs: Vec::new(), containerd, binaries, directory };
        node.import(images).await?;
        let kubeconfig = format!("--kubeconfig={}", plane.kubeconfig_path().display());
        let folder = node.directory.path().display().to_string();
        let all: [(&Path, &str, Vec<String>); 4] = [
            (
                plane.binaries(),
                "kube-controller-manager",
                vec![
                    kubeconfig.clone(),
                    "--leader-elect=false".into(),
                    "--secure-port=0".into(),
                    format!("--root-ca-file={folder}/ca.crt"),
                    "--controllers=deployment-controller,replicaset-controller,endpointslice-controller,\
                     node-lifecycle-controller,pod-garbage-collector-controller,disruption-controller,\
                     root-ca-certificate-publisher-controller"
                        .into(),
                ],
            ),
            (
                &node.binaries,
                "kube-scheduler",
                vec![kubeconfig.clone(), "--leader-elect=false".into(), "--authentication-skip-lookup".into()],
            ),
            (&node.binaries, "kube-proxy", vec![format!("--config={folder}/kube-proxy.json")]),
            (
                &node.binaries,
                "kubelet",
                vec![
                    kubeconfig,
                    format!("--config={folder}/kubelet.json"),
                    format!("--root-dir={folder}/kubelet"),
                    format!("--cert-dir={folder}/kubelet-pki"),
                    "--hostname-override=node".into(),
                    format!("--node-ip={}", network.each(|family| family.node).join(",")),
                ],
            ),
        ];
        let mut started = Vec::new();
        for (folder, name, args) in all {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            started.push(spawn(folder, name, &args, &node.directory)?);
        }
        node.programs = started;
        node.ready(plane).await?;
        Ok(node)
    }

    /// Lets the node trust a registry with this CA, as a node's administrator does.
    pub fn trusts(&self, registry: &str, ca: &Path) -> Result<()> {
        let folder = self.directory.file("certs.d").join(registry);
        std::fs::create_dir_all(&folder)?;
        std::fs::copy(ca, folder.join("ca.crt")).context("the registry's CA")?;
        let ca = folder.join("ca.crt").display().to_string();
        let hosts = format!("server = \"https://{registry}\"\nca = \"{ca}\"\n");
        std::fs::write(folder.join("hosts.toml"), hosts).context("hosts.toml")
    }

    /// The last lines of each program's log, for a test that fails.
    pub fn logs(&self) -> String {
        let all = self.programs.iter().chain([&self.containerd]);
        let tails: Vec<_> =
            all.map(|program| format!("== {}\n{}", program.log().display(), program.log_tail(25))).collect();
        tails.join("\n")
    }

    /// Runs `ctr` in Kubernetes's namespace.
    pub fn ctr(&self, args: &[&str]) -> Result<String> {
        let address = self.directory.file("containerd.sock").display().to_string();
        let mut all = vec!["--address", &address, "--namespace", "k8s.io"];
        all.extend(args);
        run(&self.binaries.join("ctr"), &all, "")
    }

    /// Kills a container's processes where they stand, as a node that loses its power does: no signal that could be
    /// caught, no word to the API server. `container_id` is as a Pod's status has it.
    pub fn kill(&self, container_id: &str) -> Result<()> {
        let id = container_id.trim_start_matches("containerd://");
        self.ctr(&["tasks", "kill", "--signal", "SIGKILL", "--all", id]).map(drop)
    }

    /// A file in a running container, such as its /etc/resolv.conf.
    pub fn file_in(&self, container_id: &str, path: &str) -> Result<String> {
        let id = container_id.trim_start_matches("containerd://");
        let tasks = self.ctr(&["tasks", "list"])?;
        let of = |line: &str| -> Option<u32> {
            let mut words = line.split_whitespace();
            (words.next()? == id).then(|| words.next()?.parse().ok()).flatten()
        };
        let pid = tasks.lines().find_map(of).with_context(|| format!("no task {id} in\n{tasks}"))?;
        let path = format!("/proc/{pid}/root{path}");
        std::fs::read_to_string(&path).with_context(|| format!("read {path}"))
    }

    /// Runs a program in a running container and returns what it says. `container_id` is as a Pod's status has it.
    pub fn exec(&self, container_id: &str, command: &[&str]) -> Result<String> {
        let id = container_id.trim_start_matches("containerd://");
        self.ctr(&[&["tasks", "exec", "--exec-id", "of-the-test", id], command].concat())
    }

    async fn import(&mut self, images: &[&Path]) -> Result<()> {
        let up = poll(Duration::from_secs(30), "containerd is up", async || self.ctr(&["version"]).map(drop));
        up.await.with_context(|| self.containerd.log_tail(30))?;
        for image in images {
            self.ctr(&["images", "import", &image.display().to_string()])?;
        }
        Ok(())
    }

    async fn ready(&self, plane: &ControlPlane) -> Result<()> {
        let nodes: Api<NodeObject> = Api::all(plane.client()?);
        let ready = poll(Duration::from_mins(2), "the node is ready", async || -> Result<()> {
            let node = nodes.get("node").await?;
            let tainted = node.spec.and_then(|spec| spec.taints).is_some_and(|taints| !taints.is_empty());
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            let ready = conditions.iter().find(|condition| condition.type_ == "Ready").context("no condition Ready")?;
            if ready.status != "True" || tainted {
                bail!("{:?}, tainted: {tainted}", ready.message);
            }
            Ok(())
        });
        ready.await.with_context(|| self.logs())
    }
}

fn spawn(folder: &Path, name: &str, args: &[&str], directory: &Scratch) -> Result<Process> {
    let path = std::env::var("PATH").unwrap_or_default();
    // containerd finds its shim, and both find runc, mount and nft, by PATH
    let env = [("PATH".to_owned(), format!("{}:{path}:/usr/sbin:/sbin", folder.display()))];
    Process::spawn(&folder.join(name), args, env, directory.path(), &directory.file(&format!("{name}.log")))
}

fn write_files(plane: &ControlPlane, network: Network, binaries: &Path, directory: &Scratch) -> Result<()> {
    let folder = directory.path().display().to_string();
    directory.write("ca.crt", plane.ca())?;
    std::fs::create_dir(directory.file("cni"))?;
    let families = network.families().iter();
    let ranges: Vec<_> = families.map(|each| json!([{"subnet": each.pods, "rangeStart": each.first_pod}])).collect();
    let routes: Vec<_> = network.families().iter().map(|each| json!({"dst": each.everything})).collect();
    let bridge = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [
        {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipam": {"type": "host-local",
            "dataDir": format!("{folder}/addresses"), "ranges": ranges, "routes": routes}},
    ]});
    directory.write("cni/pods.conflist", &bridge.to_string())?;
    let containerd = format!(
        r#"version = 3
root = "{folder}/containerd"
state = "{folder}/containerd-state"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{BUSYBOX}"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{folder}/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{}"]
  conf_dir = "{folder}/cni"
"#,
        binaries.display()
    );
    directory.write("containerd.toml", &containerd)?;
    let kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": format!("unix://{folder}/containerd.sock"),
        "failCgroupV1": false, "cgroupDriver": "cgroupfs", "cgroupsPerQOS": false, "enforceNodeAllocatable": [],
        "failSwapOn": false, "makeIPTablesUtilChains": false, "localStorageCapacityIsolation": false,
        "clusterDNS": network.each(|family| family.dns), "clusterDomain": "cluster.local", "resolvConf": "",
        "podLogsDir": format!("{folder}/pod-logs"), "evictionHard": {"memory.available": "1Mi"},
        "volumePluginDir": format!("{folder}/plugins"), "syncFrequency": "5s",
    });
    directory.write("kubelet.json", &kubelet.to_string())?;
    let proxy = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables",
        "hostnameOverride": "node", "clusterCIDR": network.each(|family| family.pods).join(","), "conntrack": {"maxPerCore": 0},
        "clientConnection": {"kubeconfig": plane.kubeconfig_path()},
    });
    directory.write("kube-proxy.json", &proxy.to_string())?;
    Ok(())
}
