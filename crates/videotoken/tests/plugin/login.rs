//! Selection of login and cluster: kubeconfigs, exec plugins, and flags with empty values.

use crate::stage::Stage;
use serde_json::{Value, json};
use std::path::PathBuf;

/// A kubeconfig whose user logs in by this exec.
fn by_exec(stage: &Stage, exec: &Value) -> PathBuf {
    let mut file: Value = serde_json::from_str(&stage.plane.admin().yaml()).unwrap();
    let mut exec = exec.clone();
    exec["apiVersion"] = "client.authentication.k8s.io/v1".into();
    file["users"][0]["user"] = json!({"exec": exec});
    file["contexts"][0]["context"]["namespace"] = stage.namespace.as_str().into();
    let path = stage.program("by-exec");
    std::fs::write(&path, file.to_string()).unwrap();
    path
}

/// `sh -c SCRIPT`.
fn script(script: &str) -> Value {
    json!({"command": "sh", "args": ["-c", script], "interactiveMode": "IfAvailable"})
}

const SECRET: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJldmUifQ.c2lnbmF0dXJl";

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_plugin_that_fails_is_named_and_what_it_prints_is_not_shown() {
    let stage = Stage::set("exec").await;
    let plugin = stage.program("kubectl-videotoken");
    let run = |exec: &Value, args: &[&str]| {
        let path = by_exec(&stage, exec);
        stage.run_program(&plugin, &[&["status"], args].concat(), &[("KUBECONFIG", path.to_str().unwrap())])
    };
    let missing = json!({"command": "no-such-login", "installHint": "get it by: brew install no-such-login",
        "interactiveMode": "Never"});
    let always = json!({"command": "true", "interactiveMode": "Always"});
    for (exec, expected) in [
        (missing, "the login program no-such-login of the kubeconfig does not exist: get it by: brew install"),
        (json!({"command": "/etc", "interactiveMode": "Never"}), "the login program /etc of the kubeconfig can't"),
        (json!({"interactiveMode": "Never"}), "an exec without a command"),
        (always, "the login program true of the kubeconfig needs a terminal"),
        (
            script(&format!("echo {SECRET}; echo no session, token {SECRET} >&2; exit 4")),
            "the login program sh of the kubeconfig failed (exit status: 4). Run sh",
        ),
        (script(&format!("echo {SECRET}")), "did not print an ExecCredential"),
        (script("echo '{\"kind\": \"ExecCredential\", \"status\": {}}'"), "without a token or a certificate"),
    ] {
        let said = run(&exec, &[]).ended(3);
        assert!(said.contains(expected) && !said.contains("eyJ") && !said.contains("no session"), "{said}");
    }
    let ended = stage.program("ended");
    let slow = script(&format!("sleep 60; touch {}", ended.display()));
    let said = run(&slow, &["--request-timeout=1s"]).ended(3);
    assert!(said.contains("the login program sh of the kubeconfig did not end within 1 s"), "{said}");
    assert!(!ended.exists(), "nobody waits for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_plugin_runs_once_and_its_token_is_the_login() {
    let stage = Stage::set("exec-well").await;
    stage.apply(&stage.token("lobby", &json!({}))).await.unwrap();
    let admin: Value = serde_json::from_str(&stage.plane.admin().yaml()).unwrap();
    let token = admin["users"][0]["user"]["token"].as_str().unwrap();
    let (counter, info) = (stage.program("counter"), stage.program("info"));
    for expires in [", \"expirationTimestamp\": \"2199-01-01T00:00:00Z\"", ""] {
        let answer = format!("{{\"kind\": \"ExecCredential\", \"status\": {{\"token\": \"{token}\"{expires}}}}}");
        let mut exec = script(&format!(
            "echo 1 >> {}; printf %s \"$KUBERNETES_EXEC_INFO\" > {}; echo '{answer}' | sed s/x/$EXTRA/",
            counter.display(),
            info.display()
        ));
        exec["env"] = json!([{"name": "EXTRA", "value": "x"}]);
        exec["provideClusterInfo"] = true.into();
        let path = by_exec(&stage, &exec);
        std::fs::write(&counter, "").unwrap();
        let env = [("KUBECONFIG", path.to_str().unwrap())];
        let shown = stage.run_program(&stage.program("kubectl-videotoken"), &["status"], &env).well();
        assert!(shown.contains("lobby"), "{shown}");
        assert_eq!(std::fs::read_to_string(&counter).unwrap(), "1\n", "it runs once");
        let told: Value = serde_json::from_str(&std::fs::read_to_string(&info).unwrap()).unwrap();
        assert_eq!(told["apiVersion"], "client.authentication.k8s.io/v1");
        assert_eq!(told["spec"]["cluster"]["server"], stage.plane.api_url());
        assert!(told["spec"]["cluster"]["proxy-url"].is_null(), "{told}");
    }
    // an expired token is requested again before the next request
    let answer = json!({"kind": "ExecCredential",
        "status": {"token": token, "expirationTimestamp": "2020-01-01T00:00:00Z"}});
    let path = by_exec(&stage, &script(&format!("echo 1 >> {}; echo '{answer}'", counter.display())));
    std::fs::write(&counter, "").unwrap();
    let env = [("KUBECONFIG", path.to_str().unwrap())];
    stage.run_program(&stage.program("kubectl-videotoken"), &["status"], &env).well();
    assert_eq!(std::fs::read_to_string(&counter).unwrap(), "1\n1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_that_isnt_there_is_named() {
    let stage = Stage::set("absent").await;
    let plugin = stage.program("kubectl-videotoken");
    let there = stage.plane.kubeconfig_path();
    let both = format!("/nowhere/a:{}", there.display());
    for (args, kubeconfig, expected) in [
        (&["--kubeconfig", "/nowhere/x"][..], "", "--kubeconfig names /nowhere/x, which does not exist"),
        (&[], "/nowhere/a:/nowhere/b", "$KUBECONFIG names /nowhere/a, /nowhere/b, which does not exist"),
        (&[], "", "there is neither /nowhere/home/.kube/config nor the ServiceAccount of a Pod"),
        (&["--context=elsewhere"], &*both, "failed to load current context: elsewhere"),
    ] {
        let env = [("KUBECONFIG", kubeconfig), ("HOME", "/nowhere/home")];
        let said = stage.run_program(&plugin, &[&["status"], args].concat(), &env).ended(3);
        assert!(said.contains(expected), "{said}");
    }
    let broken = stage.program("broken");
    let users = "users:\n- name: a\n  user:\n    token: s3cr3t-token\n    client-key-data: [s3cr3t-key]\n";
    std::fs::write(&broken, users).unwrap();
    let said = stage.run_program(&plugin, &["status", "--kubeconfig", broken.to_str().unwrap()], &[]).ended(3);
    assert!(said.contains(&format!("{}: not a kubeconfig: line 5, column 22", broken.display())), "{said}");
    assert!(!said.contains("s3cr3t"), "{said}");
    // as with kubectl, one of those that are named is enough
    stage.run_program(&plugin, &["status"], &[("KUBECONFIG", &both)]).well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_that_a_script_left_empty_means_what_it_means_to_kubectl() {
    let stage = Stage::set("unset").await;
    let elsewhere = stage.plane.namespace("unset-too").await.unwrap();
    stage.apply(&stage.token("lobby", &json!({}))).await.unwrap();
    let mut other = stage.token("hall", &json!({}));
    other["metadata"]["namespace"] = elsewhere.as_str().into();
    testkit::stand::yaml::apply(&stage.client, &elsewhere, &other.to_string()).await.unwrap();
    let mut file: Value = serde_json::from_str(&stage.plane.admin().yaml()).unwrap();
    file["contexts"][0]["context"]["namespace"] = stage.namespace.as_str().into();
    let path = stage.program("mine");
    std::fs::write(&path, file.to_string()).unwrap();
    let plugin = stage.program("kubectl-videotoken");
    let run = |args: &[&str]| stage.run_program(&plugin, args, &[("KUBECONFIG", path.to_str().unwrap())]);
    for args in [&["-n", ""][..], &["--namespace="], &["--namespace=", "--context=", "--kubeconfig="]] {
        let shown = run(&[&["status"], args].concat()).well();
        assert!(shown.contains("lobby") && !shown.contains("hall") && !shown.contains("NAMESPACE"), "{shown}");
        let renewed = run(&[&["renew", "--all"], args].concat()).well();
        assert_eq!(renewed, format!("{}/lobby renewal requested\n", stage.namespace), "{args:?}");
    }
    // what is no name leads to no other URL
    for args in [&["renew", "lobby?dryRun=All"][..], &["describe", "../lobby"], &["status", "-n", "a?limit=1"]] {
        let said = run(args).ended(2);
        assert!(said.contains("must be the name of an object"), "{said}");
    }
    // nothing is no name, and no selector
    for args in [&["renew", ""][..], &["renew", "-l", ""], &["renew", "--selector="]] {
        let said = run(args).ended(2);
        assert!(said.contains("a value is required") || said.contains("the name of an object"), "{said}");
    }
}
