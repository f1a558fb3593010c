//! The design's tenancy section as a table: each rule, the attack of a tenant who may write providers and tokens in its
//! own namespace and nothing else, and what refuses it. Nothing that the tenant may not have ever leaves the operator.

use crate::OPERATOR;
use kube::Client;
use serde_json::{Value, json};
use testkit::emulator::{ArcgisVideoServer, Emulator as _, Fault, Serving, arcgis_example, example as azure_example};
use testkit::scene::{SOON, Scene, client_secret, condition};
use testkit::stand::{Operator, eventually, yaml};

/// What the cluster's admin keeps from the tenant.
const TREASURE: &str = "the-admins-own-password-1234";

/// What refuses an attack.
enum Refused {
    /// The API server, by its rules for the kind or by its RBAC; and what it says.
    AtTheDoor(&'static str),
    /// The provider object isn't ready, for this reason; and what it says.
    Provider(&'static str, &'static str),
    /// The token is stalled, or its last attempt failed, for this reason; and what it says.
    Token(&'static str, &'static str),
}
use Refused::{AtTheDoor, Provider, Token};

struct Attack {
    /// The rule, and the attack on it. Its first word names the objects.
    rule: &'static str,
    objects: Vec<Value>,
    refused: Refused,
}

impl Attack {
    fn new(rule: &'static str, objects: Vec<Value>, refused: Refused) -> Self {
        Self { rule, objects, refused }
    }
}

/// A cluster with a tenant, an admin's treasures, and a trap that the tenant owns.
struct Cluster {
    scene: Scene,
    tenant: Client,
    /// The tenant's own server; whatever reaches it, the tenant has.
    trap: Serving<ArcgisVideoServer>,
    /// Another of the tenant's, which the admin has allowed for its videos.
    allowed: Serving<ArcgisVideoServer>,
    other_namespace: String,
    shared: String,
}

impl Cluster {
    async fn new() -> Self {
        let mut scene = Scene::new("tenancy", OPERATOR).await.unwrap();
        let trap = Serving::start(ArcgisVideoServer::furnished(), scene.azure.ca()).await.unwrap();
        let allowed = Serving::start(ArcgisVideoServer::furnished(), scene.azure.ca()).await.unwrap();
        scene.allow(&allowed);
        // by wildcard, so that no address is named
        scene.options.allowed_endpoints.push("*.tenant.example".to_owned());
        let other_namespace = scene.plane.namespace("neighbour").await.unwrap();
        let shared = format!("{}-vi", scene.namespace);
        let cluster = Self { tenant: tenant(&scene).await, scene, trap, allowed, other_namespace, shared };
        cluster.furnish().await;
        cluster
    }

    /// What the admin has made.
    async fn furnish(&self) {
        let scene = &self.scene;
        let secret = |namespace: &str, name: &str, labels: Value, annotations: Value| {
            json!({"apiVersion": "v1", "kind": "Secret",
                "stringData": {"username": "admin", "password": TREASURE, "key": TREASURE},
                "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations}})
        };
        let ours = json!({"videotoken.dev/credentials": "true"});
        let elsewhere = json!({"videotoken.dev/allowed-hosts": "video.corp.example"});
        let database = secret(&scene.namespace, "database", json!({}), json!({}));
        let for_elsewhere = secret(&scene.namespace, "for-elsewhere", ours.clone(), elsewhere.clone());
        let neighbours = secret(&self.other_namespace, "neighbours", ours, elsewhere);
        let hosts = testkit::scene::hosts(&scene.azure).join(",");
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "video", "annotations": {"videotoken.dev/allowed-hosts": hosts}}});
        let unnamed = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "unnamed"}});
        let keys = json!({"username": arcgis_example::USERNAME, "password": arcgis_example::PASSWORD});
        let own = scene.keys("own-login", &self.allowed.host(), &keys);
        for object in [database, for_elsewhere, own, account, unnamed] {
            scene.apply(&object).await.unwrap();
        }
        yaml::apply(&scene.client, &self.other_namespace, &neighbours.to_string()).await.unwrap();
        let selector = json!({"selector": {"matchLabels": {"video": "true"}}});
        for (name, namespaces) in
            [(self.shared.clone(), selector), (format!("{}-open", self.shared), json!({"names": [scene.namespace]}))]
        {
            let provider = scene.cluster_provider(&name, &client_secret("azure-login"), &namespaces, &Value::Null);
            scene.apply(&provider).await.unwrap();
        }
    }

    fn provider(&self, name: &str, spec: &Value) -> Value {
        self.scene.provider_of(name, &self.scene.azure.ca_pem(), spec)
    }

    /// A token that would be asked of the provider of the same name.
    fn token(&self, name: &str) -> Value {
        self.scene.token_of(name, name, &json!({"arcgisVideoServer": {"requestIp": {}}}), &json!({}))
    }

    /// A provider that sends keys of `secret` to `url`, and a token of it.
    fn sends(&self, name: &str, secret: &str, url: &str) -> Vec<Value> {
        let key = |key: &str| json!({"name": secret, "key": key});
        let spec =
            json!({"arcgisVideoServer": {"url": url, "usernameRef": key("username"), "passwordRef": key("password")}});
        vec![self.provider(name, &spec), self.token(name)]
    }

    /// On what may be read of the cluster, and where it may be sent.
    fn on_credentials(&self) -> Vec<Attack> {
        let allowed = format!("{}/arcgis/admin", self.allowed.url());
        let trap = format!("{}/arcgis/admin", self.trap.url());
        let named = |url: &str| format!("{url}/arcgis/admin");
        let mut elsewhere = self.sends("namespace-field", "neighbours", &allowed);
        elsewhere[0]["spec"]["arcgisVideoServer"]["passwordRef"]["namespace"] = self.other_namespace.as_str().into();
        vec![
            Attack::new(
                "namespace-field: a reference has no namespace",
                elsewhere,
                AtTheDoor("field not declared in schema"),
            ),
            Attack::new(
                "other-namespace: a name means the object's own namespace",
                self.sends("other-namespace", "neighbours", &allowed),
                Provider("CredentialsMissing", "there is no Secret neighbours in namespace"),
            ),
            Attack::new(
                "unlabelled: a Secret that isn't labelled is not read",
                self.sends("unlabelled", "database", &allowed),
                Provider("CredentialsUnlabelled", "isn't labelled"),
            ),
            Attack::new(
                "another-host: a credential goes only where it says",
                self.sends("another-host", "for-elsewhere", &allowed),
                Provider("CredentialsHostNotAllowed", "doesn't allow the host"),
            ),
            Attack::new(
                "own-host: a namespaced provider calls public and allowed hosts only",
                self.sends("own-host", "for-elsewhere", &trap),
                Provider("HostNotAllowed", "--allowed-endpoint"),
            ),
            Attack::new(
                "loopback: nor addresses of the machine",
                self.sends("loopback", "for-elsewhere", "https://127.0.0.1:6443/admin"),
                Provider("HostNotAllowed", "127.0.0.1"),
            ),
            Attack::new(
                "mapped: nor by another spelling",
                self.sends("mapped", "for-elsewhere", "https://[::ffff:127.0.0.1]:6443/admin"),
                Provider("HostNotAllowed", "::ffff"),
            ),
            Attack::new(
                "metadata: nor the cloud's",
                self.sends("metadata", "for-elsewhere", "https://169.254.169.254/metadata"),
                Provider("HostNotAllowed", "169.254.169.254"),
            ),
            Attack::new(
                "platform: nor its platform's",
                self.sends("platform", "for-elsewhere", "https://168.63.129.16/"),
                Provider("HostNotAllowed", "168.63.129.16"),
            ),
            Attack::new(
                "user-in-url: a URL hides no host",
                self.sends("user-in-url", "for-elsewhere", &named("https://video.tenant.example@169.254.169.254")),
                AtTheDoor("must be an absolute URL"),
            ),
            Attack::new(
                "plain: a credential doesn't travel without TLS",
                self.sends("plain", "own-login", &allowed.replace("https:", "http:")),
                Token("InsecureEndpoint", "without TLS"),
            ),
        ]
    }

    /// On identities and tokens that are not the tenant's.
    fn on_identities(&self) -> Vec<Attack> {
        let of_cluster = |name: &str, provider: &str, scope: &Value, changes: &Value| {
            let mut token = self.scene.token_of(name, provider, scope, changes);
            token["spec"]["providerRef"]["kind"] = "ClusterTokenProvider".into();
            token
        };
        let reader = json!({"videoIndexer": {"permission": "Reader", "mediaScope": "Account"}});
        let contributor = json!({"videoIndexer": {"permission": "Contributor", "mediaScope": "Account"}});
        let open = format!("{}-open", self.shared);
        let auth = |auth: Value| vec![self.provider("identity", &self.scene.account(&auth))];
        let mut own = self.sends("own", "database", &format!("{}/arcgis/admin", self.trap.url())).remove(0);
        own["kind"] = "ClusterTokenProvider".into();
        own["metadata"] = json!({"name": format!("{}-own", self.scene.namespace)});
        own["spec"]["allowedNamespaces"] = json!({"selector": {}});
        let foreign = json!({"secret": {"name": "database"}});
        let reserved = json!({"secret": {"template": {"annotations": {"videotoken.dev/owner-uid": "x"}}}});
        let account_token = json!({"secret": {"type": "kubernetes.io/service-account-token"}});
        let federated = json!({"workloadIdentity": {"serviceAccountName": "video",
            "clientId": azure_example::CLIENT_ID, "tenantId": azure_example::TENANT_ID}});
        let mut unnamed = federated.clone();
        unnamed["workloadIdentity"]["serviceAccountName"] = "unnamed".into();
        vec![
            Attack::new(
                "unnamed: an assertion goes only where its ServiceAccount says",
                vec![self.provider("unnamed", &self.scene.account(&unnamed))],
                Provider("CredentialsHostNotAllowed", "the ServiceAccount unnamed doesn't allow the host"),
            ),
            Attack::new(
                "machine: the operator's own identity is the cluster's",
                auth(json!({"managedIdentity": {}})),
                AtTheDoor("the node's identity serves ClusterTokenProviders only"),
            ),
            Attack::new(
                "ambient: nor its workload identity",
                auth(json!({"workloadIdentity": {}})),
                AtTheDoor("the operator's identity serves ClusterTokenProviders only"),
            ),
            Attack::new(
                "service-account: whoever owns the namespace grants its ServiceAccounts",
                vec![
                    self.provider("service-account", &self.scene.account(&federated)),
                    self.scene.token_of("service-account", "service-account", &reader, &json!({})),
                ],
                Token("TokenRequestForbidden", "kubectl create role"),
            ),
            Attack::new("cluster-provider: only the cluster's admin makes one", vec![own], AtTheDoor("forbidden")),
            Attack::new(
                "not-admitted: a namespace that its admin doesn't allow",
                vec![of_cluster("not-admitted", &self.shared, &reader, &json!({}))],
                Token("NotAllowed", "spec.allowedNamespaces"),
            ),
            Attack::new(
                "more-scope: a scope that its admin doesn't allow",
                vec![of_cluster("more-scope", &open, &contributor, &json!({}))],
                Token("NotAllowed", "Contributor"),
            ),
            Attack::new(
                "overwrite: a Secret that is another's is left alone",
                vec![of_cluster("overwrite", &open, &reader, &foreign)],
                Token("SecretNotOwned", "does not overwrite it"),
            ),
            Attack::new(
                "forged: the operator's own annotations are not for templates",
                vec![of_cluster("forged", &open, &reader, &reserved)],
                AtTheDoor("videotoken.dev/"),
            ),
            Attack::new(
                "account-token: no Secret that Kubernetes fills",
                vec![of_cluster("account-token", &open, &reader, &account_token)],
                AtTheDoor("spec.secret.type: Invalid value"),
            ),
        ]
    }

    /// All credentials that anybody's server was sent.
    fn sent(&self) -> String {
        let trapped = [&self.trap, &self.allowed].into_iter().flat_map(|server| server.control().requests());
        let azure = self.scene.azure.controls().into_iter().flat_map(|control| control.requests());
        let text = |seen: testkit::emulator::Seen| format!("{:?} {:?}\n", seen.call.headers, seen.call.body);
        trapped.chain(azure).map(text).collect()
    }
}

/// For each type, an account that sends keys of `secret` to `url`.
fn each_type_sends(secret: &str, url: &str) -> Vec<(&'static str, Value)> {
    let key = |key: &str| json!({"name": secret, "key": key});
    vec![
        (
            "videoIndexer",
            json!({"videoIndexer": {"subscriptionId": azure_example::SUBSCRIPTION_ID, "resourceGroup": "rg",
                "accountName": "account", "endpoints": {"resourceManager": url, "authority": url},
                "auth": {"clientSecret": {"tenantId": azure_example::TENANT_ID,
                    "clientId": azure_example::CLIENT_ID, "secretRef": key("password")}}}}),
        ),
        (
            "videoIndexerClassic",
            json!({"videoIndexerClassic": {"endpoint": url, "location": "trial",
                "accountId": azure_example::TENANT_ID, "subscriptionKeyRef": key("key")}}),
        ),
        ("blendVision", json!({"blendVision": {"endpoint": url, "organization": "org", "apiTokenRef": key("key")}})),
        ("cognitiveServices", json!({"cognitiveServices": {"endpoint": url, "keyRef": key("key")}})),
        (
            "arcgisVideoServer",
            json!({"arcgisVideoServer": {"url": url, "usernameRef": key("username"),
                "passwordRef": key("password")}}),
        ),
    ]
}

/// Logs in as one who may write providers and tokens in the scene's namespace, and nothing else.
async fn tenant(scene: &Scene) -> Client {
    let namespace = &scene.namespace;
    let named = |kind: &str, more: Value| {
        let mut object = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
            "metadata": {"name": "tenant", "namespace": namespace}});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "tenant", "namespace": namespace}});
    let role = named(
        "Role",
        json!({"rules": [{"apiGroups": ["videotoken.dev"], "resources": ["tokenproviders", "videoaccesstokens"],
            "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"]}]}),
    );
    let binding = named(
        "RoleBinding",
        json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tenant"},
            "subjects": [{"kind": "ServiceAccount", "name": "tenant", "namespace": namespace}]}),
    );
    for object in [account, role, binding] {
        scene.apply(&object).await.unwrap();
    }
    scene.plane.service_account_kubeconfig(namespace, "tenant").await.unwrap().client().unwrap()
}

/// Lets the tenant try, and waits for the refusal.
async fn refuse(cluster: &Cluster, attack: &Attack) {
    let Cluster { scene, tenant, .. } = cluster;
    let Attack { rule, objects, refused } = attack;
    let mut answers = Vec::new();
    for object in objects {
        answers.push(yaml::apply(tenant, &scene.namespace, &object.to_string()).await.map(drop));
    }
    let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).map(|e| format!("{e:#}")).collect();
    let name = rule.split(':').next().unwrap();
    let said = match refused {
        AtTheDoor(says) => {
            assert!(failed.iter().any(|said| said.contains(says)), "{rule}: {failed:?} doesn't say {says}");
            return;
        }
        _ if !failed.is_empty() => panic!("{rule}: {failed:?}"),
        Provider(reason, says) => {
            let told = |object: &Value| condition(object, "Ready")["reason"] == *reason;
            let provider = scene.until_provider(name, reason, told).await.unwrap();
            (condition(&provider, "Ready")["message"].clone(), says)
        }
        Token(reason, says) => {
            let told = |object: &Value| {
                condition(object, "Stalled")["reason"] == *reason || condition(object, "Issuing")["reason"] == *reason
            };
            let token = scene.until_that(name, reason, told).await.unwrap();
            (json!([condition(&token, "Stalled"), condition(&token, "Issuing")]), says)
        }
    };
    assert!(said.0.to_string().contains(said.1), "{rule}: {} doesn't say {}", said.0, said.1);
}

/// A credential that everything speaks for, but the tenant's own server answers by a redirect.
async fn a_redirect_is_not_followed(cluster: &Cluster, operator: &Operator) {
    let location = ("location".to_owned(), format!("{}/arcgis/admin/generateToken", cluster.trap.url()));
    let away = Fault::Status { code: 307, body: String::new(), headers: vec![location] };
    cluster.allowed.control().play(away);
    let url = format!("{}/arcgis/admin", cluster.allowed.url());
    for object in cluster.sends("redirected", "own-login", &url) {
        yaml::apply(&cluster.tenant, &cluster.scene.namespace, &object.to_string()).await.unwrap();
    }
    let failed = |object: &Value| object["status"]["lastFailure"]["reason"] == "Redirected";
    cluster.scene.until_that("redirected", "isn't redirected", failed).await.unwrap();
    assert!(!operator.logs().contains(arcgis_example::PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_of_tenancy_refuses_the_attack_on_it() {
    let cluster = Cluster::new().await;
    let operator = cluster.scene.operator().await.unwrap();
    for attack in cluster.on_credentials().into_iter().chain(cluster.on_identities()) {
        refuse(&cluster, &attack).await;
    }
    for (type_, spec) in each_type_sends("for-elsewhere", &cluster.trap.url()) {
        let name = format!("trap-{}", type_.to_lowercase());
        yaml::apply(&cluster.tenant, &cluster.scene.namespace, &cluster.provider(&name, &spec).to_string())
            .await
            .unwrap();
        let told = |object: &Value| condition(object, "Ready")["reason"] == "HostNotAllowed";
        cluster.scene.until_provider(&name, "may not call the trap", told).await.unwrap();
    }
    for (type_, spec) in each_type_sends("for-elsewhere", &cluster.allowed.url()) {
        let name = format!("astray-{}", type_.to_lowercase());
        yaml::apply(&cluster.tenant, &cluster.scene.namespace, &cluster.provider(&name, &spec).to_string())
            .await
            .unwrap();
        let told = |object: &Value| condition(object, "Ready")["reason"] == "CredentialsHostNotAllowed";
        cluster.scene.until_provider(&name, "may not send the credential there", told).await.unwrap();
    }
    assert_eq!(cluster.allowed.control().requests().len(), 0, "nothing was sent to a host that no credential names");
    a_redirect_is_not_followed(&cluster, &operator).await;
    assert_eq!(cluster.trap.control().requests().len(), 0, "the trap was called");
    assert!(!cluster.sent().contains(TREASURE), "a server was sent what is the admin's");
    assert!(!operator.logs().contains(TREASURE), "the log shows it");
    let database = cluster.scene.key_of("database", "password").await.unwrap();
    assert_eq!(database.as_deref(), Some(TREASURE), "it is as it was");
    eventually(SOON, "no token is left behind", async || match cluster.scene.issued() {
        0 => Ok(()),
        n => Err(format!("{n} were issued")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lacks_the_credential_cant_use_up_its_budget() {
    let scene = Scene::new("budget", OPERATOR).await.unwrap();
    let mut right = scene.provider("indexer", &client_secret("azure-login"));
    right["spec"]["limits"] = json!({"windows": [{"requests": 5, "period": "1h"}]});
    scene.apply(&right).await.unwrap();
    // the same account with another secret, and objects that would use it up
    scene.apply(&scene.credentials("wrong-login", "not-the-secret")).await.unwrap();
    let mut wrong = scene.provider("wrong", &client_secret("wrong-login"));
    wrong["spec"]["limits"] = right["spec"]["limits"].clone();
    scene.apply(&wrong).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    for n in 0..10 {
        scene.apply(&scene.token(&format!("greedy-{n}"), &json!({"providerRef": {"name": "wrong"}}))).await.unwrap();
    }
    let told = |object: &Value| condition(object, "Ready")["reason"] == "CredentialRejected";
    scene.until_provider("wrong", "is refused", told).await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
}
