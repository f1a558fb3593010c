//! Values for the fields of a CRD, from its own schema: at the bounds, just beyond them, and of the wrong type.

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::text;
use crate::soak::schedule::Dice;
use crate::stand::controlplane::repository;

/// Most items of a generated list or map. A bound above it is not crossed.
const MOST_ITEMS: u64 = 300;

/// Schema of the spec of one kind.
pub(super) struct Schema {
    spec: Value,
    /// Every field, as the names on the way to it.
    fields: Vec<Vec<String>>,
    /// Provider types, as the members of `spec.scope` of a VideoAccessToken.
    types: Vec<String>,
}

impl Schema {
    /// Reads the schema of `crds/videotoken.dev_PLURAL.yaml`.
    ///
    /// # Errors
    /// Returns an error if the file can't be read or has no schema.
    pub(super) fn read(plural: &str) -> Result<Self> {
        let spec = spec_of(plural)?;
        let mut fields = Vec::new();
        walk(&spec, &mut Vec::new(), &mut fields);
        anyhow::ensure!(fields.len() > 20, "{plural} has hardly any field");
        Ok(Self { spec, fields, types: provider_types()? })
    }

    /// Sets or removes one field of `spec`. A field of another provider type than `spec`'s comes seldom, because the API
    /// server refuses it whatever its value is.
    pub(super) fn mutate(&self, spec: &mut Value, dice: &mut Dice) {
        let mut path = &self.fields[dice.index(self.fields.len())];
        if dice.below(8) != 0 {
            let is_of_spec = |name: &str| spec.get(name).is_some() || spec["scope"].get(name).is_some();
            let others: Vec<_> = self.types.iter().filter(|name| !is_of_spec(name)).collect();
            while path.iter().any(|name| others.contains(&name)) {
                path = &self.fields[dice.index(self.fields.len())];
            }
        }
        let schema = path.iter().fold(&self.spec, |schema, name| &schema["properties"][name]);
        let removed = dice.below(10) == 0;
        let is_template = path.last().is_some_and(|name| name == "data");
        let value = (!removed).then(|| value(schema, dice, is_template));
        set(spec, path, value);
    }
}

/// Returns the schema of the spec in `crds/videotoken.dev_PLURAL.yaml`.
fn spec_of(plural: &str) -> Result<Value> {
    let path = repository().join(format!("crds/videotoken.dev_{plural}.yaml"));
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let crd: Value = serde_yaml_ng::from_str(&text)?;
    Ok(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone())
}

/// Returns the names of the provider types.
///
/// # Errors
/// Returns an error if the CRD can't be read or has no types.
pub(crate) fn provider_types() -> Result<Vec<String>> {
    let spec = spec_of("videoaccesstokens")?;
    let types = spec["properties"]["scope"]["properties"].as_object().context("the CRD has no scope")?;
    Ok(types.keys().cloned().collect())
}

/// Sets or removes one field. What is no object on the way to it becomes one.
pub(super) fn set(spec: &mut Value, path: &[impl AsRef<str>], value: Option<Value>) {
    let Some((last, way)) = path.split_last() else { return };
    let mut at = spec;
    for name in way {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[name.as_ref()];
    }
    if !at.is_object() {
        *at = json!({});
    }
    match (at.as_object_mut(), value) {
        (Some(members), Some(value)) => drop(members.insert(last.as_ref().to_owned(), value)),
        (Some(members), None) => drop(members.remove(last.as_ref())),
        (None, _) => {}
    }
}

fn walk(schema: &Value, way: &mut Vec<String>, fields: &mut Vec<Vec<String>>) {
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        way.push(name.clone());
        fields.push(way.clone());
        walk(schema, way, fields);
        way.pop();
    }
}

/// A value for a schema. `is_template`: its texts are templates.
fn value(schema: &Value, dice: &mut Dice, is_template: bool) -> Value {
    if dice.below(25) == 0 {
        return [json!(null), json!([]), json!({}), json!("x"), json!(1), json!(true)][dice.index(6)].clone();
    }
    let bound = |name: &str| schema[name].as_u64();
    match schema["type"].as_str() {
        Some("string") if is_template => {
            text::template(dice, usize::try_from(bound("maxLength").unwrap_or(1000)).unwrap_or_default()).into()
        }
        Some("string") => {
            let length = |name| bound(name).and_then(|length| usize::try_from(length).ok());
            text::text(dice, length("minLength").unwrap_or_default(), length("maxLength")).into()
        }
        Some("integer") => {
            let (least, most) =
                (schema["minimum"].as_i64().unwrap_or(0), schema["maximum"].as_i64().unwrap_or(1 << 31));
            let of =
                [least, most, least - 1, most.saturating_add(1), 0, -1, i64::MAX, i64::MIN, i64::midpoint(least, most)];
            of[dice.index(of.len())].into()
        }
        Some("boolean") => (dice.below(2) == 0).into(),
        Some("array") => {
            let items = count(dice, bound("minItems"), bound("maxItems"));
            (0..items).map(|_| value(&schema["items"], dice, false)).collect()
        }
        _ if schema["additionalProperties"].is_object() => {
            let keys = count(dice, bound("minProperties"), bound("maxProperties"));
            let of = |number| (text::key(dice, number), value(&schema["additionalProperties"], dice, is_template));
            Value::Object((0..keys).map(of).collect())
        }
        _ => {
            let mut made = Map::new();
            let required = schema["required"].as_array();
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                let needed = required.is_some_and(|required| required.iter().any(|one| one == name));
                if needed || dice.below(3) == 0 {
                    made.insert(name.clone(), value(schema, dice, is_template || name == "data"));
                }
            }
            made.into()
        }
    }
}

/// A number of items at a bound, beyond it, or small.
fn count(dice: &mut Dice, least: Option<u64>, most: Option<u64>) -> usize {
    let (least, most) = (least.unwrap_or(0), most.unwrap_or(40));
    let of = [least, most, most + 1, 1, 2, least.saturating_sub(1)];
    usize::try_from(of[dice.index(of.len())].min(MOST_ITEMS)).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_field_of_each_kind_is_set_to_something_new() {
        for plural in ["videoaccesstokens", "tokenproviders"] {
            let schema = Schema::read(plural).unwrap();
            let mut dice = Dice::new(7);
            let mut set = BTreeSet::new();
            for _ in 0..schema.fields.len() * 150 {
                let mut spec = json!({});
                schema.mutate(&mut spec, &mut dice);
                let mut reached = Vec::new();
                walk_value(&spec, &mut Vec::new(), &mut reached);
                set.extend(reached);
            }
            let missing = schema.fields.iter().filter(|field| !set.contains(*field)).count();
            assert_eq!(missing, 0, "{plural}");
        }
    }

    fn walk_value(value: &Value, way: &mut Vec<String>, reached: &mut Vec<Vec<String>>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            way.push(name.clone());
            reached.push(way.clone());
            walk_value(value, way, reached);
            way.pop();
        }
    }
}
