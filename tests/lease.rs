//! Leader election on a real API server, under the operator's own Role.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use testkit::stand::controlplane::OPERATOR;
use testkit::stand::wait::throughout;
use testkit::stand::{ControlPlane, Kubeconfig, eventually, shared};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use video_token_operator::kube_client::client;
use video_token_operator::lease::{LeaseHandle, Settings, candidate};
use video_token_operator::metrics::{Metrics, count_requests};

/// What requests and scheduling may add to a bound, on a machine that does other things too.
const SLACK: Duration = Duration::from_secs(1);

/// Shorter times than the defaults, in the same proportion, for tests that wait for a lease to run out.
const SHORT: [Duration; 3] = [Duration::from_secs(6), Duration::from_secs(4), Duration::from_millis(800)];

/// The flags' defaults.
const DEFAULT: [Duration; 3] = [Duration::from_secs(30), Duration::from_secs(20), Duration::from_secs(2)];

struct Process {
    handle: LeaseHandle,
    metrics: Metrics,
    stop: oneshot::Sender<()>,
    run: JoinHandle<()>,
}

impl Process {
    fn start(login: &Kubeconfig, lease: &str, identity: &str, times: [Duration; 3]) -> Self {
        let metrics = Metrics::new();
        let client = client(login.config().unwrap(), &count_requests(metrics.clone())).unwrap();
        let [duration, renew_deadline, retry_period] = times;
        let settings = Settings {
            namespace: OPERATOR.into(),
            name: lease.into(),
            identity: identity.into(),
            duration,
            renew_deadline,
            retry_period,
        };
        let (handle, candidate) = candidate(client, settings);
        let (stop, stopped) = oneshot::channel();
        let run = tokio::spawn(candidate.run(async { drop(stopped.await) }));
        Self { handle, metrics, stop, run }
    }

    /// Waits until this one leads, and tells how long that took.
    async fn leads(&self) -> Duration {
        self.becomes(true).await
    }

    /// Waits until this one is told that it no longer leads.
    async fn loses(&self) {
        self.becomes(false).await;
    }

    /// Waits until this one has asked whose the Lease is.
    async fn has_looked(&self) {
        eventually(Duration::from_secs(5), "a look at the Lease", async || {
            if self.metrics.encode().contains(r#"resource="leases""#) { Ok(()) } else { Err("none") }
        })
        .await;
    }

    async fn becomes(&self, leading: bool) -> Duration {
        let start = Instant::now();
        let mut changes = self.handle.changes();
        timeout(Duration::from_secs(30), changes.wait_for(|now| *now == leading)).await.expect("in time").unwrap();
        start.elapsed()
    }
}

/// Looks every few milliseconds who leads; two at once are counted.
struct Referee {
    fouls: Arc<AtomicU32>,
    looks: JoinHandle<()>,
}

impl Referee {
    fn watch(players: &[&Process]) -> Self {
        let handles: Vec<_> = players.iter().map(|process| process.handle.clone()).collect();
        let fouls = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&fouls);
        let looks = tokio::spawn(async move {
            loop {
                if handles.iter().filter(|handle| handle.valid_for(Duration::ZERO)).count() > 1 {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                sleep(Duration::from_millis(2)).await;
            }
        });
        Self { fouls, looks }
    }

    fn verdict(self) {
        assert!(!self.looks.is_finished(), "the referee left");
        self.looks.abort();
        assert_eq!(self.fouls.load(Ordering::Relaxed), 0, "two led at once");
    }
}

async fn stand() -> (&'static ControlPlane, Kubeconfig, String) {
    let plane = shared().await.expect("a control plane");
    let login = plane.operator_kubeconfig().await.expect("the operator's login");
    let unique = fastrand::u32(..);
    (plane, login, format!("lease-{unique:08x}"))
}

async fn record(plane: &ControlPlane, lease: &str) -> LeaseSpec {
    let leases: Api<Lease> = Api::namespaced(plane.client().unwrap(), OPERATOR);
    leases.get(lease).await.unwrap().spec.unwrap()
}

#[tokio::test]
async fn p15_a_clean_stop_hands_over_before_the_lease_has_run_out() {
    let (plane, login, lease) = stand().await;
    let first = Process::start(&login, &lease, "first", DEFAULT);
    first.leads().await;
    let second = Process::start(&login, &lease, "second", DEFAULT);
    let referee = Referee::watch(&[&first, &second]);
    let renewed = record(plane, &lease).await.renew_time;
    eventually(Duration::from_secs(5), "a renewal", async || {
        let now = record(plane, &lease).await.renew_time;
        if now > renewed { Ok(()) } else { Err("not yet") }
    })
    .await;
    assert!(first.handle.valid_for(Duration::from_secs(7)) && !second.handle.is_leader());

    let stopped = Instant::now();
    first.stop.send(()).unwrap();
    first.run.await.unwrap();
    assert!(!first.handle.is_leader());
    second.leads().await;
    let took = stopped.elapsed();
    // how soon: `p15_a_clean_stop_hands_over_within_a_quarter_of_a_retry_period`, in paused time
    assert!(took < DEFAULT[1], "{took:?}");
    referee.verdict();

    let spec = record(plane, &lease).await;
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("second"), Some(1)));
    let scrape = second.metrics.encode();
    assert!(scrape.contains(r#"{verb="update",resource="leases",code_class="2xx"}"#), "{scrape}");
    second.stop.send(()).unwrap();
    second.run.await.unwrap();
    let free = record(plane, &lease).await;
    assert!(free.holder_identity.unwrap_or_default().is_empty() && free.lease_duration_seconds == Some(1));
}

#[tokio::test]
async fn a_crash_hands_over_and_not_before_the_lease_has_run_out() {
    let (_, login, lease) = stand().await;
    let first = Process::start(&login, &lease, "first", SHORT);
    first.leads().await;
    let second = Process::start(&login, &lease, "second", SHORT);
    let referee = Referee::watch(&[&first, &second]);
    second.has_looked().await;
    first.run.abort();
    let took = second.leads().await;
    let [duration, _, retry] = SHORT;
    assert!(took + retry + SLACK >= duration, "{took:?} is before the lease ran out");
    referee.verdict();
}

#[tokio::test]
async fn p10_a_holder_cut_off_from_the_api_server_has_stopped_before_another_starts() {
    let (_, login, lease) = stand().await;
    let relay = Relay::start(&login).await;
    let first = Process::start(&relay.login, &lease, "first", SHORT);
    first.leads().await;
    let second = Process::start(&login, &lease, "second", SHORT);
    let referee = Referee::watch(&[&first, &second]);
    second.has_looked().await;
    assert!(first.handle.is_leader() && !second.handle.is_leader());

    relay.cut.store(true, Ordering::Relaxed);
    first.loses().await;
    let [duration, ..] = SHORT;
    assert!(!first.handle.is_leader() && !second.handle.is_leader(), "nobody leads between the two");
    second.leads().await;

    relay.cut.store(false, Ordering::Relaxed);
    throughout(duration, "one that comes back waits its turn", async || {
        match (first.handle.is_leader(), second.handle.is_leader()) {
            (false, true) => Ok(()),
            leading => Err(format!("{leading:?}")),
        }
    })
    .await;
    referee.verdict();
}

#[tokio::test]
async fn many_candidates_at_once_elect_one() {
    let (plane, login, lease) = stand().await;
    let all: Vec<_> = (0..8).map(|n| Process::start(&login, &lease, &format!("p{n}"), DEFAULT)).collect();
    let players: Vec<_> = all.iter().collect();
    let referee = Referee::watch(&players);
    eventually(Duration::from_secs(5), "a leader", async || {
        let leading = all.iter().filter(|process| process.handle.is_leader()).count();
        if leading == 1 { Ok(()) } else { Err(format!("{leading} lead")) }
    })
    .await;
    throughout(Duration::from_secs(3), "one leads", async || {
        match all.iter().filter(|process| process.handle.is_leader()).count() {
            1 => Ok(()),
            leading => Err(format!("{leading} lead")),
        }
    })
    .await;
    referee.verdict();
    assert_eq!(record(plane, &lease).await.lease_transitions, Some(0), "no one was displaced");
}

/// A wire to the API server that can go dead: connections stay open and no byte arrives.
struct Relay {
    login: Kubeconfig,
    cut: Arc<AtomicBool>,
}

impl Relay {
    async fn start(login: &Kubeconfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server: SocketAddr = login.server.trim_start_matches("https://").parse().unwrap();
        let mut here = login.clone();
        here.server = format!("https://{}", listener.local_addr().unwrap());
        let cut = Arc::new(AtomicBool::new(false));
        let dead = Arc::clone(&cut);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(server).await.unwrap();
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(near_read, far_write, Arc::clone(&dead)));
                tokio::spawn(carry(far_read, near_write, Arc::clone(&dead)));
            }
        });
        Self { login: here, cut }
    }
}

/// Carries bytes one way while the wire is whole; what is sent while it is dead is lost, and the connection with it.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, dead: Arc<AtomicBool>) -> std::io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        let length = from.read(&mut bytes).await?;
        if dead.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        if length == 0 {
            return Ok(());
        }
        to.write_all(&bytes[..length]).await?;
    }
}
