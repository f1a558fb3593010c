//! JSON Web Signature in compact form (RFC 7515): header, claims and signature, each in base64url.

use super::key::Signer;
use super::{Signature, key, rules};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use videotoken_api::request::FieldError;
use videotoken_api::signed::Jwt;
use videotoken_core::plan::template::declared::{Renderer, RequestVariables};

const HEADER: &str = "spec.signed.jwt.header";
const CLAIMS: &str = "spec.signed.jwt.claims";
const VARIANTS: &str = "spec.signed.jwt.variants";

/// Header and claims.
type Parts = (Map<String, Value>, Map<String, Value>);

/// Renders and signs the token and its variants. Each has a UUID of its own.
pub(super) fn sign(
    jwt: &Jwt,
    signer: &Signer,
    variables: &RequestVariables,
    uuid: &mut dyn FnMut() -> String,
) -> Result<Signature, FieldError> {
    let token = one(jwt, signer, variables, None)?;
    let mut values = BTreeMap::new();
    for (name, claims) in &jwt.variants {
        let variables = RequestVariables { uuid: uuid(), ..variables.clone() };
        values.insert(name.clone(), one(jwt, signer, &variables, Some((name, claims)))?);
    }
    Ok(Signature { token, values })
}

/// Signs one token. `variant` has claims that replace others.
fn one(
    jwt: &Jwt,
    signer: &Signer,
    variables: &RequestVariables,
    variant: Option<(&String, &Map<String, Value>)>,
) -> Result<SecretString, FieldError> {
    let (header, claims) = parts(jwt, variables, variant)?;
    compact(signer, &header, &claims)
}

/// Renders header and claims. `variant` has claims that replace others.
pub(super) fn parts(
    jwt: &Jwt,
    variables: &RequestVariables,
    variant: Option<(&String, &Map<String, Value>)>,
) -> Result<Parts, FieldError> {
    let mut renderer = Renderer::new(variables);
    let mut header = Map::from_iter([("typ".to_owned(), "JWT".into())]);
    header.extend(renderer.object(HEADER, &jwt.header)?);
    if header.get("typ").is_some_and(|typ| typ.is_null() || typ == "") {
        header.remove("typ");
    }
    header.insert("alg".to_owned(), key::word(&jwt.algorithm).into());
    let replaced = |name: &String| variant.is_some_and(|(_, claims)| claims.contains_key(name));
    let base: Map<_, _> = jwt
        .claims
        .iter()
        .filter(|(name, _)| !replaced(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut claims = renderer.object(CLAIMS, &base)?;
    if let Some((name, own)) = variant {
        claims.extend(renderer.object(&format!("{VARIANTS}.{name}"), own)?);
    }
    let of_variant = |claim: &str| variant.filter(|(_, own)| own.contains_key(claim));
    rules::times(&claims, |claim| match of_variant(claim) {
        Some((name, _)) => format!("{VARIANTS}.{name}.{claim}"),
        None => format!("{CLAIMS}.{claim}"),
    })?;
    claims.insert("exp".to_owned(), variables.expires_at.timestamp().into());
    Ok((header, claims))
}

/// Returns the compact form.
pub(super) fn compact(
    signer: &Signer,
    header: &Map<String, Value>,
    claims: &Map<String, Value>,
) -> Result<SecretString, FieldError> {
    let part = |json: &Map<String, Value>| URL_SAFE_NO_PAD.encode(serde_json::to_vec(json).unwrap_or_default());
    let text = format!("{}.{}", part(header), part(claims));
    let signature = signer.sign(text.as_bytes()).map_err(|why| FieldError::new("spec.signed.key", why))?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
}
