//! Credentials as people store them: what a shell or an editor added, what is no credential at all, a key that is revoked,
//! and CAs that are mended.

use crate::OPERATOR;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use testkit::emulator::{ArcgisVideoServer, Fault, Rule, Serving, arcgis_example, example};
use testkit::scene::{SOON, Scene, client_secret, condition, hosts};
use testkit::stand::eventually;
use testkit::tls::CertificateAuthority;

/// A credential Secret with these bytes.
fn login(scene: &Scene, name: &str, bytes: &[u8]) -> Value {
    let mut secret = scene.keys(name, &hosts(&scene.azure).join(","), &json!({}));
    secret["data"] = json!({"client-secret": STANDARD.encode(bytes)});
    secret
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_read_without_what_a_shell_added_and_what_is_none_is_never_sent() {
    let scene = Scene::bare("as-stored", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let marked = |text: &str| format!("\u{feff}{text}\r\n").into_bytes();
    let secret = example::CLIENT_SECRET;
    let cases: [(&str, Vec<u8>, &str); 4] = [
        ("utf16", utf16(secret), "UTF-16"),
        ("sops", b"ENC[AES256_GCM,data:ViY4ihyiyg==,iv:abc=,tag:def=,type:str]".to_vec(), "sops --decrypt"),
        ("pfx", [&[0x30, 0x82, 9, 0x5f, 2, 1, 3, 0x30][..], &[0; 40]].concat(), "openssl pkcs12"),
        ("encrypted", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIF".to_vec(), "openssl pkey"),
    ];
    let secret_of = |name: &str| format!("{name}-login");
    for (name, bytes, _) in &cases {
        scene.apply(&login(&scene, &secret_of(name), bytes)).await.unwrap();
        scene.apply(&scene.provider(name, &client_secret(&secret_of(name)))).await.unwrap();
        scene.apply(&scene.token(name, &json!({"providerRef": {"name": name}}))).await.unwrap();
    }
    for (name, _, way_out) in &cases {
        let object = scene.until(name, "Stalled", "True", "CredentialsUnusable").await.unwrap();
        let message = condition(&object, "Stalled")["message"].as_str().unwrap().to_owned();
        let place = format!("clientSecret.secretRef: what the Secret {name}-login in namespace {}", scene.namespace);
        assert!(message.contains(&place) && message.contains("under the key client-secret"), "{message}");
        assert!(message.contains(way_out) && !message.contains(secret), "{message}");
    }
    assert_eq!(scene.azure.entra.control().requests().len(), 0, "nothing of that is sent");
    for (name, _, _) in &cases {
        scene.apply(&login(&scene, &secret_of(name), &marked(secret))).await.unwrap();
        scene.until(name, "Ready", "True", "").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blanks_at_the_end_of_a_password_are_kept_where_its_secret_says_so() {
    let mut scene = Scene::bare("blanks", OPERATOR).await.unwrap();
    let server = Serving::start(ArcgisVideoServer::furnished(), scene.azure.ca()).await.unwrap();
    scene.allow(&server);
    server.set_user(arcgis_example::USERNAME, "a blank at its end ");
    let keys = json!({"username": arcgis_example::USERNAME, "password": "a blank at its end \n"});
    let mut secret = scene.keys("premises", &server.host(), &keys);
    secret["metadata"]["annotations"]["videotoken.dev/keep-whitespace"] = "true".into();
    scene.apply(&secret).await.unwrap();
    let url = format!("{}{}", server.url(), arcgis_example::ADMIN_ROOT);
    let key = |key: &str| json!({"name": "premises", "key": key});
    let spec =
        json!({"arcgisVideoServer": {"url": url, "usernameRef": key("username"), "passwordRef": key("password")}});
    scene.apply(&scene.provider_of("premises", &server.ca_pem(), &spec)).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let scope = json!({"arcgisVideoServer": {"referer": "https://lobby.example"}});
    scene.ready(&scene.token_of("lobby", "premises", &scope, &json!({}))).await.unwrap();
    assert_eq!(server.failed_logins(arcgis_example::USERNAME).len(), 0);
}

/// With one token nobody else can tell whether it is the key or the object.
#[tokio::test(flavor = "multi_thread")]
async fn p07_a_credential_that_is_revoked_where_one_token_uses_it_is_told_of_its_provider() {
    let scene = Scene::new("revoked", OPERATOR).await.unwrap();
    let operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    let token = scene.settled("lobby").await.unwrap();
    let accepted = |object: &Value| object["status"]["credentials"]["accepted"] == true;
    scene.until_provider("indexer", "has issued", accepted).await.unwrap();
    let unauthorized = Fault::Status { code: 401, body: "{}".to_owned(), headers: Vec::new() };
    let control = scene.azure.video_indexer.control();
    control.play(Rule::new(unauthorized));
    scene.force_renewal("lobby").await.unwrap();
    let told = |object: &Value| condition(object, "Ready")["reason"] == "CredentialRejected";
    let provider = scene.until_provider("indexer", "says that its credential is refused", told).await.unwrap();
    assert_eq!(condition(&provider, "Ready")["status"], "False");
    assert!(provider["status"]["credentials"]["nextAttemptAt"].is_string(), "{}", provider["status"]);
    let lobby =
        scene.until_that("lobby", "says why", |object| object["status"]["lastFailure"]["class"] == "Credential").await;
    let lobby = lobby.unwrap();
    assert_eq!(
        (&condition(&lobby, "Ready")["status"], &condition(&lobby, "Stalled")["status"]),
        (&json!("True"), &json!("False"))
    );
    assert_eq!(scene.held("lobby").await.unwrap(), token);
    eventually(SOON, "the metric says so", async || {
        let ready = operator.metrics().await.map_err(|error| error.to_string())?;
        match ready.sum("videotoken_provider_ready", &[("name", "indexer")]) {
            Some(0.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // mended at the provider, and asked for again
    control.clear_faults();
    scene.force_renewal("lobby").await.unwrap();
    scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    let ready = |object: &Value| condition(object, "Ready")["status"] == "True";
    scene.until_provider("indexer", "is ready again", ready).await.unwrap();
}

/// With another that works, it is the object that is refused.
#[tokio::test(flavor = "multi_thread")]
async fn p07_one_of_two_that_is_refused_is_denied_for_itself_alone() {
    let scene = Scene::new("one-of-two", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    let mut reader = scene.token("archive", &json!({}));
    reader["spec"]["scope"]["videoIndexer"] = json!({"permission": "Reader", "mediaScope": "Account"});
    scene.ready(&reader).await.unwrap();
    let unauthorized = Fault::Status { code: 401, body: "{}".to_owned(), headers: Vec::new() };
    scene.azure.video_indexer.control().play(Rule::new(unauthorized).operation("generateAccessToken"));
    scene.force_renewal("archive").await.unwrap();
    let archive = scene.until("archive", "Stalled", "True", "Unauthorized").await.unwrap();
    assert_eq!(archive["status"]["lastFailure"]["class"], "Denied");
    scene.force_renewal("lobby").await.unwrap();
    scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    let ready = |object: &Value| condition(object, "Ready")["status"] == "True";
    scene.until_provider("indexer", "is ready all the time", ready).await.unwrap();
}

/// Nothing watches a ConfigMap: it is looked at every few seconds while no TLS comes about.
#[tokio::test(flavor = "multi_thread")]
async fn mended_cas_of_a_config_map_count_within_seconds() {
    let scene = Scene::new("mended-ca", OPERATOR).await.unwrap();
    let map = |pem: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "corp-ca"}, "data": {"ca.crt": pem}});
    let other = CertificateAuthority::self_signed(false).unwrap().ca_pem();
    let provider = |name: &str| {
        let mut provider = scene.provider(name, &client_secret("azure-login"));
        provider["spec"].as_object_mut().unwrap().remove("caBundle");
        provider["spec"]["caBundleRef"] = json!({"kind": "ConfigMap", "name": "corp-ca", "key": "ca.crt"});
        provider
    };
    let token = |name: &str| scene.token(name, &json!({"providerRef": {"name": name}}));
    let _operator = scene.operator().await.unwrap();
    for (name, wrong, reason) in [("old", other.as_str(), "TlsFailed"), ("broken", "no PEM", "InvalidSpec")] {
        scene.apply(&map(wrong)).await.unwrap();
        scene.apply(&provider(name)).await.unwrap();
        scene.apply(&token(name)).await.unwrap();
        let told =
            |object: &Value| ["Issuing", "Stalled"].iter().any(|type_| condition(object, type_)["reason"] == reason);
        let object = scene.until_that(name, &format!("says {reason}"), told).await.unwrap();
        let said = object["status"]["conditions"].to_string();
        assert!(said.contains("spec.caBundleRef (ConfigMap corp-ca, key ca.crt)"), "{name}: {said}");
        scene.apply(&map(&format!("\u{feff}{}", scene.azure.ca_pem()))).await.unwrap();
        scene.until(name, "Ready", "True", "").await.unwrap();
    }
}
