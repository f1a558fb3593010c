//! Reads an answer as the spec declares: success or failure, token, expiry and further values. Pure.

use super::expiry::{ExpiryContext, Form};
use super::path::{JsonPath, json};
use super::response_rules::ResponseRules;
use crate::clock::Timestamp;
use crate::http::ProviderResponse;
use crate::{IssueError, Issued};
use secrecy::SecretString;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;
use videotoken_api::http::{HttpResponse, TokenPlace};
use videotoken_api::request::FieldError;

/// Maximum bytes of a token and of each further value.
const LONGEST_TOKEN: usize = 16 * 1024;

/// The declared reading of the answers of one account.
#[derive(Debug)]
pub struct Reader {
    token: Source,
    expires: Form,
    values: BTreeMap<String, Source>,
    response_rules: ResponseRules,
}

/// Place of a text in an answer.
#[derive(Debug)]
enum Source {
    Json(JsonPath),
    Cookie(String),
    Header(String),
    Text,
}

impl Reader {
    /// Creates the reader. The error names the invalid field; `field` is the path of `response`.
    pub fn new(response: &HttpResponse, field: &str) -> Result<Self, FieldError> {
        let values = response.values.iter();
        let values =
            values.map(|(name, place)| Ok((name.clone(), Source::new(place, &format!("{field}.values.{name}"))?)));
        Ok(Self {
            token: Source::new(&response.token, &format!("{field}.token"))?,
            expires: Form::new(&response.expires, &format!("{field}.expires"))?,
            values: values.collect::<Result<_, FieldError>>()?,
            response_rules: ResponseRules::new(response, field)?,
        })
    }

    /// Returns the token in an answer, or the failure that it describes. `asked` is the lifetime that the request asked
    /// for. `note` gets each step of the reading, without a secret.
    ///
    /// # Errors
    /// The class of the declared failure that matches, else of the status. `BadAnswer` and `ExpiredToken`, both
    /// transient, for a success that can't be read.
    pub fn read(
        &self,
        answer: &ProviderResponse,
        asked: Option<Duration>,
        now: Timestamp,
        note: &mut dyn FnMut(String),
    ) -> Result<Issued, IssueError> {
        let body = json(&answer.body);
        // A failure may be read from an answer that brings a token.
        let hidden = self.secrets(answer, body.as_ref());
        let answer = &answer.hiding(hidden);
        if let Some(failure) = self.response_rules.failure(answer, body.as_ref(), note) {
            return Err(failure);
        }
        let token =
            self.token.text(answer, body.as_ref()).map_err(|why| answer.not_understood(&format!("token: {why}")))?;
        note(format!("token: {} characters from {}", token.len(), self.token.name()));
        let context = ExpiryContext { token: &token, body: body.as_ref(), asked, now };
        let expires_at = self.expires.expiry(answer, &context, note)?;
        let mut values = BTreeMap::new();
        for (name, source) in &self.values {
            let value = source.text(answer, body.as_ref());
            let value = value.map_err(|why| answer.not_understood(&format!("values.{name}: {why}")))?;
            note(format!("values.{name}: {} characters from {}", value.len(), source.name()));
            values.insert(name.clone(), SecretString::from(value.into_owned()));
        }
        Ok(Issued {
            token: SecretString::from(token.into_owned()),
            issued_at: answer.sent_at,
            expires_at,
            expiry_assumed: false,
            excess: None,
            request_id: answer.request_id.clone(),
            values,
        })
    }

    /// Returns the token and the values that an answer contains, without those that can't be read.
    pub(super) fn secrets(&self, answer: &ProviderResponse, body: Option<&Value>) -> Vec<SecretString> {
        if !answer.is_success() {
            return Vec::new();
        }
        let sources = std::iter::once(&self.token).chain(self.values.values());
        sources.filter_map(|source| Some(source.text(answer, body).ok()?.as_ref().into())).collect()
    }
}

impl Source {
    fn new(place: &TokenPlace, field: &str) -> Result<Self, FieldError> {
        let sources = [
            place.json.as_ref().map(|path| JsonPath::parse(&format!("{field}.json"), path).map(Self::Json)),
            place.cookie.clone().map(|name| Ok(Self::Cookie(name))),
            place.header.clone().map(|name| Ok(Self::Header(name))),
            place.text.map(|_| Ok(Self::Text)),
        ];
        let mut set = sources.into_iter().flatten();
        match (set.next(), set.next()) {
            (Some(source), None) => source,
            _ => Err(FieldError::new(field, "set exactly one of json, cookie, header and text")),
        }
    }

    /// Returns the text at this place: 1 to 16,384 visible ASCII characters. The error says what is there instead.
    fn text<'a>(&self, answer: &'a ProviderResponse, body: Option<&'a Value>) -> Result<Cow<'a, str>, String> {
        let text: Cow<'a, str> = match self {
            Self::Json(path) => match body.map(|body| path.of(body)) {
                None => return Err(not_json(answer).to_owned()),
                Some(None) => return Err(format!("nothing at {}", path.as_str())),
                Some(Some(Value::String(text))) => text.trim().into(),
                Some(Some(Value::Number(number))) if number.is_i64() || number.is_u64() => number.to_string().into(),
                Some(Some(Value::Number(_))) => {
                    return Err(format!(
                        "a number at {} that has more digits than can be kept: a text is needed",
                        path.as_str()
                    ));
                }
                Some(Some(_)) => return Err(format!("no text at {}", path.as_str())),
            },
            Self::Cookie(name) => answer.cookie(name).ok_or_else(|| format!("no cookie {name}"))?.into(),
            Self::Header(name) => answer.header(name).ok_or_else(|| format!("no header {name}"))?.into(),
            Self::Text => {
                if answer.page().is_some() {
                    return Err("the body is a page".to_owned());
                }
                match body {
                    Some(Value::Object(_) | Value::Array(_)) => {
                        return Err("the body is JSON, not the token alone: declare token.json".to_owned());
                    }
                    Some(Value::String(_)) => {
                        return Err("the body is a JSON text in quotation marks: declare token.json: $".to_owned());
                    }
                    _ => std::str::from_utf8(&answer.body).map_err(|_| not_json(answer).to_owned())?.trim().into(),
                }
            }
        };
        let place = self.name();
        match text.len() {
            0 => Err(format!("an empty text at {place}")),
            length if length > LONGEST_TOKEN => Err(format!("more than 16,384 characters at {place}")),
            _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err(format!("blanks or characters beyond ASCII at {place}"))
            }
            _ => Ok(text),
        }
    }

    /// Returns the place as the spec writes it.
    fn name(&self) -> String {
        match self {
            Self::Json(path) => path.as_str().to_owned(),
            Self::Cookie(name) => format!("the cookie {name}"),
            Self::Header(name) => format!("the header {name}"),
            Self::Text => "the body".to_owned(),
        }
    }
}

/// Returns why a body isn't JSON.
fn not_json(answer: &ProviderResponse) -> &'static str {
    if answer.body.is_empty() {
        "no JSON"
    } else if answer.header("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        "the body is compressed, although the request does not permit it"
    } else if std::str::from_utf8(&answer.body).is_err() {
        "the body is not UTF-8"
    } else if serde_json::from_slice::<serde::de::IgnoredAny>(&answer.body).is_ok() {
        "the body has more than 32 levels"
    } else {
        "the body is no JSON"
    }
}
