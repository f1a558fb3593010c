//! What all operators share: virtual time, chance, faults, the API server's objects, and the trace of all requests.

use crate::api_server::store::Store;
use crate::episode::{Active, Episode};
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use videotoken_providers::clock::{Clock, Now};

/// Rates of faults, in millionths of the requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// The API server answers 500 or 503 without effect.
    pub refused: u64,
    /// The API server answers 429 without effect.
    pub throttled: u64,
    /// A write is answered with 409 without effect.
    pub conflict: u64,
    /// The request has its effect, and its answer never arrives.
    pub lost: u64,
    /// The answer arrives after 7 or 31 seconds.
    pub late: u64,
    /// A watch ends with 410.
    pub gone: u64,
    /// The token API answers 500.
    pub provider: u64,
    /// The token API answers 429.
    pub provider_throttle: u64,
}

/// What happens at one request of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// Its operator is killed before the API server has seen the request.
    CrashBefore,
    /// Its operator is killed; the request takes effect.
    CrashAfter,
    /// The API server answers with this status instead.
    Status(u16),
    /// The connection breaks without effect.
    Closed,
    /// The request takes effect, and its answer never arrives.
    Lost,
    /// The answer arrives so many seconds late.
    Late(u64),
    /// All watches end with 410.
    Gone,
    /// A user deletes the token's object, and creates it again.
    Recreated,
    /// A user deletes the token's object.
    Deleted,
    /// A user gives the token's Secret another name.
    Renamed,
    /// A user forces a renewal.
    Forced,
    /// The Lease can't be renewed for about ten seconds, in which users edit objects.
    Lapse,
    /// Its operator is asked to stop.
    Stopped,
}

impl Strike {
    /// Returns true if somebody outside of the API servers does it.
    pub fn is_of_others(self) -> bool {
        matches!(self, Self::Recreated | Self::Deleted | Self::Renamed | Self::Forced | Self::Lapse | Self::Stopped)
    }
}

/// Each disturbance of a sweep, by its name.
pub const STRIKES: [(&str, Strike); 17] = [
    ("crash-before", Strike::CrashBefore),
    ("crash-after", Strike::CrashAfter),
    ("409", Strike::Status(409)),
    ("429", Strike::Status(429)),
    ("500", Strike::Status(500)),
    ("503", Strike::Status(503)),
    ("closed", Strike::Closed),
    ("lost", Strike::Lost),
    ("late-7s", Strike::Late(7)),
    ("late-31s", Strike::Late(31)),
    ("gone", Strike::Gone),
    ("recreated", Strike::Recreated),
    ("deleted", Strike::Deleted),
    ("renamed", Strike::Renamed),
    ("forced", Strike::Forced),
    ("lapse", Strike::Lapse),
    ("stopped", Strike::Stopped),
];

/// Disturbance of the request of this number.
#[derive(Clone, Copy, Debug)]
pub struct Struck {
    /// Number of the request since the story began, leases not counted.
    pub at: u64,
    /// What happens.
    pub strike: Strike,
}

/// Returns the time at which each run starts.
pub fn epoch() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap_or_default()
}

/// The world outside of the operators.
#[derive(Debug)]
pub struct World {
    /// Objects of the API server.
    pub store: Mutex<Store>,
    /// Version of the store; changes after each write.
    pub changed: watch::Sender<u64>,
    /// Requests so far.
    pub trace: Mutex<Trace>,
    /// Notified when a request kills its operator, or brings a user on.
    pub crashed: Notify,
    /// What a request of this operator, or a user, brings on. All operators are meant by no name.
    pub asked: Mutex<Option<(Strike, String)>>,
    /// Episodes in progress.
    pub episodes: Mutex<Vec<Active>>,
    /// Number of restarts of the API server. A watch ends with a restart.
    pub restarts: AtomicU64,
    /// Faults, while they are enabled.
    pub rates: Mutex<Rates>,
    struck: Option<Struck>,
    random: Mutex<fastrand::Rng>,
    start: Instant,
    epoch: DateTime<Utc>,
}

impl World {
    /// Returns a world at the start of its time.
    pub fn new(seed: u64, rates: Rates, struck: Option<Struck>) -> Arc<Self> {
        let epoch = epoch();
        Arc::new(Self {
            store: Mutex::new(Store::new(seed, epoch)),
            changed: watch::Sender::new(0),
            trace: Mutex::new(Trace::default()),
            crashed: Notify::new(),
            asked: Mutex::default(),
            episodes: Mutex::default(),
            restarts: AtomicU64::new(0),
            rates: Mutex::new(rates),
            struck,
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            start: Instant::now(),
            epoch,
        })
    }

    /// Returns the true time.
    pub fn now(&self) -> DateTime<Utc> {
        self.epoch + TimeDelta::from_std(self.start.elapsed()).unwrap_or_default()
    }

    /// Returns the true time as a `Date` header.
    pub fn date(&self) -> String {
        self.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// Returns a random number below `end`.
    pub fn below(&self, end: u64) -> u64 {
        self.random.lock().u64(..end.max(1))
    }

    /// Returns true for so many of a million calls.
    pub fn chance(&self, in_a_million: u64) -> bool {
        in_a_million > 0 && self.below(1_000_000) < in_a_million
    }

    /// Waits for a random time, in milliseconds.
    pub async fn pause(&self, from: u64, to: u64) {
        let wait = from + self.below(to - from);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    /// Runs `change` on the objects, and notifies the watches.
    pub fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.store.lock();
        store.now = self.now();
        let result = change(&mut store);
        let version = store.version;
        drop(store);
        self.changed.send_if_modified(|last| std::mem::replace(last, version) != version);
        result
    }

    /// Prints what happens outside of the operators, if requests are printed.
    pub fn note(&self, what: &str) {
        let milliseconds = self.start.elapsed().as_millis();
        #[allow(clippy::print_stdout)]
        if self.trace.lock().verbose {
            println!("{milliseconds} NOTE {what}");
        }
    }

    /// Returns true if an episode of this kind concerns the namespace.
    pub fn suffers(&self, episode: Episode, namespace: &str) -> bool {
        let active = self.episodes.lock();
        active.iter().any(|it| it.episode == episode && (!episode.is_of_namespace() || it.namespace == namespace))
    }

    /// Returns true if an operator's clock is far off.
    pub fn is_misdated(&self) -> bool {
        self.episodes.lock().iter().any(|it| matches!(it.episode, Episode::ClockAhead(_)))
    }

    /// Returns the version after which watches of this kind show nothing.
    pub fn shown_until(&self, kind: &str) -> u64 {
        let active = self.episodes.lock();
        let stale = active.iter().filter(|it| matches!(it.episode, Episode::StaleWatch(of) if of == kind));
        stale.map(|it| it.version).min().unwrap_or(u64::MAX)
    }

    /// Ends all watches, and wakes those that wait for changes.
    pub fn restart_api(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
        self.wake_watches();
    }

    /// Wakes the watches that wait for changes.
    pub fn wake_watches(&self) {
        self.changed.send_modify(|_| ());
    }

    /// Records a request, and returns what happens to it. Kills its operator, if that is to happen.
    pub fn strike(&self, link: &Link, what: &str, detail: &[u8]) -> Option<Strike> {
        let milliseconds = self.start.elapsed().as_millis();
        let mut trace = self.trace.lock();
        trace.record(milliseconds, &link.name, what, detail);
        if what.ends_with(" leases") {
            return None;
        }
        trace.counted += 1;
        let struck = self.struck.filter(|struck| trace.is_told && struck.at == trace.counted)?;
        trace.struck_at = Some(format!("{what} by {}", link.name));
        if matches!(struck.strike, Strike::CrashBefore | Strike::CrashAfter) {
            link.cut();
            self.crashed.notify_one();
        }
        Some(struck.strike)
    }

    /// Counts the requests from now on.
    pub fn begin_story(&self) {
        let mut trace = self.trace.lock();
        (trace.counted, trace.is_told) = (0, true);
    }

    /// Lets others do what a request of this operator brings on, and waits until the events of it have arrived.
    pub async fn bring_on(&self, strike: Strike, operator: &str) {
        *self.asked.lock() = Some((strike, operator.to_owned()));
        self.crashed.notify_one();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Connections of one operator. After its end they carry nothing.
#[derive(Debug)]
pub struct Link {
    /// Name of the operator.
    pub name: String,
    cut: AtomicBool,
}

impl Link {
    /// Returns the open connections of an operator.
    pub fn new(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), cut: AtomicBool::new(false) })
    }

    /// Returns true if the operator was killed.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Ends the connections.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }
}

/// Wall clock of one operator. It may differ from the true time, and jump.
#[derive(Debug)]
pub struct SkewedClock {
    /// The true time.
    pub world: Arc<World>,
    /// Milliseconds that the clock is ahead.
    pub ahead: AtomicI64,
}

impl Clock for SkewedClock {
    fn now(&self) -> Now {
        let ahead = TimeDelta::milliseconds(self.ahead.load(Ordering::Relaxed));
        Now { wall: self.world.now() + ahead, mono: Instant::now() }
    }
}

/// Hash and number of all requests.
#[derive(Debug, Default)]
pub struct Trace {
    hash: Sha256,
    /// Requests by verb and resource.
    pub counts: BTreeMap<String, u64>,
    /// Requests.
    pub total: u64,
    /// Requests that a sweep counts.
    pub counted: u64,
    /// True after the story has begun.
    is_told: bool,
    /// Request that was disturbed.
    pub struck_at: Option<String>,
    /// True to print each request.
    pub verbose: bool,
}

impl Trace {
    fn record(&mut self, milliseconds: u128, who: &str, what: &str, detail: &[u8]) {
        let line = format!("{milliseconds} {who} {what} ");
        self.hash.update(line.as_bytes());
        self.hash.update(detail);
        self.total += 1;
        *self.counts.entry(what.to_owned()).or_default() += 1;
        #[allow(clippy::print_stdout)]
        if self.verbose {
            println!("{line}{}", String::from_utf8_lossy(detail));
        }
    }

    /// Returns the hash of all requests so far: their times, operators, paths and bodies.
    pub fn digest(&self) -> String {
        self.hash.clone().finalize().iter().take(12).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}
