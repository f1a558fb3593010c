//! JSON paths that lead to one value.
//!
//! A path has names and indexes only (a singular query, RFC 9535 §2.3.5.1), so that its evaluation costs one step for
//! each of them, whatever the answer contains.

use jsonpath_rust::parser::model::{JpQuery, Segment, Selector};
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde_json::Value;
use videotoken_api::request::FieldError;

/// Maximum number of names and indexes.
const MOST_STEPS: usize = 16;

/// Maximum bytes of a path. The schema has the same limit.
const LONGEST: usize = 512;

/// Maximum depth of an answer.
const DEEPEST: usize = 32;

/// A JSON path that leads to at most one value.
#[derive(Clone, Debug)]
pub(super) struct JsonPath {
    text: String,
    query: JpQuery,
}

impl JsonPath {
    /// Parses the path in a field.
    pub(super) fn parse(field: &str, text: &str) -> Result<Self, FieldError> {
        let wrong = |why: &str| FieldError::new(field, why);
        if text.len() > LONGEST {
            return Err(wrong("is longer than 512 bytes"));
        }
        let query = parse_json_path(text)
            .map_err(|_| wrong("is not a JSON path such as $.result.token, $.items[0].token or $['access-token']"))?;
        if query.segments.len() > MOST_STEPS {
            return Err(wrong("has more than 16 steps"));
        }
        let is_single =
            |segment: &Segment| matches!(segment, Segment::Selector(Selector::Name(_) | Selector::Index(_)));
        if !query.segments.iter().all(is_single) {
            return Err(wrong(
                "may lead to several values: write names and indexes only, such as $.items[0].token; filters, \
                 wildcards, slices and descendants are not available",
            ));
        }
        Ok(Self { text: text.to_owned(), query })
    }

    /// Returns the value at the path.
    pub(super) fn of<'a>(&self, body: &'a Value) -> Option<&'a Value> {
        js_path_process(&self.query, body).ok()?.first().map(|found| found.clone().val())
    }

    /// Returns the path as the spec contains it.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Parses a body. `None`: it is not JSON, or it is deeper than 32 levels.
pub(super) fn json(body: &[u8]) -> Option<Value> {
    let value = serde_json::from_slice(body).ok()?;
    is_at_most(&value, DEEPEST).then_some(value)
}

/// Returns true if a value has at most `levels` levels of objects and lists.
pub(super) fn is_at_most(value: &Value, levels: usize) -> bool {
    match value {
        Value::Object(members) => levels > 0 && members.values().all(|member| is_at_most(member, levels - 1)),
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_at_most(item, levels - 1)),
        _ => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn names_and_indexes_lead_to_one_value() {
        let body = json!({"a": {"b-c": ["x", {"d": 7}], "": 0, "$": 1, "it's": 2}, "null": null});
        for (path, expected) in [
            ("$.a['b-c'][0]", Some(json!("x"))),
            ("$['a'][\"b-c\"][1].d", Some(json!(7))),
            ("$.a['b-c'][-1].d", Some(json!(7))),
            ("$.a['$']", Some(json!(1))),
            ("$.null", Some(json!(null))),
            ("$.a.missing", None),
            ("$.a['b-c'][2]", None),
            ("$.a[0]", None),
        ] {
            assert_eq!(JsonPath::parse("f", path).unwrap().of(&body), expected.as_ref(), "{path}");
        }
        let bare = json!("djJ8");
        assert_eq!(JsonPath::parse("f", "$").unwrap().of(&bare), Some(&bare));
    }

    #[test]
    fn a_path_to_several_values_is_refused() {
        for (path, expected) in [
            ("$.*", "f: may lead to several values"),
            ("$..token", "f: may lead to several values"),
            ("$.a[?@.b]", "f: may lead to several values"),
            ("$.a[?@.b == 'x'].token", "f: may lead to several values"),
            ("$.a[0:1]", "f: may lead to several values"),
            ("$['a','b']", "f: may lead to several values"),
            ("a.b", "f: is not a JSON path"),
            ("", "f: is not a JSON path"),
            ("$.a[", "f: is not a JSON path"),
            (&format!("${}", ".a".repeat(17)), "f: has more than 16 steps"),
            (&format!("$.{}", "a".repeat(512)), "f: is longer than 512 bytes"),
        ] {
            let error = JsonPath::parse("f", path).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{path}: {error}");
        }
    }

    #[test]
    fn a_body_has_at_most_32_levels() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(json(nested(32).as_bytes()).is_some());
        assert!(json(nested(33).as_bytes()).is_none());
        assert!(json(nested(60_000).as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn any_path_and_any_body_end(path in "[$.\\[\\]'\"a-c0-9*?@:,() -]{0,60}", body in "[\\[\\]{}\":,a-c0-9]{0,60}") {
            if let Ok(path) = JsonPath::parse("f", &path) {
                json(body.as_bytes()).as_ref().map(|body| path.of(body).is_some());
            }
        }
    }
}
