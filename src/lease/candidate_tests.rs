//! Elections in virtual time, against an API server that is one guarded record, over unreliable links.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::lease::{LeaseHandle, Settings, candidate};
use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tower::BoxError;

/// State of the connection between a candidate and the API server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    Up,
    /// Requests and responses each take up to this many milliseconds.
    Slow(u64),
    /// The connection is cut: no request arrives.
    Cut,
    /// Requests arrive, responses don't.
    Deaf,
    /// The server rejects every request.
    Refused,
}

/// The Lease on the server; null if it doesn't exist.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Value>>);

impl Server {
    /// Responds like the API server: a write succeeds only if the resourceVersion matches.
    fn answer(&self, method: &Method, body: &[u8]) -> (u16, Value) {
        let mut stored = self.0.lock().unwrap();
        let mut wanted: Value = serde_json::from_slice(body).unwrap_or_default();
        let version = |lease: &Value| lease.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
        match *method {
            Method::GET if !stored.is_null() => return (200, stored.clone()),
            Method::POST if stored.is_null() => {}
            Method::PUT if !stored.is_null() && version(&stored) == version(&wanted) => {}
            Method::GET | Method::PUT if stored.is_null() => return status(404),
            _ => return status(409),
        }
        let next = version(&stored).as_str().map_or(1, |version| version.parse::<u64>().unwrap() + 1);
        wanted["metadata"]["resourceVersion"] = next.to_string().into();
        *stored = wanted;
        (200, stored.clone())
    }

    fn holder(&self) -> String {
        self.0.lock().unwrap().pointer("/spec/holderIdentity").and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

fn status(code: u16) -> (u16, Value) {
    let reason = if code == 404 { "NotFound" } else { "Conflict" };
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code}),
    )
}

async fn carry(server: Server, link: Link, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    let way = || async move {
        if let Link::Slow(most) = link {
            sleep(Duration::from_millis(fastrand::u64(0..=most))).await;
        }
    };
    let (parts, body) = request.into_parts();
    let body = body.collect_bytes().await?;
    way().await;
    match link {
        Link::Cut => return std::future::pending().await,
        Link::Refused => return Err("connection refused".into()),
        _ => {}
    }
    let (code, answer) = server.answer(&parts.method, &body);
    if link == Link::Deaf {
        return std::future::pending().await;
    }
    way().await;
    Ok(Response::builder().status(code).body(Body::from(serde_json::to_vec(&answer)?))?)
}

struct Process {
    handle: LeaseHandle,
    link: Arc<Mutex<Link>>,
    stop: oneshot::Sender<()>,
    run: JoinHandle<()>,
}

impl Process {
    fn start(server: &Server, identity: &str) -> Self {
        Self::start_with(server, identity, Duration::from_secs(10))
    }

    fn start_with(server: &Server, identity: &str, renew_deadline: Duration) -> Self {
        let link = Arc::new(Mutex::new(Link::Up));
        let (to, over) = (server.clone(), Arc::clone(&link));
        let service = tower::service_fn(move |request| carry(to.clone(), *over.lock().unwrap(), request));
        let settings = Settings {
            namespace: "a".into(),
            name: "b".into(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            renew_deadline,
            retry_period: Duration::from_secs(2),
        };
        let (handle, candidate) = candidate(kube::Client::new(service, "a"), settings);
        let (stop, stopped) = oneshot::channel();
        let run = tokio::spawn(candidate.run(async { drop(stopped.await) }));
        Self { handle, link, stop, run }
    }

    fn set(&self, link: Link) {
        *self.link.lock().unwrap() = link;
    }

    /// Ends the process as a kill does: it runs no further code and doesn't release the lease.
    fn crash(self) {
        self.run.abort();
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.run.await.unwrap();
    }

    /// Waits until this process leads, and returns how long that took.
    async fn leads(&self) -> Duration {
        let start = Instant::now();
        let mut changes = self.handle.changes();
        tokio::time::timeout(Duration::from_mins(1), changes.wait_for(|leading| *leading)).await.unwrap().unwrap();
        assert!(self.handle.is_leader());
        start.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn p15_a_clean_stop_hands_over_within_a_quarter_of_a_retry_period() {
    let server = Server::default();
    let first = Process::start(&server, "first");
    first.leads().await;
    let second = Process::start(&server, "second");
    sleep(Duration::from_mins(1)).await;
    assert!(first.handle.is_leader() && !second.handle.is_leader(), "a holder that renews keeps the lease");

    let handle = first.handle.clone();
    first.stop().await;
    assert!(!handle.is_leader());
    assert_eq!(server.holder(), "");
    let took = second.leads().await;
    assert!(took <= Duration::from_millis(500), "{took:?}");
    assert_eq!(server.0.lock().unwrap()["spec"]["leaseTransitions"], 1);
}

#[tokio::test(start_paused = true)]
async fn p15_a_crash_hands_over_within_the_duration_and_a_quarter_of_a_retry_period() {
    // at any moment between two renewals
    for milliseconds in (0..2_000).step_by(50) {
        let server = Server::default();
        let first = Process::start(&server, "first");
        first.leads().await;
        let second = Process::start(&server, "second");
        sleep(Duration::from_mins(1) + Duration::from_millis(milliseconds)).await;
        first.crash();
        let took = second.leads().await;
        assert!(took <= Duration::from_millis(15_500), "{took:?}");
        assert!(took >= Duration::from_secs(13), "{took:?} is before the lease ran out");
        second.crash();
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_cut_off_has_stopped_before_another_starts() {
    for link in [Link::Cut, Link::Refused, Link::Deaf] {
        let server = Server::default();
        let first = Process::start(&server, "first");
        first.leads().await;
        let second = Process::start(&server, "second");
        sleep(Duration::from_mins(1)).await;
        first.set(link);
        let start = Instant::now();
        let mut changes = first.handle.changes();
        tokio::time::timeout(Duration::from_secs(11), changes.wait_for(|leading| !*leading)).await.unwrap().unwrap();
        assert!(
            start.elapsed() > Duration::from_secs(7),
            "a holder uses its time: {:?} with {link:?}",
            start.elapsed()
        );
        assert!(!first.handle.is_leader() && !second.handle.is_leader(), "{link:?}");
        if link == Link::Deaf {
            continue; // its writes still arrive: it keeps the others out, until it is restarted
        }
        second.leads().await;
        first.set(Link::Up);
        sleep(Duration::from_mins(1)).await;
        assert!(!first.handle.is_leader() && second.handle.is_leader(), "one that comes back waits: {link:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_changes_nothing() {
    let server = Server::default();
    let only = Process::start(&server, "only");
    only.leads().await;
    let mut changes = only.handle.changes();
    changes.mark_unchanged();
    for link in [Link::Cut, Link::Refused, Link::Deaf] {
        only.set(link);
        sleep(Duration::from_secs(6)).await;
        only.set(Link::Up);
        sleep(Duration::from_secs(20)).await;
        assert!(only.handle.valid_for(Duration::from_secs(7)), "{link:?}");
    }
    assert!(!changes.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_takes_or_deletes_is_noticed_at_the_next_renewal() {
    let server = Server::default();
    let only = Process::start(&server, "only");
    only.leads().await;
    *server.0.lock().unwrap() = Value::Null;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(server.holder(), "only", "a deleted Lease is made again");
    assert!(only.handle.is_leader());

    server.0.lock().unwrap()["spec"]["holderIdentity"] = "thief".into();
    server.0.lock().unwrap()["metadata"]["resourceVersion"] = "99".into();
    sleep(Duration::from_secs(3)).await;
    assert!(!only.handle.is_leader());
    assert_eq!(server.holder(), "thief");
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_middle_of_a_write_still_releases() {
    let server = Server::default();
    let only = Process::start(&server, "only");
    only.leads().await;
    only.set(Link::Deaf);
    sleep(Duration::from_secs(3)).await;
    only.set(Link::Up);
    only.stop().await;
    assert_eq!(server.holder(), "");
}

#[tokio::test(start_paused = true)]
async fn p15_a_release_without_an_answer_holds_up_the_end_by_two_seconds() {
    let server = Server::default();
    let only = Process::start(&server, "only");
    only.leads().await;
    only.set(Link::Deaf);
    let begun = Instant::now();
    only.stop().await;
    assert!(begun.elapsed() <= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(server.holder(), "only", "the lease runs out by itself");
}

/// Simulates days with failing links and stopping processes. At no time do two processes lead, and after all links
/// recover one process leads.
#[tokio::test(start_paused = true)]
async fn p10_no_two_lead_at_any_moment() {
    for seed in 0..3 {
        fastrand::seed(seed);
        let server = Server::default();
        let mut processes: Vec<_> = (0..3).map(|n| tightly(&server, &format!("first-{n}"))).collect();
        let mut led = 0_u32;
        for round in 0..600 {
            disturb(&server, &mut processes, round).await;
            for _ in 0..fastrand::u32(1..200) {
                sleep(Duration::from_millis(fastrand::u64(1..150))).await;
                let leaders = processes.iter().filter(|process| process.handle.is_leader()).count();
                assert!(leaders <= 1, "two lead with seed {seed} in round {round}");
                led += u32::from(leaders == 1);
            }
        }
        assert!(led > 10_000, "one of them leads most of the time: {led}");
        for process in &processes {
            process.set(Link::Up);
        }
        sleep(Duration::from_secs(25)).await;
        assert_eq!(processes.iter().filter(|process| process.handle.is_leader()).count(), 1, "seed {seed}");
    }
}

/// Starts a process with a renew deadline just below the duration, so that an error in the times shows.
fn tightly(server: &Server, identity: &str) -> Process {
    Process::start_with(server, identity, Duration::from_millis(14_999))
}

async fn disturb(server: &Server, processes: &mut Vec<Process>, round: u32) {
    let which = fastrand::usize(..processes.len());
    match fastrand::u8(..8) {
        0 => processes[which].set(Link::Cut),
        1 => processes[which].set(Link::Deaf),
        2 => processes[which].set(Link::Refused),
        3 => processes[which].set(Link::Slow(4000)),
        4 => {
            processes.swap_remove(which).crash();
            processes.push(tightly(server, &format!("after-crash-{round}")));
        }
        5 => {
            processes.swap_remove(which).stop().await;
            processes.push(tightly(server, &format!("after-stop-{round}")));
        }
        _ => processes[which].set(Link::Up),
    }
}
