//! `status --watch`: what changes is seen as it changes, by a watch.

use crate::stage::{Stage, TOOL};
use serde_json::json;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use testkit::scene::SOON;
use testkit::stand::wait::throughout;
use testkit::stand::{Matcher, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_is_seen_live_on_a_terminal_that_is_left_as_it_was() {
    let stage = Stage::set("live").await;
    let _operator = stage.operator().await.unwrap();
    let before = stage.ready_token("lobby", &json!({"lifetime": "1h"})).await.unwrap();
    let mut terminal = stage.terminal(&["status", "--watch", "-o", "table"], 80, &[]);
    let shows = async |what: &str, wished: &dyn Fn(&str) -> bool| {
        eventually(SOON, what, async || {
            let text = terminal.text();
            if wished(&text) { Ok(()) } else { Err(text) }
        })
        .await;
    };
    shows("the token", &|text| text.contains("lobby") && text.contains("1 token: 1 ready")).await;
    stage.ready_token("entrance", &json!({"lifetime": "4h"})).await.unwrap();
    shows("a second token", &|text| text.contains("entrance") && text.contains("2 tokens: 2 ready")).await;
    stage.patch("lobby", &json!({"spec": {"lifetime": "9h"}})).await.unwrap();
    shows("its renewal", &|text| text.lines().any(|line| line.starts_with("lobby") && line.contains("8h59m"))).await;
    stage.delete_token("entrance").await.unwrap();
    shows("a deletion", &|text| !text.contains("entrance") && text.contains("1 token: 1 ready")).await;
    let after = stage.until("lobby", "Ready", "True", "").await.unwrap();
    assert_ne!(before["status"]["expiresAt"], after["status"]["expiresAt"]);
    assert_eq!(terminal.wrapped(), None, "{}", terminal.text());
    assert!(!terminal.is_restored(), "a live table has a screen of its own");
    terminal.interrupt().unwrap();
    let status = terminal.end(SOON).await.unwrap();
    assert!(status.success(), "{status}");
    assert!(terminal.is_restored(), "{:?}", terminal.raw());
    assert!(terminal.text().contains("lobby"), "what was seen last stays:\n{}", terminal.text());
}

/// The lines that a program writes, as they come.
fn lines(child: &mut Child) -> Receiver<String> {
    let (line, lines) = channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|text| line.send(text)));
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_pipe_each_change_is_a_line_and_nothing_is_polled() {
    let mut stage = Stage::set("piped").await;
    let _operator = stage.operator().await.unwrap();
    stage.ready_token("lobby", &json!({"lifetime": "1h"})).await.unwrap();
    // through a proxy that counts
    let proxy = testkit::stand::ApiProxy::start(stage.plane.admin()).unwrap();
    let login = stage.plane.admin().through(proxy.url());
    stage.log_in(&login);
    let kubeconfig = stage.program("login.kubeconfig");
    let mut child = Command::new(TOOL)
        .args(["kubectl", "status", "-w", "-n", &stage.namespace, "--kubeconfig", &kubeconfig.to_string_lossy()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = lines(&mut child);
    let next = || lines.recv_timeout(SOON).unwrap();
    assert!(next().starts_with("NAME "));
    assert!(next().starts_with("lobby"));
    let lists = proxy.count(&Matcher::any().verb("list").resource("videoaccesstokens"));
    stage.patch("lobby", &json!({"spec": {"lifetime": "9h"}})).await.unwrap();
    let renewed = next();
    assert!(renewed.starts_with("lobby") && renewed.contains("8h59m"), "{renewed}");
    throughout(Duration::from_secs(3), "what doesn't change isn't told again", async || {
        let now = proxy.count(&Matcher::any().verb("list").resource("videoaccesstokens"));
        match lines.try_recv() {
            Err(_) if now == lists => Ok(()),
            line => Err(format!("{line:?}, {now} lists after {lists}")),
        }
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_get_a_line_of_json_for_each_change_and_only_of_what_they_named() {
    let stage = Stage::set("stream").await;
    let _operator = stage.operator().await.unwrap();
    stage.ready_token("lobby", &json!({"lifetime": "1h"})).await.unwrap();
    stage.ready_token("entrance", &json!({"lifetime": "1h"})).await.unwrap();
    let kubeconfig = stage.plane.kubeconfig_path();
    let mut child = Command::new(TOOL)
        .args(["kubectl", "status", "lobby", "-w", "-o", "json", "-n", &stage.namespace, "--kubeconfig"])
        .arg(kubeconfig)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = lines(&mut child);
    let next = || serde_json::from_str::<serde_json::Value>(&lines.recv_timeout(SOON).unwrap()).unwrap();
    let first = next();
    assert_eq!((&first["name"], &first["state"]), (&json!("lobby"), &json!("Ready")));
    stage.patch("entrance", &json!({"spec": {"lifetime": "9h"}})).await.unwrap();
    stage.patch("lobby", &json!({"spec": {"lifetime": "9h"}})).await.unwrap();
    let renewed = next();
    assert_eq!(renewed["name"], "lobby");
    assert_ne!(renewed["expiresAt"], first["expiresAt"]);
    child.kill().unwrap();
    child.wait().unwrap();
}
