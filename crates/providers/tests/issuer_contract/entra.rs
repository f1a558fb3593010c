//! Entra's answers: good, bad and late, to one caller and to fifty.

use super::{Stand, assert_no_secret, auth, http, pass, secret};
use axum::Router;
use axum::http::StatusCode;
use futures::future::join_all;
use secrecy::ExposeSecret as _;
use std::sync::Arc;
use std::time::Duration;
use testkit::emulator::{Azure, AzureOptions, Fault, HoldPoint, example};
use testkit::tls::{CertificateAuthority, serve};
use videotoken_providers::Class;
use videotoken_providers::azure_auth::{EntraToken, EntraTokenOptions, EntraTokenSource};

const TIMEOUT: Duration = Duration::from_secs(4);

async fn azure() -> (Azure, Arc<EntraTokenSource>) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let azure = Azure::start().await.unwrap();
    let auth = Arc::new(auth(&azure, secret(example::CLIENT_SECRET), TIMEOUT));
    (azure, auth)
}

fn status(code: u16, body: &str, retry_after: Option<&str>) -> Fault {
    let headers = retry_after.map(|value| ("retry-after".to_owned(), value.to_owned())).into_iter().collect();
    Fault::Status { code, body: body.to_owned(), headers }
}

#[tokio::test]
async fn fifty_callers_make_one_call() {
    let (azure, auth) = azure().await;
    let control = azure.entra.control();
    control.set_latency(Duration::from_millis(100));
    let tokens = join_all((0..50).map(|_| auth.token())).await;
    let first = tokens[0].as_ref().unwrap().token.expose_secret().to_owned();
    assert!(tokens.iter().all(|token| token.as_ref().unwrap().token.expose_secret() == first));
    assert_eq!(control.counters().requests, 1);
}

#[tokio::test]
async fn fifty_callers_of_a_failing_entra_make_one_call_and_learn_the_same() {
    let (azure, auth) = azure().await;
    let control = azure.entra.control();
    control.set_latency(Duration::from_millis(100));
    control.play(status(503, "busy", Some("2")));
    let errors = join_all((0..50).map(|_| auth.token())).await;
    for error in errors {
        let error = error.map(|_| ()).unwrap_err();
        assert_eq!((error.class, &*error.reason), (Class::Transient, "EntraUnavailable"));
        assert_eq!(error.message, "Entra unavailable: HTTP 503");
        assert!(error.retry_after.is_some_and(|wait| wait <= Duration::from_secs(2)));
    }
    assert_eq!(control.counters().requests, 1);

    control.clear_faults();
    assert!(auth.token().await.is_err(), "not before Retry-After");
    pass(Duration::from_secs(2)).await;
    auth.token().await.unwrap();
    assert_eq!(control.counters().requests, 2);
}

#[tokio::test]
async fn each_failure_of_entra_has_its_class() {
    use Class::{Credential, Throttled, Transient};
    let escaped = r#"{"error":"invalid_client","error_description":"says \"no\"","error_codes":[7000215]}"#;
    let endless = format!(r#"{{"token_type":"Bearer","access_token":"t","expires_in":{}}}"#, i64::MAX);
    let wait = Some(Duration::from_secs(9));
    let cases = [
        (Fault::Throttle { retry_after: Some(9) }, Throttled, "EntraThrottled", wait),
        (status(401, escaped, None), Credential, "EntraRefused", None),
        // whoever answers without a word of OAuth's, it isn't Entra
        (status(401, "", None), Transient, "BadAnswer", None),
        (status(400, "<html>", None), Transient, "BadAnswer", None),
        (status(407, "<html>", None), Transient, "BadAnswer", None),
        (status(503, "", Some("9")), Transient, "EntraUnavailable", wait),
        (status(307, "", None), Transient, "Redirected", None),
        (status(200, "{}", None), Transient, "BadAnswer", None),
        (Fault::NoToken, Transient, "BadAnswer", None),
        (Fault::Html, Transient, "BadAnswer", None),
        (Fault::HalfJson, Transient, "BadAnswer", None),
        (Fault::CutBody, Transient, "BadAnswer", None),
        (Fault::HugeBody, Transient, "BodyTooLarge", None),
        (Fault::ConnectionReset, Transient, "ConnectFailed", None),
        (Fault::Stall(Duration::from_secs(20)), Transient, "Timeout", None),
        (Fault::EchoRequest, Credential, "EntraRefused", None),
    ];
    for (fault, class, reason, retry_after) in cases {
        let (azure, auth) = azure().await;
        azure.entra.control().play(fault.clone());
        let error = auth.token().await.map(|_| ()).unwrap_err();
        assert_eq!((error.class, &*error.reason), (class, reason), "{fault:?}: {error}");
        assert_eq!(error.retry_after, retry_after, "{fault:?}");
        assert!(error.message.starts_with("Entra"), "{error}");
        assert_eq!(azure.entra.control().counters().requests, 1, "{fault:?}: never retried inside");
        assert_no_secret(&azure, &error);
    }
    let (azure, auth) = azure().await;
    azure.entra.control().play(status(200, &endless, None));
    auth.token().await.expect("a life without end is cut");
}

#[tokio::test]
async fn the_old_token_is_served_while_its_renewal_is_under_way_or_fails() {
    let (azure, auth) = azure().await;
    let control = azure.entra.control();
    let first = auth.token().await.unwrap();
    let is_first = |token: &EntraToken| token.token.expose_secret() == first.token.expose_secret();
    pass(Duration::from_secs(3310)).await;

    control.play_once(status(503, "", None));
    let hold = control.hold(HoldPoint::Request, None);
    let renewal = tokio::spawn({
        let auth = auth.clone();
        async move { auth.token().await }
    });
    hold.reached().await;
    assert!(is_first(&auth.token().await.unwrap()), "nobody waits for a renewal");
    hold.release();
    assert!(is_first(&renewal.await.unwrap().unwrap()), "a failed renewal costs nothing yet");
    assert!(is_first(&auth.token().await.unwrap()), "no new try before the back-off");
    assert_eq!(control.counters().requests, 2);

    pass(Duration::from_secs(2)).await;
    assert!(!is_first(&auth.token().await.unwrap()));
    assert_eq!(control.counters().requests, 3);
}

#[tokio::test]
async fn a_refused_token_is_dropped_once() {
    let stand = Stand::start().await;
    let auth = auth(&stand.azure, secret(example::CLIENT_SECRET), TIMEOUT);
    let first = auth.token().await.unwrap();
    auth.accepted(&first);
    assert!(auth.refused(&first), "an accepted token may have been withdrawn");
    let second = auth.token().await.unwrap();
    assert_ne!(first.token.expose_secret(), second.token.expose_secret());
    assert!(auth.refused(&first), "whoever is late with the old one doesn't hurt the new");
    assert_eq!(auth.token().await.unwrap().token.expose_secret(), second.token.expose_secret());
    assert!(!auth.refused(&second), "a fresh one that is refused is the credential's fault");
    assert_eq!(stand.seen(), (2, 0));
}

#[tokio::test]
async fn p11_an_authority_that_echoes_the_secret_into_an_id_is_not_quoted() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ca = Arc::new(CertificateAuthority::generate().unwrap());
    let echo = async |form: String| {
        let fields = url::form_urlencoded::parse(form.as_bytes());
        let secret = fields.into_owned().find_map(|(name, value)| (name == "client_secret").then_some(value));
        (StatusCode::UNAUTHORIZED, [("x-ms-request-id", secret.unwrap())])
    };
    let authority = serve(Router::new().fallback(echo), &ca).await.unwrap();
    let azure = Azure::start_with(AzureOptions { ca: Some(ca), ..AzureOptions::default() }).await.unwrap();
    let options = EntraTokenOptions {
        field: "spec.videoIndexer".into(),
        authority: authority.url().parse().unwrap(),
        scope: "https://management.azure.com/.default".to_owned(),
        http: http(&azure, TIMEOUT),
        metadata_endpoint: None,
    };
    // As plain as an id, and short enough not to look like a key.
    let auth = EntraTokenSource::new(secret("a-plain-password"), options).unwrap();
    let error = auth.token().await.map(|_| ()).unwrap_err();
    assert_eq!((error.class, &*error.reason), (Class::Transient, "BadAnswer"));
    assert_eq!(error.request_id, None);
}

#[tokio::test]
async fn p11_an_identity_shows_no_secret() {
    let stand = Stand::start().await;
    let auth = auth(&stand.azure, secret(example::CLIENT_SECRET), TIMEOUT);
    let token = auth.token().await.unwrap();
    let shown = format!("{auth:?} {token:?} {:?}", secret(example::CLIENT_SECRET));
    assert!(!shown.contains(example::CLIENT_SECRET) && !shown.contains(token.token.expose_secret()), "{shown}");
}
