//! Files of the gallery whose platform the emulator doesn't serve: answers as the vendor documents them, read as the
//! operator reads them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use videotoken_api::provider::ProviderSpec;
use videotoken_api::token_api::Account;
use videotoken_api::video_access_token::VideoAccessTokenSpec;
use videotoken_providers::Class;
use videotoken_providers::declared_http::{Declared, saved_answer};

/// Reads an answer with the provider of a file, for the token of the file. Returns the lifetime in seconds with the
/// number of further values, or the class of the failure.
fn read(file: &str, status: &str, body: &Value, now: DateTime<Utc>) -> Result<(i64, usize), Class> {
    let path = format!("{}/../../deploy/examples/platforms/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let objects: Vec<Value> = text.split("\n---\n").map(|text| serde_yaml_ng::from_str(text).unwrap()).collect();
    let of = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap()["spec"].clone();
    let provider: ProviderSpec = serde_json::from_value(of("ClusterTokenProvider")).unwrap();
    let Ok(Account::Http(account)) = provider.account() else { panic!("{file} declares no API") };
    let token: VideoAccessTokenSpec = serde_json::from_value(of("VideoAccessToken")).unwrap();
    let request = token.request(&provider).unwrap();
    let answer = saved_answer(format!("HTTP/1.1 {status}\ncontent-type: application/json\n\n{body}").as_bytes(), now);
    let issued = Declared::new(account).unwrap().read(&answer, &request, now, &mut |_| {});
    let issued = issued.map_err(|error| error.class)?;
    Ok(((issued.expires_at - now).num_seconds(), issued.values.len()))
}

#[test]
fn an_answer_as_the_vendor_documents_it_is_read() {
    let now = Utc::now();
    let jwt = |exp: &Value| {
        let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        format!("{}.{}.c2lnbmF0dXJl", part(json!({"alg": "HS256", "typ": "JWT"})), part(json!({"exp": exp})))
    };
    let ahead = |life: TimeDelta| now + life;
    // seven digits and an offset
    let of_azure = ahead(TimeDelta::hours(8)).format("%Y-%m-%dT%H:%M:%S.3244584+00:00").to_string();
    let of_google = ahead(TimeDelta::minutes(5)).to_rfc3339_opts(SecondsFormat::Millis, true);
    let bearer = json!({"access_token": "aG9wZQ", "token_type": "bearer", "expires_in": 3600});
    for (file, body, life, values) in [
        ("azure-communication-services", json!({"token": jwt(&Value::Null), "expiresOn": of_azure}), 28_800, 0),
        ("daily-api", json!({"token": jwt(&ahead(TimeDelta::hours(1)).timestamp().into())}), 3600, 0),
        ("milestone-xprotect", bearer.clone(), 3600, 0),
        (
            "nest",
            json!({"results": {"streamUrls": {"rtspUrl": "rtsps://stream.example/porch?auth=g.0"}, "streamToken": "g.0",
                "streamExtensionToken": "CjY5Y3VKaTfMF", "expiresAt": of_google}}),
            300,
            2,
        ),
        ("verkada", json!({"token": "v2-aG9wZQ"}), 1800, 0),
        ("zoom", bearer, 3600, 0),
    ] {
        let (seconds, found) = read(file, "200 OK", &body, now).unwrap_or_else(|class| panic!("{file}: {class:?}"));
        assert!((life - 2..=life).contains(&seconds) && found == values, "{file}: {seconds} s, {found} values");
    }
}

#[test]
fn a_rejected_credential_as_the_vendor_documents_it_stops_the_account() {
    for (file, status, body) in [
        ("azure-communication-services", "401 Unauthorized", json!({"error": {"code": "Denied"}})),
        ("daily-api", "401 Unauthorized", json!({"error": "authentication-error"})),
        ("milestone-xprotect", "400 Bad Request", json!({"error": "invalid_grant"})),
        ("nest", "401 Unauthorized", json!({"error": {"code": 401, "status": "UNAUTHENTICATED"}})),
        ("verkada", "401 Unauthorized", json!({"id": "x", "message": "Token expired"})),
        ("zoom", "400 Bad Request", json!({"reason": "Invalid client_id or client_secret", "error": "invalid_client"})),
    ] {
        let class = read(file, status, &body, Utc::now()).unwrap_err();
        assert_eq!(class, Class::Credential, "{file}");
    }
}
