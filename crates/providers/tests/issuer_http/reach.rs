//! Hosts that the client may reach: guarded hosts, plain HTTP, and proxies.

use super::{Stand, failed};
use axum::Router;
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use videotoken_providers::Class;
use videotoken_providers::hosts::{HostPolicy, NetworkGuard};
use videotoken_providers::http::{HttpOptions, Proxies};

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
                assert_eq!((error.class, &*error.reason), (Class::Configuration, "HostNotAllowed"), "{error}");
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
    assert_eq!((error.class, &*error.reason), (Class::Configuration, "InsecureEndpoint"));
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
        through(HostPolicy::guarded::<&str>(&[], Arc::new(guard)))
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
        assert_eq!((error.class, &*error.reason), (Class::Transient, "ConnectFailed"), "{error}");
        let begins = format!("no connection to vi.example through the proxy {proxy}: ");
        assert!(error.message.starts_with(&begins) && error.message.contains(way_out), "{status}: {error}");
        assert!(asked.load(Ordering::SeqCst) <= 2, "{status}");
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named() {
    let stand = Stand::serving(Router::new()).await;
    let (url, _) = proxy(None).await;
    let named = format!("no connection to vi.example through the proxy {}: ", url.trim_start_matches("http://"));
    let options = HttpOptions { proxies: Proxies::Through { proxy: url, except: String::new() }, ..stand.options() };
    let error = failed(stand.get(&options, "https://vi.example/").await);
    assert_eq!((error.class, &*error.reason), (Class::Transient, "ConnectFailed"), "{error}");
    assert!(error.message.starts_with(&named), "{error}");
}
