//! Errors that the server returns, and their classes.

use super::super::http::{ProviderResponse, class_of};
use super::super::{Class, IssueError};
use super::{WAY_OUT, with};
use serde_json::Value;
use videotoken_api::request::TokenRequest;

/// Code for "You do not have permissions to access this resource or perform this operation."
const NO_PERMISSION: &str = "GWM_0003";

/// Error of the server: `{"error": {code, message, details}}`, or `{"status": "error", "messages": […], "code"?}`.
pub(super) struct Complaint {
    code: Option<i64>,
    /// `messageCode`, the gateway's own code, such as `GWM_0003`.
    message_code: Option<String>,
    /// Text in lower case with one space before, between and after words. ` word` matches the start of one.
    words: String,
}

impl Complaint {
    pub(super) fn read(body: &Value, request: &TokenRequest) -> Option<Self> {
        let error = match body.get("error") {
            Some(error) => error,
            None if body.get("status").and_then(Value::as_str) == Some("error") => body,
            None => return None,
        };
        let code = error.get("code").and_then(|code| code.as_i64().or_else(|| code.as_str()?.trim().parse().ok()));
        let message_code = error.get("messageCode").and_then(Value::as_str).map(str::to_owned);
        let texts = [Some(error), error.get("message"), error.get("details"), error.get("messages")];
        let texts = texts.into_iter().flatten().flat_map(|text| match text {
            Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
            text => Vec::from_iter(text.as_str()),
        });
        let mut said = texts.collect::<Vec<_>>().join(" ").to_lowercase();
        // The text of a referer such as https://login.example isn't about a login.
        for own in ["referer", "referrer", "ip"].iter().filter_map(|name| request.fields.get(*name)?.as_str()) {
            said = if own.is_empty() { said } else { said.replace(&own.to_lowercase(), " ") };
        }
        let words: Vec<_> = said.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        Some(Self { code, message_code, words: format!(" {} ", words.join(" ")) })
    }

    /// Returns true if one of `beginnings` is at the start of a part of the text.
    fn says(&self, beginnings: &[&str]) -> bool {
        beginnings.iter().any(|beginning| self.words.contains(&format!(" {beginning}")))
    }

    fn says_locked(&self) -> bool {
        let user = self.says(&["account", "user", "login", "log in"]);
        self.says(&["locked out", "lockout"])
            || (user && self.says(&["locked"]))
            || (self.says(&["too many"]) && self.says(&["attempt", "login", "log in", "sign in"]))
    }

    fn says_who(&self) -> bool {
        self.says(&[
            "username",
            "user name",
            "invalid user",
            "password",
            "credential",
            "login",
            "log in",
            "logon",
            "log on",
            "sign in",
            "signin",
            "authentication failed",
        ])
    }

    fn says_parameter(&self) -> bool {
        self.says(&["parameter", "client", "referer", "referrer", "expiration", "ip "])
    }

    /// Returns true if the user is authenticated but may not have a token.
    fn says_denied(&self) -> bool {
        self.message_code.as_deref() == Some(NO_PERMISSION)
            || (self.says(&["do not have permission"]) && !self.says_who())
    }

    /// Returns the failure class. `status` replaces a missing code. A bad request that names no parameter counts as a
    /// failed login, because the server may use any language.
    fn class(&self, status: u16) -> (Class, &'static str) {
        const UNAUTHORIZED: (Class, &str) = (Class::Credential, "Unauthorized");
        let status = if (200..300).contains(&status) { None } else { Some(status) };
        let code = self.code.and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400).or(status);
        match code {
            _ if self.says_locked() => (Class::Credential, "AccountLocked"),
            _ if self.says_denied() => class_of(403),
            _ if self.says_who() => UNAUTHORIZED,
            Some(401 | 498 | 499) => UNAUTHORIZED,
            Some(code @ (403 | 404 | 408 | 409 | 422 | 429 | 500..=599)) => class_of(code),
            _ if self.says_parameter() => class_of(400),
            Some(400) => UNAUTHORIZED,
            _ => (Class::Transient, "ServerError"),
        }
    }

    pub(super) fn failure(&self, answer: &ProviderResponse) -> IssueError {
        let (class, reason) = self.class(answer.status);
        let error = answer.failure(class, reason, format!("HTTP {}: {}", answer.status, answer.said()));
        match reason {
            "AccountLocked" => with(error, "five failed logins within 15 minutes lock a user for 15 minutes"),
            "NotFound" => with(error, WAY_OUT),
            _ => error,
        }
    }
}
