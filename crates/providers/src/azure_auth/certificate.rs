//! Client assertion signed with the key of a certificate. It uses PS256, identifies the certificate by its SHA-256
//! thumbprint (`x5t#S256`) and is valid for 300 seconds. The implementation in `azure_identity` reads PKCS #12 through
//! OpenSSL and identifies the certificate by SHA-1.

use super::super::{Class, IssueError};
use super::credential::AssertionSource;
use crate::clock::{self, Timestamp};
use ::aws_lc_rs::digest::{SHA256, digest};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// Lifetime of an assertion in seconds.
const LIFETIME: i64 = 300;

/// Certificate of an application, and its key.
pub(super) struct CertificateAssertion {
    key: Arc<dyn SigningKey>,
    thumbprint: String,
    client_id: String,
    audience: String,
}

impl CertificateAssertion {
    /// Reads the first certificate and its RSA key from PEM. The error describes what is wrong with them.
    pub(super) fn new(pem: &SecretString, client_id: &str, audience: String) -> Result<Self, String> {
        let pem = pem.expose_secret().as_bytes();
        let certificate = CertificateDer::from_pem_slice(pem).map_err(|_| "no PEM certificate found")?;
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| "no PEM private key found: give one in PKCS #8")?;
        let key = aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(key)
            .map_err(|_| "the private key can't be read: give RSA in PKCS #8")?;
        key.choose_scheme(&[SignatureScheme::RSA_PSS_SHA256]).ok_or("Entra takes RSA keys only")?;
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, &certificate));
        let pair = CertifiedKey::new(vec![certificate], Arc::clone(&key));
        match pair.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => return Err("the private key isn't the first certificate's".to_owned()),
            Err(_) => return Err("the certificate can't be read".to_owned()),
        }
        Ok(Self { key, thumbprint, client_id: client_id.to_owned(), audience })
    }

    fn sign(&self) -> Option<SecretString> {
        let now = clock::now().wall.timestamp();
        let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint});
        let claims = json!({
            "aud": self.audience,
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": Uuid::new_v4().to_string(),
            "nbf": now,
            "iat": now,
            "exp": now + LIFETIME,
        });
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let payload = format!("{}.{}", part(header), part(claims));
        let signer = self.key.choose_scheme(&[SignatureScheme::RSA_PSS_SHA256])?;
        let signature = URL_SAFE_NO_PAD.encode(signer.sign(payload.as_bytes()).ok()?);
        Some(format!("{payload}.{signature}").into())
    }
}

/// Returns the expiry of the first certificate in a PEM, or `None` if it is unreadable.
pub(super) fn expires_at(pem: &SecretString) -> Option<Timestamp> {
    let certificate = CertificateDer::from_pem_slice(pem.expose_secret().as_bytes()).ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&certificate).ok()?;
    Timestamp::from_timestamp(certificate.validity().not_after.timestamp(), 0)
}

#[async_trait]
impl AssertionSource for CertificateAssertion {
    async fn assertion(&self) -> Result<SecretString, IssueError> {
        self.sign().ok_or_else(|| IssueError::new(Class::Credential, "AssertionFailed", "the key can't sign"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
    use testkit::tls::ClientCertificate;

    fn read(certificate: &str, key: &str) -> Result<CertificateAssertion, String> {
        let audience = "https://login.example/tenant/oauth2/v2.0/token".to_owned();
        CertificateAssertion::new(&format!("{certificate}\n{key}").into(), "app", audience)
    }

    /// The signature itself is checked by Entra: `tests/issuer_contract.rs`.
    #[tokio::test]
    async fn an_assertion_names_its_certificate_and_lives_300_s() {
        let application = ClientCertificate::generate("app").unwrap();
        let assertion =
            read(&application.private_key_pem, &application.certificate_pem).unwrap().assertion().await.unwrap();
        let parts: Vec<&str> = assertion.expose_secret().split('.').collect();
        let [header, claims, _] = parts[..] else { panic!("no JWT") };
        let decoded = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(decoded(header), json!({"alg": "PS256", "typ": "JWT", "x5t#S256": application.thumbprint}));
        let claims = decoded(claims);
        assert_eq!(claims["aud"], "https://login.example/tenant/oauth2/v2.0/token");
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("app"), &json!("app")));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
        assert_eq!(claims["jti"].as_str().unwrap().len(), 36);
    }

    #[test]
    fn a_certificate_tells_when_it_expires() {
        let application = ClientCertificate::generate("app").unwrap();
        let pem = format!("{}\n{}", application.private_key_pem, application.certificate_pem).into();
        let (_, der) = x509_parser::pem::parse_x509_pem(application.certificate_pem.as_bytes()).unwrap();
        let end = der.parse_x509().unwrap().validity().not_after.timestamp();
        assert_eq!(expires_at(&pem).map(|at| at.timestamp()), Some(end));
        assert_eq!(expires_at(&application.private_key_pem.into()), None);
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_said() {
        let application = ClientCertificate::generate("app").unwrap();
        let (certificate, key) = (application.certificate_pem, application.private_key_pem);
        let other = ClientCertificate::generate("other").unwrap().certificate_pem;
        let curve = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
        let cases = [
            (("", &*key), "no PEM certificate found"),
            ((&certificate, ""), "no PEM private key found: give one in PKCS #8"),
            ((&other, &key), "the private key isn't the first certificate's"),
            ((&certificate, &curve), "Entra takes RSA keys only"),
        ];
        for ((certificate, key), expected) in cases {
            assert_eq!(read(certificate, key).err().as_deref(), Some(expected));
        }
    }
}
