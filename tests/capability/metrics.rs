//! What a scrape tells is what happened, to the call and to the second; docs/reference/metrics.md tells all of it.

use crate::OPERATOR;
use chrono::{DateTime, TimeDelta, Utc};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use std::ops::RangeInclusive;
use std::time::Duration;
use testkit::chart;
use testkit::emulator::{Fault, HoldPoint, Life, Rule, example};
use testkit::scene::{SOON, Scene, client_secret, condition, hosts};
use testkit::stand::scrape::{Family, families};
use testkit::stand::{Failure, Matcher, Operator, eventually};
use testkit::tls::ClientCertificate;

/// A name, some of its labels, and the sum of the values that they have.
type Expected<'a> = (&'a str, &'a [(&'a str, &'a str)], RangeInclusive<f64>);

const INDEXER: (&str, &str) = ("provider_type", "videoIndexer");

/// Waits until a scrape tells all of it: gauges follow within a second.
async fn tells(operator: &Operator, expected: &[Expected<'_>]) {
    eventually(SOON, "the metrics", async || {
        let metrics = operator.metrics().await.map_err(|error| error.to_string())?;
        for (name, labels, values) in expected {
            let value = metrics.sum(name, labels);
            if !value.is_some_and(|value| values.contains(&value)) {
                return Err(format!("{name} {labels:?} is {value:?}, not {values:?}"));
            }
        }
        Ok(())
    })
    .await;
}

fn exactly(value: impl Into<f64>) -> RangeInclusive<f64> {
    let value = value.into();
    value..=value
}

/// What the emulator has seen must be what the operator tells: tokens issued, calls refused, with this status or that.
async fn agrees(scene: &Scene, operator: &Operator, failures: &[(u16, &str, &str)]) {
    let control = scene.azure.video_indexer.control();
    let count = |n: u64| exactly(f64::from(u32::try_from(n).unwrap()));
    let told = async || -> Result<(), String> {
        let counters = control.counters();
        let metrics = operator.metrics().await.map_err(|error| error.to_string())?;
        let check = |name: &str, labels: &[(&str, &str)], expected: RangeInclusive<f64>| {
            let value = metrics.count(name, labels);
            if expected.contains(&value) {
                Ok(())
            } else {
                Err(format!("{name} {labels:?}: {value}, not {expected:?}"))
            }
        };
        check("videotoken_issuances_total", &[INDEXER], count(counters.issued))?;
        let answered = counters.statuses.values().sum();
        check("videotoken_issue_duration_seconds_count", &[INDEXER], count(answered))?;
        check("videotoken_issue_duration_seconds_bucket", &[INDEXER, ("le", "+Inf")], count(answered))?;
        check("videotoken_issue_failures_total", &[INDEXER], count(answered - counters.issued))?;
        for (status, class, reason) in failures {
            let labels = [INDEXER, ("class", class), ("reason", reason)];
            let refused = counters.statuses.get(status).copied().unwrap_or_default();
            check("videotoken_issue_failures_total", &labels, count(refused))?;
        }
        Ok(())
    };
    eventually(SOON, "the metrics agree with the provider", told).await;
}

fn second(object: &Value, member: &str) -> f64 {
    let text = object["status"][member].as_str().unwrap();
    let time = DateTime::parse_from_rfc3339(text).unwrap().timestamp();
    f64::from(i32::try_from(time).unwrap())
}

/// A provider whose certificate ends at midnight in ten days, and one whose Secret is not there. Returns that midnight.
async fn more_providers(scene: &Scene) -> f64 {
    let day = (Utc::now() + TimeDelta::days(10)).date_naive();
    let certificate = ClientCertificate::until("ends", day).unwrap();
    let keys = json!({"tls.crt": certificate.certificate_pem, "tls.key": certificate.private_key_pem});
    scene.apply(&scene.keys("ends", &hosts(&scene.azure).join(","), &keys)).await.unwrap();
    let auth = json!({"clientCertificate": {"tenantId": example::TENANT_ID, "clientId": example::CLIENT_ID,
        "secretRef": {"name": "ends"}}});
    scene.apply(&scene.provider("certified", &auth)).await.unwrap();
    scene.apply(&scene.provider("broken", &client_secret("not-there"))).await.unwrap();
    let midnight = day.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp();
    f64::from(i32::try_from(midnight).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_every_metric_tells_what_happened_and_the_documentation_tells_every_metric() {
    let scene = Scene::new("metrics", OPERATOR).await.unwrap();
    let operator = scene.operator().await.unwrap();
    let midnight = more_providers(&scene).await;
    issues(&scene, &operator).await;
    failures(&scene, &operator).await;
    throttle(&scene, &operator).await;
    repair_and_writes(&scene, &operator).await;
    expiry(&scene, &operator).await;
    let refusals = [(503, "transient", "ServerError"), (403, "denied", "Forbidden"), (429, "throttled", "Throttled")];
    agrees(&scene, &operator, &refusals).await;

    let of = |name| [("kind", "TokenProvider"), ("namespace", scene.namespace.as_str()), ("name", name)];
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    tells(
        &operator,
        &[
            ("videotoken_provider_ready", &of("indexer"), exactly(1)),
            ("videotoken_provider_ready", &of("certified"), exactly(1)),
            ("videotoken_provider_ready", &of("broken"), exactly(0)),
            ("videotoken_provider_credential_expiry_timestamp_seconds", &[], exactly(midnight)),
            ("videotoken_leader", &[], exactly(1)),
            ("videotoken_build_info", &version, exactly(1)),
            ("videotoken_clock_skew_seconds", &[("source", "apiserver")], -2.0..=2.0),
        ],
    )
    .await;

    let scrape = operator.scrape().await.unwrap();
    for name in ["lobby", "garage", "short"] {
        let token = scene.held(name).await.unwrap();
        assert!(!scrape.contains(&token), "a token in {scrape}");
    }
    assert!(!scrape.contains(example::CLIENT_SECRET), "{scrape}");
    chart::run(&chart::tool("promtool").unwrap(), &["check", "metrics"], &scrape).unwrap();
    check_documentation(&scrape);
}

async fn issues(scene: &Scene, operator: &Operator) {
    let lobby = scene.ready_token("lobby", &json!({})).await.unwrap();
    scene.ready_token("garage", &json!({})).await.unwrap();
    agrees(scene, operator, &[]).await;
    let of = [("namespace", scene.namespace.as_str()), ("name", "lobby")];
    tells(
        operator,
        &[
            ("videotoken_issuances_total", &[], exactly(2)),
            ("videotoken_budget_wait_seconds_count", &[], exactly(2)),
            ("videotoken_tokens", &[], exactly(2)),
            ("videotoken_tokens", &[("state", "ready")], exactly(2)),
            ("videotoken_token_expiry_timestamp_seconds", &of, exactly(second(&lobby, "expiresAt"))),
            ("videotoken_token_renew_timestamp_seconds", &of, exactly(second(&lobby, "renewAt"))),
            ("videotoken_token_ready", &[], exactly(2)),
            ("videotoken_expired_token_seconds_total", &[], exactly(0)),
        ],
    )
    .await;
    // of a provider whose clock is ahead
    scene.azure.video_indexer.control().play_once(Fault::ClockAhead(400));
    renew(scene, "lobby", 2).await;
    tells(operator, &[("videotoken_clock_skew_seconds", &[("source", "videoIndexer")], 398.0..=402.0)]).await;
}

async fn renew(scene: &Scene, name: &str, issuances: u32) {
    scene.force_renewal(name).await.unwrap();
    scene.until_that(name, "renewed", |object| object["status"]["issuances"] == issuances).await.unwrap();
}

/// One that is tried again, and one that only a change can end; both while the good token lives.
async fn failures(scene: &Scene, operator: &Operator) {
    let control = scene.azure.video_indexer.control();
    let refuse = |code| Rule::new(Fault::Status { code, body: "{}".to_owned(), headers: Vec::new() });
    control.play(refuse(503));
    scene.force_renewal("lobby").await.unwrap();
    let failed = |object: &Value| object["status"]["failedAttempts"].as_u64() > Some(0);
    scene.until_that("lobby", "fails", failed).await.unwrap();
    tells(operator, &[("videotoken_tokens", &[("state", "failing")], exactly(1))]).await;
    control.clear_faults();
    scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == 3).await.unwrap();

    control.play(refuse(403));
    scene.force_renewal("garage").await.unwrap();
    scene.until("garage", "Stalled", "True", "Forbidden").await.unwrap();
    let live = [
        ("videotoken_tokens", [("state", "stalled")].as_slice(), exactly(1)),
        ("videotoken_tokens", &[("state", "ready")], exactly(1)),
        ("videotoken_token_ready", &[], exactly(2)),
    ];
    tells(operator, &live).await;
    control.clear_faults();
    scene.touch("garage").await.unwrap();
    scene.until_that("garage", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    tells(operator, &[("videotoken_tokens", &[("state", "ready")], exactly(2))]).await;
    agrees(scene, operator, &[(503, "transient", "ServerError"), (403, "denied", "Forbidden")]).await;
}

/// Five seconds in the queue, and then a call that is held.
async fn throttle(scene: &Scene, operator: &Operator) {
    const WAIT: u8 = 5;
    let control = scene.azure.video_indexer.control();
    let granted = operator.metrics().await.unwrap().count("videotoken_budget_wait_seconds_sum", &[]);
    control.play_once(Fault::Throttle { retry_after: Some(WAIT.into()) });
    scene.force_renewal("lobby").await.unwrap();
    tells(operator, &[("videotoken_budget_queue_depth", &[], exactly(1))]).await;
    let hold = control.hold(HoldPoint::Request, None);
    tokio::time::timeout(SOON, hold.reached()).await.unwrap();
    tells(
        operator,
        &[
            ("videotoken_budget_queue_depth", &[], exactly(0)),
            ("videotoken_in_flight", &[], exactly(1)),
            // it is asked for in whole seconds, and held to the instant
            ("videotoken_throttled_seconds_total", &[INDEXER], f64::from(WAIT) - 0.01..=f64::from(WAIT) + 0.01),
            (
                "videotoken_budget_wait_seconds_sum",
                &[],
                granted + f64::from(WAIT) - 1.0..=granted + f64::from(WAIT) + 5.0,
            ),
        ],
    )
    .await;
    hold.release();
    scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == 4).await.unwrap();
    tells(operator, &[("videotoken_in_flight", &[], exactly(0))]).await;
}

/// A Secret that another hand deletes, and one write that the API server refuses.
async fn repair_and_writes(scene: &Scene, operator: &Operator) {
    scene.secrets().delete("garage", &DeleteParams::default()).await.unwrap();
    scene.until_that("garage", "repaired", |object| object["status"]["issuances"] == 3).await.unwrap();
    let failing = scene.proxy.fail(Matcher::patch("secrets").name("lobby").first(1), Failure::Status(500));
    renew(scene, "lobby", 5).await;
    assert_eq!(failing.hits(), 1);
    let writes = scene.proxy.count(&Matcher::patch("secrets"));
    let writes = f64::from(u32::try_from(writes).unwrap());
    let of = |code_class| [("verb", "patch"), ("resource", "secrets"), ("code_class", code_class)];
    tells(
        operator,
        &[
            ("videotoken_kubernetes_requests_total", &of("2xx"), exactly(writes - 1.0)),
            ("videotoken_kubernetes_requests_total", &of("5xx"), exactly(1)),
        ],
    )
    .await;
}

/// A token that its provider doesn't renew in time.
async fn expiry(scene: &Scene, operator: &Operator) {
    let control = scene.azure.video_indexer.control();
    control.set_life(Life::Seconds(12));
    let short = scene.ready_token("short", &json!({})).await.unwrap();
    control.set_life(Life::Promised);
    control.play(Rule::new(Fault::Status { code: 503, body: "{}".to_owned(), headers: Vec::new() }));
    scene.until("short", "Ready", "False", "Expired").await.unwrap();
    let of = [("namespace", scene.namespace.as_str()), ("name", "short")];
    tells(
        operator,
        &[
            ("videotoken_tokens", &[("state", "expired")], exactly(1)),
            ("videotoken_token_ready", &of, exactly(0)),
            ("videotoken_expired_token_seconds_total", &[], 2.0..=30.0),
        ],
    )
    .await;
    control.clear_faults();
    scene.touch("short").await.unwrap();
    let renewed = scene.until("short", "Ready", "True", "").await.unwrap();
    tells(operator, &[("videotoken_tokens", &[("state", "expired")], exactly(0))]).await;
    // from the expiry to the write, looked at each second
    let expired = second(&renewed, "issuedAt") - second(&short, "expiresAt");
    let told = [("videotoken_expired_token_seconds_total", [].as_slice(), expired - 1.5..=expired + 3.0)];
    tells(operator, &told).await;
    assert_eq!(condition(&renewed, "Stalled")["status"], "False");
}

/// The table of docs/reference/metrics.md has one row for each metric of a scrape, with type, labels and HELP.
fn check_documentation(scrape: &str) {
    let row = |(name, Family { kind, help, labels }): (String, Family)| {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
        format!("| `{name}` | {kind} | {labels} | {help} |")
    };
    let expected: Vec<_> = families(scrape).into_iter().map(row).collect();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut found: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
    found.sort_unstable();
    assert_eq!(found, expected, "docs/reference/metrics.md should have:\n{}\n", expected.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_operators_leads_and_the_other_takes_over() {
    let mut scene = Scene::new("leads", OPERATOR).await.unwrap();
    scene.options.leader_elect = true;
    let mut first = scene.operator().await.unwrap();
    tells(&first, &[("videotoken_leader", &[], exactly(1))]).await;
    let second = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    // both know of the token, one has issued it
    for (operator, leads) in [(&first, 1), (&second, 0)] {
        let ready = [("state", "ready")];
        let ready = [("videotoken_leader", [].as_slice(), exactly(leads)), ("videotoken_tokens", &ready, exactly(1))];
        tells(operator, &ready).await;
        let issued = operator.metrics().await.unwrap().count("videotoken_issuances_total", &[]);
        assert!(exactly(leads).contains(&issued), "{issued}");
    }
    let stopped = first.terminate().await.unwrap();
    assert!(stopped.took < Duration::from_secs(20));
    tells(&second, &[("videotoken_leader", &[], exactly(1))]).await;
}
