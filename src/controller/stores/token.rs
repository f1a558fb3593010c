//! The slim form of a `VideoAccessToken` that the store keeps.
//!
//! Decoding never fails: the spec stays JSON until a reconcile decodes it, and an unreadable status counts as no
//! status. Therefore an invalid object delays no other object.

use crate::controller::stores::meta::WireMeta;
use crate::controller::stores::provider_key::ProviderKey;
use crate::controller::stores::weights;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::{ObjectMeta, Resource};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use videotoken_api::key::ObjectKey;
use videotoken_api::names;
use videotoken_api::video_access_token::{ProviderRef, VideoAccessToken, VideoAccessTokenSpec, VideoAccessTokenStatus};
use videotoken_api::workload::Workload;
use videotoken_core::plan::facts::{Seconds, StatusFacts, Uid, resource_version};
use videotoken_core::plan::observe::ObjectFacts;
use videotoken_core::plan::secret::LARGEST_ANNOTATIONS;
use videotoken_core::plan::status::status_facts;
use videotoken_core::plan::template;
use videotoken_providers::clock::Timestamp;
use videotoken_runtime::slim_resource;

/// A `VideoAccessToken` as a watch decodes it, with the metadata that kube's watcher reads.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Wire")]
pub(crate) struct ListedToken {
    meta: ObjectMeta,
    pub(crate) token: Token,
}

/// A `VideoAccessToken`, slim.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    /// Namespace and name of the object.
    pub(crate) key: ObjectKey,
    /// UID as a number.
    pub(crate) uid: Uid,
    /// UID as text.
    uid_text: Box<str>,
    /// `metadata.resourceVersion`, which is a decimal number in every API server that stores in etcd.
    pub(crate) version: u64,
    generation: i64,
    created_at: Seconds,
    deleting: bool,
    /// Value of the annotation that forces a renewal.
    pub(crate) renew_requested_at: Option<Box<str>>,
    /// Facts of the last status.
    pub(crate) status: StatusFacts,
    /// Name of the Secret, if it differs from the name of the object.
    secret_name: Option<Box<str>>,
    /// Spec as JSON, decoded when a reconcile runs. If the spec is too large, it is stored without its template.
    spec: Box<[u8]>,
    /// Set if the spec exceeds a size limit.
    oversized: Option<Oversized>,
    /// True if the spec names workloads.
    restarts: bool,
    /// Hash of everything whose change triggers a reconcile: spec, deletion, the annotation that forces a renewal.
    pub(crate) trigger_hash: u64,
}

impl Token {
    /// Decodes the spec. The error contains the field.
    pub(crate) fn spec(&self) -> Result<VideoAccessTokenSpec, String> {
        if let Some(oversized) = self.oversized {
            return Err(oversized.to_string());
        }
        let mut json = serde_json::Deserializer::from_slice(&self.spec);
        serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            let place = if path == "." { "spec".to_owned() } else { format!("spec.{path}") };
            // serde_json reports line and column of the compact copy, which mean nothing to a user.
            let inner = error.inner().to_string();
            format!("{place}: {}", inner.split(" at line ").next().unwrap_or_default())
        })
    }

    /// Returns the provider object that the spec names, without decoding the rest.
    pub(crate) fn provider(&self) -> Option<ProviderKey> {
        self.provider_and_suspension().0
    }

    /// Returns the provider object that the spec names, and whether the spec suspends the object, without decoding the
    /// rest.
    pub(crate) fn provider_and_suspension(&self) -> (Option<ProviderKey>, bool) {
        let Ok(spec) = serde_json::from_slice::<ProviderOnly>(&self.spec) else { return (None, false) };
        (ProviderKey::named(&spec.provider_ref, &self.key.namespace), spec.suspend == true)
    }

    /// Returns the workloads to restart when the token has changed; none if the spec can't be decoded.
    pub(crate) fn workloads(&self) -> Vec<Workload> {
        let spec = self.restarts.then(|| self.spec().ok()).flatten();
        spec.and_then(|spec| spec.workloads().ok()).unwrap_or_default()
    }

    /// Returns `metadata.generation`.
    pub(crate) fn generation(&self) -> i64 {
        self.generation
    }

    /// Returns true if the object is being deleted.
    pub(crate) fn deleting(&self) -> bool {
        self.deleting
    }

    /// Returns `metadata.uid` as text.
    pub(crate) fn uid_text(&self) -> &str {
        &self.uid_text
    }

    /// Returns name, namespace, UID and version, as a write needs them.
    pub(crate) fn identity(&self) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.key.name.to_string()),
            namespace: Some(self.key.namespace.to_string()),
            uid: Some(self.uid_text.to_string()),
            resource_version: Some(self.version.to_string()),
            ..ObjectMeta::default()
        }
    }

    /// Returns the reference of an event to the object.
    pub(crate) fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(VideoAccessToken::api_version(&()).into_owned()),
            kind: Some(VideoAccessToken::kind(&()).into_owned()),
            name: Some(self.key.name.to_string()),
            namespace: Some(self.key.namespace.to_string()),
            uid: Some(self.uid_text.to_string()),
            ..ObjectReference::default()
        }
    }

    /// Returns the facts for a decision. `secret_key` is the key of the Secret that the spec names.
    pub(crate) fn facts<'a>(&'a self, secret_key: &'a ObjectKey) -> ObjectFacts<'a> {
        ObjectFacts {
            uid: self.uid,
            generation: self.generation(),
            trigger_hash: self.trigger_hash,
            deleting: self.deleting(),
            renew_requested_at: self.renew_requested_at.as_deref(),
            status: &self.status,
            secret_key,
        }
    }

    /// Returns the key of the Secret that the spec names.
    pub(crate) fn secret_key(&self) -> ObjectKey {
        match &self.secret_name {
            None => self.key.clone(),
            Some(name) => ObjectKey { namespace: self.key.namespace.clone(), name: (&**name).into() },
        }
    }

    /// Returns the creation time of the object.
    pub(crate) fn created_at(&self) -> Option<Timestamp> {
        self.created_at.time()
    }

    /// Returns the order in which objects may claim a Secret: the oldest first.
    pub(crate) fn claim_order(&self) -> (i64, u128) {
        (self.created_at.0, self.uid.0)
    }

    /// Returns true if a reconcile could see a difference to `other`. Status writes don't count.
    pub(crate) fn needs_reconcile(&self, other: &Token) -> bool {
        // The hash includes the generation, but a restored etcd counts generations from the start.
        self.trigger_hash != other.trigger_hash || self.spec != other.spec
    }

    /// Returns the length of the spec in bytes.
    pub(crate) fn spec_length(&self) -> usize {
        self.spec.len()
    }

    /// Returns the object without its template, for which there is not enough memory. The object is rejected for that
    /// reason.
    #[must_use]
    pub(crate) fn shed(mut self) -> Self {
        let mut spec: Value = serde_json::from_slice(&self.spec).unwrap_or_default();
        self.spec = without_template(&mut spec);
        self.oversized = Some(Oversized::Together);
        self
    }

    /// Returns the object after the operator's own status write.
    #[must_use]
    pub(crate) fn with_status(&self, status: StatusFacts, version: &str) -> Self {
        Self { status, version: resource_version(Some(version)), ..self.clone() }
    }
}

/// Size limit that a spec exceeds. The rules of the CRD reject such a spec, but an older CRD may have accepted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oversized {
    /// Sum over the templates.
    Templates,
    /// Sum over the annotations.
    Annotations,
    /// The whole spec.
    Spec,
    /// This spec and the large specs of other objects; see [`super::weights`].
    Together,
}

impl fmt::Display for Oversized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Templates => match template::fits(usize::MAX) {
                Err(error) => write!(f, "{error}"),
                Ok(()) => Ok(()),
            },
            Self::Annotations => f.write_str(
                "spec.secret.template.annotations: all annotations together are longer than 252 KiB, more than an \
                 object can have; shorten them",
            ),
            Self::Spec => write!(f, "spec: is longer than {} KiB; shorten it", LARGEST_SPEC / 1024),
            Self::Together => write!(
                f,
                "spec.secret.template: the VideoAccessTokens of this namespace, or of all, have more large templates than \
                 the operator keeps; shorten this one's so that its spec is below {} KiB, or shorten others' and then \
                 edit this one",
                weights::LIGHT / 1024
            ),
        }
    }
}

/// Maximum size in bytes of a spec as JSON: the largest templates and annotations, with each character escaped in the
/// worst case, and the rest.
const LARGEST_SPEC: usize = 512 * 1024;

/// Maximum number of bytes that are kept of a rejected spec, without its template.
const LARGEST_REFUSED: usize = 4 * 1024;

/// Removes the template of a spec that is too large. Returns the spec as JSON, and the exceeded limit.
fn bounded(spec: &mut Value) -> (Box<[u8]>, Option<Oversized>) {
    let length = |texts: &Value| -> usize {
        let texts = texts.as_object().into_iter().flatten();
        texts.map(|(name, text)| name.len() + text.as_str().map_or(0, str::len)).sum()
    };
    let names = |texts: &Value| -> usize { texts.as_object().into_iter().flatten().map(|(name, _)| name.len()).sum() };
    let of_template = &spec["secret"]["template"];
    let data = &of_template["data"];
    let mut oversized = if template::fits(length(data) - names(data)).is_err() {
        Some(Oversized::Templates)
    } else if length(&of_template["annotations"]) > LARGEST_ANNOTATIONS {
        Some(Oversized::Annotations)
    } else {
        None
    };
    let json = serde_json::to_vec(spec).unwrap_or_default();
    if oversized.is_none() && json.len() > LARGEST_SPEC {
        oversized = Some(Oversized::Spec);
    }
    if oversized.is_some() { (without_template(spec), oversized) } else { (json.into_boxed_slice(), None) }
}

/// Returns the part of an oversized spec that is kept.
fn without_template(spec: &mut Value) -> Box<[u8]> {
    if let Some(secret) = spec["secret"].as_object_mut() {
        secret.remove("template");
    }
    let mut json = serde_json::to_vec(spec).unwrap_or_default();
    if json.len() > LARGEST_REFUSED {
        json = serde_json::to_vec(&json!({"providerRef": spec["providerRef"]})).unwrap_or_default();
    }
    json.into_boxed_slice()
}

slim_resource!(ListedToken, VideoAccessToken, meta, metadata_only: false);

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

impl From<Wire> for ListedToken {
    fn from(mut wire: Wire) -> Self {
        let (spec, oversized) = bounded(&mut wire.spec);
        let meta = wire.metadata;
        let renew_requested_at =
            meta.annotations.as_ref().and_then(|a| a.get(names::RENEW_REQUESTED_AT)).map(|v| v.as_str().into());
        let status: Option<VideoAccessTokenStatus> = serde_json::from_value(wire.status).ok();
        let named = wire.spec.pointer("/secret/name").and_then(Value::as_str);
        let secret_name = named.filter(|named| Some(*named) != meta.name.as_deref()).map(Into::into);
        let named = named.or(meta.name.as_deref());
        let mut hasher = DefaultHasher::new();
        (&meta.uid, meta.generation, meta.deletion_timestamp.is_some(), &renew_requested_at).hash(&mut hasher);
        let token = Token {
            key: ObjectKey::new(
                meta.namespace.as_deref().unwrap_or_default(),
                meta.name.as_deref().unwrap_or_default(),
            ),
            uid: Uid::parse(meta.uid.as_deref().unwrap_or_default()),
            uid_text: meta.uid.unwrap_or_default().into(),
            version: resource_version(meta.resource_version.as_deref()),
            generation: meta.generation.unwrap_or_default(),
            created_at: Seconds(meta.creation_timestamp.map_or(0, |at| at.0.as_second())),
            deleting: meta.deletion_timestamp.is_some(),
            status: status.map(|status| status_facts(&status, named.unwrap_or_default())).unwrap_or_default(),
            restarts: !wire.spec["rolloutRestart"].is_null(),
            spec,
            oversized,
            trigger_hash: hasher.finish(),
            renew_requested_at,
            secret_name,
        };
        let meta = ObjectMeta { name: meta.name, resource_version: meta.resource_version, ..ObjectMeta::default() };
        Self { meta, token }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn decoded(object: Value) -> Token {
        serde_json::from_value::<ListedToken>(object).unwrap().token
    }

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
            let token = decoded(object);
            let _ = token.spec();
            prop_assert_eq!(token.key, ObjectKey::new("b", "a"));
        }
    }

    #[test]
    fn a_spec_that_cant_be_read_names_its_field() {
        let object = json!({"metadata": {"name": "a"}, "spec": {"providerRef": {"name": "p"}, "scope": 5}});
        let token = decoded(object);
        assert!(token.spec().unwrap_err().starts_with("spec.scope: invalid type: integer `5`"), "{:?}", token.spec());
    }

    #[test]
    fn p21_a_spec_that_is_too_large_is_kept_as_its_refusal() {
        let token = |spec: Value| -> Token { decoded(json!({"metadata": {"name": "a"}, "spec": spec})) };
        let with = |template: Value| {
            token(json!({"providerRef": {"name": "p"}, "scope": {}, "suspend": true,
                "secret": {"name": "s", "template": template}}))
        };
        let texts = |count: usize, length: usize| -> Value {
            (0..count).map(|n| (format!("k{n}"), Value::from("x".repeat(length)))).collect()
        };
        for (template, field) in [
            (json!({"data": texts(4, 16_384)}), None),
            (json!({"data": texts(5, 16_384)}), Some("spec.secret.template.data: all templates together")),
            (json!({"data": texts(32, 16_384)}), Some("spec.secret.template.data: all templates together")),
            (json!({"annotations": texts(32, 4_096)}), None),
            (json!({"annotations": texts(64, 4_096)}), Some("spec.secret.template.annotations: all annotations")),
            (json!({"labels": texts(600, 1_000)}), Some("spec: is longer than 512 KiB")),
        ] {
            let token = with(template);
            assert_eq!(token.secret_key().name.as_ref(), "s");
            let (provider, suspended) = token.provider_and_suspension();
            assert!(provider.is_some() && suspended);
            match field {
                None => assert!(token.spec().is_ok()),
                Some(field) => {
                    assert!(token.spec().unwrap_err().starts_with(field), "{:?}", token.spec());
                    assert!(token.spec.len() < 300, "{} bytes are kept", token.spec.len());
                }
            }
        }
        let token = token(json!({"providerRef": {"name": "p"}, "more": "x".repeat(600_000)}));
        assert!(token.spec.len() < 100 && token.provider().is_some() && token.spec().is_err());
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
            let token = decoded(json!({"metadata": {"name": "a"}, "spec": spec}));
            assert_eq!(token.workloads().len(), expected, "{spec}");
        }
    }

    #[test]
    fn only_what_counts_wakes() {
        let object = |generation: i64, annotations: Value, labels: Value, status: Value| -> Token {
            let meta = json!({"name": "a", "namespace": "b", "uid": "c", "generation": generation,
                "annotations": annotations, "labels": labels, "managedFields": [{"manager": "x"}]});
            decoded(json!({"metadata": meta, "spec": {}, "status": status}))
        };
        let base = object(1, json!({}), json!({}), json!({}));
        assert!(!base.needs_reconcile(&object(1, json!({"theirs": "x"}), json!({"l": "x"}), json!({"issuances": 3}))));
        assert!(base.needs_reconcile(&object(2, json!({}), json!({}), json!({}))));
        assert!(base.needs_reconcile(&object(
            1,
            json!({"videotoken.dev/renew-requested-at": "now"}),
            json!({}),
            json!({})
        )));
    }
}
