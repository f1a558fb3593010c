//! Signed texts, such as those of CDNs: a text, its signature, and a token that contains both.

use super::Signature;
use super::key::Signer;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use videotoken_api::request::FieldError;
use videotoken_api::signed::{Message, SignatureEncoding};
use videotoken_core::plan::template::cloudfront;
use videotoken_core::plan::template::declared::{Renderer, RequestVariables};

/// Renders the text, signs it, and renders the token and the further values.
pub(super) fn sign(message: &Message, signer: &Signer, variables: &RequestVariables) -> Result<Signature, FieldError> {
    rendered(message, signer.key_in_text(), variables, &|text| {
        let signature = signer.sign(text.expose_secret().as_bytes());
        let signature = signature.map_err(|why| FieldError::new("spec.signed.key", why))?;
        Ok(encoded(&message.encoding, &signature))
    })
    .map(|(_, signed)| signed)
}

/// Renders the text, the token and the further values. `sign` returns the signature of the text; `key` is the key, if
/// the text may contain it.
pub(super) fn rendered(
    message: &Message,
    key: Option<&SecretString>,
    variables: &RequestVariables,
    sign: &dyn Fn(&SecretString) -> Result<SecretString, FieldError>,
) -> Result<(SecretString, Signature), FieldError> {
    let mut renderer = Renderer::new(variables);
    if let Some(key) = key {
        renderer.set("key", key);
    }
    let text = renderer.text("spec.signed.message.text", &message.text)?;
    renderer.set("signature", &sign(&text)?);
    if key.is_some() {
        // The text may contain the key, so the token can't have it.
        renderer.unset("key");
    } else {
        renderer.set("message", &text);
    }
    let token = renderer.text("spec.signed.message.token", &message.token)?;
    let mut values = BTreeMap::new();
    for (name, source) in &message.values {
        values.insert(name.clone(), renderer.text(&format!("spec.signed.message.values.{name}"), source)?);
    }
    Ok((text, Signature { token, values }))
}

/// Returns the signature as a text.
fn encoded(encoding: &SignatureEncoding, signature: &[u8]) -> SecretString {
    match encoding {
        SignatureEncoding::Base64 => STANDARD.encode(signature),
        SignatureEncoding::Base64Url => URL_SAFE.encode(signature),
        SignatureEncoding::Base64UrlUnpadded => URL_SAFE_NO_PAD.encode(signature),
        SignatureEncoding::CloudFront => cloudfront(signature),
        // another encoding is refused when the provider is resolved
        SignatureEncoding::Hex | SignatureEncoding::Other(_) => {
            signature.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
        }
    }
    .into()
}
