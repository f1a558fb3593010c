//! The operator with AWS-LC's FIPS module: `make fips` builds and runs it.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::process::Command;
use testkit::scene::{Scene, condition};

const OPERATOR: &str = env!("CARGO_BIN_EXE_video-token-operator");

#[test]
fn the_version_names_the_module() {
    let output = Command::new(OPERATOR).arg("--version").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    let module = concat!("video-token-operator ", env!("CARGO_PKG_VERSION"), " (FIPS: AWS-LC FIPS ");
    assert!(version.starts_with(module) && version.ends_with(")\n"), "{version}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_issued_and_stored_over_tls_of_the_module() {
    let scene = Scene::new("fips", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let object = scene.ready_token("lobby", &json!({})).await.unwrap();
    assert_eq!((&object["status"]["issuances"], scene.issued()), (&json!(1), 1));
}

/// A provider that signs with this key, and its key.
fn signer(scene: &Scene, name: &str, key: &str, form: &Value) -> [Value; 2] {
    let mut secret = scene.keys(&format!("{name}-key"), "", &json!({"key": key}));
    secret["metadata"]["annotations"] = json!({"videotoken.dev/signing-key": "true"});
    let mut account = json!({"key": {"secretRef": {"name": format!("{name}-key"), "key": "key"}}});
    account.as_object_mut().unwrap().extend(form.as_object().unwrap().clone());
    let provider = json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "TokenProvider",
        "metadata": {"name": name, "namespace": scene.namespace}, "spec": {"signed": account}});
    [secret, provider]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fips_does_not_approve_is_refused_with_its_field() {
    let scene = Scene::bare("fips", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let message = |algorithm: &str, text: &str| json!({"message": {"text": text, "algorithm": algorithm, "encoding": "Hex", "token": "{{ signature }}"}});
    let (long, short) = ("a-secret-of-this-test", "13-characters");
    for (name, key, form, refused) in [
        ("hmac", long, message("HmacSha256", "{{ expires_at | unix }}"), ""),
        ("short", short, message("HmacSha256", "{{ expires_at | unix }}"), "spec.signed.key.secretRef"),
        ("digest", long, message("Sha256", "{{ key }}{{ expires_at | unix }}"), "spec.signed.message.algorithm"),
    ] {
        for object in signer(&scene, name, key, &form) {
            scene.apply(&object).await.unwrap();
        }
        let token = scene.token_of(name, name, &json!({"signed": {}}), &json!({}));
        if refused.is_empty() {
            scene.ready(&token).await.unwrap();
            continue;
        }
        scene.apply(&token).await.unwrap();
        let object = scene.until(name, "Stalled", "True", "").await.unwrap();
        let told = condition(&object, "Stalled")["message"].to_string();
        assert!(told.contains(refused) && told.contains("FIPS build"), "{name}: {told}");
    }
}
