//! Decides whether a response is a success, and the class of a failure.

use super::path::JsonPath;
use crate::http::ProviderResponse;
use crate::{Class, IssueError};
use regex::{Regex, RegexBuilder};
use serde_json::Value;
use std::borrow::Cow;
use std::time::Duration;
use videotoken_api::http::{Failure, FailureClass, HttpResponse};
use videotoken_api::request::FieldError;
use videotoken_core::plan::status::class_name;

/// Maximum bytes of a value that a regular expression is applied to.
const LONGEST_MATCHED: usize = 4096;

/// Maximum bytes of a compiled regular expression.
const LARGEST_REGEX: usize = 256 * 1024;

/// The rules of a response about successes and failures.
#[derive(Debug)]
pub(super) struct ResponseRules {
    success: Option<Condition>,
    failures: Vec<Rule>,
    retry_after: Option<String>,
    cooldown: Option<Duration>,
}

/// Failure with a class of its own.
#[derive(Debug)]
struct Rule {
    /// Statuses. Empty: any.
    status: Vec<u16>,
    condition: Option<Condition>,
    class: Class,
}

/// Condition about a value in the body.
#[derive(Debug)]
struct Condition {
    path: JsonPath,
    test: Test,
}

#[derive(Debug)]
enum Test {
    /// The value exists and isn't null.
    Exists,
    Equals(Value),
    Matches(Regex),
}

impl ResponseRules {
    /// Reads the rules. The error names the invalid field below `field`.
    pub(super) fn new(response: &HttpResponse, field: &str) -> Result<Self, FieldError> {
        let success = response.success.as_ref().map(|success| {
            Condition::new(
                &success.json,
                success.equals.as_ref(),
                success.matches.as_deref(),
                &format!("{field}.success"),
            )
        });
        let failures = response.failures.iter().enumerate();
        let failures = failures.map(|(n, failure)| Rule::new(failure, &format!("{field}.failures[{n}]")));
        let cooldown = response.cooldown.as_ref().map(|text| {
            let wrong = || FieldError::new(format!("{field}.cooldown"), "must be 1s to 1h, such as 5s");
            let range = Duration::from_secs(1)..=Duration::from_hours(1);
            text.parse().filter(|cooldown| range.contains(cooldown)).ok_or_else(wrong)
        });
        Ok(Self {
            success: success.transpose()?,
            failures: failures.collect::<Result<_, _>>()?,
            retry_after: response.retry_after.clone(),
            cooldown: cooldown.transpose()?,
        })
    }

    /// Returns the failure that an answer describes, or `None` for a success. `note` gets the rule that decided.
    pub(super) fn failure(
        &self,
        answer: &ProviderResponse,
        body: Option<&Value>,
        note: &mut dyn FnMut(String),
    ) -> Option<IssueError> {
        let rule = self.failures.iter().enumerate().find(|(_, rule)| rule.holds(answer.status, body));
        if let Some((n, rule)) = rule {
            note(format!("failures[{n}] matches: {}", class_name(rule.class)));
            let found = rule.condition.as_ref().and_then(|condition| condition.found(answer, body));
            let said = found.map(|found| format!("failures[{n}]: {found}"));
            return Some(self.waiting(answer, of_class(answer, rule.class, said)));
        }
        if !self.failures.is_empty() {
            note(format!("none of the {} failures matches", self.failures.len()));
        }
        if !answer.is_success() {
            let error = answer.refusal();
            note(format!("HTTP {} decides: {}", answer.status, class_name(error.class)));
            return Some(self.waiting(answer, error));
        }
        let condition = self.success.as_ref()?;
        let found = condition.found(answer, body);
        if condition.holds(body) {
            note(format!("success: {} holds", condition.path.as_str()));
            return None;
        }
        let Some(found) = found else {
            note(format!("success: nothing at {}, so the answer is not understood", condition.path.as_str()));
            return Some(answer.not_understood(&format!("success: nothing at {}", condition.path.as_str())));
        };
        let said = format!("success: {found}, and must {}", condition.expected());
        note(format!("{said}: {}", class_name(Class::Transient)));
        Some(self.waiting(answer, of_class(answer, Class::Transient, Some(said))))
    }

    /// Returns the failure with the wait that the answer states under the declared name, or else the cooldown.
    fn waiting(&self, answer: &ProviderResponse, error: IssueError) -> IssueError {
        let stated = self.retry_after.as_deref().and_then(|header| answer.wait_in(header)).or(error.retry_after);
        let cooldown = self.cooldown.filter(|_| error.class == Class::Throttled);
        IssueError { retry_after: stated.or(cooldown), ..error }
    }
}

impl Rule {
    fn new(failure: &Failure, field: &str) -> Result<Self, FieldError> {
        let status = failure.status.iter().map(|status| {
            let wrong = |message: &str| Err(FieldError::new(format!("{field}.status"), message));
            match u16::try_from(*status) {
                Ok(300..400) => wrong("a redirect is always refused and has no class of its own: remove 3xx"),
                Ok(status @ 200..600) => Ok(status),
                _ => wrong("a status is 200 to 299 or 400 to 599"),
            }
        });
        let condition = match &failure.json {
            Some(path) => Some(Condition::new(path, failure.equals.as_ref(), failure.matches.as_deref(), field)?),
            None if failure.equals.is_some() || failure.matches.is_some() => {
                return Err(FieldError::new(
                    format!("{field}.json"),
                    "equals and matches look at a value: name its path",
                ));
            }
            None => None,
        };
        if failure.status.is_empty() && condition.is_none() {
            return Err(FieldError::new(field, "set status, json, or both"));
        }
        let class = match &failure.class {
            FailureClass::Credential => Class::Credential,
            FailureClass::Denied => Class::Denied,
            FailureClass::Throttled => Class::Throttled,
            FailureClass::Configuration => Class::Configuration,
            FailureClass::Transient => Class::Transient,
            FailureClass::Other(word) => {
                let message = format!(
                    "must be Credential, Denied, Throttled, Configuration or Transient, not {}",
                    word.chars().take(64).collect::<String>()
                );
                return Err(FieldError::new(format!("{field}.class"), message));
            }
        };
        Ok(Self { status: status.collect::<Result<_, _>>()?, condition, class })
    }

    fn holds(&self, status: u16, body: Option<&Value>) -> bool {
        (self.status.is_empty() || self.status.contains(&status))
            && self.condition.as_ref().is_none_or(|condition| condition.holds(body))
    }
}

impl Condition {
    fn new(path: &str, equals: Option<&Value>, matches: Option<&str>, field: &str) -> Result<Self, FieldError> {
        let path = JsonPath::parse(&format!("{field}.json"), path)?;
        let test = match (equals, matches) {
            (Some(_), Some(_)) => return Err(FieldError::new(field, "set equals or matches, not both")),
            (Some(Value::Array(_) | Value::Object(_) | Value::Null), None) => {
                let message = "must be a text, a number or a boolean. A failure with json alone matches if the value \
                               exists and is not null";
                return Err(FieldError::new(format!("{field}.equals"), message));
            }
            (Some(value), None) => Test::Equals(value.clone()),
            (None, Some(pattern)) => Test::Matches(anchored(&format!("{field}.matches"), pattern)?),
            (None, None) => Test::Exists,
        };
        Ok(Self { path, test })
    }

    fn holds(&self, body: Option<&Value>) -> bool {
        let Some(found) = body.and_then(|body| self.path.of(body)) else { return false };
        match &self.test {
            Test::Exists => !found.is_null(),
            Test::Equals(expected) => is_equal(found, expected),
            Test::Matches(pattern) => text(found).is_some_and(|text| pattern.is_match(start(&text))),
        }
    }

    /// Returns the value that the condition looks at, quoted, unless it is null. A text is in quotation marks.
    fn found(&self, answer: &ProviderResponse, body: Option<&Value>) -> Option<String> {
        let value = body.and_then(|body| self.path.of(body))?;
        let quoted = match value {
            Value::Null => return None,
            Value::Object(_) => "an object".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::String(text) => format!("\"{}\"", answer.quote(text)),
            Value::Bool(_) | Value::Number(_) => answer.quote(value.to_string()),
        };
        Some(format!("{} is {quoted}", self.path.as_str()))
    }

    /// Returns what the value must be, after `must`.
    fn expected(&self) -> String {
        match &self.test {
            Test::Exists => "not be null".to_owned(),
            Test::Equals(expected) => format!("be {expected}"),
            Test::Matches(pattern) => {
                let whole = pattern.as_str();
                let declared = whole.strip_prefix(START).and_then(|rest| rest.strip_suffix(END)).unwrap_or(whole);
                format!("match {declared}")
            }
        }
    }
}

/// Returns the failure of this class for an answer. `said` is what decided, quoted. An unknown format of an error is not
/// quoted from a success, which may contain a token.
fn of_class(answer: &ProviderResponse, class: Class, said: Option<String>) -> IssueError {
    let reason = match class {
        Class::Credential => "Unauthorized",
        Class::Denied => "Forbidden",
        Class::Throttled => "Throttled",
        Class::Configuration => "BadRequest",
        Class::Transient => "ServerError",
    };
    let plain = format!("HTTP {}", answer.status);
    if answer.is_success() {
        let parts = [Some(plain), said, answer.error()];
        return answer.failure(class, reason, parts.into_iter().flatten().collect::<Vec<_>>().join(": "));
    }
    let message = answer.refusal().message;
    let message = match said {
        Some(said) if message == plain => format!("{plain}: {said}"),
        _ => message,
    };
    answer.failure(class, reason, message)
}

/// Text that [`anchored`] writes before a pattern.
const START: &str = "^(?:";

/// Text that [`anchored`] writes after a pattern.
const END: &str = ")$";

/// Compiles the pattern for a whole value.
pub(super) fn anchored(field: &str, pattern: &str) -> Result<Regex, FieldError> {
    let wrong = |why: &str| FieldError::new(field, why);
    if pattern.len() > 512 {
        return Err(wrong("is longer than 512 bytes"));
    }
    // Without this check, `a)|(b` would escape from the group.
    let compiled = |text: &str| RegexBuilder::new(text).size_limit(LARGEST_REGEX).build();
    compiled(pattern).and_then(|_| compiled(&format!("{START}{pattern}{END}"))).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => wrong("is too large when compiled: use smaller repetitions"),
        _ => wrong("is not a regular expression of RE2's syntax, without look-around and backreferences"),
    })
}

/// Returns true if two scalars are equal. Numbers are equal by value, such as 1 and 1.0.
fn is_equal(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Number(found), Value::Number(expected)) => found == expected || found.as_f64() == expected.as_f64(),
        _ => found == expected,
    }
}

/// Returns the text of a scalar.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.into()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn start(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_MATCHED)]
}
