//! Restrictions of a FIPS build: it refuses to sign with algorithms and keys that FIPS 140-3 doesn't approve for
//! authentication.

use videotoken_api::request::FieldError;
use videotoken_api::signed::Form;

/// Least bytes of a key of an HMAC: 112 bits (NIST SP 800-131A).
const SHORTEST_KEY: usize = 14;

/// Checks that the algorithm of a token is approved.
pub(super) fn check(form: &Form<'_>) -> Result<(), FieldError> {
    match form {
        Form::Message(message) if message.algorithm.is_digest() => Err(FieldError::new(
            "spec.signed.message.algorithm",
            "a digest of a text with the key is not approved by FIPS 140-3, and this is a FIPS build: choose an HMAC or a signature, or use a build without the feature fips",
        )),
        Form::Agora(_) => Err(FieldError::new(
            "spec.signed.agora",
            "an AccessToken2 needs an HMAC with a key of 4 bytes, which is not approved by FIPS 140-3, and this is a FIPS build: use a build without the feature fips",
        )),
        Form::Message(_) | Form::Jwt(_) => Ok(()),
    }
}

/// Checks that the key of an HMAC is long enough. The error completes a sentence about the key.
pub(super) fn check_key(key: &[u8]) -> Result<(), String> {
    let length = key.len();
    if length >= SHORTEST_KEY {
        return Ok(());
    }
    Err(format!(
        "is a shared secret of {length} bytes, and this is a FIPS build, which needs {SHORTEST_KEY} or more: create a longer one"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use videotoken_api::signed::SignedAccount;

    #[test]
    fn algorithms_that_fips_does_not_approve_are_refused_with_their_field() {
        let message = |algorithm: &str| json!({"message": {"text": "a", "algorithm": algorithm, "encoding": "Hex", "token": "a"}});
        let jwt = |algorithm: &str| json!({"jwt": {"algorithm": algorithm}});
        let agora = json!({"agora": {"appId": "970ca35de60c44645bbae8a215061b33", "rtm": {"user": "u"}}});
        let digest = Some("spec.signed.message.algorithm");
        for (form, refused) in [
            (jwt("HS256"), None),
            (jwt("RS256"), None),
            (jwt("ES384"), None),
            (jwt("EdDSA"), None),
            (message("HmacSha1"), None),
            (message("Ed25519"), None),
            (message("Sha1"), digest),
            (message("Sha256"), digest),
            (message("Sha512"), digest),
            (agora, Some("spec.signed.agora")),
        ] {
            let mut account: Value = json!({"key": {"secretRef": {"name": "s", "key": "k"}}});
            account.as_object_mut().unwrap().extend(form.as_object().unwrap().clone());
            let account: SignedAccount = serde_json::from_value(account).unwrap();
            let field = check(&account.form().unwrap()).err().map(|error| error.field);
            assert_eq!(field.as_deref(), refused, "{form}");
        }
    }

    #[test]
    fn a_key_of_less_than_112_bits_is_refused() {
        assert_eq!(check_key(&[7; 14]), Ok(()));
        let refusal = check_key(&[7; 13]).unwrap_err();
        assert!(refusal.contains("of 13 bytes") && refusal.contains("14 or more"), "{refusal}");
    }
}
