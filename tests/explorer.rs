//! A sample of what `make explore` plays: disturbances at the operator's requests, each in a run of its own.
#![allow(clippy::unwrap_used)]

use testkit::explorer::{self, Options};

/// Plans that failed once.
const FOUND: [&str; 4] = [
    "rename: rename-before@patch secrets entrance#1",
    "rename: renew-after@get secrets:metadata entrance#1",
    "failover: rename-after@list tokenproviders -#1",
    "failover: rename-before@list secrets:metadata -#1 + crash-before@watch videoaccesstokens -#1",
];

fn options() -> Options {
    Options { operator: Some(env!("CARGO_BIN_EXE_video-token-operator").into()), ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_plans_that_failed_once_pass() {
    let plan = FOUND.map(|plan| plan.parse().unwrap()).into();
    let report = explorer::run(&Options { plan, ..options() }).await.unwrap();
    assert!(report.is_clean(), "\n{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_what_disturbs_a_request_breaks_no_promise() {
    let report = explorer::run(&Options { runs: Some(200), workers: 32, ..options() }).await.unwrap();
    assert!(report.is_clean(), "\n{}", report.text());
    assert!(report.runs >= 200 && report.unreached < 40, "\n{}", report.text());
}
