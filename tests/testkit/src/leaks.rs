//! Whether a text shows a secret, or a piece of one.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use std::collections::BTreeSet;

/// So many characters of a secret in a row count as a leak.
pub const PIECE: usize = 16;

/// The secret as it is, and as the wire and a log may write it.
fn spellings(secret: &str) -> Vec<String> {
    let json = serde_json::Value::from(secret).to_string();
    let bytes: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let form = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let json = json.trim_matches('"').to_owned();
    vec![secret.to_owned(), form, bytes, STANDARD.encode(secret), URL_SAFE_NO_PAD.encode(secret), json]
}

/// Pieces of the secret in all its spellings: one that is quoted in part is found too.
pub fn pieces(secret: &str) -> BTreeSet<String> {
    let cut = |text: String| {
        let chars: Vec<_> = text.chars().collect();
        chars.chunks_exact(PIECE).map(|piece| piece.iter().collect::<String>()).collect::<Vec<_>>()
    };
    spellings(secret).into_iter().flat_map(cut).collect()
}

/// What stands before the first piece of any of the secrets, or before what looks like a JWT. `None`: none shows.
pub fn before_a_leak<'a>(text: &str, secrets: impl IntoIterator<Item = &'a String>) -> Option<String> {
    // every JWT begins so, as it is or in base64
    let jwt = ["eyJ".to_owned(), STANDARD.encode("eyJ")[..4].to_owned()];
    let pieces = secrets.into_iter().flat_map(|secret| pieces(secret));
    let at = jwt.into_iter().chain(pieces).filter_map(|piece| text.find(piece.as_str())).min()?;
    let start = text[..at].char_indices().rev().nth(200).map_or(0, |(start, _)| start);
    Some(text[start..at].to_owned())
}
