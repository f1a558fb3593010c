//! What the operator refuses: it says which field is at fault and the way out, issues nothing, writes nothing; and
//! once the way out is taken, the token gets ready.

use crate::OPERATOR;
use chrono::{DateTime, Utc};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testkit::emulator::example;
use testkit::scene::{SOON, Scene, client_secret, condition};
use testkit::stand::eventually;

const SECRET_REF: &str = "spec.videoIndexer.auth.clientSecret.secretRef";

/// One mistake. Token and provider of a case are named after it, and so is the credential, with `-login`.
struct Case {
    name: &'static str,
    /// What stands there.
    there: Vec<Value>,
    /// Over the token's spec.
    asks: Value,
    reason: &'static str,
    /// What the message must say: where, and the way out.
    says: &'static [&'static str],
    way_out: WayOut,
}

enum WayOut {
    /// Objects to apply.
    Apply(Vec<Value>),
    /// A change of the token's spec.
    Respec(Value),
    /// A label on the namespace.
    Admit(&'static str),
}

/// The case's own provider and, if it names one, its credential.
fn of(name: &str) -> Value {
    json!({"providerRef": {"name": name}})
}

fn of_cluster(name: &str, permission: &str) -> Value {
    let provider = json!({"kind": "ClusterTokenProvider", "name": name});
    json!({"providerRef": provider, "scope": {"videoIndexer": {"permission": permission}}})
}

fn without(mut object: Value, pointer: &str, member: &str) -> Value {
    let holder = object.pointer_mut(pointer).and_then(Value::as_object_mut).unwrap();
    holder.remove(member).unwrap();
    object
}

/// Providers and their credentials.
fn account_cases(scene: &Scene) -> Vec<Case> {
    let provider = |name: &str| scene.provider(name, &client_secret(&format!("{name}-login")));
    let credential = |name: &str| scene.credentials(&format!("{name}-login"), example::CLIENT_SECRET);
    let mut elsewhere = provider("host-not-allowed");
    let arm = scene.azure.resource_manager_url().replace("127.0.0.1", "localhost");
    elsewhere["spec"]["videoIndexer"]["endpoints"]["resourceManager"] = arm.into();
    let mut other_key = without(credential("key-missing"), "/stringData", "client-secret");
    other_key["stringData"]["password"] = "s".into();
    vec![
        Case {
            name: "provider-missing",
            there: vec![credential("provider-missing")],
            asks: of("provider-missing"),
            reason: "ProviderNotFound",
            says: &["spec.providerRef", "TokenProvider/provider-missing", "Create it"],
            way_out: WayOut::Apply(vec![provider("provider-missing")]),
        },
        Case {
            name: "credential-missing",
            there: vec![provider("credential-missing")],
            asks: of("credential-missing"),
            reason: "CredentialsMissing",
            says: &["spec.providerRef", SECRET_REF, "no Secret credential-missing-login", "create it"],
            way_out: WayOut::Apply(vec![credential("credential-missing")]),
        },
        Case {
            name: "unlabelled",
            there: vec![provider("unlabelled"), without(credential("unlabelled"), "/metadata", "labels")],
            asks: of("unlabelled"),
            reason: "CredentialsUnlabelled",
            says: &[SECRET_REF, "kubectl label secret", "unlabelled-login videotoken.dev/credentials=true"],
            way_out: WayOut::Apply(vec![credential("unlabelled")]),
        },
        Case {
            name: "hosts-not-named",
            there: vec![
                provider("hosts-not-named"),
                without(credential("hosts-not-named"), "/metadata", "annotations"),
            ],
            asks: of("hosts-not-named"),
            reason: "CredentialsHostNotAllowed",
            says: &[SECRET_REF, "kubectl annotate secret", "videotoken.dev/allowed-hosts=127.0.0.1:"],
            way_out: WayOut::Apply(vec![credential("hosts-not-named")]),
        },
        Case {
            name: "key-missing",
            there: vec![provider("key-missing"), other_key],
            asks: of("key-missing"),
            reason: "CredentialsMissing",
            says: &[SECRET_REF, "under the key client-secret"],
            way_out: WayOut::Apply(vec![credential("key-missing")]),
        },
        Case {
            name: "host-not-allowed",
            there: vec![elsewhere, credential("host-not-allowed")],
            asks: of("host-not-allowed"),
            reason: "HostNotAllowed",
            says: &["spec.videoIndexer.endpoints.resourceManager", "--allowed-endpoint", "ClusterTokenProvider"],
            way_out: WayOut::Apply(vec![provider("host-not-allowed")]),
        },
    ]
}

/// What one object asks for, of a provider that is ready.
fn object_cases(scene: &Scene) -> Vec<Case> {
    let foreign = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"token": "theirs"},
            "metadata": {"name": name, "namespace": scene.namespace}})
    };
    let respec = |name| json!({"secret": {"name": name}});
    vec![
        Case {
            name: "other-type",
            there: Vec::new(),
            asks: json!({"scope": {"videoIndexer": null, "cognitiveServices": {"service": {}}}}),
            reason: "InvalidSpec",
            says: &["spec.scope", "cognitiveServices", "videoIndexer"],
            way_out: WayOut::Respec(scene.token("other-type", &json!({}))["spec"].clone()),
        },
        Case {
            name: "bad-template",
            there: Vec::new(),
            asks: json!({"secret": {"template": {"data": {"url": "https://x/?t={{ tokn }}"}}}}),
            reason: "InvalidSpec",
            says: &["spec.secret.template.data", "url", "tokn"],
            way_out: WayOut::Respec(json!({"secret": {"template": {"data": {"url": "https://x/?t={{ token }}"}}}})),
        },
        Case {
            name: "foreign",
            there: vec![foreign("theirs")],
            asks: respec("theirs"),
            reason: "SecretNotOwned",
            says: &["spec.secret.name", "does not overwrite it", "Choose another name"],
            way_out: WayOut::Respec(respec("ours")),
        },
    ]
}

/// What a `ClusterTokenProvider`'s admin admits.
fn admission_cases(scene: &Scene, provider: &str) -> Vec<Case> {
    let namespaces = json!({"selector": {"matchLabels": {"video": "true"}}});
    let named = json!({"names": [scene.namespace]});
    let login = client_secret("azure-login");
    let closed = format!("{provider}-closed");
    vec![
        Case {
            name: "namespace-not-allowed",
            there: vec![scene.cluster_provider(&closed, &login, &namespaces, &Value::Null)],
            asks: of_cluster(&closed, "Reader"),
            reason: "NotAllowed",
            says: &["spec.providerRef", "doesn't allow the namespace", "spec.allowedNamespaces"],
            way_out: WayOut::Admit("video"),
        },
        Case {
            name: "permission-not-allowed",
            there: vec![scene.cluster_provider(
                provider,
                &login,
                &named,
                &json!({"permissions": ["RestrictedViewer"]}),
            )],
            asks: of_cluster(provider, "Contributor"),
            reason: "NotAllowed",
            says: &["spec.scope.videoIndexer.permission", "allowedScopes admit RestrictedViewer, not Contributor"],
            way_out: WayOut::Respec(json!({"scope": {"videoIndexer": {"permission": "RestrictedViewer"}}})),
        },
    ]
}

async fn take(scene: &Scene, case: &Case) {
    match &case.way_out {
        WayOut::Apply(objects) => {
            for object in objects {
                scene.apply(object).await.unwrap();
            }
        }
        WayOut::Respec(spec) => {
            let spec = match case.name {
                "other-type" => {
                    json!({"scope": {"cognitiveServices": null, "videoIndexer": spec["scope"]["videoIndexer"]}})
                }
                _ => spec.clone(),
            };
            scene.patch(case.name, &json!({"spec": spec})).await.unwrap();
        }
        WayOut::Admit(label) => scene.label_namespace(label, Some("true")).await.unwrap(),
    }
}

/// P16 too: a refusal that lasts is one event, its end another.
#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_names_the_field_and_the_way_out_and_ends_when_it_is_taken() {
    let scene = Scene::new("refusals", OPERATOR).await.unwrap();
    let provider = format!("{}-vi", scene.namespace);
    let mut cases = account_cases(&scene);
    cases.extend(object_cases(&scene));
    cases.extend(admission_cases(&scene, &provider));
    for case in &cases {
        for object in &case.there {
            scene.apply(object).await.unwrap();
        }
    }
    let mut operator = scene.operator().await.unwrap();
    for case in &cases {
        scene.apply(&scene.token(case.name, &case.asks)).await.unwrap();
    }
    for case in &cases {
        let object = scene.until(case.name, "Stalled", "True", case.reason).await.unwrap();
        let message = condition(&object, "Stalled")["message"].as_str().unwrap().to_owned();
        for word in case.says {
            assert!(message.contains(word), "{}: {word:?} is not in {message:?}", case.name);
        }
        let ready = condition(&object, "Ready");
        assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!(case.reason)), "{}", case.name);
    }
    for case in &cases {
        // looked at again, for another reason
        scene.touch(case.name).await.unwrap();
    }
    for case in &cases {
        let seen_again = |object: &Value| object["status"]["observedGeneration"] == 2;
        let object = scene.until_that(case.name, "looked at again", seen_again).await.unwrap();
        assert_eq!(condition(&object, "Stalled")["reason"], case.reason, "{}", case.name);
    }
    assert_eq!(scene.issued(), 0);
    assert!(scene.azure.entra.control().tokens().is_empty(), "nobody was asked for anything");
    for case in &cases {
        let name = case.asks["secret"]["name"].as_str().unwrap_or(case.name);
        assert_eq!(scene.secret_writes(name), 0, "{}", case.name);
    }
    for case in &cases {
        take(&scene, case).await;
    }
    for case in &cases {
        let object = scene.until(case.name, "Ready", "True", "TokenIssued").await.unwrap();
        assert_eq!(condition(&object, "Stalled")["status"], "False", "{}", case.name);
        assert_eq!(object["status"]["issuances"], 1, "{}", case.name);
    }
    assert_eq!(scene.issued(), cases.len());
    assert_eq!(scene.key_of("theirs", "token").await.unwrap().as_deref(), Some("theirs"));
    for case in &cases {
        let expected = [("Warning", case.reason), ("Normal", "Recovered")];
        let expected = expected.map(|(type_, reason)| (type_.to_owned(), reason.to_owned(), 1));
        scene.until_events(case.name, |told| told == expected).await;
    }
    assert!(operator.exited().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_secret_is_left_alone_until_it_is_deleted() {
    let scene = Scene::new("foreign", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"token": "theirs"},
        "metadata": {"name": "lobby", "namespace": scene.namespace}});
    scene.apply(&foreign).await.unwrap();
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    scene.until("lobby", "Stalled", "True", "SecretNotOwned").await.unwrap();
    assert_eq!((scene.issued(), scene.secret_writes("lobby")), (0, 0));
    assert_eq!(scene.key_of("lobby", "token").await.unwrap().as_deref(), Some("theirs"));

    scene.secrets().delete("lobby", &DeleteParams::default()).await.unwrap();
    // no watch shows what isn't ours: it is looked for every few minutes, or when the object changes
    scene.touch("lobby").await.unwrap();
    scene.until("lobby", "Ready", "True", "").await.unwrap();
    assert_eq!((scene.issued(), scene.secret_writes("lobby")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_that_is_another_s_secret_is_refused_before_a_token_is_issued() {
    let scene = Scene::new("renamed", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"token": "theirs"},
        "metadata": {"name": "theirs", "namespace": scene.namespace}});
    scene.apply(&foreign).await.unwrap();
    // a name that is free; no token is issued, for lack of an Entra token
    scene.azure.entra.control().play(testkit::emulator::Fault::Throttle { retry_after: Some(600) });
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    scene.until("lobby", "Issuing", "True", "Throttled").await.unwrap();
    scene.patch("lobby", &json!({"spec": {"secret": {"name": "theirs"}}})).await.unwrap();
    scene.until("lobby", "Stalled", "True", "SecretNotOwned").await.unwrap();
    assert_eq!(scene.issued(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_name_one_secret_the_older_keeps_it_and_the_younger_follows() {
    let scene = Scene::new("rivals", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let shared = json!({"secret": {"name": "shared"}});
    let older = scene.ready_token("older", &shared).await.unwrap();
    let token = scene.key_of("shared", "token").await.unwrap();
    let born: DateTime<Utc> = older["metadata"]["creationTimestamp"].as_str().unwrap().parse().unwrap();
    eventually(
        SOON,
        "a later second",
        async || {
            if Utc::now().timestamp() > born.timestamp() { Ok(()) } else { Err("not yet") }
        },
    )
    .await;
    let other = json!({"secret": {"name": "shared"}, "scope": {"videoIndexer": {"permission": "Reader"}}});
    scene.apply(&scene.token("younger", &other)).await.unwrap();
    let younger = scene.until("younger", "Stalled", "True", "SecretClaimed").await.unwrap();
    let message = condition(&younger, "Stalled")["message"].to_string();
    for word in ["spec.secret.name", "older", "shared", "Choose another name"] {
        assert!(message.contains(word), "{word} is not in {message}");
    }
    assert_eq!(scene.key_of("shared", "token").await.unwrap(), token);
    assert_eq!((scene.issued(), scene.secret_writes("shared")), (1, 1));
    assert_eq!(condition(&scene.until("older", "Ready", "True", "").await.unwrap(), "Stalled")["status"], "False");

    scene.delete_token("older").await.unwrap();
    scene.until("younger", "Ready", "True", "").await.unwrap();
    assert_ne!(scene.key_of("shared", "token").await.unwrap(), token);
}

/// Made in one second, they have no order but that of who came to have it.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_secret_keeps_it_from_all_that_are_made_in_the_same_second() {
    let scene = Scene::new("twins", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let shared = json!({"secret": {"name": "shared"}});
    for n in 0..6 {
        scene.apply(&scene.token(&format!("twin-{n}"), &shared)).await.unwrap();
    }
    let holder = one_has_it(&scene, 6).await;
    let (issued, writes) = (scene.issued(), scene.secret_writes("shared"));
    for n in 0..6 {
        scene.touch(&format!("twin-{n}")).await.unwrap();
    }
    for n in 0..6 {
        let seen_again = |object: &Value| object["status"]["observedGeneration"] == 2;
        scene.until_that(&format!("twin-{n}"), "looked at again", seen_again).await.unwrap();
    }
    assert_eq!(one_has_it(&scene, 6).await, holder);
    assert_eq!((scene.issued(), scene.secret_writes("shared")), (issued, writes));
}

/// Waits until one twin is ready and the others are refused for its sake; returns which one.
async fn one_has_it(scene: &Scene, twins: usize) -> usize {
    eventually(SOON, "one has it, and the others say so", async || {
        let (mut ready, mut refused) = (Vec::new(), 0);
        for n in 0..twins {
            let object = scene.tokens().get(&format!("twin-{n}")).await.map_err(|error| error.to_string())?;
            let object = serde_json::to_value(object).map_err(|error| error.to_string())?;
            if condition(&object, "Ready")["status"] == "True" && condition(&object, "Stalled")["status"] == "False" {
                ready.push(n);
            } else if condition(&object, "Stalled")["reason"] == "SecretClaimed" {
                refused += 1;
            }
        }
        match ready[..] {
            [one] if refused == twins - 1 => Ok(one),
            _ => Err(format!("ready: {ready:?}, refused: {refused}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_loses_its_admission_keeps_its_token_and_gets_no_other() {
    let scene = Scene::new("admission", OPERATOR).await.unwrap();
    let provider = format!("{}-vi", scene.namespace);
    let namespaces = json!({"selector": {"matchLabels": {"video": "true"}}});
    scene.label_namespace("video", Some("true")).await.unwrap();
    let cluster = scene.cluster_provider(&provider, &client_secret("azure-login"), &namespaces, &Value::Null);
    scene.apply(&cluster).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let before = scene.ready_token("lobby", &of_cluster(&provider, "Reader")).await.unwrap();
    assert_eq!(before["status"]["provider"], format!("ClusterTokenProvider/{provider}"));
    let token = scene.key_of("lobby", "token").await.unwrap();

    scene.label_namespace("video", None).await.unwrap();
    let refused = scene.until("lobby", "Stalled", "True", "NotAllowed").await.unwrap();
    assert_eq!(condition(&refused, "Ready")["status"], "True");
    assert_eq!(refused["status"]["expiresAt"], before["status"]["expiresAt"]);
    scene.force_renewal("lobby").await.unwrap();
    scene.touch("lobby").await.unwrap();
    scene.until_that("lobby", "looked at again", |object| object["status"]["observedGeneration"] == 2).await.unwrap();
    assert_eq!(scene.key_of("lobby", "token").await.unwrap(), token);
    assert_eq!((scene.issued(), scene.secret_writes("lobby")), (1, 1));

    scene.label_namespace("video", Some("true")).await.unwrap();
    scene.until_that("lobby", "renewed as was asked", |object| object["status"]["issuances"] == 2).await.unwrap();
}
