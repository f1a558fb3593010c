//! Who the operator is to Entra: a workload identity, as a projected token in a file. So it needs no credential Secret,
//! and every GET of a Secret is one for a token.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use serde_json::{Value, json};

use crate::emulator::{Azure, Federation, KeySource, TOKEN_EXCHANGE_AUDIENCE, example};
use crate::stand::controlplane::OPERATOR;

const ISSUER: &str = "https://bench.invalid";
const KEY_ID: &str = "bench";
const SECONDS: i64 = 86_400;

/// Writes the token to `path`, and has Entra trust it for the example's application.
pub(super) fn federate(azure: &Azure, path: &Path) -> Result<()> {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("no RSA key"))?;
    let public = key.public_key();
    let [modulus, exponent] =
        [public.modulus(), public.exponent()].map(|n| URL_SAFE_NO_PAD.encode(n.big_endian_without_leading_zero()));
    let keys =
        json!({"keys": [{"kty": "RSA", "kid": KEY_ID, "alg": "RS256", "use": "sig", "n": modulus, "e": exponent}]});
    azure.entra.set_issuer_keys(ISSUER, KeySource::Document(keys));
    azure.entra.add_federation(example::CLIENT_ID, Federation::service_account(ISSUER, OPERATOR, OPERATOR));
    let now = Utc::now().timestamp();
    let claims = json!({
        "iss": ISSUER, "sub": format!("system:serviceaccount:{OPERATOR}:{OPERATOR}"), "aud": [TOKEN_EXCHANGE_AUDIENCE],
        "nbf": now, "exp": now + SECONDS,
    });
    std::fs::write(path, sign(&key, &claims)?).with_context(|| format!("write {}", path.display()))
}

fn sign(key: &RsaKeyPair, claims: &Value) -> Result<String> {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", encode(&json!({"alg": "RS256", "kid": KEY_ID})), encode(claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
        .map_err(|_| anyhow!("the assertion can't be signed"))?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
