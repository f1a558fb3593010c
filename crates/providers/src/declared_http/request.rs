//! Builds the call that a spec declares. Pure.
//!
//! Each place has its own encoding, so that no value can leave it: a template in the path fills one segment, the fields
//! of query and form are encoded pairs, and a JSON body is built as a value. The origin and the literal start of the
//! path are compared again after the render.

use super::path::is_at_most;
use super::rules;
use crate::clock::Timestamp;
use crate::http::Call;
use crate::provider_setup::shown;
use crate::{Class, IssueError};
use chrono::TimeDelta;
use reqwest::Method;
use reqwest::header::HeaderName;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use std::time::Duration;
use url::Url;
use uuid::Uuid;
use videotoken_api::http::request::secret_ref;
use videotoken_api::http::{HttpAccount, HttpMethod, HttpRequest};
use videotoken_api::parameters;
use videotoken_api::provider::SecretKeyRef;
use videotoken_api::request::{FieldError, TokenRequest};
use videotoken_core::plan::template::declared::{Renderer, RequestVariables};

/// Maximum bytes of a header's value.
const LONGEST_HEADER: usize = 8 * 1024;

/// Maximum bytes of a rendered body.
const LARGEST_BODY: usize = 64 * 1024;

/// Maximum depth of a rendered JSON body.
const DEEPEST: usize = 8;

/// Path of the declared request in a provider's spec.
pub(super) const FIELD: &str = "spec.http.request";

/// The declared request of one account.
pub(super) struct Template {
    endpoint: Url,
    request: HttpRequest,
    /// Secrets of headers and body, in the order of [`HttpRequest::secret_refs`].
    secrets: Vec<(SecretKeyRef, SecretString)>,
}

impl Template {
    /// Creates the template of an account, renders it with sample values and checks what it contains, so that a mistake
    /// shows before the first call. The error names the field.
    pub(super) fn new(
        endpoint: Url,
        account: &HttpAccount,
        secrets: Vec<(SecretKeyRef, SecretString)>,
    ) -> Result<Self, FieldError> {
        let template = Self { endpoint, request: account.request.clone(), secrets };
        template.call(&RequestVariables::sample(parameters::samples(&account.parameters)))?;
        rules::check(account)?;
        Ok(template)
    }

    /// Builds the call without its credential.
    ///
    /// # Errors
    /// The field whose template can't be rendered, or whose result doesn't fit into its place.
    pub(super) fn call(&self, variables: &RequestVariables) -> Result<Call, FieldError> {
        let mut renderer = Renderer::new(variables);
        let url = self.url(&mut renderer)?;
        let call = Call::new(method(&self.request.method)?, url);
        let call = self.headers(&mut renderer, call)?;
        let call = self.secrets.iter().fold(call, |call, (_, secret)| call.knows(secret));
        self.body(&mut renderer, call)
    }

    /// Returns the host of the API.
    pub(super) fn host(&self) -> String {
        shown(&self.endpoint)
    }

    fn url(&self, renderer: &mut Renderer) -> Result<Url, FieldError> {
        let field = format!("{FIELD}.path");
        let mut url = self.endpoint.clone();
        let mut segments = Vec::new();
        for source in segments_of(&self.request.path) {
            let segment = renderer.text(&field, source)?.expose_secret().to_owned();
            let is_rendered = source != segment;
            if literal(source).contains('%') {
                let message = "contains a percent sign: write the path decoded, since the operator encodes it";
                return Err(FieldError::new(field, message));
            }
            if is_rendered && (segment.is_empty() || segment.contains('/')) {
                let message = format!("`{source}` must fill one segment: it may not be empty and may not have a slash");
                return Err(FieldError::new(field, message));
            }
            // URL parsers skip tabs and line ends, so a `..` with a tab would lead to another path.
            if segment == "." || segment == ".." || segment.contains(|c: char| c.is_ascii_control()) {
                return Err(FieldError::new(
                    field,
                    "a segment may not be `.` or `..`, and may not have control characters",
                ));
            }
            segments.push(segment);
        }
        let wrong = || FieldError::new("spec.http.url", "must be an absolute URL such as https://api.example.com");
        url.path_segments_mut().map_err(|()| wrong())?.pop_if_empty().extend(&segments);
        if !self.request.query.is_empty() {
            let mut pairs = url.query_pairs_mut();
            for (name, source) in &self.request.query {
                let value = renderer.text(&format!("{FIELD}.query.{name}"), source)?;
                pairs.append_pair(name, value.expose_secret());
            }
        }
        let prefix = self.endpoint.path().trim_end_matches('/');
        let stays = url.origin() == self.endpoint.origin()
            && url.path().strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
            && url.path_segments().map(Iterator::count)
                == Some(self.endpoint.path().trim_end_matches('/').matches('/').count() + segments.len());
        if stays { Ok(url) } else { Err(FieldError::new(field, "leads to another URL than spec.http.url")) }
    }

    fn headers(&self, renderer: &mut Renderer, mut call: Call) -> Result<Call, FieldError> {
        for (n, header) in self.request.headers.iter().enumerate() {
            let field = format!("{FIELD}.headers[{n}]");
            let name = HeaderName::try_from(header.name.as_str())
                .map_err(|_| FieldError::new(format!("{field}.name"), "is no name of a header"))?;
            if let Some(reference) = &header.secret_ref {
                let secret = self.secret(reference).ok_or_else(|| unread(&field))?;
                call = call.secret_header(name, secret);
                continue;
            }
            let source = header.value.as_deref().unwrap_or_default();
            let value = renderer.text(&format!("{field}.value"), source)?;
            let text = value.expose_secret();
            if text.len() > LONGEST_HEADER || text.contains(|c: char| c.is_control() && c != '\t') {
                let message = "must be at most 8 KiB, without line breaks and other control characters";
                return Err(FieldError::new(format!("{field}.value"), message));
            }
            call = call.header(name, text);
        }
        Ok(call)
    }

    fn body(&self, renderer: &mut Renderer, call: Call) -> Result<Call, FieldError> {
        let too_large = |field: String| FieldError::new(field, "renders to more than 64 KiB: shorten it");
        if let Some(json) = &self.request.json {
            let field = format!("{FIELD}.json");
            let mut body = Value::Object(renderer.object(&field, json)?);
            if !is_at_most(&body, DEEPEST) {
                return Err(FieldError::new(field, "renders to more than 8 levels: flatten it"));
            }
            self.insert_secrets(&field, &mut body)?;
            let text = serde_json::to_vec(&body).unwrap_or_default();
            return if text.len() > LARGEST_BODY {
                Err(too_large(field))
            } else {
                Ok(call.body(text, "application/json"))
            };
        }
        if let Some(form) = &self.request.form {
            let field = format!("{FIELD}.form");
            let pairs = self.form(&field, renderer.object(&field, form)?)?;
            return Ok(call.form(pairs.iter().map(|(name, value)| (name.as_str(), value.expose_secret()))));
        }
        if let Some(source) = &self.request.text {
            let text = renderer.text(&format!("{FIELD}.text"), source)?;
            return Ok(call.body(text.expose_secret().as_bytes().to_vec(), "text/plain; charset=utf-8"));
        }
        Ok(call)
    }

    /// Returns the fields of a form.
    fn form(&self, field: &str, rendered: Map<String, Value>) -> Result<Vec<(String, SecretString)>, FieldError> {
        let pairs = rendered.into_iter().map(|(name, value)| {
            let text: SecretString = match (&value, secret_ref(&value)) {
                (_, Some(reference)) => self.secret(&reference).ok_or_else(|| unread(field))?.clone(),
                (Value::String(text), None) => text.as_str().into(),
                (Value::Number(_) | Value::Bool(_), None) => value.to_string().into(),
                _ => return Err(FieldError::new(format!("{field}.{name}"), "must be a text, a number or a boolean")),
            };
            Ok((name, text))
        });
        pairs.collect()
    }

    /// Replaces each reference to a Secret by its value.
    fn insert_secrets(&self, field: &str, value: &mut Value) -> Result<(), FieldError> {
        if let Some(reference) = secret_ref(value) {
            let secret = self.secret(&reference).ok_or_else(|| unread(field))?;
            *value = secret.expose_secret().into();
            return Ok(());
        }
        match value {
            Value::Object(members) => members
                .iter_mut()
                .try_for_each(|(name, member)| self.insert_secrets(&format!("{field}.{name}"), member)),
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.insert_secrets(field, item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn secret(&self, reference: &SecretKeyRef) -> Option<&SecretString> {
        self.secrets.iter().find(|(known, _)| known == reference).map(|(_, secret)| secret)
    }
}

/// Returns the variables of a request at this time.
pub(super) fn variables(request: &TokenRequest, now: Timestamp) -> RequestVariables {
    let parameters = request.fields.get("parameters").and_then(Value::as_object).cloned().unwrap_or_default();
    let lifetime = request.promised_lifetime;
    let expires_at = now + TimeDelta::from_std(lifetime).unwrap_or_else(|_| TimeDelta::days(366));
    RequestVariables { parameters, issued_at: now, expires_at, lifetime, uuid: Uuid::new_v4().to_string() }
}

/// Returns the lifetime that a request asks for, if the API takes one.
pub(super) fn asked(request: &TokenRequest) -> Option<Duration> {
    request.fields.contains_key("lifetime").then_some(request.promised_lifetime)
}

/// Returns the failure of a request that can't be built.
pub(super) fn unfit(error: &FieldError) -> IssueError {
    IssueError::new(Class::Configuration, "BadRequest", format!("the provider's {error}")).unsent()
}

/// A rendered value has the form of a reference that the spec doesn't contain.
fn unread(field: &str) -> FieldError {
    FieldError::new(field, "a template renders to a secretRef: write references literally")
}

fn method(method: &HttpMethod) -> Result<Method, FieldError> {
    match method {
        HttpMethod::Get => Ok(Method::GET),
        HttpMethod::Post => Ok(Method::POST),
        HttpMethod::Put => Ok(Method::PUT),
        HttpMethod::Patch => Ok(Method::PATCH),
        HttpMethod::Other(_) => Err(FieldError::new(format!("{FIELD}.method"), "must be GET, POST, PUT or PATCH")),
    }
}

/// Opening and closing marks of a template's tags.
const TAGS: [(&str, &str); 3] = [("{{", "}}"), ("{%", "%}"), ("{#", "#}")];

/// Returns the end of the tag at the start of a text, if there is one.
fn tag(text: &str) -> Option<usize> {
    let (_, close) = TAGS.into_iter().find(|(open, _)| text.starts_with(open))?;
    Some(text.find(close).map_or(text.len(), |end| end + close.len()))
}

/// Returns a template without its tags.
fn literal(source: &str) -> String {
    let (mut text, mut rest) = (String::new(), source);
    while let Some(next) = rest.find('{') {
        let (before, after) = rest.split_at(next);
        text.push_str(before);
        rest = match tag(after) {
            Some(end) => &after[end..],
            None => &after[1..],
        };
    }
    text + rest
}

/// Splits a path at the slashes that are not part of a template's tag.
fn segments_of(path: &str) -> Vec<&str> {
    let mut segments = Vec::new();
    let (mut start, mut at) = (0, 0);
    let rest = path.strip_prefix('/').unwrap_or(path);
    while let Some(next) = rest[at..].find(['/', '{']).map(|offset| at + offset) {
        if let Some(end) = tag(&rest[next..]) {
            at = next + end;
            continue;
        }
        if rest[next..].starts_with('/') {
            segments.push(&rest[start..next]);
            start = next + 1;
        }
        at = next + 1;
    }
    segments.push(&rest[start..]);
    segments
}
