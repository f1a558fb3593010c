//! Behaviour of every token API. The cases are the rows of `testkit::offers`, and one row for `videoIndexer`. Files with a
//! product's name contain the behaviour of that product alone.

use super::Stand;
use super::keyed::Tested;
use chrono::{TimeDelta, Utc};
use secrecy::ExposeSecret as _;
use serde_json::json;
use std::any::Any;
use std::sync::Arc;
use testkit::emulator::{Fault, Life, example};
use testkit::offers::{Offer, offers};
use testkit::tls::CertificateAuthority;
use videotoken_providers::Class;

/// One account of one type, and a scope of it in YAML.
struct Row {
    tested: Tested,
    scope: String,
    has_request_ids: bool,
    /// Keeps its emulators running.
    _emulators: Box<dyn Any>,
}

/// Returns a row for each type.
async fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = offered().await.into_iter().map(keyed).collect();
    rows.push(video_indexer().await);
    rows
}

async fn offered() -> Vec<Offer> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    offers(&Arc::new(CertificateAuthority::generate().unwrap())).await.unwrap()
}

fn keyed(offer: Offer) -> Row {
    Row {
        tested: Tested::of(&offer, &offer.keys),
        scope: scope(&offer),
        has_request_ids: offer.has_request_ids,
        _emulators: Box::new(offer),
    }
}

fn scope(offer: &Offer) -> String {
    let scope = json!({offer.type_: offer.scope}).to_string();
    scope[1..scope.len() - 1].to_owned()
}

async fn video_indexer() -> Row {
    let Stand { azure, issuer } = Stand::start().await;
    let provider = json!({"videoIndexer": {"subscriptionId": example::SUBSCRIPTION_ID,
        "resourceGroup": example::RESOURCE_GROUP, "accountName": example::ACCOUNT_NAME,
        "auth": {"clientSecret": {"tenantId": example::TENANT_ID, "clientId": example::CLIENT_ID,
            "secretRef": {"name": "s", "key": "k"}}}}});
    let tested = Tested {
        issuer: Arc::new(issuer),
        control: azure.video_indexer.control().clone(),
        secrets: vec![example::CLIENT_SECRET.to_owned()],
        provider: serde_json::from_value(provider).unwrap(),
        ca_pem: azure.ca_pem(),
    };
    Row {
        tested,
        scope: "videoIndexer: {permission: Reader, mediaScope: Account}".to_owned(),
        has_request_ids: true,
        _emulators: Box::new(azure),
    }
}

#[tokio::test]
async fn each_token_costs_one_call_and_is_as_the_provider_issued_it() {
    for Row { tested, scope, has_request_ids, .. } in &rows().await {
        let control = &tested.control;
        let mut tokens = Vec::new();
        for n in 1..=2 {
            let before = Utc::now();
            let issued = tested.issue(scope, "").await.unwrap();
            assert_eq!(control.counters().requests, n, "{scope}");
            let seen = tested.last();
            let url = seen.uri.to_string();
            let shown = tested.secrets.iter().find(|secret| url.contains(secret.as_str()));
            assert_eq!(shown, None, "{url}: a credential in a URL would be logged");
            let truth = control.knows(issued.token.expose_secret()).expect("the token as it was issued");
            assert_eq!((issued.expires_at, issued.expiry_assumed), (truth.expires_at, false), "{scope}");
            let promised = TimeDelta::from_std(tested.request(scope, "").promised_lifetime).unwrap();
            // a time that a template renders has whole seconds
            let asked = (truth.expires_at - truth.issued_at - promised).abs();
            assert!(asked <= TimeDelta::seconds(1), "{scope}: {asked}");
            assert!((before..=seen.time).contains(&issued.issued_at), "{scope}");
            assert_eq!(issued.request_id, has_request_ids.then(|| seen.request_id.to_string()), "{scope}");
            tokens.push(issued.token.expose_secret().to_owned());
        }
        assert_ne!(tokens[0], tokens[1], "{scope}");
        assert_eq!(control.reused_client_request_ids(), [""; 0], "{scope}");
    }
}

#[tokio::test]
async fn each_failure_that_every_api_has_gets_its_class_reason_and_message() {
    use Class::{Throttled, Transient};
    for Row { tested, scope, has_request_ids, .. } in &rows().await {
        let broken = |reason| (Transient, reason, None);
        let cases = [
            (Fault::status(429, "", &[]), (Throttled, "Throttled", None), "HTTP 429"),
            (Fault::Throttle { retry_after: Some(7) }, (Throttled, "Throttled", Some(7)), "HTTP 429: "),
            (Fault::Throttle { retry_after: None }, (Throttled, "Throttled", None), "HTTP 429"),
            (Fault::status(502, "<html>", &[]), broken("ServerError"), "HTTP 502: a page in HTML"),
            (
                Fault::status(503, "busy", &[("retry-after", "7")]),
                (Transient, "ServerError", Some(7)),
                "HTTP 503: busy",
            ),
            (
                Fault::status(302, "", &[("location", "https://x.example")]),
                broken("Redirected"),
                "HTTP 302: redirected to x",
            ),
            (Fault::Html, broken("BadAnswer"), "HTTP 200: a page in HTML, \"Sign in\", from 127.0.0.1:"),
            (Fault::HalfJson, broken("BadAnswer"), "HTTP 200: "),
            (Fault::NoToken, broken("BadAnswer"), "HTTP 200: "),
            (Fault::CutBody, broken("BadAnswer"), "the answer of 127.0.0.1"),
            (Fault::HugeBody, broken("BodyTooLarge"), "127.0.0.1"),
            (Fault::ExpiredToken, broken("ExpiredToken"), "the provider issued a token that expired at 20"),
            (Fault::ConnectionReset, broken("ConnectFailed"), "lost the connection to 127.0.0.1"),
        ];
        tested.refuses(scope, *has_request_ids, cases).await;
        // the answer repeats the request; `fail` checks that no secret shows
        tested.control.play_once(Fault::EchoRequest);
        tested.fail(scope).await;
    }
}

#[tokio::test]
async fn wrong_keys_are_the_credentials_fault() {
    for offer in offered().await {
        let mut keys = offer.keys.clone();
        for (key, value) in offer.wrong_keys.as_object().unwrap() {
            keys[key] = value.clone();
        }
        let wrong = Tested::of(&offer, &keys);
        let error = wrong.fail(&scope(&offer)).await;
        assert_eq!((error.class, &*error.reason), (Class::Credential, "Unauthorized"), "{error}");
        assert!(error.message.contains(offer.refusal), "{error}");
        wrong.control.play_once(Fault::status(401, "", &[]));
        let error = wrong.fail(&scope(&offer)).await;
        assert_eq!((error.class, &*error.reason), (Class::Credential, "Unauthorized"), "{error}");
        assert!(error.message.starts_with("HTTP 401"), "{error}");
    }
}

#[tokio::test]
async fn p13_an_expiry_comes_from_the_answer_and_else_from_the_promised_life() {
    // A declared API states where the expiry is: an answer without it is a bad answer.
    let known = rows().await.into_iter().filter(|row| !row.scope.starts_with("\"http\""));
    for Row { tested, scope, .. } in &known.collect::<Vec<_>>() {
        let promised = TimeDelta::from_std(tested.request(scope, "").promised_lifetime).unwrap();
        for fault in [Fault::NoExpiry, Fault::TellsExpiry(253_402_300_799)] {
            tested.control.play_once(fault.clone());
            let issued = tested.issue(scope, "").await.unwrap();
            assert!(issued.expiry_assumed, "{scope} {fault:?}");
            assert_eq!(issued.expires_at - issued.issued_at, promised, "{scope} {fault:?}");
        }
        tested.control.play_once(Fault::ByteOrderMark);
        assert!(!tested.issue(scope, "").await.unwrap().expiry_assumed, "{scope}");
        tested.control.set_life(Life::Seconds(300));
        let issued = tested.issue(scope, "").await.unwrap();
        assert!(!issued.expiry_assumed, "{scope}");
        assert!(issued.expires_at - issued.issued_at <= TimeDelta::seconds(300), "{scope}");
    }
}

#[tokio::test]
async fn p14_the_skew_is_that_of_the_last_answer() {
    for Row { tested, scope, .. } in &rows().await {
        assert_eq!(tested.issuer.clock_skew(), None);
        for ahead in [600, -600, 0] {
            tested.control.play_once(Fault::ClockAhead(ahead));
            tested.issue(scope, "").await.unwrap();
            let skew = tested.issuer.clock_skew().unwrap();
            assert!((ahead - 2..=ahead + 1).contains(&skew), "{scope}: {skew}");
        }
    }
}
