//! P11 for the plugin: no command shows a token or a key unless it is asked for, whatever the providers said.

use crate::stage::Stage;
use futures::future::join_all;
use serde_json::json;
use std::collections::BTreeSet;
use testkit::emulator::{Fault, example};
use testkit::offers::offers;

/// Number of consecutive bytes of a secret that count as a leak.
const PIECE: usize = 16;

/// Pieces of a secret, as it is and in base64.
fn pieces(secret: &str) -> Vec<String> {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(secret);
    let cut = |text: &str| {
        let chars: Vec<char> = text.chars().collect();
        chars.chunks_exact(PIECE).map(|piece| piece.iter().collect::<String>()).collect::<Vec<_>>()
    };
    [cut(secret), cut(&encoded)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_no_command_shows_a_secret_unasked() {
    let mut stage = Stage::set("silence").await;
    let offers = offers(stage.azure.ca()).await.unwrap();
    let hosts: Vec<String> = offers.iter().map(|offer| offer.host.clone()).collect();
    stage.scene_mut().options.allowed_endpoints.extend(hosts);
    let _operator = stage.operator().await.unwrap();
    stage.ready_token("lobby", &json!({"secret": {"keys": {"previousToken": "previous-token"}}})).await.unwrap();
    let mut names = vec!["lobby".to_owned()];
    let set_up = offers.iter().map(async |offer| {
        for object in offer.provider(&stage) {
            stage.apply(&object).await.unwrap();
        }
        let name = offer.provider_name();
        stage.ready(&offer.token(&stage, &name, &json!({}))).await.unwrap();
        name
    });
    names.extend(join_all(set_up).await);
    let mut secrets = BTreeSet::from([example::CLIENT_SECRET.to_owned()]);
    for offer in &offers {
        secrets.extend(offer.secrets());
    }
    for name in &names {
        secrets.insert(stage.held(name).await.unwrap());
    }
    // a provider that says the token and what was sent, in every place it can
    let token = stage.held("lobby").await.unwrap();
    let said = json!({"error": {"code": "Denied", "message": format!("the token {token} is wrong")}}).to_string();
    let request_id = vec![("x-ms-request-id".to_owned(), token)];
    stage.azure.video_indexer.control().play(Fault::Status { code: 403, body: said, headers: request_id });
    stage.force_renewal("lobby").await.unwrap();
    stage.until_that("lobby", "has failed", |object| object["status"]["failedAttempts"] != 0).await.unwrap();

    let mut outputs = Vec::new();
    let mut run = |args: &[&str]| {
        let ran = stage.run(args);
        outputs.push((args.join(" "), ran.stdout + &ran.stderr));
    };
    let allowed: Vec<String> =
        stage.options.allowed_endpoints.iter().map(|host| format!("--allowed-endpoint={host}")).collect();
    let doctor: Vec<&str> = ["doctor"].into_iter().chain(allowed.iter().map(String::as_str)).collect();
    run(&doctor);
    run(&[&doctor[..], &["-o", "json"]].concat());
    for args in [
        &["status"][..],
        &["status", "-o", "wide"],
        &["status", "-o", "json"],
        &["status", "-o", "yaml"],
        &["status", "--color=always"],
        &["renew", "--all", "--wait", "--timeout=3s"],
    ] {
        run(args);
    }
    for name in &names {
        run(&["describe", name]);
        run(&["inspect", name]);
        run(&["inspect", name, "-o", "json"]);
        run(&["inspect", name, "-o", "yaml"]);
    }
    for name in &names {
        secrets.insert(stage.held(name).await.unwrap());
    }
    assert!(secrets.len() >= 10, "{} secrets", secrets.len());
    assert!(outputs.iter().all(|(args, text)| !text.is_empty() || panic!("{args}: nothing to look at")));
    for (args, text) in &outputs {
        assert!(!text.contains("eyJ"), "{args} shows what looks like a JWT:\n{text}");
        for secret in secrets.iter().filter(|secret| secret.len() >= PIECE) {
            let leaked = pieces(secret).into_iter().find(|piece| text.contains(piece.as_str()));
            assert_eq!(leaked.map(|_| args), None, "a piece of a secret in\n{text}");
        }
    }
}
