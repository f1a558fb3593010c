//! An HTTP request and the secrets in it.

use super::super::redact::Redactor;
use super::super::{Class, IssueError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use std::time::Duration;
use url::Url;
use uuid::Uuid;

/// Call of a token API. It records each secret that it contains, so that quotations of the response don't contain any.
pub struct Call {
    pub(super) url: Url,
    method: Method,
    headers: HeaderMap,
    body: Vec<u8>,
    secrets: Vec<SecretString>,
    fault: Option<IssueError>,
}

impl Call {
    /// Creates a call of `url`.
    pub fn new(method: Method, url: Url) -> Self {
        Self { url, method, headers: HeaderMap::new(), body: Vec::new(), secrets: Vec::new(), fault: None }
    }

    /// Creates a GET request.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// Creates a POST request with an empty body.
    pub fn post(url: Url) -> Self {
        Self::new(Method::POST, url)
    }

    /// Adds the header `name: value`. `value` is not a secret.
    #[must_use]
    pub fn header(self, name: HeaderName, value: &str) -> Self {
        self.with_header(name, value, false)
    }

    /// Adds the header `name: secret`, such as `Ocp-Apim-Subscription-Key`.
    #[must_use]
    pub fn secret_header(self, name: HeaderName, secret: &SecretString) -> Self {
        self.with_header(name, secret.expose_secret().trim(), true).knows(secret)
    }

    /// Adds `Authorization: Bearer` with `token`.
    #[must_use]
    pub fn bearer(self, token: &SecretString) -> Self {
        let value = format!("Bearer {}", token.expose_secret().trim());
        self.with_header(AUTHORIZATION, &value, true).knows(token)
    }

    /// Adds `Authorization: Basic` with a user name and a password (RFC 7617).
    #[must_use]
    pub fn basic(self, username: &SecretString, password: &SecretString) -> Self {
        let pair = STANDARD.encode(format!("{}:{}", username.expose_secret(), password.expose_secret()));
        let value = format!("Basic {pair}");
        self.with_header(AUTHORIZATION, &value, true).knows(&pair.into()).knows(password)
    }

    /// Adds a header with a new GUID, by which the provider's support finds this request.
    #[must_use]
    pub fn client_request_id(self, name: HeaderName) -> Self {
        let id = Uuid::new_v4().to_string();
        self.with_header(name, &id, false)
    }

    /// Sets `body`, serialized as JSON, as the request body.
    #[must_use]
    pub fn json(mut self, body: &impl Serialize) -> Self {
        if let Ok(body) = serde_json::to_vec(body) {
            self.body(body, "application/json")
        } else {
            self.fault = Some(IssueError::new(Class::Configuration, "BadRequest", "the request is no JSON"));
            self
        }
    }

    /// Sets `fields` as the request body, encoded as a form.
    #[must_use]
    pub fn form<'a>(self, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.body(body.into_bytes(), "application/x-www-form-urlencoded")
    }

    /// Sets `body` as the request body, unchanged. A `Content-Type` that the call has already stays.
    #[must_use]
    pub fn body(mut self, body: Vec<u8>, content_type: &'static str) -> Self {
        self.body = body;
        self.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
        self
    }

    /// Records a secret that the URL or the body contains.
    #[must_use]
    pub fn knows(mut self, secret: &SecretString) -> Self {
        self.secrets.push(secret.clone());
        self
    }

    fn with_header(mut self, name: HeaderName, value: &str, is_secret: bool) -> Self {
        if let Ok(mut value) = HeaderValue::from_str(value) {
            value.set_sensitive(is_secret);
            self.headers.insert(name, value);
        } else {
            let (class, reason) =
                if is_secret { (Class::Credential, "BadCredential") } else { (Class::Configuration, "BadRequest") };
            let message = format!("the value of header {name} has characters that a header can't carry");
            self.fault = Some(IssueError::new(class, reason, message));
        }
        self
    }

    /// Returns the request as lines of text: method and URL, headers, an empty line and the body. It contains the secrets.
    pub(crate) fn lines(&self) -> Vec<String> {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        let body = String::from_utf8_lossy(&self.body).into_owned();
        let body = (!body.is_empty()).then(|| [String::new(), body]);
        [format!("{} {}", self.method, self.url)].into_iter().chain(headers).chain(body.into_iter().flatten()).collect()
    }

    /// Returns the request, and the redactor that quotes the response.
    pub(super) fn into_request(self, timeout: Duration) -> Result<(Request, Redactor), IssueError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let mut request = Request::new(self.method, self.url);
        *request.headers_mut() = self.headers;
        // Over HTTP/1.1 the client omits Content-Length if the body is empty. IIS answers such a POST with 411.
        if request.method() == Method::POST && self.body.is_empty() {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        *request.timeout_mut() = Some(timeout);
        *request.body_mut() = Some(self.body.into());
        Ok((request, Redactor::new(self.secrets)))
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = format!("{}{}", super::display_host(&self.url), self.url.path());
        f.debug_struct("Call").field("method", &self.method).field("url", &url).finish_non_exhaustive()
    }
}
