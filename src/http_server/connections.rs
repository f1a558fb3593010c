//! Limits of the connections of the metrics port, and the choice of the connection that is closed for a new one.
//!
//! The port has no authentication. Clients that connect and send nothing, or send requests and never read, must use
//! bounded memory and must not block other clients. Therefore the numbers of connections and of large responses are
//! limited, and a new one closes the oldest. A probe sends its request and reads its few bytes at once. It needs a
//! connection for a moment, needs no permit for a large response, and never waits.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tower::ServiceExt;

/// Maximum number of connections. Each takes about 20 kB.
pub const MOST_CONNECTIONS: usize = 128;
/// Maximum number of large responses in progress, from their creation until their last byte is sent.
pub const MOST_ANSWERS: usize = 8;
/// Time in which a client must send its request.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// Maximum duration of a connection, which serves one request and its response.
const LONGEST: Duration = Duration::from_secs(30);
/// Time that a client waits for a permit for a large response before the oldest response is closed.
const PATIENCE: Duration = Duration::from_secs(2);
/// Delay after a failed accept (no file descriptors are left).
const PAUSE: Duration = Duration::from_millis(100);

/// Open connections, the oldest first.
#[derive(Default)]
struct Connected(Mutex<BTreeMap<u64, AbortHandle>>);

impl Connected {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, AbortHandle>> {
        self.0.lock()
    }

    /// Closes this connection. A response that is being sent is dropped.
    fn end(&self, number: u64) {
        if let Some(task) = self.lock().remove(&number) {
            task.abort();
        }
    }

    /// Closes the oldest connections until there is capacity for a new one.
    fn make_room(&self) {
        let mut all = self.lock();
        while all.len() >= MOST_CONNECTIONS {
            if let Some((_, task)) = all.pop_first() {
                task.abort();
            }
        }
    }
}

/// Serves until `stop` resolves, then finishes the requests in progress within `grace`.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Router,
    stop: impl Future<Output = ()> + Send,
    grace: Duration,
) {
    let connected = Arc::new(Connected::default());
    let mut tasks = JoinSet::new();
    let mut numbers = 0u64..;
    let accept = async {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            while tasks.try_join_next().is_some() {}
            connected.make_room();
            let number = numbers.next().unwrap_or_default();
            let task = tasks.spawn(converse(stream, routes.clone(), number, connected.clone()));
            connected.lock().insert(number, task);
        }
    };
    tokio::select! {
        biased;
        () = stop => {}
        _ = accept => {}
    }
    drop(listener);
    let _ = tokio::time::timeout(grace, async { while tasks.join_next().await.is_some() {} }).await;
    // Dropping `tasks` closes all remaining connections.
}

/// Serves one request.
async fn converse(stream: TcpStream, routes: Router, number: u64, connected: Arc<Connected>) {
    let asker = Asker { number, connected: connected.clone() };
    let service = routes.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(asker.clone());
        request.map(Body::new)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(ASK_WITHIN).keep_alive(false);
    let conversation = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    // A client that disconnects needs no response.
    let _ = tokio::time::timeout(LONGEST, conversation).await;
    connected.lock().remove(&number);
}

/// Connection of a request.
#[derive(Clone)]
struct Asker {
    number: u64,
    connected: Arc<Connected>,
}

/// Permits for large responses.
#[derive(Clone)]
pub(super) struct ResponsePermits(Arc<Inner>);

struct Inner {
    free: Arc<Semaphore>,
    /// Connections with a permit, the oldest first.
    taken: Mutex<BTreeMap<u64, Asker>>,
}

impl Default for ResponsePermits {
    fn default() -> Self {
        Self(Arc::new(Inner { free: Arc::new(Semaphore::new(MOST_ANSWERS)), taken: Mutex::default() }))
    }
}

/// Permit for a large response. It is returned when it is dropped, after the last byte of the response.
struct ResponsePermit {
    inner: Arc<Inner>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Drop for ResponsePermit {
    fn drop(&mut self) {
        self.inner.lock().remove(&self.number);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Asker>> {
        self.taken.lock()
    }

    /// Waits for a permit. If none is free after [`PATIENCE`], closes the oldest response.
    async fn acquire(self: Arc<Self>, asker: Asker) -> Option<ResponsePermit> {
        // Repeats as often as other clients may be waiting.
        for _ in 0..=MOST_ANSWERS {
            let Ok(permit) = tokio::time::timeout(PATIENCE, self.free.clone().acquire_owned()).await else {
                let eldest = self.lock().pop_first();
                if let Some((number, eldest)) = eldest {
                    eldest.connected.end(number);
                }
                continue;
            };
            let number = asker.number;
            self.lock().insert(number, asker);
            return Some(ResponsePermit { inner: self.clone(), number, _permit: permit.ok()? });
        }
        None
    }
}

/// A large response keeps its permit until its last byte is sent: the connection owns the bytes, and the bytes own the
/// permit.
struct PermittedBytes {
    bytes: Bytes,
    _permit: ResponsePermit,
}

impl AsRef<[u8]> for PermittedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Middleware for routes with large responses.
pub(super) async fn with_permit(State(permits): State<ResponsePermits>, request: Request, next: Next) -> Response {
    let Some(asker) = request.extensions().get::<Asker>().cloned() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let Some(permit) = permits.0.acquire(asker).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many ask at once: ask again").into_response();
    };
    let (head, body) = next.run(request).await.into_parts();
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(bytes) => {
            Response::from_parts(head, Body::from(Bytes::from_owner(PermittedBytes { bytes, _permit: permit })))
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
