//! Client assertions: signed by the application itself with a certificate, or by an issuer that it federates with.

use super::{directory::Application, refusal::Refusal};
use crate::emulator::{
    jwt::{Jwt, text},
    locked,
};
use anyhow::Context as _;
use aws_lc_rs::{rsa::PublicKeyComponents, signature::RSA_PKCS1_2048_8192_SHA256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

type Fetch = Arc<dyn Fn() -> BoxFuture<'static, anyhow::Result<Value>> + Send + Sync>;

/// Where the keys of an issuer come from.
#[derive(Clone)]
pub enum KeySource {
    /// A JWKS document (RFC 7517).
    Document(Value),
    /// Something that brings one. It is asked when an assertion names a key that isn't known yet.
    Fetch(Fetch),
}

impl KeySource {
    /// A URL, such as an API server's `/openid/v1/jwks`. `client` must trust its certificate.
    pub fn url(client: reqwest::Client, url: &str, bearer: Option<&str>) -> Self {
        let (url, bearer) = (url.to_owned(), bearer.map(str::to_owned));
        Self::Fetch(Arc::new(move || {
            let mut request = client.get(&url);
            if let Some(bearer) = &bearer {
                request = request.bearer_auth(bearer);
            }
            async move { Ok(request.send().await?.error_for_status()?.json().await?) }.boxed()
        }))
    }

    async fn read(&self) -> anyhow::Result<Value> {
        match self {
            Self::Document(document) => Ok(document.clone()),
            Self::Fetch(fetch) => fetch().await,
        }
    }
}

/// The issuers that applications may federate with, and what is known of their keys.
#[derive(Default)]
pub(super) struct Issuers {
    sources: Mutex<HashMap<String, KeySource>>,
    /// The last document of each issuer.
    read: Mutex<HashMap<String, Value>>,
}

impl Issuers {
    pub(super) fn set(&self, issuer: &str, source: KeySource) {
        locked(&self.sources).insert(issuer.to_owned(), source);
        locked(&self.read).remove(issuer);
    }

    /// Checks an assertion that `application` brings.
    pub(super) async fn check(
        &self,
        application: &Application,
        assertion: &str,
        token_url: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let jwt = Jwt::parse(assertion).ok_or_else(Refusal::malformed_assertion)?;
        if jwt.claim("iss") == application.client_id {
            check_own(application, &jwt, token_url)?;
        } else {
            match_federation(application, &jwt)?;
            self.check_foreign_signature(&jwt).await?;
        }
        jwt.is_in_time(now.timestamp()).then_some(()).ok_or_else(Refusal::out_of_time)
    }

    async fn check_foreign_signature(&self, jwt: &Jwt<'_>) -> Result<(), Refusal> {
        if jwt.header("alg") != "RS256" {
            return Err(Refusal::invalid_signature("the algorithm is not RS256"));
        }
        let (modulus, exponent) = self.key(jwt.claim("iss"), jwt.header("kid")).await?;
        PublicKeyComponents { n: &modulus, e: &exponent }
            .verify(&RSA_PKCS1_2048_8192_SHA256, jwt.signed.as_bytes(), &jwt.signature)
            .map_err(|_| Refusal::invalid_signature("the signature does not match"))
    }

    /// Modulus and exponent of an issuer's key. Issuers rotate keys: an unknown one is looked up anew.
    async fn key(&self, issuer: &str, key_id: &str) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
        let known = locked(&self.read).get(issuer).and_then(|document| rsa_key(document, key_id));
        if let Some(key) = known {
            return Ok(key);
        }
        let source = locked(&self.sources).get(issuer).cloned();
        let document = match source {
            Some(source) => source.read().await.map_err(|_| Refusal::unreachable_issuer(issuer))?,
            None => return Err(Refusal::unreachable_issuer(issuer)),
        };
        let key = rsa_key(&document, key_id);
        locked(&self.read).insert(issuer.to_owned(), document);
        key.ok_or_else(|| Refusal::invalid_signature("the key was not found"))
    }
}

/// Modulus and exponent of the key with this id in a JWKS document.
fn rsa_key(document: &Value, key_id: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let keys = document.get("keys")?.as_array()?;
    let key = keys.iter().filter_map(Value::as_object).find(|key| text(key, "kid") == key_id)?;
    let number = |name| URL_SAFE_NO_PAD.decode(text(key, name)).ok();
    Some((number("n")?, number("e")?))
}

/// An assertion that the application signed itself: issuer and subject are its client id, the audience is the URL
/// that it calls, and the header names the certificate by its SHA-256.
fn check_own(application: &Application, jwt: &Jwt<'_>, token_url: &str) -> Result<(), Refusal> {
    let algorithm = match jwt.header("alg") {
        "PS256" => webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        "RS256" => webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
        _ => return Err(Refusal::invalid_signature("the algorithm is neither PS256 nor RS256")),
    };
    let named = jwt.header("x5t#S256");
    let certificate = application
        .certificates
        .iter()
        .find(|certificate| URL_SAFE_NO_PAD.encode(Sha256::digest(certificate)) == named)
        .ok_or_else(|| Refusal::invalid_signature("the key was not found"))?;
    webpki::EndEntityCert::try_from(certificate)
        .and_then(|certificate| certificate.verify_signature(algorithm, jwt.signed.as_bytes(), &jwt.signature))
        .map_err(|_| Refusal::invalid_signature("the signature does not match"))?;
    if jwt.claim("sub") != application.client_id {
        return Err(Refusal::unmatched_subject(jwt.claim("sub")));
    }
    jwt.is_for(token_url).then_some(()).ok_or_else(|| Refusal::wrong_assertion_audience(token_url))
}

/// Whether the application trusts the one whom an assertion is about. Nothing is verified here.
fn match_federation(application: &Application, jwt: &Jwt<'_>) -> Result<(), Refusal> {
    let (issuer, subject) = (jwt.claim("iss"), jwt.claim("sub"));
    if application.federations.is_empty() {
        return Err(Refusal::no_federation(issuer));
    }
    let mut of_issuer = application.federations.iter().filter(|one| one.issuer == issuer).peekable();
    if of_issuer.peek().is_none() {
        return Err(Refusal::unmatched_issuer(issuer));
    }
    let mut of_subject = of_issuer.filter(|one| one.subject == subject).peekable();
    if of_subject.peek().is_none() {
        return Err(Refusal::unmatched_subject(subject));
    }
    let matched = of_subject.any(|one| jwt.is_for(&one.audience));
    matched.then_some(()).ok_or_else(|| Refusal::unmatched_audience(jwt.claim("aud")))
}

/// Reads a certificate that assertions can be checked with.
pub(super) fn certificate(pem: &str) -> anyhow::Result<CertificateDer<'static>> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).context("no PEM certificate")?;
    webpki::EndEntityCert::try_from(&certificate).context("not an X.509 certificate of version 3")?;
    Ok(certificate)
}
