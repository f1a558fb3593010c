//! The one HTTP client against servers that misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod reach;
mod sent;
mod tls;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get};
use futures::StreamExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use testkit::stand::eventually;
use testkit::tls::{CertificateAuthority, Server, serve};
use tokio::net::TcpListener;
use tokio::time::timeout;
use videotoken_providers::http::{Call, Http, HttpOptions, MAX_BODY, ProviderResponse, Proxies};
use videotoken_providers::{Class, IssueError};

/// Longer than any of these calls may take.
const SOON: Duration = Duration::from_secs(30);

struct Stand {
    ca: CertificateAuthority,
    server: Server,
    arrived: Arc<AtomicUsize>,
}

impl Stand {
    async fn serving(router: Router) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = CertificateAuthority::generate().unwrap();
        let arrived = Arc::new(AtomicUsize::new(0));
        let counter = arrived.clone();
        let count = move |request: Request| {
            counter.fetch_add(1, Ordering::SeqCst);
            std::future::ready(request)
        };
        let router = router.layer(axum::middleware::map_request(count));
        let server = serve(router, &ca).await.unwrap();
        Self { ca, server, arrived }
    }

    fn options(&self) -> HttpOptions {
        HttpOptions {
            ca_pem: Some(self.ca.ca_pem()),
            timeout: Duration::from_secs(5),
            proxies: Proxies::Never,
            ..HttpOptions::default()
        }
    }

    async fn get(&self, options: &HttpOptions, url: &str) -> Result<ProviderResponse, IssueError> {
        Http::new(options).unwrap().send(Call::get(url.parse().unwrap())).await
    }

    /// GETs a path with a good client.
    async fn path(&self, path: &str) -> Result<ProviderResponse, IssueError> {
        self.get(&self.options(), &format!("{}{path}", self.server.url())).await
    }
}

fn failed(outcome: Result<ProviderResponse, IssueError>) -> IssueError {
    outcome.map(|answer| answer.status).unwrap_err()
}

fn huge() -> Body {
    Body::from(vec![b'A'; 10 * 1024 * 1024])
}

#[tokio::test]
async fn p13_a_body_is_bounded() {
    let router = Router::new()
        .route("/huge", get(async || huge()))
        .route("/full", get(async || vec![b'A'; MAX_BODY]))
        .route("/throttled", get(async || (axum::http::StatusCode::TOO_MANY_REQUESTS, [("retry-after", "9")], huge())));
    let stand = Stand::serving(router).await;
    let error = failed(stand.path("/huge").await);
    assert_eq!((error.class, &*error.reason), (Class::Transient, "BodyTooLarge"));
    assert_eq!(stand.path("/full").await.unwrap().body.len(), MAX_BODY);
    // A failure's status counts, however much is said.
    let answer = stand.path("/throttled").await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (429, MAX_BODY));
    assert_eq!(answer.retry_after, Some(Duration::from_secs(9)));
}

#[tokio::test]
async fn p13_a_call_is_bounded_in_time() {
    let drip = async || {
        let chunks = futures::stream::unfold((), async |()| {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, std::io::Error>("a"), ()))
        });
        Body::from_stream(chunks)
    };
    let router = Router::new().route("/stall", get(std::future::pending::<Response>)).route("/drip", get(drip));
    let stand = Stand::serving(router).await;
    let options = HttpOptions { timeout: Duration::from_millis(300), ..stand.options() };
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = [
        format!("{}/stall", stand.server.url()),
        format!("{}/drip", stand.server.url()),
        format!("https://{}", silent.local_addr().unwrap()),
    ];
    for url in urls {
        let error = failed(timeout(SOON, stand.get(&options, &url)).await.expect("it ends"));
        assert_eq!((error.class, &*error.reason), (Class::Transient, "Timeout"), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let router = Router::new()
        .route("/moved", get(async || Redirect::temporary("/target?code=x")))
        .route("/target", get(async || "followed"));
    let stand = Stand::serving(router).await;
    let error = failed(stand.path("/moved").await);
    assert_eq!((error.class, &*error.reason), (Class::Transient, "Redirected"));
    assert_eq!(stand.arrived.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn p06_both_forms_of_retry_after_are_read() {
    let throttled = async |value: String| {
        let headers = [("retry-after", value), ("date", "Sun, 22 Nov 2026 12:00:00 GMT".to_owned())];
        (axum::http::StatusCode::TOO_MANY_REQUESTS, headers, "slow down").into_response()
    };
    let router = Router::new()
        .route("/seconds", get(async move || throttled("30".to_owned()).await))
        .route("/date", get(async move || throttled("Sun, 22 Nov 2026 12:00:30 GMT".to_owned()).await));
    let stand = Stand::serving(router).await;
    for path in ["/seconds", "/date"] {
        let error = stand.path(path).await.unwrap().refusal();
        assert_eq!((error.class, error.retry_after), (Class::Throttled, Some(Duration::from_secs(30))), "{path}");
        assert_eq!(error.message, "HTTP 429: slow down");
    }
}

#[tokio::test]
async fn a_connection_that_fails_says_where() {
    let stand = Stand::serving(Router::new()).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = failed(stand.get(&stand.options(), &format!("https://{closed}")).await);
    assert_eq!((refused.class, &*refused.reason), (Class::Transient, "ConnectFailed"));
    assert!(refused.message.starts_with(&format!("no connection to {closed}: ")), "{refused}");
    let unknown = failed(stand.get(&stand.options(), "https://nowhere.invalid").await);
    assert_eq!((unknown.class, &*unknown.reason), (Class::Transient, "DnsFailed"));
    assert!(unknown.message.contains("nowhere.invalid"), "{unknown}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_bad_answer_and_a_refusal_stays_one() {
    let broken = async |status: u16| {
        let half = futures::stream::iter([Ok("half of")]);
        let end = futures::stream::once(async {
            // the server sends what it has before it asks again
            tokio::task::yield_now().await;
            Err(std::io::Error::other("gone"))
        });
        let status = axum::http::StatusCode::from_u16(status).unwrap();
        (status, [("x-ms-request-id", "id-1")], Body::from_stream(half.chain(end))).into_response()
    };
    let router = Router::new()
        .route("/success", get(async move || broken(200).await))
        .route("/refusal", get(async move || broken(403).await));
    let stand = Stand::serving(router).await;
    let error = failed(stand.path("/success").await);
    assert_eq!((error.class, &*error.reason), (Class::Transient, "BadAnswer"), "{error}");
    assert_eq!(error.request_id.as_deref(), Some("id-1"));
    assert_eq!(stand.path("/refusal").await.unwrap().refusal().class, Class::Denied);
}

#[tokio::test]
async fn a_connection_that_hangs_is_dropped_and_the_next_call_has_another() {
    let hung = Arc::new(AtomicUsize::new(0));
    let first = hung.clone();
    let router = Router::new().route("/", get(async || "ok")).route(
        "/hang",
        get(async move |axum::Extension(connection): axum::Extension<testkit::tls::Connection>| {
            first.fetch_add(1, Ordering::SeqCst);
            connection.hang();
            std::future::pending::<Response>().await
        }),
    );
    let stand = Stand::serving(router).await;
    let http = Http::new(&HttpOptions { timeout: Duration::from_secs(30), ..stand.options() }).unwrap();
    let call = |path: &str| Call::get(format!("{}{path}", stand.server.url()).parse().unwrap());
    http.send(call("/")).await.unwrap();
    let error = failed(http.send(call("/hang")).await);
    assert_eq!((error.class, &*error.reason), (Class::Transient, "Timeout"), "{error}");
    assert!(error.message.contains("stopped answering: the next call opens another connection"), "{error}");
    http.send(call("/")).await.unwrap();

    // calls that are shorter than the pings: the connection goes all the same
    let hasty = Http::new(&HttpOptions { timeout: Duration::from_secs(1), ..stand.options() }).unwrap();
    hasty.send(call("/")).await.unwrap();
    let error = failed(hasty.send(call("/hang")).await);
    assert_eq!(error.message, format!("no answer from {} within 1 s", stand.server.addr()));
    eventually(SOON, "another connection", async || hasty.send(call("/")).await.map(drop)).await;
    assert_eq!(hung.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_call_carries_its_headers_and_body() {
    let echo = async |headers: HeaderMap, body: String| {
        let header = |name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        let names = ["authorization", "x-key", "content-type", "user-agent", "x-ms-client-request-id"];
        serde_json::json!({"headers": names.map(header), "body": body}).to_string()
    };
    let stand = Stand::serving(Router::new().route("/", any(echo))).await;
    let http = Http::new(&stand.options()).unwrap();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let call = Call::post(stand.server.url().parse().unwrap())
            .bearer(&" token\n".into())
            .secret_header("x-key".parse().unwrap(), &"key".into())
            .client_request_id("x-ms-client-request-id".parse().unwrap())
            .form([("a", "1 2"), ("b", "&")]);
        let answer: serde_json::Value = serde_json::from_slice(&http.send(call).await.unwrap().body).unwrap();
        let headers = answer["headers"].as_array().unwrap();
        let expected = ["Bearer token", "key", "application/x-www-form-urlencoded", "video-token-operator/0.1.0"];
        assert_eq!(headers[..4], expected);
        assert_eq!(answer["body"], "a=1+2&b=%26");
        ids.push(uuid::Uuid::parse_str(headers[4].as_str().unwrap()).unwrap());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn p11_a_credential_that_no_header_can_carry_is_refused_unspoken() {
    let stand = Stand::serving(Router::new()).await;
    let call = Call::get(stand.server.url().parse().unwrap()).bearer(&"line one\nline two".into());
    let error = failed(Http::new(&stand.options()).unwrap().send(call).await);
    assert_eq!((error.class, &*error.reason), (Class::Credential, "BadCredential"));
    assert!(!format!("{error} {error:?}").contains("line"), "{error}");
    assert_eq!(stand.arrived.load(Ordering::SeqCst), 0);
}
