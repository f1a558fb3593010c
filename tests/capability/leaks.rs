//! P11: no token, key, password or assertion in a log line at any level, an event, a status, a metric, a trace or on the
//! status page.

use crate::OPERATOR;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Event as CoreEvent;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use testkit::collector::Collector;
use testkit::emulator::{Fault, Federation, KeySource, example};
use testkit::leaks::{PIECE, before_a_leak};
use testkit::offers::{Offer, offers};
use testkit::scene::{SOON, Scene, client_secret};
use testkit::stand::wait::own_kind;
use testkit::stand::{Failure, Matcher, Operator, eventually};

/// A client secret that needs escaping in a form, in JSON and in a URL.
const CANARY: &str = r#"Canary~in+the/coal="mine"\pit&shaft%41.8Q"#;

/// All is told that an operator can tell: every log line, the status page, and traces, to this collector.
async fn talkative(scene: &mut Scene) -> Collector {
    let collector = Collector::start().await.unwrap();
    "trace".clone_into(&mut scene.options.rust_log);
    scene.options.args.extend(["--status-page".to_owned(), format!("--otlp-endpoint={}", collector.url())]);
    scene.options.env.push(("OTEL_BSP_SCHEDULE_DELAY".to_owned(), "100".to_owned()));
    collector
}

/// Where a secret could show, by name.
async fn shown(scene: &Scene, operator: &Operator, collector: &Collector) -> Vec<(&'static str, String)> {
    let list = async |kind: &str| {
        let api: Api<DynamicObject> = Api::namespaced_with(scene.client.clone(), &scene.namespace, &own_kind(kind));
        serde_json::to_string(&api.list(&ListParams::default()).await.unwrap().items).unwrap()
    };
    let events: Api<CoreEvent> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let events = events.list(&ListParams::default()).await.unwrap().items;
    let secrets = scene.secrets().list_metadata(&ListParams::default()).await.unwrap().items;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |path| client.get(operator.url(path)).send().await.unwrap().text().await.unwrap();
    vec![
        ("the log", operator.logs()),
        ("an event", serde_json::to_string(&events).unwrap()),
        ("a token's object", list("VideoAccessToken").await),
        ("a provider's object", list("TokenProvider").await),
        ("a Secret's metadata", serde_json::to_string(&secrets).unwrap()),
        ("a metric", get("/metrics").await),
        ("the status page", get("/").await),
        ("a trace", collector.text()),
    ]
}

/// Nothing shows any of these secrets, nor anything else that looks like a JWT.
async fn assert_silent(scene: &Scene, operator: &Operator, collector: &Collector, secrets: &BTreeSet<String>) {
    for (place, text) in shown(scene, operator, collector).await {
        assert!(!text.is_empty() || place == "an event", "{place}: nothing to look at");
        if let Some(before) = before_a_leak(&text, secrets) {
            panic!("{place} shows a piece of a secret, or what looks like a JWT, after {before:?}");
        }
    }
}

/// What each fault makes of a renewal: a failure, or a token of an odd form. `token` is one that was issued before.
fn faults(token: &str) -> Vec<(Fault, bool)> {
    let said = json!({"error": {"code": "Denied", "message": format!("the token {token} is wrong")}}).to_string();
    vec![
        (Fault::EchoRequest, true),
        (Fault::Status { code: 400, body: said.clone(), headers: Vec::new() }, true),
        (Fault::Status { code: 500, body: token.to_owned(), headers: Vec::new() }, true),
        (Fault::Status { code: 403, body: said, headers: vec![("x-ms-request-id".into(), token.into())] }, true),
        (Fault::HalfJson, true),
        (Fault::CutBody, true),
        (Fault::ExpiredToken, true),
        (Fault::Html, true),
        (Fault::OpaqueToken, false),
        (Fault::NotJwt, false),
        (Fault::NoExpiry, false),
    ]
}

async fn failed(scene: &Scene) {
    has_failed(scene, "lobby").await;
}

async fn has_failed(scene: &Scene, name: &str) {
    scene.until_that(name, "has failed", |object| object["status"]["failedAttempts"] != 0).await.unwrap();
}

/// Forces a renewal. An edit of the spec ends the wait that many of them in a row have.
async fn force(scene: &Scene, name: &str) {
    scene.touch(name).await.unwrap();
    scene.force_renewal(name).await.unwrap();
}

/// A renewal is forced, and another token stored.
async fn renewed(scene: &Scene, secrets: &mut BTreeSet<String>) {
    is_renewed(scene, "lobby", secrets).await;
}

async fn is_renewed(scene: &Scene, name: &str, secrets: &mut BTreeSet<String>) {
    let before = scene.held(name).await.unwrap();
    force(scene, name).await;
    let token = eventually(SOON, "another token", async || match scene.held(name).await {
        Ok(token) if token != before => Ok(token),
        Ok(_) => Err("still the same".to_owned()),
        Err(error) => Err(error.to_string()),
    })
    .await;
    secrets.insert(token);
}

/// All that the emulators were sent as proof of who asks.
fn proofs(scene: &Scene) -> BTreeSet<String> {
    let bearers = scene.azure.video_indexer.control().requests();
    let bearers = bearers.iter().filter_map(|seen| Some(seen.call.bearer()?.to_owned()));
    let asked = scene.azure.entra.control().requests();
    let proofs = asked.iter().flat_map(|seen| ["client_secret", "client_assertion"].map(|name| seen.call.form(name)));
    bearers.chain(proofs.flatten()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_no_secret_shows_whatever_the_providers_and_the_api_server_do() {
    let mut scene = Scene::bare("leaks", OPERATOR).await.unwrap();
    let collector = talkative(&mut scene).await;
    scene.azure.entra.add_secret(example::CLIENT_ID, CANARY);
    scene.apply(&scene.credentials("azure-login", CANARY)).await.unwrap();
    scene.apply(&scene.provider("indexer", &client_secret("azure-login"))).await.unwrap();
    let (entra, video_indexer) = (scene.azure.entra.control(), scene.azure.video_indexer.control());
    let mut secrets = BTreeSet::from([CANARY.to_owned()]);
    let mut operator = scene.operator().await.unwrap();

    entra.play(Fault::Status { code: 500, body: CANARY.to_owned(), headers: Vec::new() });
    let keys = json!({"secret": {"keys": {"previousToken": "previous-token"}, "template": {"data": {
        "config.json": r#"{"accessToken": {{ token | tojson }}}"#}}}});
    scene.apply(&scene.token("lobby", &keys)).await.unwrap();
    failed(&scene).await;
    entra.clear_faults();
    entra.play(Fault::EchoRequest);
    let refused = |object: &Value| object["status"]["lastFailure"]["class"] == "Credential";
    scene.until_that("lobby", "is refused", refused).await.unwrap();
    entra.clear_faults();
    // another credential is tried at once
    let next: String = CANARY.chars().rev().collect();
    scene.azure.entra.add_secret(example::CLIENT_ID, &next);
    scene.patch_secret("azure-login", &json!({"stringData": {"client-secret": next}})).await.unwrap();
    scene.until("lobby", "Ready", "True", "").await.unwrap();
    secrets.insert(next);
    let token = scene.held("lobby").await.unwrap();
    secrets.insert(token.clone());

    for (fault, fails) in faults(&token) {
        video_indexer.play(fault);
        if fails {
            force(&scene, "lobby").await;
            failed(&scene).await;
            video_indexer.clear_faults();
        }
        renewed(&scene, &mut secrets).await;
        video_indexer.clear_faults();
    }
    for failure in [Failure::Status(500), Failure::Status(409), Failure::Closed, Failure::LostAnswer] {
        let rule = scene.proxy.fail(Matcher::patch("secrets").first(1), failure);
        renewed(&scene, &mut secrets).await;
        assert_eq!(rule.hits(), 1, "{failure:?}");
    }
    let rule = scene.proxy.fail(Matcher::patch("secrets"), Failure::Status(422));
    force(&scene, "lobby").await;
    scene.until("lobby", "Stalled", "True", "SecretRefused").await.unwrap();
    drop(rule);
    renewed(&scene, &mut secrets).await;
    scene.patch_secret("lobby", &json!({"stringData": {"token": "theirs"}})).await.unwrap();
    scene.until_that("lobby", "repaired", |object| object["status"]["failedAttempts"] == 0).await.unwrap();
    secrets.insert(scene.settled("lobby").await.unwrap());
    scene.patch_secret("lobby", &json!({"immutable": true})).await.unwrap();
    force(&scene, "lobby").await;
    scene.until("lobby", "Stalled", "True", "SecretImmutable").await.unwrap();

    secrets.extend(proofs(&scene));
    assert!(secrets.len() > 15, "{} secrets", secrets.len());
    assert_silent(&scene, &operator, &collector, &secrets).await;
    operator.terminate().await.unwrap();
    assert!(!operator.logs().contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_no_assertion_shows_whatever_entra_says_of_it() {
    const ISSUER: &str = "https://kubernetes.default.svc";
    let mut scene = Scene::bare("assertions", OPERATOR).await.unwrap();
    let collector = talkative(&mut scene).await;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "tokens", "namespace": scene.namespace},
        "rules": [{"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "tokens", "namespace": scene.namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tokens"},
        "subjects": [{"kind": "ServiceAccount", "name": "video-token-operator", "namespace": "video-token-operator"}]});
    let auth = |client_id: &str| {
        json!({"workloadIdentity": {"serviceAccountName": "video", "clientId": client_id,
            "tenantId": example::TENANT_ID}})
    };
    let stranger = scene.provider("indexer", &auth("00000000-0000-0000-0000-000000000000"));
    let hosts = testkit::scene::hosts(&scene.azure).join(",");
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "video", "annotations": {"videotoken.dev/allowed-hosts": hosts}}});
    for object in [role, binding, account, stranger, scene.token("lobby", &json!({}))] {
        scene.apply(&object).await.unwrap();
    }
    let request = http::Request::get("/openid/v1/jwks").body(Vec::new()).unwrap();
    let keys: Value = scene.client.request(request).await.unwrap();
    scene.azure.entra.set_issuer_keys(ISSUER, KeySource::Document(keys));
    // not trusted, and told so with all that was sent
    scene.azure.entra.control().play(Fault::EchoRequest);
    let operator = scene.operator().await.unwrap();
    failed(&scene).await;
    scene.azure.entra.control().clear_faults();
    let federation = Federation::service_account(ISSUER, &scene.namespace, "video");
    assert!(scene.azure.entra.add_federation(example::CLIENT_ID, federation));
    // another identity is tried at once
    scene.apply(&scene.provider("indexer", &auth(example::CLIENT_ID))).await.unwrap();
    scene.until("lobby", "Ready", "True", "").await.unwrap();
    let token = scene.settled("lobby").await.unwrap();
    let mut secrets = proofs(&scene);
    secrets.insert(token);
    assert!(secrets.len() >= 4, "{} secrets", secrets.len());
    assert_silent(&scene, &operator, &collector, &secrets).await;
}

/// The same for each API whose credentials are keys: its keys and its tokens, through every success and every failure.
#[tokio::test(flavor = "multi_thread")]
async fn p11_no_key_shows_whatever_its_provider_does_with_it() {
    let mut scene = Scene::bare("keys", OPERATOR).await.unwrap();
    let collector = talkative(&mut scene).await;
    let offers = offers(scene.azure.ca()).await.unwrap();
    scene.options.allowed_endpoints.extend(offers.iter().map(|offer| offer.host.clone()));
    let operator = scene.operator().await.unwrap();
    let through_all = offers.iter().map(|offer| through_all(&scene, offer));
    let secrets: BTreeSet<String> = join_all(through_all).await.into_iter().flatten().collect();
    assert!(secrets.len() > 10 * offers.len(), "{} secrets", secrets.len());
    assert_silent(&scene, &operator, &collector, &secrets).await;
}

/// What is secret of one API: its keys, a wrong one, and the tokens of every fault.
async fn through_all(scene: &Scene, offer: &Offer) -> BTreeSet<String> {
    let name = offer.provider_name();
    // what is no password, and shorter than a piece, is not looked for
    let mut secrets: BTreeSet<String> = offer.secrets().into_iter().filter(|key| key.len() >= PIECE).collect();
    let wrong: Value = offer.keys.as_object().unwrap().keys().map(|key| (key.clone(), json!(CANARY))).collect();
    let [mut credential, provider] = offer.provider(scene);
    credential["stringData"] = wrong;
    for object in [credential, provider, offer.token(scene, &name, &json!({}))] {
        scene.apply(&object).await.unwrap();
    }
    has_failed(scene, &name).await;
    scene.apply(&offer.provider(scene)[0]).await.unwrap();
    scene.until(&name, "Ready", "True", "").await.unwrap();
    let token = scene.held(&name).await.unwrap();
    secrets.extend([CANARY.to_owned(), token.clone()]);
    // what was sent comes back last: where failed logins lock a user, it may be taken for one
    for (n, (fault, fails)) in faults(&token).into_iter().rev().enumerate() {
        // an object of its own: many forced renewals of one in a row wait longer each time
        let name = format!("{name}-{n}");
        scene.ready(&offer.token(scene, &name, &json!({}))).await.unwrap();
        secrets.insert(scene.held(&name).await.unwrap());
        let is_refused = offer.refuses.contains(&fault);
        offer.control.play(fault);
        if fails || is_refused {
            scene.force_renewal(&name).await.unwrap();
            has_failed(scene, &name).await;
            offer.control.clear_faults();
        }
        let object = scene.until_that(&name, "there", |_| true).await.unwrap();
        if object["status"]["lastFailure"]["class"] == "Credential" {
            break;
        }
        is_renewed(scene, &name, &mut secrets).await;
        offer.control.clear_faults();
    }
    secrets
}

/// The same for keys that sign here: keys of each form, tokens and further values, through successes and refusals.
#[tokio::test(flavor = "multi_thread")]
async fn p11_no_signing_key_and_no_signed_token_shows() {
    const SHARED: &str = "a-signing-key/with\"quotes~0123456789";
    let mut scene = Scene::bare("signing", OPERATOR).await.unwrap();
    let collector = talkative(&mut scene).await;
    let operator = scene.operator().await.unwrap();
    let mut secrets = BTreeSet::from([SHARED.to_owned(), CANARY.to_owned()]);
    let forms = [
        (
            "jwt",
            json!({"jwt": {"algorithm": "HS256", "claims": {"sub": "{{ room }}", "n": "{{ odd | unix }}"},
            "variants": {"poster": {"aud": "t"}}}}),
        ),
        (
            "digest",
            json!({"message": {"text": "{{ room }}?{{ key }}{{ expires_at | unix }}", "algorithm": "Sha512", "encoding": "Base64",
            "token": "{{ odd | unix }}-{{ signature }}", "values": {"poster": "{{ signature | b64encode }}"}}}),
        ),
        (
            "hmac",
            json!({"message": {"text": "{{ room }}{{ expires_at | unix }}", "algorithm": "HmacSha256", "encoding": "Base64Url",
            "token": "{{ odd | unix }}-{{ signature }}", "values": {"poster": "{{ signature | b64encode }}"}}}),
        ),
        // a key that this form can't use
        ("pem", json!({"jwt": {"algorithm": "RS256"}})),
        ("certificate", json!({"agora": {"appId": "970ca35de60c44645bbae8a215061b33", "rtm": {"user": "u"}}})),
    ];
    for (name, form) in &forms {
        let mut account = json!({"key": {"secretRef": {"name": format!("{name}-key"), "key": "key"}}, "parameters": {"room": {},
            "odd": {"pattern": ".*", "default": "2026-01-01T00:00:00Z"}}});
        account.as_object_mut().unwrap().extend(form.as_object().unwrap().clone());
        let provider = json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "TokenProvider",
            "spec": {"signed": account}, "metadata": {"name": name, "namespace": scene.namespace}});
        let mut credential = scene.keys(&format!("{name}-key"), "", &json!({"key": SHARED}));
        credential["metadata"]["annotations"] = json!({"videotoken.dev/signing-key": "true"});
        for object in [credential, provider] {
            scene.apply(&object).await.unwrap();
        }
        let token = |suffix: &str, odd: &str| {
            let parameters = json!({"room": "lobby", "odd": odd});
            scene.token_of(&format!("{name}{suffix}"), name, &json!({"signed": {"parameters": parameters}}), &json!({}))
        };
        if ["pem", "certificate"].contains(name) {
            let unusable = |provider: &Value| provider["status"]["conditions"][0]["reason"] == "CredentialsUnusable";
            scene.until_provider(name, "can't use its key", unusable).await.unwrap();
            continue;
        }
        scene.ready(&token("", "2026-01-01T00:00:00Z")).await.unwrap();
        // a parameter that the template can't take
        scene.apply(&token("-odd", "no time")).await.unwrap();
        has_failed(&scene, &format!("{name}-odd")).await;
        let issued = async |secrets: &mut BTreeSet<String>| {
            for key in ["token", "values.poster"] {
                secrets.insert(scene.key_of(name, key).await.unwrap().unwrap());
            }
        };
        issued(&mut secrets).await;
        scene.patch_secret(&format!("{name}-key"), &json!({"stringData": {"key": CANARY}})).await.unwrap();
        scene.until_that(name, "signed anew", |object| object["status"]["issuances"] == 2).await.unwrap();
        issued(&mut secrets).await;
    }
    assert!(secrets.len() >= 10, "{} secrets", secrets.len());
    assert_silent(&scene, &operator, &collector, &secrets).await;
}
