//! An upgrade of the operator with stored objects. `stored/` contains one token of each type as an operator stored it: the
//! `TokenProvider`, the `VideoAccessToken` and the Secret, with all statuses. The current CRDs accept these objects
//! unchanged, and the current operator issues no token before `renewAt`.
//!
//! `CAPTURE=1` writes the files from a run of the current operator. Capture for a release, not to make this test pass. The
//! files contain words in capitals for the values that differ between runs: the CA, the token, UIDs, the resourceVersion
//! and the content hash. The test shifts all times to the present. Ports are fixed, because two types identify an account
//! by its URL.

use super::before;
use crate::OPERATOR;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use testkit::content_hash::{self, content_hash};
use testkit::emulator::{Azure, AzureOptions, Control, example};
use testkit::offers::{Offer, offers_from};
use testkit::scene::{SOON, Scene, client_secret, condition, hosts};
use testkit::stand::controlplane::repository;
use testkit::stand::process::Scratch;
use testkit::stand::wait::{own_kind, throughout};
use testkit::stand::{eventually, yaml};

/// Port of Entra. The ports of Resource Manager and of the rows of `offers` follow.
const FIRST_PORT: u16 = 21_500;

/// Field manager of the operator.
const MANAGER: &str = "video-token-operator";

/// `renewBefore` of each token. The jitter, which depends on the UID, is at most a tenth of it.
const RENEW_BEFORE: TimeDelta = TimeDelta::seconds(30);

/// Time from storing a token until its renewal is due: long enough to start an operator and to see that it is idle.
const QUIET: TimeDelta = TimeDelta::seconds(45);

/// Longest delay of a renewal after `renewAt` (P17).
const LATEST: TimeDelta = TimeDelta::seconds(10);

/// Private control plane and the emulators of all types.
struct Stage {
    scene: Scene,
    offers: Vec<Offer>,
}

/// One type: the name of all its objects, and the control of its emulator, if it makes calls.
struct Type {
    name: String,
    control: Option<Arc<Control>>,
}

impl Type {
    /// Returns the token in the Secret, which is the last that the emulator issued.
    async fn settled(&self, scene: &Scene) -> String {
        match &self.control {
            Some(control) => scene.settled_at(control, &self.name).await.unwrap(),
            None => scene.held(&self.name).await.unwrap(),
        }
    }
}

/// Key of the type that makes no calls.
const SIGNING_KEY: &str = "a-signing-key-0123456789";

impl Stage {
    async fn set() -> Self {
        let mut scene = Scene::private("stored", OPERATOR).await.unwrap();
        let ca = scene.azure.ca().clone();
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // a second run of this test on the same machine waits for the first
        let (azure, offers) = eventually(SOON * 10, "the emulators' ports", async || {
            let (authority, resource_manager) = (at(FIRST_PORT), at(FIRST_PORT + 1));
            let azure = Azure::start_with(AzureOptions { authority, resource_manager, ca: Some(ca.clone()) }).await?;
            anyhow::Ok((azure, offers_from(FIRST_PORT + 2, &ca).await?))
        })
        .await;
        let guarded = offers.iter().map(|offer| offer.host.clone());
        scene.options.allowed_endpoints = hosts(&azure).into_iter().chain(guarded).collect();
        scene.azure = azure;
        scene.apply(&scene.credentials("azure-login", example::CLIENT_SECRET)).await.unwrap();
        for offer in &offers {
            let [credentials, _] = offer.provider(&scene);
            scene.apply(&credentials).await.unwrap();
        }
        let mut key = scene.keys("signed-keys", "", &json!({"key": SIGNING_KEY}));
        key["metadata"]["annotations"] = json!({"videotoken.dev/signing-key": "true"});
        scene.apply(&key).await.unwrap();
        Self { scene, offers }
    }

    fn types(&self) -> Vec<Type> {
        let of = |name: &str, control| Type { name: name.to_owned(), control };
        let keyed = self.offers.iter().map(|offer| of(&offer.provider_name(), Some(offer.control.clone())));
        let video_indexer = self.scene.azure.video_indexer.control().clone();
        keyed.chain([of("videoindexer", Some(video_indexer)), of("signed", None)]).collect()
    }

    /// Returns the provider and the token of each type, as users write them.
    fn written(&self) -> Vec<[Value; 2]> {
        let spec = json!({"renewBefore": format!("{}s", RENEW_BEFORE.num_seconds())});
        let keyed = self.offers.iter().map(|offer| {
            let [_, provider] = offer.provider(&self.scene);
            [provider, offer.token(&self.scene, &offer.provider_name(), &spec)]
        });
        let provider = self.scene.provider("videoindexer", &client_secret("azure-login"));
        let mut token = self.scene.token("videoindexer", &spec);
        token["spec"]["providerRef"]["name"] = "videoindexer".into();
        token["spec"]["secret"] = json!({"keys": {"previousToken": "previous-token"},
            "template": {"labels": {"app": "player"}, "data": {"config.json": "{\"token\": \"{{ token }}\"}"}}});
        let signed = json!({"apiVersion": GROUP_VERSION, "kind": "TokenProvider",
            "metadata": {"name": "signed", "namespace": self.scene.namespace},
            "spec": {"signed": {"key": {"secretRef": {"name": "signed-keys", "key": "key"}}, "parameters": {"room": {}},
                "jwt": {"algorithm": "HS256", "claims": {"sub": "{{ room }}", "jti": "{{ uuid() }}"}}}}});
        let scope = json!({"signed": {"parameters": {"room": "lobby"}}});
        let signed = [signed, self.scene.token_of("signed", "signed", &scope, &spec)];
        keyed.chain([[provider, token], signed]).collect()
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.scene.client.clone(), &self.scene.namespace, &own_kind(kind))
    }

    /// Returns an object of the API server.
    async fn stored(&self, kind: &str, name: &str) -> Value {
        serde_json::to_value(self.api(kind).get(name).await.unwrap()).unwrap()
    }

    async fn secret(&self, name: &str) -> Secret {
        self.scene.secrets().get(name).await.unwrap()
    }
}

fn file(name: &str) -> PathBuf {
    repository().join("tests/chart/upgrade/stored").join(format!("{name}.yaml"))
}

/// Calls `change` with each text of a value.
fn each_text(value: &mut Value, change: &mut dyn FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(values) => values.iter_mut().for_each(|value| each_text(value, change)),
        Value::Object(members) => members.values_mut().for_each(|value| each_text(value, change)),
        _ => {}
    }
}

fn replace(value: &mut Value, from: &str, to: &str) {
    each_text(value, &mut |text| *text = text.replace(from, to));
}

fn text_map(value: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(value.clone()).unwrap()
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap_or_else(|| panic!("no time: {value}")).parse().unwrap()
}

/// Writes `stored/` from a run of the current operator.
async fn capture(stage: &Stage) {
    let scene = &stage.scene;
    let _operator = scene.operator().await.unwrap();
    for (type_, [provider, token]) in stage.types().iter().zip(stage.written()) {
        let name = type_.name.as_str();
        scene.apply(&provider).await.unwrap();
        scene.ready(&token).await.unwrap();
        let token = type_.settled(scene).await;
        let is_ready = |object: &Value| condition(object, "Ready")["status"] == "True";
        scene.until_provider(name, "ready", is_ready).await.unwrap();

        let mut secret = serde_json::to_value(stage.secret(name).await).unwrap();
        for value in secret["data"].as_object_mut().unwrap().values_mut() {
            let bytes = BASE64.decode(value.as_str().unwrap()).unwrap();
            *value = String::from_utf8(bytes).unwrap().into();
        }
        let (data, annotations) = (text_map(&secret["data"]), text_map(&secret["metadata"]["annotations"]));
        assert_eq!(content_hash(&data, &annotations), annotations[content_hash::ANNOTATION], "the scheme is another");
        secret["metadata"]["annotations"][content_hash::ANNOTATION] = "CONTENT_HASH".into();
        let kinds = [("v1", "Secret"), (GROUP_VERSION, "TokenProvider"), (GROUP_VERSION, "VideoAccessToken")];
        let provider = stage.stored("TokenProvider", name).await;
        let mut object = stage.stored("VideoAccessToken", name).await;
        let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
        object["status"]["secretResourceVersion"] = "RESOURCE_VERSION".into();
        let mut text = String::new();
        for (mut value, (api_version, kind)) in [secret, provider, object].into_iter().zip(kinds) {
            let metadata = value["metadata"].as_object_mut().unwrap();
            for member in ["namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
                metadata.remove(member);
            }
            value["apiVersion"] = api_version.into();
            value["kind"] = kind.into();
            replace(&mut value, &uid, "UID");
            replace(&mut value, &token, "TOKEN");
            replace(&mut value, &scene.azure.ca_pem(), "CA_BUNDLE");
            text.push_str("---\n");
            text.push_str(&serde_yaml_ng::to_string(&value).unwrap());
        }
        fs::create_dir_all(file(name).parent().unwrap()).unwrap();
        fs::write(file(name), text).unwrap();
    }
}

const GROUP_VERSION: &str = "videotoken.dev/v1alpha1";

/// Objects of one type after [`store`], and the latest time at which the renewal is due.
struct Kept {
    provider: Value,
    object: Value,
    secret: Secret,
    due: DateTime<Utc>,
}

/// Stores the objects of a file with the field managers that wrote them. The renewal is due after [`QUIET`].
async fn store(stage: &Stage, name: &str) -> Kept {
    let scene = &stage.scene;
    let text = fs::read_to_string(file(name)).unwrap();
    let documents = text.split("---\n").filter(|document| !document.is_empty());
    let parsed: Vec<Value> = documents.map(|document| serde_yaml_ng::from_str(document).unwrap()).collect();
    let Ok([mut secret, mut provider, mut object]) = <[Value; 3]>::try_from(parsed) else { panic!("three objects") };
    let due = Utc::now() + QUIET;
    let shift = due + RENEW_BEFORE - time(&object["status"]["expiresAt"]);
    for value in [&mut secret, &mut provider, &mut object] {
        each_text(value, &mut |text| {
            if let Ok(time) = DateTime::parse_from_rfc3339(text) {
                *text = (time.to_utc() + shift).to_rfc3339_opts(SecondsFormat::Secs, true);
            }
        });
        replace(value, "CA_BUNDLE", &scene.azure.ca_pem());
        // no token API sees this token
        replace(value, "TOKEN", "a-token-of-an-earlier-release-0123456789");
    }
    let by_user = |value: &Value| {
        let mut value = value.clone();
        value.as_object_mut().unwrap().remove("status");
        value.to_string()
    };
    let by_operator = PatchParams::apply(MANAGER).force();
    let status = |value: &Value| {
        let metadata = json!({"name": name});
        Patch::Apply(json!({"apiVersion": GROUP_VERSION, "kind": value["kind"], "metadata": metadata,
            "status": value["status"]}))
    };

    yaml::apply(&scene.client, &scene.namespace, &by_user(&provider)).await.unwrap();
    stage.api("TokenProvider").patch_status(name, &by_operator, &status(&provider)).await.unwrap();
    let [created] = &yaml::apply(&scene.client, &scene.namespace, &by_user(&object)).await.unwrap()[..] else {
        panic!("one object")
    };
    replace(&mut secret, "UID", created.metadata.uid.as_deref().unwrap());
    let (mut data, annotations) = (text_map(&secret["data"]), text_map(&secret["metadata"]["annotations"]));
    secret["metadata"]["annotations"][content_hash::ANNOTATION] = content_hash(&data, &annotations).into();
    for value in data.values_mut() {
        *value = BASE64.encode(&*value);
    }
    secret["data"] = json!(data);
    let secret = scene.secrets().patch(name, &by_operator, &Patch::Apply(&secret)).await.unwrap();
    object["status"]["secretResourceVersion"] = secret.metadata.resource_version.clone().into();
    stage.api("VideoAccessToken").patch_status(name, &by_operator, &status(&object)).await.unwrap();

    let kept = Kept {
        provider: stage.stored("TokenProvider", name).await,
        object: stage.stored("VideoAccessToken", name).await,
        secret,
        due,
    };
    for (stored, read) in [(&kept.provider, &provider), (&kept.object, &object)] {
        assert_eq!((&stored["spec"], &stored["status"]), (&read["spec"], &read["status"]), "stored as it was");
    }
    kept
}

/// Applies every CRD of a folder.
async fn apply_crds(scene: &Scene, folder: PathBuf) {
    for file in fs::read_dir(folder).unwrap() {
        let crd = fs::read_to_string(file.unwrap().path()).unwrap();
        yaml::apply(&scene.client, "default", &crd).await.unwrap();
    }
}

/// Panics unless a dry run of the stored object changes neither its spec nor its status nor its generation.
async fn is_accepted_unchanged(stage: &Stage, stored: &Value) {
    let mut again: DynamicObject = serde_json::from_value(stored.clone()).unwrap();
    again.metadata.managed_fields = None;
    again.metadata.resource_version = None;
    again.data.as_object_mut().unwrap().remove("status");
    let accepted = yaml::dry_run(&stage.scene.client, &stage.scene.namespace, vec![again]).await.unwrap();
    assert_eq!((&accepted[0].data["spec"], &accepted[0].data["status"]), (&stored["spec"], &stored["status"]));
    assert_eq!(json!(accepted[0].metadata.generation), stored["metadata"]["generation"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_release_stored_of_each_type_is_served_on_without_a_call() {
    let stage = Stage::set().await;
    let scene = &stage.scene;
    if std::env::var_os("CAPTURE").is_some() {
        return capture(&stage).await;
    }
    let types = stage.types();
    let scratch = Scratch::new("vto-upgrade-").unwrap();
    apply_crds(scene, before(&scratch).join("definitions")).await;
    let mut all = Vec::new();
    for Type { name, .. } in &types {
        all.push(store(&stage, name).await);
    }
    apply_crds(scene, repository().join("crds")).await;
    for kept in &all {
        is_accepted_unchanged(&stage, &kept.provider).await;
        is_accepted_unchanged(&stage, &kept.object).await;
    }

    let _operator = scene.operator().await.unwrap();
    let first_due = all[0].due - RENEW_BEFORE / 10;
    let quiet = (first_due - Utc::now()).to_std().expect("an operator starts sooner");
    throughout(quiet.saturating_sub(Duration::from_secs(1)), "all as it was stored", async || {
        for (Type { name, control }, kept) in types.iter().zip(&all) {
            assert!(control.as_ref().is_none_or(|control| control.requests().is_empty()), "{name}");
            assert_eq!(stage.secret(name).await.metadata.resource_version, kept.secret.metadata.resource_version);
            let now = stage.stored("VideoAccessToken", name).await;
            assert_eq!(now["spec"], kept.object["spec"], "{name}");
            // a release may change the text of a message
            let (ready, then) = (condition(&now, "Ready"), condition(&kept.object, "Ready"));
            for member in ["status", "reason", "lastTransitionTime"] {
                assert_eq!(ready[member], then[member], "{name}: Ready: {member}");
            }
            for member in ["issuances", "failedAttempts", "issuedAt", "expiresAt", "secretResourceVersion"] {
                assert_eq!(now["status"][member], kept.object["status"][member], "{name}: {member}");
            }
        }
        Ok::<(), String>(())
    })
    .await;

    for (type_, kept) in types.iter().zip(&all) {
        let name = type_.name.as_str();
        let renewed = |object: &Value| object["status"]["issuances"] == 2;
        scene.until_within(SOON * 2, name, "renewed", renewed).await.unwrap();
        type_.settled(scene).await;
        assert_eq!(scene.secret_writes(name), 1, "{name}");
        let Some(control) = &type_.control else { continue };
        let requests = control.requests();
        assert_eq!(requests.len(), 1, "{name}");
        let (at, due) = (requests[0].call.time, kept.due);
        assert!(at >= due - RENEW_BEFORE / 10 && at <= due + LATEST, "{name}: asked at {at}, due at {due}");
    }
}
