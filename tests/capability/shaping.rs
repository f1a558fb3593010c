//! The shape of the Secret: what a spec may ask for is there to the letter, what can't be made costs no token, and
//! another shape is one write from the token at hand.

use crate::OPERATOR;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use testkit::emulator::Fault;
use testkit::scene::{Scene, condition};

/// The keys that a Secret should have, from its token and the token's end.
type Keys = fn(&str, DateTime<Utc>) -> Vec<(&'static str, String)>;

struct Shape {
    name: &'static str,
    /// `spec.secret`.
    spec: Value,
    keys: Keys,
}

fn rfc3339(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn plain(token: &str, ends: DateTime<Utc>) -> Vec<(&'static str, String)> {
    vec![("token", token.to_owned()), ("expires-at", rfc3339(ends))]
}

/// The plain keys under their usual names, and more.
fn with(token: &str, ends: DateTime<Utc>, more: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    plain(token, ends).into_iter().chain(more.iter().cloned()).collect()
}

fn templated(data: &Value) -> Value {
    json!({"template": {"data": data}})
}

fn shapes() -> Vec<Shape> {
    let shape = |name, spec, keys| Shape { name, spec, keys };
    vec![
        shape("usual", json!({}), plain),
        shape("keys", json!({"keys": {"token": "accessToken", "expiresAt": "until"}}), |token, ends| {
            vec![("accessToken", token.to_owned()), ("until", rfc3339(ends))]
        }),
        shape("own-type", json!({"type": "example.com/video-token"}), plain),
        shape(
            "basic-auth",
            json!({"type": "kubernetes.io/basic-auth", "keys": {"token": "password"},
                "template": {"data": {"username": "bearer"}}}),
            |token, ends| {
                vec![("password", token.to_owned()), ("username", "bearer".to_owned()), ("expires-at", rfc3339(ends))]
            },
        ),
        shape(
            "docker",
            json!({"type": "kubernetes.io/dockerconfigjson", "template": {"data": {".dockerconfigjson":
                r#"{"auths":{"registry.example":{"auth":{{ ("token:" ~ token) | b64encode | tojson }}}}}"#}}}),
            |token, ends| {
                let auth = BASE64.encode(format!("token:{token}"));
                let config = format!(r#"{{"auths":{{"registry.example":{{"auth":"{auth}"}}}}}}"#);
                with(token, ends, &[(".dockerconfigjson", config)])
            },
        ),
        shape(
            "tls",
            json!({"type": "kubernetes.io/tls", "keys": {"token": "tls.key"}, "template": {"data": {"tls.crt": "{{ name }}"}}}),
            |token, ends| {
                vec![("tls.key", token.to_owned()), ("tls.crt", "tls".to_owned()), ("expires-at", rfc3339(ends))]
            },
        ),
        shape(
            "json",
            templated(
                &json!({"config.json": r#"{"accessToken": {{ token | tojson }}, "expires": "{{ expires_at }}"}"#}),
            ),
            |token, ends| {
                let config = format!(r#"{{"accessToken": "{token}", "expires": "{}"}}"#, rfc3339(ends));
                with(token, ends, &[("config.json", config)])
            },
        ),
        shape("base64", templated(&json!({"encoded": "{{ token | b64encode }}"})), |token, ends| {
            with(token, ends, &[("encoded", BASE64.encode(token))])
        }),
        shape(
            "dates",
            templated(&json!({"day": r#"{{ expires_at | date("%a, %d %b %Y %H:%M:%S GMT") }}"#,
                "unix": "{{ expires_at | unix }}", "left": "{{ 'long' if (expires_at | unix) - (issued_at | unix) > 60 else 'short' }}"})),
            |token, ends| {
                let day = ends.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
                let more = [("day", day), ("unix", ends.timestamp().to_string()), ("left", "long".to_owned())];
                with(token, ends, &more)
            },
        ),
        shape(
            "names",
            json!({"name": "names-of-it", "template": {"data": {
                "url": "https://x.example/{{ name }}/{{ secret_name }}?t={{ token | urlencode }}",
                "env": "TOKEN={{ token }}\n{% if previous_token is defined %}BEFORE={{ previous_token }}\n{% endif %}"}}}),
            |token, ends| {
                let url = format!("https://x.example/names/names-of-it?t={token}");
                with(token, ends, &[("url", url), ("env", format!("TOKEN={token}\n"))])
            },
        ),
    ]
}

/// All that stands in a Secret, as text.
fn data_of(secret: &Secret) -> BTreeMap<String, String> {
    let data = secret.data.iter().flatten();
    data.map(|(key, value)| (key.clone(), String::from_utf8_lossy(&value.0).into_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_shape_is_there_to_the_letter() {
    let scene = Scene::new("shapes", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let shapes = shapes();
    for Shape { name, spec, .. } in &shapes {
        let mut spec = spec.clone();
        spec["template"]["labels"] = json!({"app": "player", "example.com/tier": ""});
        spec["template"]["annotations"] = json!({"example.com/note": "{{ token }} stands as it is"});
        scene.apply(&scene.token(name, &json!({"secret": spec}))).await.unwrap();
    }
    for Shape { name, spec, keys } in &shapes {
        let token = scene.settled(name).await.unwrap();
        let ends = scene.azure.video_indexer.control().knows(&token).unwrap().expires_at;
        let secret = scene.secrets().get(spec["name"].as_str().unwrap_or(name)).await.unwrap();
        let expected: BTreeMap<_, _> = keys(&token, ends).into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        assert_eq!(data_of(&secret), expected, "{name}");
        assert_eq!(secret.type_.as_deref(), Some(spec["type"].as_str().unwrap_or("Opaque")), "{name}");
        let labels = secret.metadata.labels.unwrap();
        for (label, value) in
            [("app", "player"), ("example.com/tier", ""), ("app.kubernetes.io/managed-by", "video-token-operator")]
        {
            assert_eq!(labels.get(label).map(String::as_str), Some(value), "{name} {label}");
        }
        assert_eq!(secret.metadata.annotations.unwrap()["example.com/note"], "{{ token }} stands as it is", "{name}");
    }
    assert_eq!(scene.issued(), shapes.len());
}

/// A `spec.secret` that passes the CRD's rules and can't be made, and what its refusal says.
fn mistakes() -> Vec<(&'static str, Value, &'static [&'static str])> {
    let docker = |config: &str| json!({"type": "kubernetes.io/dockerconfigjson", "template": {"data": {".dockerconfigjson": config}}});
    vec![
        (
            "unknown",
            templated(&json!({"url": "?t={{ tokn }}"})),
            &["spec.secret.template.data[url]", "`tokn` is not known", "Use one of token"],
        ),
        ("filter", templated(&json!({"url": "{{ token | rot13 }}"})), &["spec.secret.template.data[url]", "rot13"]),
        (
            "loop",
            templated(&json!({"many": "{% for c in token %}{{ c }}{% endfor %}"})),
            &["spec.secret.template.data[many]", "`{% for %}` is not available"],
        ),
        (
            "endless",
            templated(&json!({"many": "{{ 'x' * 99999999 }}"})),
            &["spec.secret.template.data[many]", "Shorten it"],
        ),
        ("large", templated(&json!({"many": "{{ 'x' * 300000 }}"})), &["256 KiB", "Shorten it"]),
        (
            "syntax",
            templated(&json!({"ok": "{{ token }}", "url": "\n{{ token"})),
            &["spec.secret.template.data[url]", "syntax error"],
        ),
        (
            "docker-text",
            docker("{{ token }}"),
            &["spec.secret.template.data[.dockerconfigjson]", "kubernetes.io/dockerconfigjson", "JSON object"],
        ),
        (
            "docker-token",
            json!({"type": "kubernetes.io/dockerconfigjson", "keys": {"token": ".dockerconfigjson"}}),
            &["spec.secret.template.data[.dockerconfigjson]", "JSON object", "auths"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_made_costs_no_token_no_call_and_no_write() {
    let scene = Scene::new("mistakes", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let mistakes = mistakes();
    for (name, spec, _) in &mistakes {
        scene.apply(&scene.token(name, &json!({"secret": spec}))).await.unwrap();
    }
    for (name, _, says) in &mistakes {
        let object = scene.until(name, "Stalled", "True", "InvalidSpec").await.unwrap();
        let message = condition(&object, "Stalled")["message"].as_str().unwrap().to_owned();
        for word in *says {
            assert!(message.contains(word), "{name}: {word:?} is not in {message:?}");
        }
        assert_eq!(condition(&object, "Ready")["status"], "False", "{name}");
    }
    for (name, ..) in &mistakes {
        scene.touch(name).await.unwrap();
        let seen_again = |object: &Value| object["status"]["observedGeneration"] == 2;
        scene.until_that(name, "looked at again", seen_again).await.unwrap();
        assert_eq!(scene.secret_writes(name), 0, "{name}");
    }
    assert_eq!(scene.issued(), 0);
    assert!(scene.azure.entra.control().tokens().is_empty(), "nobody was asked for anything");
    for (name, spec, _) in &mistakes {
        // a type can't change without a name
        let other = if spec["type"].is_null() { *name } else { "docker-config" };
        let mended = json!({"name": format!("{other}-{name}"), "type": null, "template": null, "keys": null});
        scene.patch(name, &json!({"spec": {"secret": mended}})).await.unwrap();
        scene.settled(name).await.unwrap();
    }
    assert_eq!(scene.issued(), mistakes.len());
}

/// A template may fit the sample that it was tried with, and not the token that comes.
#[tokio::test(flavor = "multi_thread")]
async fn p03_a_token_that_the_template_does_not_fit_is_kept_and_no_other_is_asked_for() {
    let scene = Scene::new("misfits", OPERATOR).await.unwrap();
    scene.azure.video_indexer.control().play(Fault::OpaqueToken);
    let mut operator = scene.operator().await.unwrap();
    let claims = templated(&json!({"claims": "{{ (token | split('.') | list)[1] | b64decode }}"}));
    let none = json!({"spec": {"secret": {"template": null}}});
    let refused = async |name: &str| {
        let object = scene.until(name, "Stalled", "True", "InvalidSpec").await.unwrap();
        let message = condition(&object, "Stalled")["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with("spec.secret.template.data[claims]: line 1: "), "{message}");
        object
    };

    // from the first: the token that came is stored once the template is mended
    scene.apply(&scene.token("first", &json!({"secret": claims}))).await.unwrap();
    refused("first").await;
    assert_eq!((scene.issued(), scene.secret_writes("first")), (1, 0));
    scene.patch("first", &none).await.unwrap();
    scene.settled("first").await.unwrap();
    assert_eq!((scene.issued(), scene.secret_writes("first")), (1, 1));

    // later: the Secret stays as it is, through a restart too
    let before = scene.secrets().get_metadata("first").await.unwrap().metadata.resource_version;
    let token = scene.held("first").await.unwrap();
    scene.patch("first", &json!({"spec": {"secret": claims}})).await.unwrap();
    for _ in 0..2 {
        let object = refused("first").await;
        assert_eq!(condition(&object, "Ready")["status"], "True");
        operator.kill9();
        operator = scene.operator().await.unwrap();
        scene.patch("first", &json!({"metadata": {"labels": {"seen": "again"}}})).await.unwrap();
        scene.fence().await.unwrap();
    }
    let now = scene.secrets().get_metadata("first").await.unwrap().metadata.resource_version;
    assert_eq!(now, before);
    scene.patch("first", &none).await.unwrap();
    assert_eq!(scene.settled("first").await.unwrap(), token);
    assert_eq!(scene.issued(), 1 + 2, "with the fences'");
}

/// A change of `spec.secret`, and the keys that come of it.
type Step<'a> = (&'static str, Value, &'a [(&'a str, &'a str)]);

#[tokio::test(flavor = "multi_thread")]
async fn p03_another_shape_is_one_write_and_no_call() {
    let scene = Scene::new("reshaped", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    let token = scene.settled("lobby").await.unwrap();
    let ends = scene.key_of("lobby", "expires-at").await.unwrap().unwrap();
    scene.patch_secret("lobby", &json!({"stringData": {"theirs": "kept"}})).await.unwrap();
    scene.settled("lobby").await.unwrap();
    let steps: [Step<'_>; 6] = [
        (
            "a template",
            json!({"template": {"labels": {"app": "player"}, "data": {"url": "?t={{ token }}"}}}),
            &[("token", &token), ("expires-at", &ends), ("url", &format!("?t={token}"))],
        ),
        (
            "another",
            json!({"template": {"labels": {"app": null}, "data": {"url": null, "env": "T={{ token }}"}}}),
            &[("token", &token), ("expires-at", &ends), ("env", &format!("T={token}"))],
        ),
        (
            "keys",
            json!({"keys": {"token": "accessToken", "expiresAt": "until"}}),
            &[("accessToken", &token), ("until", &ends), ("env", &format!("T={token}"))],
        ),
        (
            "keys that change places",
            json!({"keys": {"token": "until", "expiresAt": "accessToken"}}),
            &[("until", &token), ("accessToken", &ends), ("env", &format!("T={token}"))],
        ),
        (
            "a key in the template's place",
            json!({"keys": {"token": "env", "expiresAt": "expires-at"}, "template": null}),
            &[("env", &token), ("expires-at", &ends)],
        ),
        ("as at first", json!({"keys": null}), &[("token", &token), ("expires-at", &ends)]),
    ];
    for (what, change, keys) in steps {
        let writes = scene.secret_writes("lobby");
        scene.patch("lobby", &json!({"spec": {"secret": change}})).await.unwrap();
        assert_eq!(scene.settled("lobby").await.unwrap(), token, "{what}");
        let secret = scene.secrets().get("lobby").await.unwrap();
        let mut expected: BTreeMap<_, _> = keys.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        expected.insert("theirs".to_owned(), "kept".to_owned());
        assert_eq!(data_of(&secret), expected, "{what}");
        assert_eq!(secret.metadata.labels.unwrap().contains_key("app"), what == "a template", "{what}");
        assert_eq!(scene.secret_writes("lobby"), writes + 1, "{what}");
    }
    // a type of its own takes a name of its own
    let typed = json!({"secret": {"name": "typed", "type": "example.com/video-token"}});
    scene.patch("lobby", &json!({"spec": typed})).await.unwrap();
    scene.until_that("lobby", "names it", |object| object["status"]["secretName"] == "typed").await.unwrap();
    assert_eq!(scene.settled("lobby").await.unwrap(), token);
    let secret = scene.secrets().get("typed").await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("example.com/video-token"));
    assert_eq!((scene.issued(), scene.secret_writes("typed")), (1, 1));
    let told = scene.events("lobby").await.unwrap();
    assert!(told.is_empty(), "none of it is a repair: {told:?}");
}

/// The API server reads what is applied as YAML, in which these characters are line breaks or not allowed.
const NO_YAML: &str = "a\u{85}b\u{2028}c\u{7f}d\u{feff}e\u{ffff}f\u{9f}g";

#[tokio::test(flavor = "multi_thread")]
async fn p13_text_that_yaml_does_not_take_is_stored_as_it_is_and_hides_no_status() {
    let scene = Scene::new("no-yaml", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let create = async |name: &str, changes: &Value| {
        let token = serde_json::from_value(scene.token(name, changes)).unwrap();
        scene.tokens().create(&PostParams::default(), &token).await.unwrap();
    };

    create("noted", &json!({"secret": {"template": {"annotations": {"example.com/note": NO_YAML}}}})).await;
    scene.settled("noted").await.unwrap();
    let secret = scene.secrets().get("noted").await.unwrap();
    assert_eq!(secret.metadata.annotations.unwrap()["example.com/note"], NO_YAML);
    scene.fence().await.unwrap();
    assert_eq!(scene.secret_writes("noted"), 1, "what is stored is what was sent, so nothing is repaired");

    let body = json!({"ErrorType": "INVALID_INPUT", "Message": format!("no video {NO_YAML}")}).to_string();
    scene.azure.video_indexer.control().play(Fault::Status { code: 400, body, headers: Vec::new() });
    create("quoted", &json!({})).await;
    let object = scene.until("quoted", "Ready", "False", "BadRequest").await.unwrap();
    let message = condition(&object, "Ready")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("INVALID_INPUT"), "{message}");
}
