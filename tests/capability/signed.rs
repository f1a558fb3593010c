//! Tokens that the operator signs itself, from YAML to Secret: renewal, further values, another key, and what is refused.

use crate::OPERATOR;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use testkit::scene::{SOON, Scene, condition};

const KEY: &str = "abababa-0123456789";

/// The credential Secret of a provider, with this key, which a `TokenProvider` may sign with.
fn key(scene: &Scene, provider: &str, key: &str) -> Value {
    let mut secret = scene.keys(&format!("{provider}-key"), "", &json!({"key": key}));
    secret["metadata"]["annotations"] = json!({"videotoken.dev/signing-key": "true"});
    secret
}

/// A provider that signs with the key of [`key`]; `more` goes over its account.
fn provider(scene: &Scene, name: &str, more: &Value) -> Value {
    let mut account = json!({"key": {"secretRef": {"name": format!("{name}-key"), "key": "key"}}});
    account.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "TokenProvider", "spec": {"signed": account},
        "metadata": {"name": name, "namespace": scene.namespace}})
}

fn jwt() -> Value {
    json!({"parameters": {"room": {}, "publish": {"type": "boolean", "default": "false"}},
        "lifetime": {"min": "10s", "max": "24h"},
        "jwt": {"algorithm": "HS256", "header": {"kid": "k1"},
            "claims": {"sub": "{{ room }}", "aud": "v", "publish": "{{ publish }}", "jti": "{{ uuid() }}"},
            "variants": {"thumbnail": {"aud": "t"}}}})
}

/// A text whose digest contains the key, so that this test can compute it.
fn digest() -> Value {
    json!({"parameters": {"room": {}}, "lifetime": {"min": "10s", "max": "24h"},
        "message": {"text": "{{ room }}?{{ key }}&end={{ expires_at | unix }}", "algorithm": "Sha256", "encoding": "Hex",
            "token": "end={{ expires_at | unix }}&hash={{ signature }}"}})
}

fn token(scene: &Scene, name: &str, provider: &str, changes: &Value) -> Value {
    scene.token_of(name, provider, &json!({"signed": {"parameters": {"room": "lobby"}}}), changes)
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

/// True if the token of [`digest`] was made with this key.
fn is_of(token: &str, key: &str) -> bool {
    let (end, hash) = token.strip_prefix("end=").unwrap().split_once("&hash=").unwrap();
    let digest = Sha256::digest(format!("lobby?{key}&end={end}"));
    hash == format!("{digest:x}")
}

async fn scene(prefix: &str, account: &Value) -> Scene {
    let scene = Scene::bare(prefix, OPERATOR).await.unwrap();
    scene.apply(&key(&scene, "signer", KEY)).await.unwrap();
    scene.apply(&provider(&scene, "signer", account)).await.unwrap();
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn p04_a_signed_token_and_its_values_are_renewed_by_one_write_and_no_call() {
    let scene = scene("signed", &jwt()).await;
    let _operator = scene.operator().await.unwrap();
    let templates = json!({"lifetime": "30s", "secret": {"template": {"data": {
        "url": "https://player.example/?token={{ token }}&poster={{ values.thumbnail }}"}}}});
    scene.ready(&token(&scene, "lobby", "signer", &templates)).await.unwrap();
    let object = scene.until_that("lobby", "there", |_| true).await.unwrap();
    let (first, poster) =
        (scene.held("lobby").await.unwrap(), scene.key_of("lobby", "values.thumbnail").await.unwrap());
    let (main, other) = (claims(&first), claims(&poster.unwrap()));
    assert_eq!((&main["sub"], &main["aud"], &main["publish"]), (&json!("lobby"), &json!("v"), &json!(false)));
    assert_eq!((&other["sub"], &other["aud"], &other["exp"]), (&json!("lobby"), &json!("t"), &main["exp"]));
    assert_ne!(main["jti"], other["jti"]);
    let expires = object["status"]["expiresAt"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert_eq!(main["exp"], expires.timestamp());
    assert_eq!(condition(&object, "Ready")["reason"], "TokenIssued");
    assert_eq!(scene.secret_writes("lobby"), 1);
    let status =
        scene.until_provider("signer", "is ready", |provider| condition(provider, "Ready")["status"] == "True");
    let status = status.await.unwrap();
    assert_eq!((&status["status"]["type"], &status["status"]["account"]), (&json!("signed"), &json!("HS256")));

    let renewed = |object: &Value| object["status"]["issuances"] == 2;
    scene.until_within(SOON * 2, "lobby", "renewed", renewed).await.unwrap();
    let second = scene.held("lobby").await.unwrap();
    assert_ne!(claims(&second)["jti"], main["jti"]);
    assert_eq!(scene.secret_writes("lobby"), 2, "a renewal is one write");

    // another template is rendered from the stored values, without another signature
    let other = json!({"lifetime": "30s", "secret": {"template": {"data": {"poster": "{{ values.thumbnail }}"}}}});
    let before = scene.held("lobby").await.unwrap();
    scene.apply(&token(&scene, "lobby", "signer", &other)).await.unwrap();
    testkit::stand::eventually(SOON, "another template", async || match scene.key_of("lobby", "poster").await {
        Ok(Some(poster)) => {
            assert_eq!(claims(&poster)["aud"], "t");
            Ok(())
        }
        other => Err(format!("{other:?}")),
    })
    .await;
    let object = scene.until_that("lobby", "there", |_| true).await.unwrap();
    assert!(scene.held("lobby").await.unwrap() == before || object["status"]["issuances"] != 2, "{object}");
}

/// Red without the key's fingerprint in the request: the token of the old key would stay until its renewal.
#[tokio::test(flavor = "multi_thread")]
async fn p03_another_key_signs_anew_at_once_and_nothing_else_does() {
    let scene = scene("rekeyed", &digest()).await;
    let mut operator = scene.operator().await.unwrap();
    scene.ready(&token(&scene, "lobby", "signer", &json!({"lifetime": "12h"}))).await.unwrap();
    let first = scene.held("lobby").await.unwrap();
    assert!(is_of(&first, KEY));

    scene.patch_secret("signer-key", &json!({"stringData": {"key": "another-0123456789"}})).await.unwrap();
    scene.until_that("lobby", "signed anew", |object| object["status"]["issuances"] == 2).await.unwrap();
    let second = scene.held("lobby").await.unwrap();
    assert!(is_of(&second, "another-0123456789"), "{second}");

    // a label, a description, a restart, the same key in another version of its Secret
    scene.patch_secret("signer-key", &json!({"metadata": {"labels": {"team": "video"}}})).await.unwrap();
    scene.patch("lobby", &json!({"metadata": {"labels": {"team": "video"}}})).await.unwrap();
    scene
        .patch_provider("signer", &json!({"spec": {"signed": {"parameters": {"room": {"description": "the room"}}}}}))
        .await
        .unwrap();
    operator.terminate().await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready(&token(&scene, "probe", "signer", &json!({}))).await.unwrap();
    testkit::stand::wait::throughout(Duration::from_secs(3), "nothing else signs anew", async || {
        let object = scene.until_that("lobby", "there", |_| true).await.map_err(|error| error.to_string())?;
        let is_kept = scene.held("lobby").await.is_ok_and(|token| token == second);
        match (object["status"]["issuances"].as_u64(), scene.secret_writes("lobby"), is_kept) {
            (Some(2), 2, true) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;

    // another template is another request
    let changed =
        json!({"spec": {"signed": {"message": {"token": "end={{ expires_at | unix }}&hash={{ signature }}&v=2"}}}});
    scene.patch_provider("signer", &changed).await.unwrap();
    scene.until_that("lobby", "signed anew", |object| object["status"]["issuances"] == 3).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p09_a_further_value_that_another_client_changes_is_repaired() {
    let scene = scene("valued", &jwt()).await;
    let _operator = scene.operator().await.unwrap();
    scene.ready(&token(&scene, "lobby", "signer", &json!({"lifetime": "12h"}))).await.unwrap();
    scene.patch_secret("lobby", &json!({"stringData": {"values.thumbnail": "theirs"}})).await.unwrap();
    testkit::stand::eventually(SOON, "the value is repaired", async || {
        match scene.key_of("lobby", "values.thumbnail").await {
            Ok(Some(value)) if value != "theirs" => {
                assert_eq!(claims(&value)["aud"], "t");
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// What CEL can't see is stalled, with the field and what to write; the way out heals it at once.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_signed_is_stalled_with_its_field_and_heals() {
    let scene = scene("unsigned", &jwt()).await;
    let _operator = scene.operator().await.unwrap();
    let mut unmarked = key(&scene, "unmarked", KEY);
    unmarked["metadata"]["annotations"] = json!({});
    scene.apply(&unmarked).await.unwrap();
    scene.apply(&key(&scene, "wrong-key", "is-no-pem")).await.unwrap();
    let changed = |pointer: &str, value: Value| {
        let mut account = jwt();
        *account.pointer_mut(pointer).unwrap() = value;
        account
    };
    let agora = json!({"agora": {"appId": "970ca35de60c44645bbae8a215061b33", "rtm": {"user": "u"}}});
    let digest_of_nothing =
        json!({"message": {"text": "a", "algorithm": "Sha256", "encoding": "Hex", "token": "{{ key }}"}});
    let cases = [
        ("unmarked", jwt(), "CredentialsNotForSigning", "videotoken.dev/signing-key=true"),
        (
            "certificate",
            agora,
            "CredentialsUnusable",
            "spec.signed.key.secretRef: what the Secret certificate-key in namespace",
        ),
        (
            "curve",
            json!({"jwt": {"algorithm": "ES384"}}),
            "CredentialsUnusable",
            "ES384 needs an EC private key of curve P-384",
        ),
        (
            "encoded",
            json!({"key": {"secretRef": {"name": "encoded-key", "key": "key"}, "encoding": "hex"}, "jwt": {"algorithm": "HS256"}}),
            "CredentialsUnusable",
            "spec.signed.key.encoding",
        ),
        ("key-in-token", digest_of_nothing, "InvalidSpec", "spec.signed.message.token"),
        (
            "wrong-key",
            changed("/jwt/algorithm", json!("RS256")),
            "CredentialsUnusable",
            "RS256 needs an RSA private key",
        ),
        (
            "pattern",
            changed("/parameters/room", json!({"pattern": "["})),
            "InvalidSpec",
            "spec.signed.parameters.room.pattern",
        ),
        (
            "template",
            changed("/jwt/claims", json!({"sub": "{{ rom }}"})),
            "InvalidSpec",
            "spec.signed.jwt.claims.sub: line 1: `rom` is not known",
        ),
        ("too-deep", changed("/jwt/claims", json!({"a": [[[[[[[[[1]]]]]]]]]})), "InvalidSpec", "levels deep"),
    ];
    for (name, account, reason, says) in &cases {
        if !["unmarked", "wrong-key"].contains(name) {
            scene.apply(&key(&scene, name, KEY)).await.unwrap();
        }
        scene.apply(&provider(&scene, name, account)).await.unwrap();
        let stalled = |provider: &Value| condition(provider, "Ready")["reason"] == *reason;
        let object = scene.until_provider(name, reason, stalled).await.unwrap();
        let message = condition(&object, "Ready")["message"].as_str().unwrap().to_owned();
        assert!(message.contains(says) && !message.contains(KEY), "{message}");
        scene.apply(&token(&scene, name, name, &json!({}))).await.unwrap();
    }
    let annotated = json!({"metadata": {"annotations": {"videotoken.dev/signing-key": "true"}}});
    scene.patch_secret("unmarked-key", &annotated).await.unwrap();
    scene.apply(&provider(&scene, "wrong-key", &jwt())).await.unwrap();
    scene.apply(&provider(&scene, "template", &jwt())).await.unwrap();
    for name in ["unmarked", "wrong-key", "template"] {
        scene.until(name, "Ready", "True", "").await.unwrap();
    }

    // of the token: parameters and values
    for (name, parameters, changes, says) in [
        ("absent", json!({}), json!({}), "spec.scope.signed.parameters.room: is required"),
        ("separator", json!({"room": "a~b"}), json!({}), "spec.scope.signed.parameters.room: must match"),
        ("unknown", json!({"room": "a", "rom": "b"}), json!({}), "spec.scope.signed.parameters.rom: is no parameter"),
        ("long", json!({"room": "a"}), json!({"lifetime": "25h"}), "spec.lifetime: the provider issues for 10s to 24h"),
        (
            "no-value",
            json!({"room": "a"}),
            json!({"secret": {"template": {"data": {"x": "{{ values.poster }}"}}}}),
            "values.poster is no value of the provider, which has thumbnail",
        ),
        (
            "taken",
            json!({"room": "a"}),
            json!({"secret": {"template": {"data": {"values.thumbnail": "x"}}}}),
            "spec.secret.template.data[values.thumbnail]",
        ),
    ] {
        let object = scene.token_of(name, "signer", &json!({"signed": {"parameters": parameters}}), &changes);
        scene.apply(&object).await.unwrap();
        let object = scene.until(name, "Stalled", "True", "InvalidSpec").await.unwrap();
        let message = condition(&object, "Stalled")["message"].as_str().unwrap().to_owned();
        assert!(message.contains(says), "{message}");
        assert!(scene.held(name).await.is_err(), "nothing is written");
    }
}

/// A tenant of a ClusterTokenProvider gets what its administrator allows, and can't use it as an oracle.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_gets_no_signature_beyond_what_the_administrator_allows() {
    let scene = Scene::bare("oracle", OPERATOR).await.unwrap();
    let home = scene.options.cluster_resource_namespace.clone();
    let name = format!("{}-signer", scene.namespace);
    let mut secret = key(&scene, &name, KEY);
    secret["metadata"]["namespace"] = home.as_str().into();
    secret["metadata"]["annotations"] = json!({});
    testkit::stand::yaml::apply(&scene.client, &home, &secret.to_string()).await.unwrap();
    let mut account = jwt();
    account["lifetime"] = json!({"max": "1h"});
    account["key"] = json!({"secretRef": {"name": format!("{name}-key"), "key": "key"}});
    account["parameters"]["user"] = json!({"pattern": "[a-z]{1,8}", "default": "none"});
    account["jwt"]["claims"]["user"] = "{{ user }}".into();
    let provider = json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "ClusterTokenProvider",
        "metadata": {"name": name}, "spec": {"signed": account, "allowedNamespaces": {"names": [scene.namespace]},
            "allowedScopes": {"parameters": {"room": ["lobby", "hall"]}}}});
    scene.apply(&provider).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let asks = |token: &str, parameters: Value, changes: Value| {
        let mut object = scene.token_of(token, &name, &json!({"signed": {"parameters": parameters}}), &changes);
        object["spec"]["providerRef"]["kind"] = "ClusterTokenProvider".into();
        object
    };
    scene.ready(&asks("good", json!({"room": "hall", "user": "abc"}), json!({}))).await.unwrap();
    for (token, parameters, changes, reason) in [
        ("other-room", json!({"room": "attic"}), json!({}), "NotAllowed"),
        ("injected", json!({"room": "lobby", "user": "a\",\"x"}), json!({}), "InvalidSpec"),
        ("template", json!({"room": "{{ key }}"}), json!({}), "NotAllowed"),
        ("templated-user", json!({"room": "lobby", "user": "{{ key }}"}), json!({}), "InvalidSpec"),
        ("claims", json!({"room": "lobby", "aud": "admin"}), json!({}), "InvalidSpec"),
        ("for-years", json!({"room": "lobby"}), json!({"lifetime": "8000h"}), "InvalidSpec"),
    ] {
        scene.apply(&asks(token, parameters, changes)).await.unwrap();
        scene.until(token, "Stalled", "True", reason).await.unwrap();
        assert!(scene.held(token).await.is_err(), "{token}");
    }
}
