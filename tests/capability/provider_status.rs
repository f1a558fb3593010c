//! What a provider object's status tells, and what a restarted operator knows by it.

use crate::OPERATOR;
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use testkit::emulator::{Fault, Rule, example};
use testkit::scene::{Scene, condition, hosts};
use testkit::tls::ClientCertificate;

fn ready_reason(provider: &Value) -> Value {
    condition(provider, "Ready")["reason"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_tells_its_account_its_tokens_and_its_last_issue() {
    let scene = Scene::new("told", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    for name in ["lobby", "garage"] {
        scene.ready_token(name, &json!({})).await.unwrap();
    }
    let told = |object: &Value| object["status"]["tokens"] == 2 && object["status"]["lastIssuedAt"].is_string();
    let provider = scene.until_that_provider(told).await;
    let status = &provider["status"];
    assert_eq!((&status["type"], &status["account"]), (&json!("videoIndexer"), &json!(example::ACCOUNT_NAME)));
    assert_eq!(status["credentials"]["accepted"], true, "{status}");
    assert_eq!(condition(&provider, "Ready")["status"], "True");

    // told at most every 10 min: the second issue of a token is no reason to write
    let version = provider["metadata"]["resourceVersion"].clone();
    scene.force_renewal("lobby").await.unwrap();
    scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    scene.delete_token("garage").await.unwrap();
    let after = scene.until_that_provider(|object| object["status"]["tokens"] == 1).await;
    assert_eq!(after["status"]["lastIssuedAt"], status["lastIssuedAt"]);
    assert_ne!(after["metadata"]["resourceVersion"], version);
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_a_restart_remembers_that_the_credential_was_refused() {
    let scene = Scene::new("refused-once", OPERATOR).await.unwrap();
    let entra = &scene.azure.entra;
    // an expired secret: time doesn't heal it
    let expired = json!({"error": "invalid_client", "error_codes": [7_000_222]}).to_string();
    entra.control().play(Fault::Status { code: 401, body: expired, headers: Vec::new() });
    let mut operator = scene.operator().await.unwrap();
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    let refused = |object: &Value| object["status"]["lastFailure"]["class"] == "Credential";
    let lobby = scene.until_that("lobby", "refused", refused).await.unwrap();
    let next = &lobby["status"]["lastFailure"]["nextAttemptAt"];
    let wait = next.as_str().unwrap().parse::<chrono::DateTime<Utc>>().unwrap() - Utc::now();
    assert!((TimeDelta::minutes(13)..=TimeDelta::minutes(15)).contains(&wait), "the next attempt is at {next}");
    let provider = scene.until_that_provider(|object| ready_reason(object) == "CredentialRejected").await;
    let told = condition(&provider, "Ready")["message"].to_string();
    assert!(told.contains("AADSTS"), "what the provider said is not in {told}");
    assert_eq!(provider["status"]["credentials"]["accepted"], false);
    assert!(provider["status"]["credentials"]["nextAttemptAt"].is_string());

    for restart in ["first", "second"] {
        operator.kill9();
        operator = scene.operator().await.unwrap();
        // an object that is new to it is held back too: it asks, and is told why it waits
        scene.apply(&scene.token(restart, &json!({}))).await.unwrap();
        scene.until(restart, "Issuing", "True", "CredentialRejected").await.unwrap();
    }
    assert_eq!(entra.control().requests().len(), 1, "tried once, whatever restarts");

    entra.control().clear_faults();
    assert!(entra.add_secret(example::CLIENT_ID, "a-new-one"));
    scene.patch_secret("azure-login", &json!({"stringData": {"client-secret": "a-new-one"}})).await.unwrap();
    for name in ["lobby", "first", "second"] {
        scene.settled(name).await.unwrap();
    }
    scene.until_that_provider(|object| object["status"]["credentials"]["accepted"] == true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_a_restart_remembers_a_throttle() {
    let scene = Scene::new("throttled-once", OPERATOR).await.unwrap();
    let control = scene.azure.video_indexer.control();
    control.play(Rule::new(Fault::Throttle { retry_after: Some(300) }));
    let mut operator = scene.operator().await.unwrap();
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    scene.until_that_provider(|object| object["status"]["throttledUntil"].is_string()).await;
    operator.terminate().await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.apply(&scene.token("garage", &json!({}))).await.unwrap();
    let garage = scene.until("garage", "Issuing", "True", "Throttled").await.unwrap();
    assert_eq!(garage["status"]["failedAttempts"], 0, "it was not tried");
    assert_eq!(control.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_soon_is_warned_of() {
    let scene = Scene::bare("certificate-ends", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    for (name, days, warns) in [("soon", 10, "True"), ("later", 30, "False")] {
        let day = (Utc::now() + TimeDelta::days(days)).date_naive();
        let certificate = ClientCertificate::until(name, day).unwrap();
        let keys = json!({"tls.crt": certificate.certificate_pem, "tls.key": certificate.private_key_pem});
        scene.apply(&scene.keys(name, &hosts(&scene.azure).join(","), &keys)).await.unwrap();
        let auth = json!({"clientCertificate": {"tenantId": example::TENANT_ID, "clientId": example::CLIENT_ID,
            "secretRef": {"name": name}}});
        scene.apply(&scene.provider(name, &auth)).await.unwrap();
        let told = |object: &Value| condition(object, "CredentialsExpiring")["status"] == warns;
        let provider = scene.until_provider(name, "tells of its certificate", told).await.unwrap();
        let midnight = format!("{day}T00:00:00Z");
        assert_eq!(provider["status"]["credentialsExpireAt"], midnight);
        assert!(condition(&provider, "CredentialsExpiring")["message"].as_str().unwrap().contains(&midnight));
    }
}

trait Indexer {
    /// Waits for the status of the scene's one provider.
    async fn until_that_provider(&self, wished: impl Fn(&Value) -> bool) -> Value;
}

impl Indexer for Scene {
    async fn until_that_provider(&self, wished: impl Fn(&Value) -> bool) -> Value {
        self.until_provider("indexer", "tells it", wished).await.unwrap()
    }
}
