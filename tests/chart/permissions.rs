//! Least privilege, derived from what the operator is seen to call: under the chart's own Roles it is taken through all
//! that it does. What it may do and never did is a verb too many; what it did and might not, one too few.
//!
//! Whoever gives the operator a new call extends the chart's `_permissions.tpl` and the story below.

use crate::OPERATOR;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use testkit::chart::template;
use testkit::emulator::{ArcgisVideoServer, Serving, arcgis_example as gis, example};
use testkit::rollout;
use testkit::scene::{Scene, client_secret, condition};
use testkit::stand::{ApiProxy, eventually, yaml};

const RELEASE: &str = "vto";

/// A verb of RBAC and where it holds; `*` is the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    namespace: String,
    group: String,
    resource: String,
    verb: String,
}

/// Restarts of all kinds.
fn restarts() -> Value {
    json!({"rolloutRestart": true,
        "restartKinds": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "resource": "rollouts"}]})
}

/// What the rendered Roles grant the operator; not what they add to the cluster's own roles.
fn granted(rendered: &str) -> BTreeSet<Use> {
    let mut all = BTreeSet::new();
    for object in yaml::parse(rendered).unwrap() {
        let aggregates = object.metadata.labels.iter().flatten().any(|(label, _)| label.contains("aggregate-to"));
        let kind = object.types.unwrap().kind;
        if aggregates || !["Role", "ClusterRole"].contains(&kind.as_str()) {
            continue;
        }
        let namespace = object.metadata.namespace.unwrap_or_else(|| "*".to_owned());
        for rule in object.data["rules"].as_array().unwrap() {
            let list = |field: &str| -> Vec<String> { serde_json::from_value(rule[field].clone()).unwrap() };
            for group in list("apiGroups") {
                for resource in list("resources") {
                    all.extend(list("verbs").into_iter().map(|verb| Use {
                        namespace: namespace.clone(),
                        group: group.clone(),
                        resource: resource.clone(),
                        verb,
                    }));
                }
            }
        }
    }
    all
}

/// What the operator asked of the API server, as RBAC names it. A patch that made the object also needed `create`.
fn seen(proxy: &ApiProxy) -> BTreeSet<Use> {
    let mut all = BTreeSet::new();
    for exchange in proxy.log() {
        let request = exchange.request;
        assert_ne!(exchange.status, Some(403), "refused: {} in {:?}", request.summary(), request.namespace);
        if request.resource.starts_with('/') {
            continue; // no resource: /version, /api
        }
        let slash = if request.subresource.is_empty() { "" } else { "/" };
        let resource = format!("{}{slash}{}", request.resource, request.subresource);
        let used = Use { namespace: request.namespace, group: request.group, resource, verb: request.verb };
        if used.verb == "patch" && exchange.status == Some(201) {
            all.insert(Use { verb: "create".to_owned(), ..used.clone() });
        }
        all.insert(used);
    }
    all
}

/// Every grant was used, a Role's before the cluster's.
fn nothing_too_many(granted: &BTreeSet<Use>, seen: &BTreeSet<Use>) {
    let anywhere = |used: &Use| Use { namespace: "*".to_owned(), ..used.clone() };
    let needed: BTreeSet<Use> =
        seen.iter().map(|used| if granted.contains(used) { used.clone() } else { anywhere(used) }).collect();
    let idle: Vec<_> = granted.difference(&needed).collect();
    assert!(idle.is_empty(), "granted and never used: {idle:#?}");
}

/// A release of the chart with these values, and an operator of it behind a proxy.
struct Installed {
    scene: Scene,
    granted: BTreeSet<Use>,
    cluster_providers: bool,
    credentials: String,
}

impl Installed {
    /// `values` of the scene's namespace and of another one, where the cluster's credentials are.
    async fn new(mut scene: Scene, values: impl Fn(&str, &str) -> Value) -> Self {
        let credentials = scene.plane.namespace("credentials").await.unwrap();
        let release = scene.plane.namespace("release").await.unwrap();
        let values = values(&scene.namespace, &credentials);
        let rendered = template(RELEASE, &release, &values.to_string(), &["--no-hooks"]).unwrap();
        let apply = yaml::parse(&rendered).unwrap().into_iter().filter(|object| {
            let kind = object.types.as_ref().unwrap().kind.as_str();
            ["ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"].contains(&kind)
        });
        for object in apply {
            yaml::apply(&scene.client, &release, &serde_json::to_string(&object).unwrap()).await.unwrap();
        }
        let account = format!("{RELEASE}-video-token-operator");
        let login = scene.plane.service_account_kubeconfig(&release, &account).await.unwrap();
        scene.proxy = ApiProxy::start(&login).unwrap();
        let options = &mut scene.options;
        options.kubeconfig = login.through(scene.proxy.url());
        options.leader_elect = true;
        options.lease_namespace.clone_from(&release);
        account.clone_into(&mut options.lease_name);
        options.cluster_resource_namespace.clone_from(&credentials);
        if values["watchNamespaces"].is_null() {
            options.watch_namespaces.clear();
        }
        let cluster_providers = values["clusterProviders"]["enabled"] != false;
        options.args.push(format!("--cluster-providers={cluster_providers}"));
        options.args.push(rollout::FLAG.to_owned());
        Self { granted: granted(&rendered), scene, cluster_providers, credentials }
    }

    /// The ConfigMap and Secret that a provider refers to, in one namespace.
    async fn references(&self, namespace: &str) {
        let mut secret = self.scene.credentials("azure-login", example::CLIENT_SECRET);
        secret["metadata"]["namespace"] = namespace.into();
        let ca = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca", "namespace": namespace},
            "data": {"ca.crt": self.scene.azure.ca_pem()}});
        for object in [secret, ca] {
            self.scene.apply(&object).await.unwrap();
        }
    }

    /// With its CA in a ConfigMap.
    async fn provide(&self, mut provider: Value) {
        provider["spec"]["caBundleRef"] = json!({"kind": "ConfigMap", "name": "ca", "key": "ca.crt"});
        provider["spec"].as_object_mut().unwrap().remove("caBundle");
        self.scene.apply(&provider).await.unwrap();
    }

    /// All that an operator does.
    async fn story(&self) {
        let scene = &self.scene;
        let _operator = scene.operator().await.unwrap();
        self.references(&scene.namespace).await;
        let auth = client_secret("azure-login");
        self.provide(scene.provider("indexer", &auth)).await;
        scene.ready_token("lobby", &json!({})).await.unwrap();
        self.federated().await;
        // another name: the Secret is written there, and deleted where it was
        scene.patch("lobby", &json!({"spec": {"secret": {"name": "renamed"}}})).await.unwrap();
        eventually(testkit::scene::SOON, "the former Secret is gone", async || {
            match scene.secrets().get_opt("lobby").await {
                Ok(None) => Ok(()),
                Ok(Some(_)) => Err("is still there".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
        self.restarts().await;
        // refused twice for the same reason: an event is made, then counted up
        for provider in ["nowhere", "indexer", "nowhere"] {
            scene.patch("lobby", &json!({"spec": {"providerRef": {"name": provider}}})).await.unwrap();
            let stalled = if provider == "nowhere" { "True" } else { "False" };
            scene.until("lobby", "Stalled", stalled, "").await.unwrap();
        }
        let name = format!("{}-vi", scene.namespace);
        let of_the_cluster = json!({"providerRef": {"kind": "ClusterTokenProvider", "name": name}});
        if self.cluster_providers {
            self.references(&self.credentials).await;
            let admits = json!({"names": [scene.namespace]});
            self.provide(scene.cluster_provider(&name, &auth, &admits, &Value::Null)).await;
            scene.ready_token("hall", &of_the_cluster).await.unwrap();
            self.login_of_the_cluster().await;
        } else {
            scene.apply(&scene.token("hall", &of_the_cluster)).await.unwrap();
            scene.until("hall", "Stalled", "True", "ClusterProvidersNotServed").await.unwrap();
        }
        self.until_all_is_used().await;
    }

    /// A provider whose `ServiceAccount` must say where its tokens may be sent.
    async fn federated(&self) {
        let scene = &self.scene;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "video",
            "annotations": {"videotoken.dev/allowed-hosts": testkit::scene::hosts(&scene.azure).join(",")}}});
        scene.apply(&account).await.unwrap();
        let auth = json!({"workloadIdentity": {"serviceAccountName": "video", "clientId": example::CLIENT_ID,
            "tenantId": example::TENANT_ID}});
        self.provide(scene.provider("federated", &auth)).await;
        let ready = |object: &Value| condition(object, "Ready")["status"] == "True";
        scene.until_provider("federated", "is ready", ready).await.unwrap();
    }

    /// A workload of each kind that asks to be restarted when the token changes.
    async fn restarts(&self) {
        let scene = &self.scene;
        let mut named = Vec::new();
        for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
            let labels = json!({"app": "player"});
            let pods = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "player", "image": "player"}]}});
            let workload = json!({"apiVersion": "apps/v1", "kind": kind,
                "metadata": {"name": "player", "namespace": scene.namespace,
                    "labels": {"videotoken.dev/restart-on-renewal": "true"}},
                "spec": {"selector": {"matchLabels": labels}, "template": pods}});
            scene.apply(&workload).await.unwrap();
            named.push(json!({"kind": kind, "name": "player"}));
        }
        rollout::install(&scene.client).await.unwrap();
        scene.apply(&rollout::rollout(&scene.namespace, "player")).await.unwrap();
        named.push(json!({"kind": rollout::KIND, "name": "player"}));
        scene.patch("lobby", &json!({"spec": {"rolloutRestart": named}})).await.unwrap();
        scene.force_renewal("lobby").await.unwrap();
        let restarted = |object: &Value| {
            let status = &object["status"];
            status["restartedFor"].is_string()
                && status["restartedFor"] == status["issuedAt"]
                && status["issuances"] == 2
        };
        scene.until_that("lobby", "has restarted its workloads", restarted).await.unwrap();
    }

    /// An account that failed logins lock: its provider's status is written before the login.
    async fn login_of_the_cluster(&self) {
        let scene = &self.scene;
        let server = Serving::start(ArcgisVideoServer::furnished(), scene.azure.ca()).await.unwrap();
        let mut secret =
            scene.keys("gis", &server.host(), &json!({"username": gis::USERNAME, "password": gis::PASSWORD}));
        secret["metadata"]["namespace"] = self.credentials.as_str().into();
        let key = |key: &str| json!({"name": "gis", "key": key});
        let name = format!("{}-gis", scene.namespace);
        let mut provider = scene.provider_of(&name, &server.ca_pem(), &json!({
            "arcgisVideoServer": {"url": format!("{}{}", server.url(), gis::ADMIN_ROOT), "usernameRef": key("username"),
                "passwordRef": key("password")},
            "allowedNamespaces": {"names": [scene.namespace]},
        }));
        provider["kind"] = "ClusterTokenProvider".into();
        provider["metadata"] = json!({"name": name});
        let scope = json!({"arcgisVideoServer": {"referer": "https://lobby.example"}});
        let reference = json!({"providerRef": {"kind": "ClusterTokenProvider"}});
        for object in [secret, provider] {
            scene.apply(&object).await.unwrap();
        }
        scene.ready(&scene.token_of("gate", &name, &scope, &reference)).await.unwrap();
    }

    /// Watches are opened again, providers' statuses and the Lease written, in their own time.
    async fn until_all_is_used(&self) {
        eventually(testkit::scene::SOON, "every grant is used", async || {
            let (granted, seen) = (&self.granted, seen(&self.scene.proxy));
            let used =
                |wanted: &&Use| seen.iter().any(|used| used.verb == wanted.verb && used.resource == wanted.resource);
            let idle: Vec<_> = granted.iter().filter(|wanted| !used(wanted)).collect();
            if idle.is_empty() { Ok(()) } else { Err(format!("{idle:?}")) }
        })
        .await;
    }

    async fn uses_what_it_has(&self) {
        self.story().await;
        nothing_too_many(&self.granted, &seen(&self.scene.proxy));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_whole_cluster_the_operator_uses_what_it_has_and_no_more() {
    // a control plane of its own: it would serve the other tests' objects too
    let scene = Scene::private("whole", OPERATOR).await.unwrap();
    let release = Installed::new(
        scene,
        |_, credentials| json!({"clusterProviders": {"resourceNamespace": credentials}, "rbac": restarts()}),
    );
    release.await.uses_what_it_has().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_one_namespace_the_operator_uses_what_it_has_and_no_more() {
    let scene = Scene::bare("one", OPERATOR).await.unwrap();
    let release = Installed::new(
        scene,
        |namespace, credentials| json!({"watchNamespaces": [namespace], "clusterProviders": {"resourceNamespace": credentials}, "rbac": restarts()}),
    );
    release.await.uses_what_it_has().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_cluster_providers_the_operator_reads_nothing_outside_its_namespaces() {
    let scene = Scene::bare("alone", OPERATOR).await.unwrap();
    let release = Installed::new(
        scene,
        |namespace, _| json!({"watchNamespaces": [namespace], "clusterProviders": {"enabled": false}, "rbac": restarts()}),
    )
    .await;
    release.uses_what_it_has().await;
    let lease = &release.scene.options.lease_namespace;
    let outside: Vec<_> = seen(&release.scene.proxy)
        .into_iter()
        .filter(|used| used.namespace != release.scene.namespace && used.namespace != *lease)
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
}
