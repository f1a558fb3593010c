//! Values that are encrypted in a repository and meant to be decrypted before they are used.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What encrypted this value, if something did, and what to do: such a text is no credential.
pub fn encrypted_value(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let holds = |sign: &str| text.contains(sign);
    if holds("ENC[AES256_GCM,data:") {
        return Some("it is encrypted by SOPS: decrypt it first, by `sops decrypt FILE`");
    }
    if text.starts_with("$ANSIBLE_VAULT;") {
        return Some("it is encrypted by Ansible Vault: decrypt it first, by `ansible-vault view FILE`");
    }
    if holds("-----BEGIN AGE ENCRYPTED FILE-----") || text.starts_with("age-encryption.org/v1") {
        return Some("it is encrypted by age: decrypt it first, by `age --decrypt FILE`");
    }
    if holds("-----BEGIN PGP MESSAGE-----") {
        return Some("it is encrypted by PGP: decrypt it first, by `gpg --decrypt FILE`");
    }
    is_sealed(text).then_some(
        "it is encrypted by Sealed Secrets, which only its controller in a cluster decrypts: hand the credential over by \
         --secret-file or --secret-env",
    )
}

/// kubeseal's: base64 of a length of two bytes, an RSA-encrypted key of that length, and what it encrypts.
fn is_sealed(text: &str) -> bool {
    const KEY: [u8; 2] = 512u16.to_be_bytes();
    text.starts_with("Ag") && STANDARD.decode(text).is_ok_and(|bytes| bytes.starts_with(&KEY) && bytes.len() > 2 + 512)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encrypted_is_told_from_credentials() {
        let sealed = STANDARD.encode([&512u16.to_be_bytes()[..], &[7; 540]].concat());
        for (text, by) in [
            ("ENC[AES256_GCM,data:ViY4ihyiyg==,iv:abc=,tag:def=,type:str]", "SOPS"),
            ("{\"data\": \"ENC[AES256_GCM,data:ViY4\", \"sops\": {}}", "SOPS"),
            ("$ANSIBLE_VAULT;1.1;AES256\n6162", "Ansible Vault"),
            ("-----BEGIN AGE ENCRYPTED FILE-----\nYWdl", "age"),
            ("-----BEGIN PGP MESSAGE-----\n\nhQ", "PGP"),
            (&sealed, "Sealed Secrets"),
        ] {
            assert!(encrypted_value(text).unwrap().contains(by), "{text}");
        }
        for credential in ["", "AgA=", "0123456789abcdef", "ENC[x", "-----BEGIN PRIVATE KEY-----\nx", "eyJh.eyJh.x"] {
            assert_eq!(encrypted_value(credential), None, "{credential}");
        }
    }
}
