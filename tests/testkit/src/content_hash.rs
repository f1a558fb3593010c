//! The content hash of a token's Secret, scheme `v1`. This file is a second implementation, independent of the operator's
//! code: it stays the same when the operator changes, because Secrets of earlier releases stay the same.

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

/// Returns `v1:` and the first 128 bits, in hexadecimal, of a SHA-256 over each key and value of the data and each covered
/// annotation and value. The length in eight bytes precedes every part. A missing annotation counts as empty.
pub fn content_hash(data: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> String {
    let annotations = COVERED.iter().flat_map(|name| [*name, annotations.get(*name).map_or("", String::as_str)]);
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
