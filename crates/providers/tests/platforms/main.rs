//! The gallery of platforms: each file of deploy/examples/platforms with a provider that signs locally gives a token of
//! the platform's form. Where npm is, the platform's own SDK verifies it, or makes the same one.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a skipped test says why

mod keys;
mod sdk;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use keys::Key;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use videotoken_api::key::ObjectKey;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::video_access_token::VideoAccessTokenSpec;
use videotoken_core::plan::desired::{Fit, resolve_spec};
use videotoken_core::plan::view::Refusal;
use videotoken_providers::Issued;
use videotoken_providers::azure_auth::AssertionSource;
use videotoken_providers::http::HttpPool;
use videotoken_providers::provider_setup::{
    self, Guarded, OutboundPolicy, Owner, ReferenceSource, References, Unreadable,
};

/// A file of the gallery.
struct Platform {
    name: String,
    secret: Secret,
    provider: ProviderSpec,
    token: VideoAccessTokenSpec,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples/platforms")
}

/// Returns the platforms that sign locally.
fn platforms() -> Vec<Platform> {
    let mut files: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let documents: Vec<Value> =
            text.split("\n---\n").map(|document| serde_yaml_ng::from_str(document).unwrap()).collect();
        let of = |kind: &str| documents.iter().find(|document| document["kind"].as_str().unwrap().ends_with(kind));
        let spec = |kind: &str| of(kind).unwrap()["spec"].clone();
        let provider: ProviderSpec = serde_json::from_value(spec("TokenProvider")).unwrap();
        provider.signed.as_ref()?;
        let mut secret = of("Secret").unwrap().clone();
        secret["data"] = Value::Null;
        Some(Platform {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            secret: serde_json::from_value(secret).unwrap(),
            provider,
            token: serde_json::from_value(spec("VideoAccessToken")).unwrap(),
        })
    };
    files.iter().filter_map(read).collect()
}

/// Secrets of a namespace. The test's key takes the place of a file's placeholder.
struct Secrets(Secret);

#[async_trait]
impl ReferenceSource for Secrets {
    async fn secret(&self, key: &ObjectKey) -> Result<Option<Secret>, Unreadable> {
        Ok(Some(self.0.clone()).filter(|secret| secret.metadata.name.as_deref() == Some(&key.name)))
    }

    async fn config_map(&self, _: &ObjectKey) -> Result<Option<ConfigMap>, Unreadable> {
        Ok(None)
    }

    async fn service_account(&self, _: &ObjectKey) -> Result<Option<BTreeMap<String, String>>, Unreadable> {
        Ok(None)
    }

    fn assertions(&self, _: &ObjectKey, _: &str, _: &Guarded) -> Result<Arc<dyn AssertionSource>, Refusal> {
        Err(Refusal::new("InvalidSpec", "no identity signs"))
    }
}

fn reach() -> OutboundPolicy {
    OutboundPolicy {
        network: Arc::default(),
        allow_insecure: false,
        timeout: Duration::from_secs(10),
        metadata_endpoint: None,
        transport: None,
    }
}

impl Platform {
    /// Issues a token as the operator does. `key` is the text in the Secret.
    async fn issue(&self, key: &str) -> Issued {
        let mut secret = self.secret.clone();
        let texts = secret.string_data.take().unwrap();
        secret.data = Some(texts.into_keys().map(|name| (name, k8s_openapi::ByteString(key.into()))).collect());
        let source = Secrets(secret);
        let references = References::new(&source, Owner::Namespace, "video");
        let built = provider_setup::issuer(&reach(), &HttpPool::default(), &self.provider, &references).await;
        let issuer = built.unwrap_or_else(|refusal| panic!("{}: {}", self.name, refusal.message)).issuer;
        let fit = Fit::check(&self.token.secret);
        let (request, _) = resolve_spec(&self.token, &self.provider, fit, issuer.key_fingerprint().as_deref())
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
        issuer.issue(&request).await.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// Returns the header and the claims of a JWT.
fn parts(token: &str) -> Option<(Value, Value)> {
    let part = |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
    let mut all = token.split('.');
    Some((part(all.next()?)?, part(all.next()?)?))
}

#[tokio::test]
async fn each_platform_signs_with_a_key_of_its_own() {
    let all = platforms();
    assert!(all.len() >= 20, "{}", all.len());
    for platform in &all {
        let key = Key::of(platform);
        let before = Utc::now().timestamp();
        let issued = platform.issue(&key.text).await;
        let token = issued.token.expose_secret();
        let lifetime = (issued.expires_at - issued.issued_at).num_seconds();
        assert!((600..=1_209_600).contains(&lifetime), "{}: {lifetime}", platform.name);
        if platform.provider.signed.as_ref().unwrap().jwt.is_some() {
            let (header, claims) = parts(token).unwrap();
            let words: BTreeSet<_> = header.as_object().unwrap().keys().cloned().collect();
            assert!(words.contains("alg"), "{}: {header}", platform.name);
            let exp = claims["exp"].as_i64().unwrap();
            assert!((exp - before - lifetime).abs() <= 2, "{}: {claims}", platform.name);
            assert!(!claims.to_string().contains("{{"), "{}: {claims}", platform.name);
        }
        assert!(!token.contains("{{") && !token.contains(&key.text), "{}: {token}", platform.name);
    }
}

/// A file says what to create, what limits the platform has, where its facts come from and what they were compared with.
#[test]
fn each_file_of_the_gallery_names_its_source_and_how_it_was_verified() {
    for file in std::fs::read_dir(folder()).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let head: Vec<_> = text.lines().take_while(|line| line.starts_with("# ")).collect();
        for label in ["# Create: ", "# Limits: ", "# Source: ", "# Verified: "] {
            assert!(head.iter().any(|line| line.starts_with(label)), "{}: {label}", path.display());
        }
    }
}

/// What a template makes of a date, for SDKs with a fixed clock.
fn seconds(at: DateTime<Utc>) -> i64 {
    at.timestamp()
}

fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

fn parameters(platform: &Platform) -> Value {
    json!(platform.token.scope.signed.as_ref().unwrap().parameters)
}
