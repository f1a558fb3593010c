//! P11 for `issue` and `check`: no token, key or password on the standard error at any level, nor where it isn't asked
//! for.

use crate::stand::{Providers, command, run, tokens};
use std::collections::BTreeSet;
use std::path::Path;
use testkit::emulator::{Azure, Fault};
use testkit::leaks::{PIECE, before_a_leak};

/// Ways in which a token API may return a secret.
fn faults(token: &str) -> Vec<Fault> {
    vec![
        Fault::EchoRequest,
        Fault::Status { code: 400, body: format!("{{\"error\": \"{token}\"}}"), headers: Vec::new() },
        Fault::Status { code: 403, body: token.to_owned(), headers: vec![("x-ms-request-id".into(), token.into())] },
        Fault::HalfJson,
        Fault::ExpiredToken,
        Fault::Html,
    ]
}

async fn silent(providers: &Providers, file: &Path, args: &[&str], secrets: &mut BTreeSet<String>, fails: bool) {
    let mut command = providers.issue(file);
    command.args(args).env("RUST_LOG", "trace");
    let ran = run(command).await;
    assert_eq!(ran.code == 0, !fails, "{args:?} {}", ran.stderr);
    if ran.code == 0 {
        secrets.insert(ran.stdout.trim_end().to_owned());
    } else {
        assert_eq!(ran.stdout, "");
    }
    let leak = before_a_leak(&ran.stderr, &*secrets);
    assert_eq!(leak, None, "{args:?} shows a secret after this");
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_no_secret_shows_on_the_standard_error_at_any_level() {
    let azure = Azure::start().await.unwrap();
    let providers = Providers::beside(&azure).await;
    let keys = providers.keys().into_iter().map(|(_, _, key)| key).filter(|key| key.len() >= PIECE);
    let mut secrets: BTreeSet<String> = keys.collect();
    for example in ["blend-vision", "cognitive-services", "own-account", "video-indexer-classic", "arcgis-video-server"]
    {
        let documents = providers.example(example);
        let file = providers.file(&format!("{example}.yaml"), &documents);
        let name = tokens(&documents).remove(0);
        let args = ["--cluster-resource-namespace=video-token-operator", "--name", &name, "-o", "token"];
        silent(&providers, &file, &args, &mut secrets, false).await;
        let token = secrets.iter().find(|secret| providers.control(example).knows(secret).is_some()).unwrap().clone();
        for fault in faults(&token) {
            providers.control(example).play(fault);
            silent(&providers, &file, &args, &mut secrets, true).await;
            providers.control(example).clear_faults();
        }
        // nor does a check of the file quote what it holds
        let mut check = command("check");
        check.arg("-f").arg(&file).env("RUST_LOG", "trace");
        let ran = run(check).await;
        assert_eq!(before_a_leak(&(ran.stdout + &ran.stderr), &secrets), None, "check of {example}");
    }
    assert!(secrets.len() > 9, "{} secrets", secrets.len());
}
