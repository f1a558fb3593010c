//! The content hash of a token's Secret, scheme `v1`, written from its description and not from the operator's code: what
//! an earlier release stored must stay readable, so this file doesn't change when the operator does.

use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The annotation that holds the hash.
pub const ANNOTATION: &str = "videotoken.dev/content-hash";

/// The annotations that the hash covers, in its order.
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

/// `v1:` and the first 128 bits, in hexadecimal, of a SHA-256 over each key with its value and each covered annotation with
/// its value, every part preceded by its length in eight bytes. An annotation that isn't there counts as empty.
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
