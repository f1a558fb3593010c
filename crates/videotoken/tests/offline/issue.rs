//! `issue` gives what the operator writes: for all five APIs, from the examples.

use crate::stand::{EXAMPLES, Providers, object, object_mut, run, tokens};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use std::fs;
use testkit::emulator::{Azure, Federation, KeySource, TOKEN_EXCHANGE_AUDIENCE, example};
use testkit::scene::Scene;
use testkit::stand::operator::binary;

/// How the API server of the stand signs itself.
const ISSUER: &str = "https://kubernetes.default.svc";

/// A token of a ServiceAccount in a file, which Entra takes for the example's application.
async fn ambient_identity(scene: &Scene) -> Vec<(String, String)> {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator"}});
    scene.apply(&account).await.unwrap();
    let request = http::Request::get("/openid/v1/jwks").body(Vec::new()).unwrap();
    let keys: Value = scene.client.request(request).await.unwrap();
    scene.azure.entra.set_issuer_keys(ISSUER, KeySource::Document(keys));
    let federation = Federation::service_account(ISSUER, &scene.namespace, "operator");
    assert!(scene.azure.entra.add_federation(example::CLIENT_ID, federation));
    let spec = TokenRequestSpec {
        audiences: vec![TOKEN_EXCHANGE_AUDIENCE.to_owned()],
        expiration_seconds: Some(3600),
        bound_object_ref: None,
    };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let accounts: Api<ServiceAccount> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let answer = accounts.create_token_request("operator", &PostParams::default(), &request).await.unwrap();
    let file = scene.plane.directory().join(format!("{}.token", scene.namespace));
    fs::write(&file, answer.status.unwrap().token).unwrap();
    vec![("AZURE_FEDERATED_TOKEN_FILE".to_owned(), file.display().to_string())]
}

/// All documents in the scene's namespace, which has the labels of the example's.
fn moved(mut documents: Vec<Value>, namespace: &str) -> Vec<Value> {
    for document in &mut documents {
        if document["kind"] == "Namespace" {
            document["metadata"]["name"] = namespace.into();
        } else if document["kind"] != "ClusterTokenProvider" {
            document["metadata"]["namespace"] = namespace.into();
        }
    }
    documents
}

/// A Secret without what differs between two tokens and between a cluster and none.
fn normal(secret: &Value) -> Value {
    let annotation = |name: &str| secret["metadata"]["annotations"][format!("videotoken.dev/{name}")].clone();
    let decoded = |key: &str| {
        let bytes = STANDARD.decode(secret["data"][key].as_str().unwrap()).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let token = decoded(annotation("token-key").as_str().unwrap());
    let expires_at = annotation("expires-at").as_str().unwrap().to_owned();
    let mut data = secret["data"].clone();
    for (key, value) in data.as_object_mut().unwrap() {
        *value = decoded(key).replace(&token, "<token>").replace(&expires_at, "<expiry>").into();
    }
    let mut annotations = secret["metadata"]["annotations"].clone();
    for bound in ["owner-uid", "issued-at", "expires-at", "content-hash"] {
        annotations.as_object_mut().unwrap().remove(&format!("videotoken.dev/{bound}"));
    }
    json!({"apiVersion": "v1", "kind": "Secret", "name": secret["metadata"]["name"], "type": secret["type"],
        "namespace": secret["metadata"]["namespace"], "labels": secret["metadata"]["labels"],
        "annotations": annotations, "data": data})
}

#[tokio::test(flavor = "multi_thread")]
async fn each_example_gives_the_secret_that_the_operator_writes() {
    let mut scene = Scene::bare("offline", binary().unwrap().to_str().unwrap()).await.unwrap();
    let providers = Providers::beside(&scene.azure).await;
    let identity = ambient_identity(&scene).await;
    scene.options.env.clone_from(&identity);
    scene.options.allowed_endpoints = providers.hosts().to_vec();
    let _operator = scene.operator().await.unwrap();
    let mut compared = 0;
    for example in EXAMPLES {
        let documents = moved(providers.example(example), &scene.namespace);
        for document in &documents {
            scene.apply(document).await.unwrap();
        }
        let control = providers.control(example);
        let file = providers.file(&format!("{example}.yaml"), &documents);
        for token in tokens(&documents) {
            scene.settled_at(control, &token).await.unwrap();
            let own = documents.iter().find(|document| document["metadata"]["name"] == *token).unwrap();
            let secret = own["spec"]["secret"]["name"].as_str().unwrap_or(&token);
            let written = serde_json::to_value(scene.secrets().get(secret).await.unwrap()).unwrap();
            let mut command = providers.issue(&file);
            command.arg(format!("--cluster-resource-namespace={}", scene.namespace)).envs(identity.clone());
            command.args(["--name", &token]);
            let before = control.tokens().len();
            let ran = run(command).await;
            assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{example} {token}");
            assert_eq!(control.tokens().len(), before + 1, "{example} {token}: one call");
            let printed: Value = serde_yaml_ng::from_str(&ran.stdout).unwrap();
            assert_eq!(normal(&printed), normal(&with_kind(written)), "{example} {token}");
            assert!(printed["metadata"]["ownerReferences"].is_null(), "{example} {token}");
            // and the API server takes it
            let mut stored = printed;
            stored["metadata"]["name"] = format!("printed-{token}").into();
            scene.apply(&stored).await.unwrap();
            compared += 1;
        }
    }
    assert_eq!(compared, 10);
}

/// A typed Secret of the kube client says neither version nor kind.
fn with_kind(mut secret: Value) -> Value {
    secret["apiVersion"] = "v1".into();
    secret["kind"] = "Secret".into();
    secret
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machines_identity_serves_a_cluster_provider() {
    let azure = Azure::start().await.unwrap();
    let providers = Providers::beside(&azure).await;
    let mut documents = providers.example("video-indexer");
    object_mut(&mut documents, "ClusterTokenProvider")["spec"]["videoIndexer"]["auth"] = json!({"managedIdentity": {}});
    let mut command = providers.issue(&providers.file("machine.yaml", &documents));
    command.args(["--name", "analytics/lobby-camera", "-o", "token"]);
    command.env("VTO_METADATA_ENDPOINT", azure.authority_url());
    let ran = run(command).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(azure.video_indexer.control().knows(ran.stdout.trim_end()).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_alone_and_json_are_printed_when_asked_for() {
    let azure = Azure::start().await.unwrap();
    let providers = Providers::beside(&azure).await;
    let file = providers.file("own.yaml", &providers.example("own-account"));
    let control = providers.control("own-account");
    let mut command = providers.issue(&file);
    command.args(["-o", "token"]);
    let ran = run(command).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(control.knows(ran.stdout.strip_suffix('\n').unwrap()).is_some());
    let mut command = providers.issue(&file);
    command.args(["-o", "json"]);
    let secret: Value = serde_json::from_str(&run(command).await.stdout).unwrap();
    assert_eq!(secret["data"].as_object().unwrap().keys().collect::<Vec<_>>(), ["expires-at", "player.json", "token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_files_folders_and_variables_without_a_label() {
    let azure = Azure::start().await.unwrap();
    let providers = Providers::beside(&azure).await;
    let key = providers.folder.path().join("client-secret");
    fs::write(&key, format!("{}\n", crate::stand::OWN_SECRET)).unwrap();
    let mut documents = providers.example("own-account");
    documents.retain(|document| document["kind"] != "Secret");
    let file = providers.file("own.yaml", &documents);
    for (flag, variable) in [
        (format!("--secret-file=entra-credential/client-secret={}", key.display()), ""),
        (format!("--secret-file=entra-credential={}", providers.folder.path().display()), ""),
        ("--secret-env=entra-credential/client-secret=ENTRA".to_owned(), crate::stand::OWN_SECRET),
    ] {
        let mut command = providers.issue(&file);
        command.arg(&flag).env("ENTRA", variable).args(["-o", "token"]);
        let ran = run(command).await;
        assert_eq!(ran.code, 0, "{flag}: {}", ran.stderr);
    }
    // and a CA bundle that the provider refers to
    let bundle =
        object_mut(&mut documents, "TokenProvider")["spec"].as_object_mut().unwrap().remove("caBundle").unwrap();
    let pem = providers.folder.path().join("ca.pem");
    fs::write(&pem, bundle.as_str().unwrap()).unwrap();
    let reference = json!({"kind": "ConfigMap", "name": "ca", "key": "ca.crt"});
    object_mut(&mut documents, "TokenProvider")["spec"]["caBundleRef"] = reference;
    let file = providers.file("ca.yaml", &documents);
    let mut command = providers.issue(&file);
    command.arg(format!("--secret-file=entra-credential/client-secret={}", key.display()));
    command.arg(format!("--secret-file=ca/ca.crt={}", pem.display()));
    let ran = run(command).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(object(&documents, "TokenProvider")["metadata"]["name"], "cinema-indexer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_can_be_tried_at_a_plain_http_server_of_this_machine() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("localhost:{}", listener.local_addr().unwrap().port());
    // an answer of Cognitive Services, whose token lives until 2033
    let token = "eyJhbGciOiJub25lIn0.eyJleHAiOjE5OTk5OTk5OTl9.c2lnbmF0dXJl";
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{token}", token.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let metadata = json!({"name": "k", "namespace": "c", "labels": {"videotoken.dev/credentials": "true"},
        "annotations": {"videotoken.dev/allowed-hosts": host}});
    let of = |kind: &str, name: &str, spec: Value| {
        json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "c"},
            "spec": spec})
    };
    let key =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"key": "0".repeat(32)}});
    let account = json!({"endpoint": format!("http://{host}"), "keyRef": {"name": "k", "key": "key"}});
    let provider = of("TokenProvider", "p", json!({"cognitiveServices": account}));
    let scope = json!({"cognitiveServices": {"service": {}}});
    let object = of("VideoAccessToken", "t", json!({"providerRef": {"name": "p"}, "scope": scope}));
    let folder = testkit::stand::process::Scratch::new("vto-localhost-").unwrap();
    // objects of JSON, one after the other
    let file = folder.write("all.json", &format!("{key}\n{provider}{object}")).unwrap();
    let mut command = crate::stand::command("issue");
    command.arg("-f").arg(&file).args(["--allow-insecure-endpoints", "-o", "token"]);
    command.arg(format!("--allowed-endpoint={host}"));
    let ran = run(command).await;
    assert_eq!((ran.code, ran.stdout.trim_end(), ran.stderr.as_str()), (0, token, ""));
}
