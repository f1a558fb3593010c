//! The HTTP server on `--metrics-addr`: `/metrics`, `/livez` and `/readyz`. `connections` limits the number of
//! connections and decides which one to close.

mod connections;

pub use connections::{MOST_ANSWERS, MOST_CONNECTIONS};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use connections::{ResponsePermits, with_permit};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// Time without a heartbeat after which the process counts as hung.
const LIVENESS_TIMEOUT: Duration = Duration::from_mins(1);

/// Time that open connections have to finish when the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// Time for which one exposition answers all scrapes, so that many scrapes cost no more than one.
const FRESH: Duration = Duration::from_secs(1);

/// Format of a scrape, as its Accept header asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Text format 0.0.4 of Prometheus, which every scraper can read.
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

/// Function that returns all metrics as text.
pub type Scrape = Arc<dyn Fn(Exposition) -> String + Send + Sync>;

/// The last exposition of each format, while it is fresh.
struct Expositions {
    scrape: Scrape,
    fresh: tokio::sync::Mutex<[Option<Bytes>; 2]>,
}

impl Expositions {
    async fn text(self: &Arc<Self>, exposition: Exposition) -> Option<Bytes> {
        let kind = usize::from(exposition == Exposition::Classic);
        // The lock is held while the text is written, so that a concurrent scrape gets the same text.
        let mut fresh = self.fresh.lock().await;
        if let Some(text) = &fresh[kind] {
            return Some(text.clone());
        }
        let scrape = self.scrape.clone();
        // A scrape of a large cluster takes milliseconds, which is too long for a thread that serves other connections.
        let text = Bytes::from(tokio::task::spawn_blocking(move || scrape(exposition)).await.ok()?);
        fresh[kind] = Some(text.clone());
        let all = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(FRESH).await;
            all.fresh.lock().await[kind] = None;
        });
        Some(text)
    }
}

/// State of the liveness and readiness probes.
#[derive(Debug)]
pub struct Health {
    last_heartbeat: Mutex<Instant>,
    parts: Mutex<BTreeMap<&'static str, bool>>,
}

impl Health {
    /// Creates the state. `parts` are the parts that `/readyz` waits for; none is ready yet. Counts as the first
    /// heartbeat.
    pub fn new(parts: &[&'static str]) -> Arc<Self> {
        let parts = parts.iter().map(|part| (*part, false)).collect();
        Arc::new(Self { last_heartbeat: Mutex::new(Instant::now()), parts: Mutex::new(parts) })
    }

    /// Records a heartbeat of the tick.
    pub fn record_heartbeat(&self) {
        *self.last_heartbeat.lock() = Instant::now();
    }

    /// Sets whether `part` is ready, such as a synced cache or an installed CRD.
    pub fn set_ready(&self, part: &'static str, ready: bool) {
        self.parts.lock().insert(part, ready);
    }

    /// Returns true if the last heartbeat is at most a minute old.
    pub fn is_live(&self) -> bool {
        self.last_heartbeat.lock().elapsed() <= LIVENESS_TIMEOUT
    }

    /// Returns the parts that aren't ready, in alphabetical order.
    pub fn missing(&self) -> Vec<&'static str> {
        self.parts.lock().iter().filter(|(_, ready)| !**ready).map(|(part, _)| *part).collect()
    }
}

/// The address can't be bound.
#[derive(Debug, thiserror::Error)]
#[error("--metrics-addr {addr}: {source}; name an address of this host and a free port")]
pub struct BindError {
    addr: SocketAddr,
    source: io::Error,
}

/// A server that is bound and doesn't serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Server {
    /// Binds `addr`. Port 0 selects any free port. `[::]` is every address of IPv4 and IPv6.
    pub async fn bind(addr: SocketAddr) -> Result<Self, BindError> {
        let mut bound = TcpListener::bind(addr).await;
        if let Some(ipv4) = bound.as_ref().err().and_then(|error| without_ipv6(addr, error)) {
            bound = TcpListener::bind(ipv4).await;
        }
        let listener = bound.map_err(|source| BindError { addr, source })?;
        let addr = listener.local_addr().map_err(|source| BindError { addr, source })?;
        Ok(Self { listener, addr })
    }

    /// Returns the address that the server listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop` resolves, then finishes the requests in progress within two seconds. `more` contains further
    /// routes.
    pub async fn run(
        self,
        health: Arc<Health>,
        scrape: Scrape,
        more: Router,
        stop: impl Future<Output = ()> + Send + 'static,
    ) {
        let expositions = Arc::new(Expositions { scrape, fresh: tokio::sync::Mutex::default() });
        let routes = more
            .route("/metrics", get(metrics).with_state(expositions))
            .layer(from_fn_with_state(ResponsePermits::default(), with_permit))
            .route("/livez", get(livez).with_state(Arc::clone(&health)))
            .route("/readyz", get(readyz).with_state(health));
        connections::serve(self.listener, routes, stop, GRACE).await;
    }
}

/// Returns every address of IPv4 if `addr` is every address of both families and `error` says that the kernel has no IPv6.
fn without_ipv6(addr: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    const EAFNOSUPPORT: i32 = 97;
    let unsupported = addr.ip() == Ipv6Addr::UNSPECIFIED && error.raw_os_error() == Some(EAFNOSUPPORT);
    unsupported.then(|| (Ipv4Addr::UNSPECIFIED, addr.port()).into())
}

async fn metrics(State(expositions): State<Arc<Expositions>>, headers: HeaderMap) -> Response {
    let exposition = Exposition::asked_by(&headers);
    match expositions.text(exposition).await {
        Some(text) => ([(header::CONTENT_TYPE, exposition.content_type())], text).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn livez(State(health): State<Arc<Health>>) -> (StatusCode, String) {
    if health.is_live() {
        (StatusCode::OK, "ok".into())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("no tick for {} s", LIVENESS_TIMEOUT.as_secs()))
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
    use futures::FutureExt;
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

    async fn get(addr: SocketAddr, path: &str) -> String {
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
    async fn the_unspecified_address_is_that_of_both_families() {
        let server = Server::bind("[::]:0".parse().unwrap()).await.unwrap();
        let port = server.local_addr().port();
        let has_ipv6 = TcpListener::bind("[::1]:0").await.is_ok();
        let addresses: &[&str] = if has_ipv6 { &["127.0.0.1", "::1"] } else { &["127.0.0.1"] };
        for &address in addresses {
            TcpStream::connect((address, port)).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        }
    }

    #[test]
    fn without_ipv6_in_the_kernel_ipv4_is_left() {
        let (unsupported, in_use) = (io::Error::from_raw_os_error(97), io::Error::from_raw_os_error(98));
        for (addr, error, left) in [
            ("[::]:8080", &unsupported, Some("0.0.0.0:8080")),
            ("[::]:8080", &in_use, None),
            ("[::1]:8080", &unsupported, None),
            ("0.0.0.0:8080", &unsupported, None),
        ] {
            let left = left.map(|left| left.parse().unwrap());
            assert_eq!(without_ipv6(addr.parse().unwrap(), error), left, "{addr}: {error}");
        }
    }

    #[tokio::test]
    async fn the_three_paths_answer_and_a_stop_ends_the_server() {
        let health = Health::new(&["tokens", "secrets"]);
        let (addr, stop, run) = server(&health).await;

        let answer = get(addr, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("not ready: secrets, tokens"), "{answer}");
        health.set_ready("tokens", true);
        assert!(get(addr, "/readyz").await.ends_with("not ready: secrets"));
        health.set_ready("secrets", true);
        let answer = get(addr, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\nok"), "{answer}");

        assert!(get(addr, "/livez").await.ends_with("\r\nok"));
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
        assert!(get(addr, "/").await.starts_with("HTTP/1.1 404"));

        stop.send(()).unwrap();
        run.await.unwrap();
        assert!(TcpStream::connect(addr).await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_never_finishes_its_request_does_not_hold_up_a_stop() {
        let (addr, stop, run) = server(&Health::new(&[])).await;
        let mut slow = TcpStream::connect(addr).await.unwrap();
        slow.write_all(b"GET /metrics HTT").await.unwrap();
        assert!(get(addr, "/livez").await.ends_with("ok"));
        stop.send(()).unwrap();
        tokio::time::timeout(GRACE * 3, run).await.expect("stopped").unwrap();
    }

    /// Returns true if the server has not closed the connection.
    async fn is_open(stream: &mut TcpStream) -> bool {
        let mut byte = [0];
        tokio::time::timeout(Duration::from_millis(50), stream.read(&mut byte)).await.is_err()
    }

    #[tokio::test]
    async fn p21_who_says_nothing_makes_room_for_who_asks() {
        let (addr, _stop, _run) = server(&Health::new(&[])).await;
        let mut silent = Vec::new();
        for _ in 0..MOST_CONNECTIONS * 2 {
            silent.push(TcpStream::connect(addr).await.unwrap());
            assert!(silent.len() % 32 != 0 || get(addr, "/livez").await.ends_with("ok"));
        }
        assert!(get(addr, "/metrics").await.ends_with("Classic\n"));
        assert!(!is_open(&mut silent[0]).await, "the eldest is gone");
        assert!(is_open(silent.last_mut().unwrap()).await, "the youngest isn't yet");
    }

    #[tokio::test]
    async fn p21_who_asks_and_does_not_read_holds_a_place_only_for_a_while() {
        let text = Arc::new("x".repeat(32 * 1024 * 1024));
        let scrape: Scrape = Arc::new(move |_| text.as_ref().clone());
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = server.local_addr();
        let _run = tokio::spawn(server.run(Health::new(&[]), scrape, Router::new(), std::future::pending()));
        let mut deaf = Vec::new();
        for _ in 0..MOST_ANSWERS * 3 {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
            deaf.push(stream);
        }
        // A probe needs no permit for a large response.
        assert!(get(addr, "/livez").await.ends_with("ok"));
        let whole = tokio::time::timeout(LIVENESS_TIMEOUT, get(addr, "/metrics")).await.expect("an answer");
        assert!(whole.starts_with("HTTP/1.1 200") && whole.len() > 32 * 1024 * 1024, "{} bytes", whole.len());
    }

    #[tokio::test]
    async fn many_scrapes_of_a_second_are_written_once() {
        let written = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = written.clone();
        let scrape: Scrape = Arc::new(move |_| counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string());
        let expositions = Arc::new(Expositions { scrape, fresh: tokio::sync::Mutex::default() });
        let all = futures::future::join_all((0..50).map(|_| expositions.text(Exposition::Classic))).await;
        assert!(all.iter().all(|text| text.as_deref() == Some(b"0")));
        assert_eq!(written.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert_eq!(expositions.text(Exposition::OpenMetrics).await.as_deref(), Some(b"1".as_slice()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_without_a_tick_is_not_live() {
        let health = Health::new(&[]);
        tokio::time::advance(LIVENESS_TIMEOUT).await;
        assert!(health.is_live());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!health.is_live());
        assert_eq!(livez(State(Arc::clone(&health))).await.0, StatusCode::SERVICE_UNAVAILABLE);
        health.record_heartbeat();
        assert!(health.is_live());
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named_with_its_flag() {
        let first = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = Server::bind(first.local_addr()).await.expect_err("taken").to_string();
        assert!(error.starts_with(&format!("--metrics-addr {}: ", first.local_addr())), "{error}");
    }
}
