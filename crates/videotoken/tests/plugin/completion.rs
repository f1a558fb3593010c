//! Completions, manual pages and help.

use crate::stage::{Stage, TOOL};
use serde_json::json;
use std::process::Command;

#[test]
fn each_shell_gets_a_script_and_each_command_a_page() {
    let print = |args: &[&str]| {
        let output = Command::new(TOOL).args(args).env_clear().output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for (shell, sign) in
        [("bash", "complete -F"), ("zsh", "#compdef kubectl-videotoken"), ("fish", "complete -c kubectl-videotoken")]
    {
        let script = print(&["kubectl", "completion", shell]);
        assert!(script.contains(sign) && script.contains("doctor"), "{shell}: {script:.300}");
    }
    // bash takes its script
    let script = print(&["kubectl", "completion", "bash"]);
    let checked = Command::new("bash").args(["-n", "-c", &script]).status().unwrap();
    assert!(checked.success());
    let page = print(&["man"]);
    assert!(page.contains(".TH videotoken 1") && page.contains("issue"), "{page:.300}");
    assert!(print(&["man", "kubectl-videotoken"]).contains("Exit codes"));
    let folder = testkit::stand::process::Scratch::new("vto-man-").unwrap();
    print(&["man", "--dir", &folder.path().to_string_lossy()]);
    for page in ["videotoken.1", "kubectl-videotoken.1", "kubectl-videotoken-status.1", "kubectl-videotoken-doctor.1"] {
        assert!(folder.file(page).is_file(), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_is_told_commands_flags_and_names() {
    let stage = Stage::set("completion").await;
    for name in ["lobby", "lounge", "entrance"] {
        stage.apply(&stage.token(name, &json!({}))).await.unwrap();
    }
    let completer = stage.program("kubectl_complete-videotoken");
    let complete = |words: &[&str]| stage.run_program(&completer, words, &[]).well();
    assert_eq!(complete(&["des"]), "describe\n:4\n");
    assert_eq!(complete(&["status", "--watc"]), "--watch\n:4\n");
    assert_eq!(complete(&["describe", "-n", &stage.namespace, "lo"]), "lobby\nlounge\n:4\n");
    // kubectl asks that program by itself
    let kubectl = stage.plane.binaries().join("kubectl");
    let asked =
        stage.run_program(&kubectl, &["__complete", "videotoken", "-n", &stage.namespace, "describe", "ent"], &[]);
    assert!(asked.stdout.contains("entrance"), "{}{}", asked.stdout, asked.stderr);
    // without a cluster there are no names, and no wait
    let nowhere = [("KUBECONFIG", "/nowhere")];
    assert_eq!(stage.run_program(&completer, &["describe", ""], &nowhere).well(), ":4\n");
}

#[test]
fn check_is_the_same_for_both_programs() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/examples/own-account.yaml");
    let run = |args: &[&str]| crate::stage::Ran::from(Command::new(TOOL).args(args).env_clear().output().unwrap());
    let [plugin, program] =
        [&["kubectl", "check"][..], &["check"]].map(|name| run(&[name, &["-f", example]].concat()).well());
    assert!(plugin.contains("0 findings"), "{plugin}");
    assert_eq!(plugin, program);
    assert_eq!(run(&["kubectl", "check", "-f", "/nowhere"]).code, Some(2));
}
