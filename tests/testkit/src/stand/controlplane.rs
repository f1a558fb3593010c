//! etcd, kube-apiserver and kube-controller-manager as processes on loopback.
//!
//! etcd listens on Unix sockets in the control plane's directory (files named `localhost:1` and `localhost:2`; after the
//! colon it takes numbers only), so it needs no port and nobody else's API server can find it. The API server has a
//! certificate from a CA of its own: a server that another stand started on the same port is not taken for ours. RBAC
//! is on.

use std::collections::BTreeMap;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::kubeconfig::Kubeconfig;
use super::process::{Process, Scratch, free_port};
use super::wait::poll;
use super::yaml;

/// The namespace of the operator's `ServiceAccount`, and the `ServiceAccount`'s name.
pub const OPERATOR: &str = "video-token-operator";

const START: Duration = Duration::from_mins(2);
const SECOND: Duration = Duration::from_secs(1);

/// How to start a [`ControlPlane`]. The default has garbage collection, namespaces, service accounts and Deployments,
/// and the operator's RBAC and CRDs.
#[derive(Clone, Debug)]
pub struct ControlPlaneOptions {
    /// kube-controller-manager's controllers; none: it is not started.
    pub controllers: Vec<String>,
    /// Apply deploy/{namespace,rbac,rollout-restart}.yaml and crds/*.yaml.
    pub install: bool,
    /// kube-apiserver's --feature-gates.
    pub feature_gates: Vec<(String, bool)>,
    /// Write an audit log of this level (`Metadata`, `Request`, `RequestResponse`).
    pub audit_level: Option<String>,
    /// More arguments for kube-apiserver; they come last, so they win.
    pub apiserver_args: Vec<String>,
}

impl Default for ControlPlaneOptions {
    fn default() -> Self {
        Self {
            controllers: ["garbagecollector", "namespace", "serviceaccount", "deployment"].map(str::to_owned).to_vec(),
            install: true,
            feature_gates: Vec::new(),
            audit_level: None,
            apiserver_args: Vec::new(),
        }
    }
}

/// A running control plane. All of it is gone when this is dropped, or when the test process ends.
///
/// What breaks it takes `&mut self`: the [`shared`] one can only be used.
#[derive(Debug)]
pub struct ControlPlane {
    options: ControlPlaneOptions,
    admin: Kubeconfig,
    port: u16,
    startup: Duration,
    // Dropped in this order: clients of a server before the server, the directory last.
    controller_manager: Option<Process>,
    apiserver: Option<Process>,
    etcd: Process,
    directory: Scratch,
    binaries: PathBuf,
}

/// The control plane that all tests of this process share, started at first use. Each test takes a namespace of its own.
pub async fn shared() -> Result<&'static ControlPlane> {
    static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
    SHARED.get_or_try_init(|| ControlPlane::start(ControlPlaneOptions::default())).await
}

impl ControlPlane {
    /// Starts one and waits until it is ready. Builds the binaries if there are none yet, which takes minutes.
    pub async fn start(options: ControlPlaneOptions) -> Result<Self> {
        let binaries = binaries().await?;
        let begun = Instant::now();
        let directory = Scratch::new("vto-stand-")?;
        let token = Uuid::new_v4().simple().to_string();
        let ca = write_credentials(&directory, &token)?;
        write_audit_policy(&directory, options.audit_level.as_deref())?;
        let etcd = start_etcd(&binaries, &directory)?;
        let mut plane = Self {
            options,
            admin: Kubeconfig::new("", Some(&ca), &token),
            port: 0,
            startup: Duration::ZERO,
            controller_manager: None,
            apiserver: None,
            etcd,
            directory,
            binaries,
        };
        plane.find_port_and_start().await?;
        if plane.options.install {
            plane.install().await?;
        }
        // Last, so that its garbage collector knows the CRDs from the first; it looks for new ones every 30 s only.
        plane.start_controller_manager()?;
        plane.startup = begun.elapsed();
        Ok(plane)
    }

    /// The API server's URL.
    pub fn api_url(&self) -> &str {
        &self.admin.server
    }

    /// The certificate of the API server's CA, PEM.
    pub fn ca(&self) -> &str {
        self.admin.ca.as_deref().unwrap_or_default()
    }

    /// The administrator's login (group system:masters).
    pub fn admin(&self) -> &Kubeconfig {
        &self.admin
    }

    /// A file with the administrator's login, for kubectl and helm.
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.directory.file("admin.kubeconfig")
    }

    /// An administrator's client. It belongs to the tokio runtime that it is made in: make one per test.
    pub fn client(&self) -> Result<Client> {
        self.admin.client()
    }

    /// Time from nothing (but the binaries) to ready and installed.
    pub fn startup(&self) -> Duration {
        self.startup
    }

    /// Where the programs, kubectl among them, are.
    pub fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// Where logs and data are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The audit log, one JSON object a line, if there is one.
    pub fn audit_log(&self) -> Option<PathBuf> {
        self.options.audit_level.is_some().then(|| self.directory.file("audit.log"))
    }

    /// The API server's process id, to read what it costs from /proc.
    pub fn apiserver_pid(&self) -> Option<u32> {
        self.apiserver.as_ref().map(Process::pid)
    }

    /// The login of a `ServiceAccount`, by a `TokenRequest` for a day.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<Kubeconfig> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client()?, namespace);
        let asked = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(86_400), ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let issued = accounts
            .create_token_request(name, &PostParams::default(), &asked)
            .await
            .with_context(|| format!("a token for ServiceAccount {namespace}/{name}"))?;
        let token = issued.status.context("a TokenRequest without a status")?.token;
        Ok(Kubeconfig::new(self.api_url(), Some(self.ca()), &token))
    }

    /// The login of the operator's `ServiceAccount`, with the permissions of deploy/rbac.yaml, those for the tests' own
    /// Leases, and no others.
    pub async fn operator_kubeconfig(&self) -> Result<Kubeconfig> {
        self.service_account_kubeconfig(OPERATOR, OPERATOR).await
    }

    /// Makes a namespace of a name that nobody else has.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        self.namespace_with_labels(prefix, &[]).await
    }

    /// As [`Self::namespace`], with labels.
    pub async fn namespace_with_labels(&self, prefix: &str, labels: &[(&str, &str)]) -> Result<String> {
        let unique = Uuid::new_v4().simple().to_string();
        let name = format!("{prefix}-{}", &unique[..8]);
        let labels: BTreeMap<_, _> = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        let metadata = ObjectMeta { name: Some(name.clone()), labels: Some(labels), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Api::all(self.client()?).create(&PostParams::default(), &namespace).await.context("make a namespace")?;
        Ok(name)
    }

    /// Kills the API server. Its data stay.
    pub fn stop_apiserver(&mut self) {
        self.apiserver = None;
    }

    /// Starts the API server again, on the port it had, and waits until it is ready.
    pub async fn start_apiserver(&mut self) -> Result<()> {
        let give_up = Instant::now() + Duration::from_secs(20);
        loop {
            self.spawn_apiserver()?;
            match self.apiserver_ready().await {
                Ok(()) => return Ok(()),
                Err(error) if self.port_was_taken() && Instant::now() < give_up => {
                    tracing::debug!("port {} is taken: {error:#}", self.port);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Kills etcd. Its data stay; the API server is left without them.
    pub fn stop_etcd(&mut self) {
        self.etcd.kill();
    }

    /// Starts etcd again and waits until the API server is ready.
    pub async fn start_etcd(&mut self) -> Result<()> {
        self.etcd = start_etcd(&self.binaries, &self.directory)?;
        self.apiserver_ready().await
    }

    /// Copies etcd's data while etcd is stopped, as a backup would have them. API server and etcd run again afterwards.
    pub async fn snapshot(&mut self) -> Result<Snapshot> {
        let directory = tempfile::Builder::new().prefix("snapshot-").tempdir_in(self.directory.path())?;
        self.apiserver = None;
        self.etcd.kill();
        copy(&self.directory.file("etcd"), &directory.path().join("etcd"))?;
        self.start_on_data().await?;
        Ok(Snapshot(directory))
    }

    /// Puts etcd's data back as they were: what was written since is undone, and resourceVersions are given anew. Who
    /// holds data of the API server's, such as kube-controller-manager, is started anew too; clients of the tests are
    /// not.
    pub async fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.controller_manager = None;
        self.apiserver = None;
        self.etcd.kill();
        let data = self.directory.file("etcd");
        std::fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))?;
        copy(&snapshot.0.path().join("etcd"), &data)?;
        self.start_on_data().await?;
        self.start_controller_manager()
    }

    async fn start_on_data(&mut self) -> Result<()> {
        self.etcd = start_etcd(&self.binaries, &self.directory)?;
        self.start_apiserver().await
    }

    /// Stops the API server where it stands (SIGSTOP): connections stay open and nothing answers.
    pub fn pause_apiserver(&mut self) -> Result<()> {
        self.apiserver.as_mut().context("the API server is not running")?.signal("STOP")
    }

    /// Lets the API server go on.
    pub fn resume_apiserver(&mut self) -> Result<()> {
        self.apiserver.as_mut().context("the API server is not running")?.signal("CONT")
    }

    async fn find_port_and_start(&mut self) -> Result<()> {
        for attempt in 1.. {
            self.port = free_port()?;
            self.admin.server = format!("https://127.0.0.1:{}", self.port);
            self.spawn_apiserver()?;
            match self.apiserver_ready().await {
                Ok(()) => break,
                Err(error) if attempt < 5 && self.port_was_taken() => tracing::debug!("another port: {error:#}"),
                Err(error) => return Err(error),
            }
        }
        self.admin.write(&self.kubeconfig_path())
    }

    fn port_was_taken(&self) -> bool {
        let log = self.directory.file("kube-apiserver.log");
        super::process::tail(&log, 20).contains("address already in use")
    }

    fn spawn_apiserver(&mut self) -> Result<()> {
        let mut args = arguments(
            "--etcd-servers=unix://localhost:1 --bind-address=127.0.0.1 --advertise-address=127.0.0.1 \
             --endpoint-reconciler-type=none --cert-dir=. --tls-cert-file=apiserver.crt \
             --tls-private-key-file=apiserver.key --service-account-key-file=sa.pub \
             --service-account-signing-key-file=sa.key --service-account-issuer=https://kubernetes.default.svc \
             --token-auth-file=tokens.csv --authorization-mode=RBAC --service-cluster-ip-range=10.0.0.0/24",
        );
        args.push(format!("--secure-port={}", self.port));
        if self.options.audit_level.is_some() {
            args.extend(arguments("--audit-policy-file=audit-policy.json --audit-log-path=audit.log"));
        }
        if !self.options.feature_gates.is_empty() {
            let gates: Vec<_> = self.options.feature_gates.iter().map(|(name, on)| format!("{name}={on}")).collect();
            args.push(format!("--feature-gates={}", gates.join(",")));
        }
        args.extend(self.options.apiserver_args.iter().cloned());
        self.apiserver = Some(start_program(&self.binaries, "kube-apiserver", args, &self.directory)?);
        Ok(())
    }

    async fn apiserver_ready(&mut self) -> Result<()> {
        let mut config = self.admin.config()?;
        config.default_retry = false;
        let client = Client::try_from(config)?;
        let process = self.apiserver.as_mut().context("the API server is not running")?;
        let etcd = &mut self.etcd;
        let mut ended = Ok(());
        let ready = poll(START, "the API server is ready", async || {
            ended = etcd.check().and_then(|()| process.check());
            if ended.is_err() {
                return Ok(());
            }
            let request = http::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
            match tokio::time::timeout(SECOND, client.request_text(request)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer within 1 s".to_owned()),
            }
        });
        ready.await.map_err(|error| anyhow!("{error}\n{}", process.log_tail(40)))?;
        ended
    }

    fn start_controller_manager(&mut self) -> Result<()> {
        if self.options.controllers.is_empty() {
            return Ok(());
        }
        let mut args = arguments(
            "--kubeconfig=admin.kubeconfig --leader-elect=false --secure-port=0 --cert-dir=. \
             --service-account-private-key-file=sa.key --kube-api-qps=200 --kube-api-burst=400",
        );
        args.push(format!("--controllers={}", self.options.controllers.join(",")));
        self.controller_manager =
            Some(start_program(&self.binaries, "kube-controller-manager", args, &self.directory)?);
        Ok(())
    }

    async fn install(&self) -> Result<()> {
        let client = self.client()?;
        for path in manifests()? {
            let manifest = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let stored = yaml::apply(&client, "default", &manifest)
                .await
                .with_context(|| format!("apply {}", path.display()))?;
            for object in stored {
                if object.types.as_ref().is_some_and(|types| types.kind == "CustomResourceDefinition") {
                    established(&client, &object.metadata.name.unwrap_or_default()).await?;
                }
            }
        }
        Ok(())
    }
}

/// etcd's data at one moment.
#[derive(Debug)]
pub struct Snapshot(tempfile::TempDir);

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().context("start cp")?;
    if !copied.success() {
        bail!("copy {} to {}: cp ended with {copied}", from.display(), to.display());
    }
    Ok(())
}

async fn established(client: &Client, name: &str) -> Result<()> {
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
    poll(Duration::from_secs(30), &format!("{name} is established"), async || -> Result<()> {
        let crd: serde_json::Value = client.request(http::Request::get(&path).body(Vec::new())?).await?;
        let conditions = crd["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        if !conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True") {
            bail!("conditions {conditions:?}");
        }
        let text = |field: &serde_json::Value| field.as_str().unwrap_or_default().to_owned();
        let (group, plural) = (text(&crd["spec"]["group"]), text(&crd["spec"]["names"]["plural"]));
        let version = text(&crd["spec"]["versions"][0]["name"]);
        let served = http::Request::get(format!("/apis/{group}/{version}/{plural}?limit=1")).body(Vec::new())?;
        client.request_text(served).await?;
        Ok(())
    })
    .await
}

fn start_etcd(binaries: &Path, directory: &Scratch) -> Result<Process> {
    let args = arguments(
        "--data-dir=etcd --unsafe-no-fsync --quota-backend-bytes=8589934592 --listen-client-urls=unix://localhost:1 \
         --advertise-client-urls=unix://localhost:1 --listen-peer-urls=unix://localhost:2 \
         --initial-advertise-peer-urls=unix://localhost:2 --initial-cluster=default=unix://localhost:2",
    );
    start_program(binaries, "etcd", args, directory)
}

fn start_program(binaries: &Path, name: &str, args: Vec<String>, directory: &Scratch) -> Result<Process> {
    let log = directory.file(&format!("{name}.log"));
    Process::spawn(&binaries.join(name), args, iter::empty(), directory.path(), &log)
}

fn arguments(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Writes the API server's certificate, the key pair of `ServiceAccount` tokens and the administrator's token; returns
/// the CA's certificate. ECDSA, cheap to make and to check, but for the key pair: Entra takes RS256 alone.
fn write_credentials(directory: &Scratch, token: &str) -> Result<String> {
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "stand");
    let ca_key = KeyPair::generate()?;
    let ca_pem = ca.self_signed(&ca_key)?.pem();

    let names = ["127.0.0.1", "10.0.0.1", "fd00:10::1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(names.to_vec())?.signed_by(&key, &Issuer::new(ca, ca_key))?;
    directory.write("apiserver.crt", &certificate.pem())?;
    directory.write("apiserver.key", &key.serialize_pem())?;

    let accounts = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    directory.write("sa.key", &accounts.serialize_pem())?;
    directory.write("sa.pub", &accounts.public_key_pem())?;
    directory.write("tokens.csv", &format!("{token},admin,admin,\"system:masters\"\n"))?;
    Ok(ca_pem)
}

fn write_audit_policy(directory: &Scratch, level: Option<&str>) -> Result<()> {
    let Some(level) = level else { return Ok(()) };
    let policy = serde_json::json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": level}],
    });
    directory.write("audit-policy.json", &policy.to_string())?;
    Ok(())
}

/// The repository's root, where deploy/, crds/ and the rest are.
pub fn repository() -> PathBuf {
    let testkit = Path::new(env!("CARGO_MANIFEST_DIR"));
    testkit.ancestors().nth(2).unwrap_or(testkit).to_owned()
}

fn manifests() -> Result<Vec<PathBuf>> {
    let root = repository();
    let deploy = ["namespace.yaml", "rbac.yaml", "rollout-restart.yaml"];
    let mut found: Vec<_> = deploy.iter().map(|file| root.join("deploy").join(file)).collect();
    found.push(root.join("tests/testkit/leases.yaml"));
    if root.join("crds").is_dir() {
        let files = std::fs::read_dir(root.join("crds"))?.collect::<Result<Vec<_>, _>>()?;
        let mut crds: Vec<_> = files.into_iter().map(|file| file.path()).collect();
        crds.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
        crds.sort();
        found.extend(crds);
    }
    Ok(found)
}

/// The directory of the programs, built if need be by tests/controlplane/build.sh, whose progress is on stderr.
async fn binaries() -> Result<PathBuf> {
    static BINARIES: OnceCell<PathBuf> = OnceCell::const_new();
    let build = || built("tests/controlplane/build.sh");
    let found = BINARIES.get_or_try_init(async || tokio::task::spawn_blocking(build).await?).await?;
    Ok(found.clone())
}

/// The directory that a build script of this repository names; it takes minutes where its cache is empty, and shows its
/// progress on stderr.
pub fn built(script: &str) -> Result<PathBuf> {
    let root = repository();
    let script = root.join(script);
    let out = Command::new(&script)
        .current_dir(&root)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run {}", script.display()))?;
    let said = String::from_utf8_lossy(&out.stdout);
    match said.lines().next_back() {
        Some(directory) if out.status.success() => Ok(directory.into()),
        _ => bail!("{} ended with {} and named no directory", script.display(), out.status),
    }
}
