//! Each way that a provider proves who it is, end to end; and each of the four operations, as it was asked for.

use crate::OPERATOR;
use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt as _;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use testkit::emulator::{Call, Federation, KeySource, OPERATIONS, TOKEN_EXCHANGE_AUDIENCE, example};
use testkit::scene::{Scene, condition};
use testkit::stand::wait::until_past;
use testkit::tls::ClientCertificate;

/// How the API server of the stand signs itself.
const ISSUER: &str = "https://kubernetes.default.svc";

/// The newest call of Entra, and the newest of Video Indexer.
fn last_calls(scene: &Scene) -> (Arc<Call>, Arc<Call>) {
    let last = |control: &testkit::emulator::Control| control.requests().last().unwrap().call.clone();
    (last(scene.azure.entra.control()), last(scene.azure.video_indexer.control()))
}

/// The token is there, and was issued to this principal. Returns what Entra was asked.
async fn issued_to(scene: &Scene, client_id: &str) -> Arc<Call> {
    scene.settled("lobby").await.unwrap();
    let (entra, video_indexer) = last_calls(scene);
    let principal = scene.azure.entra.verify(video_indexer.bearer().unwrap()).unwrap();
    assert_eq!(principal.client_id, client_id);
    entra
}

/// Lets the application trust a `ServiceAccount`; Entra reads the keys from the API server itself.
fn federate(scene: &Scene, service_account: &str) {
    let client = scene.client.clone();
    let keys = move || {
        let client = client.clone();
        async move {
            let request = http::Request::get("/openid/v1/jwks").body(Vec::new())?;
            Ok(client.request::<Value>(request).await?)
        }
        .boxed()
    };
    scene.azure.entra.set_issuer_keys(ISSUER, KeySource::Fetch(Arc::new(keys)));
    let federation = Federation::service_account(ISSUER, &scene.namespace, service_account);
    assert!(scene.azure.entra.add_federation(example::CLIENT_ID, federation));
}

async fn make_service_account(scene: &Scene, name: &str) {
    let hosts = testkit::scene::hosts(&scene.azure).join(",");
    let annotations = json!({"videotoken.dev/allowed-hosts": hosts});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": name, "annotations": annotations}});
    scene.apply(&account).await.unwrap();
}

/// Applies a `ClusterTokenProvider` for this namespace, and a token of it.
async fn of_the_cluster(scene: &Scene, auth: &Value) {
    let name = format!("{}-vi", scene.namespace);
    let provider = scene.cluster_provider(&name, auth, &json!({"names": [scene.namespace]}), &Value::Null);
    scene.apply(&provider).await.unwrap();
    let reference = json!({"providerRef": {"kind": "ClusterTokenProvider", "name": name}});
    scene.apply(&scene.token("lobby", &reference)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_issues_and_all_four_operations_arrive_as_asked() {
    let scene = Scene::new("operations", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let extension = json!(example::EXTENSION_ID);
    let cases = [
        (
            json!({"permission": "Contributor", "mediaScope": "Account"}),
            json!({"permissionType": "Contributor", "scope": "Account"}),
        ),
        (json!({"permission": "RestrictedViewer", "mediaScope": "Account"}), json!({"scope": "Account"})),
        (
            json!({"permission": "Reader", "mediaScope": "Video", "videoId": "07ec9e38d4", "extensionId": extension}),
            json!({"permissionType": "Reader", "scope": "Video", "videoId": "07ec9e38d4", "extensionId": extension,
                "tokenLifetimeInSeconds": 7200}),
        ),
        (
            json!({"permission": "RestrictedViewer", "mediaScope": "Account", "extensionId": extension}),
            json!({"scope": "Account", "extensionId": extension}),
        ),
    ];
    for ((scope, body), operation) in cases.into_iter().zip(OPERATIONS) {
        let mut token = scene.token("lobby", &json!({"scope": {"videoIndexer": null}}));
        token["metadata"]["name"] = operation.to_lowercase().into();
        if scope["mediaScope"] == "Video" {
            token["spec"]["lifetime"] = "2h".into();
        }
        token["spec"]["scope"]["videoIndexer"] = scope;
        scene.apply(&token).await.unwrap();
        scene.settled(&operation.to_lowercase()).await.unwrap();
        let (entra, call) = last_calls(&scene);
        assert_eq!(call.json().unwrap(), body, "{operation}");
        assert!(call.path().ends_with(&format!("/{operation}")), "{}", call.path());
        assert_eq!(entra.form("client_secret").as_deref(), Some(example::CLIENT_SECRET));
    }
    assert_eq!(scene.azure.entra.control().tokens().len(), 1, "one Entra token serves all");
    assert_eq!(scene.azure.video_indexer.control().reused_client_request_ids(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_in_a_tls_secret_issues() {
    let scene = Scene::bare("certificate", OPERATOR).await.unwrap();
    let certificate = ClientCertificate::generate("lobby").unwrap();
    scene.azure.entra.add_certificate(example::CLIENT_ID, &certificate.certificate_pem).unwrap();
    let mut secret = scene.credentials("azure-login", "");
    secret["type"] = "kubernetes.io/tls".into();
    secret["stringData"] = json!({"tls.crt": certificate.certificate_pem, "tls.key": certificate.private_key_pem});
    scene.apply(&secret).await.unwrap();
    let auth = json!({"clientCertificate": {"tenantId": example::TENANT_ID, "clientId": example::CLIENT_ID,
        "secretRef": {"name": "azure-login"}}});
    scene.apply(&scene.provider("indexer", &auth)).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    let asked = issued_to(&scene, example::CLIENT_ID).await;
    assert!(asked.form("client_assertion").is_some() && asked.form("client_secret").is_none());
}

/// The namespace's owner grants it with the very commands that the refusal prints.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespaces_own_service_account_issues_once_its_owner_grants_the_role() {
    let scene = Scene::bare("federated", OPERATOR).await.unwrap();
    federate(&scene, "video");
    let auth = json!({"workloadIdentity": {"serviceAccountName": "video", "clientId": example::CLIENT_ID,
        "tenantId": example::TENANT_ID}});
    make_service_account(&scene, "video").await;
    scene.apply(&scene.provider("indexer", &auth)).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    let refused = scene.until("lobby", "Stalled", "True", "TokenRequestForbidden").await.unwrap();
    let message = condition(&refused, "Stalled")["message"].as_str().unwrap().to_owned();
    assert_eq!((scene.issued(), scene.azure.entra.control().requests().len()), (0, 0));

    let (_, commands) = message.split_once("kubectl create role ").unwrap();
    let commands = format!("kubectl create role {commands}")
        .replace("<the operator's namespace>", "video-token-operator")
        .replace("<its ServiceAccount>", "video-token-operator");
    for command in commands.split(';') {
        let mut words = command.split_whitespace();
        assert_eq!(words.next(), Some("kubectl"), "{message}");
        let mut kubectl = Command::new(scene.plane.binaries().join("kubectl"));
        kubectl.arg("--kubeconfig").arg(scene.plane.kubeconfig_path()).args(words);
        let output = kubectl.output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let failed: DateTime<Utc> = refused["status"]["lastFailure"]["time"].as_str().unwrap().parse().unwrap();
    // the account's own pause after a failed login
    until_past(failed + TimeDelta::seconds(3)).await;
    scene.force_renewal("lobby").await.unwrap();
    let asked = issued_to(&scene, example::CLIENT_ID).await;
    assert!(asked.form("client_assertion").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_that_is_not_there_is_named() {
    let scene = Scene::bare("nobody", OPERATOR).await.unwrap();
    let auth = json!({"workloadIdentity": {"serviceAccountName": "default", "clientId": example::CLIENT_ID,
        "tenantId": example::TENANT_ID}});
    // a cluster's admin may grant all accounts at once; then the API server says what is missing
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "tokens", "namespace": scene.namespace},
        "rules": [{"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "tokens", "namespace": scene.namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tokens"},
        "subjects": [{"kind": "ServiceAccount", "name": "video-token-operator", "namespace": "video-token-operator"}]});
    let mut provider = scene.provider("indexer", &auth);
    provider["spec"]["videoIndexer"]["auth"]["workloadIdentity"]["serviceAccountName"] = "nobody".into();
    for object in [role, binding, provider, scene.token("lobby", &json!({}))] {
        scene.apply(&object).await.unwrap();
    }
    let _operator = scene.operator().await.unwrap();
    let refused = scene.until("lobby", "Stalled", "True", "ServiceAccountMissing").await.unwrap();
    let message = condition(&refused, "Stalled")["message"].to_string();
    assert!(message.contains("no ServiceAccount nobody in namespace") && message.contains("create it"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_workload_identity_serves_a_cluster_provider() {
    let mut scene = Scene::bare("ambient", OPERATOR).await.unwrap();
    make_service_account(&scene, "operator").await;
    federate(&scene, "operator");
    let spec = TokenRequestSpec {
        audiences: vec![TOKEN_EXCHANGE_AUDIENCE.to_owned()],
        expiration_seconds: Some(3600),
        bound_object_ref: None,
    };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let accounts: Api<ServiceAccount> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let answer = accounts.create_token_request("operator", &PostParams::default(), &request).await.unwrap();
    let file = scene.plane.directory().join(format!("{}.token", scene.namespace));
    std::fs::write(&file, answer.status.unwrap().token).unwrap();
    scene.options.env = [
        ("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap()),
        ("AZURE_CLIENT_ID", example::CLIENT_ID),
        ("AZURE_TENANT_ID", example::TENANT_ID),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let _operator = scene.operator().await.unwrap();
    of_the_cluster(&scene, &json!({"workloadIdentity": {}})).await;
    let asked = issued_to(&scene, example::CLIENT_ID).await;
    assert!(asked.form("client_assertion").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machines_identity_serves_a_cluster_provider() {
    let mut scene = Scene::bare("machine", OPERATOR).await.unwrap();
    scene.options.env = vec![("VTO_METADATA_ENDPOINT".to_owned(), scene.azure.authority_url())];
    let _operator = scene.operator().await.unwrap();
    of_the_cluster(&scene, &json!({"managedIdentity": {}})).await;
    let asked = issued_to(&scene, example::MANAGED_IDENTITY_CLIENT_ID).await;
    assert_eq!(asked.path(), "/metadata/identity/oauth2/token");
}
