//! The error of a failed request states whether the request was sent.

use super::{Stand, failed};
use axum::Router;
use axum::routing::get;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use testkit::tls::{Raw, serve_on, serve_raw};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use videotoken_providers::Class;
use videotoken_providers::hosts::{HostPolicy, NetworkGuard};
use videotoken_providers::http::{Call, Http, HttpOptions, Proxies};

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
