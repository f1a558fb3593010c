//! Checks of the templates of a signed token: the required content, and the names that they can't read.
//!
//! A token without its signature, with a digest without the key, or with a text that states no expiry renders without an
//! error. Anybody could make such a token, or it would be valid for longer than the operator says.

use super::key;
use serde_json::{Map, Value};
use videotoken_api::request::FieldError;
use videotoken_api::signed::{Form, Jwt, Message, SignedAccount};
use videotoken_core::plan::template::declared::Reads;

const MESSAGE: &str = "spec.signed.message";

/// Claims of a JWT that are times in seconds since 1970 (RFC 7519 §2, `NumericDate`), in addition to `exp`.
const TIMES: [&str; 2] = ["iat", "nbf"];

/// Larger numbers are milliseconds since 1970: as seconds they would be after the year 5000.
const LATEST: f64 = 1e11;

/// Checks that the templates read no variable that their place doesn't have, before they are rendered.
pub(super) fn places(account: &SignedAccount) -> Result<(), FieldError> {
    let Form::Message(message) = account.form()? else { return Ok(()) };
    let wrong = |member: &str, why: String| Err(FieldError::new(format!("{MESSAGE}.{member}"), why));
    let (is_digest, algorithm) = (message.algorithm.is_digest(), key::word(&message.algorithm));
    let text = Reads::parse(&message.text);
    if text.has("key") && !is_digest {
        return wrong(
            "text",
            format!(
                "`key` is a variable with the plain digests Sha1, Sha256, Sha384 and Sha512 only: {algorithm} signs with \
                 the key itself. Remove it."
            ),
        );
    }
    if let Some(name) = ["signature", "message"].into_iter().find(|name| text.has(name)) {
        return wrong("text", format!("`{name}` is known in token and values only: the text is what is signed."));
    }
    let values = message.values.iter().map(|(name, source)| (format!("values.{name}"), source));
    for (member, source) in [("token".to_owned(), &message.token)].into_iter().chain(values) {
        let reads = Reads::parse(source);
        if reads.has("key") {
            return wrong(&member, "`key` is known in text only: a token that contains the key reveals it.".to_owned());
        }
        if is_digest && reads.has("message") {
            let why = format!(
                "`message` is not available with {algorithm}: the text contains the key. Write its parts again."
            );
            return wrong(&member, why);
        }
    }
    Ok(())
}

/// Checks what the templates contain. They were rendered with sample values.
pub(super) fn check(account: &SignedAccount) -> Result<(), FieldError> {
    let mut reads = Reads::default();
    match account.form()? {
        Form::Jwt(Jwt { header, claims, variants, .. }) => {
            let trees = [header, claims].into_iter().chain(variants.values());
            trees.flat_map(Map::values).for_each(|tree| reads.tree(tree));
        }
        Form::Message(message) => {
            contains(message)?;
            let texts = [&message.text, &message.token].into_iter().chain(message.values.values());
            texts.for_each(|source| reads.text(source));
        }
        Form::Agora(agora) => {
            let rtc = agora.rtc.iter().flat_map(|rtc| [&rtc.channel, &rtc.uid]);
            rtc.chain(agora.rtm.iter().map(|rtm| &rtm.user)).for_each(|source| reads.text(source));
        }
    }
    reads.all_of("spec.signed.parameters", &account.parameters)
}

/// Checks that a token can't be made without the key, and ends when the operator says.
fn contains(message: &Message) -> Result<(), FieldError> {
    let wrong = |member: &str, why: String| Err(FieldError::new(format!("{MESSAGE}.{member}"), why));
    let (text, algorithm) = (Reads::parse(&message.text), key::word(&message.algorithm));
    if message.algorithm.is_digest() && !text.has("key") {
        return wrong(
            "text",
            format!(
                "lacks the key: {algorithm} is a plain digest, so anyone could make this token. Write {{{{ key }}}} where \
                 the platform has it, or choose HmacSha1, HmacSha256, HmacSha384 or HmacSha512."
            ),
        );
    }
    if !text.has_expiry() {
        let why = "states no expiry, so the platform can't end the token when the operator says: write \
                   {{ expires_at | unix }}, or the form that the platform reads";
        return wrong("text", why.to_owned());
    }
    let mut parts = std::iter::once(&message.token).chain(message.values.values());
    if !parts.any(|source| Reads::parse(source).has("signature")) {
        return wrong("token", "lacks the signature, so the platform can't check it: write {{ signature }}".to_owned());
    }
    Ok(())
}

/// Checks that the times of rendered claims are seconds since 1970. `field` is the path of a claim of this name.
pub(super) fn times(claims: &Map<String, Value>, field: impl Fn(&str) -> String) -> Result<(), FieldError> {
    for name in TIMES {
        let Some(value) = claims.get(name) else { continue };
        let why = match value {
            Value::Number(number) if number.as_f64().is_some_and(|seconds| seconds.abs() < LATEST) => continue,
            Value::Number(_) => "is a number of milliseconds",
            Value::String(_) => "is a text",
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => "is no number",
        };
        let message = format!(
            "{why}, and must be a number of seconds since 1970: write \"{{{{ issued_at | unix }}}}\", without characters \
             around it"
        );
        return Err(FieldError::new(field(name), message));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::provider::Provider as _;
    use crate::provider_setup::Owner;
    use serde_json::json;

    fn account(spec: &str) -> SignedAccount {
        serde_yaml_ng::from_str(spec).unwrap()
    }

    /// Without the key or the signature anyone could make the token, and without an expiry it would never end.
    #[test]
    fn a_text_without_its_key_its_signature_or_its_expiry_is_refused() {
        const GOOD: &str = "{{ signature }}";
        let declared = |algorithm: &str, text: &str, token: &str| {
            json!({"key": {"secretRef": {"name": "s", "key": "k"}}, "parameters": {"stream": {"default": ""}},
                "message": {"algorithm": algorithm, "encoding": "Hex", "text": format!("{{{{ stream }}}}{text}"),
                    "token": token, "values": {"v": "{{ expires_at }}"}}})
        };
        let check = |account: Value| serde_json::from_value::<SignedAccount>(account).unwrap().check(Owner::Cluster);
        for (algorithm, text, token, expected) in [
            ("Sha1", "{{ expires_at | unix }}{{ key }}", GOOD, None),
            ("HmacSha1", "{{ expires_at | unix }}", GOOD, None),
            // each branch counts, and so does a lifetime
            ("HmacSha1", "{{ issued_at | unix }}+{{ lifetime }}", GOOD, None),
            ("HmacSha1", "{% if stream == 'x' %}{{ (expires_at | unix) * 1000 }}{% endif %}", GOOD, None),
            ("Sha1", "{{ expires_at | unix }}", GOOD, Some(("text", "lacks the key: Sha1 is a plain digest"))),
            ("Sha512", "{{ expires_at | unix }}key", GOOD, Some(("text", "Write {{ key }} where the platform has it"))),
            ("Sha1", "{{ key }}", GOOD, Some(("text", "states no expiry"))),
            ("HmacSha256", "{{ issued_at | unix }}", GOOD, Some(("text", "write {{ expires_at | unix }}"))),
            ("RsaSha256", "constant", GOOD, Some(("text", "states no expiry"))),
            ("Sha1", "{{ expires_at }}{{ key }}", "{{ expires_at }}", Some(("token", "lacks the signature"))),
            ("Ed25519", "{{ expires_at }}", "{{ message }}", Some(("token", "write {{ signature }}"))),
            (
                "HmacSha1",
                "{{ expires_at }}{{ key }}",
                GOOD,
                Some((
                    "text",
                    "plain digests Sha1, Sha256, Sha384 and Sha512 only: HmacSha1 signs with the key itself",
                )),
            ),
            (
                "Sha1",
                "{{ expires_at }}{{ key }}",
                "{{ key }}",
                Some(("token", "a token that contains the key reveals it")),
            ),
            ("Sha1", "{{ expires_at }}{{ key }}", "{{ message }}", Some(("token", "the text contains the key"))),
            ("HmacSha1", "{{ expires_at }}{{ signature }}", GOOD, Some(("text", "known in token and values only"))),
        ] {
            let error = check(declared(algorithm, text, token)).err();
            assert_eq!(error.is_some(), expected.is_some(), "{algorithm} {text} {token}: {error:?}");
            let Some((error, (member, part))) = error.zip(expected) else { continue };
            assert_eq!(error.field, format!("spec.signed.message.{member}"), "{error}");
            assert!(error.message.contains(part), "{error}");
        }
        // the parts of a cookie have the signature in a further value
        let mut cookie = declared("HmacSha1", "{{ expires_at }}", "{{ message }}");
        cookie["message"]["values"]["v"] = GOOD.into();
        assert_eq!(check(cookie), Ok(()));
    }

    /// RFC 7519 §2: `NumericDate`.
    #[test]
    fn times_in_claims_are_numbers_of_seconds() {
        for (claim, expected) in [
            ("iat: '{{ issued_at | unix }}'", None),
            ("nbf: '{{ (issued_at | unix) - 10 }}'", None),
            ("iat: 1", None),
            ("iat: 1790000000.5", None),
            ("created: '{{ (issued_at | unix) * 1000 }}', context: {iat: '{{ issued_at }}'}", None),
            ("iat: '{{ issued_at }}'", Some(("claims.iat", "is a text, and must be a number of seconds since 1970"))),
            ("iat: '{{ issued_at | unix }} '", Some(("claims.iat", "without characters around it"))),
            ("nbf: '{{ (issued_at | unix) * 1000 }}'", Some(("claims.nbf", "is a number of milliseconds"))),
            ("iat: null", Some(("claims.iat", "is no number"))),
        ] {
            let spec =
                format!("{{key: {{secretRef: {{name: s, key: k}}}}, jwt: {{algorithm: HS256, claims: {{{claim}}}}}}}");
            let error = account(&spec).check(Owner::Cluster).err();
            assert_eq!(error.is_some(), expected.is_some(), "{claim}: {error:?}");
            let Some((error, (field, part))) = error.zip(expected) else { continue };
            assert_eq!(error.field, format!("spec.signed.jwt.{field}"), "{error}");
            assert!(error.message.contains(part), "{error}");
        }
        let spec =
            "{key: {secretRef: {name: s, key: k}}, jwt: {algorithm: HS256, claims: {iat: 1}, variants: {v: {iat: x}}}}";
        assert_eq!(account(spec).check(Owner::Cluster).err().unwrap().field, "spec.signed.jwt.variants.v.iat");
    }
}
