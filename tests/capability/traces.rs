//! One trace for each attempt to issue a token; a collector that is away harms nothing.

use crate::OPERATOR;
use serde_json::json;
use std::time::Duration;
use testkit::collector::{Collector, Span};
use testkit::emulator::{Fault, example};
use testkit::scene::{SOON, Scene};
use testkit::stand::process::Scratch;
use testkit::stand::{Failure, Matcher, eventually};

/// Batches leave the process at once.
const AT_ONCE: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "100");

fn trace_to(scene: &mut Scene, url: &str) {
    scene.options.args.push(format!("--otlp-endpoint={url}"));
    scene.options.env = [AT_ONCE, ("POD_NAME", "operator-0"), ("OTEL_EXPORTER_OTLP_HEADERS", "x-scope=lobby")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
}

/// The traces that have arrived, each with its root first and its children by time; once there are so many.
async fn traces(collector: &Collector, count: usize) -> Vec<Vec<Span>> {
    eventually(SOON, &format!("{count} traces"), async || {
        let spans = collector.spans();
        let mut roots: Vec<_> = spans.iter().filter(|span| span.parent.is_empty()).cloned().collect();
        roots.sort_by_key(|root| root.ended);
        let whole = roots.into_iter().map(|root| {
            let mut children: Vec<_> = spans.iter().filter(|span| span.parent == root.id).cloned().collect();
            children.sort_by_key(|span| (span.begun, span.ended));
            std::iter::once(root).chain(children).collect::<Vec<_>>()
        });
        let whole: Vec<_> = whole.collect();
        let arrived: usize = whole.iter().map(Vec::len).sum();
        if whole.len() == count && arrived == spans.len() { Ok(whole) } else { Err(format!("{} roots", whole.len())) }
    })
    .await
}

fn names(trace: &[Span]) -> Vec<&str> {
    trace.iter().map(|span| span.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_an_issuance_is_one_trace_from_the_watch_event_to_the_status_write_and_no_token_is_in_it() {
    let mut scene = Scene::new("traces", OPERATOR).await.unwrap();
    let collector = Collector::start().await.unwrap();
    trace_to(&mut scene, &collector.url());
    let mut operator = scene.operator().await.unwrap();
    let before = chrono::Utc::now().timestamp_nanos_opt().unwrap().unsigned_abs();
    let lobby = scene.ready_token("lobby", &json!({})).await.unwrap();
    let first = scene.held("lobby").await.unwrap();

    let trace = traces(&collector, 1).await.remove(0);
    let whole = ["issue token", "reconcile", "budget wait", "provider call", "Secret write", "status write"];
    assert_eq!(names(&trace), whole);
    let root = &trace[0];
    assert!(trace.iter().all(|span| span.trace == root.trace && span.begun <= span.ended));
    assert!(trace[1..].iter().all(|span| span.begun >= root.begun && span.ended <= root.ended), "{trace:#?}");
    assert!(trace[1..].windows(2).all(|two| two[0].ended <= two[1].ended), "one after the other: {trace:#?}");
    assert!(root.begun >= before && root.ended - root.begun < 30_000_000_000, "{root:?}");
    let calls = scene.azure.video_indexer.control().requests();
    let request_id = calls.last().unwrap().call.request_id.to_string();
    for (name, value) in [
        ("k8s.namespace.name", scene.namespace.as_str()),
        ("k8s.object.kind", "VideoAccessToken"),
        ("k8s.object.name", "lobby"),
        ("k8s.object.uid", lobby["metadata"]["uid"].as_str().unwrap()),
        ("videotoken.provider", "TokenProvider/indexer"),
        ("videotoken.provider.type", "videoIndexer"),
        ("videotoken.cause", "First"),
        ("videotoken.outcome", "stored"),
        ("videotoken.request.id", &request_id),
    ] {
        assert_eq!(root.attributes.get(name).map(String::as_str), Some(value), "{name}: {:?}", root.attributes);
    }
    assert_eq!(trace.iter().map(|span| span.kind).collect::<Vec<_>>(), [1, 1, 1, 3, 3, 3], "who asks another");
    for (name, value) in [("service.name", "video-token-operator"), ("k8s.pod.name", "operator-0")] {
        assert_eq!(root.resource.get(name).map(String::as_str), Some(value), "{:?}", root.resource);
    }
    assert_eq!(collector.headers()[0]["x-scope"], "lobby", "the specification's variables hold");

    // a provider that refuses, and an API server that does: each is told where it happened
    scene.azure.video_indexer.control().play_once(Fault::Status { code: 403, body: "{}".into(), headers: Vec::new() });
    scene.force_renewal("lobby").await.unwrap();
    scene.until("lobby", "Stalled", "True", "Forbidden").await.unwrap();
    let trace = traces(&collector, 2).await.remove(1);
    assert_eq!(names(&trace), ["issue token", "reconcile", "budget wait", "provider call", "status write"]);
    for span in [&trace[0], &trace[3]] {
        assert_eq!(span.attributes["error.type"], "Forbidden");
        assert_eq!(span.attributes["videotoken.failure.class"], "Denied");
        assert!(span.error.as_ref().is_some_and(|message| !message.is_empty()));
    }
    let refused = scene.proxy.fail(Matcher::patch("secrets").name("lobby").first(1), Failure::Status(500));
    scene.touch("lobby").await.unwrap();
    scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    assert_eq!(refused.hits(), 1);
    let trace = traces(&collector, 3).await.remove(2);
    let writes: Vec<_> = trace.iter().filter(|span| span.name == "Secret write").collect();
    assert_eq!(writes.iter().map(|span| span.error.is_some()).collect::<Vec<_>>(), [true, false], "{trace:#?}");
    assert_eq!(trace[0].attributes["videotoken.outcome"], "stored");

    // the last batch leaves before the process does
    let second = scene.held("lobby").await.unwrap();
    assert!(operator.terminate().await.unwrap().status.success());
    let bytes = collector.bytes();
    for secret in [first.as_str(), second.as_str(), example::CLIENT_SECRET] {
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "a secret in a trace");
    }
    let object = scene.tokens().get("lobby").await.unwrap();
    assert!(bytes.windows(5).any(|part| part == b"lobby"), "what is looked through is what came: {object:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_behind_tls_is_trusted_by_the_systems_cas_and_named_by_the_environment() {
    let mut scene = Scene::new("traces-tls", OPERATOR).await.unwrap();
    let collector = Collector::start_tls(scene.azure.ca()).await.unwrap();
    let folder = Scratch::new("vto-trust-").unwrap();
    let trusted = folder.write("ca.pem", &scene.azure.ca_pem()).unwrap().display().to_string();
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    let login = ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20sesame-open-now".to_owned());
    let env = [endpoint, login, ("SSL_CERT_FILE", trusted), (AT_ONCE.0, AT_ONCE.1.to_owned())];
    scene.options.env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
    "trace".clone_into(&mut scene.options.rust_log);
    let operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    assert_eq!(traces(&collector, 1).await[0].len(), 6);
    assert_eq!(collector.headers()[0]["authorization"], "Bearer sesame-open-now");
    assert!(!operator.logs().contains("sesame-open"), "the login in a log line");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_harms_nothing_and_is_told_once() {
    let mut scene = Scene::new("traces-away", OPERATOR).await.unwrap();
    let gone = Collector::start().await.unwrap().url();
    trace_to(&mut scene, &gone);
    let mut operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    for issuances in 2..5 {
        scene.force_renewal("lobby").await.unwrap();
        scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == issuances).await.unwrap();
    }
    let told = "the collector takes no traces";
    eventually(SOON, "a word about it", async || if operator.logs().contains(told) { Ok(()) } else { Err("none") })
        .await;
    let stopped = operator.terminate().await.unwrap();
    assert!(stopped.status.success() && stopped.took < Duration::from_secs(10), "{stopped:?}");
    assert_eq!(operator.logs().matches(told).count(), 1, "{}", operator.logs());
}
