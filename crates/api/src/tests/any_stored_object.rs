//! Each object that an API server can have stored under these CRDs decodes. Its parsing succeeds or returns an error,
//! but never panics.

use crate::allowed::AllowedScopes;
use crate::cluster_token_provider::ClusterTokenProvider;
use crate::crds;
use crate::token_provider::TokenProvider;
use crate::video_access_token::VideoAccessToken;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Words that reach deeper parts of the parser than random text.
const WORDS: &[&str] = &[
    "Video",
    "Account",
    "Project",
    "Reader",
    "RestrictedViewer",
    "Public",
    "USGovernment",
    "TokenProvider",
    "Opaque",
    "Delete",
    "1h",
    "90m",
    "12h",
    "0s",
    "99999999999999999h",
    "https://host.example",
    "In",
    "user",
    "resource",
    "a",
    "",
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Kubernetes/connectedClusters/c/providers/Microsoft.KubernetesConfiguration/extensions/e",
];

/// Generates values that match the types, required members and numeric bounds of a schema. Ignores CEL rules and
/// patterns, because an older CRD had others. A union has one member as often as any other number of members.
fn shaped(schema: &JSONSchemaProps) -> BoxedStrategy<Value> {
    if let Some(words) = &schema.enum_ {
        return select(words.iter().map(|word| word.0.clone()).collect::<Vec<_>>()).boxed();
    }
    if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
        return if schema.type_.is_some() {
            btree_map(select(WORDS).prop_map(str::to_owned), anything(), 0..3)
                .prop_map(|map| map.into_iter().collect())
                .boxed()
        } else {
            anything().boxed()
        };
    }
    match schema.type_.as_deref() {
        Some("object") => object(schema),
        Some("array") => {
            let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items else { panic!("an array of what?") };
            vec(shaped(items), 0..3).prop_map(Value::Array).boxed()
        }
        Some("string") => {
            prop_oneof![4 => select(WORDS).prop_map(Value::from), 1 => any::<String>().prop_map(Value::from)].boxed()
        }
        Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
        Some("integer") => integer(schema),
        None if schema.x_kubernetes_int_or_string == Some(true) => {
            prop_oneof![any::<i32>().prop_map(Value::from), any::<String>().prop_map(Value::from)].boxed()
        }
        other => panic!("a schema of type {other:?}"),
    }
}

/// Generates JSON that a schema leaves open: scalars, objects that look like a reference to a Secret, and nested ones.
fn anything() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(WORDS).prop_map(Value::from),
        Just(serde_json::json!({"secretRef": {"name": "a", "key": "a"}})),
    ];
    scalar.prop_recursive(10, 40, 3, |inner| {
        let name = prop_oneof![Just("secretRef".to_owned()), Just("name".to_owned()), any::<String>()];
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::Array),
            btree_map(name, inner, 0..3).prop_map(|map| map.into_iter().collect())
        ]
    })
}

/// The bounds are small numbers.
#[allow(clippy::cast_possible_truncation)]
fn integer(schema: &JSONSchemaProps) -> BoxedStrategy<Value> {
    let (least, most) = if schema.format.as_deref() == Some("int32") {
        (i64::from(i32::MIN), i64::from(i32::MAX))
    } else {
        (i64::MIN, i64::MAX)
    };
    let least = schema.minimum.map_or(least, |n| n as i64);
    let most = schema.maximum.map_or(most, |n| n as i64);
    (least..=most).prop_map(Value::from).boxed()
}

fn object(schema: &JSONSchemaProps) -> BoxedStrategy<Value> {
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        let names = prop_oneof![select(WORDS).prop_map(str::to_owned), any::<String>()];
        return btree_map(names, shaped(values), 0..3).prop_map(|map| map.into_iter().collect()).boxed();
    }
    let properties: BTreeMap<String, JSONSchemaProps> = schema.properties.clone().unwrap_or_default();
    // A union of one random member and, rarely, others.
    let union = schema.x_kubernetes_validations.iter().flatten().any(|rule| rule.rule.ends_with(".size() == 1"));
    let required = schema.required.clone().unwrap_or_default();
    let count = properties.len();
    let members = properties.into_iter().enumerate().map(|(n, (name, schema))| {
        let present = if required.contains(&name) {
            1.0
        } else if union {
            0.08
        } else {
            0.5
        };
        let value = prop_oneof![Just(None), shaped(&schema).prop_map(Some)];
        let sure = shaped(&schema);
        (Just((n, name, present)), any::<f64>().prop_map(|f| f.abs().fract()), value, sure)
    });
    let members: Vec<_> = members.collect();
    (0..count.max(1), members)
        .prop_map(move |(chosen, members)| {
            let member =
                |((n, name, present), chance, maybe, sure): ((usize, String, f64), f64, Option<Value>, Value)| {
                    let value = if present >= 1.0 || (union && n == chosen) {
                        Some(sure)
                    } else {
                        maybe.filter(|_| chance < present)
                    };
                    Some((name, value?))
                };
            Value::Object(members.into_iter().filter_map(member).collect::<Map<_, _>>())
        })
        .boxed()
}

/// Generates whole objects of the n-th CRD.
fn stored(n: usize) -> BoxedStrategy<Value> {
    static CRDS: LazyLock<Vec<JSONSchemaProps>> = LazyLock::new(|| {
        let schemas = crds::all().into_iter().map(|mut crd| crd.spec.versions.remove(0).schema.unwrap());
        schemas.map(|schema| schema.open_api_v3_schema.unwrap()).collect()
    });
    let named = |mut object: Value| {
        object["metadata"] = serde_json::json!({"name": "n", "namespace": "ns"});
        object
    };
    shaped(&CRDS[n]).prop_map(named).boxed()
}

fn decoded<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error} in {value:#}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn tokens_and_providers_parse_or_are_refused(token in stored(0), provider in stored(1)) {
        let token: VideoAccessToken = decoded(&token);
        let provider: TokenProvider = decoded(&provider);
        let _ = token.spec.request(&provider.spec.provider);
        let _ = (token.spec.renew_before(), token.spec.workloads());
        let _ = provider.spec.provider.account_limits();
        let _ = AllowedScopes::default().admits(&token.spec.scope);
        if let Some(account) = &provider.spec.provider.video_indexer {
            let _ = (account.auth.of_namespace("spec.videoIndexer.auth"), account.cloud_endpoints());
        }
    }

    #[test]
    fn cluster_providers_admit_or_refuse(provider in stored(2), token in stored(0)) {
        let provider: ClusterTokenProvider = decoded(&provider);
        let token: VideoAccessToken = decoded(&token);
        let _ = (provider.spec.admits_scope(&token.spec.scope), provider.spec.check());
        let _ = provider.spec.allowed_namespaces.admits("ns", &BTreeMap::from([("a".into(), "a".into())]));
    }

    #[test]
    fn what_is_written_is_what_was_read(token in stored(0)) {
        let token: VideoAccessToken = decoded(&token);
        let again: VideoAccessToken = decoded(&serde_json::to_value(&token).unwrap());
        prop_assert_eq!(token.spec, again.spec);
    }
}
