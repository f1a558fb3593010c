//! The status as people and their tools read it: kubectl, and the tools that wait for it.

use crate::OPERATOR;
use serde_json::{Value, json};
use testkit::chart::{run, tool};
use testkit::emulator::HoldPoint;
use testkit::scene::{SOON, Scene, condition};
use testkit::stand::controlplane::repository;
use testkit::stand::process::Scratch;
use tokio::process::Command;
use tokio::time::timeout;

/// What kubectl says to this command about the scene's namespace, or why it fails.
async fn kubectl(scene: &Scene, arguments: &[&str]) -> Result<String, String> {
    let mut kubectl = Command::new(scene.plane.binaries().join("kubectl"));
    kubectl.arg("--kubeconfig").arg(scene.plane.kubeconfig_path()).args(["--namespace", &scene.namespace]);
    let output = kubectl.args(arguments).kill_on_drop(true).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// How Flux takes an object (kstatus), and Argo CD with the script of docs/how-to/gitops.md.
fn health(object: &Value) -> (String, String) {
    let page = std::fs::read_to_string(repository().join("docs/how-to/gitops.md")).unwrap();
    let block = page.split("```yaml part-of=ConfigMap\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let settings: Value = serde_yaml_ng::from_str(block).unwrap();
    let script = &settings["data"]["resource.customizations.health.videotoken.dev_VideoAccessToken"];
    let file = Scratch::new("vto-health-").unwrap();
    let script = file.write("health.lua", script.as_str().unwrap()).unwrap();
    let said = run(&tool("health").unwrap(), &[script.to_str().unwrap()], &object.to_string()).unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    (word(&said["kstatus"]), word(&said["argo"]["status"]))
}

fn both(flux: &str, argo: &str) -> (String, String) {
    (flux.to_owned(), argo.to_owned())
}

async fn seen(scene: &Scene, name: &str) -> Value {
    serde_json::to_value(scene.tokens().get(name).await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_and_kstatus_tell_a_new_object_from_one_under_way_and_a_good_one_from_a_refused_one() {
    let scene = Scene::new("readers", OPERATOR).await.unwrap();
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    let object = seen(&scene, "lobby").await;
    assert_eq!(object["status"]["observedGeneration"], json!(-1));
    assert_eq!(health(&object), both("InProgress", "Progressing"));
    let ready = ["wait", "--for=condition=Ready", "vat/lobby"];
    assert!(kubectl(&scene, &[&ready[..], &["--timeout=1s"]].concat()).await.unwrap_err().contains("timed out"));

    let operator = scene.operator().await.unwrap();
    kubectl(&scene, &[&ready[..], &["--timeout=30s"]].concat()).await.unwrap();
    scene.settled("lobby").await.unwrap();
    let object = seen(&scene, "lobby").await;
    assert_eq!(health(&object), both("Current", "Healthy"));
    let wide = kubectl(&scene, &["get", "vat", "lobby", "-o", "wide"]).await.unwrap();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let [header, row] = [0, 1].map(|n| words(wide.lines().nth(n).unwrap()));
    assert_eq!(header, ["NAME", "READY", "REASON", "PROVIDER", "SECRET", "EXPIRES", "RENEWS", "AGE"]);
    let time = |field: &str| object["status"][field].as_str().unwrap().to_owned();
    assert_eq!(row[..5], ["lobby", "True", "TokenIssued", "TokenProvider/indexer", "lobby"]);
    assert_eq!(row[5..7], [time("expiresAt"), time("renewAt")]);

    // another request: until its token is there, what is ready is of the generation before
    let hold = scene.azure.video_indexer.control().hold(HoldPoint::Answer, None);
    scene.patch("lobby", &json!({"spec": {"lifetime": "2h"}})).await.unwrap();
    timeout(SOON, hold.reached()).await.unwrap();
    assert_eq!(health(&seen(&scene, "lobby").await), both("InProgress", "Progressing"));
    assert!(kubectl(&scene, &[&ready[..], &["--timeout=1s"]].concat()).await.unwrap_err().contains("timed out"));
    hold.release();
    kubectl(&scene, &[&ready[..], &["--timeout=30s"]].concat()).await.unwrap();
    scene.settled("lobby").await.unwrap();
    assert_eq!(health(&seen(&scene, "lobby").await), both("Current", "Healthy"));

    let template = |text: &str| json!({"spec": {"secret": {"template": {"data": {"url": text}}}}});
    scene.patch("lobby", &template("{{ tokn }}")).await.unwrap();
    kubectl(&scene, &["wait", "--for=condition=Stalled", "vat/lobby", "--timeout=30s"]).await.unwrap();
    let object = seen(&scene, "lobby").await;
    assert_eq!(condition(&object, "Ready")["status"], "True");
    assert_eq!(health(&object), both("Failed", "Degraded"));
    scene.patch("lobby", &template("{{ token }}")).await.unwrap();
    kubectl(&scene, &["wait", "--for=condition=Stalled=False", "vat/lobby", "--timeout=30s"]).await.unwrap();
    assert_eq!(health(&seen(&scene, "lobby").await), both("Current", "Healthy"));

    // what never had a token and asks for none
    scene.apply(&scene.token("asleep", &json!({"suspend": true}))).await.unwrap();
    let object = scene.until("asleep", "Ready", "False", "Suspended").await.unwrap();
    assert_eq!(health(&object), both("InProgress", "Suspended"));
    assert!(operator.logs().contains("issued"));
}
