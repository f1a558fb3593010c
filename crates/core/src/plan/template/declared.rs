//! Renders the templates of a declared provider: requests, claims and signed texts.
//!
//! The variables are the parameters of the provider with their types, `issued_at`, `expires_at` (RFC 3339, UTC),
//! `lifetime` in seconds, the function `uuid()`, and texts that the caller adds. A text that consists of one
//! `{{ expression }}` becomes the value of the expression with its type; each other text remains a text. The filters
//! and the limits of work are those of `spec.secret.template.data`.
//!
//! An error names the field and quotes the template. It contains no value.

mod reads;

pub use reads::Reads;

use super::{Engine, KEEP, LARGEST_KEY, cut, quote};
use crate::clock::Timestamp;
use minijinja::value::ValueKind;
use minijinja::{State, Value as Item, escape_formatter};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;
use std::time::Duration;
use videotoken_api::request::FieldError;
use videotoken_api::wire_time;

/// Maximum bytes of one template. The limit is lower than that of a Secret's keys, because these templates are rendered
/// on the threads of the callers.
pub const LARGEST_DECLARED: usize = 4096;
/// Maximum bytes of all texts and names of a tree.
const LARGEST_TREE: usize = 16 * 1024;
/// Maximum depth of a tree.
const DEEPEST_TREE: usize = 8;
/// Maximum number of values in a tree.
const MOST_VALUES: usize = 512;
/// Maximum bytes of everything that a [`Renderer`] renders.
const LARGEST_OUTPUT: usize = 64 * 1024;
/// Fuel of everything that a [`Renderer`] renders.
const FUEL_OF_ALL: u64 = super::FUEL_OF_ALL;

const TIMES: [&str; 4] = ["issued_at", "expires_at", "lifetime", UUID];
const UUID: &str = "uuid";
/// UUID for renders that only check templates.
const SAMPLE_UUID: &str = "00000000-0000-4000-8000-000000000000";
/// Time of renders that only check templates, in seconds since 1970. It has the digits of today's times, so that the
/// size of a rendered number shows its unit.
const SAMPLE_TIME: i64 = 1_767_225_600;

/// Variables of a declared provider's templates.
#[derive(Clone, Debug)]
pub struct RequestVariables {
    /// Parameters in their types, by name.
    pub parameters: Map<String, Value>,
    /// Time of the request.
    pub issued_at: Timestamp,
    /// Expiry that is requested.
    pub expires_at: Timestamp,
    /// Lifetime that is requested.
    pub lifetime: Duration,
    /// Result of `uuid()`: a random UUID, the same in all templates of one token.
    pub uuid: String,
}

impl RequestVariables {
    /// Returns variables for a render that only checks templates.
    pub fn sample(parameters: Map<String, Value>) -> Self {
        let issued_at = Timestamp::from_timestamp(SAMPLE_TIME, 0).unwrap_or_default();
        let lifetime = Duration::from_hours(1);
        Self { parameters, issued_at, expires_at: issued_at + lifetime, lifetime, uuid: SAMPLE_UUID.to_owned() }
    }
}

/// Renderer of the templates of one request. All its renders share one limit of work and size.
pub struct Renderer {
    engine: Engine,
    names: Vec<String>,
    context: BTreeMap<String, Item>,
    fuel: u64,
    bytes: usize,
}

impl Renderer {
    /// Creates a renderer.
    pub fn new(variables: &RequestVariables) -> Self {
        let mut engine = Engine::new();
        let uuid = variables.uuid.clone();
        engine.environment.add_function(UUID, move || uuid.clone());
        engine.functions.push(UUID);
        // the engine writes True and False, which no platform does
        engine.environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" }).map_err(Into::into),
            _ => escape_formatter(out, state, value),
        });
        engine.environment.add_filter(KEEP, |state: &mut State<'_, '_>, value: Item| {
            state.set_temp(KEEP, value);
            ""
        });
        let time = |at: Timestamp| Item::from(wire_time::text(at));
        let mut context: BTreeMap<String, Item> =
            variables.parameters.iter().map(|(name, value)| (name.clone(), item(value))).collect();
        context.insert("issued_at".into(), time(variables.issued_at));
        context.insert("expires_at".into(), time(variables.expires_at));
        context.insert("lifetime".into(), variables.lifetime.as_secs().into());
        let names = TIMES.into_iter().map(str::to_owned).chain(variables.parameters.keys().cloned()).collect();
        Self { engine, names, context, fuel: 0, bytes: 0 }
    }

    /// Adds or replaces a variable with this text.
    pub fn set(&mut self, name: &str, text: &SecretString) {
        self.context.insert(name.to_owned(), text.expose_secret().into());
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
    }

    /// Removes a variable that [`Self::set`] added.
    pub fn unset(&mut self, name: &str) {
        self.context.remove(name);
        self.names.retain(|known| known != name);
    }

    /// Renders each text of a tree. Names of members are no templates. `field` is the path of the tree.
    pub fn value(&mut self, field: &str, tree: &Value) -> Result<Value, FieldError> {
        fits(field, tree)?;
        self.branch(field, tree)
    }

    /// Renders each text of an object. Names of members are no templates. `field` is the path of the object.
    pub fn object(&mut self, field: &str, tree: &Map<String, Value>) -> Result<Map<String, Value>, FieldError> {
        // the bounds count members, not the object itself
        let whole = Value::Object(tree.clone());
        match self.value(field, &whole)? {
            Value::Object(rendered) => Ok(rendered),
            _ => Ok(Map::new()),
        }
    }

    fn branch(&mut self, field: &str, tree: &Value) -> Result<Value, FieldError> {
        match tree {
            Value::String(source) if source.contains("{{") || source.contains("{%") || source.contains("{#") => {
                self.typed(field, source)
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                items.map(|(n, item)| self.branch(&format!("{field}[{n}]"), item)).collect()
            }
            Value::Object(members) => {
                let members = members.iter();
                members
                    .map(|(name, member)| Ok((name.clone(), self.branch(&format!("{field}.{name}"), member)?)))
                    .collect()
            }
            other => Ok(other.clone()),
        }
    }

    /// Renders a template to a text. `field` is its path.
    pub fn text(&mut self, field: &str, source: &str) -> Result<SecretString, FieldError> {
        let wrong = |message: String| FieldError::new(field, cut(message));
        bounded(source).map_err(wrong)?;
        let context = Item::from(self.context.clone());
        let rendered = self.engine.render(source, &self.names, &context).map_err(wrong)?;
        self.pay(field, rendered.fuel, rendered.text.len())?;
        Ok(rendered.text.into())
    }

    /// Renders a template: to a value with its type if it consists of one expression, else to a text.
    fn typed(&mut self, field: &str, source: &str) -> Result<Value, FieldError> {
        let wrong = |message: String| FieldError::new(field, cut(message));
        bounded(source).map_err(wrong)?;
        let Some(expression) = self.engine.lone_expression(source).map_err(wrong)? else {
            let text = self.text(field, source)?;
            return Ok(text.expose_secret().into());
        };
        let context = Item::from(self.context.clone());
        let (value, fuel) = self.engine.evaluate(source, expression, &self.names, &context).map_err(wrong)?;
        if value.is_undefined() {
            let quoted = quote(expression.trim()).unwrap_or_default();
            return Err(wrong(format!("line 1: `{quoted}` is undefined.")));
        }
        let json = json(&value).ok_or_else(|| {
            let quoted = quote(expression.trim()).unwrap_or_default();
            wrong(format!("line 1: `{quoted}` is no text, number, boolean, list or map."))
        })?;
        self.pay(field, fuel, size(&json))?;
        Ok(json)
    }

    /// Pays for a render.
    fn pay(&mut self, field: &str, fuel: u64, bytes: usize) -> Result<(), FieldError> {
        self.fuel += fuel;
        self.bytes += bytes;
        if self.fuel > FUEL_OF_ALL {
            return Err(FieldError::new(field, "all templates together exceed the work limit. Shorten them."));
        }
        if self.bytes > LARGEST_OUTPUT {
            return Err(FieldError::new(field, "all templates together render to more than 64 KiB. Shorten them."));
        }
        Ok(())
    }
}

/// Returns the variable of a parameter, which is a text, a whole number or a boolean.
fn item(value: &Value) -> Item {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Bool(truth) => (*truth).into(),
        Value::Number(number) => number.as_i64().map_or_else(|| number.to_string().into(), Item::from),
        Value::Null | Value::Array(_) | Value::Object(_) => value.to_string().into(),
    }
}

const _: () = assert!(LARGEST_OUTPUT <= LARGEST_KEY);

fn bounded(source: &str) -> Result<(), String> {
    if source.len() > LARGEST_DECLARED { Err("is longer than 4 KiB. Shorten it.".into()) } else { Ok(()) }
}

/// Checks the bounds of a tree. `field` is its path.
pub fn fits(field: &str, tree: &Value) -> Result<(), FieldError> {
    /// Counts values and bytes. Returns false if the tree is too deep.
    fn count(tree: &Value, depth: usize, values: &mut usize, bytes: &mut usize) -> bool {
        *values += 1;
        match tree {
            Value::String(text) => *bytes += text.len(),
            Value::Array(items) => return depth > 0 && items.iter().all(|item| count(item, depth - 1, values, bytes)),
            Value::Object(members) => {
                *bytes += members.keys().map(String::len).sum::<usize>();
                return depth > 0 && members.values().all(|member| count(member, depth - 1, values, bytes));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        true
    }
    let (mut values, mut bytes) = (0, 0);
    if !count(tree, DEEPEST_TREE, &mut values, &mut bytes) {
        return Err(FieldError::new(field, format!("is more than {DEEPEST_TREE} levels deep. Flatten it.")));
    }
    if values > MOST_VALUES {
        return Err(FieldError::new(field, format!("has more than {MOST_VALUES} values. Shorten it.")));
    }
    if bytes > LARGEST_TREE {
        return Err(FieldError::new(field, "is longer than 16 KiB. Shorten it."));
    }
    Ok(())
}

/// Returns the JSON of a value. `None`: it has none, such as a function.
fn json(value: &Item) -> Option<Value> {
    match value.kind() {
        ValueKind::None => Some(Value::Null),
        ValueKind::Bool => Some(value.is_true().into()),
        ValueKind::String => value.as_str().map(Value::from),
        ValueKind::Number => match i64::try_from(value.clone()) {
            Ok(number) if value.is_integer() => Some(number.into()),
            _ => Number::from_f64(f64::try_from(value.clone()).ok()?).map(Value::Number),
        },
        ValueKind::Seq => value.try_iter().ok()?.map(|item| json(&item)).collect(),
        ValueKind::Map => {
            let names = value.try_iter().ok()?;
            names.map(|name| Some((name.as_str()?.to_owned(), json(&value.get_item(&name).ok()?)?))).collect()
        }
        _ => None,
    }
}

/// Returns the number of bytes of texts and names in a value, at least one for each value.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 1,
        Value::Object(members) => members.iter().map(|(name, member)| name.len() + size(member)).sum::<usize>() + 1,
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn variables() -> RequestVariables {
        let parameters = json!({"room": "lobby", "role": 1, "publish": false});
        RequestVariables {
            parameters: parameters.as_object().unwrap().clone(),
            issued_at: "2026-11-22T10:00:00Z".parse().unwrap(),
            expires_at: "2026-11-22T11:30:05Z".parse().unwrap(),
            lifetime: Duration::from_secs(5405),
            uuid: "11111111-2222-4333-8444-555555555555".to_owned(),
        }
    }

    fn render(tree: &Value) -> Result<Value, FieldError> {
        Renderer::new(&variables()).value("spec.f", tree)
    }

    #[test]
    fn one_expression_keeps_its_type_and_all_else_is_text() {
        for (source, expected) in [
            ("plain", json!("plain")),
            ("{{ room }}", json!("lobby")),
            ("{{ role }}", json!(1)),
            ("{{role}}", json!(1)),
            ("{{- role -}}", json!(1)),
            ("{{ -role }}", json!(-1)),
            ("{{ role }} ", json!("1 ")),
            ("{{ role }}{{ role }}", json!("11")),
            ("{{ role | string }}", json!("1")),
            ("{{ publish }}", json!(false)),
            ("{{ not publish }}", json!(true)),
            ("is {{ publish }}", json!("is false")),
            ("{{ expires_at | unix }}", json!(1_795_347_005)),
            ("{{ (issued_at | unix) - 10 }}", json!(1_795_341_590)),
            ("{{ (expires_at | unix) * 1000 }}", json!(1_795_347_005_000_i64)),
            ("{{ role / 2 }}", json!(0.5)),
            ("{{ lifetime }}", json!(5405)),
            ("{{ lifetime | minutes }}", json!(91)),
            ("{{ expires_at | unix | round_up(300) }}", json!(1_795_347_300)),
            ("{{ 300 | round_up(300) }}", json!(300)),
            ("{{ [room, role] }}", json!(["lobby", 1])),
            ("{{ {'a': role} }}", json!({"a": 1})),
            ("{{ none }}", json!(null)),
            ("{% if publish %}a{% else %}b{% endif %}", json!("b")),
            ("{{ 'a' if publish else 2 }}", json!(2)),
            ("{{ uuid() }}", json!("11111111-2222-4333-8444-555555555555")),
            ("{{ 'abc' | sha256 }}", json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")),
            ("{{ '?>~' | b64encode }}{{ '?>~' | b64urlencode }}{{ '??>' | cloudfront }}", json!("Pz5+Pz5-Pz8-")),
            ("{{ '{{' }}", json!("{{")),
            ("{{ '}}' }}{{ '{{' }}", json!("}}{{")),
        ] {
            assert_eq!(render(&json!(source)), Ok(expected), "{source}");
        }
        let tree = json!({"a": [{"b": "{{ role }}"}, 7, null], "{{ role }}": "{{ room }}"});
        assert_eq!(render(&tree), Ok(json!({"a": [{"b": 1}, 7, null], "{{ role }}": "lobby"})));
    }

    #[test]
    fn errors_name_the_place_and_quote_the_template() {
        for (tree, field, message) in [
            (json!({"a": [0, "{{ rom }}"]}), "spec.f.a[1]", "line 1: `rom` is not known. Use one of issued_at"),
            (json!({"a": "x {{ rom }}"}), "spec.f.a", "line 1: `rom` is not known"),
            (json!({"a": "{{ token }}"}), "spec.f.a", "line 1: `token` is not known"),
            (json!({"a": "{{ room | unix }}"}), "spec.f.a", "`unix` is not an RFC 3339 timestamp"),
            (json!({"a": "{{ room.x }}"}), "spec.f.a", "`room.x` is undefined"),
            (
                json!({"a": "{{ room | map('x') }}"}),
                "spec.f.a",
                "`map` is an unknown filter. Use one of abs, b64decode",
            ),
            (json!({"a": "{{ expires_at | unixtime }}"}), "spec.f.a", ", unix, upper, urlencode."),
            (json!({"a": "{{ room is odds }}"}), "spec.f.a", "`odds` is an unknown test. Use one of !=,"),
            (json!({"a": "{{ uuid }}"}), "spec.f.a", "line 1: `uuid` is a function: write uuid()."),
            (json!({"a": "salt-{{ uuid }}"}), "spec.f.a", "`uuid` is a function: write uuid()."),
            (json!({"a": "{{ [uuid] }}"}), "spec.f.a", "`uuid` is a function: write uuid()."),
            (json!({"a": "{{ uuid | replace('-', '') }}"}), "spec.f.a", "`uuid` is a function: write uuid()."),
            (json!({"a": "{% if publish %}x{% else %}{{ uuid }}{% endif %}"}), "spec.f.a", "write uuid()."),
            (
                json!({"a": "{{ unix }}"}),
                "spec.f.a",
                "`unix` is a filter: write it behind a value, as in expires_at | unix",
            ),
            (json!({"a": "{{ issued_at - 10 }}"}), "spec.f.a", "as issued_at is a text. Write (issued_at | unix)."),
            (
                json!({"a": "x {{ 10 + expires_at }}"}),
                "spec.f.a",
                "as expires_at is a text. Write (expires_at | unix).",
            ),
            (json!({"a": "{{ room - 10 }}"}), "spec.f.a", "`room - 10` can't be evaluated."),
            (json!({"a": "{{ role"}), "spec.f.a", "syntax error"),
            (json!({"a": "{% for x in room %}{% endfor %}"}), "spec.f.a", "`{% for %}` is not available"),
            (json!({"a": "{{ role | round_up(0) }}"}), "spec.f.a", "needs a positive number"),
            (json!({"a": "{{ [1] * 9 }}"}), "spec.f.a", "lists can't be multiplied"),
            (json!({"a": "x".repeat(LARGEST_DECLARED) + "{{ role }}"}), "spec.f.a", "longer than 4 KiB"),
            (json!({"a": "x".repeat(LARGEST_TREE)}), "spec.f", "longer than 16 KiB"),
            (json!([[[[[[[[[]]]]]]]]]), "spec.f", "levels deep"),
            (Value::from(vec![0; 513]), "spec.f", "more than 512 values"),
        ] {
            let error = render(&tree).unwrap_err();
            assert_eq!(error.field, field, "{error}");
            assert!(error.message.contains(message), "{error}");
        }
    }

    #[test]
    fn p21_expressions_and_trees_have_a_budget() {
        let heavy = "{{ ('x' * 60000) | b64encode | length }}";
        assert_eq!(render(&json!(heavy)), Ok(json!(80_000)));
        let error = render(&json!("{{ ('x' * 9000000) | length }}")).unwrap_err();
        assert!(error.message.contains("work limit"), "{error}");
        let error = render(&Value::from(vec![heavy; 300])).unwrap_err();
        assert!(error.message.contains("exceed the work limit"), "{error}");
        let error = render(&Value::from(vec!["{{ 'x' * 9000 }}"; 9])).unwrap_err();
        assert!(error.message.contains("64 KiB"), "{error}");
    }

    #[test]
    fn texts_of_the_caller_are_variables_while_they_are_set() {
        let mut renderer = Renderer::new(&variables());
        assert!(renderer.text("f", "{{ signature }}").is_err());
        renderer.set("signature", &"abc".into());
        assert_eq!(renderer.text("f", "s={{ signature }}").unwrap().expose_secret(), "s=abc");
        renderer.unset("signature");
        assert!(renderer.text("f", "{{ signature }}").is_err());
    }

    #[test]
    fn p11_an_error_shows_no_value() {
        let mut renderer = Renderer::new(&variables());
        renderer.set("key", &"hunter2".into());
        for source in ["{{ key | unix }}", "{{ key.x }}", "{{ key | b64decode }}", "{{ key / 2 }}", "{{ key() }}"] {
            let error = renderer.text("f", source).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
