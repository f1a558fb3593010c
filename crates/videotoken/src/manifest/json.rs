//! Consecutive JSON objects without `---`, as `jq` and `kubectl get -o json` in a loop write them.
//!
//! kubectl reads a text that begins with `{` as JSON. After one JSON object, the rest may be YAML.

use serde_json::{Deserializer, Number, Value};
use std::ops::Range;

/// An object and its byte range.
pub(super) type Found = (Range<usize>, Value);

/// Returns the JSON objects at the beginning of a text, and the byte where the rest begins, which is YAML. If more than one
/// object is followed by text that isn't JSON, the error has its byte.
pub(super) fn objects(text: &str) -> Result<(Vec<Found>, usize), (usize, String)> {
    let mut found = Vec::new();
    if !text.trim_start().starts_with('{') {
        return Ok((found, 0));
    }
    let mut stream = Deserializer::from_str(text).into_iter::<Value>();
    loop {
        let end = stream.byte_offset();
        let at = end + text[end..].len() - text[end..].trim_start().len();
        match stream.next() {
            None => return Ok((found, text.len())),
            Some(Ok(value)) => found.push((at..stream.byte_offset(), as_yaml(value))),
            Some(Err(error)) if found.len() > 1 => {
                return Err((at, format!("not JSON, as what is before it: {error}")));
            }
            Some(Err(_)) => return Ok((found, end)),
        }
    }
}

/// Replaces escaped UTF-16 surrogates, which YAML does not allow, with a letter of the same length.
pub(super) fn without_halves(text: &str) -> String {
    let mut text = text.to_owned();
    let halves: Vec<_> = text.match_indices("\\u").map(|(at, _)| at).collect();
    for at in halves {
        let is_half = text.as_bytes().get(at + 2..at + 4).is_some_and(|digits| {
            digits[0].eq_ignore_ascii_case(&b'd') && matches!(digits[1], b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
        });
        if is_half {
            text.replace_range(at..at + 6, "\\u0041");
        }
    }
    text
}

/// Converts numbers as the YAML reader does: at most 64 bits, and a float without a fractional part becomes an integer.
fn as_yaml(value: Value) -> Value {
    match value {
        Value::Number(number) => as_number(&number),
        Value::Array(items) => items.into_iter().map(as_yaml).collect(),
        Value::Object(members) => members.into_iter().map(|(name, value)| (name, as_yaml(value))).collect(),
        other => other,
    }
}

fn as_number(number: &Number) -> Value {
    if number.is_i64() {
        return number.clone().into();
    }
    number.as_f64().and_then(super::scalar::fraction).unwrap_or_else(|| number.clone().into())
}
