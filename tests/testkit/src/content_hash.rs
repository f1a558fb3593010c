//! The content hash of a token's Secret, scheme `v1`. This file is a second implementation, independent of the operator's
//! code: it stays the same when the operator changes, because Secrets of earlier releases stay the same.

use k8s_openapi::api::core::v1::Secret;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Annotation that contains the hash.
pub const ANNOTATION: &str = "videotoken.dev/content-hash";

/// Annotations that the hash covers, in this order.
const COVERED: [&str; 8] = [
    "videotoken.dev/owner-uid",
    "videotoken.dev/issued-at",
    "videotoken.dev/expires-at",
    "videotoken.dev/token-key",
    "videotoken.dev/request-hash",
    "videotoken.dev/render-hash",
    "videotoken.dev/renew-request",
    "videotoken.dev/previous-expires-at",
];

/// Annotations that the hash covers after those, in this order, if the Secret has them: the names of further values, and
/// the mark of a token that the provider returned again.
const COVERED_IF_PRESENT: [&str; 2] = ["videotoken.dev/value-names", "videotoken.dev/returned-again"];

/// Returns `v1:` and the first 128 bits, in hexadecimal, of a SHA-256 over each key and value of the data and each covered
/// annotation and value. The length in eight bytes precedes every part. A missing annotation counts as empty, unless it is
/// one that counts only if it is there.
pub fn content_hash(data: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> String {
    let optional = COVERED_IF_PRESENT.iter().filter(|name| annotations.contains_key(**name));
    let covered = COVERED.iter().chain(optional);
    let annotations = covered.flat_map(|name| [*name, annotations.get(*name).map_or("", String::as_str)]);
    let mut sha = Sha256::new();
    for part in data.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]).chain(annotations) {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part);
    }
    let mut text = "v1:".to_owned();
    for byte in &sha.finalize()[..16] {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Returns the hash of everything that a Secret contains, and the hash in its annotation. Both are the same if nobody but
/// the operator wrote the Secret.
pub fn computed_and_stored(secret: &Secret) -> (String, Option<String>) {
    let data = secret.data.iter().flatten();
    let data = data.map(|(key, value)| (key.clone(), String::from_utf8_lossy(&value.0).into_owned())).collect();
    let annotations = secret.metadata.annotations.clone().unwrap_or_default();
    (content_hash(&data, &annotations), annotations.get(ANNOTATION).cloned())
}
