//! The operator as a process, played by this very program.

use std::time::Duration;

use axum::{Router, routing::get};
use testkit::stand::{Kubeconfig, Operator, OperatorOptions};
use tokio::signal::unix::{SignalKind, signal};

/// Not a test: what the stand-in below runs. It ends by itself soon when nobody wants it.
#[tokio::test]
#[ignore = "the other tests run it as the operator"]
async fn stands_in_for_the_operator() {
    let Ok(address) = std::env::var("STAND_IN_ADDR") else { return };
    assert!(std::fs::read_to_string(std::env::var("KUBECONFIG").unwrap()).unwrap().contains("http://nowhere"));
    println!("RUST_LOG={} TOKEN={:?}", std::env::var("RUST_LOG").unwrap(), std::env::var_os("CARGO_MANIFEST_DIR"));
    let app = Router::new()
        .route("/readyz", get(async || "ok"))
        .route("/metrics", get(async || "calls_total{code=\"200\"} 2\ncalls_total{code=\"500\"} 1\n# EOF\n"));
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let mut stop = signal(SignalKind::terminate()).unwrap();
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            stop.recv().await;
        })
        .await
        .unwrap();
}

fn stand_in() -> OperatorOptions {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stand/stand-in.sh");
    let this = std::env::current_exe().unwrap().to_string_lossy().into_owned();
    let login = Kubeconfig::new("http://nowhere", None, "hidden");
    OperatorOptions { env: vec![("STAND_IN".into(), this)], ..OperatorOptions::new(script, login, "apart") }
}

#[tokio::test]
async fn an_operator_starts_is_scraped_and_stops() {
    let allowed_endpoints = vec!["localhost:1".into(), "a.example".into()];
    let options = OperatorOptions { allowed_endpoints, ..stand_in() };
    let mut operator = Operator::start(&options).await.unwrap();
    let metrics = operator.metrics().await.unwrap();
    assert_eq!(metrics.sum("calls_total", &[]), Some(3.0));
    assert_eq!(metrics.count("calls_total", &[("code", "404")]).to_bits(), 0.0_f64.to_bits());
    assert!(operator.rss_bytes().unwrap() > 100_000);
    let stopped = operator.terminate().await.unwrap();
    assert!(stopped.status.success(), "{stopped:?}");
    assert!(stopped.took < Duration::from_secs(5), "{stopped:?}");
    let logs = operator.logs();
    let flags = ["--watch-namespaces=apart", "--allowed-endpoint=localhost:1", "--allowed-endpoint=a.example"];
    for said in flags.iter().chain(&["--leader-elect=false", "RUST_LOG=info TOKEN=None"]) {
        assert!(logs.contains(said), "{said} is not in\n{logs}");
    }
}

#[tokio::test]
async fn a_killed_operator_is_gone_at_once() {
    let mut operator = Operator::start(&stand_in()).await.unwrap();
    let pid = operator.pid();
    operator.kill9();
    assert!(!operator.exited().unwrap().success());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(operator.metrics().await.is_err());
}

#[tokio::test]
async fn an_operator_that_ends_at_start_says_why() {
    let options = OperatorOptions { env: Vec::new(), ..stand_in() };
    let error = format!("{:#}", Operator::start(&options).await.unwrap_err());
    assert!(error.contains("exit status: 2") && error.contains("no such flag"), "{error}");
}
