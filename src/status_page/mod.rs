//! The status page: a read-only table of all tokens and providers at `/` of the metrics port, off by default.
//!
//! | File | What lives there |
//! |---|---|
//! | this | the route and its headers |
//! | `host` | by which names it may be asked for |
//! | `view` | what is asked for, and the rows that answer it; pure over `now` |
//! | `html` | the rows as HTML; every text is escaped by the one function that writes one |
//! | `page.css`, `page.js` | the style and the script that brings the table up to date; the page is whole without |
//!
//! It reads the memory that reconciles read: no request to the API server, on a standby too. May not enter: a token or a
//! Secret's data; what it shows is in [`Told`] and [`Provider`].

mod host;
mod html;
mod view;

pub use view::{Asked, Provider, Told};

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

/// Who knows all tokens and providers.
pub trait Source: Send + Sync {
    /// Each token once, in any order. Called from a thread that may wait.
    fn tokens(&self) -> Vec<Told>;

    /// Each provider object once, in any order.
    fn providers(&self) -> Vec<Provider>;

    /// This process issues; another does else.
    fn leads(&self) -> bool;
}

/// Many who look cost no more than one: what was gathered serves all for this long, and is then let go.
const FRESH: Duration = Duration::from_secs(1);

/// What the page is served from. Cheap to clone.
#[derive(Clone, Default)]
pub struct Page(Arc<Shared>);

#[derive(Default)]
struct Shared {
    hosts: Vec<String>,
    source: OnceLock<Arc<dyn Source>>,
    gathered: Mutex<Option<Arc<Snapshot>>>,
}

impl Page {
    /// A page that is read under these names too, beside addresses, `localhost` and names of Services.
    pub fn new(hosts: &[String]) -> Self {
        let hosts = hosts.iter().map(|host| host.trim_end_matches('.').to_ascii_lowercase()).collect();
        Self(Arc::new(Shared { hosts, ..Shared::default() }))
    }

    /// Where the page finds what it shows from now on. The first call counts.
    pub fn serve(&self, source: Arc<dyn Source>) {
        // a second source would be a second owner of the same objects: the first stays
        let _ = self.0.source.set(source);
    }

    /// Its route.
    pub fn routes(self) -> Router {
        // base64 and this program's own text: always a header's value
        let policy = HeaderValue::from_str(&html::policy()).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Router::new().route("/", get(show)).with_state((self, policy))
    }

    /// What was gathered within the last second, or what is gathered now. From a thread that may wait.
    fn gather(&self, source: &dyn Source) -> (Arc<Snapshot>, bool) {
        // held while it gathers: who comes meanwhile takes the same
        let mut gathered = self.0.gathered.lock();
        if let Some(fresh) = gathered.as_ref() {
            return (Arc::clone(fresh), false);
        }
        let now = clock::now().wall;
        let fresh = Arc::new(Snapshot::new(source.tokens(), source.providers(), source.leads(), now));
        *gathered = Some(Arc::clone(&fresh));
        (fresh, true)
    }

    async fn let_go(self) {
        tokio::time::sleep(FRESH).await;
        *self.0.gathered.lock() = None;
    }
}

async fn show(
    State((page, policy)): State<(Page, HeaderValue)>,
    Query(asked): Query<Asked>,
    asking: HeaderMap,
) -> Response {
    let host = asking.get(header::HOST).and_then(|host| host.to_str().ok());
    if !host::admits(host, &page.0.hosts) {
        // without the name: it may be anything
        let refusal = "This page isn't served under this name. Ask for it by an address, by localhost or by the \
                       Service's name, or start the operator with --status-page-host=NAME.\n";
        return (StatusCode::MISDIRECTED_REQUEST, refusal).into_response();
    }
    let Some(source) = page.0.source.get().cloned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the operator starts: nothing is known yet").into_response();
    };
    let (headers, gathering) = (headers(policy), page.clone());
    // ten thousand rows take milliseconds: too long for a thread that serves everybody
    let written = tokio::task::spawn_blocking(move || {
        let (snapshot, fresh) = gathering.gather(&*source);
        (html::page(&snapshot, &snapshot.answer(&asked)), fresh)
    });
    match written.await {
        Ok((text, fresh)) => {
            if fresh {
                tokio::spawn(page.let_go());
            }
            (headers, text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Nothing but the page's own script and style runs, nobody frames it, nothing keeps it.
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
