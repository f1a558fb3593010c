//! Each way that an identity proves itself to Entra, and what Entra says to a wrong one.

use super::{Stand, issuer, secret, simplest};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs;
use rustls::sign::SigningKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use testkit::emulator::{Federation, KeySource, example};
use testkit::tls::ClientCertificate;
use videotoken_providers::azure_auth::{AssertionSource, AzureCredential, ProjectedToken};
use videotoken_providers::{Class, Heals, IssueError, Issuer as _};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const CLUSTER: &str = "https://kubernetes.default.svc";

#[tokio::test]
async fn a_client_secret_is_sent_as_it_is() {
    let stand = Stand::with(secret(&format!("{}\n", example::CLIENT_SECRET))).await;
    stand.issue().await.unwrap();
    let seen = stand.last_of_entra();
    assert_eq!(seen.path(), format!("/{}/oauth2/v2.0/token", example::TENANT_ID));
    let scope = format!("{}/.default", stand.azure.resource_manager_url());
    for (field, expected) in [
        ("grant_type", "client_credentials"),
        ("client_id", example::CLIENT_ID),
        ("client_secret", example::CLIENT_SECRET),
        ("scope", &scope),
    ] {
        assert_eq!(seen.form(field).as_deref(), Some(expected), "{field}");
    }
}

#[tokio::test]
async fn a_certificate_signs_a_new_assertion_each_time() {
    let certificate = ClientCertificate::generate("operator").unwrap();
    let stand = Stand::with(by_certificate(&certificate)).await;
    // Not registered yet.
    let error = stand.fail().await;
    assert_eq!((error.class, &*error.reason), (Class::Credential, "EntraRefused"));
    let expected = "Entra refused: invalid_client (AADSTS700027): the certificate isn't registered with the application, or has \
        expired: upload it under Certificates & secrets";
    assert_eq!((error.message.as_str(), error.heals), (expected, Heals::No));

    stand.azure.entra.add_certificate(example::CLIENT_ID, &certificate.certificate_pem).unwrap();
    let again = issuer(&stand.azure, by_certificate(&certificate), Duration::from_secs(10));
    again.issue(&simplest()).await.unwrap();
    let [first, second] = &stand.azure.entra.control().requests()[..] else { panic!("two requests") };
    assert_eq!(second.call.form("client_assertion_type").as_deref(), Some(ASSERTION_TYPE));
    assert_ne!(first.call.form("client_assertion"), second.call.form("client_assertion"));
}

fn by_certificate(certificate: &ClientCertificate) -> AzureCredential {
    AzureCredential::ClientCertificate {
        tenant_id: example::TENANT_ID.to_owned(),
        client_id: example::CLIENT_ID.to_owned(),
        pem: format!("{}{}", certificate.certificate_pem, certificate.private_key_pem).into(),
    }
}

/// An issuer as a cluster's API server is one.
struct Cluster {
    key: Arc<dyn SigningKey>,
}

impl Cluster {
    fn new() -> Self {
        let pem = ClientCertificate::generate("cluster").unwrap().private_key_pem;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        Self { key: aws_lc_rs::default_provider().key_provider.load_private_key(key).unwrap() }
    }

    fn jwks(&self) -> Value {
        // An RSA key of 2,048 bits ends in its modulus and `02 03 01 00 01`, its exponent.
        let spki = self.key.public_key().unwrap();
        let modulus = &spki[spki.len() - 5 - 256..spki.len() - 5];
        json!({"keys": [{"kty": "RSA", "kid": "k1", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB"}]})
    }

    fn token(&self, namespace: &str, name: &str) -> String {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({
            "iss": CLUSTER,
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
            "aud": ["api://AzureADTokenExchange"],
            "exp": Utc::now().timestamp() + 600,
        });
        let payload = format!("{}.{}", part(json!({"alg": "RS256", "kid": "k1"})), part(claims));
        let signature = self.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).unwrap().sign(payload.as_bytes());
        format!("{payload}.{}", URL_SAFE_NO_PAD.encode(signature.unwrap()))
    }
}

#[tokio::test]
async fn a_projected_token_is_read_again_for_each_fetch() {
    let cluster = Cluster::new();
    let file = std::env::temp_dir().join(format!("projected-token-{}", uuid::Uuid::new_v4()));
    std::fs::write(&file, cluster.token("video", "wrong")).unwrap();
    let environment = |name: &str| match name {
        "AZURE_FEDERATED_TOKEN_FILE" => Some(file.display().to_string()),
        "AZURE_TENANT_ID" => Some(example::TENANT_ID.to_owned()),
        _ => None,
    };
    let missing = AzureCredential::ambient("spec.videoIndexer.auth", None, None, environment).unwrap_err();
    assert!(missing.to_string().contains("AZURE_CLIENT_ID is not set"), "{missing}");
    let credential =
        AzureCredential::ambient("spec.videoIndexer.auth", None, Some(example::CLIENT_ID.to_owned()), environment)
            .unwrap();
    let stand = Stand::with(credential).await;
    stand.azure.entra.set_issuer_keys(CLUSTER, KeySource::Document(cluster.jwks()));
    let federation = Federation::service_account(CLUSTER, "video", "operator");
    stand.azure.entra.add_federation(example::CLIENT_ID, federation);

    let error = stand.fail().await;
    // as Entra compares it with the federated credential
    let presented = "; presented: issuer https://oidc.cluster.example/, subject system:serviceaccount:video:wrong, audience \
        api://AzureADTokenExchange";
    let presented = presented.replace("https://oidc.cluster.example/", CLUSTER);
    assert!(
        error.message.starts_with("Entra refused: invalid_client (AADSTS700213): no federated credential"),
        "{error}"
    );
    assert!(error.message.ends_with(&presented) && error.heals == Heals::Soon, "{error}");
    // The kubelet ends its files with a newline, or doesn't.
    std::fs::write(&file, cluster.token("video", "operator") + "\n").unwrap();
    let again =
        AzureCredential::ambient("spec.videoIndexer.auth", None, Some(example::CLIENT_ID.to_owned()), environment)
            .unwrap();
    issuer(&stand.azure, again, Duration::from_secs(10)).issue(&simplest()).await.unwrap();
    let seen = stand.last_of_entra();
    assert_eq!(seen.form("client_assertion_type").as_deref(), Some(ASSERTION_TYPE));
    assert!(!seen.form("client_assertion").unwrap().ends_with('\n'));
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn a_projected_token_that_is_missing_or_empty_is_said() {
    let file = std::env::temp_dir().join(format!("projected-token-{}", uuid::Uuid::new_v4()));
    let source = ProjectedToken::new(&file);
    let error = source.assertion().await.unwrap_err();
    assert_eq!((error.class, &*error.reason), (Class::Transient, "AssertionFailed"));
    assert!(error.message.ends_with("entity not found"), "{error}");
    std::fs::write(&file, " \n").unwrap();
    assert!(source.assertion().await.unwrap_err().message.ends_with("is empty"));
    std::fs::remove_file(file).unwrap();
}

/// A `ServiceAccount` that may not be used.
struct Forbidden;

#[async_trait]
impl AssertionSource for Forbidden {
    async fn assertion(&self) -> Result<SecretString, IssueError> {
        Err(IssueError::new(Class::Denied, "AssertionDenied", "grant this Role: …"))
    }
}

#[tokio::test]
async fn what_an_assertion_source_says_is_said_unchanged() {
    let credential = AzureCredential::Assertion {
        tenant_id: example::TENANT_ID.to_owned(),
        client_id: example::CLIENT_ID.to_owned(),
        source: Arc::new(Forbidden),
    };
    let stand = Stand::with(credential).await;
    let error = stand.fail().await;
    assert_eq!((error.class, &*error.reason), (Class::Denied, "AssertionDenied"));
    assert_eq!(error.message, "grant this Role: …");
    assert_eq!(stand.seen(), (0, 0));
}

#[tokio::test]
async fn the_machines_identity_is_asked_of_the_metadata_service() {
    let identity = example::MANAGED_IDENTITY_CLIENT_ID;
    for client_id in [None, Some(identity.to_owned())] {
        let stand = Stand::with(AzureCredential::ManagedIdentity { client_id: client_id.clone() }).await;
        stand.issue().await.unwrap();
        let seen = stand.last_of_entra();
        assert_eq!((seen.method.as_str(), seen.path()), ("GET", "/metadata/identity/oauth2/token"));
        assert_eq!(seen.header("metadata"), Some("true"));
        assert_eq!(seen.query("resource"), Some(stand.azure.resource_manager_url()));
        assert_eq!(seen.query("client_id"), client_id);
        assert_eq!(stand.azure.entra.verify(stand.last().bearer().unwrap()).unwrap().client_id, identity);
    }
    let unknown = AzureCredential::ManagedIdentity { client_id: Some(example::CLIENT_ID.to_owned()) };
    let stand = Stand::with(unknown).await;
    let error = stand.fail().await;
    assert_eq!((error.class, &*error.reason), (Class::Credential, "EntraRefused"));
    assert_eq!(error.message, "managed identity refused: invalid_request");
    assert_eq!(stand.seen(), (1, 0), "asked once");
}

#[tokio::test]
async fn a_wrong_identity_is_refused_with_class_and_number() {
    let wrong = |tenant_id: &str, client_id: &str, secret: &str| AzureCredential::ClientSecret {
        tenant_id: tenant_id.to_owned(),
        client_id: client_id.to_owned(),
        secret: secret.into(),
    };
    let other = "00000000-0000-0000-0000-000000000000";
    let cases = [
        (wrong(example::TENANT_ID, example::CLIENT_ID, "some password"), "invalid_client (AADSTS7000215)"),
        (wrong(example::TENANT_ID, other, "s"), "unauthorized_client (AADSTS700016)"),
        (wrong(other, example::CLIENT_ID, "s"), "invalid_request (AADSTS90002)"),
    ];
    for (credential, expected) in cases {
        let stand = Stand::with(credential).await;
        let error = stand.fail().await;
        assert_eq!((error.class, &*error.reason), (Class::Credential, "EntraRefused"));
        assert!(error.message.starts_with(&format!("Entra refused: {expected}: ")), "{error}");
        assert_eq!(error.request_id, Some(stand.last_of_entra().request_id.to_string()));
        assert_eq!(stand.fail().await, error, "repeated without a call");
        assert_eq!(stand.seen(), (1, 0));
    }
}
