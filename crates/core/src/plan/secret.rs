//! What the Secret looks like, and whether one that was read still looks so.

mod fit;
mod stored;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;

pub use fit::{LARGEST_ANNOTATIONS, check};
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

/// A token and what is recorded beside it.
#[derive(Clone, Debug)]
pub struct Material {
    /// The token.
    pub token: SecretString,
    /// When it was issued, in whole seconds.
    pub issued_at: Timestamp,
    /// When it expires, in whole seconds.
    pub expires_at: Timestamp,
    /// What was asked of the provider.
    pub request: Hash,
    /// The forced renewal that it serves.
    pub renew_request: Option<Box<str>>,
    /// The token before, while it lives.
    pub previous: Option<Previous>,
}

impl Material {
    /// What is recorded of a token that answers `request`: times in whole seconds, as they will stand in the Secret.
    /// `before` is when the token before it was issued.
    pub fn of(issued: Issued, request: Hash, before: Seconds, renew_request: Option<Box<str>>) -> Self {
        Self {
            token: issued.token,
            issued_at: recorded_issue(issued.issued_at, before),
            expires_at: issued.expires_at.trunc_subsecs(0),
            request,
            renew_request,
            previous: None,
        }
    }
}

/// Time before its expiry at which `previousToken` leaves the Secret.
pub const PREVIOUS_MARGIN: TimeDelta = TimeDelta::seconds(5);

/// The token before the last renewal.
#[derive(Clone, Debug)]
pub struct Previous {
    /// That token.
    pub token: SecretString,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl Previous {
    /// Returns true if the token is still worth keeping beside its successor.
    pub fn is_kept(&self, now: Timestamp) -> bool {
        now + PREVIOUS_MARGIN < self.expires_at
    }
}

/// The object that a Secret is written for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its namespace and name.
    pub key: &'a ObjectKey,
    /// Its UID. `None`: it is in no cluster, so that no owner is recorded.
    pub uid: Option<&'a str>,
    /// `spec.secret`.
    pub spec: &'a SecretSpec,
}

impl Subject<'_> {
    /// The Secret's name: the spec's, or the object's own.
    pub fn secret_name(&self) -> &str {
        self.spec.name.as_deref().unwrap_or(&self.key.name)
    }
}

/// A rendered value that is shorter is a word, not a secret.
const SHORTEST_SECRET: usize = 16;

/// The parts of a Secret that are ours.
#[derive(Clone, Debug)]
pub struct Shape {
    name: String,
    namespace: String,
    type_: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    data: BTreeMap<String, SecretString>,
    owner: Option<Value>,
    content: Hash,
}

/// On which Secret a write may land.
#[derive(Clone, Copy, Debug)]
pub enum Guard<'a> {
    /// On none: it is created, or the write fails.
    Create,
    /// On any: it is printed, for another hand to write.
    Printed,
    /// On this one, as it was seen.
    Replace {
        /// Its UID.
        uid: &'a str,
        /// Its resourceVersion.
        resource_version: u64,
    },
}

/// When a token was issued, as its Secret records it: in whole seconds, and never in that of the token before, so that
/// the two can be told apart.
pub fn recorded_issue(issued_at: Timestamp, before: Seconds) -> Timestamp {
    let at = issued_at.trunc_subsecs(0);
    if before == at.into() { at + TimeDelta::seconds(1) } else { at }
}

/// How the Secret is shaped: keys, template, labels, type and deletion policy, not its name.
pub fn render_hash(spec: &SecretSpec) -> Hash {
    let shaped = SecretSpec { name: None, ..spec.clone() };
    Hash::of([b"1".as_slice(), &serde_json::to_vec(&shaped).unwrap_or_default()])
}

/// Shapes the Secret. Fails with the field of a template that doesn't render.
pub fn shape(subject: Subject<'_>, material: &Material) -> Result<Shape, FieldError> {
    let data = data(subject, material)?;
    let mut annotations = ours(subject, material);
    let content = content_hash(data.iter().map(|(k, v)| (k.as_str(), v.expose_secret().as_bytes())), &annotations);
    annotations.insert(names::CONTENT_HASH.into(), content.to_string());
    let mut labels = BTreeMap::new();
    if let Some(template) = &subject.spec.template {
        labels.clone_from(&template.labels);
        for (name, value) in &template.annotations {
            annotations.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    labels.insert(names::MANAGED_BY.into(), names::OPERATOR.into());
    let owner = subject.uid.filter(|_| subject.spec.deletion_policy == DeletionPolicy::Delete).map(|uid| {
        json!({"apiVersion": format!("{GROUP}/{VERSION}"), "kind": "VideoAccessToken", "name": &*subject.key.name,
            "uid": uid, "controller": true, "blockOwnerDeletion": false})
    });
    Ok(Shape {
        name: subject.secret_name().to_owned(),
        namespace: subject.key.namespace.to_string(),
        type_: subject.spec.type_.clone(),
        labels,
        annotations,
        data,
        owner,
        content,
    })
}

/// The keys: the plain ones, then the template's.
fn data(subject: Subject<'_>, material: &Material) -> Result<BTreeMap<String, SecretString>, FieldError> {
    let keys = &subject.spec.keys;
    let mut data = BTreeMap::new();
    if let Some(template) = subject.spec.template.as_ref().filter(|template| !template.data.is_empty()) {
        let variables = Variables {
            token: &material.token,
            issued_at: material.issued_at,
            expires_at: material.expires_at,
            name: &subject.key.name,
            namespace: &subject.key.namespace,
            secret_name: subject.secret_name(),
            previous_token: material.previous.as_ref().map(|previous| &previous.token),
        };
        data = template::render(&template.data, &variables)?;
    }
    data.insert(keys.token.clone(), material.token.clone());
    data.insert(keys.expires_at.clone(), wire_time::text(material.expires_at).into());
    if let (Some(key), Some(previous)) = (&keys.previous_token, &material.previous) {
        data.insert(key.clone(), previous.token.clone());
    }
    Ok(data)
}

/// Our annotations but the content hash.
fn ours(subject: Subject<'_>, material: &Material) -> BTreeMap<String, String> {
    let mut annotations: BTreeMap<String, String> = [
        (names::ISSUED_AT, wire_time::text(material.issued_at)),
        (names::EXPIRES_AT, wire_time::text(material.expires_at)),
        (names::TOKEN_KEY, subject.spec.keys.token.clone()),
        (names::REQUEST_HASH, material.request.to_string()),
        (names::RENDER_HASH, render_hash(subject.spec).to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(uid) = subject.uid {
        annotations.insert(names::OWNER_UID.into(), uid.to_owned());
    }
    if let Some(served) = &material.renew_request {
        annotations.insert(names::RENEW_REQUEST.into(), served.to_string());
    }
    if let Some(previous) = material.previous.as_ref().filter(|_| subject.spec.keys.previous_token.is_some()) {
        annotations.insert(names::PREVIOUS_EXPIRES_AT.into(), wire_time::text(previous.expires_at));
    }
    annotations
}

/// Over all data and our annotations, so that any change by another hand shows.
fn content_hash<'a>(
    data: impl Iterator<Item = (&'a str, &'a [u8])>,
    annotations: &'a BTreeMap<String, String>,
) -> Hash {
    let annotations = HASHED
        .iter()
        .flat_map(|name| [name.as_bytes(), annotations.get(*name).map_or(b"".as_slice(), |value| value.as_bytes())]);
    Hash::of(data.flat_map(|(key, value)| [key.as_bytes(), value]).chain(annotations))
}

impl Shape {
    /// Bytes of what it holds.
    pub fn size(&self) -> usize {
        let data = self.data.iter().map(|(key, value)| key.len() + value.expose_secret().len());
        let metadata = self.labels.iter().chain(&self.annotations).map(|(name, value)| name.len() + value.len());
        data.chain(metadata).sum()
    }

    /// Its keys and what they hold.
    pub fn data(&self) -> &BTreeMap<String, SecretString> {
        &self.data
    }

    /// What of it nobody may be shown: the token, and whatever is long enough to hold one.
    pub fn secrets(&self) -> Vec<SecretString> {
        let [token, expires_at] = [names::TOKEN_KEY, names::EXPIRES_AT].map(|name| self.annotations.get(name));
        let counts = |(key, value): &(&String, &SecretString)| {
            let value = value.expose_secret();
            Some(*key) == token || (value.len() >= SHORTEST_SECRET && Some(value) != expires_at.map(String::as_str))
        };
        self.data.iter().filter(counts).map(|(_, value)| value.clone()).collect()
    }

    /// The object to apply. It holds the token: to be sent, never to be shown.
    pub fn manifest(&self, guard: Guard<'_>) -> Value {
        let data: BTreeMap<_, _> =
            self.data.iter().map(|(key, value)| (key, BASE64.encode(value.expose_secret()))).collect();
        let mut metadata = json!({
            "name": self.name, "namespace": self.namespace, "labels": self.labels, "annotations": self.annotations,
        });
        match guard {
            // created if absent, refused if there is one
            Guard::Create => metadata["resourceVersion"] = "1".into(),
            Guard::Printed => {}
            Guard::Replace { uid, resource_version } => {
                metadata["uid"] = uid.into();
                metadata["resourceVersion"] = resource_version.to_string().into();
            }
        }
        if let Some(owner) = &self.owner {
            metadata["ownerReferences"] = json!([owner]);
        }
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": self.type_, "data": data})
    }

    /// Does this Secret have everything of ours as we would write it? What is not ours is left alone.
    fn stands_in(&self, secret: &Secret) -> bool {
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

    /// Is our owner among the Secret's, if it is to have one?
    fn is_owned(&self, secret: &Secret) -> bool {
        let mut owners = secret.metadata.owner_references.iter().flatten();
        self.owner.as_ref().is_none_or(|ours| owners.any(|owner| ours["uid"] == *owner.uid))
    }

    /// The same, where another controller has made itself the Secret's: there can be but one, and ours needs it not.
    #[must_use]
    pub fn beside_another_controller(mut self) -> Self {
        if let Some(owner) = self.owner.as_mut().and_then(Value::as_object_mut) {
            owner.remove("controller");
        }
        self
    }
}

/// What a Secret that was read whole turned out to be.
#[derive(Debug)]
pub enum Verdict {
    /// As we would write it.
    Intact(Material),
    /// The token is whole, and something else isn't: another hand was there.
    Altered(Material),
    /// All is as it was written, for another spec than today's or another object than this one.
    Outdated(Material),
    /// The token is lost or altered.
    Lost,
}

/// Reads a Secret and tells what another hand did to it (P09).
///
/// The token is trusted when the content hash holds over what we would write from it, or over what is there.
pub fn inspect(secret: &Secret, facts: &SecretFacts, subject: Subject<'_>) -> Verdict {
    let Some(material) = material(secret, facts, subject) else { return Verdict::Lost };
    // a spec that can't be shaped with this token says nothing against the token
    let shape = shape(subject, &material).ok();
    let ours = shape.as_ref().is_some_and(|shape| facts.content == Some(shape.content));
    match shape {
        Some(shape) if ours && shape.stands_in(secret) => Verdict::Intact(material),
        _ if ours => Verdict::Altered(material),
        _ if is_as_written(secret, facts) => Verdict::Outdated(material),
        _ => Verdict::Lost,
    }
}

/// Does the content hash hold over all that is there, or over the keys that the API server knows for ours? Another hand
/// may have added keys of its own.
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

/// The keys that we applied last and no other hand has changed since, as server-side apply keeps them: `f:` and the key.
fn applied_fields(secret: &Secret) -> Option<&serde_json::Map<String, Value>> {
    let managed = secret.metadata.managed_fields.iter().flatten();
    let mut ours = managed.filter(|entry| {
        entry.manager.as_deref() == Some(names::OPERATOR) && entry.operation.as_deref() == Some("Apply")
    });
    ours.find_map(|entry| entry.fields_v1.as_ref()?.0.get("f:data")?.as_object())
}

/// Why a Secret takes no write of ours, whatever is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// Another hand made it immutable.
    Immutable,
    /// It has another type than the spec's, and a type can't change.
    OtherType,
}

/// Tells whether a Secret that was read whole can be written to at all.
pub fn fixed(secret: &Secret, spec: &SecretSpec) -> Option<Fixed> {
    if secret.immutable == Some(true) {
        return Some(Fixed::Immutable);
    }
    (secret.type_.as_deref().unwrap_or("Opaque") != spec.type_).then_some(Fixed::OtherType)
}

/// The token and its record as a Secret holds them; `None` when any part is missing.
fn material(secret: &Secret, facts: &SecretFacts, subject: Subject<'_>) -> Option<Material> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| Some(SecretString::from(std::str::from_utf8(&data.get(key)?.0).ok()?));
    let token_key = secret.metadata.annotations.as_ref()?.get(names::TOKEN_KEY)?;
    let (issued_at, expires_at) = facts.life()?;
    let token = text(token_key)?;
    if !is_believed(&token, expires_at) {
        return None;
    }
    let previous_key = subject.spec.keys.previous_token.as_deref();
    let previous = facts
        .previous_expires_at
        .time()
        .and_then(|expires_at| Some(Previous { token: text(previous_key?)?, expires_at }))
        .filter(|previous| is_believed(&previous.token, previous.expires_at));
    Some(Material {
        token,
        issued_at,
        expires_at,
        request: facts.request?,
        renew_request: facts.renew_request.clone(),
        previous,
    })
}

/// A provider's clock may be so far behind ours, a time zone and more: the life that counts here ends later than the
/// token itself says (P19).
const CLOCKS_DIFFER: TimeDelta = TimeDelta::days(1);

/// Whoever may write Secrets can plant one with every annotation computed: a token is believed to live no longer than it
/// says of itself, where it does.
fn is_believed(token: &SecretString, expires_at: Timestamp) -> bool {
    jwt::exp(token.expose_secret()).is_none_or(|own| expires_at <= own + CLOCKS_DIFFER)
}
