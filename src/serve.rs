//! The small HTTP server on `--metrics-addr`: `/metrics`, `/livez` and `/readyz`.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::FutureExt;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// How long the tick may be silent before the process counts as hung.
const LIVE_WITHIN: Duration = Duration::from_mins(1);

/// How long an open connection may hold up a stop.
const GRACE: Duration = Duration::from_secs(2);

/// What a scrape is answered in, as its Accept header asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Prometheus's text format 0.0.4, which every scraper reads.
    Classic,
}

impl Exposition {
    fn asked_by(headers: &HeaderMap) -> Self {
        let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        if accepted.any(|types| types.contains("application/openmetrics-text")) {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Gives all metrics as text.
pub type Scrape = Arc<dyn Fn(Exposition) -> String + Send + Sync>;

/// What the two probes answer from.
#[derive(Debug)]
pub struct Health {
    last_beat: Mutex<Instant>,
    parts: Mutex<BTreeMap<&'static str, bool>>,
}

impl Health {
    /// `parts` are those that `/readyz` waits for; none is ready yet. Counts as the first beat.
    pub fn new(parts: &[&'static str]) -> Arc<Self> {
        let parts = parts.iter().map(|part| (*part, false)).collect();
        Arc::new(Self { last_beat: Mutex::new(Instant::now()), parts: Mutex::new(parts) })
    }

    /// The tick's word that the process still turns.
    pub fn beat(&self) {
        *lock(&self.last_beat) = Instant::now();
    }

    /// Says whether `part` is ready: a cache that has synced, a CRD that is there.
    pub fn set_ready(&self, part: &'static str, ready: bool) {
        lock(&self.parts).insert(part, ready);
    }

    /// Whether the last beat is at most a minute old.
    pub fn is_live(&self) -> bool {
        lock(&self.last_beat).elapsed() <= LIVE_WITHIN
    }

    /// The parts that aren't ready, in alphabetical order.
    pub fn missing(&self) -> Vec<&'static str> {
        lock(&self.parts).iter().filter(|(_, ready)| !**ready).map(|(part, _)| *part).collect()
    }
}

/// A lock that outlives a panic elsewhere: what is under it is always whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address is not to be had.
#[derive(Debug, thiserror::Error)]
#[error("--metrics-addr {addr}: {source}; name an address of this host and a free port")]
pub struct BindError {
    addr: SocketAddr,
    source: io::Error,
}

/// A bound server that doesn't answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Server {
    /// Binds `addr`; port 0 is any free one.
    pub async fn bind(addr: SocketAddr) -> Result<Self, BindError> {
        let listener = TcpListener::bind(addr).await.map_err(|source| BindError { addr, source })?;
        let addr = listener.local_addr().map_err(|source| BindError { addr, source })?;
        Ok(Self { listener, addr })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers until `stop` resolves, then finishes the requests under way, for two seconds at most.
    /// `more` are routes beside those three.
    pub async fn run(
        self,
        health: Arc<Health>,
        scrape: Scrape,
        more: Router,
        stop: impl Future<Output = ()> + Send + 'static,
    ) {
        let routes = more
            .route("/metrics", get(metrics).with_state(scrape))
            .route("/livez", get(livez).with_state(Arc::clone(&health)))
            .route("/readyz", get(readyz).with_state(health));
        let stop = stop.shared();
        let overdue = stop.clone().then(|()| tokio::time::sleep(GRACE));
        tokio::select! {
            // axum retries a failed accept by itself and never returns an error
            _ = axum::serve(self.listener, routes).with_graceful_shutdown(stop) => {}
            () = overdue => {}
        }
    }
}

async fn metrics(State(scrape): State<Scrape>, headers: HeaderMap) -> impl IntoResponse {
    let exposition = Exposition::asked_by(&headers);
    // a scrape of a large cluster takes milliseconds: too long for a thread that serves everybody
    match tokio::task::spawn_blocking(move || scrape(exposition)).await {
        Ok(text) => ([(header::CONTENT_TYPE, exposition.content_type())], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn livez(State(health): State<Arc<Health>>) -> (StatusCode, String) {
    if health.is_live() {
        (StatusCode::OK, "ok".into())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("no tick for {} s", LIVE_WITHIN.as_secs()))
    }
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, String) {
    let missing = health.missing();
    if missing.is_empty() {
        (StatusCode::OK, "ok".into())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}", missing.join(", ")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    async fn server(health: &Arc<Health>) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = server.local_addr();
        let (stop, stopped) = oneshot::channel();
        let scrape: Scrape = Arc::new(|exposition| format!("{exposition:?}\n"));
        let run = server.run(Arc::clone(health), scrape, Router::new(), stopped.map(|_| ()));
        (addr, stop, tokio::spawn(run))
    }

    async fn ask(addr: SocketAddr, path: &str) -> String {
        ask_with(addr, path, "").await
    }

    async fn ask_with(addr: SocketAddr, path: &str, header: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\n{header}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_three_paths_answer_and_a_stop_ends_the_server() {
        let health = Health::new(&["tokens", "secrets"]);
        let (addr, stop, run) = server(&health).await;

        let answer = ask(addr, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("not ready: secrets, tokens"), "{answer}");
        health.set_ready("tokens", true);
        assert!(ask(addr, "/readyz").await.ends_with("not ready: secrets"));
        health.set_ready("secrets", true);
        let answer = ask(addr, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\nok"), "{answer}");

        assert!(ask(addr, "/livez").await.ends_with("\r\nok"));
        let prometheus = "accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2\r\n";
        for (header, type_, body) in [
            (prometheus, "application/openmetrics-text; version=1.0.0", "OpenMetrics"),
            ("accept: text/plain\r\n", "text/plain; version=0.0.4", "Classic"),
            ("", "text/plain; version=0.0.4", "Classic"),
        ] {
            let answer = ask_with(addr, "/metrics", header).await;
            assert!(answer.contains(&format!("content-type: {type_}")), "{header}: {answer}");
            assert!(answer.ends_with(&format!("\r\n{body}\n")), "{header}: {answer}");
        }
        assert!(ask(addr, "/").await.starts_with("HTTP/1.1 404"));

        stop.send(()).unwrap();
        run.await.unwrap();
        assert!(TcpStream::connect(addr).await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_never_finishes_its_request_does_not_hold_up_a_stop() {
        let (addr, stop, run) = server(&Health::new(&[])).await;
        let mut slow = TcpStream::connect(addr).await.unwrap();
        slow.write_all(b"GET /metrics HTT").await.unwrap();
        assert!(ask(addr, "/livez").await.ends_with("ok"));
        stop.send(()).unwrap();
        tokio::time::timeout(GRACE * 3, run).await.expect("stopped").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_without_a_tick_is_not_live() {
        let health = Health::new(&[]);
        tokio::time::advance(LIVE_WITHIN).await;
        assert!(health.is_live());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!health.is_live());
        assert_eq!(livez(State(Arc::clone(&health))).await.0, StatusCode::SERVICE_UNAVAILABLE);
        health.beat();
        assert!(health.is_live());
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named_with_its_flag() {
        let first = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = Server::bind(first.local_addr()).await.expect_err("taken").to_string();
        assert!(error.starts_with(&format!("--metrics-addr {}: ", first.local_addr())), "{error}");
    }
}
