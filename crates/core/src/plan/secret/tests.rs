use super::*;
use crate::plan::facts::secret_facts;
use crate::plan::view::DataView;
use crate::tests::at;
use k8s_openapi::ByteString;

const UID: &str = "11111111-2222-4333-8444-555555555555";

fn record() -> TokenRecord {
    TokenRecord {
        token: "a.token.of-mine".into(),
        values: BTreeMap::new(),
        issued_at: at(0),
        expires_at: at(3600),
        request: Hash::of([b"request".as_slice()]),
        renew_request: None,
        previous: None,
        returned_again: false,
    }
}

fn spec(json: serde_json::Value) -> SecretSpec {
    serde_json::from_value(json).unwrap()
}

fn templated() -> SecretSpec {
    spec(json!({"keys": {"previousToken": "before"}, "template": {
        "labels": {"app": "player"}, "annotations": {"team": "video"},
        "data": {"config.json": "{\"token\": {{ token | tojson }}, \"until\": \"{{ expires_at }}\"}"}}}))
}

/// The Secret as the API server would give it back.
fn stored(spec: &SecretSpec, record: &TokenRecord) -> Secret {
    let key = ObjectKey::new("ns", "lobby");
    let manifest = build_secret(SecretTarget { key: &key, uid: Some(UID), spec }, record)
        .unwrap()
        .manifest(WritePrecondition::Absent);
    serde_json::from_value(manifest).unwrap()
}

fn inspected(spec: &SecretSpec, secret: &Secret) -> SecretIntegrity {
    let key = ObjectKey::new("ns", "lobby");
    inspect(secret, &secret_facts(&secret.metadata), SecretTarget { key: &key, uid: Some(UID), spec })
}

#[test]
fn the_secret_holds_what_the_spec_asks_for_and_is_guarded() {
    let key = ObjectKey::new("ns", "lobby");
    let spec = templated();
    let shape = build_secret(SecretTarget { key: &key, uid: Some(UID), spec: &spec }, &record()).unwrap();
    let created = shape.manifest(WritePrecondition::Absent);
    assert_eq!(created["metadata"]["resourceVersion"], "1");
    assert_eq!(created["metadata"]["name"], "lobby");
    assert_eq!(created["metadata"]["labels"]["app.kubernetes.io/managed-by"], "video-token-operator");
    assert_eq!(created["metadata"]["ownerReferences"][0]["blockOwnerDeletion"], false);
    let read = |name: &str| String::from_utf8(BASE64.decode(created["data"][name].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(read("token"), "a.token.of-mine");
    assert_eq!(read("expires-at"), wire_time::text(at(3600)));
    assert_eq!(
        read("config.json"),
        format!("{{\"token\": \"a.token.of-mine\", \"until\": \"{}\"}}", wire_time::text(at(3600)))
    );
    let replaced = shape.manifest(WritePrecondition::Unchanged { uid: "u", resource_version: 42 });
    assert_eq!((&replaced["metadata"]["uid"], &replaced["metadata"]["resourceVersion"]), (&json!("u"), &json!("42")));
}

#[test]
fn retained_secrets_have_no_owner() {
    let spec = spec(json!({"deletionPolicy": "Retain"}));
    assert!(stored(&spec, &record()).metadata.owner_references.is_none());
}

#[test]
fn p11_a_shape_shows_no_token() {
    let key = ObjectKey::new("ns", "lobby");
    let spec = templated();
    let shape = build_secret(SecretTarget { key: &key, uid: Some(UID), spec: &spec }, &record()).unwrap();
    assert!(!format!("{shape:?} {:?}", record()).contains("of-mine"));
}

#[test]
fn p09_what_another_hand_did_is_told_apart() {
    type Change = fn(&mut Secret);
    fn data(secret: &mut Secret) -> &mut std::collections::BTreeMap<String, ByteString> {
        secret.data.as_mut().unwrap()
    }
    fn annotations(secret: &mut Secret) -> &mut std::collections::BTreeMap<String, String> {
        secret.metadata.annotations.as_mut().unwrap()
    }
    let cases: [(&str, Change, &str); 12] = [
        ("nothing", |_| {}, "intact"),
        ("a foreign key", |s| drop(data(s).insert("theirs".into(), ByteString(b"x".to_vec()))), "intact"),
        ("a foreign annotation", |s| drop(annotations(s).insert("theirs".into(), "x".into())), "intact"),
        ("a templated key", |s| drop(data(s).insert("config.json".into(), ByteString(b"x".to_vec()))), "altered"),
        ("a templated key is gone", |s| drop(data(s).remove("config.json")), "altered"),
        ("a label is gone", |s| drop(s.metadata.labels.as_mut().unwrap().remove("app")), "altered"),
        ("the owner is gone", |s| s.metadata.owner_references = None, "altered"),
        ("the token", |s| drop(data(s).insert("token".into(), ByteString(b"x".to_vec()))), "lost"),
        ("the token is gone", |s| drop(data(s).remove("token")), "lost"),
        ("the token is no text", |s| drop(data(s).insert("token".into(), ByteString(vec![0xff]))), "lost"),
        (
            "the expiry",
            |s| drop(annotations(s).insert(names::EXPIRES_AT.into(), "2099-01-01T00:00:00Z".into())),
            "lost",
        ),
        ("all data is gone", |s| s.data = None, "lost"),
    ];
    let spec = templated();
    for (what, change, expected) in cases {
        let mut secret = stored(&spec, &record());
        change(&mut secret);
        let verdict = match inspected(&spec, &secret) {
            SecretIntegrity::Intact(_) => "intact",
            SecretIntegrity::Altered(_) => "altered",
            SecretIntegrity::Outdated(_) => "outdated",
            SecretIntegrity::Lost => "lost",
        };
        assert_eq!(verdict, expected, "{what}");
    }
}

#[test]
fn p03_another_shape_keeps_the_token() {
    let secret = stored(&templated(), &record());
    let other = spec(json!({"keys": {"token": "access-token", "expiresAt": "until"}}));
    let SecretIntegrity::Outdated(kept) = inspected(&other, &secret) else { panic!("the token is whole") };
    assert_eq!(kept.token.expose_secret(), "a.token.of-mine");
    assert_ne!(render_hash(&templated()), render_hash(&other));
    let named = SecretSpec { name: Some("elsewhere".into()), ..templated() };
    assert_eq!(render_hash(&templated()), render_hash(&named));
}

#[test]
fn the_previous_token_is_kept_and_read_back() {
    let mut before = record();
    before.previous = Some(Previous { token: "the.one.before".into(), expires_at: at(600) });
    let secret = stored(&templated(), &before);
    let SecretIntegrity::Intact(read) = inspected(&templated(), &secret) else { panic!("intact") };
    assert_eq!(read.previous.unwrap().token.expose_secret(), "the.one.before");
    let off = spec(json!({}));
    assert!(!stored(&off, &before).data.unwrap().values().any(|value| value.0 == b"the.one.before"));
}

#[test]
fn no_token_is_recorded_in_the_second_of_the_one_before() {
    let none = Seconds::default();
    for (issued, before, recorded) in [
        (at(10), none, at(10)),
        (at(10) + TimeDelta::milliseconds(999), at(9).into(), at(10)),
        (at(10) + TimeDelta::milliseconds(1), at(10).into(), at(11)),
        // the clock may have been put back: never further than a second
        (at(10), at(11).into(), at(10)),
    ] {
        assert_eq!(recorded_issue(issued, before), recorded, "{issued} after {before:?}");
    }
}

#[test]
fn a_spec_that_this_token_does_not_fit_says_nothing_against_the_token() {
    let parts = spec(json!({"template": {"data": {"claims": "{{ (token | split('.') | list)[1] | b64decode }}"}}}));
    check(&parts).unwrap();
    let secret = stored(&templated(), &TokenRecord { token: "opaque".into(), ..record() });
    assert!(matches!(inspected(&parts, &secret), SecretIntegrity::Outdated(_)));
}

#[test]
fn p03_another_shape_keeps_the_token_beside_the_keys_of_others() {
    let mut secret = stored(&templated(), &record());
    let fields: serde_json::Map<_, _> =
        secret.data.iter().flatten().map(|(key, _)| (format!("f:{key}"), json!({}))).collect();
    secret.data.as_mut().unwrap().insert("theirs".into(), ByteString(b"x".to_vec()));
    let other = spec(json!({"keys": {"token": "access-token"}}));
    assert!(matches!(inspected(&other, &secret), SecretIntegrity::Lost), "the owner of each key is unknown");
    secret.metadata.managed_fields = serde_json::from_value(json!([
        {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:data": {"f:theirs": {}}}},
        {"manager": names::OPERATOR, "operation": "Apply", "fieldsV1": {"f:data": fields}},
    ]))
    .unwrap();
    assert!(matches!(inspected(&other, &secret), SecretIntegrity::Outdated(_)));
    secret.data.as_mut().unwrap().insert("token".into(), ByteString(b"forged".to_vec()));
    assert!(matches!(inspected(&other, &secret), SecretIntegrity::Lost));
}

#[test]
fn a_secret_that_takes_no_write_is_told_apart() {
    let own = stored(&templated(), &record());
    let locked = Secret { immutable: Some(true), ..own.clone() };
    let typed = spec(json!({"type": "example.com/token"}));
    assert_eq!(not_writable(&own, &templated()), None);
    assert_eq!(not_writable(&locked, &templated()), Some(NotWritable::Immutable));
    assert_eq!(not_writable(&own, &typed), Some(NotWritable::OtherType));
    assert_eq!(not_writable(&Secret { type_: None, ..own }, &templated()), None);
}

#[test]
fn p22_a_token_is_believed_to_live_no_longer_than_it_says() {
    let jwt = |exp: i64| {
        let part = |text: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", part("{}".to_owned()), part(format!("{{\"exp\":{exp}}}")))
    };
    let spec = templated();
    let says = at(3600).timestamp();
    for (token, expires_at, believed) in [
        (jwt(says), at(3600), true),
        (jwt(says), at(1800), true),
        // the provider's clock is behind the local one
        (jwt(says), at(3600 + 15 * 60), true),
        (jwt(says), at(3600 + 14 * 3600), true),
        (jwt(says), at(3600 + 25 * 3600), false),
        (jwt(says), wire_time::parse("9999-01-01T00:00:00Z").unwrap(), false),
        (jwt(0), at(3600), false),
        ("opaque".to_owned(), wire_time::parse("9999-01-01T00:00:00Z").unwrap(), true),
    ] {
        let record = TokenRecord { token: token.as_str().into(), expires_at, ..record() };
        let found = inspected(&spec, &stored(&spec, &record));
        assert_eq!(matches!(found, SecretIntegrity::Intact(_)), believed, "{token} until {expires_at}");
        assert_eq!(matches!(found, SecretIntegrity::Lost), !believed, "{token} until {expires_at}");
    }
    let previous = Previous { token: jwt(says).as_str().into(), expires_at: at(91_000) };
    let record = TokenRecord { previous: Some(previous), ..record() };
    let secret = stored(&spec, &record);
    assert!(!matches!(inspected(&spec, &secret), SecretIntegrity::Intact(_)), "nor the one before it");
}

/// A record with further values.
fn valued() -> TokenRecord {
    let values = [("thumbnail", "t.value.of-mine"), ("storyboard", "s.value.of-mine")];
    TokenRecord { values: values.map(|(name, value)| (name.to_owned(), value.into())).into(), ..record() }
}

#[test]
fn further_values_are_stored_and_read_by_templates_without_a_call() {
    let spec = spec(json!({"template": {"data": {"url": "?t={{ token }}&s={{ values.storyboard }}"}}}));
    let secret = stored(&spec, &valued());
    let text = |secret: &Secret, key: &str| String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap();
    assert_eq!(text(&secret, "values.thumbnail"), "t.value.of-mine");
    assert_eq!(text(&secret, "url"), "?t=a.token.of-mine&s=s.value.of-mine");
    let annotations = secret.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["videotoken.dev/value-names"], "storyboard,thumbnail");
    let SecretIntegrity::Intact(again) = inspected(&spec, &secret) else { panic!("{:?}", inspected(&spec, &secret)) };
    // another template is rendered from the stored values
    let other = self::spec(json!({"template": {"data": {"other": "{{ values.thumbnail }}"}}}));
    assert_eq!(text(&stored(&other, &again), "other"), "t.value.of-mine");
    let SecretIntegrity::Outdated(outdated) = inspected(&other, &secret) else { panic!() };
    assert_eq!(outdated.values.len(), 2);
    assert!(!format!("{:?} {again:?}", valued()).contains("of-mine"));
}

/// P03: Secrets without further values keep the hash that they always had.
#[test]
fn p03_the_hash_of_a_secret_without_further_values_is_unchanged() {
    let hash = stored(&templated(), &record()).metadata.annotations.unwrap()["videotoken.dev/content-hash"].clone();
    assert_eq!(hash, "v1:bc538fbbf3aa32518875907287536c57");
}

#[test]
fn p09_an_altered_further_value_is_lost_like_an_altered_token() {
    type Change = fn(&mut Secret);
    let cases: [(&str, Change, bool); 6] = [
        (
            "changed",
            |s| drop(s.data.as_mut().unwrap().insert("values.thumbnail".into(), ByteString(b"x".into()))),
            true,
        ),
        ("removed", |s| drop(s.data.as_mut().unwrap().remove("values.thumbnail")), true),
        ("not named", |s| drop(s.metadata.annotations.as_mut().unwrap().remove("videotoken.dev/value-names")), true),
        (
            "named less",
            |s| {
                let annotations = s.metadata.annotations.as_mut().unwrap();
                drop(annotations.insert("videotoken.dev/value-names".into(), "storyboard".into()));
            },
            true,
        ),
        ("more", |s| drop(s.data.as_mut().unwrap().insert("values.other".into(), ByteString(b"x".into()))), false),
        ("the expiry", |s| drop(s.data.as_mut().unwrap().remove("expires-at")), false),
    ];
    let spec = SecretSpec::default();
    for (what, change, lost) in cases {
        let mut secret = stored(&spec, &valued());
        change(&mut secret);
        let found = inspected(&spec, &secret);
        assert_eq!(matches!(found, SecretIntegrity::Lost), lost, "{what}: {found:?}");
        let key = ObjectKey::new("ns", "lobby");
        let shape = build_secret(SecretTarget { key: &key, uid: Some(UID), spec: &spec }, &valued()).unwrap();
        let (view, difference) = shape.compare(&secret);
        assert_eq!(view == DataView::Lost, lost, "{what}: {view:?} {difference:?}");
    }
}

#[test]
fn a_value_takes_no_key_of_the_spec() {
    for (spec, field) in [
        (json!({}), None),
        (json!({"keys": {"token": "values.thumbnail"}}), Some("spec.secret.keys")),
        (json!({"keys": {"previousToken": "values.thumbnail"}}), Some("spec.secret.keys")),
        (json!({"template": {"data": {"values.thumbnail": "x"}}}), Some("spec.secret.template.data[values.thumbnail]")),
        (json!({"template": {"data": {"values.yaml": "x"}}}), None),
        (json!({"template": {"data": {"x": "{{ values.thumbnail }}"}}}), None),
        (json!({"template": {"data": {"x": "{{ values.other }}"}}}), Some("spec.secret.template.data")),
    ] {
        let spec = self::spec(spec);
        let names = ["storyboard".to_owned(), "thumbnail".to_owned()];
        let refused = check(&spec).unwrap().check(&spec, &names).err().map(|error| error.field);
        assert_eq!(refused.as_deref(), field, "{spec:?}");
        let key = ObjectKey::new("ns", "lobby");
        let built = build_secret(SecretTarget { key: &key, uid: None, spec: &spec }, &valued());
        let is_previous = spec.keys.previous_token.is_some();
        assert_eq!(built.is_err(), field.is_some() && !is_previous, "{spec:?}");
    }
}

#[test]
fn a_token_with_the_expiry_of_the_one_before_is_remembered_as_returned_again() {
    let plain = record();
    let replaced = |age: i64, apart: i64, request: Hash| ReplacedToken {
        issued_at: plain.issued_at - TimeDelta::seconds(age),
        expires_at: plain.expires_at + TimeDelta::seconds(apart),
        request,
    };
    for (age, apart, request, expected) in [
        (600, 0, plain.request, true),
        (600, 4, plain.request, true),
        (11, -4, plain.request, true),
        (600, 6, plain.request, false),
        (600, 1200, plain.request, false),
        (600, 0, Hash::of([b"other".as_slice()]), false),
        // a renewal that a user requests soon after the issuance brings a new token
        (4, -4, plain.request, false),
        (10, 0, plain.request, false),
    ] {
        let replaced = replaced(age, apart, request);
        assert_eq!(plain.clone().replacing(Some(replaced)).returned_again, expected, "{age} {apart}");
    }
    assert!(!plain.clone().replacing(None).returned_again);
    // it is read back, and a Secret without it keeps its hash
    let again = plain.clone().replacing(Some(replaced(600, 0, plain.request)));
    let spec = SecretSpec::default();
    let secret = stored(&spec, &again);
    assert_eq!(secret.metadata.annotations.as_ref().unwrap()[names::RETURNED_AGAIN], "true");
    assert!(crate::plan::facts::secret_facts(&secret.metadata).returned_again);
    assert!(!stored(&spec, &plain).metadata.annotations.unwrap().contains_key(names::RETURNED_AGAIN));
}
