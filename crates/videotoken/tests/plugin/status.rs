//! `status`: one table for all, at each width.

use crate::stage::Stage;
use serde_json::{Value, json};
use testkit::emulator::Fault;
use testkit::stand::Kubeconfig;

/// Five tokens: stalled, failing, ready, ready and shorter-lived, suspended.
async fn furnish(stage: &Stage) {
    let missing = json!({"providerRef": {"name": "no-such-provider"}});
    stage.apply(&stage.token("astray-with-a-name-that-is-long-for-a-narrow-terminal", &missing)).await.unwrap();
    stage.ready_token("lobby", &json!({"lifetime": "12h"})).await.unwrap();
    stage.ready_token("entrance", &json!({"lifetime": "2h", "secret": {"name": "entrance-token"}})).await.unwrap();
    stage.ready_token("asleep", &json!({"lifetime": "1h"})).await.unwrap();
    stage.patch("asleep", &json!({"spec": {"suspend": true}})).await.unwrap();
    stage.ready_token("failing", &json!({"lifetime": "3h"})).await.unwrap();
    let status = |code| Fault::Status { code, body: String::new(), headers: Vec::new() };
    stage.azure.video_indexer.control().play(status(500));
    stage.force_renewal("failing").await.unwrap();
    stage.until_that("failing", "has failed", |object| object["status"]["failedAttempts"] != 0).await.unwrap();
    let stalled = "astray-with-a-name-that-is-long-for-a-narrow-terminal";
    stage.until(stalled, "Stalled", "True", "ProviderNotFound").await.unwrap();
    stage.until("asleep", "Issuing", "False", "Suspended").await.unwrap();
}

/// Columns of the line of a name.
fn line<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let line =
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no line of {name} in\n{text}"));
    line.split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_sorted_by_urgency_and_fits_every_width() {
    let stage = Stage::set("table").await;
    let _operator = stage.operator().await.unwrap();
    furnish(&stage).await;
    let order = ["astray", "failing", "asleep", "entrance", "lobby"];
    for columns in [80, 160] {
        let text = stage.at_terminal(&["status"], columns).await.text();
        let names: Vec<&str> =
            text.lines().skip(1).take(5).map(|line| line.split_whitespace().next().unwrap()).collect();
        assert!(names.iter().zip(order).all(|(name, expected)| name.starts_with(expected)), "{text}");
        assert!(text.contains("5 tokens: 1 stalled, 1 failing, 3 ready"), "{text}");
        assert_eq!(text.contains("PROVIDER"), columns == 160, "{text}");
        let lobby = line(&text, "lobby");
        assert_eq!(lobby[1], "Ready", "{text}");
        let cells = if columns == 80 { 10 } else { 20 };
        assert_eq!(lobby[2].chars().count(), cells, "{text}");
        assert!(lobby[3].starts_with("11h59m") || lobby[3] == "12h", "{text}");
        assert_eq!(&lobby[4..6], ["TokenIssued", "renew"], "{text}");
        assert!(line(&text, "asleep").contains(&"Suspended"), "{text}");
        assert!(line(&text, "failing").contains(&"Failing") && text.contains("ServerError"), "{text}");
        assert!(line(&text, "astray").contains(&"Stalled"), "{text}");
    }
    let wide = stage.at_terminal(&["status"], 160).await.text();
    assert!(wide.contains("TokenProvider/indexer") && wide.contains("entrance-token"), "{wide}");

    // all namespaces, in a pipe: whole words, a namespace, and no escape
    let piped = stage.run_program(&stage.program("kubectl-videotoken"), &["status", "-A"], &[]).well();
    let ours: Vec<_> = piped.lines().filter(|line| line.starts_with(&stage.namespace)).collect();
    assert_eq!(ours.len(), 5, "{piped}");
    assert!(piped.starts_with("NAMESPACE") && !piped.contains('\x1b'), "{piped}");
    assert!(ours[0].contains("astray-with-a-name-that-is-long-for-a-narrow-terminal"), "{piped}");
    for columns in [80, 160] {
        stage.at_terminal(&["status", "entrance"], columns).await;
    }
    let wide = stage.run(&["status", "-o", "wide", "lobby"]).well();
    assert!(wide.contains("EXPIRES") && wide.contains("RENEWS") && wide.contains('Z'), "{wide}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_namespaces_fit_a_narrow_terminal() {
    let stage = Stage::set("narrow").await;
    let _operator = stage.operator().await.unwrap();
    stage.ready_token("lobby", &json!({})).await.unwrap();
    for columns in [80, 160] {
        let kubeconfig = stage.plane.kubeconfig_path().display().to_string();
        let args = ["status", "-A", "--kubeconfig", &kubeconfig];
        let program = stage.program("kubectl-videotoken");
        let mut terminal = testkit::stand::terminal::Terminal::start(&program, &args, &[], columns, 500).unwrap();
        terminal.end(std::time::Duration::from_secs(30)).await.unwrap();
        assert_eq!(terminal.wrapped(), None, "{}", terminal.text());
        assert!(terminal.text().contains("NAMESPACE") && terminal.text().contains("lobby"), "{}", terminal.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_for_terminals_and_can_be_refused_and_forced() {
    let stage = Stage::set("colour").await;
    let _operator = stage.operator().await.unwrap();
    stage.ready_token("lobby", &json!({})).await.unwrap();
    let coloured = |text: &str| text.contains("\x1b[32mReady");
    assert!(coloured(&stage.at_terminal(&["status"], 80).await.raw()));
    assert!(!coloured(&stage.at_terminal(&["status", "--color=never"], 80).await.raw()));
    let mut terminal = stage.terminal(&["status"], 80, &[("NO_COLOR", "1")]);
    terminal.end(testkit::scene::SOON).await.unwrap();
    assert!(!coloured(&terminal.raw()) && terminal.text().contains("Ready"), "{}", terminal.raw());
    assert!(coloured(&stage.run(&["status", "--color=always"]).well()));
    // a terminal that shows no more than ASCII
    let mut terminal = stage.terminal(&["status"], 80, &[("LC_ALL", "C")]);
    terminal.end(testkit::scene::SOON).await.unwrap();
    assert!(terminal.raw().is_ascii() && terminal.text().contains("##########"), "{}", terminal.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_get_json_and_yaml_of_what_they_select() {
    let stage = Stage::set("script").await;
    let _operator = stage.operator().await.unwrap();
    stage.ready_token("lobby", &json!({})).await.unwrap();
    let object = stage.ready_token("entrance", &json!({})).await.unwrap();
    stage.patch("entrance", &json!({"metadata": {"labels": {"floor": "ground"}}})).await.unwrap();
    let names = |document: &Value| {
        document["items"].as_array().unwrap().iter().map(|row| row["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&stage.run(&["status", "-o", "json"]).json()).len(), 2);
    let document = stage.run(&["status", "-o", "json", "-l", "floor=ground"]).json();
    assert_eq!(names(&document), ["entrance"]);
    let row = &document["items"][0];
    for (field, expected) in [
        ("state", json!("Ready")),
        ("reason", json!("TokenIssued")),
        ("provider", json!("TokenProvider/indexer")),
        ("expiresAt", object["status"]["expiresAt"].clone()),
        ("renewAt", object["status"]["renewAt"].clone()),
        ("namespace", json!(stage.namespace)),
    ] {
        assert_eq!(row[field], expected, "{field} of {row}");
    }
    assert!(row["lifeLeft"].as_f64().is_some_and(|left| left > 0.9 && left <= 1.0), "{row}");
    let yaml: Value = serde_yaml_ng::from_str(&stage.run(&["status", "entrance", "-o", "yaml"]).well()).unwrap();
    assert_eq!(yaml["items"][0]["name"], "entrance");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_itself_finds_the_plugin() {
    let stage = Stage::set("kubectl").await;
    let kubectl = stage.plane.binaries().join("kubectl");
    let ran = stage.run_program(&kubectl, &["videotoken", "status", "-n", &stage.namespace], &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("No VideoAccessTokens in namespace"), "{}", ran.stderr);
    let without_a_link =
        stage.run_program(crate::stage::TOOL.as_ref(), &["kubectl", "status", "-A", "-o", "json"], &[]);
    assert!(without_a_link.json()["items"].is_array());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cant_be_shown_is_named_with_the_way_out() {
    let mut stage = Stage::set("refused").await;
    let said = stage.run(&["status", "nobody"]).ended(1);
    assert!(said.contains("\"nobody\" not found") && said.contains("status -A"), "{said}");
    assert!(stage.run(&["status", "--no-such-flag"]).code == Some(2));
    let said = stage.run(&["status", "--context", "elsewhere"]).ended(3);
    assert!(said.contains("--context"), "{said}");
    let said = stage.run(&["status", "--kubeconfig", "/nowhere"]).ended(3);
    assert!(said.contains("--kubeconfig"), "{said}");

    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "eve"}});
    stage.apply(&account).await.unwrap();
    let login = stage.plane.service_account_kubeconfig(&stage.namespace, "eve").await.unwrap();
    stage.log_in(&login);
    for (args, verb) in
        [(&["status"][..], "list"), (&["status", "x"], "get"), (&["renew", "x"], "get"), (&["status", "-w"], "list")]
    {
        let said = stage.run(args).ended(3);
        assert!(said.contains("cannot ") && said.contains(&format!("the verb {verb} on videoaccesstokens")), "{said}");
    }
    let nowhere = Kubeconfig::new("https://127.0.0.1:1", None, "x");
    stage.log_in(&nowhere);
    let said = stage.run(&["status", "--request-timeout=5s"]).ended(3);
    assert!(said.contains("can't list videoaccesstokens"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_the_kinds_is_told_how_to_get_them() {
    let options = testkit::stand::ControlPlaneOptions {
        install: false,
        controllers: Vec::new(),
        ..testkit::stand::ControlPlaneOptions::default()
    };
    let plane = testkit::stand::ControlPlane::start(options).await.unwrap();
    let kubeconfig = plane.kubeconfig_path();
    let run = |args: &[&str]| {
        let output = std::process::Command::new(crate::stage::TOOL)
            .args([&["kubectl", "--kubeconfig", &kubeconfig.to_string_lossy()], args].concat())
            .env_clear()
            .output()
            .unwrap();
        crate::stage::Ran::from(output)
    };
    let said = run(&["status"]).ended(3);
    assert!(said.contains("Install the CRDs"), "{said}");
    let report = run(&["doctor", "-o", "json"]);
    assert_eq!(report.code, Some(1));
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    let failed = report["findings"].as_array().unwrap().iter().filter(|finding| finding["verdict"] == "failed");
    let areas: Vec<_> = failed.map(|finding| finding["area"].as_str().unwrap().to_owned()).collect();
    assert_eq!(areas.iter().filter(|area| *area == "CRDs").count(), 3, "{areas:?}");
    assert!(areas.contains(&"Operator".to_owned()), "{areas:?}");
}
