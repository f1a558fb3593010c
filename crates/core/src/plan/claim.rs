//! Precedence among several `VideoAccessTokens` that declare the same Secret.

use super::view::Refusal;
use videotoken_api::key::ObjectKey;

/// Claim of a VideoAccessToken to a Secret, in the order of precedence: creation time in seconds, UID, key. The UID
/// orders objects that were created in the same second.
pub type Claim = ((i64, u128), ObjectKey);

/// Returns the VideoAccessToken that takes precedence over `own` for the same Secret: `holder`, for which the Secret
/// was written, while it still declares the Secret; else the first of `claims`. Age alone is ambiguous while two
/// VideoAccessTokens don't know each other's claims.
pub fn conflicting_claim<'a>(
    own: &ObjectKey,
    holder: Option<&'a ObjectKey>,
    claims: impl IntoIterator<Item = &'a Claim>,
) -> Option<&'a ObjectKey> {
    let first = holder.or_else(|| claims.into_iter().min().map(|(_, key)| key))?;
    (first != own).then_some(first)
}

/// Returns the refusal of a VideoAccessToken whose Secret belongs to `holder`.
pub fn claimed_by(holder: &ObjectKey, secret: &ObjectKey) -> Refusal {
    let (holder, secret) = (&holder.name, &secret.name);
    let message = format!(
        "spec.secret.name: the Secret {secret} is already used by the VideoAccessToken {holder}. Choose another name."
    );
    Refusal::new("SecretClaimed", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p17_one_of_those_that_name_a_secret_has_it() {
        let key = |name: &str| ObjectKey::new("n", name);
        let claim = |created: i64, uid: u128, name: &str| ((created, uid), key(name));
        let [a, b, c] = [claim(10, 1, "a"), claim(10, 2, "b"), claim(5, 9, "c")];
        // own, whom the Secret was written for, claims, who has it
        let cases = [
            ("a", None, vec![], None),
            ("a", None, vec![&a], None),
            ("a", None, vec![&a, &b], None),
            ("b", None, vec![&b, &a], Some("a")),
            ("a", None, vec![&a, &b, &c], Some("c")),
            ("c", None, vec![&a, &b, &c], None),
            ("b", Some("b"), vec![&a, &b, &c], None),
            ("c", Some("b"), vec![&a, &b, &c], Some("b")),
        ];
        for (own, holder, claims, expected) in cases {
            let holder = holder.map(key);
            let found = conflicting_claim(&key(own), holder.as_ref(), claims.clone());
            assert_eq!(found, expected.map(key).as_ref(), "{own} {holder:?} {claims:?}");
        }
        assert_eq!(claimed_by(&key("a"), &key("s")).reason, "SecretClaimed");
    }
}
