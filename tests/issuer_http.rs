//! The one HTTP client against servers that misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get};
use futures::StreamExt as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testkit::tls::{CertificateAuthority, Raw, Server, serve, serve_on, serve_raw};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use videotoken_providers::hosts::{HostPolicy, NetworkGuard};
use videotoken_providers::http::{Answer, Call, Http, HttpOptions, MAX_BODY, Proxies};
use videotoken_providers::{Class, IssueError};

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

    async fn get(&self, options: &HttpOptions, url: &str) -> Result<Answer, IssueError> {
        Http::new(options).unwrap().send(Call::get(url.parse().unwrap())).await
    }

    /// GETs a path with a good client.
    async fn path(&self, path: &str) -> Result<Answer, IssueError> {
        self.get(&self.options(), &format!("{}{path}", self.server.url())).await
    }
}

fn failed(outcome: Result<Answer, IssueError>) -> IssueError {
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
    assert_eq!((error.class, error.reason), (Class::Transient, "BodyTooLarge"));
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
        let started = Instant::now();
        let error = failed(stand.get(&options, &url).await);
        assert_eq!((error.class, error.reason), (Class::Transient, "Timeout"), "{url}: {error}");
        assert!(started.elapsed() < Duration::from_secs(2), "{url}");
    }
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let router = Router::new()
        .route("/moved", get(async || Redirect::temporary("/target?code=x")))
        .route("/target", get(async || "followed"));
    let stand = Stand::serving(router).await;
    let error = failed(stand.path("/moved").await);
    assert_eq!((error.class, error.reason), (Class::Transient, "Redirected"));
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
async fn a_tls_fault_says_what_is_wrong() {
    let stand = Stand::serving(Router::new().route("/", get(async || "ok"))).await;
    let other = serve_on("127.0.0.2:0".parse().unwrap(), Router::new(), &stand.ca).await.unwrap();
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain_url = format!("https://{}", plain.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    let trusting = stand.options();
    let distrusting = HttpOptions { ca_pem: None, ..stand.options() };
    let cases = [
        (&distrusting, stand.server.url(), "give the issuing CA in spec.caBundle"),
        (&trusting, other.url(), "its certificate is for another name"),
        (&trusting, plain_url, "it doesn't speak TLS there"),
    ];
    for (options, url, expected) in cases {
        let error = failed(stand.get(options, &url).await);
        assert_eq!((error.class, error.reason), (Class::Transient, "TlsFailed"), "{error}");
        assert!(error.message.ends_with(expected), "{error}");
    }
    assert_eq!(stand.arrived.load(Ordering::SeqCst), 0);
}

/// As servers on the premises come: no CA issued it.
#[tokio::test]
async fn a_self_signed_certificate_is_trusted_once_it_is_given() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let [own, other, ca] = [false, false, true].map(|ca| CertificateAuthority::self_signed(ca).unwrap());
    let get = async |presented: &CertificateAuthority, trusted: Option<&CertificateAuthority>| {
        let server = serve(Router::new().route("/", get(async || "ok")), presented).await.unwrap();
        let ca_pem = trusted.map(CertificateAuthority::ca_pem);
        let options = HttpOptions { ca_pem, proxies: Proxies::Never, ..HttpOptions::default() };
        Http::new(&options).unwrap().send(Call::get(server.url().parse().unwrap())).await
    };
    assert_eq!(get(&own, Some(&own)).await.unwrap().status, 200);
    for (presented, trusted, expected) in [
        (&own, None, "give the issuing CA in spec.caBundle"),
        (&own, Some(&other), "its certificate"),
        (&ca, Some(&ca), "basicConstraints=CA:FALSE"),
    ] {
        let error = failed(get(presented, trusted).await);
        assert_eq!(error.reason, "TlsFailed");
        assert!(error.message.contains(expected), "{error}");
    }
}

/// Where failed logins lock a user, only what was certainly not sent is no login.
#[tokio::test]
async fn p07_whatever_becomes_of_a_request_that_was_read_it_was_sent() {
    let stand = Stand::serving(Router::new()).await;
    let head = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}content-length: 2\r\n\r\n{{}}").into_bytes();
    let many = "x-a: b\r\n".repeat(200);
    let cases = [
        ("closes", Raw::Say(Vec::new())),
        ("resets", Raw::Reset),
        ("200 headers", Raw::Say(head(&many))),
        ("a NUL in a header", Raw::Say(head("x-a: b\0c\r\n"))),
        ("a folded header", Raw::Say(head("x-a: b\r\n c\r\n"))),
        ("no HTTP", Raw::Say(b"220 smtp.example ESMTP\r\n".to_vec())),
        ("half a head", Raw::Say(b"HTTP/1.1 200 OK\r\nx-a: ".to_vec())),
        ("half a body", Raw::Say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec())),
        (
            "a compressed body",
            Raw::Say(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n\x1f\x8b".to_vec()),
        ),
        ("another protocol's preface", Raw::Say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec())),
    ];
    for (what, answer) in cases {
        let (server, read) = serve_raw(&stand.ca, answer).await.unwrap();
        let call = Call::post(server.url().parse().unwrap()).form([("password", "open sesame")]);
        let error = failed(Http::new(&stand.options()).unwrap().send(call).await);
        assert!(!error.unsent && error.class == Class::Transient, "{what}: {error}");
        assert!(what != "a compressed body" || error.message.contains("is compressed (gzip)"), "{error}");
        assert_eq!(read.load(Ordering::SeqCst), 1, "{what}: never twice");
    }
}

#[tokio::test]
async fn p07_what_reached_nobody_was_not_sent() {
    let stand = Stand::serving(Router::new().route("/", get(async || "ok"))).await;
    let other = serve_on("127.0.0.2:0".parse().unwrap(), Router::new(), &stand.ca).await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let deaf_url = format!("https://{}", deaf.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = deaf.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    let good = stand.options();
    let guarded = HostPolicy::guarded(&["vi.example"], Arc::new(NetworkGuard::default()));
    let through = Proxies::Through { proxy: deaf_url.replace("https", "http"), except: String::new() };
    let cases = [
        ("refused", format!("https://{closed}"), good.clone()),
        ("no such name", "https://nowhere.invalid".to_owned(), good.clone()),
        ("an unknown issuer", stand.server.url(), HttpOptions { ca_pem: None, ..good.clone() }),
        ("another name", other.url(), good.clone()),
        ("no TLS", deaf_url, good.clone()),
        ("a proxy that refuses", stand.server.url(), HttpOptions { proxies: through, ..good.clone() }),
        ("a host that isn't allowed", stand.server.url(), HttpOptions { hosts: guarded, ..good.clone() }),
        ("no https", stand.server.url().replace("https", "http"), good.clone()),
    ];
    for (what, url, options) in cases {
        let call = Call::post(url.parse().unwrap()).form([("password", "open sesame")]);
        let error = failed(Http::new(&options).unwrap().send(call).await);
        assert!(error.unsent, "{what}: {error}");
    }
    let unspeakable = Call::post(stand.server.url().parse().unwrap()).bearer(&"one\ntwo".into());
    assert!(failed(Http::new(&good).unwrap().send(unspeakable).await).unsent);
    assert_eq!(stand.arrived.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_tls_fault_names_the_field_that_the_cas_come_from() {
    let stand = Stand::serving(Router::new().route("/", get(async || "ok"))).await;
    let ca_source = "spec.caBundleRef (ConfigMap corp-ca, key ca.crt)".to_owned();
    let other = CertificateAuthority::self_signed(false).unwrap().ca_pem();
    let options = HttpOptions { ca_pem: Some(other), ca_source, ..stand.options() };
    let error = failed(stand.get(&options, &stand.server.url()).await);
    let way_out = "give the issuing CA in spec.caBundleRef (ConfigMap corp-ca, key ca.crt)";
    assert!(error.reason == "TlsFailed" && error.message.contains(way_out), "{error}");
    let broken = HttpOptions { ca_pem: Some("no PEM".to_owned()), ..options };
    let error = Http::new(&broken).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "spec.caBundleRef (ConfigMap corp-ca, key ca.crt): no PEM certificate found");
}

#[tokio::test]
async fn a_connection_that_fails_says_where() {
    let stand = Stand::serving(Router::new()).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = failed(stand.get(&stand.options(), &format!("https://{closed}")).await);
    assert_eq!((refused.class, refused.reason), (Class::Transient, "ConnectFailed"));
    assert!(refused.message.starts_with(&format!("no connection to {closed}: ")), "{refused}");
    let unknown = failed(stand.get(&stand.options(), "https://nowhere.invalid").await);
    assert_eq!((unknown.class, unknown.reason), (Class::Transient, "DnsFailed"));
    assert!(unknown.message.contains("nowhere.invalid"), "{unknown}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_bad_answer_and_a_refusal_stays_one() {
    let broken = async |status: u16| {
        let half = futures::stream::iter([Ok("half of")]);
        let end = futures::stream::once(async {
            // Long enough for the first half to leave.
            tokio::time::sleep(Duration::from_millis(50)).await;
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
    assert_eq!((error.class, error.reason), (Class::Transient, "BadAnswer"), "{error}");
    assert_eq!(error.request_id.as_deref(), Some("id-1"));
    assert_eq!(stand.path("/refusal").await.unwrap().refusal().class, Class::Denied);
}

#[tokio::test]
async fn a_guarded_client_sends_nothing_where_it_may_not() {
    let stand = Stand::serving(Router::new().route("/", get(async || "ok"))).await;
    let port = stand.server.addr().port();
    let guarded = |allowed: &[&str]| {
        let allowed = allowed.iter().map(|pattern| pattern.parse().unwrap()).collect();
        let guard = Arc::new(NetworkGuard { allowed, ..NetworkGuard::default() });
        HttpOptions { hosts: HostPolicy::guarded(&["localhost"], guard), ..stand.options() }
    };
    let by_name = format!("https://localhost:{port}/");
    let by_address = format!("https://127.0.0.1:{port}/");
    let cases = [
        // Public by its name, but it resolves to a loopback address.
        (&by_name, guarded(&[]), false),
        (&by_name, guarded(&["*.localhost"]), false),
        (&by_name, guarded(&["localhost"]), true),
        (&by_name, guarded(&["127.0.0.1", "::1"]), true),
        (&by_address, guarded(&[]), false),
        (&by_address, guarded(&["localhost"]), false),
        (&by_address, guarded(&["127.0.0.1"]), true),
    ];
    for (url, options, admitted) in cases {
        stand.arrived.store(0, Ordering::SeqCst);
        match stand.get(&options, url).await {
            Ok(_) => assert!(admitted, "{url} {:?}", options.hosts),
            Err(error) => {
                assert!(!admitted, "{url} {:?}: {error}", options.hosts);
                assert_eq!((error.class, error.reason), (Class::Configuration, "HostNotAllowed"), "{error}");
            }
        }
        assert_eq!(stand.arrived.load(Ordering::SeqCst), usize::from(admitted));
    }
}

#[tokio::test]
async fn plain_http_is_called_only_when_allowed() {
    let stand = Stand::serving(Router::new()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(async || "plain"))).await });
    let error = failed(stand.get(&stand.options(), &url).await);
    assert_eq!((error.class, error.reason), (Class::Configuration, "InsecureEndpoint"));
    let insecure = HttpOptions { allow_insecure: true, ..stand.options() };
    assert_eq!(stand.get(&insecure, &url).await.unwrap().body, b"plain");
}

/// A proxy that tunnels `CONNECT` to `to`, or refuses it; it notes what it was asked for.
async fn proxy(to: Option<SocketAddr>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let log = log.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap_or_default();
                let line = String::from_utf8_lossy(&head[..read]).lines().next().unwrap_or_default().to_owned();
                log.lock().unwrap().push(line);
                let Some(to) = to else {
                    let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
                    return;
                };
                let Ok(mut target) = TcpStream::connect(to).await else { return };
                let _ = stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await;
                let _ = copy_bidirectional(&mut stream, &mut target).await;
            });
        }
    });
    (url, asked)
}

#[tokio::test]
async fn behind_a_proxy_the_proxy_resolves_and_only_exact_names_count() {
    let stand = Stand::serving(Router::new().route("/", get(async || "ok"))).await;
    let (url, asked) = proxy(Some(stand.server.addr())).await;
    let through = |hosts| HttpOptions {
        proxies: Proxies::Through { proxy: url.clone(), except: String::new() },
        hosts,
        ..stand.options()
    };
    let guarded = |pattern: &str| {
        let guard = NetworkGuard { allowed: vec![pattern.parse().unwrap()], ..NetworkGuard::default() };
        through(HostPolicy::guarded(&[], Arc::new(guard)))
    };
    // A name that resolves nowhere: were it looked up here, the call would fail.
    let name = "https://localhost/";
    assert_eq!(stand.get(&through(HostPolicy::Any), name).await.unwrap().body, b"ok");
    assert_eq!(stand.get(&guarded("localhost"), name).await.unwrap().body, b"ok");
    assert_eq!(*asked.lock().unwrap(), ["CONNECT localhost:443 HTTP/1.1"; 2]);
    let wildcard = stand.get(&guarded("*.example"), "https://vi.example/").await;
    assert_eq!(failed(wildcard).reason, "HostNotAllowed");
    assert_eq!(asked.lock().unwrap().len(), 2);
}

/// A proxy that answers every CONNECT with this status line, and notes how often.
async fn refusing_proxy(status: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut head = vec![0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await;
        }
    });
    (url, asked)
}

#[tokio::test]
async fn a_proxy_that_refuses_a_tunnel_is_told_with_its_status_and_a_way_out() {
    let stand = Stand::serving(Router::new()).await;
    for (status, way_out) in [
        ("403 Forbidden", "with HTTP 403 (Forbidden): let its rules allow vi.example:443"),
        ("502 Bad Gateway", "with HTTP 502 (Bad Gateway): it doesn't reach vi.example:443"),
        ("503 sesame", "with HTTP 503 (Service Unavailable): it doesn't reach vi.example:443"),
        ("302 Found", "with HTTP 302 (Found): it wants a login"),
        ("407 Proxy Authentication Required", "it wants a user and a password (HTTP 407)"),
        ("nonsense", "tunnel error: unsuccessful"),
    ] {
        let (url, asked) = refusing_proxy(status).await;
        let proxy = url.trim_start_matches("http://").to_owned();
        let options =
            HttpOptions { proxies: Proxies::Through { proxy: url, except: String::new() }, ..stand.options() };
        let error = failed(stand.get(&options, "https://vi.example/").await);
        assert_eq!((error.class, error.reason), (Class::Transient, "ConnectFailed"), "{error}");
        let begins = format!("no connection to vi.example through the proxy {proxy}: ");
        assert!(error.message.starts_with(&begins) && error.message.contains(way_out), "{status}: {error}");
        assert!(asked.load(Ordering::SeqCst) <= 2, "{status}");
    }
}

#[tokio::test]
async fn a_ca_that_got_another_key_under_its_name_is_told() {
    let stand = Stand::serving(Router::new().route("/", get(async || "ok"))).await;
    let former = CertificateAuthority::generate().unwrap();
    let options = HttpOptions { ca_pem: Some(former.ca_pem()), ..stand.options() };
    let error = failed(stand.get(&options, &stand.server.url()).await);
    assert_eq!((error.class, error.reason), (Class::Transient, "TlsFailed"), "{error}");
    assert!(
        error.message.contains("new certificate in spec.caBundle") && error.message.contains("127.0.0.1"),
        "{error}"
    );
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
    let started = Instant::now();
    let error = failed(http.send(call("/hang")).await);
    assert_eq!((error.class, error.reason), (Class::Transient, "Timeout"), "{error}");
    assert!(error.message.contains("stopped answering: the next call opens another connection"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    http.send(call("/")).await.unwrap();

    // calls that are shorter than the pings: the connection goes all the same
    let hasty = Http::new(&HttpOptions { timeout: Duration::from_secs(1), ..stand.options() }).unwrap();
    hasty.send(call("/")).await.unwrap();
    let started = Instant::now();
    let error = failed(hasty.send(call("/hang")).await);
    assert_eq!(error.message, format!("no answer from {} within 1 s", stand.server.addr()));
    while let Err(error) = hasty.send(call("/")).await {
        assert!(started.elapsed() < Duration::from_secs(12), "{error}");
    }
    assert_eq!(hung.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named() {
    let stand = Stand::serving(Router::new()).await;
    let (url, _) = proxy(None).await;
    let named = format!("no connection to vi.example through the proxy {}: ", url.trim_start_matches("http://"));
    let options = HttpOptions { proxies: Proxies::Through { proxy: url, except: String::new() }, ..stand.options() };
    let error = failed(stand.get(&options, "https://vi.example/").await);
    assert_eq!((error.class, error.reason), (Class::Transient, "ConnectFailed"), "{error}");
    assert!(error.message.starts_with(&named), "{error}");
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
    assert_eq!((error.class, error.reason), (Class::Credential, "BadCredential"));
    assert!(!format!("{error} {error:?}").contains("line"), "{error}");
    assert_eq!(stand.arrived.load(Ordering::SeqCst), 0);
}
