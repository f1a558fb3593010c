//! Metadata as the stores read it, reduced to the fields that are used.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use videotoken_api::names;

/// Metadata as decoded from the wire. Fields that the operator never reads, such as managedFields, are skipped.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct WireMeta {
    pub(crate) name: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) generation: Option<i64>,
    pub(crate) creation_timestamp: Option<Time>,
    pub(crate) deletion_timestamp: Option<Time>,
    #[serde(deserialize_with = "labels_of_ours")]
    pub(crate) labels: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "annotations_of_ours")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    pub(crate) owner_references: Option<Vec<OwnerReference>>,
}

/// Maximum number of bytes that are kept of an annotation. All annotations of the operator are shorter.
const LONGEST_ANNOTATION: usize = 512;

/// Keeps the labels under `videotoken.dev/` and the one that marks managed Secrets, and skips the others unread.
fn labels_of_ours<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    kept(from, |name| name == names::MANAGED_BY || name.starts_with(OURS))
}

/// Keeps the annotations under `videotoken.dev/`, up to [`LONGEST_ANNOTATION`], and skips the others unread.
fn annotations_of_ours<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    kept(from, |name| name.starts_with(OURS))
}

const OURS: &str = "videotoken.dev/";

fn kept<'de, D: Deserializer<'de>>(
    from: D,
    counts: fn(&str) -> bool,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    struct Ours(fn(&str) -> bool);
    impl<'de> serde::de::Visitor<'de> for Ours {
        type Value = Option<BTreeMap<String, String>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("texts by name")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut kept = BTreeMap::new();
            while let Some(name) = map.next_key::<String>()? {
                if (self.0)(&name) {
                    let mut value: String = map.next_value()?;
                    if value.len() > LONGEST_ANNOTATION {
                        value.truncate(value.floor_char_boundary(LONGEST_ANNOTATION));
                        value.shrink_to_fit();
                    }
                    kept.insert(name, value);
                } else {
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
            }
            Ok((!kept.is_empty()).then_some(kept))
        }
    }
    from.deserialize_any(Ours(counts))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn p21_of_labels_and_annotations_only_ours_are_kept_and_those_not_for_long() {
        let long = "y".repeat(250_000);
        let meta = json!({"labels": {"app.kubernetes.io/managed-by": "x", "l": long, "videotoken.dev/l": "z"},
            "annotations": {"a": long, "videotoken.dev/a": long}});
        let meta: WireMeta = serde_json::from_value(meta).unwrap();
        let (labels, annotations) = (meta.labels.unwrap(), meta.annotations.unwrap());
        assert_eq!(labels.keys().collect::<Vec<_>>(), ["app.kubernetes.io/managed-by", "videotoken.dev/l"]);
        assert_eq!(annotations.len(), 1);
        assert_eq!(annotations["videotoken.dev/a"].len(), LONGEST_ANNOTATION);
    }
}
