//! Quoting what a provider said, fit for a status and a log: no control characters, no secret, 256 bytes at most.
//!
//! Two nets. Each secret that went into the call is known, and no piece of it passes, however the answer escapes it.
//! What merely looks like a secret (a JWT, long hex, what only chance writes) goes too: an answer may quote one that we
//! never saw. Codes, names and ids are shown: without them nobody finds what is wrong.

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_precision_loss)]
mod corpus;
mod escape;
mod lookalike;
mod spelling;

use secrecy::{ExposeSecret, SecretString};
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::ops::Range;

/// The longest quotation, in bytes, its ellipsis included.
pub const MAX_QUOTE: usize = 256;

/// What stands for what was taken out.
pub const REDACTED: &str = "[redacted]";

/// How much of an answer is looked at: far more than is quoted, little enough to search on every failure.
const MAX_SEARCHED: usize = 4096;

/// A piece of a secret this long is taken out wherever it appears. Shorter secrets only go whole.
const WINDOW: usize = 16;

/// Below this a secret can't be told from ordinary text, and taking it out would spell it.
const SHORTEST: usize = 4;

/// Quotes text without the secrets of one call.
#[derive(Clone, Default)]
pub struct Redactor {
    secrets: Vec<SecretString>,
}

impl Redactor {
    /// Knows these secrets: tokens, keys, passwords, assertions.
    pub fn new(secrets: Vec<SecretString>) -> Self {
        Self { secrets }
    }

    /// Knows these secrets in every spelling that a Kubernetes object gives them: also in base64, alone or within a
    /// longer text, and in small or capital letters, as a policy's message may have them.
    pub fn of_object(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        Self::new(secrets.into_iter().flat_map(|secret| spelling::all(&secret)).collect())
    }

    /// Quotes `said`, which may be any bytes: at most [`MAX_QUOTE`] of them, and UTF-8.
    pub fn quote(&self, said: impl AsRef<[u8]>) -> String {
        self.quote_within(MAX_QUOTE, said)
    }

    /// The same with at most `most` bytes.
    pub fn quote_within(&self, most: usize, said: impl AsRef<[u8]>) -> String {
        let text = printable(said.as_ref());
        let mut hidden = self.known(&text);
        hidden.extend(lookalike::spans(text.as_bytes()));
        cut(&without(&text, hidden), most)
    }

    /// Whether `text` could be quoted as it stands. For short values that are kept whole, such as request ids.
    pub fn is_clean(&self, text: &str) -> bool {
        self.quote(text) == text
    }

    /// Where `text` holds a piece of a known secret, in any escaping, and in small or capital letters.
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
        // the text is short, a secret may be long: its pieces are looked up among those of the text
        let mut said: HashMap<usize, HashSet<&[u8]>> = HashMap::new();
        let mut found = Vec::new();
        for secret in &secrets {
            let width = secret.len().min(WINDOW);
            let said = said.entry(width).or_insert_with(|| readings.iter().flat_map(|r| r.windows(width)).collect());
            let pieces: HashSet<&[u8]> = secret.windows(width).filter(|piece| said.contains(piece)).collect();
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

/// An error of whom nothing is known, fit for a log.
pub fn quoted(error: &dyn Display) -> String {
    Redactor::default().quote(error.to_string())
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("secrets", &self.secrets.len()).finish()
    }
}

/// The beginning of `said` as one line of text.
fn printable(said: &[u8]) -> String {
    let said = &said[..said.len().min(MAX_SEARCHED)];
    let text = without_controls(&String::from_utf8_lossy(said));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Each control or invisible character becomes a space: taken away, they could join two halves of a secret.
fn without_controls(text: &str) -> String {
    text.chars().map(|c| if is_invisible(c) { ' ' } else { c }).collect()
}

/// Control characters, and those that reorder or hide text on a terminal.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `text` with every hidden span replaced, neighbours as one.
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

/// The next character boundary at or below `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The next character boundary at or above `at`.
fn ceil(text: &str, at: usize) -> usize {
    (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

/// At most `most` bytes; what is cut shows as an ellipsis.
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

    /// Secrets as they come: passwords, keys, tokens, PEM.
    fn secret() -> impl Strategy<Value = String> {
        prop_oneof!["[ -~]{20,80}", "[A-Za-z0-9+/]{20,120}={0,2}", "\\PC{20,60}", "[a-z0-9\n ]{20,90}"]
            .prop_filter("trimmed by its reader", |secret| secret.trim().len() >= 20)
    }

    fn percent(text: &str) -> String {
        text.bytes().fold(String::new(), |escaped, b| escaped + &format!("%{b:02x}"))
    }

    /// No 20 bytes in a row of `secret`, which may break inside a character.
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
