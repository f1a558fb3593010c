//! Quotes text of a provider for a status or a log: at most 256 bytes, without control characters and without secrets.
//!
//! Two filters apply. The first removes every piece of the secrets that the call contained, in any escaping. The second
//! removes text that looks like a secret (a JWT, long hexadecimal text, random characters), because a response may
//! quote an unknown secret. Codes, names and IDs remain, because an administrator needs them to find the cause.

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_precision_loss)]
mod corpus;
mod escape;
mod lookalike;
mod spelling;

use memchr::memmem;
use secrecy::{ExposeSecret, SecretString};
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::ops::Range;

/// Maximum length of a quotation in bytes, including its ellipsis.
pub const MAX_QUOTE: usize = 256;

/// Replacement for removed text.
pub const REDACTED: &str = "[redacted]";

/// Bytes of a response that are searched. More than a quotation needs, and few enough to search on every failure.
const MAX_SEARCHED: usize = 4096;

/// Length of a piece of a secret that is removed wherever it appears. Shorter secrets are only removed whole.
const WINDOW: usize = 16;

/// Number of pieces of a text up to which each is searched in the secret.
const FEW_PIECES: usize = 256;

/// Minimum length of a secret that is removed. Shorter secrets resemble ordinary text, so removing them would reveal
/// them.
const SHORTEST: usize = 4;

/// Quotes text without the secrets of one call.
#[derive(Clone, Default)]
pub struct Redactor {
    secrets: Vec<SecretString>,
}

impl Redactor {
    /// Creates a redactor for these secrets: tokens, keys, passwords, assertions.
    pub fn new(secrets: Vec<SecretString>) -> Self {
        Self { secrets }
    }

    /// Creates a redactor for these secrets in every spelling that a Kubernetes object or a policy's message may
    /// contain: also in base64, alone or within a longer text, and in lower or upper case.
    pub fn of_object(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        Self::new(secrets.into_iter().flat_map(|secret| spelling::all(&secret)).collect())
    }

    /// Returns a redactor that knows further secrets.
    #[must_use]
    pub fn and(&self, secrets: impl IntoIterator<Item = SecretString>) -> Self {
        Self::new(self.secrets.iter().cloned().chain(secrets).collect())
    }

    /// Quotes `said`, which may be any bytes, as UTF-8 text of at most [`MAX_QUOTE`] bytes.
    pub fn quote(&self, said: impl AsRef<[u8]>) -> String {
        self.quote_within(MAX_QUOTE, said)
    }

    /// Quotes `said` with at most `most` bytes.
    pub fn quote_within(&self, most: usize, said: impl AsRef<[u8]>) -> String {
        let text = printable(said.as_ref());
        let mut hidden = self.known(&text);
        hidden.extend(lookalike::spans(text.as_bytes()));
        cut(&without(&text, hidden), most)
    }

    /// Returns true if quoting `text` doesn't change it. For short values that are kept whole, such as request IDs.
    pub fn is_clean(&self, text: &str) -> bool {
        self.quote(text) == text
    }

    /// Returns the spans of `text` that contain a piece of a known secret, in any escaping and in any case.
    fn known(&self, text: &str) -> Vec<Range<usize>> {
        let secrets: Vec<Vec<u8>> = self
            .secrets
            .iter()
            .map(|secret| without_controls(secret.expose_secret().trim()).to_ascii_lowercase().into_bytes())
            .filter(|secret| secret.len() >= SHORTEST)
            .collect();
        if secrets.is_empty() {
            return Vec::new();
        }
        let views = escape::views(text.as_bytes());
        let readings: Vec<Vec<u8>> = views.iter().map(|view| view.bytes().to_ascii_lowercase()).collect();
        // The text is short and a secret may be long, so the pieces of the secret are looked up among those of the
        // text, or the pieces of a very short text, such as a request ID, in the secret.
        let mut said: HashMap<usize, HashSet<&[u8]>> = HashMap::new();
        let mut found = Vec::new();
        for secret in &secrets {
            let width = secret.len().min(WINDOW);
            let said = said.entry(width).or_insert_with(|| readings.iter().flat_map(|r| r.windows(width)).collect());
            let pieces: HashSet<&[u8]> = if said.len() <= FEW_PIECES {
                said.iter().copied().filter(|piece| memmem::find(secret, piece).is_some()).collect()
            } else {
                secret.windows(width).filter(|piece| said.contains(piece)).collect()
            };
            if pieces.is_empty() {
                continue;
            }
            for view in &views {
                found.extend(view.matches(width, |piece| pieces.contains(piece.to_ascii_lowercase().as_slice())));
            }
        }
        found
    }
}

/// Quotes an error without known secrets, for a log.
pub fn quoted(error: &dyn Display) -> String {
    Redactor::default().quote(error.to_string())
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("secrets", &self.secrets.len()).finish()
    }
}

/// Returns the start of `said` as one line of text.
fn printable(said: &[u8]) -> String {
    let said = &said[..said.len().min(MAX_SEARCHED)];
    let text = without_controls(&String::from_utf8_lossy(said));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Replaces each control or invisible character with a space. Removing the character could join two halves of a secret.
fn without_controls(text: &str) -> String {
    text.chars().map(|c| if is_invisible(c) { ' ' } else { c }).collect()
}

/// Returns true for control characters and for characters that reorder or hide text on a terminal.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Returns `text` with the hidden spans replaced. Adjacent spans become one replacement.
fn without(text: &str, mut hidden: Vec<Range<usize>>) -> String {
    hidden.sort_by_key(|span| span.start);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for span in hidden {
        let (start, end) = (floor(text, span.start), ceil(text, span.end));
        if end <= at {
            continue;
        }
        if start > at || out.is_empty() {
            out.push_str(&text[at..start.max(at)]);
            out.push_str(REDACTED);
        }
        at = end;
    }
    out.push_str(&text[at..]);
    out
}

/// Returns the nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Returns the nearest character boundary at or after `at`.
fn ceil(text: &str, at: usize) -> usize {
    (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

/// Cuts `text` to at most `most` bytes, with an ellipsis in place of the removed text.
fn cut(text: &str, most: usize) -> String {
    const ELLIPSIS: char = '…';
    if text.len() <= most {
        return text.to_owned();
    }
    let mut short = text[..floor(text, most.saturating_sub(ELLIPSIS.len_utf8()))].to_owned();
    short.push(ELLIPSIS);
    short
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redactor(secret: &str) -> Redactor {
        Redactor::new(vec![secret.into()])
    }

    #[test]
    fn ordinary_text_is_quoted_as_it_is() {
        let plain = [
            "",
            "The account contoso-vi was not found in resource group contoso-rg.",
            "scope '/subscriptions/0b3f7f16-0c4e-4f0c-9f1f-5c3f8e6f1a22/resourceGroups/contoso-rg' is invalid",
            "generateExtensionRestrictedViewerAccessToken is not allowed",
            "/providers/Microsoft.Kubernetes/ConnectedClusters/edge01/providers/Microsoft.KubernetesConfiguration",
            "Grüße, 世界",
        ];
        for text in plain {
            assert_eq!(Redactor::default().quote(text), text);
        }
    }

    #[test]
    fn control_and_invisible_characters_become_one_space() {
        assert_eq!(Redactor::default().quote("a\r\n\tb\u{0}\u{202e}c\u{1b}[31m"), "a b c [31m");
        assert_eq!(Redactor::default().quote(b"\xff\xfe ok"), "\u{fffd}\u{fffd} ok");
    }

    #[test]
    fn what_looks_like_a_secret_is_taken_out() {
        let secrets = [
            "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE3NjMzOTI1NDR9.c2lnbmF0dXJlLWJ5dGVz",
            "eyJhbGciOiJIUzI1NiJ9",
            "8f14e45fceea167a5a36dedd4bea2543d3d94468",
            "k7Qp2/xV9+bT4mZs8WdR1eYc6HgJ3uNfA5oLiKqXwPzE0tMv==",
        ];
        for secret in secrets {
            assert_eq!(Redactor::default().quote(format!("refused: {secret}.")), "refused: [redacted].", "{secret}");
        }
    }

    #[test]
    fn a_known_secret_is_found_in_every_escaping() {
        let secret = "pa\"ss/wörd+with = 16&more";
        let escaped = [
            secret.to_owned(),
            serde_json::to_string(secret).unwrap().trim_matches('"').to_owned(),
            r"pa\u0022ss\/w\u00F6rd\u002bwith = 16\u0026more".to_owned(),
            url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
            "pa%22ss%2Fw%c3%b6rd%2Bwith%20%3D%2016%26more".to_owned(),
            "pa%2522ss%252Fw%25c3%25b6rd%252Bwith%2520%253D%252016%2526more".to_owned(),
            "pa&quot;ss&#x2F;w&#246;rd&#43;with = 16&amp;more".to_owned(),
        ];
        for text in escaped {
            assert_eq!(redactor(secret).quote(format!("<{text}>")), "<[redacted]>", "{text}");
        }
    }

    #[test]
    fn a_piece_of_a_known_secret_is_found() {
        let secret = "correct horse battery staple";
        assert_eq!(redactor(secret).quote("said: correct horse batt, or so"), "said: [redacted], or so");
        assert_eq!(redactor("hunter2").quote("user=a&pass=hunter2"), "user=a&pass=[redacted]");
    }

    #[test]
    fn a_quotation_is_cut_on_a_character() {
        for at in 240..260 {
            let quoted = Redactor::default().quote("x".repeat(at) + &"é ".repeat(100));
            assert!(quoted.len() <= MAX_QUOTE && quoted.ends_with('…'), "{at}: {}", quoted.len());
        }
        assert_eq!(Redactor::default().quote("x y ".repeat(64).trim()).len(), 255);
    }

    /// Generates typical secrets: passwords, keys, tokens, PEM.
    fn secret() -> impl Strategy<Value = String> {
        prop_oneof!["[ -~]{20,80}", "[A-Za-z0-9+/]{20,120}={0,2}", "\\PC{20,60}", "[a-z0-9\n ]{20,90}"]
            .prop_filter("trimmed by its reader", |secret| secret.trim().len() >= 20)
    }

    fn percent(text: &str) -> String {
        text.bytes().fold(String::new(), |escaped, b| escaped + &format!("%{b:02x}"))
    }

    /// Checks that `quoted` contains no 20 consecutive bytes of `secret`. A piece may start or end within a character.
    fn no_piece_of(secret: &str, quoted: &str) -> Result<(), TestCaseError> {
        for piece in secret.trim().as_bytes().windows(20) {
            let survives = quoted.as_bytes().windows(20).any(|w| w == piece);
            prop_assert!(!survives, "{:?} in {quoted:?}", String::from_utf8_lossy(piece));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn p11_a_known_secret_in_other_letters_is_taken_out(secret in "[A-Za-z0-9]{12,40}") {
            let redactor = Redactor::new(vec![secret.clone().into()]);
            for said in [secret.to_uppercase(), secret.to_lowercase()] {
                prop_assert!(!redactor.quote(format!("wrong key: {said}")).contains(&said), "{said}");
            }
        }

        #[test]
        fn p11_no_piece_of_a_known_secret_survives(
            secret in secret(),
            before in "\\PC{0,40}",
            after in "\\PC{0,40}",
            from in 0usize..30,
            escaping in 0usize..6,
        ) {
            let piece: String = secret.chars().skip(from).collect();
            let json = |text: &str| serde_json::to_string(text).unwrap();
            let said = match escaping {
                0 => piece,
                1 => json(&piece),
                2 => percent(&piece),
                3 => url::form_urlencoded::byte_serialize(piece.as_bytes()).collect(),
                4 => json(&json(&piece)),
                _ => json(&percent(&piece)),
            };
            let quoted = redactor(&secret).quote(format!("{before}{said}{after}"));
            prop_assert!(quoted.len() <= MAX_QUOTE);
            no_piece_of(&secret, &quoted)?;
            for view in escape::views(quoted.as_bytes()) {
                no_piece_of(&secret, &String::from_utf8_lossy(&view.bytes()))?;
            }
        }

        #[test]
        fn any_bytes_are_quoted_within_bounds(said in proptest::collection::vec(any::<u8>(), 0..6000)) {
            let quoted = redactor("a secret of some length").quote(&said);
            prop_assert!(quoted.len() <= MAX_QUOTE);
            prop_assert!(!quoted.chars().any(is_invisible));
        }
    }
}
