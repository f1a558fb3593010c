//! P07, P08, P13: whatever a provider answers, the failure has a class, the good token stays, and the end of the fault
//! is the end of the failure.

use crate::OPERATOR;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::emulator::{Fault, Rule, example};
use testkit::scene::{SOON, Scene, client_secret, condition};
use testkit::stand::eventually;

/// One fault at a renewal. Token, provider and account are named after it, so that no fault meets another's account.
struct Case {
    name: &'static str,
    fault: Fault,
    class: &'static str,
    reason: &'static str,
    says: &'static [&'static str],
    /// The answer's head arrived, so that its id is told.
    has_id: bool,
    /// Only a change helps: `Stalled`, tried again after a minute at first.
    stalled: bool,
}

impl Case {
    fn transient(name: &'static str, fault: Fault, reason: &'static str, says: &'static [&'static str]) -> Self {
        Self { name, fault, class: "Transient", reason, says, has_id: true, stalled: false }
    }

    /// Resource Manager's own form, one error within another.
    fn arm(name: &'static str, status: u16, class: &'static str, reason: &'static str) -> Self {
        let inner = json!({"code": "InnerCode", "message": "the inner words", "target": "accountName"});
        let body = json!({"error": {"code": "OuterCode", "message": "the outer words", "details": [inner]}});
        let fault = Fault::Status { code: status, body: body.to_string(), headers: Vec::new() };
        let says = &["OuterCode: the outer words", "InnerCode: the inner words"];
        let stalled = ["Configuration", "Denied"].contains(&class);
        Self { name, fault, class, reason, says, has_id: true, stalled }
    }
}

fn cases() -> Vec<Case> {
    let without_id = |case: Case| Case { has_id: false, ..case };
    let stall = Fault::Stall(Duration::from_mins(1));
    vec![
        Case::transient("huge", Fault::HugeBody, "BodyTooLarge", &["more than 64 KiB"]),
        Case::transient("half-json", Fault::HalfJson, "BadAnswer", &["HTTP 200", "no JSON"]),
        Case::transient(
            "html",
            Fault::Html,
            "BadAnswer",
            &["HTTP 200", "a page in HTML, \"Sign in\", from 127.0.0.1:"],
        ),
        Case::transient("expired-token", Fault::ExpiredToken, "ExpiredToken", &["expired at"]),
        Case::transient("no-token", Fault::NoToken, "BadAnswer", &["no token in it"]),
        Case::transient("cut-body", Fault::CutBody, "BadAnswer", &["broke off"]),
        without_id(Case::transient("stall", stall, "Timeout", &["no answer from 127.0.0.1:", " within "])),
        Case::arm("bad-request", 400, "Configuration", "BadRequest"),
        Case::arm("forbidden", 403, "Denied", "Forbidden"),
        Case::arm("not-found", 404, "Configuration", "NotFound"),
        Case::arm("unauthorized", 401, "Credential", "Unauthorized"),
        Case::arm("conflict", 409, "Transient", "Conflict"),
        Case::arm("server-error", 500, "Transient", "ServerError"),
        Case::arm("unavailable", 503, "Transient", "ServerError"),
        Case {
            name: "too-many",
            fault: Fault::Throttle { retry_after: Some(3) },
            class: "Throttled",
            reason: "Throttled",
            says: &["HTTP 429"],
            has_id: true,
            stalled: false,
        },
    ]
}

/// A provider with an account of its own.
async fn make_account(scene: &Scene, name: &str) {
    let id = format!("{}/providers/Microsoft.VideoIndexer/accounts/{name}", example::resource_group_id());
    scene.azure.video_indexer.add_account(&id);
    assert!(scene.azure.video_indexer.add_extension(&id, example::EXTENSION_ID));
    let mut provider = scene.provider(name, &client_secret("azure-login"));
    provider["spec"]["videoIndexer"]["accountName"] = name.into();
    scene.apply(&provider).await.unwrap();
    scene.apply(&scene.token(name, &json!({"providerRef": {"name": name}}))).await.unwrap();
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

/// What the status says of the failure, while the good token stays.
async fn check_told(scene: &Scene, case: &Case, token: &str) {
    let name = case.name;
    let told = |object: &Value| {
        let failure = &object["status"]["lastFailure"];
        failure["class"] == case.class && failure["reason"] == case.reason
    };
    let object = scene.until_that(name, &format!("tells {} {}", case.class, case.reason), told).await.unwrap();
    let failure = &object["status"]["lastFailure"];
    let message = failure["message"].as_str().unwrap();
    for word in case.says {
        assert!(message.contains(word), "{name}: {word:?} is not in {message:?}");
    }
    assert!(message.len() < 1024, "{name}: {message}");
    let requests = scene.azure.video_indexer.control().requests();
    let ids = requests.iter().filter(|seen| seen.call.target.account.ends_with(&format!("/{name}")));
    let known = ids.into_iter().any(|seen| failure["requestId"] == seen.call.request_id.to_string());
    assert_eq!(known, case.has_id, "{name}: {failure}");

    let [ready, issuing, stalled] = ["Ready", "Issuing", "Stalled"].map(|type_| condition(&object, type_));
    assert_eq!(ready["status"], "True", "{name}: {ready}");
    let (tells, other) = if case.stalled { (stalled, issuing) } else { (issuing, stalled) };
    assert_eq!((&tells["status"], &other["status"]), (&json!("True"), &json!("False")), "{name}: {tells} {other}");
    let reason = if case.class == "Credential" { "CredentialRejected" } else { case.reason };
    assert_eq!(tells["reason"], reason, "{name}");
    assert!(tells["message"].as_str().unwrap().contains(case.says[0]) || case.class == "Throttled", "{name}: {tells}");
    if case.stalled {
        // a minute, doubling, up to a fifth less; a 401 had a second try with a fresh Entra token
        let doubled = 60 << (object["status"]["failedAttempts"].as_u64().unwrap() - 1);
        let wait = (time(&failure["nextAttemptAt"]) - time(&failure["time"])).num_seconds();
        assert!((doubled * 4 / 5 - 1..=doubled + 1).contains(&wait), "{name}: {wait} s");
    }
    assert_eq!(scene.held(name).await.unwrap(), token, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p08_each_bad_answer_is_classed_keeps_the_good_token_and_ends_with_the_fault() {
    let scene = try_each("faults", cases()).await;
    for (name, first) in [("server-error", "IssueFailed"), ("forbidden", "Forbidden")] {
        let expected = [("Warning", first), ("Normal", "Recovered")];
        let expected = expected.map(|(type_, reason)| (type_.to_owned(), reason.to_owned(), 1));
        scene.until_events(name, |told| told == expected).await;
    }
}

/// On its own: providers share their connections to a host.
#[tokio::test(flavor = "multi_thread")]
async fn p08_a_connection_that_is_torn_down_keeps_the_good_token() {
    let reset = Case::transient("reset", Fault::ConnectionReset, "ConnectFailed", &["connection"]);
    try_each("reset", vec![Case { has_id: false, ..reset }]).await;
}

/// Each fault at a renewal, all at once; then without it.
async fn try_each(prefix: &str, cases: Vec<Case>) -> Scene {
    let mut scene = Scene::new(prefix, OPERATOR).await.unwrap();
    scene.options.args.push("--provider-timeout=5s".to_owned());
    let mut operator = scene.operator().await.unwrap();
    let control = scene.azure.video_indexer.control();
    let mut tokens = Vec::new();
    for case in &cases {
        make_account(&scene, case.name).await;
    }
    for case in &cases {
        tokens.push(scene.settled(case.name).await.unwrap());
        control.play(Rule::new(case.fault.clone()).account(&format!("/{}", case.name)));
    }
    for case in &cases {
        scene.force_renewal(case.name).await.unwrap();
    }
    for (case, token) in cases.iter().zip(&tokens) {
        check_told(&scene, case, token).await;
    }
    control.clear_faults();
    for case in &cases {
        scene.force_renewal(case.name).await.unwrap();
    }
    for (case, token) in cases.iter().zip(&tokens) {
        // the retry that the back-off had planned may come just before the one that is asked for
        let renewed = |object: &Value| matches!(object["status"]["issuances"].as_u64(), Some(2 | 3));
        let fine = |object: &Value| renewed(object) && object["status"]["failedAttempts"] == 0;
        let object = scene.until_that(case.name, "renewed", fine).await.unwrap();
        assert_eq!(object["status"]["lastFailure"], Value::Null, "{}", case.name);
        assert_ne!(scene.settled(case.name).await.unwrap(), *token, "{}", case.name);
    }
    assert!(operator.exited().is_none());
    assert!(!operator.logs().contains("panic"), "it panicked");
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn p13_a_token_without_a_readable_expiry_has_the_life_that_was_promised() {
    let scene = Scene::new("opaque", OPERATOR).await.unwrap();
    let control = scene.azure.video_indexer.control();
    let _operator = scene.operator().await.unwrap();
    for (name, fault) in [("opaque", Fault::OpaqueToken), ("no-jwt", Fault::NotJwt), ("no-exp", Fault::NoExpiry)] {
        control.play(fault);
        scene.apply(&scene.token(name, &json!({"lifetime": "2h"}))).await.unwrap();
        let object = scene.until(name, "Ready", "True", "ExpiryAssumed").await.unwrap();
        let life = time(&object["status"]["expiresAt"]) - time(&object["status"]["issuedAt"]);
        assert_eq!(life, TimeDelta::hours(2), "{name}");
        let token = scene.settled(name).await.unwrap();
        control.clear_faults();
        scene.force_renewal(name).await.unwrap();
        scene.until(name, "Ready", "True", "TokenIssued").await.unwrap();
        assert_ne!(scene.settled(name).await.unwrap(), token, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_a_throttled_account_is_left_alone_by_all_its_objects_for_as_long_as_it_asked() {
    const OBJECTS: usize = 20;
    const WAIT: u64 = 30;
    let scene = Scene::new("throttled", OPERATOR).await.unwrap();
    let mut provider = scene.provider("indexer", &client_secret("azure-login"));
    provider["spec"]["limits"]["concurrency"] = 3.into();
    scene.apply(&provider).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let name = |n: usize| format!("camera-{n}");
    for n in 0..OBJECTS {
        scene.apply(&scene.token(&name(n), &json!({}))).await.unwrap();
    }
    for n in 0..OBJECTS {
        scene.settled(&name(n)).await.unwrap();
    }
    let control = scene.azure.video_indexer.control();
    let before = control.requests().len();
    control.play(Rule::new(Fault::Throttle { retry_after: Some(WAIT) }).times(1));
    for n in 0..OBJECTS {
        scene.force_renewal(&name(n)).await.unwrap();
    }
    eventually(SOON * 3, "all are renewed", async || {
        let issued = scene.issued();
        if issued >= 2 * OBJECTS { Ok(()) } else { Err(format!("{issued} issued")) }
    })
    .await;
    let requests = control.requests();
    let first = requests[before].call.time;
    let wait = TimeDelta::from_std(Duration::from_secs(WAIT)).unwrap();
    let meanwhile = requests[before..].iter().filter(|seen| seen.call.time < first + wait).count();
    assert!(meanwhile <= 3, "{meanwhile} requests in the {WAIT} s that it asked for");
    for n in 0..OBJECTS {
        scene.settled(&name(n)).await.unwrap();
    }
}

/// A wait is told when it has lasted for half a minute.
async fn waits(scene: &Scene, name: &str, reason: &str) -> Value {
    let told = |object: &Value| condition(object, "Issuing")["reason"] == reason;
    scene.until_within(SOON * 3, name, &format!("waits: {reason}"), told).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_a_refused_credential_is_tried_by_one_and_heals_all_once_it_changes() {
    const OBJECTS: usize = 6;
    let scene = Scene::new("refused-login", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    let name = |n: usize| format!("camera-{n}");
    let mut tokens = Vec::new();
    for n in 0..OBJECTS {
        scene.apply(&scene.token(&name(n), &json!({}))).await.unwrap();
    }
    for n in 0..OBJECTS {
        tokens.push(scene.settled(&name(n)).await.unwrap());
    }
    // after a restart nothing is known of the credential
    operator.terminate().await.unwrap();
    let entra = &scene.azure.entra;
    assert!(entra.revoke_secret(example::CLIENT_ID, example::CLIENT_SECRET));
    let before = entra.control().requests().len();
    for n in 0..OBJECTS {
        scene.force_renewal(&name(n)).await.unwrap();
    }
    let _operator = scene.operator().await.unwrap();
    for (n, token) in tokens.iter().enumerate() {
        let object = waits(&scene, &name(n), "CredentialRejected").await;
        assert_eq!(condition(&object, "Ready")["status"], "True");
        assert_eq!(scene.held(&name(n)).await.unwrap(), *token);
    }
    assert_eq!(entra.control().requests().len() - before, 1, "one tried for all");

    assert!(entra.add_secret(example::CLIENT_ID, "a-new-one"));
    scene.patch_secret("azure-login", &json!({"stringData": {"client-secret": "a-new-one"}})).await.unwrap();
    for (n, token) in tokens.iter().enumerate() {
        scene.until_that(&name(n), "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
        assert_ne!(scene.settled(&name(n)).await.unwrap(), *token);
    }
}
