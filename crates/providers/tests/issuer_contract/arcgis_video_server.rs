//! ArcGIS Video Server: what each binding asks, how servers may differ, and each way that they fail.

use super::keyed::Keyed;
use chrono::TimeDelta;
use secrecy::ExposeSecret as _;
use serde_json::json;
use std::time::Duration;
use testkit::emulator::{ArcgisManners, ArcgisVideoServer, Fault, arcgis_example as example};
use videotoken_providers::Class;

const REFERER: &str = "arcgisVideoServer: {referer: 'https://lobby.contoso.example/player'}";

/// The example's user.
async fn start() -> Keyed<ArcgisVideoServer> {
    start_with("").await
}

/// `extra` are further members of the provider's type.
async fn start_with(extra: &str) -> Keyed<ArcgisVideoServer> {
    let provider = format!(
        "arcgisVideoServer: {{url: ENDPOINT{}, usernameRef: {{name: s, key: u}}, passwordRef: {{name: s, key: p}}{extra}}}",
        example::ADMIN_ROOT
    );
    Keyed::start(ArcgisVideoServer::furnished(), &provider, &[example::USERNAME, example::PASSWORD]).await
}

const WANTS_USER: ArcgisManners =
    ArcgisManners { wants_user: true, flat_errors: false, texts: false, administrator: false };

#[tokio::test]
async fn each_binding_is_asked_as_the_reference_says() {
    let stand = start().await;
    let player = ("referer", "https://lobby.contoso.example/player");
    let bindings = [
        (REFERER, "", vec![("client", "referer"), player], 60),
        (REFERER, "lifetime: 12h", vec![("client", "referer"), player], 720),
        // whole minutes, rounded up
        (REFERER, "lifetime: 90m1s", vec![("client", "referer"), player], 91),
        ("arcgisVideoServer: {ip: '127.0.0.1'}", "", vec![("client", "ip"), ("ip", "127.0.0.1")], 60),
        ("arcgisVideoServer: {requestIp: {}}", "lifetime: 8760h", vec![("client", "requestip")], 525_600),
    ];
    for (scope, rest, binding, minutes) in bindings {
        for texts in [false, true] {
            stand.serving.speak(ArcgisManners { texts, ..ArcgisManners::default() });
            let issued = stand.issue(scope, rest).await.unwrap();
            let seen = stand.last();
            assert_eq!((seen.method.as_str(), seen.path()), ("POST", "/arcgis/admin/generateToken"));
            assert_eq!(seen.uri.query(), None, "a password in a URL would be logged");
            assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
            assert_eq!(seen.bearer(), None);
            let mut expected = binding.clone();
            let minutes_text = minutes.to_string();
            expected.extend([("expiration", minutes_text.as_str()), ("f", "json")]);
            expected.extend([("password", example::PASSWORD), ("username", example::USERNAME)]);
            expected.sort_unstable();
            let form: Vec<_> = form_of(&seen.body);
            let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(form, expected);

            let truth = stand.control.knows(issued.token.expose_secret()).unwrap();
            assert_eq!((issued.expires_at, issued.expiry_assumed), (truth.expires_at, false));
            assert_eq!(truth.expires_at - truth.issued_at, TimeDelta::minutes(minutes));
        }
    }
    assert_eq!(stand.serving.failed_logins(example::USERNAME), []);
}

/// Names and values, sorted.
fn form_of(body: &[u8]) -> Vec<(String, String)> {
    let mut form: Vec<_> = url::form_urlencoded::parse(body).into_owned().collect();
    form.sort_unstable();
    form
}

#[tokio::test]
async fn a_server_that_wants_user_gets_it() {
    let stand = start_with(", extraParameters: {user: $(username), username: ''}").await;
    stand.serving.speak(WANTS_USER);
    stand.issue(REFERER, "").await.unwrap();
    let seen = stand.last();
    assert_eq!((seen.form("user").as_deref(), seen.form("username")), (Some(example::USERNAME), None));

    let stand = start().await;
    stand.serving.speak(WANTS_USER);
    let error = stand.fail(REFERER).await;
    assert_eq!((error.class, &*error.reason), (Class::Credential, "Unauthorized"));
    assert!(error.message.ends_with("'user' must be specified."), "{error}");
}

#[tokio::test]
async fn extra_parameters_add_to_the_form_and_replace_in_it() {
    let stand = start_with(", extraParameters: {client: referrer, referrer: 'https://x.example', note: 'a&b=c'}").await;
    let error = stand.fail(REFERER).await;
    let seen = stand.last();
    let field = |name| seen.form(name).unwrap_or_default();
    assert_eq!([field("client"), field("referrer"), field("note")], ["referrer", "https://x.example", "a&b=c"]);
    assert_eq!((error.class, &*error.reason), (Class::Configuration, "BadRequest"), "{error}");
}

#[tokio::test]
async fn each_refusal_of_its_own_has_its_class_reason_and_message() {
    use Class::{Configuration, Credential, Denied, Transient};
    let stand = start().await;
    let nested = |code: u16, message: &str, detail: &str| {
        Fault::status(200, json!({"error": {"code": code, "message": message, "details": [detail]}}).to_string(), &[])
    };
    let flat =
        |messages: &[&str]| Fault::status(200, json!({"status": "error", "messages": messages}).to_string(), &[]);
    let page = |code: u16| Fault::status(code, "<html>", &[("content-type", "text/html")]);
    let unable = "Unable to generate token.";
    let root = "; spec.arcgisVideoServer.url must be the server's admin root";
    let locks = "; five failed logins within 15 minutes lock a user for 15 minutes";
    let (unauthorized, locked) = ((Credential, "Unauthorized", None), (Credential, "AccountLocked", None));
    let cases = [
        (
            nested(400, unable, "Invalid username or password."),
            unauthorized,
            "HTTP 200: 400: Unable to generate token.; Invalid username or password.".to_owned(),
        ),
        (flat(&["Login failed"]), unauthorized, "HTTP 200: Login failed".into()),
        (nested(498, "Invalid Token", ""), unauthorized, "HTTP 200: 498: Invalid Token".into()),
        (nested(499, "Token Required", ""), unauthorized, "HTTP 200: 499: Token Required".into()),
        (
            nested(400, unable, "Too many invalid login attempts."),
            locked,
            format!("HTTP 200: 400: Unable to generate token.; Too many invalid login attempts.{locks}"),
        ),
        (flat(&["The account is locked"]), locked, format!("HTTP 200: The account is locked{locks}")),
        (nested(403, "No permission.", ""), (Denied, "Forbidden", None), "HTTP 200: 403: No permission.".into()),
        (
            nested(400, unable, "'referer' must be specified."),
            (Configuration, "BadRequest", None),
            "HTTP 200: 400: Unable to generate token.; 'referer' must be specified.".into(),
        ),
        (nested(404, "Not found.", ""), (Configuration, "NotFound", None), format!("HTTP 200: 404: Not found.{root}")),
        (nested(500, "Oh.", ""), (Transient, "ServerError", None), "HTTP 200: 500: Oh.".into()),
        (flat(&["Oh.", "No."]), (Transient, "ServerError", None), "HTTP 200: Oh.; No.".into()),
        (page(403), (Denied, "Forbidden", None), "HTTP 403: a page in HTML".into()),
        (page(404), (Configuration, "NotFound", None), "HTTP 404: a page in HTML from 127.0.0.1:".into()),
        (Fault::HalfJson, (Transient, "BadAnswer", None), "HTTP 200: no JSON".into()),
        (Fault::NoToken, (Transient, "BadAnswer", None), "HTTP 200: neither a token nor an error in it".into()),
        // it speaks of a password
        (Fault::EchoRequest, unauthorized, "HTTP 200: 400: ".into()),
    ];
    stand.refuses(REFERER, false, cases).await;
    for fault in [page(404), Fault::Html] {
        stand.control.play_once(fault);
        let error = stand.fail(REFERER).await;
        assert!(error.message.contains(root), "{error}");
    }
}

#[tokio::test]
async fn a_login_that_fails_is_the_credentials_fault_and_five_lock_the_user() {
    for flat_errors in [false, true] {
        let stand = start().await;
        stand.serving.speak(ArcgisManners { flat_errors, ..ArcgisManners::default() });
        let wrong = stand.with(&[example::USERNAME, "not the password"]);
        let request = stand.request(REFERER, "");
        for n in 1..=5 {
            assert!(!stand.serving.is_locked(example::USERNAME));
            let error = wrong.issue(&request).await.unwrap_err();
            assert_eq!((error.class, &*error.reason), (Class::Credential, "Unauthorized"), "{error}");
            assert_eq!(stand.serving.failed_logins(example::USERNAME).len(), n);
        }
        assert!(stand.serving.is_locked(example::USERNAME));
        let error = stand.fail(REFERER).await;
        assert_eq!((error.class, &*error.reason), (Class::Credential, "AccountLocked"), "{error}");
        stand.serving.set_lockout(Duration::ZERO);
        stand.issue(REFERER, "").await.unwrap();

        stand.serving.set_permission(example::USERNAME, false);
        let error = stand.fail(REFERER).await;
        assert_eq!((error.class, &*error.reason), (Class::Denied, "Forbidden"), "{error}");
    }
}

#[tokio::test]
async fn who_logs_in_is_told_without_a_name() {
    let stand = start().await;
    let login = stand.issuer.login().unwrap();
    assert_eq!(stand.with(&["VIDEO-READER", "another password"]).login(), Some(login.clone()));
    assert_ne!(stand.with(&["siteadmin", example::PASSWORD]).login(), Some(login));
    assert_eq!(stand.issuer.credential_expires_at(), None);
}

#[tokio::test]
async fn p13_an_expiry_in_microseconds_is_none() {
    let stand = start().await;
    stand.control.play_once(Fault::TellsExpiry(1_790_000_000_000));
    let issued = stand.issue(REFERER, "lifetime: 2h").await.unwrap();
    assert!(issued.expiry_assumed);
    assert_eq!(issued.expires_at - issued.issued_at, TimeDelta::hours(2));
}
