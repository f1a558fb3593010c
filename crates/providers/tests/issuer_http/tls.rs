//! TLS failures: which certificates the client trusts, and its message for each failure.

use super::{Stand, failed};
use axum::Router;
use axum::routing::get;
use std::sync::atomic::Ordering;
use testkit::tls::{CertificateAuthority, serve, serve_chacha20, serve_on};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use videotoken_providers::Class;
use videotoken_providers::http::{Call, Http, HttpOptions, Proxies};

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
        assert_eq!((error.class, &*error.reason), (Class::Transient, "TlsFailed"), "{error}");
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
async fn a_ca_that_got_another_key_under_its_name_is_told() {
    let stand = Stand::serving(Router::new().route("/", get(async || "ok"))).await;
    let former = CertificateAuthority::generate().unwrap();
    let options = HttpOptions { ca_pem: Some(former.ca_pem()), ..stand.options() };
    let error = failed(stand.get(&options, &stand.server.url()).await);
    assert_eq!((error.class, &*error.reason), (Class::Transient, "TlsFailed"), "{error}");
    assert!(
        error.message.contains("new certificate in spec.caBundle") && error.message.contains("127.0.0.1"),
        "{error}"
    );
}

/// `make fips` runs this test in a FIPS build.
#[tokio::test]
async fn a_server_with_a_cipher_that_fips_does_not_approve_is_reached_by_other_builds_only() {
    let stand = Stand::serving(Router::new()).await;
    let server = serve_chacha20(Router::new().route("/", get(async || "ok")), &stand.ca).await.unwrap();
    let answer = stand.get(&stand.options(), &server.url()).await;
    if cfg!(feature = "fips") {
        let error = failed(answer);
        assert!(error.reason == "TlsFailed" && error.message.contains("none of the ciphers"), "{error}");
    } else {
        assert_eq!(answer.unwrap().status, 200);
    }
}
