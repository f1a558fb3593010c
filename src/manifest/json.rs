//! JSON objects, one after the other without `---`: as `jq` and `kubectl get -o json` in a loop write them.
//!
//! kubectl reads a text that begins with `{` as JSON as far as it is, and the rest as YAML only after one object.

use serde_json::{Deserializer, Number, Value};
use std::ops::Range;

/// The objects of a text that is JSON to its end, and where each stands; none for any other text. Where it stops being
/// JSON after more than one object, the error is at that byte.
pub(super) fn objects(text: &str) -> Result<Vec<(Range<usize>, Value)>, (usize, String)> {
    let mut found = Vec::new();
    if !text.trim_start().starts_with('{') {
        return Ok(found);
    }
    let mut stream = Deserializer::from_str(text).into_iter::<Value>();
    loop {
        let from = stream.byte_offset();
        match stream.next() {
            None => return Ok(found),
            Some(Ok(value)) => {
                let from = from + text[from..].len() - text[from..].trim_start().len();
                found.push((from..stream.byte_offset(), as_yaml(value)));
            }
            Some(Err(error)) if found.len() > 1 => {
                let at = from + text[from..].len() - text[from..].trim_start().len();
                return Err((at, format!("not JSON, as what is before it: {error}")));
            }
            Some(Err(_)) => return Ok(Vec::new()),
        }
    }
}

/// Numbers as they are read in YAML: none beyond 64 bits, and a fraction without a fractional part is a whole number.
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
