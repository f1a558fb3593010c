//! Who may have what sent where: CA bundles, hosts, assertions, reserved labels and types, and texts of others (P22).

mod policies;
mod texts;

use crate::OPERATOR;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use testkit::emulator::{ArcgisVideoServer, Emulator as _, Serving, arcgis_example as gis, cognitive_example, example};
use testkit::scene::{SOON, Scene, client_secret, condition, hosts};
use testkit::stand::{eventually, yaml};
use videotoken_api::key::ObjectKey;
use videotoken_api::secret::SecretSpec;
use videotoken_core::plan::hash::Hash;
use videotoken_core::plan::secret::{SecretTarget, TokenRecord, WritePrecondition, build_secret};

/// Waits until a `TokenProvider` says this of itself, and returns its message.
async fn until_says(scene: &Scene, provider: &str, reason: &str) -> String {
    let told = |object: &Value| condition(object, "Ready")["reason"] == reason;
    let object = scene.until_provider(provider, &format!("says {reason}"), told).await.unwrap();
    condition(&object, "Ready")["message"].as_str().unwrap().to_owned()
}

/// A credential Secret that is labelled and names these hosts, if any.
fn secret(scene: &Scene, name: &str, hosts: Option<&str>) -> Value {
    let keys = json!({"key": cognitive_example::KEY, "client-secret": example::CLIENT_SECRET});
    let mut secret = scene.keys(name, hosts.unwrap_or_default(), &keys);
    if hosts.is_none() {
        secret["metadata"].as_object_mut().unwrap().remove("annotations");
    }
    secret
}

/// A `TokenProvider` without a CA of its own.
fn provider(scene: &Scene, name: &str, spec: &Value) -> Value {
    let mut provider = scene.provider_of(name, "", spec);
    provider["spec"].as_object_mut().unwrap().remove("caBundle");
    provider
}

fn with_ca(scene: &Scene, mut provider: Value) -> Value {
    provider["spec"]["caBundle"] = scene.azure.ca_pem().into();
    provider
}

#[tokio::test(flavor = "multi_thread")]
async fn p22_a_credential_goes_unnamed_to_no_public_host_whose_certificates_a_namespace_chooses() {
    let scene = Scene::bare("own-ca", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": scene.azure.ca_pem()}});
    for object in [map, secret(&scene, "plain", None), secret(&scene, "named", Some("api.videoindexer.ai"))] {
        scene.apply(&object).await.unwrap();
    }
    scene.apply(&secret(&scene, "azure", Some("management.azure.com,login.microsoftonline.com"))).await.unwrap();
    let classic = |secret: &str, port: &str| {
        json!({"videoIndexerClassic": {"endpoint": format!("https://api.videoindexer.ai{port}"), "location": "trial",
            "subscriptionKeyRef": {"name": secret, "key": "key"}, "accountId": "4f1c2d7e-93b4-4a58-8c1b-6a0e2d9f7b35"}})
    };
    let indexer = |secret: &str, cloud: Option<&str>| {
        let mut account = scene.account(&client_secret(secret))["videoIndexer"].clone();
        account.as_object_mut().unwrap().remove("endpoints");
        if let Some(cloud) = cloud {
            account["cloud"] = cloud.into();
        }
        json!({"videoIndexer": account})
    };
    let reference = json!({"kind": "ConfigMap", "name": "ca", "key": "ca.crt"});
    let with_ref = |mut provider: Value| {
        provider["spec"]["caBundleRef"] = reference.clone();
        provider
    };
    let named = |name: &str, spec: Value| provider(&scene, name, &spec);
    let refused = "CredentialsHostNotAllowed";
    let cases = [
        (named("classic", classic("plain", "")), "Configured", ""),
        (with_ca(&scene, named("classic-ca", classic("plain", ""))), refused, "spec.caBundle"),
        (with_ref(named("classic-ca-ref", classic("plain", ""))), refused, "api.videoindexer.ai"),
        (with_ca(&scene, named("classic-named", classic("named", ""))), "Configured", ""),
        (named("classic-port", classic("plain", ":8443")), refused, "port 443"),
        (named("classic-443", classic("plain", ":443")), "Configured", ""),
        (named("indexer", indexer("plain", None)), "Configured", ""),
        (named("indexer-public", indexer("plain", Some("Public"))), "Configured", ""),
        (with_ca(&scene, named("indexer-ca", indexer("plain", None))), refused, "management.azure.com"),
        (with_ca(&scene, named("indexer-named", indexer("azure", None))), "Configured", ""),
        (named("china", indexer("plain", Some("China"))), refused, "management.chinacloudapi.cn"),
        (named("china-named", indexer("azure", Some("China"))), refused, "management.chinacloudapi.cn"),
        (named("government", indexer("plain", Some("USGovernment"))), refused, "another cloud"),
    ];
    for (provider, ..) in &cases {
        scene.apply(provider).await.unwrap();
    }
    for (provider, reason, says) in &cases {
        let name = provider["metadata"]["name"].as_str().unwrap();
        let message = until_says(&scene, name, reason).await;
        assert!(message.contains(says), "{name}: {message}");
        assert_eq!(message.contains("kubectl annotate secret -n"), *reason == refused, "{name}: {message}");
    }
    // the way out that is told is one, and is seen at once
    let message = until_says(&scene, "china-named", refused).await;
    let annotation = message.split("allowed-hosts=").nth(1).unwrap();
    assert!(annotation.starts_with("management.azure.com,login.microsoftonline.com,"), "{message}");
    scene.apply(&secret(&scene, "azure", Some(annotation))).await.unwrap();
    until_says(&scene, "china-named", "Configured").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p22_an_entry_with_a_path_keeps_a_credential_beneath_it() {
    let mut scene = Scene::bare("paths", OPERATOR).await.unwrap();
    let server = Serving::start(ArcgisVideoServer::furnished(), scene.azure.ca()).await.unwrap();
    scene.allow(&server);
    let _operator = scene.operator().await.unwrap();
    let keys = json!({"username": gis::USERNAME, "password": gis::PASSWORD});
    let allowed = format!("{}{}", server.host(), gis::ADMIN_ROOT);
    scene.apply(&scene.keys("login", &allowed, &keys)).await.unwrap();
    let key = |key: &str| json!({"name": "login", "key": key});
    let at = |name: &str, path: &str| {
        let spec = json!({"arcgisVideoServer": {"url": format!("{}{path}", server.url()), "usernameRef": key("username"),
            "passwordRef": key("password")}});
        scene.provider_of(name, &server.ca_pem(), &spec)
    };
    let astray =
        ["/tenant-c/admin", "", "/arcgis", "/arcgis/admin/../../tenant-c", "/arcgis/admin%2f..%2f..%2ftenant-c"];
    for (n, path) in astray.iter().enumerate() {
        scene.apply(&at(&format!("astray-{n}"), path)).await.unwrap();
    }
    scene.apply(&at("beneath", gis::ADMIN_ROOT)).await.unwrap();
    for (n, path) in astray.iter().enumerate() {
        let message = until_says(&scene, &format!("astray-{n}"), "CredentialsHostNotAllowed").await;
        assert!(message.contains("passwordRef") || message.contains("usernameRef"), "{path}: {message}");
    }
    assert_eq!(server.control().requests().len(), 0);
    let scope = json!({"arcgisVideoServer": {"referer": "https://lobby.example"}});
    scene.apply(&scene.token_of("lobby", "beneath", &scope, &json!({}))).await.unwrap();
    scene.settled_at(server.control(), "lobby").await.unwrap();
}

/// A namespace whose owner lets the operator make tokens of the `ServiceAccount` `video`.
async fn federated(scene: &Scene) {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "video"}});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "tokens"},
        "rules": [{"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"], "resourceNames": ["video"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "tokens"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tokens"},
        "subjects": [{"kind": "ServiceAccount", "name": "video-token-operator", "namespace": "video-token-operator"}]});
    for object in [account, role, binding] {
        scene.apply(&object).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p22_a_service_accounts_assertion_goes_only_where_the_account_says() {
    let scene = Scene::bare("assertion", OPERATOR).await.unwrap();
    federated(&scene).await;
    let _operator = scene.operator().await.unwrap();
    let auth = json!({"workloadIdentity": {"serviceAccountName": "video", "clientId": example::CLIENT_ID,
        "tenantId": example::TENANT_ID}});
    scene.apply(&scene.provider("indexer", &auth)).await.unwrap();
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    // a public host with a CA of the namespace's own is no other
    let mut public = scene.provider("public", &auth);
    public["spec"]["videoIndexer"].as_object_mut().unwrap().remove("endpoints");
    scene.apply(&public).await.unwrap();
    for name in ["indexer", "public"] {
        let message = until_says(&scene, name, "CredentialsHostNotAllowed").await;
        assert!(message.starts_with("spec.videoIndexer.auth.workloadIdentity.serviceAccountName: "), "{message}");
        assert!(message.contains("kubectl annotate serviceaccount -n"), "{message}");
    }
    scene.until("lobby", "Stalled", "True", "CredentialsHostNotAllowed").await.unwrap();
    assert_eq!(scene.azure.entra.control().requests().len(), 0, "no assertion was sent");

    let accounts: Api<ServiceAccount> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let hosts = hosts(&scene.azure).join(",");
    let patch = json!({"metadata": {"annotations": {"videotoken.dev/allowed-hosts": hosts}}});
    accounts.patch("video", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    until_says(&scene, "indexer", "Configured").await;
    // it is sent now, and here its issuer isn't known: what counts is that it came
    eventually(SOON, "the assertion is sent", async || {
        let sent = scene.azure.entra.control().requests();
        let assertion = sent.iter().any(|seen| seen.call.form("client_assertion").is_some());
        if assertion { Ok(()) } else { Err(format!("{} requests", sent.len())) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p22_a_ca_bundle_tells_nothing_of_a_secret_that_isnt_labelled() {
    let scene = Scene::new("ca-oracle", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let unlabelled = |name: &str, data: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    scene.apply(&unlabelled("with-pem", json!({"ca.crt": scene.azure.ca_pem()}))).await.unwrap();
    scene.apply(&unlabelled("with-text", json!({"ca.crt": "not a certificate"}))).await.unwrap();
    scene.apply(&unlabelled("without-key", json!({"other": "x"}))).await.unwrap();
    let mut messages = Vec::new();
    for name in ["with-pem", "with-text", "without-key", "absent"] {
        let mut provider = provider(&scene, name, &scene.account(&client_secret("azure-login")));
        provider["spec"]["caBundleRef"] = json!({"kind": "Secret", "name": name, "key": "ca.crt"});
        scene.apply(&provider).await.unwrap();
        let message = until_says(&scene, name, "CaBundleMissing").await;
        messages.push(message.replace(name, "NAME"));
    }
    assert!(messages.windows(2).all(|two| two[0] == two[1]), "{messages:#?}");
    assert!(messages[0].contains("videotoken.dev/credentials=true"), "{messages:?}");
    // the label is seen at once
    scene
        .patch_secret("with-pem", &json!({"metadata": {"labels": {"videotoken.dev/credentials": "true"}}}))
        .await
        .unwrap();
    until_says(&scene, "with-pem", "Configured").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p22_a_secret_is_nothing_that_others_trust_unless_an_admin_frees_it() {
    let scene = Scene::new("reserved", OPERATOR).await.unwrap();
    let name = format!("{}-vi", scene.namespace);
    let mut shared = scene.cluster_provider(
        &name,
        &client_secret("azure-login"),
        &json!({"names": [scene.namespace]}),
        &Value::Null,
    );
    scene.apply(&shared).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    // Argo CD reads only what carries this label, and policies ask for the others
    let recommended = json!({"app.kubernetes.io/part-of": "argocd", "app.kubernetes.io/name": "player"});
    scene.ready_token("recommended", &json!({"secret": {"template": {"labels": recommended}}})).await.unwrap();
    let labels = scene.secrets().get("recommended").await.unwrap().metadata.labels.unwrap();
    assert_eq!(
        (labels["app.kubernetes.io/part-of"].as_str(), labels["app.kubernetes.io/managed-by"].as_str()),
        ("argocd", "video-token-operator")
    );

    let of_cluster = json!({"kind": "ClusterTokenProvider", "name": name});
    let cases = [
        (
            "argocd",
            json!({"template": {"labels": {"argocd.argoproj.io/secret-type": "cluster"}}}),
            "spec.secret.template.labels",
        ),
        (
            "capi",
            json!({"template": {"labels": {"cluster.x-k8s.io/cluster-name": "prod"}}}),
            "spec.secret.template.labels",
        ),
        (
            "copied",
            json!({"template": {"annotations": {"replicator.v1.mittwald.de/replicate-to": "*"}}}),
            "spec.secret.template.annotations",
        ),
        (
            "helm-label",
            json!({"template": {"labels": {"owner": "helm", "status": "deployed"}}}),
            "spec.secret.template.labels",
        ),
        ("helm-type", json!({"type": "helm.sh/release.v1"}), "spec.secret.type"),
        ("capi-type", json!({"type": "cluster.x-k8s.io/secret"}), "spec.secret.type"),
        ("helm-name", json!({"name": "sh.helm.release.v1.shop.v99"}), "spec.secret.name"),
    ];
    for (case, secret, field) in &cases {
        let refused = scene.apply(&scene.token(case, &json!({"secret": secret}))).await.unwrap_err();
        assert!(format!("{refused:#}").contains(field), "{case}: {refused:#}");
        let token = scene.token(case, &json!({"secret": secret, "providerRef": of_cluster}));
        scene.apply(&token).await.unwrap();
        let stalled = scene.until(case, "Stalled", "True", "InvalidSpec").await.unwrap();
        let message = condition(&stalled, "Stalled")["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(field) && message.contains("spec.allowedSecrets."), "{case}: {message}");
        let secret_name = secret["name"].as_str().unwrap_or(case);
        assert!(scene.secrets().get_opt(secret_name).await.unwrap().is_none(), "{case} is written");
    }
    // what no rule of the CRD sees: the object's own name
    let token = scene.token("sh.helm.release.v1.shop.v1", &json!({}));
    scene.apply(&token).await.unwrap();
    scene.until("sh.helm.release.v1.shop.v1", "Stalled", "True", "InvalidSpec").await.unwrap();
    assert_eq!(scene.issued(), 1, "nothing was issued for what can't be stored");

    shared["spec"]["allowedSecrets"] = json!({"labelPrefixes": ["kubernetes.io"]});
    assert!(scene.apply(&shared).await.is_err(), "Kubernetes' own can't be freed");
    shared["spec"]["allowedSecrets"] = json!({
        "labelPrefixes": ["argocd.argoproj.io", "cluster.x-k8s.io"], "annotationPrefixes": ["replicator.v1.mittwald.de"],
        "types": ["helm.sh/release.v1", "cluster.x-k8s.io/secret"]});
    scene.apply(&shared).await.unwrap();
    for (case, ..) in &cases {
        scene.until(case, "Ready", "True", "").await.unwrap();
    }
}

/// A JWT that expires then.
fn jwt(exp: i64) -> String {
    use base64::Engine as _;
    let part = |json: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.c2lnbmF0dXJl", part(json!({"alg": "RS256"})), part(json!({"exp": exp})))
}

/// The Secret as the operator itself would have written it, with this token.
fn planted(object: &Value, there: &kube::core::ObjectMeta, token: &str) -> Value {
    let annotation = |name: &str| there.annotations.as_ref().unwrap()[&format!("videotoken.dev/{name}")].clone();
    let key =
        ObjectKey::new(object["metadata"]["namespace"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
    let spec: SecretSpec = serde_json::from_value(object["spec"]["secret"].clone()).unwrap();
    let material = TokenRecord {
        token: token.into(),
        values: std::collections::BTreeMap::new(),
        issued_at: annotation("issued-at").parse().unwrap(),
        expires_at: "9999-01-01T00:00:00Z".parse().unwrap(),
        request: Hash::parse(&annotation("request-hash")).unwrap(),
        renew_request: None,
        previous: None,
        returned_again: false,
    };
    let subject = SecretTarget { key: &key, uid: object["metadata"]["uid"].as_str(), spec: &spec };
    build_secret(subject, &material).unwrap().manifest(WritePrecondition::None)
}

#[tokio::test(flavor = "multi_thread")]
async fn p22_a_planted_secret_lives_no_longer_than_its_token_says() {
    let scene = Scene::new("planted", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    scene.settled("lobby").await.unwrap();
    operator.kill9();
    // all that the operator writes beside a token can be computed by who may write Secrets
    let object = serde_json::to_value(scene.tokens().get("lobby").await.unwrap()).unwrap();
    let there = scene.secrets().get("lobby").await.unwrap().metadata;
    for alive in [-3600, 600] {
        let token = jwt(chrono::Utc::now().timestamp() + alive);
        scene.patch_secret("lobby", &planted(&object, &there, &token)).await.unwrap();
        assert_eq!(scene.held("lobby").await.unwrap(), token);
        let mut operator = scene.operator().await.unwrap();
        let held = scene.settled("lobby").await.unwrap();
        assert_ne!(held, token, "{alive}");
        operator.kill9();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_wrong_passwords_of_another_namespace_keep_nobody_from_rotating_theirs() {
    let mut scene = Scene::bare("rotates", OPERATOR).await.unwrap();
    let server = Serving::start(ArcgisVideoServer::furnished(), scene.azure.ca()).await.unwrap();
    scene.allow(&server);
    let other = scene.plane.namespace("guesses").await.unwrap();
    scene.options.watch_namespaces.push(other.clone());
    let mut operator = scene.operator().await.unwrap();
    let objects = |name: &str, user: &str, password: &str| {
        let key = |key: &str| json!({"name": name, "key": key});
        let spec = json!({"arcgisVideoServer": {"url": format!("{}{}", server.url(), gis::ADMIN_ROOT),
            "usernameRef": key("username"), "passwordRef": key("password")}});
        let scope = json!({"arcgisVideoServer": {"referer": "https://lobby.example"}});
        [
            scene.keys(name, &server.host(), &json!({"username": user, "password": password})),
            scene.provider_of(name, &server.ca_pem(), &spec),
            scene.token_of(&format!("camera-{name}"), name, &scope, &json!({})),
        ]
    };
    for object in objects("victim", gis::USERNAME, gis::PASSWORD) {
        scene.apply(&object).await.unwrap();
    }
    scene.until("camera-victim", "Ready", "True", "").await.unwrap();
    scene
        .until_provider("victim", "has told that its login worked", |object| {
            object["status"]["provenLogin"].is_string()
        })
        .await
        .unwrap();
    for n in 0..5 {
        // in every spelling of the user's name
        let user = if n % 2 == 0 { gis::USERNAME.to_uppercase() } else { gis::USERNAME.to_lowercase() };
        for mut object in objects(&format!("guess-{n}"), &user, &format!("guess {n}")) {
            object["metadata"]["namespace"] = other.as_str().into();
            yaml::apply(&scene.client, &other, &object.to_string()).await.unwrap();
        }
    }
    let failed = || server.failed_logins(gis::USERNAME).len();
    eventually(SOON, "three wrong logins", async || if failed() == 3 { Ok(()) } else { Err(failed().to_string()) })
        .await;
    // the password is changed at the server and in the Secret, and no memory helps
    operator.kill9();
    server.set_user(gis::USERNAME, "the new one");
    scene.patch_secret("victim", &json!({"stringData": {"password": "the new one"}})).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.force_renewal("camera-victim").await.unwrap();
    scene
        .until_that("camera-victim", "is renewed with its new password", |object| object["status"]["issuances"] == 2)
        .await
        .unwrap();
    assert_eq!((failed(), server.is_locked(gis::USERNAME)), (3, false));
}
