//! Parameters and lifetimes of declared providers, and what `signed` refuses.

use super::yaml;
use crate::cluster_token_provider::ClusterTokenProviderSpec;
use crate::parameters::samples;
use crate::provider::ProviderSpec;
use crate::request::{FieldError, TokenRequest};
use crate::video_access_token::VideoAccessTokenSpec;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// A provider that signs; `rest` contains further members.
fn signed(rest: &str) -> ProviderSpec {
    yaml(&format!("{{signed: {{key: {{secretRef: {{name: s, key: k}}}}, jwt: {{algorithm: HS256}}, {rest}}}}}"))
}

fn request(provider: &ProviderSpec, parameters: &str, lifetime: Option<&str>) -> Result<TokenRequest, FieldError> {
    let lifetime = lifetime.map_or_else(String::new, |lifetime| format!(", lifetime: {lifetime}"));
    let token: VideoAccessTokenSpec =
        yaml(&format!("{{providerRef: {{name: p}}, scope: {{signed: {{parameters: {parameters}}}}}{lifetime}}}"));
    token.request(provider)
}

#[test]
fn parameters_fill_their_types_and_defaults() {
    let provider = signed(
        "parameters: {room: {}, role: {type: integer, default: '1'}, publish: {type: boolean, default: 'false'},
          video: {pattern: '[0-9a-f]{4}', default: beef}}",
    );
    let filled =
        |parameters: &str| request(&provider, parameters, None).map(|request| request.fields["parameters"].clone());
    assert_eq!(filled("{room: a}"), Ok(json!({"room": "a", "role": 1, "publish": false, "video": "beef"})));
    assert_eq!(
        filled("{room: 'x:/*@-_.9', role: '-7', publish: 'true', video: 0123}"),
        Ok(json!({"room": "x:/*@-_.9", "role": -7, "publish": true, "video": "0123"}))
    );
    for (parameters, field, part) in [
        ("{}", "room", "is required"),
        ("{room: ''}", "room", "must match [A-Za-z0-9._:/*@-]{1,256}"),
        ("{room: 'a b'}", "room", "must match"),
        ("{room: 'a~b'}", "room", "must match"),
        ("{room: \"a\\n\"}", "room", "must match"),
        ("{room: a, role: '1.5'}", "role", "whole number"),
        ("{room: a, role: '01'}", "role", "whole number"),
        ("{room: a, publish: 'yes'}", "publish", "true or false"),
        ("{room: a, video: 01234}", "video", "must match [0-9a-f]{4}"),
        ("{room: a, video: \"0123\\n\"}", "video", "must match"),
        (
            "{room: a, vidoe: '0123'}",
            "vidoe",
            "is no parameter of the provider; the provider declares publish, role, room, video",
        ),
    ] {
        let error = filled(parameters).unwrap_err();
        assert_eq!(error.field, format!("spec.scope.signed.parameters.{field}"), "{error}");
        assert!(error.message.contains(part), "{error}");
    }
    let none = request(&signed(""), "{room: a}", None).unwrap_err();
    assert!(none.message.contains("the provider declares none"), "{none}");
}

#[test]
fn declarations_that_cannot_hold_are_refused_by_field() {
    for (rest, field) in [
        ("parameters: {lifetime: {}}", "spec.signed.parameters[lifetime]"),
        ("parameters: {1a: {}}", "spec.signed.parameters[1a]"),
        ("parameters: {a-b: {}}", "spec.signed.parameters[a-b]"),
        ("parameters: {a: {pattern: '['}}", "spec.signed.parameters.a.pattern"),
        ("parameters: {a: {pattern: 'a)|(b'}}", "spec.signed.parameters.a.pattern"),
        ("parameters: {a: {pattern: '(?=a)'}}", "spec.signed.parameters.a.pattern"),
        ("parameters: {a: {pattern: '\\w{1000}{1000}'}}", "spec.signed.parameters.a.pattern"),
        ("parameters: {a: {type: number}}", "spec.signed.parameters.a.type"),
        ("parameters: {a: {type: integer, default: x}}", "spec.signed.parameters.a.default"),
        ("parameters: {a: {pattern: b, default: c}}", "spec.signed.parameters.a.default"),
        ("lifetime: {min: 2h, max: 1h}", "spec.signed.lifetime"),
        ("lifetime: {max: 1h, default: 2h}", "spec.signed.lifetime"),
        ("lifetime: {max: 9000h}", "spec.signed.lifetime.max"),
        ("lifetime: {default: soon}", "spec.signed.lifetime.default"),
        ("key: {secretRef: {name: s, key: k}, encoding: rot13}", "spec.signed.key.encoding"),
        ("jwt: {algorithm: none}", "spec.signed.jwt.algorithm"),
        ("jwt: {algorithm: HS256, claims: {exp: 9}}", "spec.signed.jwt.claims.exp"),
        ("jwt: {algorithm: HS256, variants: {a: {exp: 9}}}", "spec.signed.jwt.variants.a.exp"),
        ("jwt: {algorithm: HS256, variants: {a-b: {}}}", "spec.signed.jwt.variants[a-b]"),
        ("jwt: {algorithm: HS256, header: {alg: none}}", "spec.signed.jwt.header.alg"),
        ("agora: {appId: 970ca35de60c44645bbae8a215061b33, rtm: {user: u}}", "spec.signed"),
    ] {
        // a later member replaces an earlier one of the same name
        let merged: Value = yaml(&format!("{{{rest}}}"));
        let mut spec = serde_json::to_value(signed("")).unwrap();
        spec["signed"].as_object_mut().unwrap().extend(merged.as_object().unwrap().clone());
        let spec: ProviderSpec = serde_json::from_value(spec).unwrap();
        let error = spec.account().unwrap().identity().unwrap_err();
        assert_eq!(error.field, field, "{error}");
        let error = request(&spec, "{}", None).unwrap_err();
        assert!(error.field == "spec.providerRef" && error.message.contains(field), "{error}");
    }
}

#[test]
fn a_lifetime_is_within_what_the_provider_declares() {
    for (declared, asked, expected) in [
        ("", None, Ok(3600)),
        ("", Some("1m"), Ok(60)),
        ("", Some("59s"), Err("the provider issues for 1m to 8784h")),
        ("lifetime: {max: 30m}", None, Ok(1800)),
        ("lifetime: {min: 2h}", None, Ok(7200)),
        ("lifetime: {max: 24h, default: 6h}", None, Ok(21_600)),
        ("lifetime: {max: 24h, default: 6h}", Some("24h"), Ok(86_400)),
        ("lifetime: {max: 24h, default: 6h}", Some("25h"), Err("the provider issues for 1m to 24h")),
        ("lifetime: {max: 30s}", None, Ok(30)),
        ("lifetime: {max: 30s}", Some("10s"), Err("the provider issues for 30s to 30s")),
    ] {
        let lifetime = request(&signed(declared), "{}", asked).map(|request| request.promised_lifetime);
        match expected {
            Ok(seconds) => assert_eq!(lifetime, Ok(Duration::from_secs(seconds)), "{declared} {asked:?}"),
            Err(part) => {
                let error = lifetime.unwrap_err();
                assert_eq!((error.field.as_str(), error.message.as_str()), ("spec.lifetime", part), "{declared}");
            }
        }
    }
}

#[test]
fn a_request_differs_by_templates_parameters_and_lifetime_only() {
    let provider = signed("parameters: {room: {description: a}}");
    let asked = |provider: &ProviderSpec, room: &str, lifetime| request(provider, room, lifetime).unwrap();
    let first = asked(&provider, "{room: a}", None);
    let described = signed("parameters: {room: {description: b, pattern: '[a-z]'}}");
    assert_eq!(first, asked(&described, "{room: a}", Some("1h")));
    assert_ne!(first, asked(&provider, "{room: b}", None));
    assert_ne!(first, asked(&provider, "{room: a}", Some("2h")));
    let other: ProviderSpec = yaml(
        "{signed: {key: {secretRef: {name: s, key: k}}, parameters: {room: {}}, jwt: {algorithm: HS256, claims: {a: b}}}}",
    );
    assert_ne!(first, asked(&other, "{room: a}", None));
}

#[test]
fn a_cluster_provider_limits_the_lifetime_and_lists_declared_parameters() {
    let cluster = |rest: &str, allowed: &str| -> ClusterTokenProviderSpec {
        let mut spec = serde_json::to_value(signed(rest)).unwrap();
        spec["allowedNamespaces"] = json!({"selector": {}});
        spec["allowedScopes"] = json!({"parameters": yaml::<Value>(allowed)});
        serde_json::from_value(spec).unwrap()
    };
    let room = "lifetime: {max: 1h}, parameters: {room: {pattern: '[a-z]+', default: hall}}";
    for (rest, allowed, field) in [
        ("parameters: {room: {}}", "{}", Some("spec.signed.lifetime.max")),
        ("lifetime: {default: 1h}", "{}", Some("spec.signed.lifetime.max")),
        (room, "{}", None),
        (room, "{room: [hall, lobby]}", None),
        (room, "{room: [lobby]}", Some("spec.allowedScopes.parameters.room")),
        (room, "{room: [hall, Lobby]}", Some("spec.allowedScopes.parameters.room")),
        (room, "{rooms: [hall]}", Some("spec.allowedScopes.parameters.rooms")),
    ] {
        let checked = cluster(rest, allowed).check().err().map(|error| error.field);
        assert_eq!(checked.as_deref(), field, "{rest} {allowed}");
    }
    let scope = |parameters: &str| yaml(&format!("{{signed: {{parameters: {parameters}}}}}"));
    let spec = cluster(room, "{room: [hall, lobby]}");
    for (parameters, admitted) in
        [("{room: lobby}", true), ("{}", true), ("{room: attic}", false), ("{room: ''}", false)]
    {
        assert_eq!(spec.admits_scope(&scope(parameters)).is_ok(), admitted, "{parameters}");
    }
    assert!(cluster(room, "{}").admits_scope(&scope("{room: attic}")).is_ok());
    let other: ClusterTokenProviderSpec = yaml(
        "{blendVision: {organization: o, apiTokenRef: {name: s, key: k}}, allowedNamespaces: {selector: {}},
          allowedScopes: {parameters: {room: [a]}}}",
    );
    assert_eq!(other.check().unwrap_err().field, "spec.allowedScopes.parameters.room");
}

#[test]
fn a_type_without_calls_has_no_limits_and_no_certificates() {
    for (member, value) in [
        ("limits", json!({"concurrency": 1})),
        ("caBundle", json!("x")),
        ("caBundleRef", json!({"kind": "ConfigMap", "name": "c", "key": "k"})),
    ] {
        let mut spec = serde_json::to_value(signed("")).unwrap();
        spec[member] = value;
        let spec: ProviderSpec = serde_json::from_value(spec).unwrap();
        let error = spec.account_limits().unwrap_err();
        assert_eq!(
            (error.field, error.message),
            (format!("spec.{member}"), "signed makes no calls: remove it".to_owned())
        );
    }
    let limits = signed("").account_limits().unwrap();
    assert!(limits.windows.is_empty() && limits.concurrency > 1_000_000);
}

#[test]
fn samples_fit_the_patterns() {
    let provider = signed(
        "parameters: {plain: {}, video: {pattern: '[0-9a-f]{32}'}, user: {pattern: '8:acs:[0-9a-f_-]{5,9}'},
          role: {pattern: 'viewer|admin'}, maybe: {pattern: '(a|b)?c+\\d'}, number: {type: integer, pattern: '[3-9]{2}'},
          flag: {type: boolean}, given: {default: x}, look: {pattern: 'a\\bb'}}",
    );
    let sampled = samples(&provider.signed.as_ref().unwrap().parameters);
    let expected = json!({"plain": "sample", "video": "0".repeat(32), "user": "8:acs:-----", "role": "viewer",
        "maybe": "ac0", "number": 33, "flag": true, "given": "x", "look": "sample"});
    assert_eq!(Value::Object(sampled), expected);
}

/// Returns the fields of a request at a declared API, with `change` over the declaration.
fn declared(change: &Value, token: &str) -> Map<String, Value> {
    fn merge(base: &mut Value, change: &Value) {
        match change.as_object() {
            Some(members) => members.iter().for_each(|(name, member)| merge(&mut base[name], member)),
            None => *base = change.clone(),
        }
    }
    let mut account = json!({
        "url": "https://api.example", "auth": {"bearer": {"name": "s", "key": "k"}}, "parameters": {"room": {}},
        "request": {"path": "/{{ room }}", "headers": [{"name": "X-A", "secretRef": {"name": "s", "key": "a"}}],
            "json": {"pin": {"secretRef": {"name": "s", "key": "pin"}}}},
        "response": {"token": {"json": "$.t"}, "expires": {"seconds": "$.e"}},
        "lifetime": {"max": "24h"},
    });
    merge(&mut account, change);
    let provider: ProviderSpec = serde_json::from_value(json!({"http": account})).unwrap();
    super::token(token, "").request(&provider).unwrap().fields
}

#[test]
fn b16_a_declared_request_is_another_one_if_what_is_asked_or_where_the_token_is_differs() {
    let lobby = "http: {parameters: {room: lobby}}";
    let fields = declared(&json!({}), lobby);
    for change in [
        json!({"auth": {"bearer": {"name": "other", "key": "k"}}}),
        json!({"request": {"json": {"pin": {"secretRef": {"name": "other", "key": "pin"}}}}}),
        json!({"request": {"headers": [{"name": "X-A", "secretRef": {"name": "other", "key": "b"}}]}}),
        json!({"response": {"failures": [{"status": [400], "class": "Denied"}], "lockout": true, "cooldown": "5s"}}),
    ] {
        assert_eq!(declared(&change, lobby), fields, "{change}");
    }
    for change in [
        json!({"parameters": {"other": {"default": "x"}}, "lifetime": {"min": "1m"}}),
        json!({"request": {"path": "/v2/{{ room }}"}}),
        json!({"request": {"json": {"exp": 1}}}),
        json!({"response": {"token": {"json": "$.u"}}}),
        json!({"response": {"values": {"v": {"json": "$.v"}}}}),
        json!({"lifetime": {"default": "2h"}}),
    ] {
        assert_ne!(declared(&change, lobby), fields, "{change}");
    }
    assert_ne!(declared(&json!({}), "http: {parameters: {room: other}}"), fields);
    assert_eq!(fields["lifetime"], 3600);
}
