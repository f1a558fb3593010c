//! Objects that chance has changed: in places and by words that mean something to some rule.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A change at some place of an object.
#[derive(Clone, Debug)]
pub(crate) struct Mutation {
    place: prop::sample::Index,
    change: Change,
}

#[derive(Clone, Debug)]
enum Change {
    Remove,
    Replace(Value),
    Add(String, Value),
    Repeat,
}

/// Words that mean something to some rule.
const WORDS: [&str; 40] = [
    "",
    "a",
    "A",
    "a/b",
    ".",
    "..",
    "-",
    "a.b",
    "a..b",
    "12h",
    "0s",
    "1s",
    "90m",
    "1h30m",
    "1.5h",
    "99999999h",
    "Account",
    "Video",
    "Project",
    "video",
    "Reader",
    "reader",
    "Owner",
    "RESOURCE_TYPE_VOD",
    "https://a.example",
    "http://a",
    "https://",
    "https://a.example?b",
    "ftp://a.example",
    "https://[::1]/x",
    "https://a b",
    "192.0.2.1",
    "2001:db8::1",
    "::ffff:1.2.3.4",
    "kubernetes.io/tls",
    "Opaque",
    "ClusterTokenProvider",
    "00000000-0000-0000-0000-000000000000",
    "é\u{301}字",
    "tls.crt",
];

const MEMBERS: [&str; 36] = [
    "lifetime",
    "renewBefore",
    "renewBeforePercentage",
    "suspend",
    "secret",
    "name",
    "key",
    "keys",
    "template",
    "data",
    "labels",
    "annotations",
    "type",
    "videoId",
    "projectId",
    "extensionId",
    "mediaScope",
    "neverExpires",
    "customerId",
    "blendVision",
    "videoIndexer",
    "arcgisVideoServer",
    "requestIp",
    "caBundle",
    "caBundleRef",
    "limits",
    "windows",
    "concurrency",
    "allowedScopes",
    "allowedNamespaces",
    "selector",
    "names",
    "managedIdentity",
    "previousToken",
    "kind",
    "kubernetes.io/x",
];

/// URLs, right and wrong, from parts that mean something to some parser.
pub(crate) fn url() -> impl Strategy<Value = String> {
    const SCHEMES: [&str; 9] =
        ["https://", "http://", "HTTPS://", "https:", "https:/", "https:///", "ftp://", "//", ""];
    const HOSTS: [&str; 24] = [
        "a.example",
        "localhost",
        "a",
        "xn--a.example",
        "b\u{fc}cher.example",
        "127.0.0.1",
        "[::1]",
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "[::ffff:1.2.3.4]",
        "[1.2.3.4]",
        "[::1",
        "::1",
        "a%41.example",
        "a%c3%bc.example",
        "a%25b",
        "a b",
        "a\\b",
        "a_b",
        "a..b",
        "a.",
        "u@a",
        "",
        "a^b",
    ];
    const PORTS: [&str; 7] = ["", "", "", ":8443", ":", ":99999", ":x"];
    const PATHS: [&str; 14] =
        ["", "", "/", "/x", "/x y", "/%20", "/%zz", "/%", "\\x", "?q", "#f", "/\u{e9}", "/a%2fb", "/x\u{7f}"];
    let of = |parts: &'static [&'static str]| prop::sample::select(parts);
    (of(&SCHEMES), of(&HOSTS), of(&PORTS), of(&PATHS))
        .prop_map(|(scheme, host, port, path)| format!("{scheme}{host}{port}{path}"))
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => url(),
        8 => prop::sample::select(WORDS.as_slice()).prop_map(str::to_owned),
        1 => "[a-zA-Z0-9./:_-]{1,12}",
        1 => "[a-z]{60,66}",
        1 => prop::sample::select(vec![32usize, 33, 36, 37, 64, 65, 253, 254]).prop_map(|length| "x".repeat(length)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        8 => word().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        2 => prop::sample::select(vec![-1i64, 0, 1, 32, 33, 64, 65, 99, 100, 3600, 1_000_001]).prop_map(Value::from),
        1 => Just(json!(1.5)),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(MEMBERS.as_slice()).prop_map(str::to_owned), inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

pub(crate) fn mutation() -> impl Strategy<Value = Mutation> {
    let change = prop_oneof![
        2 => Just(Change::Remove),
        5 => value().prop_map(Change::Replace),
        4 => (prop::sample::select(MEMBERS.as_slice()), value()).prop_map(|(name, value)| Change::Add(name.to_owned(), value)),
        1 => Just(Change::Repeat),
    ];
    (any::<prop::sample::Index>(), change).prop_map(|(place, change)| Mutation { place, change })
}

impl Mutation {
    /// Changes the spec, or labels and annotations.
    pub(crate) fn apply(self, value: &mut Value) {
        let mut places = pointers(&value["spec"], "/spec");
        for member in ["labels", "annotations"] {
            places.extend(pointers(&value["metadata"][member], &format!("/metadata/{member}")));
        }
        if places.is_empty() {
            return;
        }
        let place = places[self.place.index(places.len())].clone();
        let (parent, last) = place.rsplit_once('/').unwrap();
        let last = last.replace("~1", "/").replace("~0", "~");
        match self.change {
            Change::Replace(new) => *value.pointer_mut(&place).unwrap() = new,
            Change::Remove => match value.pointer_mut(parent).unwrap() {
                Value::Object(members) => drop(members.remove(&last)),
                Value::Array(items) => drop(items.remove(last.parse().unwrap())),
                _ => {}
            },
            Change::Add(name, new) => match value.pointer_mut(&place).unwrap() {
                Value::Object(members) => drop(members.insert(name, new)),
                Value::Array(items) => items.push(new),
                other => *other = Value::Object(Map::from_iter([(name, new)])),
            },
            Change::Repeat => match value.pointer_mut(&place).unwrap() {
                Value::Array(items) if !items.is_empty() => items.push(items[0].clone()),
                other => *other = json!([other.clone(), other.clone()]),
            },
        }
    }
}

/// Returns the paths of a value and of all values below it.
fn pointers(value: &Value, at: &str) -> Vec<String> {
    let mut places = if value.is_null() { Vec::new() } else { vec![at.to_owned()] };
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                places.extend(pointers(member, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))));
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                places.extend(pointers(item, &format!("{at}/{number}")));
            }
        }
        _ => {}
    }
    places
}
