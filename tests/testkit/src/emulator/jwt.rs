//! JSON Web Tokens (RFC 7519): signing cheaply with HS256, and taking apart what clients bring.

use aws_lc_rs::{hmac, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// An HS256 key of one emulator.
pub struct SigningKey {
    key: hmac::Key,
    header: String,
}

impl SigningKey {
    /// A random key. `key_id` is the `kid` of the tokens.
    pub fn generate(key_id: &str) -> anyhow::Result<Self> {
        Ok(Self::of(hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())?, key_id))
    }

    /// A key that others have too.
    pub fn shared(secret: &[u8], key_id: &str) -> Self {
        Self::of(hmac::Key::new(hmac::HMAC_SHA256, secret), key_id)
    }

    fn of(key: hmac::Key, key_id: &str) -> Self {
        let header = serde_json::json!({"alg": "HS256", "kid": key_id, "typ": "JWT"});
        Self { key, header: URL_SAFE_NO_PAD.encode(header.to_string()) }
    }

    /// Signs.
    pub fn sign(&self, claims: &Map<String, Value>) -> String {
        let mut token = self.header.clone();
        token.push('.');
        // A map of JSON values always serialises.
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims).unwrap_or_default(), &mut token);
        let tag = hmac::sign(&self.key, token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(tag, &mut token);
        token
    }

    /// The claims of a token that this key has signed.
    pub fn verify(&self, token: &str) -> Option<Map<String, Value>> {
        let jwt = Jwt::parse(token)?;
        hmac::verify(&self.key, jwt.signed.as_bytes(), &jwt.signature).ok()?;
        Some(jwt.claims)
    }

    /// How many characters of claims, as JSON, make a token of `length` characters.
    pub(super) fn room(&self, length: usize) -> usize {
        const TAG: usize = 43;
        length.saturating_sub(self.header.len() + TAG + 2) * 3 / 4
    }
}

/// The claims of any JWT, unverified.
pub fn claims(token: &str) -> Option<Map<String, Value>> {
    Jwt::parse(token).map(|jwt| jwt.claims)
}

/// A JWT taken apart; nothing is verified.
pub(super) struct Jwt<'a> {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    /// What the signature is for.
    pub(super) signed: &'a str,
    pub(super) signature: Vec<u8>,
}

impl<'a> Jwt<'a> {
    pub(super) fn parse(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let object = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// A text of the header.
    pub(super) fn header(&self, name: &str) -> &str {
        text(&self.header, name)
    }

    /// A text among the claims.
    pub(super) fn claim(&self, name: &str) -> &str {
        text(&self.claims, name)
    }

    /// Whether it is for `audience`, alone or among others.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        match self.claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(many)) => many.iter().any(|one| one == audience),
            _ => false,
        }
    }

    /// Whether `now` lies between `nbf` and `exp`; both in seconds since the epoch, `exp` must be there.
    pub(super) fn is_in_time(&self, now: i64) -> bool {
        /// Clients' clocks may be ahead by this.
        const SKEW: i64 = 300;
        let time = |name| self.claims.get(name).and_then(Value::as_i64);
        time("exp").is_some_and(|exp| now < exp) && time("nbf").is_none_or(|nbf| now >= nbf - SKEW)
    }
}

/// A text of an object; empty if it isn't there.
pub(super) fn text<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}
