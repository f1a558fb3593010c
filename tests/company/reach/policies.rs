//! The chart's admission policies, as a real API server enforces them.

use crate::OPERATOR;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};
use testkit::chart::template;
use testkit::rollout;
use testkit::scene::{SOON, Scene, client_secret};
use testkit::stand::wait::own_kind;
use testkit::stand::{eventually, yaml};

/// The operator's ServiceAccount in the stand is named as the chart names it for this release.
const RELEASE: &str = "video-token-operator";

async fn install(scene: &Scene) {
    let rollouts = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "resource": "rollouts"});
    let rbac = json!({"rolloutRestart": true, "restartKinds": [rollouts]});
    let values = json!({"admissionPolicies": {"enabled": true}, "rbac": rbac}).to_string();
    let rendered = template(RELEASE, RELEASE, &values, &["--no-hooks"]).unwrap();
    for object in yaml::parse(&rendered).unwrap() {
        if object.types.as_ref().unwrap().kind.starts_with("ValidatingAdmissionPolicy") {
            scene.apply(&serde_json::to_value(&object).unwrap()).await.unwrap();
        }
    }
}

/// A ServiceAccount that may do this with these in the namespace, and no more.
async fn account(scene: &Scene, name: &str, rules: Value) -> Client {
    let meta = json!({"name": name, "namespace": scene.namespace});
    let group = "rbac.authorization.k8s.io";
    for object in [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": meta, "rules": rules}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": meta,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": scene.namespace}]}),
    ] {
        scene.apply(&object).await.unwrap();
    }
    scene.plane.service_account_kubeconfig(&scene.namespace, name).await.unwrap().client().unwrap()
}

fn said<T>(result: Result<T, impl std::fmt::Display>) -> String {
    result.err().map(|error| format!("{error:#}")).unwrap_or_default()
}

fn secret(name: &str, changes: &Value) -> Secret {
    let mut secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"a": "b"}});
    for (key, value) in changes.as_object().unwrap() {
        secret[key] = value.clone();
        if key == "metadata" {
            secret["metadata"]["name"] = name.into();
        }
    }
    serde_json::from_value(secret).unwrap()
}

fn deployment(name: &str, opted_in: bool) -> Value {
    let labels = json!({"app": name});
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": {"videotoken.dev/restart-on-renewal": opted_in.to_string()}},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels, "annotations": {"other": "x"}},
            "spec": {"containers": [{"name": "player", "image": "player.example/player:1"}]}}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn p22_under_the_charts_policies_the_operators_own_token_is_worth_what_it_needs() {
    let mut scene = Scene::private("policies", OPERATOR).await.unwrap();
    rollout::install(&scene.client).await.unwrap();
    rollout::permit(&scene.client).await.unwrap();
    let operator = scene.plane.operator_kubeconfig().await.unwrap().client().unwrap();
    let secrets: Api<Secret> = Api::namespaced(operator.clone(), &scene.namespace);
    let ours = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "video-token-operator"}}});
    scene.apply(&serde_json::to_value(secret("database", &json!({}))).unwrap()).await.unwrap();
    for (name, opted_in) in [("in", true), ("out", false)] {
        scene.apply(&deployment(name, opted_in)).await.unwrap();
    }
    install(&scene).await;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    eventually(SOON, "the policies hold", async || {
        let said = said(secrets.create(&dry, &secret("probe", &json!({}))).await);
        if said.contains("managed-by") { Ok(()) } else { Err(said) }
    })
    .await;

    // Secrets
    let typed = |type_: &str, annotations: Value| {
        let mut made = ours.clone();
        made["type"] = type_.into();
        made["metadata"]["annotations"] = annotations;
        made
    };
    let account_token =
        typed("kubernetes.io/service-account-token", json!({"kubernetes.io/service-account.name": "default"}));
    for (made, refused) in [(ours.clone(), ""), (json!({}), "managed-by"), (account_token, "fills with a token")] {
        let said = said(secrets.create(&dry, &secret("made", &made)).await);
        assert!(said.contains(refused) && said.is_empty() == refused.is_empty(), "{made}: {said}");
    }
    let merge = PatchParams { dry_run: true, ..PatchParams::default() };
    let take = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "video-token-operator"}}});
    let refusal = said(secrets.patch("database", &merge, &Patch::Merge(&take)).await);
    assert!(refusal.contains("Secrets that it manages"), "{refusal}");
    let refusal = said(secrets.delete("database", &DeleteParams { dry_run: true, ..DeleteParams::default() }).await);
    assert!(refusal.contains("Secrets that it manages"), "{refusal}");

    // workloads
    rollouts(&scene, &operator).await;
    let deployments: Api<Deployment> = Api::namespaced(operator, &scene.namespace);
    let annotate =
        |name: &str| json!({"spec": {"template": {"metadata": {"annotations": {name: "2026-01-01T00:00:00Z"}}}}});
    let mark = annotate("videotoken.dev/restarted-at");
    for (name, patch, refused) in [
        ("in", mark.clone(), ""),
        ("out", mark.clone(), "workloads with the label"),
        ("in", annotate("example.com/other"), "restarted-at of a Pod template"),
        (
            "in",
            json!({"spec": {"template": {"metadata": {"annotations": {"other": null}}}}}),
            "restarted-at of a Pod template",
        ),
        (
            "in",
            json!({"spec": {"template": {"metadata": {"labels": {"more": "x"}}}}}),
            "restarted-at of a Pod template",
        ),
        ("in", json!({"spec": {"template": {"spec": {"hostNetwork": true}}}}), "restarted-at of a Pod template"),
        (
            "in",
            json!({"spec": {"template": {"spec": {"containers": [{"name": "player", "image": "evil.example/x"}]}}}}),
            "restarted-at of a Pod template",
        ),
        ("in", json!({"spec": {"replicas": 7}}), "an annotation of a workload's Pod template"),
        ("in", json!({"spec": {"paused": true}}), "an annotation of a workload's Pod template"),
        ("in", json!({"metadata": {"labels": {"x": "y"}}}), "an annotation of a workload's Pod template"),
        (
            "out",
            json!({"metadata": {"labels": {"videotoken.dev/restart-on-renewal": "true"}}}),
            "workloads with the label",
        ),
    ] {
        let said = said(deployments.patch(name, &merge, &Patch::Merge(&patch)).await);
        assert!(said.contains(refused) && said.is_empty() == refused.is_empty(), "{name} {patch}: {said}");
    }

    serves(&mut scene).await;
}

/// Asserts that an operator under the policies does all that it is for.
async fn serves(scene: &mut Scene) {
    scene.options.args.push(rollout::FLAG.to_owned());
    let running = scene.operator().await.unwrap();
    let restarts =
        json!({"rolloutRestart": [{"kind": "Deployment", "name": "in"}, {"kind": rollout::KIND, "name": "bare"}]});
    scene.ready_token("lobby", &restarts).await.unwrap();
    scene.settled("lobby").await.unwrap();
    scene.force_renewal("lobby").await.unwrap();
    let done = |object: &Value| {
        object["status"]["issuances"] == 2 && object["status"]["restartedFor"] == object["status"]["issuedAt"]
    };
    let object = scene.until_that("lobby", "is renewed and its workloads restarted", done).await.unwrap();
    let bare = rollouts_of(scene, &scene.client).get("bare").await.unwrap();
    let mark = &bare.data["spec"]["template"]["metadata"]["annotations"]["videotoken.dev/restarted-at"];
    assert!(mark.is_string(), "{} after {}", bare.data, object["status"]);
    let unlabelled = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}});
    scene.patch_secret("lobby", &unlabelled).await.unwrap();
    eventually(SOON, "the label is as it was", async || {
        let labels =
            scene.secrets().get("lobby").await.map_err(|error| error.to_string())?.metadata.labels.unwrap_or_default();
        if labels["app.kubernetes.io/managed-by"] == RELEASE { Ok(()) } else { Err(format!("{labels:?}")) }
    })
    .await;
    scene.patch("lobby", &json!({"spec": {"secret": {"name": "moved"}}})).await.unwrap();
    eventually(SOON, "the Secret is moved", async || {
        let moved = scene.held("moved").await.is_ok() && scene.secrets().get_opt("lobby").await.unwrap().is_none();
        if moved { Ok(()) } else { Err("not yet") }
    })
    .await;
    drop(running);
    tenants(scene).await;
}

fn rollouts_of(scene: &Scene, client: &Client) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout"));
    Api::namespaced_with(client.clone(), &scene.namespace, &kind)
}

/// A kind that the chart's values name is as narrow.
async fn rollouts(scene: &Scene, operator: &Client) {
    for (name, opted_in) in [("in", "true"), ("out", "false")] {
        let mut rollout = rollout::rollout(&scene.namespace, name);
        rollout["metadata"]["labels"]["videotoken.dev/restart-on-renewal"] = opted_in.into();
        scene.apply(&rollout).await.unwrap();
    }
    // as a kind may have it that adds labels of its own
    let mut bare = rollout::rollout(&scene.namespace, "bare");
    bare["spec"]["template"].as_object_mut().unwrap().remove("metadata");
    scene.apply(&bare).await.unwrap();
    let api = rollouts_of(scene, operator);
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let mark = json!({"spec": {"template": {"metadata": {"annotations": {"videotoken.dev/restarted-at": "now"}}}}});
    let other = json!({"spec": {"template": {"metadata": {"annotations": {"example.com/other": "now"}}}}});
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "player", "image": "evil.example/x"}]}}}});
    for (name, patch, refused) in [
        ("in", mark.clone(), ""),
        ("out", mark.clone(), "workloads with the label"),
        ("in", other.clone(), "restarted-at of a Pod template"),
        ("in", image.clone(), "restarted-at of a Pod template"),
        ("in", json!({"spec": {"replicas": 7}}), "an annotation of a workload's Pod template"),
        ("bare", mark.clone(), ""),
        ("bare", other, "restarted-at of a Pod template"),
        ("bare", image, "restarted-at of a Pod template"),
        (
            "bare",
            json!({"spec": {"template": {"metadata": {"labels": {"more": "x"}}}}}),
            "restarted-at of a Pod template",
        ),
    ] {
        let said = said(api.patch(name, &dry, &Patch::Merge(&patch)).await);
        assert!(said.contains(refused) && said.is_empty() == refused.is_empty(), "Rollout {name} {patch}: {said}");
    }
}

/// Authors of the kinds must be allowed what the operator does for them.
async fn tenants(scene: &Scene) {
    let kinds = json!({"apiGroups": ["videotoken.dev"], "resources": ["videoaccesstokens", "tokenproviders"],
        "verbs": ["get", "create", "patch", "update"]});
    let secrets =
        |verb: &str| json!({"apiGroups": [""], "resources": ["secrets"], "verbs": [verb], "resourceNames": []});
    let named = |verb: &str, name: &str| json!({"apiGroups": [""], "resources": ["secrets"], "verbs": [verb], "resourceNames": [name]});
    let tokens_of = json!({"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"], "resourceNames": ["video"]});
    let nobody = account(scene, "nobody", json!([kinds])).await;
    let maker = account(scene, "maker", json!([kinds, secrets("create")])).await;
    let reader = account(scene, "reader", json!([kinds, named("get", "azure-login"), tokens_of])).await;
    let federated = |name: &str| {
        json!({"workloadIdentity": {"serviceAccountName": name, "clientId": "6c1f0a52-7f1d-4a9e-9a53-0b8e4d2f6a11",
        "tenantId": "9f0ad2f4-5a8b-4c1e-8e36-1d2f6a7b3c40"}})
    };
    let mut with_ca = scene.provider("with-ca", &client_secret("azure-login"));
    with_ca["spec"].as_object_mut().unwrap().remove("caBundle");
    with_ca["spec"]["caBundleRef"] = json!({"kind": "Secret", "name": "database", "key": "a"});
    let key = |name: &str| json!({"name": name, "key": "k"});
    let gis = json!({"arcgisVideoServer": {"url": "https://gis.example", "usernameRef": key("azure-login"), "passwordRef": key("database")}});
    let mut signs = scene.provider("p", &Value::Null);
    signs["spec"] = json!({"signed": {"key": {"secretRef": key("database")}, "jwt": {"algorithm": "HS256"}}});
    // references in bodies, which have no schema
    let calls = |member: &str, body: Value| {
        let request = json!({"path": "/token", member: body});
        let response = json!({"token": {"json": "$.token"}, "expires": {"jwt": {}}});
        let http = json!({"http": {"url": "https://api.example", "auth": {"none": {}}, "request": request, "response": response}});
        scene.provider_of("p", "", &http)
    };
    let secret_ref = |name: &str| json!({"secretRef": key(name)});
    let deep = |name: &str| json!({"a": [[{"b": [{"c": {"d": secret_ref(name)}}]}], "x", 1, null]});
    let login = json!({"user": secret_ref("azure-login"), "password": secret_ref("azure-login"), "n": {"m": true}});
    let other = json!({"user": secret_ref("azure-login"), "password": secret_ref("database")});
    for (who, client, object, refused) in [
        ("nobody", &nobody, scene.token("t", &json!({})), "create Secrets"),
        ("reader", &reader, calls("json", login.clone()), ""),
        ("reader", &reader, calls("json", other.clone()), "spec.http.request.json: the author must be allowed to get"),
        ("reader", &reader, calls("json", deep("azure-login")), ""),
        (
            "reader",
            &reader,
            calls("json", deep("database")),
            "spec.http.request.json: the author must be allowed to get",
        ),
        ("reader", &reader, calls("form", login), ""),
        ("reader", &reader, calls("form", other), "spec.http.request.form: the author must be allowed to get"),
        ("reader", &reader, calls("json", json!({"a": {"secretRef": "database"}})), "spec.http.request.json"),
        ("reader", &reader, signs, "spec.signed.key.secretRef"),
        ("maker", &maker, scene.token("t", &json!({})), ""),
        ("nobody", &nobody, scene.provider("p", &client_secret("azure-login")), "must be allowed to get a Secret"),
        ("maker", &maker, scene.provider("p", &client_secret("azure-login")), "clientSecret.secretRef"),
        ("reader", &reader, scene.provider("p", &client_secret("azure-login")), ""),
        ("reader", &reader, scene.provider("p", &client_secret("database")), "clientSecret.secretRef"),
        ("reader", &reader, with_ca, "spec.caBundleRef"),
        ("reader", &reader, scene.provider_of("p", "", &gis), "spec.arcgisVideoServer.passwordRef"),
        ("reader", &reader, scene.provider("p", &federated("video")), ""),
        ("reader", &reader, scene.provider("p", &federated("other")), "serviceAccountName"),
    ] {
        let kind = own_kind(object["kind"].as_str().unwrap());
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &scene.namespace, &kind);
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let said = said(api.create(&dry, &object).await);
        assert!(said.contains(refused) && said.is_empty() == refused.is_empty(), "{who} {}: {said}", object.data);
    }
    // an edit of metadata asks for nothing
    let api: Api<DynamicObject> = Api::namespaced_with(nobody, &scene.namespace, &own_kind("VideoAccessToken"));
    let renew = json!({"metadata": {"annotations": {"videotoken.dev/renew-requested-at": "2026-01-01T00:00:00Z"}}});
    let merge = PatchParams { dry_run: true, ..PatchParams::default() };
    api.patch("lobby", &merge, &Patch::Merge(&renew)).await.unwrap();
    let spec = json!({"spec": {"secret": {"name": "elsewhere"}}});
    assert!(said(api.patch("lobby", &merge, &Patch::Merge(&spec)).await).contains("create Secrets"));
}
