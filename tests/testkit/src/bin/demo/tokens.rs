//! What the Secrets hold, read as a workload would and held against what the emulator knows.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::Api;
use serde_json::{Map, Value};
use testkit::emulator::{IssuedToken, claims};

use crate::stand::Stand;
use crate::{NAMESPACE, TOKENS};

/// A token as it stands in its Secret.
pub(crate) struct Token {
    /// The token itself. It is never shown.
    pub(crate) value: String,
    /// What it says of itself.
    pub(crate) claims: Map<String, Value>,
    /// What its issuer knows of it.
    pub(crate) truth: IssuedToken,
}

/// The tokens by the names of their Secrets. An error, if one isn't what its Secret says it is.
pub(crate) async fn read(stand: &Stand) -> Result<BTreeMap<String, Token>> {
    let secrets: Api<Secret> = Api::namespaced(stand.plane.client()?, NAMESPACE);
    let mut tokens = BTreeMap::new();
    for name in TOKENS {
        let secret = secrets.get(name).await.with_context(|| format!("Secret {name}"))?;
        tokens.insert(name.to_owned(), examine(stand, &secret).with_context(|| format!("Secret {name}"))?);
    }
    Ok(tokens)
}

fn examine(stand: &Stand, secret: &Secret) -> Result<Token> {
    let value = entry(secret, "token")?;
    let truth = stand.azure.video_indexer.control().knows(&value).context("nobody issued this token")?;
    ensure!(truth.is_good(Utc::now()), "the token expired at {}", truth.expires_at);
    let annotation = secret.annotations().get("videotoken.dev/expires-at").context("no annotation says the expiry")?;
    for said in [&entry(secret, "expires-at")?, annotation] {
        let said: DateTime<Utc> = said.parse().with_context(|| format!("the expiry {said:?}"))?;
        ensure!(
            said == truth.expires_at,
            "it says that its token expires at {said}; in truth it is {}",
            truth.expires_at
        );
    }
    let claims = claims(&value).context("the token is no JWT")?;
    let expires = claims.get("exp").and_then(Value::as_i64);
    ensure!(expires == Some(truth.expires_at.timestamp()), "the token's exp is {expires:?}");
    Ok(Token { value, claims, truth })
}

fn entry(secret: &Secret, key: &str) -> Result<String> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key)).with_context(|| format!("no key {key}"))?;
    String::from_utf8(bytes.0.clone()).with_context(|| format!("key {key}"))
}
