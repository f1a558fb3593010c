//! What the API server itself refuses, before the operator sees it: each mistake is answered with the way out.
//!
//! Each case is written by server-side apply with strict field validation, as `kubectl apply --server-side` does.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cases;

use cases::Case;
use kube::Client;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use testkit::stand::{shared, yaml};
use videotoken_api::video_access_token::VideoAccessToken;

async fn client_and_namespace(prefix: &str) -> (Client, String) {
    let stand = shared().await.unwrap();
    (stand.client().unwrap(), stand.namespace(prefix).await.unwrap())
}

/// The stored object, or what the API server said. Words in capitals stand for the constants above.
async fn apply(client: &Client, namespace: &str, kind: &str, spec: &str) -> Result<DynamicObject, String> {
    let spec = cases::written_out(spec);
    // A cluster-wide kind has no namespace to itself: its name has one.
    let name = format!("case-{namespace}");
    let object =
        format!("{{apiVersion: videotoken.dev/v1alpha1, kind: {kind}, metadata: {{name: {name}}}, spec: {{{spec}}}}}");
    match yaml::apply(client, namespace, &object).await {
        Ok(stored) => Ok(stored.into_iter().next().unwrap()),
        Err(error) => Err(said(&error)),
    }
}

/// The API server's words, one line a cause: `field: message`, without the value that it quotes.
fn said(error: &anyhow::Error) -> String {
    let Some(kube::Error::Api(status)) = error.downcast_ref() else { panic!("no answer of an API server: {error:#}") };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let without_value = |message: &str| match message.split_once(": \"").zip(message.rsplit_once("\": ")) {
        Some(((kind, _), (_, why))) => format!("{kind}: {why}"),
        None => message.to_owned(),
    };
    let lines: Vec<_> = causes.map(|cause| format!("{}: {}", cause.field, without_value(&cause.message))).collect();
    if lines.is_empty() { status.message.clone() } else { lines.join("\n") }
}

/// A token's spec with this scope; `rest` are further members.
async fn apply_token(client: &Client, namespace: &str, scope: &str, rest: &str) -> Result<DynamicObject, String> {
    apply(client, namespace, "VideoAccessToken", &format!("providerRef: {{name: p}}, scope: {{{scope}}}, {rest}")).await
}

/// Deletes what [`apply`] has stored, so that the next case is a creation.
async fn forget(client: &Client, namespace: &str, object: &DynamicObject) {
    yaml::delete(client, namespace, &serde_yaml_ng::to_string(object).unwrap()).await.unwrap();
}

#[tokio::test]
async fn every_scope_is_admitted() {
    let (client, namespace) = client_and_namespace("good-tokens").await;
    for (scope, rest) in cases::GOOD_TOKENS {
        let stored = apply_token(&client, &namespace, scope, rest).await;
        let stored = stored.unwrap_or_else(|error| panic!("{scope} {rest}\n{error}"));
        let read: VideoAccessToken = serde_json::from_value(serde_json::to_value(&stored).unwrap()).unwrap();
        assert!(read.spec.renew_before().is_ok(), "{scope} {rest}");
        forget(&client, &namespace, &stored).await;
    }
}

#[tokio::test]
async fn a_bad_token_is_refused_with_the_way_out() {
    let (client, namespace) = client_and_namespace("bad-tokens").await;
    let wrong = not_refused(&client, &namespace, cases::TOKENS, async |(scope, rest)| {
        apply_token(&client, &namespace, scope, rest).await
    });
    let wrong = wrong.await;
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

/// The cases that were admitted after all, or refused with another message.
async fn not_refused(
    client: &Client,
    namespace: &str,
    cases: &[Case<'_>],
    apply: impl AsyncFn((&str, &str)) -> Result<DynamicObject, String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for ((what, rest), message) in cases {
        match apply((what, rest)).await {
            Ok(stored) => {
                forget(client, namespace, &stored).await;
                wrong.push(format!("\n{what} {rest}\n  admitted, not refused with {message}"));
            }
            Err(refused) if refused.contains(message) => {}
            Err(refused) if by_the_list_alone(message).is_some_and(|other| refused.contains(&other)) => {}
            Err(refused) => wrong.push(format!("\n{what} {rest}\n  {refused}\n  lacks {message}")),
        }
    }
    wrong
}

/// What server-side apply of Kubernetes 1.33 says of a list's element that lacks one of the keys: it looks at them before
/// it looks at the schema.
fn by_the_list_alone(message: &str) -> Option<String> {
    let (list, key) = message.strip_suffix(": Required value")?.split_once("[0].")?;
    Some(format!(".{list}: element 0: associative list with keys has an element that omits key field \"{key}\""))
}

#[tokio::test]
async fn a_token_names_a_provider_of_a_known_kind() {
    let (client, namespace) = client_and_namespace("provider-refs").await;
    for (provider, message) in [
        (
            "{kind: SecretStore, name: p}",
            "spec.providerRef.kind: Invalid value: must be one of TokenProvider, ClusterTokenProvider",
        ),
        ("{kind: TokenProvider}", "spec.providerRef.name: Required value"),
        ("{name: a/b}", "spec.providerRef.name: Invalid value: must be the name of an object"),
    ] {
        let spec = format!("providerRef: {provider}, scope: {{READER}}");
        let refused = apply(&client, &namespace, "VideoAccessToken", &spec).await.expect_err(provider);
        assert!(refused.contains(message), "{refused}");
    }
}

#[tokio::test]
async fn every_provider_type_is_admitted() {
    let (client, namespace) = client_and_namespace("good-providers").await;
    for (kind, spec) in cases::GOOD_PROVIDERS {
        let stored =
            apply(&client, &namespace, kind, spec).await.unwrap_or_else(|error| panic!("{kind} {spec}\n{error}"));
        forget(&client, &namespace, &stored).await;
    }
}

#[tokio::test]
async fn a_bad_provider_is_refused_with_the_way_out() {
    let (client, namespace) = client_and_namespace("bad-providers").await;
    let wrong = not_refused(&client, &namespace, cases::PROVIDERS, async |(kind, spec)| {
        apply(&client, &namespace, kind, spec).await
    });
    let wrong = wrong.await;
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[tokio::test]
async fn a_secrets_type_changes_only_with_its_name() {
    let (client, namespace) = client_and_namespace("types").await;
    let own_name = format!("case-{namespace}");
    for (before, after, admitted) in [
        ("{}", "{type: example.com/token}", false),
        ("{}", &format!("{{name: {own_name}, type: example.com/token}}"), false),
        ("{}", "{name: other, type: example.com/token}", true),
        ("{name: a}", "{name: a, type: example.com/token}", false),
        ("{name: a}", "{name: b, type: example.com/token}", true),
        ("{name: a}", "{name: b}", true),
        ("{name: a}", "{type: example.com/token}", true),
    ] {
        let stored = apply_token(&client, &namespace, "READER", &format!("secret: {before}")).await.unwrap();
        let changed = apply_token(&client, &namespace, "READER", &format!("secret: {after}")).await;
        match changed {
            Ok(_) => assert!(admitted, "{before} to {after} was admitted"),
            Err(refused) => {
                assert!(!admitted, "{before} to {after}: {refused}");
                let message =
                    "spec.secret.type: Invalid value: a Secret's type can't change: set secret.name to a new name too";
                assert!(refused.contains(message), "{refused}");
            }
        }
        forget(&client, &namespace, &stored).await;
    }
}

#[tokio::test]
async fn a_new_object_has_its_defaults_and_is_not_taken_for_ready() {
    let (client, namespace) = client_and_namespace("defaults").await;
    let stored = apply_token(&client, &namespace, "READER", "").await.unwrap();
    let secret =
        json!({"type": "Opaque", "keys": {"token": "token", "expiresAt": "expires-at"}, "deletionPolicy": "Delete"});
    assert_eq!(stored.data["spec"]["secret"], secret);
    assert_eq!(stored.data["spec"]["providerRef"], json!({"kind": "TokenProvider", "name": "p"}));
    assert_eq!(stored.data["status"]["observedGeneration"], -1);
}

#[tokio::test]
async fn get_shows_the_state_at_a_glance() {
    let (client, namespace) = client_and_namespace("columns").await;
    for (path, expected) in [
        (format!("namespaces/{namespace}/videoaccesstokens"), "Name Ready Reason* Provider Secret Expires Renews Age"),
        (
            format!("namespaces/{namespace}/tokenproviders"),
            "Name Type Ready Reason* Account Tokens Waiting Credentials Expire Last Issued* Age",
        ),
        (
            "clustertokenproviders".to_owned(),
            "Name Type Ready Reason* Account Tokens Waiting Credentials Expire Last Issued* Age",
        ),
    ] {
        let request = http::Request::get(format!("/apis/videotoken.dev/v1alpha1/{path}"))
            .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
        let table: Value = client.request(request.body(Vec::new()).unwrap()).await.unwrap();
        let columns = table["columnDefinitions"].as_array().unwrap().iter();
        let columns: Vec<String> = columns
            .map(|c| format!("{}{}", c["name"].as_str().unwrap(), if c["priority"] == 0 { "" } else { "*" }))
            .collect();
        assert_eq!(columns.join(" "), expected);
    }
}
