//! `issue` of a token that is signed here: without any call, once until it is due, and anew with another key.

use crate::stand::{command, run};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use std::fs;
use std::path::Path;
use testkit::stand::controlplane::repository;
use testkit::stand::process::Scratch;

/// The example with this key and a variant, in a file.
fn file(folder: &Path, key: &str) -> std::path::PathBuf {
    let text = fs::read_to_string(repository().join("deploy/examples/signed.yaml")).unwrap();
    let text = text.replace("the API secret", key);
    let text = text.replace("    lifetime:\n", "      variants:\n        poster:\n          aud: t\n    lifetime:\n");
    let path = folder.join("signed.yaml");
    fs::write(&path, text).unwrap();
    path
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_token_is_issued_once_until_its_key_changes() {
    let folder = Scratch::new("vto-signed-").unwrap();
    let into = folder.path().join("token");
    let issue = async |key: &str| {
        let mut command = command("issue");
        command.arg("-f").arg(file(folder.path(), key)).arg("--into").arg(&into);
        let ran = run(command).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(!ran.stderr.contains(key) && !ran.stdout.contains(key), "{}", ran.stderr);
        let read = |name: &str| fs::read_to_string(into.join(name)).unwrap();
        [read("token"), read("values.poster")]
    };
    let first = issue("secret-0123456789").await;
    assert_eq!(claims(&first[0])["video"]["canPublish"], false);
    assert_eq!(claims(&first[1])["aud"], "t");
    assert_eq!(issue("secret-0123456789").await, first, "not due yet");
    let second = issue("another-0123456789").await;
    assert_ne!(second, first, "another key signs anew");
    assert_eq!(issue("another-0123456789").await, second);

    let mut check = command("check");
    check.arg("-f").arg(file(folder.path(), "k"));
    let ran = run(check).await;
    assert_eq!(ran.code, 0, "{} {}", ran.stdout, ran.stderr);
    // a mistake in a template needs no key to be found
    let path = file(folder.path(), "k");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("{{ identity }}", "{{ idenity }}")).unwrap();
    let mut check = command("check");
    check.arg("-f").arg(&path);
    let ran = run(check).await;
    assert_ne!(ran.code, 0);
    let said = ran.stdout + &ran.stderr;
    assert!(said.contains("spec.signed.jwt.claims.sub") && said.contains("`idenity` is not known"), "{said}");
}
