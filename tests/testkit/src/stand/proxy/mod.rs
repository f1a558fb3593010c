//! A plain-HTTP reverse proxy on loopback that a client takes for the API server.
//!
//! It passes everything on, bearer tokens and watches (event by event) included, counts and logs each request, and does
//! to some of them what networks and busy API servers do. A request that is held goes on, or does not, whatever has
//! become of its client: so a write can be left between two steps while the writer is killed, or arrive after its death.
//!
//! It runs on a thread and runtime of its own, so it works while a test blocks or ends in a panic.

mod forward;
mod request;
mod rules;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use tokio::sync::{oneshot, watch};

use super::kubeconfig::Kubeconfig;
pub use request::{Matcher, Request};
use rules::{Action, Freezes, Rules, Stage, Waiting, lock};
pub use rules::{Failure, Frozen, Held, Rule};

const LOG: usize = 20_000;

/// A request and how it ended.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// When it arrived.
    pub at: DateTime<Utc>,
    /// What was asked.
    pub request: Request,
    /// The status that the client was sent; none while it is under way, or if the connection was closed.
    pub status: Option<u16>,
    /// Time to the head of the answer.
    pub took: Option<Duration>,
}

/// What becomes of all traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Traffic {
    /// It flows.
    #[default]
    Open,
    /// Nothing moves: requests and watches stand still and go on when it is opened, if their clients still wait.
    Silent,
    /// Every connection is closed, at once and as soon as it is made.
    Closed,
}

#[derive(Debug, Default)]
struct Book {
    counts: HashMap<Request, u64>,
    log: VecDeque<Exchange>,
    first: u64,
}

/// What the proxy's handle and its server share.
#[derive(Debug)]
struct State {
    upstream: reqwest::Client,
    server: String,
    book: Mutex<Book>,
    rules: Arc<Rules>,
    freezes: Arc<Freezes>,
    latency: Mutex<Duration>,
    traffic: watch::Sender<Traffic>,
    cuts: watch::Sender<u64>,
    expiries: watch::Sender<u64>,
}

impl State {
    fn open(&self, request: &Request) -> u64 {
        let mut book = lock(&self.book);
        *book.counts.entry(request.clone()).or_default() += 1;
        book.log.push_back(Exchange { at: Utc::now(), request: request.clone(), status: None, took: None });
        if book.log.len() > LOG {
            book.log.pop_front();
            book.first += 1;
        }
        book.first + book.log.len() as u64 - 1
    }

    fn close(&self, number: u64, status: u16, took: Duration) {
        let mut book = lock(&self.book);
        let place = number.checked_sub(book.first).and_then(|place| usize::try_from(place).ok());
        if let Some(exchange) = place.and_then(|place| book.log.get_mut(place)) {
            exchange.status = Some(status);
            exchange.took = Some(took);
        }
    }
}

/// The proxy. Dropped, it closes every connection.
#[derive(Debug)]
pub struct ApiProxy {
    state: Arc<State>,
    url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ApiProxy {
    /// Starts one in front of a server. Who asks through it brings its own token; `upstream`'s is not used.
    pub fn start(upstream: &Kubeconfig) -> Result<Self> {
        let mut client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        if let Some(ca) = &upstream.ca {
            client = client.tls_certs_only([reqwest::Certificate::from_pem(ca.as_bytes())?]);
        }
        let state = Arc::new(State {
            upstream: client.build().context("a client of the API server")?,
            server: upstream.server.clone(),
            book: Mutex::default(),
            rules: Arc::default(),
            freezes: Arc::default(),
            latency: Mutex::default(),
            traffic: watch::Sender::default(),
            cuts: watch::Sender::default(),
            expiries: watch::Sender::default(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("listen on loopback")?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("api-proxy".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(forward::serve(listener, served, stopped)) {
                tracing::error!("the API proxy ended: {error}");
            }
            runtime.shutdown_background();
        })?;
        Ok(Self { state, url, stop: Some(stop), thread: Some(thread) })
    }

    /// Its URL, to be used in place of the API server's.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Holds matching requests before the API server sees them.
    pub fn hold(&self, matcher: Matcher) -> Held {
        self.hold_at(Stage::Before, matcher)
    }

    /// Holds the answers to matching requests, which the API server has served.
    pub fn hold_answer(&self, matcher: Matcher) -> Held {
        self.hold_at(Stage::Answered, matcher)
    }

    fn hold_at(&self, stage: Stage, matcher: Matcher) -> Held {
        let waiting = Arc::new(Waiting::default());
        let rule = self.state.rules.add(matcher, Action::Hold(stage, Arc::clone(&waiting)));
        Held::new(waiting, rule)
    }

    /// Fails matching requests until the rule is dropped.
    pub fn fail(&self, matcher: Matcher, failure: Failure) -> Rule {
        self.state.rules.add(matcher, Action::Fail(failure))
    }

    /// Delays matching requests until the rule is dropped.
    pub fn delay(&self, matcher: Matcher, delay: Duration) -> Rule {
        self.state.rules.add(matcher, Action::Delay(delay))
    }

    /// Silences matching watches, those that are open and those that will be: their connections stay and nothing comes,
    /// until the answer is dropped. Lists show what there is.
    pub fn freeze(&self, matcher: Matcher) -> Frozen {
        self.state.freezes.add(matcher, None)
    }

    /// As [`Self::freeze`]; matching lists show what there was at this resourceVersion: a view that is stale for good.
    pub fn freeze_at(&self, matcher: Matcher, version: u64) -> Frozen {
        self.state.freezes.add(matcher, Some(version))
    }

    /// Delays every request by this much from now on.
    pub fn set_latency(&self, latency: Duration) {
        *lock(&self.state.latency) = latency;
    }

    /// Breaks every open watch off, in the middle of its body.
    pub fn cut_watches(&self) {
        self.state.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Ends every open watch with the event by which the API server says that the version is too old (410), so that its
    /// client lists anew. What a silenced watch holds back is lost with it.
    pub fn expire_watches(&self) {
        self.state.expiries.send_modify(|expiries| *expiries += 1);
    }

    /// Cuts all traffic, or lets it flow again.
    pub fn set_traffic(&self, traffic: Traffic) {
        self.state.traffic.send_replace(traffic);
    }

    /// How many matching requests have arrived.
    pub fn count(&self, matcher: &Matcher) -> u64 {
        let book = lock(&self.state.book);
        book.counts.iter().filter(|(request, _)| matcher.matches(request)).map(|(_, count)| count).sum()
    }

    /// How many requests have arrived, by [`Request::summary`].
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (request, count) in &lock(&self.state.book).counts {
            *counts.entry(request.summary()).or_default() += count;
        }
        counts
    }

    /// Begins to count from nothing. The log stays.
    pub fn reset_counts(&self) {
        lock(&self.state.book).counts.clear();
    }

    /// The last 20,000 requests, oldest first.
    pub fn log(&self) -> Vec<Exchange> {
        lock(&self.state.book).log.iter().cloned().collect()
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
