//! Detects values that a tool for secrets in Git has encrypted. Such values are not credentials.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Returns the reason why `value` is an encrypted credential, with the fix, or `None` if it isn't encrypted. The text
/// follows the name of the field in a message: "is a value that SOPS has encrypted: …".
///
/// Sources: SOPS (`ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`), Sealed Secrets (base64 of a two-byte length, 512 with
/// its keys, that many bytes, and a ciphertext), Ansible Vault, age (armored), `OpenPGP` (RFC 9580 section 6.2),
/// git-crypt, hiera-eyaml, Vault's transit engine, `openssl enc`.
pub fn encrypted_value(value: &str) -> Option<&'static str> {
    type Kind = (fn(&str) -> bool, &'static str);
    const KINDS: [Kind; 9] = [
        (
            is_sops,
            "is a value that SOPS has encrypted: apply what `sops --decrypt` prints, or let the tool that applies it \
             (Flux, helm-secrets, KSOPS) decrypt it",
        ),
        (
            is_sealed,
            "is a value that Sealed Secrets has encrypted: put it into spec.encryptedData of a SealedSecret, whose \
             controller writes the Secret",
        ),
        (
            |value| value.starts_with("ENC[PKCS7,") || value.starts_with("ENC[GPG,"),
            "is a value that hiera-eyaml has encrypted: apply what `eyaml decrypt` prints",
        ),
        (
            |value| value.strip_prefix("vault:v").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())),
            "is a value that Vault's transit engine has encrypted: apply what `vault write transit/decrypt/KEY` prints, decoded",
        ),
        (
            |value| value.starts_with("U2FsdGVkX1") || value.starts_with("Salted__"),
            "is a value that openssl has encrypted: apply what `openssl enc -d` prints",
        ),
        (
            |value| value.starts_with("$ANSIBLE_VAULT;"),
            "is a value that Ansible Vault has encrypted: apply what `ansible-vault view` prints",
        ),
        (
            |value| value.starts_with("-----BEGIN AGE ENCRYPTED FILE-----"),
            "is a file that age has encrypted: apply what `age --decrypt` prints",
        ),
        (
            |value| value.starts_with("-----BEGIN PGP MESSAGE-----"),
            "is a message that OpenPGP has encrypted: apply what `gpg --decrypt` prints",
        ),
        (
            |value| value.starts_with("\0GITCRYPT"),
            "is a file that git-crypt has encrypted: run `git-crypt unlock` where it is applied from",
        ),
    ];
    // The byte order mark isn't white space.
    let value = value.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let kind = |value: &str| KINDS.iter().find(|(is, _)| is(value)).map(|(_, said)| *said);
    kind(value).or_else(|| {
        // The value of `data` of a Secret, pasted under `stringData`.
        let bytes = STANDARD.decode(value.split_ascii_whitespace().collect::<String>()).ok()?;
        kind(std::str::from_utf8(&bytes).ok()?.trim())
    })
}

/// Returns true for a single value, and for a whole file of them.
fn is_sops(value: &str) -> bool {
    value.contains("ENC[AES256_GCM,data:")
}

/// Returns true for base64 that begins with the bytes 2 and 0. A short value of at most 88 characters may be a key,
/// unless it was truncated as in a quotation.
fn is_sealed(value: &str) -> bool {
    const LONGEST_KEY: usize = 88;
    let whole = value;
    let value = value.trim_end_matches(['.', '…']);
    let in_base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
    let begins = ["AgA", "AgB", "AgC", "AgD"].iter().any(|start| value.starts_with(start));
    let is_long = value.len() > LONGEST_KEY || value.len() < whole.len();
    begins && is_long && value.bytes().all(in_base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tool_has_encrypted_is_told_from_keys() {
        let sealed = format!("AgB{}==", "y3i4OJSWK+PiTySYZZA9rO43cGDEq".repeat(20));
        let cases = [
            ("ENC[AES256_GCM,data:ViY4ihyiyg==,iv:abc=,tag:def=,type:str]", Some("SOPS")),
            ("\u{feff}ENC[AES256_GCM,data:ViY4ihyiyg==,iv:abc=,tag:def=,type:str]\r\n", Some("SOPS")),
            (&sealed, Some("Sealed Secrets")),
            ("AgBy3i4OJSWK+PiTySYZZA9rO43cGDEq.....", Some("Sealed Secrets")),
            ("$ANSIBLE_VAULT;1.1;AES256\n623133", Some("Ansible Vault")),
            ("-----BEGIN AGE ENCRYPTED FILE-----\nYWdl", Some("age")),
            ("-----BEGIN PGP MESSAGE-----\n\nhQEM", Some("OpenPGP")),
            ("\0GITCRYPT\0abc", Some("git-crypt")),
            ("{\"data\": \"ENC[AES256_GCM,data:ViY4,iv:a\", \"sops\": {}}", Some("SOPS")),
            ("key: ENC[AES256_GCM,data:ViY4,iv:a,tag:b,type:str]\nsops:\n  version: 3.9.0", Some("SOPS")),
            ("RU5DW0FFUzI1Nl9HQ00sZGF0YTpWaVk0aWh5aXlnPT0saXY6YWJjPSx0YWc6ZGVmPSx0eXBlOnN0cl0=", Some("SOPS")),
            ("ENC[PKCS7,MIIBeQYJKoZIhvcNAQcDoIIBajCCAWYCAQAxggEhMIIBHQIBADAFMAACAQEw]", Some("hiera-eyaml")),
            ("ENC[GPG,hQEMA0123]", Some("hiera-eyaml")),
            ("vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok481zoCmHnSeDX9vyf7w==", Some("Vault")),
            ("U2FsdGVkX1+8SDd3WHDOjf7mq69CyCqY", Some("openssl")),
            // Keys, passwords and tokens.
            ("0123456789abcdef0123456789abcdef", None),
            ("AgB123456789abcdefABCDEF0123456789AgB123456789abcdefABCDEF0123456789abcdefABCDEF0123", None),
            ("AgBy3i4OJSWK+PiTySYZ", None),
            ("AgBy3i4OJSWK+PiTySYZZA9rO43cGDEq0123456789=", None),
            ("AgB8Q~abcdefghijklmnopqrstuvwxyz-._0123456789", None),
            ("ENC[a password]", None),
            ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", None),
            ("-----BEGIN PRIVATE KEY-----\nMIIE", None),
            ("", None),
        ];
        for (value, expected) in cases {
            let said = encrypted_value(value);
            assert_eq!(said.is_some(), expected.is_some(), "{value}: {said:?}");
            assert!(expected.is_none_or(|tool| said.is_some_and(|said| said.contains(tool))), "{value}: {said:?}");
        }
    }
}
