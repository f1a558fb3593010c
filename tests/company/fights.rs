//! P18: other writers of the same Secret, policies that change it, labels that come and go.

use crate::OPERATOR;
use chrono::{DateTime, Utc};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::emulator::Life;
use testkit::scene::{SOON, Scene, condition};
use testkit::stand::wait::{is_gone, throughout};
use testkit::stand::{Failure, Matcher, eventually, yaml};

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// A `MutatingAdmissionPolicy` over the Secrets of the scene's namespace; it takes effect some time after.
struct Policy<'a> {
    scene: &'a Scene,
    name: String,
}

impl<'a> Policy<'a> {
    async fn bind(scene: &'a Scene, mutation: &Value) -> Self {
        let name = scene.namespace.clone();
        let metadata = json!({"name": name});
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": metadata,
            "spec": {"failurePolicy": "Fail", "reinvocationPolicy": "Never", "mutations": [mutation],
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}},
                    "objectSelector": {"matchExpressions": [{"key": "videotoken.dev/credentials", "operator": "DoesNotExist"}]},
                    "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                        "resources": ["secrets"]}]}},
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
            "metadata": metadata, "spec": {"policyName": name},
        });
        for object in [policy, binding] {
            scene.apply(&object).await.unwrap();
        }
        Self { scene, name }
    }

    /// Waits until a Secret that is made now is changed as wished.
    async fn until_it_acts(&self, acts: impl Fn(&DynamicObject) -> bool) {
        let canary = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"token": " padded "},
            "metadata": {"name": "canary", "namespace": self.scene.namespace}});
        let canary: Vec<DynamicObject> = yaml::parse(&canary.to_string()).unwrap();
        eventually(SOON, "the policy acts", async || {
            let stored = yaml::dry_run(&self.scene.client, &self.scene.namespace, canary.clone()).await;
            let stored = stored.map_err(|error| error.to_string())?;
            if stored.iter().all(&acts) { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
    }

    async fn end(self) {
        for kind in ["MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicy"] {
            let gvk = kube::core::GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
            let mut resource = kube::core::ApiResource::from_gvk(&gvk);
            let plural =
                if kind.ends_with("Policy") { "mutatingadmissionpolicies" } else { "mutatingadmissionpolicybindings" };
            plural.clone_into(&mut resource.plural);
            let api: Api<DynamicObject> = Api::all_with(self.scene.client.clone(), &resource);
            api.delete(&self.name, &DeleteParams::default()).await.unwrap();
        }
    }
}

fn relabels(label: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": format!(
        r#"Object{{metadata: Object.metadata{{labels: {{"{label}": "platform-team"}}}}}}"#)}})
}

fn has_label(object: &DynamicObject, label: &str) -> bool {
    object
        .metadata
        .labels
        .as_ref()
        .is_some_and(|labels| labels.get(label).is_some_and(|value| value == "platform-team"))
}

/// The message of a condition.
fn said(object: &Value, type_: &str) -> String {
    condition(object, type_)["message"].as_str().unwrap_or_default().to_owned()
}

/// Applies to a Secret as another field manager.
async fn overwrite(scene: &Scene, name: &str, manager: &str, changes: &Value) {
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
    secret.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let params = PatchParams::apply(manager).force();
    scene.secrets().patch(name, &params, &Patch::Apply(&secret)).await.unwrap();
}

/// Writes over the Secret as soon as the operator has put it right, until the object says that it is contested.
async fn fight(scene: &Scene, name: &str, manager: &str, change: impl Fn(u64) -> Value) -> Value {
    let mut version = None;
    let mut pace = tokio::time::interval(Duration::from_millis(250));
    for round in 0..40 {
        pace.tick().await;
        let object = serde_json::to_value(scene.tokens().get(name).await.unwrap()).unwrap();
        if condition(&object, "Stalled")["reason"] == "SecretContested" {
            return object;
        }
        let now = scene.secrets().get_metadata(name).await.unwrap().metadata.resource_version;
        if now != version {
            overwrite(scene, name, manager, &change(round)).await;
            version = scene.secrets().get_metadata(name).await.unwrap().metadata.resource_version;
        }
    }
    scene.until(name, "Stalled", "True", "SecretContested").await.unwrap()
}

/// What the operator writes of this object and its Secret.
fn all_writes(scene: &Scene, name: &str) -> u64 {
    let statuses = Matcher::patch("videoaccesstokens/status").namespace(&scene.namespace).name(name);
    scene.secret_writes(name) + scene.proxy.count(&statuses)
}

/// For so long nothing is issued, and nothing of the lobby's is written beyond this.
async fn is_left_alone(scene: &Scene, time: Duration, writes: u64) {
    throughout(time, "no loop", async || match (scene.issued(), all_writes(scene, "lobby")) {
        now if now == (1, writes) => Ok(()),
        now => Err(format!("{now:?}: issued and written, after {writes} writes")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_policy_that_overrides_a_label_stalls_the_object_and_starts_no_loop() {
    let scene = Scene::new("stamped", OPERATOR).await.unwrap();
    let policy = Policy::bind(&scene, &relabels(MANAGED_BY)).await;
    policy.until_it_acts(|object| has_label(object, MANAGED_BY)).await;
    let operator = scene.operator().await.unwrap();
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    let object = scene.until("lobby", "Stalled", "True", "SecretOverridden").await.unwrap();
    for word in [MANAGED_BY, "\"video-token-operator\"", "\"platform-team\"", "spec.secret.name"] {
        assert!(said(&object, "Stalled").contains(word), "{word:?} is not in {object:#}");
    }
    assert_eq!(condition(&object, "Ready")["status"], "True", "it holds a live token: {object:#}");
    let before = all_writes(&scene, "lobby");
    let token = scene.settled("lobby").await.unwrap();
    is_left_alone(&scene, Duration::from_secs(10), before).await;
    assert_eq!(scene.secret_writes("lobby"), 1);
    let told = scene.events("lobby").await.unwrap();
    assert_eq!(told, [("Warning".to_owned(), "SecretOverridden".to_owned(), 1)]);

    // a restart looks once more, and a renewal is written as ever
    drop(operator);
    let _operator = scene.operator().await.unwrap();
    scene.force_renewal("lobby").await.unwrap();
    scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    let object = scene.until("lobby", "Stalled", "True", "SecretOverridden").await.unwrap();
    assert_eq!(condition(&object, "Ready")["status"], "True");
    assert_ne!(scene.held("lobby").await.unwrap(), token);
    assert!(scene.secret_writes("lobby") <= 3, "{}", scene.secret_writes("lobby"));

    // without the policy a change of the spec is enough
    policy.end().await;
    eventually(SOON, "well again", async || {
        scene.touch("lobby").await.map_err(|error| error.to_string())?;
        let object = scene.tokens().get("lobby").await.map_err(|error| error.to_string())?;
        let stalled = condition(&serde_json::to_value(object).unwrap(), "Stalled");
        if stalled["status"] == "False" { Ok(()) } else { Err(stalled.to_string()) }
    })
    .await;
    scene.settled("lobby").await.unwrap();
    assert_eq!(scene.issued(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_policy_that_changes_a_label_of_the_template_or_the_data_is_told_and_costs_one_call() {
    let replaced = r#"[JSONPatch{op: "replace", path: "/data/token", value: "Zm9yZWlnbg=="}]"#;
    let template = json!({"secret": {"template": {"labels": {"app": "player"}}}});
    let cases = [
        ("label", relabels("app"), "metadata.labels[app]", "True"),
        ("data", json!({"patchType": "JSONPatch", "jsonPatch": {"expression": replaced}}), "data[token]", "False"),
    ];
    for (name, mutation, field, ready) in cases {
        let scene = Scene::new(name, OPERATOR).await.unwrap();
        let policy = Policy::bind(&scene, &mutation).await;
        policy.until_it_acts(|object| has_label(object, "app") || object.data["data"]["token"] == "Zm9yZWlnbg==").await;
        let operator = scene.operator().await.unwrap();
        scene.apply(&scene.token("lobby", &template)).await.unwrap();
        let object = scene.until("lobby", "Stalled", "True", "SecretOverridden").await.unwrap();
        assert!(said(&object, "Stalled").contains(field), "{object:#}");
        assert_eq!(condition(&object, "Ready")["status"], ready, "{object:#}");
        let before = all_writes(&scene, "lobby");
        is_left_alone(&scene, Duration::from_secs(5), before).await;
        // a restart knows of it again by a look and one write
        drop(operator);
        let looks = Matcher::get("secrets").namespace(&scene.namespace).name("lobby").metadata_only(false);
        let before = scene.proxy.count(&looks);
        let _operator = scene.operator().await.unwrap();
        eventually(SOON, "looked at", async || match scene.proxy.count(&looks) - before {
            0 => Err("not yet".to_owned()),
            _ => Ok(()),
        })
        .await;
        scene.until("lobby", "Stalled", "True", "SecretOverridden").await.unwrap();
        assert!(scene.secret_writes("lobby") <= 2, "{name}: {}", scene.secret_writes("lobby"));
        policy.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_another_writer_of_the_token_is_named_and_costs_few_writes_and_calls() {
    let scene = Scene::new("hunt", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    scene.ready_token("late", &json!({})).await.unwrap();
    scene.settled("late").await.unwrap();
    let foreign = |_| json!({"data": {"token": "Zm9yZWlnbg==", "extra": "eA=="}});
    let object = fight(&scene, "late", "externalsecrets", foreign).await;
    for word in ["\"externalsecrets\"", "data[token]", "spec.secret.name"] {
        assert!(said(&object, "Stalled").contains(word), "{word:?} is not in {object:#}");
    }
    assert_eq!(condition(&object, "Ready")["status"], "False", "another's is no token: {object:#}");
    let (writes, issued) = (scene.secret_writes("late"), scene.issued());
    assert_eq!(writes, 1 + 3, "three repairs");
    assert!(issued <= 1 + 3, "{issued}");
    // it goes on and on, and changes what it writes
    let statuses = all_writes(&scene, "late");
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for round in 0..30 {
        pace.tick().await;
        let change = json!({"data": {"token": "Zm9yZWlnbg=="}, "stringData": {"extra": format!("{round}")}});
        overwrite(&scene, "late", "externalsecrets", &change).await;
    }
    // also over a restart
    operator.kill9();
    operator = scene.operator().await.unwrap();
    let fence = scene.fence().await.unwrap();
    scene.until("late", "Stalled", "True", "SecretContested").await.unwrap();
    assert_eq!((scene.secret_writes("late"), scene.issued()), (writes, issued + 1), "with the fence's: {fence}");
    assert!(all_writes(&scene, "late") <= statuses + 2, "{} after {statuses}", all_writes(&scene, "late"));
    let told = scene.events("late").await.unwrap();
    let contested: Vec<_> = told.iter().filter(|(_, reason, _)| reason == "SecretContested").collect();
    assert_eq!(contested, [&("Warning".to_owned(), "SecretContested".to_owned(), 1)], "{told:?}");

    // a change of the spec ends it at once
    scene.touch("late").await.unwrap();
    scene.settled("late").await.unwrap();
    scene.until("late", "Stalled", "False", "").await.unwrap();
    assert!(operator.exited().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_fight_over_a_label_leaves_the_token_alone_and_renewals_are_written() {
    let scene = Scene::new("labels", OPERATOR).await.unwrap();
    let control = scene.azure.video_indexer.control();
    control.set_life(Life::Seconds(90));
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    let token = scene.settled("lobby").await.unwrap();
    let theirs = |_| json!({"metadata": {"name": "lobby", "labels": {MANAGED_BY: "Helm"}}});
    let object = fight(&scene, "lobby", "kubectl-edit", theirs).await;
    assert!(said(&object, "Stalled").contains("\"kubectl-edit\"") && said(&object, "Stalled").contains(MANAGED_BY));
    assert_eq!(condition(&object, "Ready")["status"], "True", "{object:#}");
    assert_eq!((scene.issued(), scene.held("lobby").await.unwrap()), (1, token.clone()));
    let writes = scene.secret_writes("lobby");
    control.set_life(Life::Promised);
    // two thirds of its life, and it is renewed all the same
    let renewed = |object: &Value| object["status"]["issuances"] == 2;
    scene.until_within(SOON * 4, "lobby", "renewed", renewed).await.unwrap();
    assert_eq!(scene.secret_writes("lobby"), writes + 1);
    assert_ne!(scene.held("lobby").await.unwrap(), token);
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_secret_that_is_deleted_again_and_again_is_a_fight_and_takes_three_calls() {
    let scene = Scene::new("pruned", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    for _ in 0..3 {
        scene.settled("lobby").await.unwrap();
        let uid = scene.secrets().get_metadata("lobby").await.unwrap().metadata.uid;
        scene.secrets().delete("lobby", &DeleteParams::default()).await.unwrap();
        eventually(SOON, "made anew", async || match scene.secrets().get_metadata_opt("lobby").await {
            Ok(Some(now)) if now.metadata.uid != uid => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
    scene.settled("lobby").await.unwrap();
    scene.secrets().delete("lobby", &DeleteParams::default()).await.unwrap();
    let object = scene.until("lobby", "Stalled", "True", "SecretContested").await.unwrap();
    assert_eq!(condition(&object, "Ready")["status"], "False");
    assert_eq!((scene.issued(), scene.secret_writes("lobby")), (1 + 3, 1 + 3));
    // a change of the spec ends it at once, and the last token is good once more
    scene.touch("lobby").await.unwrap();
    scene.settled("lobby").await.unwrap();
    assert_eq!(scene.issued(), 1 + 3);
}

/// What isn't ours may change as often as it likes.
#[tokio::test(flavor = "multi_thread")]
async fn p18_annotations_of_others_cost_no_write_and_few_looks() {
    let scene = Scene::new("replicated", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    scene.settled("lobby").await.unwrap();
    let looks = Matcher::get("secrets").namespace(&scene.namespace).name("lobby");
    let (before, statuses) = (scene.proxy.count(&looks), all_writes(&scene, "lobby"));
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    for round in 0..40 {
        pace.tick().await;
        let stamp = json!({"metadata": {"annotations": {"replicator.example/at": round.to_string()}}});
        scene.patch_secret("lobby", &stamp).await.unwrap();
    }
    scene.fence().await.unwrap();
    assert_eq!((scene.issued(), scene.secret_writes("lobby")), (1 + 1, 1), "with the fence's");
    assert!(scene.proxy.count(&looks) <= before + 5, "{} looks", scene.proxy.count(&looks) - before);
    assert!(all_writes(&scene, "lobby") <= statuses + 5, "{}", all_writes(&scene, "lobby") - statuses);
    let told = scene.events("lobby").await.unwrap();
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_secret_made_immutable_by_a_policy_is_written_anew_as_soon_as_it_is_deleted() {
    let scene = Scene::new("immutable", OPERATOR).await.unwrap();
    let mutation = json!({"patchType": "JSONPatch", "jsonPatch": {
        "expression": r#"[JSONPatch{op: "add", path: "/immutable", value: true}]"#}});
    let policy = Policy::bind(&scene, &mutation).await;
    policy.until_it_acts(|object| object.data["immutable"] == true).await;
    let mut operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    for round in 0..2 {
        let token = scene.settled("lobby").await.unwrap();
        if round == 1 {
            // who doesn't know how it was stored learns it from the write
            operator.kill9();
            operator = scene.operator().await.unwrap();
        }
        scene.force_renewal("lobby").await.unwrap();
        let object = scene.until("lobby", "Stalled", "True", "SecretImmutable").await.unwrap();
        assert_eq!(condition(&object, "Ready")["status"], "True", "its token lives");
        assert_eq!(scene.held("lobby").await.unwrap(), token);
        scene.secrets().delete("lobby", &DeleteParams::default()).await.unwrap();
        assert_ne!(scene.settled("lobby").await.unwrap(), token);
        scene.until("lobby", "Stalled", "False", "").await.unwrap();
    }
    assert!(scene.issued() <= 3, "{}", scene.issued());
    policy.end().await;
    assert!(operator.exited().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_the_status_of_an_object_that_lingers_stays_true() {
    let scene = Scene::new("lingering", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    scene.settled("lobby").await.unwrap();
    scene.patch("lobby", &json!({"metadata": {"finalizers": ["example.com/archive"]}})).await.unwrap();
    scene.delete_token("lobby").await.unwrap();
    let object = scene.until("lobby", "Issuing", "False", "Deleting").await.unwrap();
    assert_eq!(condition(&object, "Ready")["status"], "True", "its token lives");
    scene.secrets().delete("lobby", &DeleteParams::default()).await.unwrap();
    let object = scene.until("lobby", "Ready", "False", "Deleting").await.unwrap();
    assert_eq!(condition(&object, "Stalled")["status"], "False");
    scene.fence().await.unwrap();
    assert_eq!((scene.issued(), scene.secret_writes("lobby")), (1 + 1, 1), "with the fence's");
    scene.patch("lobby", &json!({"metadata": {"finalizers": null}})).await.unwrap();
    is_gone(&scene.tokens(), "lobby", SOON).await;
    assert!(scene.secrets().get_opt("lobby").await.unwrap().is_none());
}

/// F1: what was decided of one Secret is written over no other, whatever a read before the write found.
#[tokio::test(flavor = "multi_thread")]
async fn p18_a_secret_that_took_the_place_of_ours_before_a_write_is_left_alone() {
    let scene = Scene::new("replaced", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let keys = json!({"secret": {"keys": {"previousToken": "before"}}});
    for name in ["renewed", "rendered"] {
        scene.ready_token(name, &keys).await.unwrap();
        scene.settled(name).await.unwrap();
        // the read is held before the API server sees it; meanwhile the Secret is another's
        let reads = Matcher::get("secrets").namespace(&scene.namespace).name(name).metadata_only(false);
        let held = if name == "renewed" {
            let control = scene.azure.video_indexer.control();
            control.set_life(Life::Seconds(20));
            scene.force_renewal(name).await.unwrap();
            scene.until_that(name, "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
            control.set_life(Life::Promised);
            scene.proxy.hold(reads)
        } else {
            let held = scene.proxy.hold(reads);
            let other = json!({"spec": {"secret": {"template": {"data": {"url": "?t={{ token }}"}}}}});
            scene.patch(name, &other).await.unwrap();
            held
        };
        held.wait().await;
        scene.secrets().delete(name, &DeleteParams::default()).await.unwrap();
        let theirs = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"token": "theirs"},
            "metadata": {"name": name, "namespace": scene.namespace}});
        scene.apply(&theirs).await.unwrap();
        held.release();
        scene.until(name, "Stalled", "True", "SecretNotOwned").await.unwrap();
        let secret = scene.secrets().get(name).await.unwrap();
        assert_eq!(scene.held(name).await.unwrap(), "theirs", "{name}");
        assert!(secret.metadata.owner_references.is_none(), "{name}");
    }
}

/// F3: a rename that is taken back before a status told of it.
#[tokio::test(flavor = "multi_thread")]
async fn p03_a_token_moves_back_from_a_name_that_no_status_ever_told() {
    let scene = Scene::new("back", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    for (name, crashes) in [("lobby", false), ("entrance", true)] {
        scene.ready_token(name, &json!({})).await.unwrap();
        let token = scene.settled(name).await.unwrap();
        let statuses = Matcher::patch("videoaccesstokens/status").namespace(&scene.namespace).name(name);
        let held = scene.proxy.hold(statuses);
        scene.patch(name, &json!({"spec": {"secret": {"name": format!("{name}-2")}}})).await.unwrap();
        held.wait().await;
        is_gone(&scene.secrets(), name, SOON).await;
        if crashes {
            operator.kill9();
        }
        held.drop_all();
        scene.patch(name, &json!({"spec": {"secret": null}})).await.unwrap();
        if crashes {
            operator = scene.operator().await.unwrap();
        }
        assert_eq!(scene.settled(name).await.unwrap(), token, "{name}");
        is_gone(&scene.secrets(), &format!("{name}-2"), SOON).await;
    }
    assert_eq!(scene.issued(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_another_controller_of_the_secret_stops_no_renewal() {
    let scene = Scene::new("controlled", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    scene.settled("lobby").await.unwrap();
    let owner = scene.secrets().get_metadata("azure-login").await.unwrap().metadata.uid.unwrap();
    let theirs = json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Secret", "name": "azure-login",
        "uid": owner, "controller": true}]}});
    scene.patch_secret("lobby", &theirs).await.unwrap();
    let uid = scene.tokens().get("lobby").await.unwrap().metadata.uid.unwrap();
    eventually(SOON, "ours is there again", async || {
        let secret = scene.secrets().get_metadata("lobby").await.map_err(|error| error.to_string())?;
        let owners = secret.metadata.owner_references.unwrap_or_default();
        if owners.len() == 2 && owners.iter().any(|o| o.uid == uid) { Ok(()) } else { Err(format!("{owners:?}")) }
    })
    .await;
    scene.settled("lobby").await.unwrap();
    scene.force_renewal("lobby").await.unwrap();
    scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    let token = scene.settled("lobby").await.unwrap();
    let known = scene.azure.video_indexer.control().knows(&token).unwrap();
    let expires: DateTime<Utc> = scene.key_of("lobby", "expires-at").await.unwrap().unwrap().parse().unwrap();
    assert_eq!(expires, known.expires_at);
}

/// F2: that nothing stood there is forgotten as soon as something was seen there.
#[tokio::test(flavor = "multi_thread")]
async fn p03_a_secret_that_was_seen_once_is_not_taken_for_absent_when_it_loses_its_label() {
    let scene = Scene::new("probed", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let statuses = Matcher::patch("videoaccesstokens/status").namespace(&scene.namespace).name("lobby");
    let told = scene.proxy.hold(statuses);
    let writes = Matcher::patch("secrets").namespace(&scene.namespace).name("lobby").first(1);
    let lost = scene.proxy.fail(writes, Failure::LostAnswer);
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    eventually(SOON, "stored", async || scene.held("lobby").await.map_err(|error| error.to_string())).await;
    told.wait().await;
    scene.patch_secret("lobby", &json!({"metadata": {"labels": {MANAGED_BY: null}}})).await.unwrap();
    scene.fence().await.unwrap();
    told.drop_all();
    scene.settled("lobby").await.unwrap();
    assert_eq!((lost.hits(), scene.issued()), (1, 1 + 1), "with the fence's");
    let labels = scene.secrets().get_metadata("lobby").await.unwrap().metadata.labels.unwrap();
    assert_eq!(labels[MANAGED_BY], "video-token-operator");
}
