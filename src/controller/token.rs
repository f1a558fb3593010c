//! The slim form of a `VideoAccessToken`: what the store keeps for each of ten thousand.
//!
//! It can't fail to deserialise: the spec stays JSON until a reconcile decodes it, a status that can't be read counts
//! as none. So one bad object holds up no other.

use super::accounts::ProviderKey;
use crate::api::key::ObjectKey;
use crate::api::video_access_token::{ProviderRef, VideoAccessTokenSpec, VideoAccessTokenStatus};
use crate::api::workload::Workload;
use crate::api::{GROUP, VERSION, names};
use crate::clock::Timestamp;
use crate::plan::facts::{StatusFacts, Uid, resource_version};
use crate::plan::status::status_facts;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::core::{NamespaceResourceScope, ObjectMeta, Resource};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// One `VideoAccessToken`, slim.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Wire")]
pub(super) struct Token {
    meta: ObjectMeta,
    /// Its namespace and name.
    pub(super) key: ObjectKey,
    /// Its UID as a number.
    pub(super) uid: Uid,
    /// `metadata.resourceVersion` as a number.
    pub(super) version: u64,
    /// The annotation that forces a renewal.
    pub(super) renew_requested_at: Option<Box<str>>,
    /// What the last status says.
    pub(super) status: StatusFacts,
    /// The Secret's name, if the spec gives it another than the object's.
    secret_name: Option<Box<str>>,
    /// The spec as JSON; decoded when a reconcile runs.
    spec: Box<[u8]>,
    /// The spec names workloads.
    restarts: bool,
    /// Of what may wake the reconciler: spec, deletion, the annotation that forces a renewal.
    pub(super) wake: u64,
}

impl Token {
    /// The spec, or what is wrong with it and where.
    pub(super) fn spec(&self) -> Result<VideoAccessTokenSpec, String> {
        let mut json = serde_json::Deserializer::from_slice(&self.spec);
        serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            let place = if path == "." { "spec".to_owned() } else { format!("spec.{path}") };
            // serde_json names line and column of our own compact copy: of no use to a reader
            let inner = error.inner().to_string();
            format!("{place}: {}", inner.split(" at line ").next().unwrap_or_default())
        })
    }

    /// The provider object that the spec names, read from it alone.
    pub(super) fn provider(&self) -> Option<ProviderKey> {
        self.provider_and_suspension().0
    }

    /// The provider object that the spec names, and whether it asks for a pause; read from it alone.
    pub(super) fn provider_and_suspension(&self) -> (Option<ProviderKey>, bool) {
        let Ok(spec) = serde_json::from_slice::<ProviderOnly>(&self.spec) else { return (None, false) };
        (ProviderKey::named(&spec.provider_ref, &self.key.namespace), spec.suspend == true)
    }

    /// The workloads to restart when the token has changed; none where the spec can't be read.
    pub(super) fn workloads(&self) -> Vec<Workload> {
        let spec = self.restarts.then(|| self.spec().ok()).flatten();
        spec.and_then(|spec| spec.workloads().ok()).unwrap_or_default()
    }

    /// `metadata.generation`.
    pub(super) fn generation(&self) -> i64 {
        self.meta.generation.unwrap_or_default()
    }

    /// It is being deleted.
    pub(super) fn deleting(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    /// `metadata.uid` as a text.
    pub(super) fn uid_text(&self) -> &str {
        self.meta.uid.as_deref().unwrap_or_default()
    }

    /// The Secret that the spec names.
    pub(super) fn secret_key(&self) -> ObjectKey {
        match &self.secret_name {
            None => self.key.clone(),
            Some(name) => ObjectKey { namespace: self.key.namespace.clone(), name: (&**name).into() },
        }
    }

    /// When the object was created.
    pub(super) fn created_at(&self) -> Option<Timestamp> {
        self.meta.creation_timestamp.as_ref().and_then(|at| Timestamp::from_timestamp(at.0.as_second(), 0))
    }

    /// The order in which objects may claim a Secret: the older first.
    pub(super) fn seniority(&self) -> (i64, u128) {
        (self.meta.creation_timestamp.as_ref().map_or(0, |t| t.0.as_second()), self.uid.0)
    }

    /// Would a reconcile see something new in the other? Status writes, ours above all, don't count.
    pub(super) fn wakes(&self, other: &Token) -> bool {
        self.wake != other.wake
    }

    /// The same object after our own status write.
    #[must_use]
    pub(super) fn with_status(&self, status: StatusFacts, resource_version_text: &str) -> Self {
        let mut token = self.clone();
        token.status = status;
        token.version = resource_version(Some(resource_version_text));
        token.meta.resource_version = Some(resource_version_text.to_owned());
        token
    }
}

impl Resource for Token {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "VideoAccessToken".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }
    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "videoaccesstokens".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProviderOnly {
    provider_ref: ProviderRef,
    #[serde(default)]
    suspend: Value,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    metadata: WireMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

/// The metadata that we read, straight from the wire: managedFields and the like are never built.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WireMeta {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
    pub(super) generation: Option<i64>,
    pub(super) creation_timestamp: Option<Time>,
    pub(super) deletion_timestamp: Option<Time>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "annotations_of_ours")]
    pub(super) annotations: Option<BTreeMap<String, String>>,
    pub(super) owner_references: Option<Vec<OwnerReference>>,
}

/// Keeps the annotations under our own domain and skips the rest unread.
fn annotations_of_ours<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    struct Ours;
    impl<'de> serde::de::Visitor<'de> for Ours {
        type Value = Option<BTreeMap<String, String>>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("annotations")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut kept = BTreeMap::new();
            while let Some(name) = map.next_key::<String>()? {
                if name.starts_with("videotoken.dev/") {
                    kept.insert(name, map.next_value()?);
                } else {
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
            }
            Ok((!kept.is_empty()).then_some(kept))
        }
    }
    from.deserialize_any(Ours)
}

impl From<Wire> for Token {
    fn from(wire: Wire) -> Self {
        let meta = wire.metadata;
        let renew_requested_at =
            meta.annotations.as_ref().and_then(|a| a.get(names::RENEW_REQUESTED_AT)).map(|v| v.as_str().into());
        let status: Option<VideoAccessTokenStatus> = serde_json::from_value(wire.status).ok();
        let named = wire.spec.pointer("/secret/name").and_then(Value::as_str);
        let secret_name = named.filter(|named| Some(*named) != meta.name.as_deref()).map(Into::into);
        let named = named.or(meta.name.as_deref());
        let mut hasher = DefaultHasher::new();
        (&meta.uid, meta.generation, meta.deletion_timestamp.is_some(), &renew_requested_at).hash(&mut hasher);
        Token {
            key: ObjectKey::new(
                meta.namespace.as_deref().unwrap_or_default(),
                meta.name.as_deref().unwrap_or_default(),
            ),
            uid: Uid::parse(meta.uid.as_deref().unwrap_or_default()),
            version: resource_version(meta.resource_version.as_deref()),
            status: status.map(|status| status_facts(&status, named.unwrap_or_default())).unwrap_or_default(),
            restarts: !wire.spec["rolloutRestart"].is_null(),
            spec: serde_json::to_vec(&wire.spec).unwrap_or_default().into_boxed_slice(),
            wake: hasher.finish(),
            renew_requested_at,
            secret_name,
            meta: ObjectMeta {
                // Lookup needs a name; the API server never leaves it out
                name: Some(meta.name.unwrap_or_default()),
                namespace: meta.namespace,
                uid: meta.uid,
                resource_version: meta.resource_version,
                generation: meta.generation,
                creation_timestamp: meta.creation_timestamp,
                deletion_timestamp: meta.deletion_timestamp,
                ..ObjectMeta::default()
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let names = prop_oneof![
                Just("secret"),
                Just("name"),
                Just("scope"),
                Just("videoIndexer"),
                Just("conditions"),
                Just("lifetime"),
                Just("providerRef"),
                Just("lastFailure"),
                Just("issuances"),
                Just("expiresAt")
            ];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(names.prop_map(str::to_owned), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_spec_and_status_deserialise(spec in json_value(), status in json_value()) {
            let object = json!({"metadata": {"name": "a", "namespace": "b", "uid": "c"}, "spec": spec, "status": status});
            let token: Token = serde_json::from_value(object).unwrap();
            let _ = token.spec();
            prop_assert_eq!(token.key, ObjectKey::new("b", "a"));
        }
    }

    #[test]
    fn a_spec_that_cant_be_read_names_its_field() {
        let object = json!({"metadata": {"name": "a"}, "spec": {"providerRef": {"name": "p"}, "scope": 5}});
        let token: Token = serde_json::from_value(object).unwrap();
        assert!(token.spec().unwrap_err().starts_with("spec.scope: invalid type: integer `5`"), "{:?}", token.spec());
    }

    #[test]
    fn p12_what_few_tokens_use_makes_none_larger() {
        // as large as before there was rolloutRestart: it lives in what was padding, and in an index of its own
        assert_eq!((size_of::<Token>(), size_of::<StatusFacts>()), (608, 128));
    }

    #[test]
    fn workloads_are_read_where_the_spec_can_be() {
        let provider = json!({"name": "p"});
        let named = json!([{"kind": "Deployment", "name": "player"}]);
        for (spec, expected) in [
            (json!({"providerRef": provider, "scope": {}, "rolloutRestart": named}), 1),
            (json!({"providerRef": provider, "scope": {}, "rolloutRestart": []}), 0),
            (json!({"providerRef": provider, "scope": {}, "rolloutRestart": [{"kind": "Pod", "name": "player"}]}), 0),
            (json!({"providerRef": provider, "scope": {}, "rolloutRestart": 5}), 0),
            (json!({"providerRef": provider, "scope": {}}), 0),
            (json!({"rolloutRestart": named}), 0),
        ] {
            let token: Token = serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap();
            assert_eq!(token.workloads().len(), expected, "{spec}");
        }
    }

    #[test]
    fn only_what_counts_wakes() {
        let object = |generation: i64, annotations: Value, labels: Value, status: Value| -> Token {
            let meta = json!({"name": "a", "namespace": "b", "uid": "c", "generation": generation,
                "annotations": annotations, "labels": labels, "managedFields": [{"manager": "x"}]});
            serde_json::from_value(json!({"metadata": meta, "spec": {}, "status": status})).unwrap()
        };
        let base = object(1, json!({}), json!({}), json!({}));
        assert!(!base.wakes(&object(1, json!({"theirs": "x"}), json!({"l": "x"}), json!({"issuances": 3}))));
        assert!(base.wakes(&object(2, json!({}), json!({}), json!({}))));
        assert!(base.wakes(&object(1, json!({"videotoken.dev/renew-requested-at": "now"}), json!({}), json!({}))));
    }
}
