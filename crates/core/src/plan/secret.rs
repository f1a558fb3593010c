//! Builds the Secret of a token, and checks the integrity of an existing Secret.

mod fit;
mod stored;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;

pub use fit::{LARGEST_ANNOTATIONS, ValueUse, check};
pub use stored::contender;

use super::facts::{HASHED, Seconds, SecretFacts};
use super::hash::Hash;
use super::template::{self, Variables};
use crate::clock::Timestamp;
use crate::issue::Issued;
use crate::jwt;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{SubsecRound, TimeDelta};
use k8s_openapi::api::core::v1::Secret;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use videotoken_api::key::ObjectKey;
use videotoken_api::request::FieldError;
use videotoken_api::secret::{DeletionPolicy, SecretSpec};
use videotoken_api::{GROUP, VERSION, names, wire_time};

/// A token and the metadata that its Secret stores.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// The token.
    pub token: SecretString,
    /// Further values that came with the token, by name. The Secret has each under [`value_key`].
    pub values: BTreeMap<String, SecretString>,
    /// Issue time in whole seconds.
    pub issued_at: Timestamp,
    /// Expiry in whole seconds.
    pub expires_at: Timestamp,
    /// Hash of the token request.
    pub request: Hash,
    /// Forced renewal that the token serves.
    pub renew_request: Option<Box<str>>,
    /// Previous token, while it is valid.
    pub previous: Option<Previous>,
    /// True if the provider returned the token that the Secret already contained.
    pub returned_again: bool,
}

impl TokenRecord {
    /// Creates the record of an issued token: times in whole seconds, as the Secret stores them. `before` is the issue
    /// time of the previous token.
    pub fn new(issued: Issued, request: Hash, before: Seconds, renew_request: Option<Box<str>>) -> Self {
        Self {
            token: issued.token,
            values: issued.values,
            issued_at: recorded_issue(issued.issued_at, before),
            expires_at: issued.expires_at.trunc_subsecs(0),
            request,
            renew_request,
            previous: None,
            returned_again: false,
        }
    }

    /// Compares the token with the one that it replaces. Some providers return the same token until it expires. The
    /// answer then has the same expiry, within the rounding of its lifetime, and a renewal before that expiry brings
    /// nothing. A renewal soon after the issuance is no evidence: a new token would have the same expiry, too.
    #[must_use]
    pub fn replacing(self, replaced: Option<ReplacedToken>) -> Self {
        let same = |replaced: ReplacedToken| {
            replaced.request == self.request
                && (self.expires_at - replaced.expires_at).abs() <= SAME_EXPIRY
                && self.issued_at - replaced.issued_at > SAME_EXPIRY * 2
        };
        Self { returned_again: replaced.is_some_and(same), ..self }
    }
}

/// Facts of the token that another one replaces.
#[derive(Clone, Copy, Debug)]
pub struct ReplacedToken {
    /// Issue time of the token.
    pub issued_at: Timestamp,
    /// Expiry of the token.
    pub expires_at: Timestamp,
    /// Hash of its request.
    pub request: Hash,
}

/// Maximum difference of two expiries that count as the same. Lifetimes in answers have whole seconds.
const SAME_EXPIRY: TimeDelta = TimeDelta::seconds(5);

/// Returns the Secret's key of a further value.
pub fn value_key(name: &str) -> String {
    format!("values.{name}")
}

/// Returns the names of the further values that a Secret contains, from its annotations.
fn value_names(annotations: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    annotations.get(names::VALUE_NAMES).into_iter().flat_map(|names| names.split(','))
}

/// Time before its expiry at which `previousToken` is removed from the Secret.
pub const PREVIOUS_MARGIN: TimeDelta = TimeDelta::seconds(5);

/// The previous token.
#[derive(Clone, Debug)]
pub struct Previous {
    /// The token.
    pub token: SecretString,
    /// Its expiry.
    pub expires_at: Timestamp,
}

impl Previous {
    /// Returns true if the Secret still contains the token at `now`.
    pub fn is_kept(&self, now: Timestamp) -> bool {
        now + PREVIOUS_MARGIN < self.expires_at
    }
}

/// The VideoAccessToken for which a Secret is written.
#[derive(Clone, Copy, Debug)]
pub struct SecretTarget<'a> {
    /// Namespace and name.
    pub key: &'a ObjectKey,
    /// UID. `None`: the object is not in a cluster, and the Secret gets no owner.
    pub uid: Option<&'a str>,
    /// `spec.secret`.
    pub spec: &'a SecretSpec,
}

impl SecretTarget<'_> {
    /// Returns the name of the Secret: from the spec, or else the name of the VideoAccessToken.
    pub fn secret_name(&self) -> &str {
        self.spec.name.as_deref().unwrap_or(&self.key.name)
    }
}

/// Minimum length of a rendered value that is treated as a secret.
const SHORTEST_SECRET: usize = 16;

/// The fields of a Secret that the operator owns.
#[derive(Clone, Debug)]
pub struct DesiredSecret {
    name: String,
    namespace: String,
    type_: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    data: BTreeMap<String, SecretString>,
    owner: Option<Value>,
    content: Hash,
}

/// Precondition of a write of a Secret.
#[derive(Clone, Copy, Debug)]
pub enum WritePrecondition<'a> {
    /// No Secret exists: it is created, or the write fails.
    Absent,
    /// No precondition: the Secret is printed, and another program writes it.
    None,
    /// The Secret is unchanged since it was observed.
    Unchanged {
        /// UID of the Secret.
        uid: &'a str,
        /// resourceVersion of the Secret.
        resource_version: u64,
    },
}

/// Returns the issue time for the Secret: in whole seconds, and different from that of the previous token, so that the
/// two can be distinguished.
pub fn recorded_issue(issued_at: Timestamp, before: Seconds) -> Timestamp {
    let at = issued_at.trunc_subsecs(0);
    if before == at.into() { at + TimeDelta::seconds(1) } else { at }
}

/// Returns the hash of keys, template, labels, type and deletion policy: everything of `spec.secret` except the name.
pub fn render_hash(spec: &SecretSpec) -> Hash {
    let shaped = SecretSpec { name: None, ..spec.clone() };
    Hash::of([b"1".as_slice(), &serde_json::to_vec(&shaped).unwrap_or_default()])
}

/// Builds the Secret. The error names the field of a template that doesn't render.
pub fn build_secret(target: SecretTarget<'_>, record: &TokenRecord) -> Result<DesiredSecret, FieldError> {
    let data = data(target, record)?;
    let mut annotations = operator_annotations(target, record);
    let content = content_hash(data.iter().map(|(k, v)| (k.as_str(), v.expose_secret().as_bytes())), &annotations);
    annotations.insert(names::CONTENT_HASH.into(), content.to_string());
    let mut labels = BTreeMap::new();
    if let Some(template) = &target.spec.template {
        labels.clone_from(&template.labels);
        for (name, value) in &template.annotations {
            annotations.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    labels.insert(names::MANAGED_BY.into(), names::OPERATOR.into());
    let owner = target.uid.filter(|_| target.spec.deletion_policy == DeletionPolicy::Delete).map(|uid| {
        json!({"apiVersion": format!("{GROUP}/{VERSION}"), "kind": "VideoAccessToken", "name": &*target.key.name,
            "uid": uid, "controller": true, "blockOwnerDeletion": false})
    });
    Ok(DesiredSecret {
        name: target.secret_name().to_owned(),
        namespace: target.key.namespace.to_string(),
        type_: target.spec.type_.clone(),
        labels,
        annotations,
        data,
        owner,
        content,
    })
}

/// Returns the data: the keys of the template, then the plain keys.
fn data(target: SecretTarget<'_>, record: &TokenRecord) -> Result<BTreeMap<String, SecretString>, FieldError> {
    let keys = &target.spec.keys;
    let mut data = BTreeMap::new();
    if let Some(template) = target.spec.template.as_ref().filter(|template| !template.data.is_empty()) {
        let variables = Variables {
            token: &record.token,
            issued_at: record.issued_at,
            expires_at: record.expires_at,
            name: &target.key.name,
            namespace: &target.key.namespace,
            secret_name: target.secret_name(),
            previous_token: record.previous.as_ref().map(|previous| &previous.token),
            values: Some(&record.values),
        };
        data = template::render(&template.data, &variables)?;
    }
    data.insert(keys.token.clone(), record.token.clone());
    data.insert(keys.expires_at.clone(), wire_time::text(record.expires_at).into());
    if let (Some(key), Some(previous)) = (&keys.previous_token, &record.previous) {
        data.insert(key.clone(), previous.token.clone());
    }
    for (name, value) in &record.values {
        if data.insert(value_key(name), value.clone()).is_some() {
            return Err(value_key_taken(target.spec, name));
        }
    }
    Ok(data)
}

/// Returns the error for a key of the spec that has the name of a further value's key.
pub(super) fn value_key_taken(spec: &SecretSpec, name: &str) -> FieldError {
    let key = value_key(name);
    let is_plain = spec.plain_keys().any(|plain| plain == key);
    let field = if is_plain { "spec.secret.keys".to_owned() } else { format!("spec.secret.template.data[{key}]") };
    FieldError::new(field, format!("the provider's value {name} has the key {key}. Rename the key of the spec."))
}

/// Returns the operator's annotations without the content hash.
fn operator_annotations(target: SecretTarget<'_>, record: &TokenRecord) -> BTreeMap<String, String> {
    let mut annotations: BTreeMap<String, String> = [
        (names::ISSUED_AT, wire_time::text(record.issued_at)),
        (names::EXPIRES_AT, wire_time::text(record.expires_at)),
        (names::TOKEN_KEY, target.spec.keys.token.clone()),
        (names::REQUEST_HASH, record.request.to_string()),
        (names::RENDER_HASH, render_hash(target.spec).to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(uid) = target.uid {
        annotations.insert(names::OWNER_UID.into(), uid.to_owned());
    }
    if !record.values.is_empty() {
        let names: Vec<_> = record.values.keys().map(String::as_str).collect();
        annotations.insert(names::VALUE_NAMES.into(), names.join(","));
    }
    if record.returned_again {
        annotations.insert(names::RETURNED_AGAIN.into(), "true".to_owned());
    }
    if let Some(served) = &record.renew_request {
        annotations.insert(names::RENEW_REQUEST.into(), served.to_string());
    }
    if let Some(previous) = record.previous.as_ref().filter(|_| target.spec.keys.previous_token.is_some()) {
        annotations.insert(names::PREVIOUS_EXPIRES_AT.into(), wire_time::text(previous.expires_at));
    }
    annotations
}

/// Annotations in the content hash that not every Secret has, in the order of hashing.
const HASHED_IF_PRESENT: [&str; 2] = [names::VALUE_NAMES, names::RETURNED_AGAIN];

/// Returns the hash of all data and the operator's annotations. It shows any change by another client.
fn content_hash<'a>(
    data: impl Iterator<Item = (&'a str, &'a [u8])>,
    annotations: &'a BTreeMap<String, String>,
) -> Hash {
    let of =
        |name: &'static str| [name.as_bytes(), annotations.get(name).map_or(b"".as_slice(), |value| value.as_bytes())];
    // These count only if they are there, so that Secrets without them keep their hash.
    let optional = HASHED_IF_PRESENT.into_iter().filter(|name| annotations.contains_key(*name)).map(of);
    let annotations = HASHED.into_iter().map(of).chain(optional).flatten();
    Hash::of(data.flat_map(|(key, value)| [key.as_bytes(), value]).chain(annotations))
}

impl DesiredSecret {
    /// Returns the size in bytes.
    pub fn size(&self) -> usize {
        let data = self.data.iter().map(|(key, value)| key.len() + value.expose_secret().len());
        let metadata = self.labels.iter().chain(&self.annotations).map(|(name, value)| name.len() + value.len());
        data.chain(metadata).sum()
    }

    /// Returns the keys and their values.
    pub fn data(&self) -> &BTreeMap<String, SecretString> {
        &self.data
    }

    /// Returns the values that must not be shown: the token, and each value that is long enough to contain a token.
    pub fn secrets(&self) -> Vec<SecretString> {
        let expires_at = self.annotations.get(names::EXPIRES_AT);
        let issued: Vec<String> = self.issued_keys().collect();
        let counts = |(key, value): &(&String, &SecretString)| {
            let value = value.expose_secret();
            issued.contains(key) || (value.len() >= SHORTEST_SECRET && Some(value) != expires_at.map(String::as_str))
        };
        self.data.iter().filter(counts).map(|(_, value)| value.clone()).collect()
    }

    /// Returns the keys of what was issued: the token and the further values.
    fn issued_keys(&self) -> impl Iterator<Item = String> {
        let token = self.annotations.get(names::TOKEN_KEY).cloned();
        token.into_iter().chain(value_names(&self.annotations).map(value_key))
    }

    /// Returns the object for server-side apply. It contains the token.
    pub fn manifest(&self, precondition: WritePrecondition<'_>) -> Value {
        let data: BTreeMap<_, _> =
            self.data.iter().map(|(key, value)| (key, BASE64.encode(value.expose_secret()))).collect();
        let mut metadata = json!({
            "name": self.name, "namespace": self.namespace, "labels": self.labels, "annotations": self.annotations,
        });
        match precondition {
            // creates the Secret, and fails if one exists
            WritePrecondition::Absent => metadata["resourceVersion"] = "1".into(),
            WritePrecondition::None => {}
            WritePrecondition::Unchanged { uid, resource_version } => {
                metadata["uid"] = uid.into();
                metadata["resourceVersion"] = resource_version.to_string().into();
            }
        }
        if let Some(owner) = &self.owner {
            metadata["ownerReferences"] = json!([owner]);
        }
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": self.type_, "data": data})
    }

    /// Returns true if the Secret contains every field as the operator would write it. Other fields are ignored.
    fn matches(&self, secret: &Secret) -> bool {
        let within = |ours: &BTreeMap<String, String>, there: &Option<BTreeMap<String, String>>| {
            ours.iter().all(|(name, value)| there.as_ref().and_then(|t| t.get(name)) == Some(value))
        };
        let data = |key: &String| secret.data.as_ref().and_then(|data| data.get(key));
        within(&self.labels, &secret.metadata.labels)
            && within(&self.annotations, &secret.metadata.annotations)
            && self
                .data
                .iter()
                .all(|(key, value)| data(key).is_some_and(|there| there.0 == value.expose_secret().as_bytes()))
            && self.is_owned(secret)
    }

    /// Returns true if the Secret has the desired owner, or if no owner is desired.
    fn is_owned(&self, secret: &Secret) -> bool {
        let mut owners = secret.metadata.owner_references.iter().flatten();
        self.owner.as_ref().is_none_or(|ours| owners.any(|owner| ours["uid"] == *owner.uid))
    }

    /// Returns the Secret without the claim to be its controller, because another controller has made itself the only
    /// one.
    #[must_use]
    pub fn beside_another_controller(mut self) -> Self {
        if let Some(owner) = self.owner.as_mut().and_then(Value::as_object_mut) {
            owner.remove("controller");
        }
        self
    }
}

/// Result of the check of a Secret.
#[derive(Debug)]
pub enum SecretIntegrity {
    /// The Secret is as the operator would write it.
    Intact(TokenRecord),
    /// The token is unchanged, and another client changed other data.
    Altered(TokenRecord),
    /// The Secret is as the operator wrote it, for an earlier spec or another VideoAccessToken.
    Outdated(TokenRecord),
    /// The token is lost or altered.
    Lost,
}

/// Checks a Secret for changes by other clients (P09).
///
/// The token is trusted if the content hash matches the Secret that the operator would build from it, or the stored
/// data.
pub fn inspect(secret: &Secret, facts: &SecretFacts, target: SecretTarget<'_>) -> SecretIntegrity {
    let Some(record) = record(secret, facts, target) else { return SecretIntegrity::Lost };
    // a spec that can't be built with this token doesn't show that the token changed
    let shape = build_secret(target, &record).ok();
    let ours = shape.as_ref().is_some_and(|shape| facts.content == Some(shape.content));
    match shape {
        Some(shape) if ours && shape.matches(secret) => SecretIntegrity::Intact(record),
        _ if ours => SecretIntegrity::Altered(record),
        _ if is_as_written(secret, facts) => SecretIntegrity::Outdated(record),
        _ => SecretIntegrity::Lost,
    }
}

/// Returns true if the content hash matches all stored data, or the keys that the operator applied. Another client may
/// have added keys.
fn is_as_written(secret: &Secret, facts: &SecretFacts) -> bool {
    let none = BTreeMap::new();
    let annotations = secret.metadata.annotations.as_ref().unwrap_or(&none);
    let over = |counts: &dyn Fn(&str) -> bool| {
        let data = secret.data.iter().flatten().filter(|(key, _)| counts(key));
        content_hash(data.map(|(key, value)| (key.as_str(), value.0.as_slice())), annotations)
    };
    let applied = applied_fields(secret);
    let is_ours = |key: &str| applied.is_some_and(|fields| fields.contains_key(&format!("f:{key}")));
    facts.content.is_some_and(|content| content == over(&|_| true) || content == over(&is_ours))
}

/// Returns the keys that the operator applied and no other client has changed since, from the `managedFields` of
/// server-side apply: `f:` and the key.
fn applied_fields(secret: &Secret) -> Option<&serde_json::Map<String, Value>> {
    let managed = secret.metadata.managed_fields.iter().flatten();
    let mut ours = managed.filter(|entry| {
        entry.manager.as_deref() == Some(names::OPERATOR) && entry.operation.as_deref() == Some("Apply")
    });
    ours.find_map(|entry| entry.fields_v1.as_ref()?.0.get("f:data")?.as_object())
}

/// Cause for which the operator can't write a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotWritable {
    /// Another client made it immutable.
    Immutable,
    /// Its type differs from the spec, and the type of a Secret can't change.
    OtherType,
}

/// Returns the cause for which a Secret can't be written, if there is one.
pub fn not_writable(secret: &Secret, spec: &SecretSpec) -> Option<NotWritable> {
    if secret.immutable == Some(true) {
        return Some(NotWritable::Immutable);
    }
    (secret.type_.as_deref().unwrap_or("Opaque") != spec.type_).then_some(NotWritable::OtherType)
}

/// Reads the token and its metadata from a Secret. `None`: a part is missing.
fn record(secret: &Secret, facts: &SecretFacts, target: SecretTarget<'_>) -> Option<TokenRecord> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| Some(SecretString::from(std::str::from_utf8(&data.get(key)?.0).ok()?));
    let annotations = secret.metadata.annotations.as_ref()?;
    let token_key = annotations.get(names::TOKEN_KEY)?;
    let values = value_names(annotations).map(|name| Some((name.to_owned(), text(&value_key(name))?)));
    let values: BTreeMap<_, _> = values.collect::<Option<_>>()?;
    let (issued_at, expires_at) = facts.lifetime()?;
    let token = text(token_key)?;
    if !is_believed(&token, expires_at) {
        return None;
    }
    let previous_key = target.spec.keys.previous_token.as_deref();
    let previous = facts
        .previous_expires_at
        .time()
        .and_then(|expires_at| Some(Previous { token: text(previous_key?)?, expires_at }))
        .filter(|previous| is_believed(&previous.token, previous.expires_at));
    Some(TokenRecord {
        token,
        values,
        issued_at,
        expires_at,
        request: facts.request?,
        renew_request: facts.renew_request.clone(),
        previous,
        returned_again: facts.returned_again,
    })
}

/// Maximum difference between the local clock and a provider's clock, such as a wrong time zone. An expiry by the
/// local clock may be later than `exp` by this time (P19).
const CLOCKS_DIFFER: TimeDelta = TimeDelta::days(1);

/// Returns true if the expiry is plausible. Any client with write access can create a Secret with valid annotations, so
/// the expiry must not exceed the `exp` of the token, if it has one.
fn is_believed(token: &SecretString, expires_at: Timestamp) -> bool {
    jwt::exp(token.expose_secret()).is_none_or(|own| expires_at <= own + CLOCKS_DIFFER)
}
