//! Compares the stored Secret with the sent one, and finds the client that changed a Secret in its `managedFields`.

use super::{DesiredSecret, HASHED_IF_PRESENT, NotWritable, value_key, value_names};
use crate::plan::contest::{Contender, Difference, Stored};
use crate::plan::facts::HASHED;
use crate::plan::view::DataView;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use secrecy::ExposeSecret;
use serde_json::Value;
use std::collections::BTreeMap;
use videotoken_api::names;
use videotoken_api::secret::SecretSpec;

/// Maximum length of a value in a message.
const LONGEST: usize = 80;

impl DesiredSecret {
    /// Compares the response to a write with the sent Secret. Returns the state of the data and the first field that
    /// differs.
    pub fn compare(&self, stored: &Secret) -> (DataView, Option<Difference>) {
        let data = self.data.iter().find(|(key, value)| {
            let stored_value = stored.data.as_ref().and_then(|data| data.get(*key));
            stored_value.is_none_or(|stored_value| stored_value.0 != value.expose_secret().as_bytes())
        });
        let issued_differs = self.issued_keys().any(|key| {
            let stored_value = stored.data.as_ref().and_then(|data| data.get(&key));
            self.data.get(&key).is_some_and(|sent| {
                stored_value.is_none_or(|stored_value| stored_value.0 != sent.expose_secret().as_bytes())
            })
        });
        let annotation = differing(&self.annotations, stored.metadata.annotations.as_ref());
        // without these annotations, later checks can't verify the token
        let record_differs = self.annotations.iter().any(|(name, value)| {
            (HASHED.contains(&name.as_str())
                || name == names::CONTENT_HASH
                || HASHED_IF_PRESENT.contains(&name.as_str()))
                && stored.metadata.annotations.as_ref().and_then(|stored_value| stored_value.get(name)) != Some(value)
        });
        let view = match (issued_differs || record_differs, data) {
            (true, _) => DataView::Lost,
            (false, Some(_)) => DataView::Altered,
            (false, None) => DataView::Verified,
        };
        let difference = self
            .not_writable_after(stored)
            .or_else(|| {
                let label = differing(&self.labels, stored.metadata.labels.as_ref());
                label.map(|(name, sent, stored_value)| {
                    self.difference_of(format!("metadata.labels[{name}]"), sent, stored_value)
                })
            })
            .or_else(|| {
                annotation.map(|(name, sent, stored_value)| {
                    self.difference_of(format!("metadata.annotations[{name}]"), sent, stored_value)
                })
            })
            .or_else(|| {
                data.map(|(key, _)| {
                    let gone = stored.data.as_ref().is_none_or(|data| !data.contains_key(key));
                    let stored_value = if gone { Stored::Nothing } else { Stored::Another };
                    Difference { field: format!("data[{key}]"), sent: None, stored: stored_value, not_writable: None }
                })
            })
            .or_else(|| {
                let gone = !self.is_owned(stored);
                gone.then(|| Difference {
                    field: "metadata.ownerReferences".to_owned(),
                    sent: None,
                    stored: Stored::Another,
                    not_writable: None,
                })
            });
        (view, difference)
    }

    /// Returns the field that prevents later writes of the stored Secret.
    fn not_writable_after(&self, stored: &Secret) -> Option<Difference> {
        let not_writable = |field: &str, sent: &str, stored_value: &str, not_writable| Difference {
            field: field.to_owned(),
            sent: Some(sent.to_owned()),
            stored: Stored::Text(stored_value.to_owned()),
            not_writable: Some(not_writable),
        };
        if stored.immutable == Some(true) {
            return Some(not_writable("immutable", "false", "true", NotWritable::Immutable));
        }
        let stored_value = stored.type_.as_deref().unwrap_or("Opaque");
        (stored_value != self.type_).then(|| not_writable("type", &self.type_, stored_value, NotWritable::OtherType))
    }

    /// Returns the difference of two texts. Texts that contain secret values are not shown.
    fn difference_of(&self, field: String, sent: &str, stored_value: Option<&String>) -> Difference {
        let holds_data = |text: &str| {
            self.data.values().map(ExposeSecret::expose_secret).any(|value| value.len() >= 8 && text.contains(value))
        };
        let cut = |text: &str| text.chars().take(LONGEST).collect::<String>();
        let stored = match stored_value {
            None => Stored::Nothing,
            Some(text) if holds_data(text) => Stored::Another,
            Some(text) => Stored::Text(cut(text)),
        };
        Difference { field, sent: (!holds_data(sent)).then(|| cut(sent)), stored, not_writable: None }
    }
}

/// Returns the first entry that was not stored as it was sent.
fn differing<'a>(
    sent_entries: &'a BTreeMap<String, String>,
    stored_value: Option<&'a BTreeMap<String, String>>,
) -> Option<(&'a String, &'a String, Option<&'a String>)> {
    sent_entries
        .iter()
        .map(|(name, sent)| (name, sent, stored_value.and_then(|stored_value| stored_value.get(name))))
        .find(|(_, sent, stored)| *stored != Some(*sent))
}

/// Returns the operator's field that another client changed last, and the client, from `managedFields`. A removed
/// field has no manager; the newest other manager is returned then.
pub fn contender(secret: &Secret, spec: &SecretSpec) -> Option<Contender> {
    let mut others: Vec<_> =
        secret.metadata.managed_fields.iter().flatten().filter(|entry| !is_operator(entry)).collect();
    others.sort_by_key(|entry| std::cmp::Reverse(entry.time.as_ref().map(|time| time.0)));
    let fields = fields(secret, spec);
    let name = |entry: &ManagedFieldsEntry| entry.manager.clone();
    for entry in &others {
        let Some(managed) = entry.fields_v1.as_ref() else { continue };
        if let Some((field, _)) = fields.iter().find(|(_, path)| holds(&managed.0, path)) {
            return Some(Contender { field: field.clone(), manager: name(entry) });
        }
    }
    let (field, _) = fields.iter().find(|(_, path)| !exists(secret, path))?;
    Some(Contender { field: field.clone(), manager: others.first().and_then(|entry| name(entry)) })
}

fn is_operator(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(names::OPERATOR) && entry.operation.as_deref() == Some("Apply")
}

/// Returns the operator's fields: their paths for messages, and their positions in a Secret.
fn fields(secret: &Secret, spec: &SecretSpec) -> Vec<(String, [String; 3])> {
    let of = |map: &str, name: &str| {
        (format!("metadata.{map}[{name}]"), ["metadata".to_owned(), map.to_owned(), name.to_owned()])
    };
    let template = spec.template.as_ref();
    let keys = template.iter().flat_map(|template| template.data.keys().map(String::as_str));
    // the key of the previous token doesn't always exist
    let plain = [spec.keys.token.as_str(), spec.keys.expires_at.as_str()];
    let values = secret.metadata.annotations.iter().flat_map(value_names).map(value_key);
    let plain = plain.into_iter().chain(keys).map(str::to_owned);
    let data = plain.chain(values).map(|key| (format!("data[{key}]"), ["data".to_owned(), key, String::new()]));
    let labels = template.iter().flat_map(|template| template.labels.keys().map(String::as_str));
    let labels = [names::MANAGED_BY].into_iter().chain(labels).map(|name| of("labels", name));
    let lasting = [
        names::OWNER_UID,
        names::ISSUED_AT,
        names::EXPIRES_AT,
        names::TOKEN_KEY,
        names::REQUEST_HASH,
        names::RENDER_HASH,
        names::CONTENT_HASH,
    ];
    let annotations = template.iter().flat_map(|template| template.annotations.keys().map(String::as_str));
    let annotations = lasting.into_iter().chain(annotations).map(|name| of("annotations", name));
    data.chain(labels).chain(annotations).collect()
}

/// Returns true if a set of managed fields contains this path.
fn holds(managed: &Value, path: &[String; 3]) -> bool {
    path.iter().filter(|part| !part.is_empty()).try_fold(managed, |at, part| at.get(format!("f:{part}"))).is_some()
}

fn exists(secret: &Secret, [_, map, name]: &[String; 3]) -> bool {
    let has = |texts: &Option<BTreeMap<String, String>>| texts.as_ref().is_some_and(|texts| texts.contains_key(name));
    match map.as_str() {
        "labels" => has(&secret.metadata.labels),
        "annotations" => has(&secret.metadata.annotations),
        key => secret.data.as_ref().is_some_and(|data| data.contains_key(key)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::type_complexity)] // tables
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::plan::hash::Hash;
    use crate::plan::secret::{SecretTarget, TokenRecord, WritePrecondition, build_secret};
    use k8s_openapi::ByteString;
    use serde_json::json;
    use videotoken_api::key::ObjectKey;

    fn spec() -> SecretSpec {
        serde_json::from_value(json!({"template": {"labels": {"app": "player"}, "annotations": {"team": "video"},
            "data": {"url": "?t={{ token }}"}}}))
        .unwrap()
    }

    fn sent() -> (DesiredSecret, Secret) {
        let at = |seconds: i64| Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap();
        let record = TokenRecord {
            token: "a.token.of-mine".into(),
            values: BTreeMap::new(),
            issued_at: at(0),
            expires_at: at(3600),
            request: Hash::of([b"request".as_slice()]),
            renew_request: None,
            previous: None,
            returned_again: false,
        };
        let key = ObjectKey::new("ns", "lobby");
        let shape = build_secret(SecretTarget { key: &key, uid: Some("1"), spec: &spec() }, &record).unwrap();
        let stored = serde_json::from_value(shape.manifest(WritePrecondition::Absent)).unwrap();
        (shape, stored)
    }

    #[test]
    fn p18_what_the_api_server_stored_is_held_against_what_was_sent() {
        type Change = fn(&mut Secret);
        fn labels(secret: &mut Secret) -> &mut BTreeMap<String, String> {
            secret.metadata.labels.as_mut().unwrap()
        }
        fn annotations(secret: &mut Secret) -> &mut BTreeMap<String, String> {
            secret.metadata.annotations.as_mut().unwrap()
        }
        fn data(secret: &mut Secret) -> &mut BTreeMap<String, ByteString> {
            secret.data.as_mut().unwrap()
        }
        let text = |text: &str| Stored::Text(text.to_owned());
        let cases: [(&str, Change, DataView, Option<(&str, Stored)>); 15] = [
            ("nothing", |_| {}, DataView::Verified, None),
            ("a foreign label", |s| drop(labels(s).insert("theirs".into(), "x".into())), DataView::Verified, None),
            ("a foreign key", |s| drop(data(s).insert("x".into(), ByteString(Vec::new()))), DataView::Verified, None),
            (
                "the managing tool's name",
                |s| drop(labels(s).insert(names::MANAGED_BY.into(), "platform-team".into())),
                DataView::Verified,
                Some(("metadata.labels[app.kubernetes.io/managed-by]", text("platform-team"))),
            ),
            (
                "a template's label",
                |s| drop(labels(s).remove("app")),
                DataView::Verified,
                Some(("metadata.labels[app]", Stored::Nothing)),
            ),
            (
                "a template's annotation",
                |s| drop(annotations(s).insert("team".into(), "x".repeat(500))),
                DataView::Verified,
                Some(("metadata.annotations[team]", text(&"x".repeat(80)))),
            ),
            (
                "a record",
                |s| drop(annotations(s).remove(names::EXPIRES_AT)),
                DataView::Lost,
                Some(("metadata.annotations[videotoken.dev/expires-at]", Stored::Nothing)),
            ),
            (
                "the token where others read it",
                |s| drop(annotations(s).insert("team".into(), "it is a.token.of-mine".into())),
                DataView::Verified,
                Some(("metadata.annotations[team]", Stored::Another)),
            ),
            (
                "the token",
                |s| drop(data(s).insert("token".into(), ByteString(b"a.token.of-min".to_vec()))),
                DataView::Lost,
                Some(("data[token]", Stored::Another)),
            ),
            (
                "the expiry",
                |s| drop(data(s).remove("expires-at")),
                DataView::Altered,
                Some(("data[expires-at]", Stored::Nothing)),
            ),
            (
                "a template's key",
                |s| drop(data(s).insert("url".into(), ByteString(Vec::new()))),
                DataView::Altered,
                Some(("data[url]", Stored::Another)),
            ),
            ("all data", |s| s.data = None, DataView::Lost, Some(("data[expires-at]", Stored::Nothing))),
            (
                "the owner",
                |s| s.metadata.owner_references = None,
                DataView::Verified,
                Some(("metadata.ownerReferences", Stored::Another)),
            ),
            ("immutable", |s| s.immutable = Some(true), DataView::Verified, Some(("immutable", text("true")))),
            (
                "the type",
                |s| s.type_ = Some("example.com/theirs".into()),
                DataView::Verified,
                Some(("type", text("example.com/theirs"))),
            ),
        ];
        for (what, change, view, expected) in cases {
            let (shape, mut stored) = sent();
            change(&mut stored);
            let (data, difference) = shape.compare(&stored);
            assert_eq!(data, view, "{what}");
            let said = format!("{difference:?}");
            assert!(!said.contains("of-min"), "{said}");
            let difference = difference.map(|difference| (difference.field, difference.stored));
            let expected = expected.map(|(field, stored)| (field.to_owned(), stored));
            assert_eq!(difference, expected, "{what}");
        }
    }

    #[test]
    fn p18_the_other_writer_is_named_by_what_it_manages() {
        type Change = fn(&mut Secret);
        let cases: [(&str, Value, Change, Option<(&str, Option<&str>)>); 7] = [
            ("no other client", json!([]), |_| {}, None),
            (
                "the operator",
                json!([{"manager": names::OPERATOR, "operation": "Apply",
                "fieldsV1": {"f:data": {"f:token": {}}}}]),
                |_| {},
                None,
            ),
            (
                "what isn't ours",
                json!([{"manager": "replicator", "operation": "Update",
                "fieldsV1": {"f:metadata": {"f:annotations": {"f:replicated": {}}}, "f:data": {".": {}, "f:x": {}}}}]),
                |_| {},
                None,
            ),
            (
                "a token",
                json!([{"manager": "externalsecrets", "operation": "Apply",
                "fieldsV1": {"f:data": {"f:token": {}}}}]),
                |_| {},
                Some(("data[token]", Some("externalsecrets"))),
            ),
            (
                "a label, by the newer of two",
                json!([
                {"manager": "older", "operation": "Update", "time": "2026-01-01T00:00:00Z",
                    "fieldsV1": {"f:metadata": {"f:labels": {"f:app": {}}}}},
                {"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-02T00:00:00Z",
                    "fieldsV1": {"f:metadata": {"f:labels": {"f:app.kubernetes.io/managed-by": {}}}}}]),
                |_| {},
                Some(("metadata.labels[app.kubernetes.io/managed-by]", Some("kubectl-edit"))),
            ),
            (
                "a key that is gone",
                json!([{"manager": "pruner", "operation": "Update",
                "fieldsV1": {"f:metadata": {"f:annotations": {"f:seen": {}}}}}]),
                |s| drop(s.data.as_mut().unwrap().remove("url")),
                Some(("data[url]", Some("pruner"))),
            ),
            (
                "a missing annotation, and no other client",
                json!([]),
                |s| drop(s.metadata.annotations.as_mut().unwrap().remove(names::ISSUED_AT)),
                Some(("metadata.annotations[videotoken.dev/issued-at]", None)),
            ),
        ];
        for (what, managed, change, expected) in cases {
            let (_, mut secret) = sent();
            secret.metadata.managed_fields = serde_json::from_value(managed).unwrap();
            change(&mut secret);
            let named = contender(&secret, &spec());
            let named = named.as_ref().map(|named| (named.field.as_str(), named.manager.as_deref()));
            assert_eq!(named, expected, "{what}");
        }
    }
}
