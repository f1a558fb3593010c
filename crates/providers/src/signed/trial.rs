//! Text that a declaration signs, without its key: for trials of a new provider.

use super::{agora, check, jws, key, message, variables};
use crate::clock::Timestamp;
use crate::signed::key::Signer;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use videotoken_api::request::{FieldError, TokenRequest};
use videotoken_api::signed::{Agora, Form, Jwt, Message, SignedAccount};
use videotoken_core::plan::template::declared::RequestVariables;

/// Returns the content of a token as lines of text: header and claims, or the signed text and the token. The key is
/// `<NAME/KEY>` of its reference, and the signature is `<signature>`. The error names the invalid field.
pub fn content(account: &SignedAccount, request: &TokenRequest, now: Timestamp) -> Result<Vec<String>, FieldError> {
    let form = account.form()?;
    check(account, &Signer::sample(&form))?;
    let variables = variables(request, now);
    match form {
        Form::Jwt(jwt) => of_jwt(jwt, &variables),
        Form::Message(message) => {
            let reference = &account.key.secret_ref;
            of_message(message, &format!("<{}/{}>", reference.name, reference.key), &variables)
        }
        Form::Agora(agora) => of_agora(agora, &variables),
    }
}

fn of_jwt(jwt: &Jwt, variables: &RequestVariables) -> Result<Vec<String>, FieldError> {
    let text = |json: Map<String, Value>| Value::Object(json).to_string();
    let (header, claims) = jws::parts(jwt, variables, None)?;
    let mut lines = vec![
        format!("JWT, signed by {}", key::word(&jwt.algorithm)),
        format!("header: {}", text(header)),
        format!("claims: {}", text(claims)),
    ];
    for (name, claims) in &jwt.variants {
        let (_, claims) = jws::parts(jwt, variables, Some((name, claims)))?;
        lines.push(format!("values.{name}: {}", text(claims)));
    }
    Ok(lines)
}

fn of_message(message: &Message, key: &str, variables: &RequestVariables) -> Result<Vec<String>, FieldError> {
    let masked = message.algorithm.is_digest().then(|| SecretString::from(key));
    let (text, signed) =
        message::rendered(message, masked.as_ref(), variables, &|_| Ok(SecretString::from("<signature>")))?;
    let mut lines = vec![
        format!("text, signed by {} in {}", key::word(&message.algorithm), key::word(&message.encoding)),
        format!("text: {}", text.expose_secret()),
        format!("token: {}", signed.token.expose_secret()),
    ];
    lines.extend(signed.values.iter().map(|(name, value)| format!("values.{name}: {}", value.expose_secret())));
    Ok(lines)
}

fn of_agora(agora: &Agora, variables: &RequestVariables) -> Result<Vec<String>, FieldError> {
    let content = agora::content(agora, variables)?;
    let mut lines =
        vec![format!("AccessToken2 of app {}, valid for {} s", content.app_id.to_ascii_lowercase(), content.lifetime)];
    for service in &content.services {
        let texts: Vec<_> = service.texts.iter().map(|text| format!("{:?}", text.expose_secret())).collect();
        let privileges: Vec<_> = service.privileges.keys().map(u16::to_string).collect();
        let name = if service.type_ == agora::RTC { "rtc" } else { "rtm" };
        lines.push(format!("{name}: {}, privileges {}", texts.join(", "), privileges.join(", ")));
    }
    Ok(lines)
}
