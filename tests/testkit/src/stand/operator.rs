//! The operator as a process, with the permissions of its `ServiceAccount` and nothing of the test's environment.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::controlplane::OPERATOR;
use super::kubeconfig::Kubeconfig;
use super::process::{Process, Scratch, free_port, tail};
use super::scrape::Metrics;
use super::wait::poll;

const READY: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_mins(1);

/// How to start an [`Operator`].
#[derive(Clone, Debug)]
pub struct OperatorOptions {
    /// The program; see [`binary`].
    pub binary: PathBuf,
    /// Its login: [`operator_kubeconfig`](super::ControlPlane::operator_kubeconfig), perhaps `through` a proxy.
    pub kubeconfig: Kubeconfig,
    /// `--watch-namespaces`; none: all.
    pub watch_namespaces: Vec<String>,
    /// `--cluster-resource-namespace`.
    pub cluster_resource_namespace: String,
    /// `--leader-elect`.
    pub leader_elect: bool,
    /// `--lease-namespace`. Leases are allowed in the operator's own namespace only.
    pub lease_namespace: String,
    /// `--lease-name`.
    pub lease_name: String,
    /// `--allowed-endpoint`, each.
    pub allowed_endpoints: Vec<String>,
    /// More arguments.
    pub args: Vec<String>,
    /// Environment variables beside `KUBECONFIG` and `RUST_LOG`.
    pub env: Vec<(String, String)>,
    /// `RUST_LOG`.
    pub rust_log: String,
}

impl OperatorOptions {
    /// An operator that serves one namespace, finds cluster-wide credentials there too and, so that it works at once
    /// after another was killed, asks for no Lease. Its Lease, if it is to ask, is the namespace's own.
    pub fn new(binary: impl Into<PathBuf>, kubeconfig: Kubeconfig, namespace: &str) -> Self {
        Self {
            binary: binary.into(),
            kubeconfig,
            watch_namespaces: vec![namespace.to_owned()],
            cluster_resource_namespace: namespace.to_owned(),
            leader_elect: false,
            lease_namespace: OPERATOR.to_owned(),
            lease_name: namespace.to_owned(),
            allowed_endpoints: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            rust_log: "info".to_owned(),
        }
    }

    fn arguments(&self, port: u16) -> Vec<String> {
        let mut args = vec![
            format!("--cluster-resource-namespace={}", self.cluster_resource_namespace),
            format!("--leader-elect={}", self.leader_elect),
            format!("--lease-namespace={}", self.lease_namespace),
            format!("--lease-name={}", self.lease_name),
            format!("--metrics-addr=127.0.0.1:{port}"),
            "--log-format=text".to_owned(),
        ];
        if !self.watch_namespaces.is_empty() {
            args.push(format!("--watch-namespaces={}", self.watch_namespaces.join(",")));
        }
        args.extend(self.allowed_endpoints.iter().map(|pattern| format!("--allowed-endpoint={pattern}")));
        args.extend(self.args.iter().cloned());
        args
    }
}

/// Returns the path of the operator's program: `$VTO_OPERATOR`, or the one that cargo built beside the running test.
///
/// Tests of the operator's package pass `env!("CARGO_BIN_EXE_video-token-operator")` instead, which makes cargo build it.
pub fn binary() -> Result<PathBuf> {
    match std::env::var_os("VTO_OPERATOR") {
        Some(path) => Ok(path.into()),
        None => beside(OPERATOR),
    }
}

/// Returns the path of a program of the workspace that cargo built beside the running test, such as `videotoken`. Only
/// `cargo test --workspace` and `cargo build` bring programs of other packages up to date.
pub fn beside(program: &str) -> Result<PathBuf> {
    let test = std::env::current_exe().context("where this test is")?;
    let found = test.ancestors().skip(1).take(2).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.with_context(|| format!("no {program} near {}: cargo build --workspace --bins", test.display()))
}

/// How an operator stopped.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    /// Its exit.
    pub status: ExitStatus,
    /// From SIGTERM to the exit; exact to 10 ms.
    pub took: Duration,
}

/// A running operator. Killed on drop, and when the test process ends.
///
/// If a test panics while it has one, the end of its log is printed and the whole of it kept.
#[derive(Debug)]
pub struct Operator {
    process: Process,
    port: u16,
    directory: Scratch,
}

impl Operator {
    /// Starts one.
    pub fn spawn(options: &OperatorOptions) -> Result<Self> {
        let directory = Scratch::new("vto-operator-")?;
        let kubeconfig = directory.file("kubeconfig");
        options.kubeconfig.write(&kubeconfig)?;
        let mut env = vec![
            ("KUBECONFIG".to_owned(), kubeconfig.to_string_lossy().into_owned()),
            ("RUST_LOG".to_owned(), options.rust_log.clone()),
        ];
        env.extend(options.env.iter().cloned());
        let port = free_port()?;
        let log = directory.file("log");
        let process = Process::spawn(&options.binary, options.arguments(port), env, directory.path(), &log)?;
        Ok(Self { process, port, directory })
    }

    /// Starts one and waits until it is ready.
    pub async fn start(options: &OperatorOptions) -> Result<Self> {
        let mut operator = Self::spawn(options)?;
        operator.ready().await?;
        Ok(operator)
    }

    /// Waits, 30 s at most, until /readyz says so. An error shows the end of the log.
    pub async fn ready(&mut self) -> Result<()> {
        let url = self.url("/readyz");
        let process = &mut self.process;
        let mut ended = Ok(());
        let ready = poll(READY, "the operator is ready", async || {
            ended = process.check();
            if ended.is_ok() { get(&url).await.map(drop) } else { Ok(()) }
        });
        ready.await.with_context(|| process.log_tail(40))?;
        ended
    }

    /// Scrapes /metrics.
    pub async fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&self.scrape().await?))
    }

    /// /metrics as it is told to one who doesn't say how.
    pub async fn scrape(&self) -> Result<String> {
        get(&self.url("/metrics")).await
    }

    /// The URL of a path on its metrics port.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.exited()
    }

    /// Kills it on the spot (SIGKILL); it is gone when this returns.
    pub fn kill9(&mut self) {
        self.process.kill();
    }

    /// Asks it to stop (SIGTERM) and waits, a minute at most, until it has.
    pub async fn terminate(&mut self) -> Result<Stopped> {
        let begun = Instant::now();
        self.process.signal("TERM")?;
        let status = self.process.wait(STOP).await?;
        Ok(Stopped { status, took: begun.elapsed() })
    }

    /// Stops it where it stands (SIGSTOP).
    pub fn pause(&mut self) -> Result<()> {
        self.process.signal("STOP")
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&mut self) -> Result<()> {
        self.process.signal("CONT")
    }

    /// Its resident anonymous memory, in bytes.
    pub fn rss_bytes(&self) -> Result<u64> {
        rss_bytes(self.pid())
    }

    /// All that it has logged.
    pub fn logs(&self) -> String {
        tail(self.process.log(), usize::MAX)
    }

    /// The file of its log.
    pub fn log_path(&self) -> &Path {
        self.process.log()
    }

    /// Keeps the log beyond this process, under the test's name.
    fn keep_log(&self) -> Result<PathBuf> {
        let folder = std::env::temp_dir().join("vto-failed");
        std::fs::create_dir_all(&folder)?;
        let name: String = std::thread::current().name().unwrap_or("test").replace("::", ".");
        let kept = folder.join(format!("{name}-{}.log", self.pid()));
        std::fs::copy(self.log_path(), &kept)?;
        Ok(kept)
    }
}

impl Drop for Operator {
    #[allow(clippy::print_stderr)] // this is what someone who reads a failed test wants to see
    fn drop(&mut self) {
        self.process.kill();
        if std::thread::panicking() {
            let kept = self.keep_log().map_or_else(|error| error.to_string(), |path| path.display().to_string());
            eprintln!("the operator's log ({kept}) ends with:\n{}", self.process.log_tail(60));
        }
        tracing::debug!("an operator in {} is gone", self.directory.path().display());
    }
}

/// The resident anonymous memory of a process, in bytes: `RssAnon` of /proc/PID/status, which is in units of 1024.
pub fn rss_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().context("RssAnon")?;
    Ok(kilobytes * 1024)
}

async fn get(url: &str) -> Result<String> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
    let answer = client.get(url).send().await?;
    let status = answer.status();
    let body = answer.text().await?;
    if !status.is_success() {
        bail!("{url}: {status}: {body}");
    }
    Ok(body)
}
