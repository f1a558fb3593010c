//! CEL rules as schemars transforms: `#[schemars(transform = cel("rule", "message"))]` on a struct or a field.

use schemars::{Schema, transform::Transform};
use serde_json::{Map, Value, json};

/// A CEL rule of a schema node.
#[derive(Clone, Debug)]
pub(super) struct Cel(Map<String, Value>);

/// Returns a rule that must hold, with the message for a value that breaks it.
pub(super) fn cel(rule: impl Into<String>, message: impl Into<String>) -> Cel {
    Cel(Map::from_iter([("rule".into(), rule.into().into()), ("message".into(), message.into().into())]))
}

/// Returns a rule with a message that is a CEL expression.
pub(super) fn cel_saying(rule: impl Into<String>, expression: impl Into<String>) -> Cel {
    Cel(Map::from_iter([("rule".into(), rule.into().into()), ("messageExpression".into(), expression.into().into())]))
}

impl Cel {
    /// Reports the error at a member of the node. `path` begins with a dot.
    pub(super) fn at(self, path: &str) -> Self {
        self.with("fieldPath", path)
    }

    /// Reports `Forbidden` instead of `Invalid value`.
    pub(super) fn forbidden(self) -> Self {
        self.with("reason", "FieldValueForbidden")
    }

    /// Reports `Required value` instead of `Invalid value`.
    pub(super) fn required(self) -> Self {
        self.with("reason", "FieldValueRequired")
    }

    fn with(mut self, key: &str, value: &str) -> Self {
        self.0.insert(key.into(), value.into());
        self
    }
}

impl Transform for Cel {
    fn transform(&mut self, schema: &mut Schema) {
        let rules = schema.ensure_object().entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        if let Some(rules) = rules.as_array_mut() {
            rules.push(Value::Object(self.0.clone()));
        }
    }
}

/// Returns the rule "Exactly one of these members" with a message that lists the members found.
pub(super) fn exactly_one<S: AsRef<str>>(members: &[S]) -> Cel {
    let members: Vec<&str> = members.iter().map(AsRef::as_ref).collect();
    let each = |of: &dyn Fn(&str) -> String, by: &str| members.iter().map(|m| of(m)).collect::<Vec<_>>().join(by);
    let set = each(&|m| format!("has(self.{m})"), ", ");
    // Concatenation: the API server estimates the cost of CEL's `[…].join()` at over a hundred times the budget.
    let found = each(&|m| format!("(has(self.{m}) ? ' {m}' : '')"), " + ");
    cel_saying(
        format!("[{set}].filter(set, set).size() == 1"),
        format!("'set exactly one of {}; found:' + ([{set}].exists(set, set) ? {found} : ' none')", members.join(", ")),
    )
}

/// Schema transform that makes a struct of Options a union: exactly one of its members is set.
pub(super) fn union(schema: &mut Schema) {
    let members: Vec<String> = schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    exactly_one(&members).transform(schema);
}

/// Schema transform that makes an enum with `#[serde(untagged)] Other(String)` accept any string, but a known word only
/// in its own spelling. The API server still rejects `reader` for `Reader`.
pub(super) fn open(schema: &mut Schema) {
    let known = words(schema);
    let lower: Vec<_> = known.iter().map(|word| word.to_lowercase()).collect();
    let list = known.join(", ");
    plain_string(schema);
    cel("self.matches('^[A-Za-z0-9_.-]+$')", format!("must be one word: {list}, or a newer value of the provider"))
        .transform(schema);
    cel(format!("!(self.lowerAscii() in {lower:?}) || self in {known:?}"), format!("mind the capitals: {list}"))
        .transform(schema);
}

/// Schema transform that makes an enum with `#[serde(untagged)] Other(String)` accept its known words only. Rust still
/// decodes any string.
pub(super) fn known(schema: &mut Schema) {
    let known = words(schema);
    plain_string(schema);
    cel(format!("self in {known:?}"), format!("must be one of {}", known.join(", "))).transform(schema);
}

/// Schema transform as [`known`], that also accepts a string that matches the pattern. `form` describes the pattern.
pub(super) fn one_of_or_matching(schema: &mut Schema, pattern: &str, form: &str) {
    let known = words(schema);
    plain_string(schema);
    let rule = format!("self in {known:?} || self.matches('{pattern}')");
    cel(rule, format!("must be one of {}, or {form}", known.join(", "))).transform(schema);
}

/// Returns the values in the schema of an enum.
fn words(schema: &Schema) -> Vec<String> {
    fn collect(node: &Value, words: &mut Vec<String>) {
        match node {
            Value::Object(map) => {
                let values = map.get("enum").and_then(Value::as_array).into_iter().flatten().chain(map.get("const"));
                words.extend(values.filter_map(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| collect(value, words));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, words)),
            _ => {}
        }
    }
    let mut words = Vec::new();
    collect(schema.as_value(), &mut words);
    words
}

/// Replaces a schema by the schema of a short string. Keeps the description.
fn plain_string(schema: &mut Schema) {
    let about = schema.get("description").cloned();
    *schema = schemars::json_schema!({"type": "string", "maxLength": 64});
    if let Some(about) = about {
        schema.insert("description".into(), about);
    }
}
