//! A declaration without its secrets, for checks and for trials of a new provider.

use super::build::{AUTH, RESPONSE, issuer};
use super::path::json;
use super::reader::Reader;
use super::request::{FIELD, Template, asked, variables};
use crate::clock::{self, Timestamp};
use crate::http::{Call, HttpPool, MAX_BODY, ProviderResponse};
use crate::provider::Provider;
use crate::provider_setup::{HttpContext, OutboundPolicy, References};
use crate::{Class, IssueError, Issued};
use reqwest::header::HeaderMap;
use secrecy::SecretString;
use serde_json::Value;
use std::fmt::Write as _;
use url::form_urlencoded;
use videotoken_api::http::request::is_allowed_auth_header;
use videotoken_api::http::{Auth, HttpAccount, SendClient};
use videotoken_api::provider::{ProviderSpec, SecretKeyRef};
use videotoken_api::request::{FieldError, TokenRequest};
use videotoken_core::plan::view::Refusal;

/// Longest text of an answer that an outline shows.
const LONGEST_SHOWN: usize = 96;

/// Most lines of an outline.
const MOST_LINES: usize = 64;

/// A declaration, compiled without its secrets.
pub struct Declared {
    reader: Reader,
    template: Template,
    auth: Vec<String>,
}

impl Declared {
    /// Compiles the declaration of an account. The error names the invalid field.
    pub fn new(account: &HttpAccount) -> Result<Self, FieldError> {
        let endpoint = account.endpoints()?.swap_remove(0).1;
        let reader = Reader::new(&account.response, RESPONSE)?;
        if let Auth::Header(header) = account.auth()?
            && !is_allowed_auth_header(&header.name)
        {
            return Err(FieldError::new(format!("{AUTH}.header.name"), "is not allowed: it belongs to the connection"));
        }
        let secrets = account.request.secret_refs(FIELD).into_iter();
        let secrets = secrets.map(|(_, reference)| (reference.clone(), SecretString::from(masked(&reference))));
        let template = Template::new(endpoint, account, secrets.collect())?;
        Ok(Self { reader, template, auth: auth_lines(account)? })
    }

    /// Returns the request for a token as lines of text. Each secret is `<NAME/KEY>` of its reference.
    pub fn request(&self, request: &TokenRequest, now: Timestamp) -> Result<Vec<String>, FieldError> {
        let mut lines = shown(&self.template.call(&variables(request, now))?);
        let at = 1.min(lines.len());
        lines.splice(at..at, self.auth.clone());
        Ok(lines)
    }

    /// Returns the values of an answer, as [`Reader::outline`] does.
    pub fn outline(&self, answer: &ProviderResponse) -> Vec<String> {
        self.reader.outline(answer)
    }

    /// Reads an answer as the operator would. `note` gets each step, without a secret.
    pub fn read(
        &self,
        answer: &ProviderResponse,
        request: &TokenRequest,
        now: Timestamp,
        note: &mut dyn FnMut(String),
    ) -> Result<Issued, IssueError> {
        self.reader.read(answer, asked(request), now, note)
    }
}

/// Sends the request for a token once, with its secrets, and returns the answer. The caller decides whether a login may
/// be made.
///
/// # Errors
/// The first error is a provider object that can't be used; the second is a failure without an answer.
pub async fn send(
    reach: &OutboundPolicy,
    spec: &ProviderSpec,
    account: &HttpAccount,
    references: &References<'_>,
    request: &TokenRequest,
) -> Result<Result<ProviderResponse, IssueError>, Refusal> {
    let pool = HttpPool::default();
    let via = HttpContext::new(reach, &pool, references.owner());
    let (issuer, _) = issuer(account, &via, spec, references).await?;
    let sent = async {
        let token = issuer.auth.token().await?;
        issuer.send(issuer.call(request, token.as_ref(), clock::now().wall)?).await
    };
    Ok(sent.await)
}

/// Parses a saved answer: what `curl -i` prints, or a body alone, which counts as HTTP 200. Of several heads, the last
/// counts: those before it are of a proxy or informational.
///
/// # Errors
/// `Redirected` and `BodyTooLarge`, as for an answer from the network.
pub fn saved_answer(text: &[u8], now: Timestamp) -> Result<ProviderResponse, IssueError> {
    let (mut status, mut headers, mut body) = (200, HeaderMap::new(), text);
    while body.starts_with(b"HTTP/") {
        (status, headers, body) = head(body);
    }
    if body.len() > MAX_BODY {
        let message = format!("the answer is longer than {} KiB", MAX_BODY / 1024);
        return Err(IssueError::new(Class::Transient, "BodyTooLarge", message));
    }
    let answer = ProviderResponse::new(status, &headers, body.to_vec(), now, now, crate::redact::Redactor::default());
    answer.reject_redirect()
}

/// Splits a saved answer into the status and the headers of its head, and the rest.
fn head(text: &[u8]) -> (u16, HeaderMap, &[u8]) {
    let blanks: [&[u8]; 2] = [b"\r\n\r\n", b"\n\n"];
    let end = blanks.into_iter().filter_map(|blank| {
        text.windows(blank.len()).position(|window| window == blank).map(|at| (at, at + blank.len()))
    });
    let (head, body) = end.min().unwrap_or((text.len(), text.len()));
    let head = String::from_utf8_lossy(&text[..head]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0);
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if let (Ok(name), Ok(value)) = (name.trim().parse::<http::HeaderName>(), value.trim().parse()) {
            headers.append(name, value);
        }
    }
    (status, headers, &text[body..])
}

impl Reader {
    /// Returns the values of an answer with their JSON paths, one a line. The token, the values and texts that may be
    /// secret are shown by their length.
    pub fn outline(&self, answer: &ProviderResponse) -> Vec<String> {
        let body = json(&answer.body);
        let hidden = answer.hiding(self.secrets(answer, body.as_ref()));
        let mut lines = Vec::new();
        match &body {
            Some(body) => walk("$", body, &hidden, &mut lines),
            None if answer.body.is_empty() => lines.push("the body is empty".to_owned()),
            None => lines.push(format!("the body is no JSON: {} bytes", answer.body.len())),
        }
        if lines.len() > MOST_LINES {
            let more = lines.len() - MOST_LINES;
            lines.truncate(MOST_LINES);
            lines.push(format!("and {more} more values"));
        }
        lines
    }
}

/// Appends a line for each scalar of a value. What the answer hides is shown by its length or its type.
fn walk(path: &str, value: &Value, answer: &ProviderResponse, lines: &mut Vec<String>) {
    let is_quoted_whole = |text: &str| answer.quote(text) == text;
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                walk(&format!("{path}{}", step(name)), member, answer, lines);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (n, item) in items.iter().enumerate() {
                walk(&format!("{path}[{n}]"), item, answer, lines);
            }
        }
        Value::String(text) if is_harmless(text) && is_quoted_whole(text) => lines.push(format!("{path}: \"{text}\"")),
        Value::String(text) => lines.push(format!("{path}: text of {} characters", text.chars().count())),
        Value::Number(number) if !is_quoted_whole(&number.to_string()) => lines.push(format!("{path}: number")),
        other => lines.push(format!("{path}: {other}")),
    }
}

/// Returns true for a text that is no secret: words without digits, such as a code or the URL of an error; a number; or a
/// time.
fn is_harmless(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphabetic() || " .,:/_-".contains(c);
    let is_number = text.len() <= 13 && text.parse::<f64>().is_ok();
    text.len() <= LONGEST_SHOWN
        && (text.chars().all(is_word) || is_number || text.parse::<chrono::DateTime<chrono::Utc>>().is_ok())
}

/// Returns the step of a path to a member.
fn step(name: &str) -> String {
    let mut rest = name.chars();
    let is_plain = rest.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && rest.all(|c| c.is_ascii_alphanumeric() || c == '_');
    match name {
        _ if is_plain => format!(".{name}"),
        _ if name.contains('\'') => format!("[\"{name}\"]"),
        _ => format!("['{name}']"),
    }
}

fn masked(reference: &SecretKeyRef) -> String {
    format!("<{}/{}>", reference.name, reference.key)
}

/// Returns the lines of a request. The fields of a form are decoded, one a line.
fn shown(call: &Call) -> Vec<String> {
    let mut lines = call.lines();
    if lines.iter().any(|line| line.starts_with("content-type: application/x-www-form-urlencoded"))
        && let Some(form) = lines.pop()
    {
        lines.extend(form_urlencoded::parse(form.as_bytes()).map(|(name, value)| format!("{name}={value}")));
    }
    lines
}

/// Returns the lines of the credential, without a secret.
fn auth_lines(account: &HttpAccount) -> Result<Vec<String>, FieldError> {
    Ok(match account.auth()? {
        Auth::Bearer(reference) => vec![format!("authorization: Bearer {}", masked(reference))],
        Auth::Basic(basic) => {
            vec![format!(
                "authorization: Basic {}:{} in base64",
                masked(&basic.username_ref),
                masked(&basic.password_ref)
            )]
        }
        Auth::Header(header) => {
            let prefix = header.prefix.as_deref().unwrap_or_default();
            vec![format!("{}: {prefix}{}", header.name.to_ascii_lowercase(), masked(&header.secret_ref))]
        }
        Auth::Oauth2(oauth) => {
            let mut first = format!(
                "authorization: Bearer <access token of {}, grant_type={}",
                oauth.token_url,
                oauth.grant.as_str()
            );
            if !oauth.scopes.is_empty() {
                let _ = write!(first, ", scope={}", oauth.scopes.join(" "));
            }
            for (name, value) in &oauth.params {
                let _ = write!(first, ", {name}={value}");
            }
            let how = if oauth.send == SendClient::Body { "form" } else { "Authorization header" };
            let _ = write!(first, ", client in the {how}>");
            vec![first]
        }
        Auth::Entra(entra) => {
            vec![format!("authorization: Bearer <access token of {} for {}>", entra.authority, entra.scope)]
        }
        Auth::None => Vec::new(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_saved_answer_is_read_with_its_head_or_without() {
        let now = clock::now().wall;
        let saved_answer = |text: &[u8]| saved_answer(text, now);
        let whole = b"HTTP/2 403 \r\nContent-Type: application/json\r\nset-cookie: T=abc; Path=/\r\n\r\n{\"a\": 1}\n";
        let whole = saved_answer(whole).unwrap();
        assert_eq!(
            (whole.status, whole.cookie("T"), whole.body.as_slice()),
            (403, Some("abc"), b"{\"a\": 1}\n".as_slice())
        );
        let unix = saved_answer(b"HTTP/1.1 200 OK\nX-A: b\n\nbody").unwrap();
        assert_eq!((unix.status, unix.header("x-a"), unix.body.as_slice()), (200, Some("b"), b"body".as_slice()));
        let bare = saved_answer(b"{\"token\": \"x\"}").unwrap();
        assert_eq!((bare.status, bare.body.len()), (200, 14));
        assert_eq!(saved_answer(b"HTTP/1.1").unwrap().status, 0);
        let proxied = b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 No\r\nX-A: b\r\n\r\n{}";
        let proxied = saved_answer(proxied).unwrap();
        assert_eq!(
            (proxied.status, proxied.header("x-a"), proxied.body.as_slice()),
            (401, Some("b"), b"{}".as_slice())
        );
        let long = [b"HTTP/1.1 200 OK\n\n".as_slice(), &b" ".repeat(MAX_BODY + 1)].concat();
        for (text, reason) in
            [(b"HTTP/1.1 302 Found\nlocation: /login\n\n".as_slice(), "Redirected"), (&long, "BodyTooLarge")]
        {
            assert_eq!(saved_answer(text).unwrap_err().reason, reason);
        }
    }

    #[test]
    fn p11_an_outline_shows_paths_and_no_secret() {
        let outline = |token: &str, body: &str| {
            let response =
                json!({"token": {"json": token}, "expires": {"after": "1h"}, "values": {"pin": {"json": "$.pin"}}});
            let reader = Reader::new(&serde_json::from_value(response).unwrap(), RESPONSE).unwrap();
            reader.outline(&saved_answer(body.as_bytes(), clock::now().wall).unwrap())
        };
        let body = r#"{"ok": true, "result": {"access-token": "3f0c8a4e9b1d4f6a3f0c8a4e9b1d4f6a", "n": [3600, "Bearer"]}, "it's": {}}"#;
        assert_eq!(
            outline("$.none", body),
            [
                "$[\"it's\"]: {}",
                "$.ok: true",
                "$.result['access-token']: text of 32 characters",
                "$.result.n[0]: 3600",
                "$.result.n[1]: \"Bearer\"",
            ]
        );
        // a token and a value of any form, also where another member repeats it
        let body = r#"{"again": "correcthorse", "n": 3600, "pin": 4711, "t": "correcthorse", "until": 1795348817000}"#;
        assert_eq!(
            outline("$.t", body),
            ["$.again: text of 12 characters", "$.n: 3600", "$.pin: number", "$.t: text of 12 characters", "$.until: 1795348817000"]
        );
    }
}
