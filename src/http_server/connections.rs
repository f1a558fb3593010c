//! Connections of the metrics port: bounds on each, and which one is closed for a new one.
//!
//! The port has no login. Clients that connect and send nothing, or ask and never read, must take bounded memory and
//! keep no other client out. So the numbers of connections and of large answers are bounded, and a new one closes the
//! oldest. A probe asks at once and reads its few bytes at once: it needs a connection for a moment and no place among
//! the large answers, and never waits.

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

/// Connections at once. Each takes some 20 kB.
pub const MOST_CONNECTIONS: usize = 128;
/// Large answers at once, from when they are made until their last byte is sent.
pub const MOST_ANSWERS: usize = 8;
/// How long a client may take to ask.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection lasts, whatever happens on it: one question and its answer.
const LONGEST: Duration = Duration::from_secs(30);
/// How long a client waits for a place among the large answers before the eldest has to go.
const PATIENCE: Duration = Duration::from_secs(2);
/// After a failed accept (no file descriptors are left).
const PAUSE: Duration = Duration::from_millis(100);

/// Open connections, the oldest first.
#[derive(Default)]
struct Connected(Mutex<BTreeMap<u64, AbortHandle>>);

impl Connected {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, AbortHandle>> {
        self.0.lock()
    }

    /// Closes this connection. The answer that is being sent is dropped.
    fn end(&self, number: u64) {
        if let Some(task) = self.lock().remove(&number) {
            task.abort();
        }
    }

    /// Lets the eldest go if there are more than may be.
    fn make_room(&self) {
        let mut all = self.lock();
        while all.len() >= MOST_CONNECTIONS {
            if let Some((_, task)) = all.pop_first() {
                task.abort();
            }
        }
    }
}

/// Serves until `stop` resolves; then finishes what is under way, for `grace` at most.
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
    // dropped with it: all that is still connected
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
    // a client that breaks off needs no answer
    let _ = tokio::time::timeout(LONGEST, conversation).await;
    connected.lock().remove(&number);
}

/// Connection of a request.
#[derive(Clone)]
struct Asker {
    number: u64,
    connected: Arc<Connected>,
}

/// Places for large answers.
#[derive(Clone)]
pub(super) struct Places(Arc<Inner>);

struct Inner {
    free: Arc<Semaphore>,
    /// Connections with a place, the oldest first.
    taken: Mutex<BTreeMap<u64, Asker>>,
}

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Inner { free: Arc::new(Semaphore::new(MOST_ANSWERS)), taken: Mutex::default() }))
    }
}

/// A place among the large answers. It is free again when it is dropped, after the last byte of the answer.
struct Place {
    inner: Arc<Inner>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.lock().remove(&self.number);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Asker>> {
        self.taken.lock()
    }

    /// Waits for a place, and after a while for no longer than the eldest takes to go.
    async fn take(self: Arc<Self>, asker: Asker) -> Option<Place> {
        // as often as there may be others who wait
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
            return Some(Place { inner: self.clone(), number, _permit: permit.ok()? });
        }
        None
    }
}

/// A large answer keeps its place until its last byte is sent: the connection holds the bytes, and the bytes the place.
struct Placed {
    bytes: Bytes,
    _place: Place,
}

impl AsRef<[u8]> for Placed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Around a route whose answers are large.
pub(super) async fn placed(State(places): State<Places>, request: Request, next: Next) -> Response {
    let Some(asker) = request.extensions().get::<Asker>().cloned() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let Some(place) = places.0.take(asker).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many ask at once: ask again").into_response();
    };
    let (head, body) = next.run(request).await.into_parts();
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(bytes) => Response::from_parts(head, Body::from(Bytes::from_owner(Placed { bytes, _place: place }))),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
