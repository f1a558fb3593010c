use super::super::redact::Redactor;
use super::*;
use crate::clock;
use proptest::prelude::*;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use serde_json::{Map, json};
use std::time::Duration;
use videotoken_api::provider::SecretKeyRef;

fn server(extra: &[(&str, &str)]) -> ArcgisVideoServer {
    let extra_parameters = extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let account = ArcgisVideoServerAccount { extra_parameters, ..ArcgisVideoServerAccount::default() };
    let endpoint = "https://Video.example:21443/arcgis/admin/".parse().unwrap();
    ArcgisVideoServer::new(&account, &endpoint, "Video-Reader".into(), "open&sesame=".into()).unwrap()
}

fn request(fields: &Value) -> TokenRequest {
    TokenRequest {
        account: "arcgisVideoServer/video.example:21443/arcgis/admin".to_owned(),
        operation: "generateToken".into(),
        fields: fields.as_object().cloned().unwrap_or_default(),
        promised_lifetime: Duration::from_hours(1),
        ends_at: None,
    }
}

fn referer() -> TokenRequest {
    request(&json!({"client": "referer", "expiration": 60, "referer": "https://login.contoso.example/password"}))
}

fn answer(status: u16, body: &[u8]) -> ProviderResponse {
    let now = clock::now().wall;
    ProviderResponse::new(status, &HeaderMap::new(), body.to_vec(), now, now, Redactor::default())
}

fn read(status: u16, body: &str) -> Result<Issued, IssueError> {
    server(&[]).read(&answer(status, body.as_bytes()), &referer(), clock::now().wall)
}

#[test]
fn the_form_has_the_user_what_is_asked_and_nothing_empty() {
    let form = |extra: &[(&str, &str)]| {
        let mut request = request(&json!({"client": "requestip", "expiration": 90}));
        request.fields.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
        let server = server(extra);
        let form = server.form(&request);
        form.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    let usual = "client=requestip expiration=90 f=json password=open&sesame=";
    assert_eq!(form(&[]), format!("{usual} username=Video-Reader"));
    assert_eq!(form(&[("user", USERNAME), ("username", "")]), format!("{usual} user=Video-Reader"));
    assert_eq!(form(&[("username", "CONTOSO\\$(username)")]), format!("{usual} username=CONTOSO\\Video-Reader"));
    assert_eq!(server(&[]).url.as_str(), "https://video.example:21443/arcgis/admin/generateToken");
}

#[test]
fn a_login_is_who_logs_in_where_and_names_nobody() {
    let login = |url: &str, username: &str| login(&url.parse().unwrap(), username);
    let one = login("https://video.example:21443/arcgis/admin", "reader");
    assert_eq!(login("https://VIDEO.example/video/admin", "Reader "), one, "the same user, however it is spelt");
    assert_ne!(login("https://video2.example:21443/arcgis/admin", "reader"), one);
    assert_ne!(login("https://video.example:21443/arcgis/admin", "reader2"), one);
    assert!(one.len() == 32 && one.bytes().all(|b| b.is_ascii_hexdigit()), "{one}");
    assert_eq!(server(&[]).login, server(&[("user", USERNAME), ("username", "")]).login);
    assert_ne!(server(&[]).login, server(&[("username", "siteadmin")]).login);
    assert_eq!(server(&[]).login, server(&[("user", USERNAME)]).login, "named twice, the same");
}

#[test]
fn p07_a_host_and_a_user_have_one_pot_however_they_are_spelt() {
    let login = |url: &str, username: &str| login(&url.parse().unwrap(), username);
    let one = login("https://video.corp:21443/arcgis/admin", "reader");
    for (url, username) in [
        ("https://video.corp./arcgis/admin", "reader"),
        ("https://VIDEO.Corp.:6443/x", "READER"),
        ("https://video.corp:443", " Reader\t"),
        ("http://video.corp", "reader"),
    ] {
        assert_eq!(login(url, username), one, "{url} {username}");
    }
    assert_eq!(login("https://[::ffff:10.0.0.9]", "a"), login("https://0xa.0.0.9:6443", "a"));
}

#[test]
fn p07_a_form_names_one_user() {
    let made = |extra: &[(&str, &str)]| {
        let extra_parameters = extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let account = ArcgisVideoServerAccount { extra_parameters, ..ArcgisVideoServerAccount::default() };
        let endpoint = "https://video.example".parse().unwrap();
        ArcgisVideoServer::new(&account, &endpoint, "reader".into(), "x".into()).map(|server| server.login)
    };
    let one = made(&[]).unwrap();
    for extra in [&[("user", USERNAME)][..], &[("User", "READER"), ("username", "")], &[("USERNAME", "reader")]] {
        assert_eq!(made(extra).unwrap(), one, "{extra:?}");
    }
    for extra in [&[("user", "victim")][..], &[("username", "me"), ("USER", "victim")], &[("UserName", "victim")]] {
        let error = made(extra).unwrap_err();
        assert_eq!(error.field, "spec.arcgisVideoServer.extraParameters", "{extra:?}");
    }
    assert_ne!(made(&[("username", ""), ("user", "victim")]).unwrap(), one);
}

#[test]
fn the_expiry_is_read_in_every_spelling() {
    let second = clock::now().wall.timestamp() + 600;
    let lifetime = |expires: String| {
        let issued =
            read(200, &format!(r#"{{"token":"t0ken-0123456789","loginAsPSA":"true","expires":{expires}}}"#)).unwrap();
        (!issued.expiry_assumed).then(|| issued.expires_at.timestamp())
    };
    assert_eq!(lifetime(format!("{second}183")), Some(second));
    assert_eq!(lifetime(format!("\"{second}183\"")), Some(second));
    for seconds in [second.to_string(), format!("{second}.0"), format!("{second}183.0")] {
        assert_eq!(lifetime(seconds.clone()), Some(second), "{seconds}");
    }
    // Microseconds, and the maximum time of .NET: longer than requested.
    for later in [format!("{second}183000"), "253402300799999".to_owned(), "8640000000000000".to_owned()] {
        assert_eq!(lifetime(later.clone()), None, "{later}");
    }
    for unreadable in ["null", "true", "\"tomorrow\"", "0", "-1", "1e300", "\"\"", "9223372036854775807"] {
        assert_eq!(lifetime(unreadable.to_owned()), None, "{unreadable}");
    }
    let assumed = read(200, r#"{"token":"t0ken-0123456789"}"#).unwrap();
    assert_eq!((assumed.expires_at - assumed.issued_at).num_seconds(), 3600);
    assert_eq!(
        read(200, r#"{"token":"t0ken-0123456789","expires":1763392544183}"#).unwrap_err().reason,
        "ExpiredToken"
    );
}

#[test]
fn a_token_of_the_sites_administrator_is_warned_of_or_refused() {
    let with = |refuse_site_administrator: bool, flag: &str| {
        let server = ArcgisVideoServer { refuse_site_administrator, ..server(&[]) };
        let body = format!(r#"{{"token":"t0ken-of-sixteen-bytes","loginAsPSA":{flag}}}"#);
        server.read(&answer(200, body.as_bytes()), &referer(), clock::now().wall)
    };
    for flag in ["true", r#""true""#, r#"" True ""#] {
        assert_eq!(with(false, flag).unwrap().excess, Some(SITE_ADMINISTRATOR), "{flag}");
        let refused = with(true, flag).unwrap_err();
        assert_eq!((refused.class, &*refused.reason), (Class::Denied, "SiteAdministrator"), "{flag}");
        assert!(!refused.message.contains("t0ken"), "{refused}");
    }
    for flag in ["false", r#""false""#, "null", "0", "{}"] {
        assert_eq!(with(true, flag).unwrap().excess, None, "{flag}");
    }
}

#[test]
fn a_token_of_the_servers_is_sent_along() {
    let server = ArcgisVideoServer { token: Some("sent-along".into()), ..server(&[]) };
    let request = referer();
    assert_eq!(server.form(&request)["token"], "sent-along");
    let account = |token: bool| {
        let key = |name: &str| SecretKeyRef { name: name.to_owned(), key: "k".to_owned() };
        let token_ref = token.then(|| key("t"));
        let account = ArcgisVideoServerAccount { token_ref, ..ArcgisVideoServerAccount::default() };
        account.credentials().into_iter().map(|(field, _)| field).collect::<Vec<_>>()
    };
    assert_eq!(account(false).len(), 2);
    assert_eq!(account(true)[2], "spec.arcgisVideoServer.tokenRef");
}

#[test]
fn a_complaint_has_its_class_whichever_its_shape() {
    use Class::{Configuration, Credential, Denied, Throttled, Transient};
    let cases = [
        (400, "Unable to generate token.", "Invalid username or password.", Credential, "Unauthorized"),
        (400, "Unable to generate token.", "'username' must be specified.", Credential, "Unauthorized"),
        (400, "Unable to generate token.", "Too many invalid login attempts.", Credential, "AccountLocked"),
        (400, "Unable to generate token.", "", Credential, "Unauthorized"),
        (400, "Das Token kann nicht generiert werden.", "Kennwort ungültig", Credential, "Unauthorized"),
        (400, "Unable to generate token.", "'referer' must be specified.", Configuration, "BadRequest"),
        (400, "Client ID is required for long expiration tokens.", "", Configuration, "BadRequest"),
        (400, "No tokens for https://login.contoso.example/password: referer", "", Configuration, "BadRequest"),
        (401, "Unauthorized access.", "", Credential, "Unauthorized"),
        (498, "Invalid token.", "", Credential, "Unauthorized"),
        (499, "Token required.", "", Credential, "Unauthorized"),
        (403, "The user account is locked.", "", Credential, "AccountLocked"),
        (403, "You do not have permissions.", "", Denied, "Forbidden"),
        (499, "You do not have permissions to access this resource.", "", Denied, "Forbidden"),
        (404, "Not found.", "", Configuration, "NotFound"),
        (429, "Too many requests.", "", Throttled, "Throttled"),
        (500, "The site is blocked by an upgrade.", "", Transient, "ServerError"),
        (503, "Starting.", "", Transient, "ServerError"),
        (700, "Whatever.", "", Transient, "ServerError"),
        (0, "The value of parameter 'ip' is wrong.", "", Configuration, "BadRequest"),
        (0, "Could not log-in user.", "", Credential, "Unauthorized"),
        (0, "The account has been locked.", "", Credential, "AccountLocked"),
        (0, "Something else.", "", Transient, "ServerError"),
    ];
    for (code, message, detail, class, reason) in cases {
        let nested = json!({"error": {"code": code, "message": message, "details": [detail]}});
        let spelt = json!({"error": {"code": code.to_string(), "message": message, "details": detail}});
        let mut flat = json!({"status": "error", "messages": [message, detail]});
        if code > 0 {
            flat["code"] = code.into();
        }
        for body in [nested, spelt, flat] {
            let error = read(200, &body.to_string()).unwrap_err();
            assert_eq!((error.class, &*error.reason), (class, reason), "{body}");
            assert!(error.message.contains(message), "{error}");
        }
    }
}

#[test]
fn a_status_counts_where_no_complaint_is_understood() {
    use Class::{Configuration, Credential, Denied, Throttled, Transient};
    for (status, body, class, reason) in [
        (200, "<html>Sign in, please", Transient, "BadAnswer"),
        (200, "{}", Transient, "BadAnswer"),
        (200, r#"{"token":""}"#, Transient, "BadAnswer"),
        (200, r#"{"token":"a b"}"#, Transient, "BadAnswer"),
        (200, r#"{"token":7}"#, Transient, "BadAnswer"),
        (200, r#"{"status":"success"}"#, Transient, "BadAnswer"),
        (200, r#"{"error":null}"#, Transient, "ServerError"),
        (400, "<html>", Configuration, "BadRequest"),
        (400, r#"{"status":"error","messages":["Nope"]}"#, Credential, "Unauthorized"),
        (401, "", Credential, "Unauthorized"),
        (403, "<html>password", Denied, "Forbidden"),
        (404, "<html>", Configuration, "NotFound"),
        (429, "", Throttled, "Throttled"),
        (502, r#"{"error":{"message":"bad gateway"}}"#, Transient, "ServerError"),
        (500, r#"{"token":"t0ken-0123456789"}"#, Transient, "ServerError"),
    ] {
        let error = read(status, body).unwrap_err();
        assert_eq!((error.class, &*error.reason), (class, reason), "{status} {body}");
    }
    assert!(read(404, "").unwrap_err().message.ends_with(WAY_OUT));
    assert!(read(200, "<html>").unwrap_err().message.ends_with(WAY_OUT));
}

#[test]
fn p07_whoever_is_known_and_may_not_have_a_token_is_denied() {
    for code in [400, 401, 403, 498, 499] {
        let error = json!({"code": code, "messageCode": "GWM_0003", "message": "Keine Berechtigung.", "details": []});
        let error = read(200, &json!({"error": error}).to_string()).unwrap_err();
        assert_eq!((error.class, &*error.reason), (Class::Denied, "Forbidden"), "{code}");
        assert_eq!(error.message, format!("HTTP 200: {code} GWM_0003: Keine Berechtigung."));
    }
}

#[test]
fn p07_windows_authentication_before_the_server_is_named_and_is_no_login() {
    let asked = |schemes: &[&'static str], status: u16, body: &str| {
        let headers = schemes.iter().map(|scheme| (WWW_AUTHENTICATE, HeaderValue::from_static(scheme)));
        let now = clock::now().wall;
        let answer = ProviderResponse::new(status, &headers.collect(), body.into(), now, now, Redactor::default());
        server(&[]).read(&answer, &referer(), now).unwrap_err()
    };
    for schemes in
        [&["Negotiate"][..], &["NTLM"], &["Negotiate", "NTLM"], &["Basic realm=\"x\"", "negotiate"], &["NTLM, Basic"]]
    {
        let error = asked(schemes, 401, "<html>401 - Unauthorized</html>");
        assert_eq!((error.class, &*error.reason), (Class::Configuration, "WindowsAuthentication"), "{schemes:?}");
        assert!(error.unsent && error.message.contains("https://video.example:21443/arcgis/admin"), "{error}");
    }
    let complaint = r#"{"error":{"code":401,"message":"Invalid username or password."}}"#;
    for (schemes, status, body) in [
        (&["Basic realm=\"x\""][..], 401, "<html>"),
        (&[][..], 401, "<html>"),
        (&["Negotiate"][..], 401, complaint),
        (&["Negotiate"][..], 403, "<html>"),
    ] {
        let error = asked(schemes, status, body);
        assert!(!error.unsent && error.reason != "WindowsAuthentication", "{schemes:?} {status} {body}");
    }
}

#[test]
fn p11_half_a_token_is_not_quoted() {
    let error = read(200, r#"{"token":"kX81_half-of-it"#).unwrap_err();
    assert!(!error.message.contains("half-of-it"), "{error}");
}

proptest! {
    #[test]
    fn p13_any_answer_gives_a_token_or_a_classed_error(
        status in 100u16..600,
        headers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 3),
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            ("\\PC{0,60}", any::<i64>(), any::<bool>()).prop_map(|(token, expires, text)| {
                let expires = if text { json!(expires.to_string()) } else { json!(expires) };
                json!({"token": token, "expires": expires}).to_string().into_bytes()
            }),
            (any::<i64>(), "\\PC{0,60}", "\\PC{0,400}", any::<bool>()).prop_map(|(code, message, detail, flat)| {
                let body = if flat {
                    json!({"status": "error", "messages": [message, detail], "code": code})
                } else {
                    json!({"error": {"code": code, "message": message, "details": [detail]}})
                };
                body.to_string().into_bytes()
            }),
        ],
        bound_to in "\\PC{0,20}",
    ) {
        let names = ["retry-after", "content-type", "date"];
        let headers = names.into_iter().zip(headers);
        let headers = headers.filter_map(|(name, value)| {
            Some((HeaderName::from_static(name), HeaderValue::from_bytes(&value).ok()?))
        });
        let now = clock::now().wall;
        let answer = ProviderResponse::new(status, &headers.collect(), body, now, now, Redactor::default());
        let request = request(&json!({"client": "referer", "referer": bound_to}));
        match server(&[]).read(&answer, &request, now) {
            Ok(issued) => prop_assert!(issued.expires_at > now && answer.is_success()),
            Err(error) => prop_assert!(error.message.len() < 600, "{error}"),
        }
    }

    #[test]
    fn any_fields_make_a_form(fields in proptest::collection::btree_map("\\PC{0,20}", "\\PC{0,20}", 0..6)) {
        let fields: Map<String, Value> = fields.into_iter().map(|(name, value)| (name, value.into())).collect();
        let request = request(&fields.into());
        let server = server(&[]);
        let form = server.form(&request);
        prop_assert_eq!(form["password"].as_ref(), "open&sesame=");
        prop_assert!(server.call(&request).is_ok());
    }
}
