//! Extracts the error from a body in the formats of all providers. The text is for messages only and decides nothing.

use serde_json::{Map, Value};
use std::time::Duration;

/// Maximum nesting of errors that is read.
const MAX_NESTING: usize = 4;

const CODES: [&str; 8] = ["code", "Code", "ErrorType", "errorType", "statusCode", "messageCode", "field", "reason"];
const MESSAGES: [&str; 5] = ["message", "Message", "error_description", "title", "description"];
/// Field of RFC 9457, next to `title`.
const DETAIL: &str = "detail";
const NESTED: [&str; 10] = [
    "error",
    "details",
    "innererror",
    "innerError",
    "additionalInfo",
    "info",
    "messages",
    "fieldViolations",
    "field_violations",
    "violations",
];

/// Fields that name the subject of an error: Azure's `target`, the policy names in `additionalInfo`, and the `subject`
/// of google.rpc's `PreconditionFailure.Violation`.
const ABOUT: [&str; 6] = [
    "target",
    "policyDefinitionDisplayName",
    "policyAssignmentDisplayName",
    "policyDefinitionName",
    "policyAssignmentName",
    "subject",
];

/// Returns `code: message` of each error in `body`, outermost first. The text is unquoted and may contain a secret. For
/// an HTML page it returns only a description.
pub(super) fn read(body: &[u8], content_type: Option<&str>) -> String {
    let mut found = Vec::new();
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        collect(&value, MAX_NESTING, &mut found);
    }
    if !found.is_empty() {
        return found.join("; ");
    }
    page(body, content_type).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}

/// Returns the error in the body of a success, if a JSON field names one. The text is unquoted.
pub(super) fn error(body: &[u8]) -> Option<String> {
    const NAMES: [&str; 6] = ["error", "errors", "code", "message", "Message", "messages"];
    let value = serde_json::from_slice::<Value>(body).ok()?;
    let names = value.as_object()?;
    let mut found = Vec::new();
    if NAMES.iter().any(|name| names.get(*name).is_some_and(|error| !error.is_null())) {
        collect(&value, MAX_NESTING, &mut found);
    }
    (!found.is_empty()).then(|| found.join("; "))
}

/// Returns a description of a body in HTML or XML, such as `a page in HTML, "Sign in"`. The text is unquoted.
pub(super) fn page(body: &[u8], content_type: Option<&str>) -> Option<String> {
    let start = body.trim_ascii_start();
    let is_html = content_type.is_some_and(|t| t.contains("html")) || start.starts_with(b"<");
    // Some servers declare JSON as HTML.
    if !is_html || serde_json::from_slice::<Map<String, Value>>(body).is_ok() {
        return None;
    }
    let text = String::from_utf8_lossy(&start[..start.len().min(LONGEST_HEAD)]);
    if text.starts_with("<?xml") && !text.to_ascii_lowercase().contains("<html") {
        return Some("a document in XML".to_owned());
    }
    let title = title(&text).map(|title| format!(", \"{title}\"")).unwrap_or_default();
    Some(format!("a page in HTML{title}"))
}

/// Bytes of a page that are searched for its title.
const LONGEST_HEAD: usize = 4096;

/// Returns the text of the first `<title>`, with white space normalized, cut at 80 characters.
fn title(page: &str) -> Option<String> {
    // ASCII lower case keeps the length, so positions are the same in both strings.
    let lower = page.to_ascii_lowercase();
    let open = lower.find("<title")?;
    let begin = open + lower[open..].find('>')? + 1;
    let end = begin + lower[begin..].find('<')?;
    let words = page[begin..end].split_whitespace().collect::<Vec<_>>().join(" ");
    let title: String = words.chars().take(80).collect();
    (!title.is_empty()).then_some(title)
}

fn collect(value: &Value, depth: usize, found: &mut Vec<String>) {
    if depth == 0 {
        return;
    }
    match value {
        Value::String(text) => add_line(text.clone(), found),
        Value::Array(values) => values.iter().for_each(|value| collect(value, depth, found)),
        Value::Object(fields) => {
            if let Some(line) = line(fields) {
                add_line(line, found);
            }
            if let Some(detail) = fields.get(DETAIL).and_then(Value::as_str) {
                add_line(detail.to_owned(), found);
            }
            errors(fields.get("errors"), depth, found);
            for name in NESTED {
                if let Some(nested) = fields.get(name) {
                    collect(nested, depth - 1, found);
                }
            }
        }
        _ => {}
    }
}

/// Collects a list of errors, or the map from fields to errors of ASP.NET.
fn errors(errors: Option<&Value>, depth: usize, found: &mut Vec<String>) {
    match errors {
        Some(Value::Object(fields)) if line(fields).is_none() => {
            for (field, wrong) in fields {
                let mut said = Vec::new();
                collect(wrong, depth - 1, &mut said);
                add_line(format!("{field}: {}", said.join(", ")), found);
            }
        }
        Some(errors) => collect(errors, depth - 1, found),
        None => {}
    }
}

/// Adds a line, unless it is empty or repeated. ARM repeats an error in its nested errors.
fn add_line(line: String, found: &mut Vec<String>) {
    if !line.trim().is_empty() && !found.contains(&line) {
        found.push(line);
    }
}

fn line(fields: &Map<String, Value>) -> Option<String> {
    let code = CODES.iter().find_map(|name| match fields.get(*name)? {
        Value::String(code) => Some(code.clone()),
        Value::Number(code) => Some(code.to_string()),
        _ => None,
    });
    let message = MESSAGES.iter().find_map(|name| fields.get(*name)?.as_str());
    let code = match (code, fields.get("messageCode").and_then(Value::as_str)) {
        (Some(code), Some(word)) if code != word => Some(format!("{code} {word}")),
        (code, _) => code,
    };
    let about: Vec<_> =
        ABOUT.iter().filter_map(|name| Some(format!("{name} {}", fields.get(*name)?.as_str()?))).collect();
    let about = (!about.is_empty()).then(|| format!("({})", about.join(", ")));
    let said = match (code, message) {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (Some(code), None) => Some(code),
        (None, message) => message.map(str::to_owned),
    };
    match (said, about) {
        (Some(said), Some(about)) => Some(format!("{said} {about}")),
        (said, about) => said.or(about),
    }
}

/// Returns the wait of google.rpc's `RetryInfo` in whole seconds, rounded up. A gRPC gateway sends it in the details of
/// an error: `{"@type": …, "retryDelay": "3.5s"}`.
pub(super) fn retry_delay(body: &[u8]) -> Option<Duration> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let details = [body.get("details"), body.pointer("/error/details")].into_iter().flatten();
    let mut delays = details.filter_map(Value::as_array).flatten().filter_map(|detail| {
        let text = detail.get("retryDelay").or_else(|| detail.get("retry_delay"))?.as_str()?;
        let seconds: f64 = text.trim().strip_suffix('s')?.parse().ok()?;
        Duration::try_from_secs_f64(seconds.ceil()).ok()
    });
    delays.next().filter(|delay| !delay.is_zero())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_shape_of_error_is_read() {
        let shapes = [
            (r#"{"error":{"code":"InvalidInput","message":"no such account"}}"#, "InvalidInput: no such account"),
            (
                r#"{"error":{"code":"A","message":"outer","details":[{"code":"B","message":"inner"},{"code":"B","message":"inner"}]}}"#,
                "A: outer; B: inner",
            ),
            (r#"{"code":"BadArgument","message":"m","innererror":{"code":"C"}}"#, "BadArgument: m; C"),
            (r#"{"ErrorType":"USER_NOT_ALLOWED","Message":"m"}"#, "USER_NOT_ALLOWED: m"),
            (r#"{"statusCode":401,"message":"Access denied"}"#, "401: Access denied"),
            (r#"{"code":3,"message":"m","details":[{"@type":"x"}]}"#, "3: m"),
            // google.rpc.BadRequest
            (
                r#"{"code":3,"message":"m","details":[{"@type":"x","fieldViolations":[{"field":"f","description":"d"}]}]}"#,
                "3: m; f: d",
            ),
            (
                r#"{"code":9,"message":"m","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"TOKEN_QUOTA","domain":"one.example"},{"@type":"x","violations":[{"type":"LIVE","subject":"stream/7","description":"not started"}]}]}"#,
                "9: m; TOKEN_QUOTA; not started (subject stream/7)",
            ),
            (
                r#"{"error":{"code":"RequestDisallowedByPolicy","target":"vi","message":"m","additionalInfo":[{"type":"PolicyViolation","info":{"policyDefinitionDisplayName":"No tokens","policyAssignmentName":"pa1"}}]}}"#,
                "RequestDisallowedByPolicy: m (target vi); (policyDefinitionDisplayName No tokens, policyAssignmentName pa1)",
            ),
            (
                r#"{"title":"One or more validation errors occurred.","status":400,"errors":{"VideoId":["is required"]}}"#,
                "One or more validation errors occurred.; VideoId: is required",
            ),
            (r#"{"title":"Bad","detail":"no such video","errors":[{"message":"m"}]}"#, "Bad; no such video; m"),
            (r#"{"error":{"code":403,"messageCode":"GWM_0003","message":"m"}}"#, "403 GWM_0003: m"),
            (r#"{"error":{"code":400,"message":"m","details":["d",""]}}"#, "400: m; d"),
            (r#"{"status":"error","messages":["Invalid credentials"]}"#, "Invalid credentials"),
            (r#"{"error":"throttled"}"#, "throttled"),
            ("", ""),
            ("{}", "{}"),
            ("plain words", "plain words"),
            (" <!DOCTYPE html><p>x", "a page in HTML"),
            ("<html><title>Sign in to the network</title>", "a page in HTML, \"Sign in to the network\""),
            ("<html><title>", "a page in HTML"),
            ("<html><title></title>", "a page in HTML"),
            ("<?xml version=\"1.0\"?><Error/>", "a document in XML"),
        ];
        for (body, expected) in shapes {
            assert_eq!(read(body.as_bytes(), None), expected, "{body}");
        }
        assert_eq!(read(b"x", Some("text/html")), "a page in HTML");
    }

    #[test]
    fn a_grpc_gateway_tells_when_to_come_back() {
        let delay = |detail: &str| {
            let body = format!(r#"{{"code":8,"message":"m","details":[{{"@type":"x"}},{detail}]}}"#);
            retry_delay(body.as_bytes()).map(|delay| delay.as_secs())
        };
        assert_eq!(delay(r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"30s"}"#), Some(30));
        assert_eq!(delay(r#"{"retryDelay":"3.2s"}"#), Some(4));
        for none in
            [r#"{"retryDelay":"0s"}"#, r#"{"retryDelay":"-1s"}"#, r#"{"retryDelay":7}"#, r#"{"retryDelay":"1e400s"}"#]
        {
            assert_eq!(delay(none), None, "{none}");
        }
    }

    #[test]
    fn only_an_error_by_name_is_told_of_a_success() {
        for (body, expected) in [
            (r#"{"error":{"code":"A","message":"m"}}"#, Some("A: m")),
            (r#"{"code":7,"message":"m"}"#, Some("7: m")),
            (r#"{"error":null,"title":"t"}"#, None),
            (r#"{"token":"half","title":"t"}"#, None),
            (r#"["message"]"#, None),
            (r#""message""#, None),
            ("message", None),
        ] {
            assert_eq!(error(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read(body in proptest::collection::vec(any::<u8>(), 0..200), page in "<\\PC{0,60}<TITLE>\\PC{0,60}") {
            read(&body, None);
            error(&body);
            read(page.as_bytes(), None);
        }
    }
}
