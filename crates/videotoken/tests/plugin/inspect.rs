//! `inspect`: what a token says of itself, and never the token unless asked.

use crate::stage::Stage;
use serde_json::{Value, json};
use testkit::emulator::Fault;

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_shown_and_the_token_only_when_asked() {
    let stage = Stage::set("inspect").await;
    let _operator = stage.operator().await.unwrap();
    stage.ready_token("lobby", &json!({"secret": {"name": "lobby-token"}})).await.unwrap();
    let token = stage.held("lobby-token").await.unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    for columns in [80, 160] {
        let terminal = stage.at_terminal(&["inspect", "lobby"], columns).await;
        let text = terminal.text();
        for expected in [
            "lobby-token, Opaque",
            "in the key token, a JWT",
            "Header",
            "alg",
            "Claims",
            "exp",
            "Z (in ",
            "videotoken.dev/issued-at",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
        assert!(parts.iter().all(|part| !terminal.raw().contains(part)), "{text}");
    }
    let shown: Value = stage.run(&["inspect", "lobby", "-o", "json"]).json();
    assert!(shown["claims"]["exp"].is_number() && shown["isJwt"] == true && shown["token"].is_null(), "{shown}");
    assert!(stage.run(&["inspect", "lobby", "--show-token"]).well().lines().any(|line| line == token));
    assert_eq!(stage.run(&["inspect", "lobby", "--show-token", "-o", "json"]).json()["token"], token);

    stage.azure.video_indexer.control().play(Fault::OpaqueToken);
    stage.ready_token("opaque", &json!({})).await.unwrap();
    let page = stage.run(&["inspect", "opaque"]).well();
    assert!(page.contains("opaque, without claims") && !page.contains("Claims"), "{page}");
    assert!(!page.contains(&stage.held("opaque").await.unwrap()), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_isnt_there_or_isnt_the_operators_is_told() {
    let stage = Stage::set("foreign").await;
    let _operator = stage.operator().await.unwrap();
    stage.apply(&stage.token("astray", &json!({"providerRef": {"name": "no-such-provider"}}))).await.unwrap();
    let said = stage.run(&["inspect", "astray"]).ended(1);
    assert!(said.contains("does not exist yet") && said.contains("describe astray"), "{said}");
    let theirs = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"},
        "stringData": {"token": "nobody-elses-business"}});
    stage.apply(&theirs).await.unwrap();
    stage.apply(&stage.token("theirs", &json!({}))).await.unwrap();
    stage.until("theirs", "Stalled", "True", "SecretNotOwned").await.unwrap();
    let said = stage.run(&["inspect", "theirs", "--show-token"]).ended(1);
    assert!(said.contains("so the operator didn't write it") && !said.contains("nobody-elses-business"), "{said}");
}
