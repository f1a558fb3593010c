//! The control plane: what the other tests take for granted.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use kube::config::KubeConfigOptions;
use testkit::stand::{ControlPlane, ControlPlaneOptions, eventually, shared, wait, yaml};

const SOON: Duration = Duration::from_secs(30);

fn config_map(name: &str) -> ConfigMap {
    ConfigMap { metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() }, ..ConfigMap::default() }
}

#[tokio::test]
async fn a_secret_goes_with_its_owner() {
    let plane = shared().await.unwrap();
    println!("up in {:?}", plane.startup());
    let (client, namespace) = (plane.client().unwrap(), plane.namespace("gc").await.unwrap());
    let owners: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    let owner = owners.create(&PostParams::default(), &config_map("owner")).await.unwrap();
    let reference = OwnerReference {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: "owner".into(),
        uid: owner.metadata.uid.unwrap(),
        ..OwnerReference::default()
    };
    let metadata =
        ObjectMeta { name: Some("owned".into()), owner_references: Some(vec![reference]), ..ObjectMeta::default() };
    secrets.create(&PostParams::default(), &Secret { metadata, ..Secret::default() }).await.unwrap();
    owners.delete("owner", &DeleteParams::background()).await.unwrap();
    wait::is_gone(&secrets, "owned", SOON).await;
}

#[tokio::test]
async fn the_shared_stand_serves_tests_on_their_own_runtimes() {
    let plane = shared().await.unwrap();
    let (a, b) = (plane.namespace("twin").await.unwrap(), plane.namespace("twin").await.unwrap());
    assert_ne!(a, b);
}

#[tokio::test]
async fn the_operator_may_do_what_its_role_says_and_no_more() {
    let plane = shared().await.unwrap();
    let namespace = plane.namespace("rbac").await.unwrap();
    let client = plane.operator_kubeconfig().await.unwrap().client().unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let metadata = ObjectMeta { name: Some("s".into()), ..ObjectMeta::default() };
    secrets.create(&PostParams::default(), &Secret { metadata, ..Secret::default() }).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    match maps.create(&PostParams::default(), &config_map("m")).await {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 403, "{status:?}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_kubeconfig_file_serves_kube_and_kubectl() {
    let plane = shared().await.unwrap();
    let namespace = plane.namespace("file").await.unwrap();
    let file = kube::config::Kubeconfig::read_from(plane.kubeconfig_path()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(kube::Client::try_from(config).unwrap());
    namespaces.get(&namespace).await.unwrap();
    let mut kubectl = Command::new(plane.binaries().join("kubectl"));
    let said = kubectl.arg("--kubeconfig").arg(plane.kubeconfig_path()).args(["get", "namespace", "-oname"]).output();
    let said = String::from_utf8(said.unwrap().stdout).unwrap();
    assert!(said.contains(&format!("namespace/{namespace}")), "{said}");
}

#[tokio::test]
async fn manifests_are_checked_strictly() {
    let plane = shared().await.unwrap();
    let (client, namespace) = (plane.client().unwrap(), plane.namespace("yaml").await.unwrap());
    let good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n---\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: b}\n";
    assert_eq!(yaml::apply(&client, &namespace, good).await.unwrap().len(), 2);
    yaml::delete(&client, &namespace, good).await.unwrap();
    let bad = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndatum: {k: v}\n";
    let refused = format!("{:#}", yaml::apply(&client, &namespace, bad).await.unwrap_err());
    assert!(refused.contains("datum"), "{refused}");
}

#[tokio::test]
async fn two_stands_run_at_once_and_one_can_stop_pause_and_come_back() {
    let plain = || ControlPlaneOptions { controllers: Vec::new(), install: false, ..ControlPlaneOptions::default() };
    let audited = ControlPlaneOptions { audit_level: Some("Metadata".into()), ..plain() };
    let (mut one, two) = tokio::try_join!(ControlPlane::start(plain()), ControlPlane::start(audited)).unwrap();
    println!("up in {:?} and {:?}", one.startup(), two.startup());
    assert_ne!(one.api_url(), two.api_url());
    let kept = one.namespace("kept").await.unwrap();
    let other: Api<Namespace> = Api::all(two.client().unwrap());
    assert!(other.get_opt(&kept).await.unwrap().is_none());
    assert!(std::fs::read_to_string(two.audit_log().unwrap()).unwrap().contains(&kept));

    let namespaces: Api<Namespace> = Api::all(one.client().unwrap());
    one.pause_apiserver().unwrap();
    // the signal takes a moment to reach each of its threads
    eventually(Duration::from_secs(10), "the API server is silent", async || {
        match tokio::time::timeout(Duration::from_millis(500), namespaces.get(&kept)).await {
            Ok(_) => Err("it answers"),
            Err(_) => Ok(()),
        }
    })
    .await;
    one.resume_apiserver().unwrap();
    namespaces.get(&kept).await.unwrap();

    one.stop_apiserver();
    assert!(namespaces.get(&kept).await.is_err());
    one.start_apiserver().await.unwrap();
    assert_eq!(namespaces.get(&kept).await.unwrap().metadata.name.as_deref(), Some(kept.as_str()));

    let pids: BTreeMap<_, _> = [("one", one.apiserver_pid().unwrap()), ("two", two.apiserver_pid().unwrap())].into();
    let directory = one.directory().to_owned();
    drop((one, two));
    for (name, pid) in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{name} is still there");
    }
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_restored_etcd_knows_nothing_of_what_came_after_the_snapshot() {
    let options = ControlPlaneOptions { controllers: Vec::new(), install: false, ..ControlPlaneOptions::default() };
    let mut plane = ControlPlane::start(options).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(plane.client().unwrap());
    let before = plane.namespace("before").await.unwrap();
    let uid = namespaces.get(&before).await.unwrap().metadata.uid;
    let snapshot = plane.snapshot().await.unwrap();
    let after = plane.namespace("after").await.unwrap();
    plane.restore(&snapshot).await.unwrap();
    assert_eq!(namespaces.get(&before).await.unwrap().metadata.uid, uid);
    assert!(namespaces.get_opt(&after).await.unwrap().is_none());
}
