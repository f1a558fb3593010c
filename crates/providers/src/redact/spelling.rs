//! Spellings of a secret in a Kubernetes object and in the message of a policy that inspects one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret, SecretString};

/// Maximum length of a secret that is also searched in upper and lower case.
const LONGEST_FOR_CASES: usize = 16 * 1024;

/// Returns the secret unchanged, in both cases, and in base64 at each offset in a longer text.
pub(super) fn all(secret: &SecretString) -> Vec<SecretString> {
    let text = secret.expose_secret();
    let mut all = vec![text.to_owned()];
    if text.len() <= LONGEST_FOR_CASES {
        all.extend([text.to_ascii_lowercase(), text.to_ascii_uppercase()].into_iter().filter(|other| other != text));
    }
    for before in 0..3 {
        let encoded = within(before, text);
        if encoded.contains(['+', '/']) {
            all.push(encoded.replace('+', "-").replace('/', "_"));
        }
        all.push(encoded);
    }
    all.into_iter().map(SecretString::from).collect()
}

/// Returns the base64 of `text` after `before` other bytes, without the characters that depend on other bytes.
fn within(before: usize, text: &str) -> String {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(text.as_bytes());
    let encoded = STANDARD_NO_PAD.encode(&bytes);
    let shared = (before * 8).div_ceil(6);
    let end = if bytes.len().is_multiple_of(3) { encoded.len() } else { encoded.len().saturating_sub(1) };
    encoded.get(shared..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::Redactor;
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    #[test]
    fn p22_a_secret_is_found_in_the_spellings_of_an_object() {
        let secret = "s3cr3t opaque-token, of-a/provider";
        for said in [
            secret.to_owned(),
            secret.to_uppercase(),
            STANDARD.encode(secret),
            STANDARD.encode(format!("a{secret}b")),
            STANDARD.encode(format!("Bearer {secret}")),
            STANDARD.encode(format!("ab{secret}")),
            URL_SAFE_NO_PAD.encode(secret),
            format!("{{\"data\": {{\"token\": \"{}\"}}}}", STANDARD.encode(secret)),
        ] {
            let quoted = Redactor::of_object([secret.into()]).quote(format!("denied: {said} is bad"));
            assert!(quoted.starts_with("denied: ") && quoted.contains("[redacted]"), "{said}: {quoted}");
            assert!(!quoted.contains("opaque") && !quoted.contains("OPAQUE"), "{quoted}");
            let rest = quoted.replace("[redacted]", "").replace("denied: ", "").replace(" is bad", "");
            assert!(rest.len() < 30, "{said}: {quoted}");
        }
        assert_eq!(Redactor::of_object([secret.into()]).quote("denied: no team label"), "denied: no team label");
    }

    proptest! {
        #[test]
        fn p22_no_piece_of_the_base64_survives(secret in "[ -~]{24,90}", before in "[ -~]{0,9}", after in "[ -~]{0,9}") {
            let text = STANDARD.encode(format!("{before}{secret}{after}"));
            let quoted = Redactor::of_object([secret.as_str().into()]).quote(format!("no: {text}"));
            let own = within(before.len() % 3, &secret);
            let survives = own.as_bytes().windows(20).any(|piece| quoted.as_bytes().windows(20).any(|w| w == piece));
            prop_assert!(!survives, "{quoted}");
        }
    }
}
