//! Extracts the text of a credential from the bytes under a key. It removes additions of editors and shells, and
//! rejects values that are not credentials.

use super::encrypted_value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;

/// Treatment of blanks at the end of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blanks {
    /// Blanks are removed, as line ends are.
    Cut,
    /// Blanks are part of the credential.
    Kept,
}

/// Byte order mark in UTF-8, which PowerShell 5 and Notepad write at the start of a file.
const MARK: char = '\u{feff}';

/// Returns the credential in `bytes` without a byte order mark and without line ends at its end, or `None` if it is
/// empty.
///
/// # Errors
/// The reason why the value is not a credential, and the fix. The text follows the name of the key in a message.
pub(super) fn text(bytes: &[u8], blanks: Blanks) -> Result<Option<SecretString>, &'static str> {
    if is_utf16(bytes) {
        return Err("is UTF-16 text, as PowerShell's > and Out-File write it: write it in UTF-8, with -Encoding ascii");
    }
    if is_pkcs12(bytes) {
        return Err(PKCS12);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(if is_der(bytes) {
            "is DER, not PEM: convert it with `openssl x509 -inform der` or `openssl pkey -inform der`"
        } else {
            "is no UTF-8 text: write it in UTF-8"
        });
    };
    let text = text.trim_start_matches(MARK);
    let text = match blanks {
        Blanks::Cut => text.trim_end(),
        Blanks::Kept => text.trim_end_matches(['\r', '\n']),
    };
    if let Some(why) = encrypted_value(text) {
        return Err(why);
    }
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err("is an encrypted private key: decrypt it with `openssl pkey -in FILE -out FILE.pem`");
    }
    let in_base64 = || STANDARD.decode(text.split_ascii_whitespace().collect::<String>());
    if text.trim_start().starts_with("MI") && in_base64().is_ok_and(|bytes| is_pkcs12(&bytes)) {
        return Err(PKCS12);
    }
    if !text.contains("-----BEGIN") && text.chars().any(|c| c.is_control() && c != '\t' && c != '\0') {
        return Err("contains a line end or another control character: write it again on one line");
    }
    if text.contains('\0') {
        return Err("contains a NUL byte, which is not text: write it again");
    }
    Ok((!text.trim().is_empty()).then(|| text.into()))
}

/// Returns the text of a CA bundle without a byte order mark.
pub(super) fn without_mark(text: &str) -> &str {
    text.trim_start_matches(MARK)
}

const PKCS12: &str =
    "is a PFX file (PKCS #12): convert it to PEM with `openssl pkcs12 -in FILE.pfx -nodes -out FILE.pem`";

/// Returns true for text with a byte order mark of UTF-16, or with the zero bytes of plain letters.
fn is_utf16(bytes: &[u8]) -> bool {
    let zeros = |offset: usize| bytes.iter().skip(offset).step_by(2).all(|byte| *byte == 0);
    bytes.starts_with(&[0xff, 0xfe])
        || bytes.starts_with(&[0xfe, 0xff])
        || (bytes.len() >= 4 && bytes.len().is_multiple_of(2) && (zeros(0) || zeros(1)))
}

/// Returns true for a SEQUENCE that begins with the INTEGER 3 (RFC 7292 section 4).
fn is_pkcs12(bytes: &[u8]) -> bool {
    let [0x30, length, content @ ..] = bytes else { return false };
    let bytes_of_length = usize::from(length & 0x7f);
    let content = content.get(bytes_of_length..).filter(|_| *length >= 0x80).unwrap_or_default();
    content.starts_with(&[0x02, 0x01, 0x03, 0x30])
}

/// Returns true for a SEQUENCE of more than 127 bytes.
fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, 0x81..=0x83, ..])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    /// First bytes of a PFX file, and some more.
    const PFX: &[u8] = &[0x30, 0x82, 0x09, 0x5f, 0x02, 0x01, 0x03, 0x30, 0x82, 0x09, 0x25, 0x06, 0x09];

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn what_an_editor_or_a_shell_added_is_cut() {
        use Blanks::{Cut, Kept};
        for (bytes, blanks, expected) in [
            ("0123456789abcdef", Cut, "0123456789abcdef"),
            ("\u{feff}0123456789abcdef", Cut, "0123456789abcdef"),
            ("\u{feff}0123456789abcdef\r\n", Cut, "0123456789abcdef"),
            ("0123456789abcdef\n\n", Cut, "0123456789abcdef"),
            (" pass word \t\n", Cut, " pass word"),
            (" pass word \t\n", Kept, " pass word \t"),
            (" pass word \r\n", Kept, " pass word "),
            (
                "\u{feff}-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
                Cut,
                "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            ),
            ("pässwörd", Cut, "pässwörd"),
            ("", Cut, ""),
            ("\u{feff}\r\n", Cut, ""),
            (" \n", Kept, ""),
        ] {
            let read = text(bytes.as_bytes(), blanks).unwrap();
            assert_eq!(read.as_ref().map_or("", |text| text.expose_secret()), expected, "{bytes:?} {blanks:?}");
        }
    }

    #[test]
    fn what_is_no_credential_is_said_and_never_sent() {
        let mut marked = vec![0xff, 0xfe];
        marked.extend(utf16("key"));
        let encoded = STANDARD.encode(PFX);
        let cases: [(&[u8], &str); 15] = [
            (b"key\nwith: more", "line end"),
            (b"\x1b[1mkey", "control character"),
            (&marked, "UTF-16"),
            (&[0xfe, 0xff, 0, b'k'], "UTF-16"),
            (&utf16("0123456789abcdef"), "UTF-16"),
            (PFX, "PFX"),
            (encoded.as_bytes(), "PFX"),
            (&[0x30, 0x82, 0x03, 0xc1, 0x30, 0x82, 0x02, 0xa9, 0xa0], "DER"),
            (b"p\xe4ssword", "no UTF-8"),
            (b"key\0", "NUL"),
            (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIF", "encrypted private key"),
            (b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", "encrypted private key"),
            (b"ENC[AES256_GCM,data:ViY4ihyiyg==,iv:abc=,tag:def=,type:str]", "SOPS"),
            (b"$ANSIBLE_VAULT;1.1;AES256\n6231", "Ansible Vault"),
            (b"AgBy3i4OJSWK+PiTySYZZA9rO43cGDEq.....\n", "Sealed Secrets"),
        ];
        for (bytes, word) in cases {
            let why = text(bytes, Blanks::Cut).unwrap_err();
            assert!(why.contains(word) && why.contains(": "), "{word}: {why}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_text_or_told_from_one(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(Some(text)) = text(&bytes, Blanks::Cut) {
                prop_assert!(!text.expose_secret().is_empty() && !text.expose_secret().contains('\0'));
                prop_assert!(!text.expose_secret().starts_with(MARK) && !text.expose_secret().ends_with(['\r', '\n']));
            }
        }
    }
}
