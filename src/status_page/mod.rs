//! The status page: a read-only table of all tokens and providers at `/` of the metrics port, off by default.
//!
//! | File | Contents |
//! |---|---|
//! | this | the route and its headers |
//! | `host` | host names under which the page is served |
//! | `view` | the query and the rows of the response; pure over `now` |
//! | `html` | the rows as HTML; a single function writes and escapes all text |
//! | `page.css`, `page.js` | the style, and the script that updates the table; the page is complete without it |
//!
//! The page reads the same memory as the reconciles: it sends no request to the API server, and works on a standby too.
//! It must not contain tokens or data of Secrets. Its content is defined by [`TokenEntry`] and [`Provider`].

mod host;
mod html;
mod view;

pub use view::{PageQuery, Provider, TokenEntry};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use videotoken_providers::clock;
use view::Snapshot;

/// Source of all tokens and providers.
pub trait Source: Send + Sync {
    /// Returns each token once, in any order. Called from a thread that may block.
    fn tokens(&self) -> Vec<TokenEntry>;

    /// Returns each provider object once, in any order.
    fn providers(&self) -> Vec<Provider>;

    /// Returns true if this process is the leader and issues tokens.
    fn leads(&self) -> bool;
}

/// Time for which all requests get the same snapshot, so that many requests cost no more than one. Dropped afterwards.
const FRESH: Duration = Duration::from_secs(1);

/// State of the status page. Cheap to clone.
#[derive(Clone, Default)]
pub struct Page(Arc<Shared>);

#[derive(Default)]
struct Shared {
    hosts: Vec<String>,
    source: OnceLock<Arc<dyn Source>>,
    gathered: Mutex<Option<Arc<Snapshot>>>,
}

impl Page {
    /// Creates a page that is also served under these names, in addition to addresses, `localhost` and names of
    /// Services.
    pub fn new(hosts: &[String]) -> Self {
        let hosts = hosts.iter().map(|host| host.trim_end_matches('.').to_ascii_lowercase()).collect();
        Self(Arc::new(Shared { hosts, ..Shared::default() }))
    }

    /// Sets the source of the page. Only the first call has an effect.
    pub fn set_source(&self, source: Arc<dyn Source>) {
        // A second source would contain the same objects, so the first one stays.
        let _ = self.0.source.set(source);
    }

    /// Returns the route of the page.
    pub fn routes(self) -> Router {
        // Base64 and constant text are always a valid header value.
        let policy = HeaderValue::from_str(&html::policy()).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Router::new().route("/", get(show)).with_state((self, policy))
    }

    /// Returns the snapshot of the last second, or a new one, and true if it is new. Call it from a thread that may
    /// block.
    fn gather(&self, source: &dyn Source) -> (Arc<Snapshot>, bool) {
        // The lock is held while the snapshot is created, so that concurrent requests get the same one.
        let mut gathered = self.0.gathered.lock();
        if let Some(fresh) = gathered.as_ref() {
            return (Arc::clone(fresh), false);
        }
        let now = clock::now().wall;
        let fresh = Arc::new(Snapshot::new(source.tokens(), source.providers(), source.leads(), now));
        *gathered = Some(Arc::clone(&fresh));
        (fresh, true)
    }

    async fn expire_snapshot(self) {
        tokio::time::sleep(FRESH).await;
        *self.0.gathered.lock() = None;
    }
}

async fn show(
    State((page, policy)): State<(Page, HeaderValue)>,
    Query(query): Query<PageQuery>,
    request: HeaderMap,
) -> Response {
    let host = request.get(header::HOST).and_then(|host| host.to_str().ok());
    if !host::admits(host, &page.0.hosts) {
        // Without the name, because its text is untrusted.
        let refusal = "This page isn't served under this name. Ask for it by an address, by localhost or by the \
                       Service's name, or start the operator with --status-page-host=NAME.\n";
        return (StatusCode::MISDIRECTED_REQUEST, refusal).into_response();
    }
    let Some(source) = page.0.source.get().cloned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the operator starts: nothing is known yet").into_response();
    };
    let (headers, gathering) = (headers(policy), page.clone());
    // Ten thousand rows take milliseconds, which is too long for a thread that serves other connections.
    let written = tokio::task::spawn_blocking(move || {
        let (snapshot, fresh) = gathering.gather(&*source);
        (html::page(&snapshot, &snapshot.answer(&query)), fresh)
    });
    match written.await {
        Ok((text, fresh)) => {
            if fresh {
                tokio::spawn(page.expire_snapshot());
            }
            (headers, text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Returns headers that permit only the script and style of the page, forbid framing, and disable caching.
fn headers(policy: HeaderValue) -> [(HeaderName, HeaderValue); 7] {
    let fixed = HeaderValue::from_static;
    [
        (header::CONTENT_TYPE, fixed("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, fixed("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::REFERRER_POLICY, fixed("no-referrer")),
        (HeaderName::from_static("cross-origin-resource-policy"), fixed("same-origin")),
        (HeaderName::from_static("cross-origin-opener-policy"), fixed("same-origin")),
    ]
}
