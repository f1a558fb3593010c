//! Merge patches and server-side apply, on JSON.

use serde_json::{Map, Value, json};

/// Applies a JSON merge patch (RFC 7396).
pub fn merge(live: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *live = patch.clone();
        return;
    };
    let live = object(live);
    for (name, value) in patch {
        if value.is_null() {
            live.remove(name);
        } else {
            merge(live.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// Applies the fields `now`, and removes the fields that the same manager applied `before` and no longer applies.
pub fn apply(live: &mut Value, before: Option<&Value>, now: &Value) {
    let Some(wanted) = now.as_object() else {
        *live = now.clone();
        return;
    };
    let live = object(live);
    for (name, value) in before.and_then(Value::as_object).into_iter().flatten() {
        if wanted.contains_key(name) {
            continue;
        }
        if let (true, Some(inner)) = (value.is_object(), live.get_mut(name)) {
            apply(inner, Some(value), &json!({}));
            if inner.as_object().is_some_and(Map::is_empty) {
                live.remove(name);
            }
        } else {
            live.remove(name);
        }
    }
    for (name, value) in wanted {
        apply(live.entry(name).or_insert(Value::Null), before.and_then(|before| before.get(name)), value);
    }
}

/// Removes the fields that differ between two versions of an object.
pub fn disown(fields: &mut Value, old: &Value, new: &Value) {
    let Some(map) = fields.as_object_mut() else { return };
    map.retain(|name, value| {
        if value.is_object() {
            disown(value, &old[name], &new[name]);
            return true;
        }
        old[name] == new[name]
    });
}

/// Removes the fields that are also among `others`.
pub fn without(fields: &mut Value, others: &Value) {
    let Some(map) = fields.as_object_mut() else { return };
    map.retain(|name, value| match others.get(name) {
        Some(other) if value.is_object() => {
            without(value, other);
            true
        }
        other => other.is_none(),
    });
}

/// Returns the fields of `new` that aren't in `old` with the same value, as far as a client can own them.
pub fn updated_fields(old: &Value, new: &Value) -> Value {
    let mut all = Map::new();
    for status in [false, true] {
        if let Value::Object(fields) = changed(&applied_fields(old, status), &applied_fields(new, status)) {
            all.extend(fields);
        }
    }
    Value::Object(all)
}

fn changed(old: &Value, new: &Value) -> Value {
    let Some(fields) = new.as_object() else { return new.clone() };
    let differing = fields.iter().filter(|(name, value)| old.get(name) != Some(value));
    Value::Object(differing.map(|(name, value)| (name.clone(), changed(&old[name], value))).collect())
}

/// Returns the fields of an applied configuration that one manager owns: those of the status, or all others.
pub fn applied_fields(configuration: &Value, status: bool) -> Value {
    let mut fields = Map::new();
    for (name, value) in configuration.as_object().into_iter().flatten() {
        match name.as_str() {
            "metadata" if !status => {
                let kept = ["labels", "annotations", "ownerReferences"];
                let kept = kept.iter().filter_map(|name| Some(((*name).to_owned(), value.get(name)?.clone())));
                fields.insert(name.clone(), Value::Object(kept.collect()));
            }
            "apiVersion" | "kind" | "metadata" => {}
            name if (name == "status") == status => {
                fields.insert(name.to_owned(), value.clone());
            }
            _ => {}
        }
    }
    Value::Object(fields)
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("set above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_manager_no_longer_applies_is_removed_and_what_others_wrote_stays() {
        let before = json!({"data": {"a": "1", "b": "2"}, "labels": {"x": "y"}});
        let now = json!({"data": {"a": "3"}});
        let mut live = json!({"data": {"a": "1", "b": "2", "theirs": "4"}, "labels": {"x": "y"}});
        apply(&mut live, Some(&before), &now);
        assert_eq!(live, json!({"data": {"a": "3", "theirs": "4"}}));
    }

    #[test]
    fn a_merge_patch_removes_what_is_null() {
        let mut live = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(&mut live, &json!({"a": {"b": null}, "d": [2]}));
        assert_eq!(live, json!({"a": {"c": 2}, "d": [2]}));
    }
}
