//! Differences between a CRD in the cluster and this program, except descriptions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;
use videotoken_api::VERSION;

/// Returns the differences with their path from the root of the schema: `spec.suspend is missing`, `spec.lifetime.maxLength
/// is 16, not 32`.
pub(super) fn crd_diff(there: &CustomResourceDefinition, ours: &CustomResourceDefinition) -> Vec<String> {
    let version = |crd: &CustomResourceDefinition| {
        let version = crd.spec.versions.iter().find(|version| version.name == VERSION)?;
        version.served.then(|| serde_json::to_value(version).ok())?
    };
    let (Some(there), Some(ours)) = (version(there), version(ours)) else {
        return vec![format!("version {VERSION} isn't served")];
    };
    let mut found = Vec::new();
    for part in ["schema", "subresources"] {
        compare(&there[part], &ours[part], "", &mut found);
    }
    found
}

fn compare(there: &Value, ours: &Value, path: &str, found: &mut Vec<String>) {
    match (there, ours) {
        (Value::Object(there), Value::Object(ours)) => {
            for (name, value) in ours.iter().filter(|(name, _)| *name != "description") {
                match there.get(name) {
                    Some(other) => compare(other, value, &join(path, name), found),
                    None => found.push(format!("{} is missing", join(path, name))),
                }
            }
            let more = there.keys().filter(|name| !ours.contains_key(*name) && *name != "description");
            found.extend(more.map(|name| format!("{} is unknown to this program", join(path, name))));
        }
        (Value::Array(there), Value::Array(ours)) if there.len() == ours.len() => {
            for (n, (there, ours)) in there.iter().zip(ours).enumerate() {
                compare(there, ours, &format!("{path}[{n}]"), found);
            }
        }
        (Value::Array(there), Value::Array(ours)) => {
            found.push(format!("{path} has {} items, not {}", there.len(), ours.len()));
        }
        (there, ours) if there == ours => {}
        (there, ours) => found.push(format!("{path} is {}, not {}", short(there), short(ours))),
    }
}

/// Returns a path without parts that all paths contain.
fn join(path: &str, name: &str) -> String {
    match name {
        "properties" | "openAPIV3Schema" => path.to_owned(),
        name if path.is_empty() => name.to_owned(),
        name => format!("{path}.{name}"),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 40 { text } else { text.chars().take(37).collect::<String>() + "..." }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use videotoken_api::crds;

    type Change = Box<dyn Fn(&mut Value)>;

    /// Returns the first CRD with a change to its schema.
    fn changed(change: impl Fn(&mut Value)) -> CustomResourceDefinition {
        let mut crd = serde_json::to_value(&crds::all()[0]).unwrap();
        change(&mut crd["spec"]["versions"][0]);
        serde_json::from_value(crd).unwrap()
    }

    #[test]
    fn what_differs_is_named_by_its_path() {
        const SPEC: &str = "/schema/openAPIV3Schema/properties/spec";
        let ours = &crds::all()[0];
        let cases: [(&str, Change, &[&str]); 6] = [
            ("the same", Box::new(|_| ()), &[]),
            (
                "another description",
                Box::new(|version| version.pointer_mut(SPEC).unwrap()["description"] = "other".into()),
                &[],
            ),
            (
                "an older one",
                Box::new(|version| {
                    version.pointer_mut(SPEC).unwrap()["properties"].as_object_mut().unwrap().remove("suspend");
                }),
                &["spec.suspend is missing"],
            ),
            (
                "a newer one",
                Box::new(|version| {
                    version.pointer_mut(SPEC).unwrap()["properties"]["audience"] =
                        serde_json::json!({"type": "string"});
                }),
                &["spec.audience is unknown to this program"],
            ),
            (
                "another bound",
                Box::new(|version| {
                    version.pointer_mut(SPEC).unwrap()["properties"]["lifetime"]["maxLength"] = 16.into();
                }),
                &["spec.lifetime.maxLength is 16, not 32"],
            ),
            ("not served", Box::new(|version| version["served"] = false.into()), &["version v1alpha1 isn't served"]),
        ];
        for (what, change, expected) in cases {
            assert_eq!(crd_diff(&changed(change), ours), expected, "{what}");
        }
    }
}
