//! Short hashes that tell whether something changed, as they stand in a Secret's annotations.

use crate::api::request::TokenRequest;
use sha2::{Digest, Sha256};
use std::fmt;

/// The scheme's name before each hash. A new scheme would be read beside this one, never instead of it.
const SCHEME: &str = "v1:";

/// 128 bits of a SHA-256 over length-prefixed parts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 16]);

impl Hash {
    /// Hashes the parts in order; no two lists of parts run into each other.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut sha = Sha256::new();
        for part in parts {
            sha.update((part.len() as u64).to_be_bytes());
            sha.update(part);
        }
        let mut short = [0; 16];
        short.copy_from_slice(&sha.finalize()[..16]);
        Self(short)
    }

    /// Reads an annotation; `None` for anything that this version didn't write.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(SCHEME)?;
        if hex.len() != 32 || !hex.is_ascii() {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Its first 64 bits.
    pub fn short(self) -> u64 {
        self.0.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is asked of the provider: account identity and wire fields, nothing else (P03).
pub fn request_hash(request: &TokenRequest) -> Hash {
    let fields = serde_json::to_vec(&request.fields).unwrap_or_default();
    Hash::of([request.account.as_bytes(), request.operation.as_bytes(), &fields])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(Hash::of([b"ab".as_slice(), b"c"]), Hash::of([b"a".as_slice(), b"bc"]));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(parts in proptest::collection::vec(any::<Vec<u8>>(), 0..4)) {
            let hash = Hash::of(parts.iter().map(Vec::as_slice));
            prop_assert_eq!(Hash::parse(&hash.to_string()), Some(hash));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,64}") {
            let _ = Hash::parse(&text);
        }
    }
}
