//! `status` shows the time of the next login of a locked account.

use crate::stage::Stage;
use serde_json::{Value, json};
use testkit::emulator::{ArcgisVideoServer, Serving, arcgis_example as example};
use testkit::scene::condition;

#[tokio::test(flavor = "multi_thread")]
async fn p07_next_says_when_a_locked_account_is_tried_again() {
    let mut stage = Stage::set("locked").await;
    let server = Serving::start(ArcgisVideoServer::furnished(), stage.azure.ca()).await.unwrap();
    stage.scene_mut().allow(&server);
    let _operator = stage.operator().await.unwrap();
    let (url, host) = (format!("{}{}", server.url(), example::ADMIN_ROOT), server.host());
    for n in 0..4 {
        let name = format!("wrong-{n}");
        let keys = json!({"username": example::USERNAME, "password": format!("wrong, the {n}th time")});
        let key = |key: &str| json!({"name": name, "key": key});
        let spec =
            json!({"arcgisVideoServer": {"url": url, "usernameRef": key("username"), "passwordRef": key("password")}});
        stage.apply(&stage.keys(&name, &host, &keys)).await.unwrap();
        stage.apply(&stage.provider_of(&name, &server.ca_pem(), &spec)).await.unwrap();
        let scope = json!({"arcgisVideoServer": {"referer": "https://lobby.example"}});
        stage.apply(&stage.token_of(&format!("camera-{n}"), &name, &scope, &json!({}))).await.unwrap();
        // one after the other, so that the last finds all used up
        let reason = if n < 3 { "CredentialRejected" } else { "LoginsUsedUp" };
        let told = |object: &Value| condition(object, "Ready")["reason"] == reason;
        stage.until_provider(&name, &format!("says {reason}"), told).await.unwrap();
        stage
            .until_that(&format!("camera-{n}"), &format!("says {reason}"), |object| {
                condition(object, "Issuing")["reason"] == reason
            })
            .await
            .unwrap();
    }
    let table = stage.run(&["status"]).well();
    for n in 0..4 {
        let name = format!("camera-{n}");
        let line = table.lines().find(|line| line.starts_with(&name)).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        let retry = words.iter().position(|word| *word == "retry").map(|at| words[at + 1]);
        assert!(retry.is_some_and(|next| next.starts_with("14m") || next.starts_with("15m")), "{table}");
    }
    let page = stage.run(&["describe", "camera-3"]).well();
    assert!(page.contains("The next attempt is in 15m") && page.contains("LoginsUsedUp"), "{page}");
    let document = stage.run(&["status", "camera-3", "-o", "json"]).json();
    assert!(document["items"][0]["nextAttemptAt"].is_string(), "{document}");
}
