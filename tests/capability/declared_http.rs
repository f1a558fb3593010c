//! Token APIs that a provider declares, from YAML to Secret: what a tenant's declaration reaches, what is refused and
//! where, and what else than a token comes into the Secret.

use crate::OPERATOR;
use serde_json::{Value, json};
use testkit::content_hash::computed_and_stored;
use testkit::emulator::{
    Emulator as _, Fault, Life, Platforms, Rule, Serving, example as azure, platform_example as example,
};
use testkit::scene::{SOON, Scene, condition, hosts};

fn key(key: &str) -> Value {
    json!({"name": "keys", "key": key})
}

/// A declaration that is good at the emulator, with `changes` over it.
fn declared(url: &str, changes: &Value) -> Value {
    let mut account = json!({
        "url": url, "auth": {"none": {}},
        "request": {"path": "/auth/api-key", "json": {"apiKey": {"secretRef": key("api-key")}}},
        "response": {"token": {"json": "$.access_token"}, "expires": {"seconds": "$.expires_in"}},
    });
    merge(&mut account, changes);
    json!({"http": account})
}

fn merge(base: &mut Value, changes: &Value) {
    for (name, change) in changes.as_object().into_iter().flatten() {
        match &mut base[name] {
            Value::Object(_) if change.is_object() && !change.as_object().unwrap().is_empty() && name != "auth" => {
                merge(&mut base[name], change);
            }
            member => *member = change.clone(),
        }
    }
    if let Some(members) = base.as_object_mut() {
        members.retain(|_, member| !member.is_null());
    }
}

fn token(scene: &Scene, name: &str, parameters: &Value) -> Value {
    scene.token_of(name, name, &json!({"http": {"parameters": parameters}}), &json!({}))
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines)] // a table
async fn a_tenants_declaration_reaches_only_what_the_admin_allows() {
    let mut scene = Scene::bare("declared", OPERATOR).await.unwrap();
    let allowed = Serving::start(Platforms::furnished().unwrap(), scene.azure.ca()).await.unwrap();
    let other = Serving::start(Platforms::furnished().unwrap(), scene.azure.ca()).await.unwrap();
    scene.allow(&allowed);
    let _operator = scene.operator().await.unwrap();
    let hosts = allowed.host();
    scene
        .apply(&scene.keys(
            "keys",
            &hosts,
            &json!({"api-key": example::API_KEY, "id": example::CLIENT_ID,
        "secret": example::CLIENT_SECRET}),
        ))
        .await
        .unwrap();
    scene.apply(&scene.keys("elsewhere", "other.example", &json!({"api-key": example::API_KEY}))).await.unwrap();
    let url = allowed.url();
    let oauth = |token_url: &str| {
        json!({"auth": {"oauth2": {"tokenUrl": token_url, "grant": "client_credentials", "clientIdRef": key("id"),
            "clientSecretRef": key("secret")}}})
    };
    let at = |path: &str| format!("{}{path}", other.url());
    let elsewhere = json!({"name": "elsewhere", "key": "api-key"});
    let port = other.url().rsplit_once(':').unwrap().1.to_owned();
    let reaches = |host: &str| declared(&format!("https://{host}:{port}"), &json!({}));
    let cases = [
        ("name-of-loopback", reaches("localhost"), "HostNotAllowed", "spec.http.url"),
        ("decimal", reaches("2130706433"), "HostNotAllowed", "spec.http.url"),
        ("hexadecimal", reaches("0x7f.1"), "HostNotAllowed", "spec.http.url"),
        ("loopback-6", reaches("[::1]"), "HostNotAllowed", "spec.http.url"),
        ("mapped", reaches("[::ffff:127.0.0.1]"), "HostNotAllowed", "spec.http.url"),
        ("link-local-6", reaches("[fe80::1]"), "HostNotAllowed", "spec.http.url"),
        ("other-host", declared(&other.url(), &json!({})), "HostNotAllowed", "spec.http.url"),
        ("public-host", declared("https://api.cloudflare.com", &json!({})), "HostNotAllowed", "spec.http.url"),
        ("metadata", declared("https://169.254.169.254/latest", &json!({})), "HostNotAllowed", "spec.http.url"),
        ("loopback", declared("https://127.0.0.1:6443", &json!({})), "HostNotAllowed", "spec.http.url"),
        ("token-url", declared(&url, &oauth(&at("/oauth2/token"))), "HostNotAllowed", "spec.http.auth.oauth2.tokenUrl"),
        (
            "authority",
            declared(
                &url,
                &json!({"auth": {"entra": {"scope": "s", "authority": at(""), "clientSecret": {
                "tenantId": "72f988bf-86f1-41af-91ab-2d7cd011db47", "clientId": "8b9d9a3f-59f8-4c0e-bf3c-5a1c3a7f0d2e",
                "secretRef": key("secret")}}}}),
            ),
            "HostNotAllowed",
            "spec.http.auth.entra.authority",
        ),
        (
            "anothers-secret",
            declared(&url, &json!({"request": {"json": {"apiKey": {"secretRef": elsewhere}}}})),
            "CredentialsHostNotAllowed",
            "spec.http.request.json.apiKey.secretRef",
        ),
        (
            "no-secret",
            declared(&url, &json!({"request": {"json": {"apiKey": "none"}}})),
            "InvalidSpec",
            "spec.http.auth.none: a TokenProvider sends a credential",
        ),
        (
            "unknown-variable",
            declared(&url, &json!({"request": {"path": "/x/{{ room }}"}})),
            "InvalidSpec",
            "spec.http.request.path: line 1: `room` is not known",
        ),
        (
            "secret-in-path",
            declared(&url, &json!({"request": {"path": "/x/{{ token }}"}})),
            "InvalidSpec",
            "spec.http.request.path: line 1: `token` is not known",
        ),
        (
            "dots",
            declared(&url, &json!({"request": {"path": "/x/{{ '..' }}/y"}})),
            "InvalidSpec",
            "spec.http.request.path: a segment may not be `.` or `..`",
        ),
        (
            "slashes",
            declared(&url, &json!({"request": {"path": "/x/{{ 'a/b' }}"}})),
            "InvalidSpec",
            "must fill one segment",
        ),
        (
            "line-break",
            declared(&url, &json!({"request": {"headers": [{"name": "X-A", "value": "{{ 'a\\r\\nb' }}"}]}})),
            "InvalidSpec",
            "spec.http.request.headers[0].value",
        ),
        (
            "pattern",
            declared(&url, &json!({"response": {"failures": [{"json": "$.a", "matches": "(", "class": "Denied"}]}})),
            "InvalidSpec",
            "spec.http.response.failures[0].matches",
        ),
        (
            "deep",
            declared(
                &url,
                &json!({"request": {"json": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}}}}}),
            ),
            "InvalidSpec",
            "levels deep",
        ),
    ];
    for (name, spec, _, _) in &cases {
        scene.apply(&scene.provider_of(name, &allowed.ca_pem(), spec)).await.unwrap();
        scene.apply(&token(&scene, name, &json!({}))).await.unwrap();
    }
    for (name, _, reason, message) in &cases {
        let object = scene.until(name, "Stalled", "True", reason).await.unwrap();
        let said = condition(&object, "Stalled")["message"].as_str().unwrap().to_owned();
        assert!(said.contains(message), "{name}: {said}");
    }
    for serving in [&allowed, &other] {
        assert_eq!(serving.control().counters().requests, 0, "nothing was sent");
    }

    // what the admin allows works, and a redirect is never followed
    scene.apply(&scene.provider_of("good", &allowed.ca_pem(), &declared(&url, &json!({})))).await.unwrap();
    let away = Fault::status(307, "", &[("location", &at("/auth/api-key"))]);
    allowed.control().play(Rule::new(away).times(1));
    scene.apply(&token(&scene, "good", &json!({}))).await.unwrap();
    let redirected = |object: &Value| object["status"]["lastFailure"]["reason"] == "Redirected";
    scene.until_that("good", "was redirected", redirected).await.unwrap();
    scene.settled_at(allowed.control(), "good").await.unwrap();
    assert_eq!(other.control().counters().requests, 0, "a redirect is never followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn further_values_are_stored_and_rendered() {
    let mut scene = Scene::bare("values", OPERATOR).await.unwrap();
    let serving = Serving::start(Platforms::furnished().unwrap(), scene.azure.ca()).await.unwrap();
    scene.allow(&serving);
    let _operator = scene.operator().await.unwrap();
    scene.apply(&scene.keys("keys", &serving.host(), &json!({"api-key": example::API_KEY}))).await.unwrap();
    let values = json!({"response": {"values": {"refreshToken": {"json": "$.refresh_token"}}}});
    scene.apply(&scene.provider_of("video", &serving.ca_pem(), &declared(&serving.url(), &values))).await.unwrap();
    let template = json!({"secret": {"template": {"data": {"both": "{{ token }} {{ values.refreshToken }}"}}}});
    scene.apply(&scene.token_of("video", "video", &json!({"http": {}}), &template)).await.unwrap();
    let held = scene.settled_at(serving.control(), "video").await.unwrap();
    let value = scene.key_of("video", "values.refreshToken").await.unwrap().unwrap();
    assert!(value.starts_with("def50200"), "{value}");
    assert_eq!(scene.key_of("video", "both").await.unwrap().unwrap(), format!("{held} {value}"));
    assert_eq!(serving.control().counters().requests, 1);
    let secret = scene.secrets().get("video").await.unwrap();
    assert_eq!(secret.metadata.annotations.as_ref().unwrap()["videotoken.dev/value-names"], "refreshToken");
    let (computed, stored) = computed_and_stored(&secret);
    assert_eq!(Some(computed), stored, "the hash covers the names of the values");
}

/// Some providers return the same token until it expires. A renewal then brings nothing, and the next one waits.
#[tokio::test(flavor = "multi_thread")]
async fn p02_a_token_that_comes_back_is_renewed_at_its_end_and_not_in_ever_shorter_steps() {
    let mut scene = Scene::bare("again", OPERATOR).await.unwrap();
    let serving = Serving::start(Platforms::furnished().unwrap(), scene.azure.ca()).await.unwrap();
    serving.control().set_life(Life::Seconds(60));
    scene.allow(&serving);
    let _operator = scene.operator().await.unwrap();
    let keys = json!({"id": example::CLIENT_ID, "secret": example::CLIENT_SECRET, "refresh": example::REFRESH_TOKEN});
    scene.apply(&scene.keys("keys", &serving.host(), &keys)).await.unwrap();
    let account = json!({"http": {
        "url": format!("{}/een", serving.url()),
        "auth": {"basic": {"usernameRef": key("id"), "passwordRef": key("secret")}},
        "request": {"path": "/oauth2/token",
            "form": {"grant_type": "refresh_token", "refresh_token": {"secretRef": key("refresh")}}},
        "response": {"token": {"json": "$.access_token"}, "expires": {"seconds": "$.expires_in"}},
    }});
    scene.apply(&scene.provider_of("een", &serving.ca_pem(), &account)).await.unwrap();
    scene.apply(&scene.token_of("een", "een", &json!({"http": {}}), &json!({}))).await.unwrap();
    let first = scene.settled_at(serving.control(), "een").await.unwrap();
    let came_back = |object: &Value| object["status"]["renewAt"] == object["status"]["expiresAt"];
    scene.until_within(SOON * 3, "een", "came back", came_back).await.unwrap();
    assert_eq!(scene.held("een").await.unwrap(), first);
    assert_eq!(serving.control().counters().requests, 2);
    let (computed, stored) = computed_and_stored(&scene.secrets().get("een").await.unwrap());
    assert_eq!(Some(computed), stored, "the hash covers the mark of a token that came back");
    // the second call issued no token
    let object = scene.until_that("een", "there", |_| true).await.unwrap();
    assert_eq!(object["status"]["issuances"], 1);
    let renewed = |object: &Value| object["status"]["renewAt"] != object["status"]["expiresAt"];
    scene.until_within(SOON * 3, "een", "has a new token", renewed).await.unwrap();
    assert_ne!(scene.held("een").await.unwrap(), first);
    // one more where the end of the token is rounded to the second before it
    assert!(serving.control().counters().requests <= 4);
}

/// Failed logins lock a user. The number of objects and of operators doesn't matter.
#[tokio::test(flavor = "multi_thread")]
async fn p07_a_declared_login_with_a_wrong_password_is_made_once_and_heals_with_the_right_one() {
    const OBJECTS: usize = 5;
    let mut scene = Scene::new("login", OPERATOR).await.unwrap();
    let serving = Serving::start(Platforms::furnished().unwrap(), scene.azure.ca()).await.unwrap();
    scene.allow(&serving);
    let mut operator = scene.operator().await.unwrap();
    let keys = |password: &str| json!({"username": example::USERNAME, "password": password});
    scene.apply(&scene.keys("keys", &serving.host(), &keys("last year's password"))).await.unwrap();
    let account = json!({"http": {
        "url": format!("{}/api", serving.url()),
        "auth": {"none": {}},
        "request": {"path": "/login",
            "json": {"user": {"secretRef": key("username")}, "password": {"secretRef": key("password")}}},
        "response": {"token": {"cookie": "frigate_token"}, "expires": {"jwt": {}}, "lockout": true},
    }});
    scene.apply(&scene.provider_of("frigate", &serving.ca_pem(), &account)).await.unwrap();
    let name = |n: usize| format!("camera-{n}");
    for n in 0..OBJECTS {
        scene.apply(&scene.token_of(&name(n), "frigate", &json!({"http": {}}), &json!({}))).await.unwrap();
    }
    let refused = |object: &Value| condition(object, "Ready")["reason"] == "CredentialRejected";
    scene.until_provider("frigate", "is refused", refused).await.unwrap();
    operator.kill9();
    let _operator = scene.operator().await.unwrap();
    scene.fence().await.unwrap();
    assert_eq!(serving.control().counters().requests, 1);
    scene.patch_secret("keys", &json!({"stringData": keys(example::PASSWORD)})).await.unwrap();
    for n in 0..OBJECTS {
        scene.settled_at(serving.control(), &name(n)).await.unwrap();
    }
}

/// The operator's own authentication with Entra precedes the declared call.
#[tokio::test(flavor = "multi_thread")]
async fn a_declared_api_is_called_with_a_token_of_entra() {
    let mut scene = Scene::bare("entra-bearer", OPERATOR).await.unwrap();
    let serving = Serving::start(Platforms::furnished().unwrap(), scene.azure.ca()).await.unwrap();
    scene.allow(&serving);
    let _operator = scene.operator().await.unwrap();
    let mut allowed = hosts(&scene.azure);
    allowed.push(serving.host());
    let secret = json!({"client-secret": azure::CLIENT_SECRET});
    scene.apply(&scene.keys("keys", &allowed.join(","), &secret)).await.unwrap();
    let account = json!({"http": {
        "url": serving.url(),
        "auth": {"entra": {
            "scope": "https://management.azure.com/.default",
            "authority": scene.azure.authority_url(),
            "clientSecret": {"tenantId": azure::TENANT_ID, "clientId": azure::CLIENT_ID, "secretRef": key("client-secret")},
        }},
        "parameters": {"user": {}},
        "request": {
            "path": "/identities/{{ user }}/:issueAccessToken",
            "query": {"api-version": "2023-10-01"},
            "json": {"scopes": ["voip.join"], "expiresInMinutes": "{{ lifetime | minutes }}"},
        },
        "response": {"token": {"json": "$.token"}, "expires": {"timestamp": "$.expiresOn"}},
        "lifetime": {"min": "1h", "max": "24h", "default": "1h"},
    }});
    scene.apply(&scene.provider_of("calls", &serving.ca_pem(), &account)).await.unwrap();
    for user in ["8:acs:one", "8:acs:two"] {
        let name = user.rsplit(':').next().unwrap();
        let scope = json!({"http": {"parameters": {"user": user}}});
        scene.apply(&scene.token_of(name, "calls", &scope, &json!({"lifetime": "2h"}))).await.unwrap();
        scene.settled_at(serving.control(), name).await.unwrap();
    }
    let requests = serving.control().requests();
    let bearers: Vec<_> = requests.iter().map(|seen| seen.call.bearer().unwrap().to_owned()).collect();
    assert_eq!((bearers.len(), bearers[0] == bearers[1]), (2, true), "one token of Entra for both calls");
    assert!(scene.azure.entra.control().knows(&bearers[0]).is_some(), "a token that Entra issued");
    assert_eq!(requests[0].call.json().unwrap()["expiresInMinutes"], 120);
}
