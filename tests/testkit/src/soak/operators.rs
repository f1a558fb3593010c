//! Two operators with one Lease, each behind a proxy of its own.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result};
use k8s_openapi::api::coordination::v1::Lease;

use crate::stand::controlplane::OPERATOR;
use crate::stand::{ApiProxy, Kubeconfig, Matcher, Operator, OperatorOptions, Traffic};

/// Short, with room for a call and its write within the renew deadline.
const LEASE: [&str; 3] = ["--lease-duration=12s", "--lease-renew-deadline=10s", "--lease-retry-period=1s"];

/// One of the two: a proxy that stays, and a process that comes and goes.
pub(super) struct Seat {
    pub(super) proxy: ApiProxy,
    options: OperatorOptions,
    state: Mutex<State>,
    process: tokio::sync::Mutex<Option<Operator>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// The Pod's name of the running process; none runs: empty.
    pod: String,
    starts: u32,
    cut_off: bool,
}

impl Seat {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Starts a process, with a name that no other had.
    pub(super) async fn start(&self, seat: usize) -> Result<()> {
        let mut process = self.process.lock().await;
        let pod = format!("operator-{seat}-{}", self.state().starts);
        let mut options = self.options.clone();
        options.env.push(("POD_NAME".to_owned(), pod.clone()));
        *process = Some(Operator::spawn(&options)?);
        let mut state = self.state();
        state.starts += 1;
        state.pod = pod;
        Ok(())
    }

    /// SIGKILL.
    pub(super) async fn kill(&self) {
        self.state().pod.clear();
        if let Some(operator) = self.process.lock().await.as_mut() {
            operator.kill9();
        }
    }

    /// SIGTERM; waits for the end, which is to be a success.
    pub(super) async fn stop(&self) -> Result<()> {
        let mut process = self.process.lock().await;
        let operator = process.as_mut().context("no operator runs here")?;
        let stopped = operator.terminate().await;
        self.state().pod.clear();
        let stopped = stopped?;
        anyhow::ensure!(stopped.status.success(), "an operator that was asked to stop ended with {}", stopped.status);
        Ok(())
    }

    /// The URL of its metrics and its Pod's name, while a process runs.
    pub(super) async fn metrics(&self) -> Option<(String, String)> {
        let process = self.process.lock().await;
        let pod = self.state().pod.clone();
        process.as_ref().filter(|_| !pod.is_empty()).map(|operator| (operator.url("/metrics"), pod))
    }

    /// Lets nothing through, or all again.
    pub(super) fn cut_off(&self, traffic: Traffic) {
        self.proxy.set_traffic(traffic);
        self.state().cut_off = traffic != Traffic::Open;
    }

    /// An error if its process has ended by itself.
    async fn check(&self) -> Result<()> {
        let mut process = self.process.lock().await;
        let Some(operator) = process.as_mut().filter(|_| !self.state().pod.is_empty()) else { return Ok(()) };
        match operator.exited() {
            Some(status) => anyhow::bail!("{} ended by itself ({status}): {}", self.state().pod, tail(operator)),
            None => Ok(()),
        }
    }
}

fn tail(operator: &Operator) -> String {
    let log = operator.logs();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// The two.
pub(super) struct Operators {
    pub(super) seats: [Seat; 2],
    logs: Option<PathBuf>,
}

impl Operators {
    /// None runs yet.
    pub(super) fn new(login: &Kubeconfig, binary: &Path, hosts: &[String], logs: Option<PathBuf>) -> Result<Self> {
        let seat = || -> Result<Seat> {
            let proxy = ApiProxy::start(login)?;
            let mut options = OperatorOptions::new(binary, login.through(proxy.url()), OPERATOR);
            options.watch_namespaces.clear();
            options.leader_elect = true;
            options.allowed_endpoints = hosts.to_vec();
            options.args = LEASE.map(str::to_owned).to_vec();
            "info,video_token_operator=debug".clone_into(&mut options.rust_log);
            Ok(Seat { proxy, options, state: Mutex::default(), process: tokio::sync::Mutex::default() })
        };
        Ok(Self { seats: [seat()?, seat()?], logs })
    }

    /// The seat and the Pod of whoever holds the Lease, if it runs and isn't cut off.
    pub(super) fn leader(&self, lease: &Lease) -> Option<(usize, String)> {
        let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
        let holder = holder.split_once('_').map_or(holder, |(pod, _)| pod);
        self.seats.iter().enumerate().find_map(|(seat, one)| {
            let state = one.state();
            let leads = !holder.is_empty() && state.pod == holder && !state.cut_off;
            leads.then(|| (seat, state.pod.clone()))
        })
    }

    /// An error if one has ended by itself.
    pub(super) async fn check(&self) -> Result<()> {
        for seat in &self.seats {
            seat.check().await?;
        }
        Ok(())
    }

    /// Keeps the log of the process in this seat, where logs are kept.
    pub(super) async fn keep_log(&self, seat: usize) {
        let process = self.seats[seat].process.lock().await;
        let (Some(directory), Some(operator)) = (&self.logs, process.as_ref()) else { return };
        let copy = directory.join(format!("operator-{seat}-{}.log", operator.pid()));
        // whoever asked for the logs sees that they are not there
        let _ = std::fs::create_dir_all(directory).and_then(|()| std::fs::copy(operator.log_path(), copy));
    }

    /// Requests of both that are meant, so far.
    pub(super) fn count(&self, verbs: &[&str], resource: Option<&str>) -> u64 {
        let count = |verb: &str| -> u64 {
            let matcher = Matcher::any().verb(verb);
            let matcher = resource.map_or(matcher.clone(), |resource| matcher.resource(resource));
            self.seats.iter().map(|seat| seat.proxy.count(&matcher)).sum()
        };
        verbs.iter().map(|verb| count(verb)).sum()
    }
}
