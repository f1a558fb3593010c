//! The error inside a body, whichever of the providers' shapes it has. For people: nothing is decided by it.

use serde_json::{Map, Value};

/// How deep one error may be nested in another before the rest is left unread.
const MAX_NESTING: usize = 4;

const CODES: [&str; 6] = ["code", "Code", "ErrorType", "errorType", "statusCode", "field"];
const MESSAGES: [&str; 5] = ["message", "Message", "error_description", "title", "description"];
const NESTED: [&str; 7] =
    ["error", "details", "innererror", "innerError", "messages", "fieldViolations", "field_violations"];

/// `code: message` of each error in `body`, outermost first, unquoted: it may hold a secret. A page in HTML is only
/// called one.
pub(super) fn read(body: &[u8], content_type: Option<&str>) -> String {
    let mut found = Vec::new();
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        collect(&value, MAX_NESTING, &mut found);
    }
    if !found.is_empty() {
        return found.join("; ");
    }
    let start = body.trim_ascii_start();
    let is_html = content_type.is_some_and(|t| t.contains("html")) || start.starts_with(b"<");
    if is_html { "a page in HTML".to_owned() } else { String::from_utf8_lossy(body).into_owned() }
}

fn collect(value: &Value, depth: usize, found: &mut Vec<String>) {
    if depth == 0 {
        return;
    }
    match value {
        Value::String(text) => keep(text.clone(), found),
        Value::Array(values) => values.iter().for_each(|value| collect(value, depth, found)),
        Value::Object(fields) => {
            if let Some(line) = line(fields) {
                keep(line, found);
            }
            for name in NESTED {
                if let Some(nested) = fields.get(name) {
                    collect(nested, depth - 1, found);
                }
            }
        }
        _ => {}
    }
}

/// ARM repeats an error on its way down.
fn keep(line: String, found: &mut Vec<String>) {
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
    match (code, message) {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (Some(code), None) => Some(code),
        (None, message) => message.map(str::to_owned),
    }
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
            (r#"{"error":{"code":400,"message":"m","details":["d",""]}}"#, "400: m; d"),
            (r#"{"status":"error","messages":["Invalid credentials"]}"#, "Invalid credentials"),
            (r#"{"error":"throttled"}"#, "throttled"),
            ("", ""),
            ("{}", "{}"),
            ("plain words", "plain words"),
            (" <!DOCTYPE html><p>x", "a page in HTML"),
        ];
        for (body, expected) in shapes {
            assert_eq!(read(body.as_bytes(), None), expected, "{body}");
        }
        assert_eq!(read(b"x", Some("text/html")), "a page in HTML");
    }

    proptest! {
        #[test]
        fn any_body_is_read(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            read(&body, None);
        }
    }
}
