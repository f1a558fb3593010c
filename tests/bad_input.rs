//! What the API server itself refuses, before the operator sees it: each mistake is answered with the way out.
//!
//! Each case is written by server-side apply with strict field validation, as `kubectl apply --server-side` does.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use kube::Client;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use std::sync::LazyLock;
use testkit::stand::{shared, yaml};
use video_token_operator::api::video_access_token::VideoAccessToken;

const EXTENSION: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Kubernetes/connectedClusters/c/providers/Microsoft.KubernetesConfiguration/extensions/e";
const READER: &str = "videoIndexer: {permission: Reader, mediaScope: Account}";
const ON_EDGE: &str = "videoIndexer: {permission: Reader, mediaScope: Video, videoId: v, extensionId: EXTENSION}";
const RESOURCE: &str = "resourceId: r, resourceType: RESOURCE_TYPE_VOD";
const ACCOUNT: &str =
    "subscriptionId: 00000000-0000-0000-0000-000000000000, resourceGroup: contoso-rg, accountName: contoso-vi";
const AMBIENT: &str = "auth: {workloadIdentity: {}}";
const CLIENT: &str = "tenantId: contoso.example, clientId: 00000000-0000-0000-0000-000000000000";
const ALL: &str = "allowedNamespaces: {selector: {}}";

/// One workload more than a token may name.
static SEVENTEEN: LazyLock<String> =
    LazyLock::new(|| (0..17).map(|n| format!("{{kind: Deployment, name: w{n}}}")).collect::<Vec<_>>().join(", "));

async fn client_and_namespace(prefix: &str) -> (Client, String) {
    let stand = shared().await.unwrap();
    (stand.client().unwrap(), stand.namespace(prefix).await.unwrap())
}

/// The stored object, or what the API server said. Words in capitals stand for the constants above.
async fn apply(client: &Client, namespace: &str, kind: &str, spec: &str) -> Result<DynamicObject, String> {
    let spec = [
        ("ON_EDGE", ON_EDGE),
        ("EXTENSION", EXTENSION),
        ("READER", READER),
        ("RESOURCE,", &format!("{RESOURCE},")),
        ("ACCOUNT", ACCOUNT),
        ("AMBIENT", AMBIENT),
        ("CLIENT", CLIENT),
        ("ALL", ALL),
        ("SEVENTEEN", &SEVENTEEN),
    ]
    .iter()
    .fold(spec.to_owned(), |spec, (word, text)| spec.replace(word, text));
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
    for (scope, rest) in [
        ("READER", ""),
        ("READER", "renewBefore: 20m"),
        ("READER", "renewBeforePercentage: 33, suspend: true"),
        (
            "READER",
            "rolloutRestart: [{kind: Deployment, name: a}, {kind: StatefulSet, name: a}, {kind: DaemonSet, name: b}]",
        ),
        ("ON_EDGE", "lifetime: 12h, renewBefore: 4h"),
        ("videoIndexer: {permission: RestrictedViewer, mediaScope: Account, extensionId: EXTENSION}", ""),
        ("videoIndexer: {permission: Contributor, mediaScope: Project, projectId: p}", ""),
        ("videoIndexer: {permission: Auditor, mediaScope: Channel}", ""),
        ("videoIndexerClassic: {account: {allowEdit: true}}", ""),
        ("videoIndexerClassic: {accountWithPermission: {permission: MyAccessAdministrator}}", ""),
        ("videoIndexerClassic: {project: {projectId: p}}", ""),
        ("videoIndexerClassic: {video: {videoId: v}}", ""),
        ("videoIndexerClassic: {user: {}}", ""),
        ("blendVision: {resource: {RESOURCE, customerId: c, customerName: n}}", "lifetime: 1h30m"),
        ("blendVision: {resourceAdmin: {RESOURCE, neverExpires: true}}", ""),
        ("blendVision: {playback: {RESOURCE, customerId: c}}", "lifetime: 30s"),
        (
            "cognitiveServices: {limitedAccess: {targetAzureResourceId: /r, featureFlags: [Face.Identification]}}",
            "lifetime: 24h",
        ),
        ("cognitiveServices: {service: {}}", "renewBefore: 5m"),
        ("arcgisVideoServer: {referer: 'https://player.example'}", "lifetime: 8760h"),
        ("arcgisVideoServer: {ip: '2001:db8::1'}", ""),
        ("arcgisVideoServer: {requestIp: {}}", ""),
        ("READER", "secret: {name: lobby, keys: {token: t, expiresAt: e, previousToken: p}, deletionPolicy: Retain}"),
        (
            "READER",
            "secret: {template: {labels: {example.com/team: video}, annotations: {note: 'any text: {}'}, data: {config.json: '{{ token }}'}}}",
        ),
        (
            "READER",
            "secret: {type: kubernetes.io/basic-auth, keys: {token: password}, template: {data: {username: u}}}",
        ),
        ("READER", "secret: {type: kubernetes.io/dockerconfigjson, template: {data: {.dockerconfigjson: '{}'}}}"),
        ("READER", "secret: {type: kubernetes.io/tls, template: {data: {tls.crt: c, tls.key: k}}}"),
        ("READER", "secret: {type: example.com/token}"),
    ] {
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
    let wrong = not_refused(&client, &namespace, TOKENS, async |(scope, rest)| {
        apply_token(&client, &namespace, scope, rest).await
    });
    let wrong = wrong.await;
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

type Case<'a> = ((&'a str, &'a str), &'a str);

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
            Err(refused) => wrong.push(format!("\n{what} {rest}\n  {refused}\n  lacks {message}")),
        }
    }
    wrong
}

/// Scope, rest of the spec; what the API server must say.
#[rustfmt::skip]
const TOKENS: &[Case<'_>] = &[
    // scopes
    (("", ""), "spec.scope: Invalid value: set exactly one of arcgisVideoServer, blendVision, cognitiveServices, videoIndexer, videoIndexerClassic; found: none"),
    (("READER, videoIndexerClassic: {account: {}}", ""), "found: videoIndexer videoIndexerClassic"),
    (("sixth: {}", ""), ".spec.scope.sixth: field not declared in schema"),
    (("videoIndexer: {permission: reader, mediaScope: Account}", ""), "spec.scope.videoIndexer.permission: Invalid value: mind the capitals: RestrictedViewer, Reader, Contributor"),
    (("videoIndexer: {permission: To read, mediaScope: Account}", ""), "must be one word: RestrictedViewer, Reader, Contributor, or a newer value"),
    (("videoIndexer: {permission: Reader, mediaScope: account}", ""), "spec.scope.videoIndexer.mediaScope: Invalid value: mind the capitals"),
    (("videoIndexer: {permission: Reader}", ""), "spec.scope.videoIndexer.mediaScope: Required value"),
    (("videoIndexer: {permission: Reader, mediaScope: Video}", ""), "spec.scope.videoIndexer.videoId: Invalid value: mediaScope Video needs a videoId"),
    (("videoIndexer: {permission: Reader, mediaScope: Account, videoId: v}", ""), "videoId goes with mediaScope Video, not Account: remove it"),
    (("videoIndexer: {permission: Reader, mediaScope: Project}", ""), "spec.scope.videoIndexer.projectId: Invalid value: mediaScope Project needs a projectId"),
    (("videoIndexer: {permission: Reader, mediaScope: Video, videoId: v, projectId: p}", ""), "projectId goes with mediaScope Project, not Video: remove it"),
    (("videoIndexer: {permission: Reader, mediaScope: Project, projectId: p, extensionId: EXTENSION}", ""), "spec.scope.videoIndexer.extensionId: Forbidden: the extension operations know no projects: remove projectId or extensionId"),
    (("videoIndexer: {permission: Reader, mediaScope: Account, extensionId: edge}", ""), "spec.scope.videoIndexer.extensionId: Invalid value: must be /subscriptions/"),
    (("videoIndexerClassic: {}", ""), "set exactly one of account, accountWithPermission, project, user, video; found: none"),
    (("videoIndexerClassic: {video: {videoId: a/b}}", ""), "spec.scope.videoIndexerClassic.video.videoId: Invalid value: must be a name, without a slash"),
    (("videoIndexerClassic: {video: {videoId: \".\\t.\"}}", ""), "spec.scope.videoIndexerClassic.video.videoId: Invalid value: must be a name, without a slash"),
    (("blendVision: {playback: {resourceId: r, resourceType: RESOURCE_TYPE_VOD}}", ""), "spec.scope.blendVision.playback.customerId: Required value"),
    (("blendVision: {resource: {resourceId: r, resourceType: VOD}}", ""), "must be a BlendVision resource type such as RESOURCE_TYPE_VOD"),
    (("cognitiveServices: {limitedAccess: {targetAzureResourceId: /r, featureFlags: []}}", ""), "spec.scope.cognitiveServices.limitedAccess.featureFlags"),
    (("arcgisVideoServer: {ip: everywhere}", ""), "spec.scope.arcgisVideoServer.ip: Invalid value: must be an IPv4 or IPv6 address"),
    (("arcgisVideoServer: {ip: 192.0.2.7, requestIp: {}}", ""), "found: ip requestIp"),
    // lifetimes
    (("READER", "lifetime: 12h"), "spec.lifetime: Forbidden: Video Indexer honours a lifetime only with mediaScope Video and an extensionId; any other token lives 1h: remove lifetime"),
    (("ON_EDGE", "lifetime: 13h"), "spec.lifetime: Invalid value: Video Indexer issues for 1s to 12h"),
    (("ON_EDGE", "lifetime: 0s"), "Video Indexer issues for 1s to 12h"),
    (("ON_EDGE", "lifetime: 99999999999999999h"), "spec.lifetime: Invalid value: must be a duration of whole hours, minutes and seconds, such as 12h, 90m or 1h30m"),
    (("ON_EDGE", "lifetime: ''"), "must be a duration of whole hours"),
    (("ON_EDGE", "lifetime: -1h"), "must be a duration of whole hours"),
    (("ON_EDGE", "lifetime: 1 hour"), "must be a duration of whole hours"),
    (("ON_EDGE", "lifetime: 00000000000000000000000000000000000000000001h"), "spec.lifetime: Too long: may not be more than 32"),
    (("videoIndexerClassic: {account: {}}", "lifetime: 1h"), "spec.lifetime: Forbidden: Video Indexer's classic API always issues for 1h: remove lifetime"),
    (("cognitiveServices: {service: {}}", "lifetime: 10m"), "spec.lifetime: Forbidden: Cognitive Services always issues a service token for 10m: remove lifetime"),
    (("cognitiveServices: {limitedAccess: {targetAzureResourceId: /r, featureFlags: [f]}}", "lifetime: 30s"), "Cognitive Services issues for 1m to 24h"),
    (("arcgisVideoServer: {requestIp: {}}", "lifetime: 8761h"), "ArcGIS Video Server issues for 1m to 8760h"),
    (("blendVision: {resource: {RESOURCE, neverExpires: true}}", "lifetime: 1h"), "spec.lifetime: Forbidden: a token that never expires has no lifetime: remove lifetime or neverExpires"),
    (("blendVision: {resource: {RESOURCE, neverExpires: false}}", "lifetime: 0s"), "BlendVision issues for 1s at least"),
    // renewal
    (("ON_EDGE", "lifetime: 12h, renewBefore: 12h"), "spec.renewBefore: Invalid value: renewBefore 12h must be shorter than lifetime 12h"),
    (("ON_EDGE", "renewBefore: 1h"), "spec.renewBefore: Invalid value: without a lifetime such a token lives 1h: renewBefore must be shorter"),
    (("READER", "renewBefore: 1h"), "spec.renewBefore: Invalid value: such a token always lives 1h: renewBefore must be shorter"),
    (("cognitiveServices: {service: {}}", "renewBefore: 10m"), "such a token always lives 10m: renewBefore must be shorter"),
    (("READER", "renewBefore: soon"), "spec.renewBefore: Invalid value: must be a duration of whole hours"),
    (("READER", "renewBefore: 0s"), "spec.renewBefore: Invalid value: must be at least 1s"),
    (("READER", "renewBefore: 20m, renewBeforePercentage: 50"), "spec.renewBeforePercentage: Forbidden: set renewBefore or renewBeforePercentage, not both"),
    (("READER", "renewBeforePercentage: 100"), "spec.renewBeforePercentage"),
    // the Secret
    (("READER", "secret: {name: Lobby}"), "spec.secret.name: Invalid value: must be the name of an object"),
    (("READER", "secret: {type: kubernetes.io/service-account-token}"), "spec.secret.type: Invalid value: of Kubernetes' own types only kubernetes.io/basic-auth"),
    (("READER", "secret: {type: bootstrap.kubernetes.io/token}"), "spec.secret.type: Invalid value: of Kubernetes' own types only kubernetes.io/basic-auth"),
    (("READER", "secret: {type: kubernetes.io/tls}"), "spec.secret.type: Invalid value: type kubernetes.io/tls needs the keys tls.crt and tls.key: add them to template.data"),
    (("READER", "secret: {type: kubernetes.io/basic-auth}"), "type kubernetes.io/basic-auth needs a key username or password"),
    (("READER", "secret: {type: kubernetes.io/dockerconfigjson}"), "type kubernetes.io/dockerconfigjson needs the key .dockerconfigjson"),
    (("READER", "secret: {keys: {token: a/b}}"), "spec.secret.keys.token: Invalid value: must be a Secret's key"),
    (("READER", "secret: {keys: {token: ..b}}"), "spec.secret.keys.token: Invalid value: must be a Secret's key"),
    (("READER", "secret: {keys: {token: expires-at}}"), "spec.secret.keys: Invalid value: two keys have the same name"),
    (("READER", "secret: {keys: {previousToken: token}}"), "spec.secret.keys: Invalid value: two keys have the same name"),
    (("READER", "secret: {template: {data: {token: t}}}"), "spec.secret.template.data: Invalid value: a key of template.data has the name of one of keys: rename one of them"),
    (("READER", "secret: {keys: {previousToken: p}, template: {data: {p: t}}}"), "a key of template.data has the name of one of keys"),
    (("READER", "secret: {template: {data: {a/b: t}}}"), "spec.secret.template.data: Invalid value: each name must be a Secret's key"),
    (("READER", "secret: {template: {labels: {app.kubernetes.io/managed-by: me}}}"), "spec.secret.template.labels: Invalid value: names under videotoken.dev/, kubernetes.io/ and k8s.io/ are reserved"),
    (("READER", "secret: {template: {annotations: {videotoken.dev/expires-at: never}}}"), "spec.secret.template.annotations: Invalid value: names under videotoken.dev/"),
    (("READER", "secret: {template: {annotations: {scheduler.alpha.k8s.io/x: y}}}"), "names under videotoken.dev/, kubernetes.io/ and k8s.io/ are reserved"),
    (("READER", "secret: {template: {labels: {a b: c}}}"), "spec.secret.template.labels: Invalid value: each name must be a label's or annotation's"),
    (("READER", "secret: {template: {labels: {team: '{{ token }}'}}}"), "a label's value has letters, digits, dashes, dots and underscores only"),
    (("READER", "secret: {deletionPolicy: Orphan}"), "spec.secret.deletionPolicy: Invalid value: must be one of Delete, Retain"),
    // restarts
    (("READER", "rolloutRestart: [{kind: CronJob, name: a}]"), "spec.rolloutRestart[0].kind: Invalid value: must be one of Deployment, StatefulSet, DaemonSet"),
    (("READER", "rolloutRestart: [{kind: deployment, name: a}]"), "spec.rolloutRestart[0].kind: Invalid value: must be one of Deployment, StatefulSet, DaemonSet"),
    (("READER", "rolloutRestart: [{name: a}]"), "spec.rolloutRestart[0].kind: Required value"),
    (("READER", "rolloutRestart: [{kind: Deployment}]"), "spec.rolloutRestart[0].name: Required value"),
    (("READER", "rolloutRestart: [{kind: Deployment, name: a/b}]"), "spec.rolloutRestart[0].name: Invalid value: must be the name of an object"),
    (("READER", "rolloutRestart: [{kind: Deployment, name: a, namespace: b}]"), ".namespace: field not declared in schema"),
    (("READER", "rolloutRestart: [{kind: Deployment, name: a}, {kind: Deployment, name: a}]"), "duplicate"),
    (("READER", "rolloutRestart: [SEVENTEEN]"), "spec.rolloutRestart: Too many: 17: must have at most 16 items"),
    // the rest
    (("READER", "provider: {}"), ".spec.provider: field not declared in schema"),
    (("READER", "lifetime: 3600"), ".spec.lifetime: expected string"),
];

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
    for (kind, spec) in [
        ("ClusterTokenProvider", "ALL, videoIndexer: {ACCOUNT, AMBIENT}"),
        ("ClusterTokenProvider", "ALL, videoIndexer: {ACCOUNT, AMBIENT, cloud: USGovernment}"),
        (
            "ClusterTokenProvider",
            "ALL, videoIndexer: {ACCOUNT, AMBIENT, endpoints: {resourceManager: 'https://arm.example', authority: 'https://login.example/'}}",
        ),
        ("ClusterTokenProvider", "ALL, videoIndexer: {ACCOUNT, auth: {managedIdentity: {}}}"),
        (
            "ClusterTokenProvider",
            "allowedNamespaces: {names: [a, b]}, videoIndexer: {ACCOUNT, AMBIENT}, allowedScopes: {permissions: [Reader]}",
        ),
        (
            "ClusterTokenProvider",
            "ALL, blendVision: {organization: o, apiTokenRef: {name: s, key: k}}, allowedScopes: {blendVision: {kinds: [resourceAdmin], neverExpires: true}}",
        ),
        ("TokenProvider", "videoIndexer: {ACCOUNT, auth: {workloadIdentity: {serviceAccountName: s, CLIENT}}}"),
        ("TokenProvider", "videoIndexer: {ACCOUNT, auth: {clientSecret: {CLIENT, secretRef: {name: s, key: k}}}}"),
        (
            "TokenProvider",
            "videoIndexer: {ACCOUNT, auth: {clientCertificate: {CLIENT, secretRef: {name: s}}}}, caBundleRef: {kind: ConfigMap, name: c, key: ca.crt}",
        ),
        (
            "TokenProvider",
            "videoIndexerClassic: {location: trial, accountId: 00000000-0000-0000-0000-000000000000, subscriptionKeyRef: {name: s, key: k}}, caBundle: pem",
        ),
        ("TokenProvider", "blendVision: {organization: o, apiTokenRef: {name: s, key: k}}"),
        (
            "TokenProvider",
            "cognitiveServices: {endpoint: 'https://virginia.api.cognitive.microsoft.us', keyRef: {name: s, key: k}, targetResourceField: resourceId}",
        ),
        (
            "TokenProvider",
            "arcgisVideoServer: {url: 'https://video.example:21443/arcgis/admin', usernameRef: {name: s, key: u}, passwordRef: {name: s, key: p}, extraParameters: {user: u}}, limits: {concurrency: 1, windows: [{requests: 10, period: 1m}]}",
        ),
    ] {
        let stored =
            apply(&client, &namespace, kind, spec).await.unwrap_or_else(|error| panic!("{kind} {spec}\n{error}"));
        forget(&client, &namespace, &stored).await;
    }
}

#[tokio::test]
async fn a_bad_provider_is_refused_with_the_way_out() {
    let (client, namespace) = client_and_namespace("bad-providers").await;
    let wrong =
        not_refused(&client, &namespace, PROVIDERS, async |(kind, spec)| apply(&client, &namespace, kind, spec).await);
    let wrong = wrong.await;
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

/// Kind, spec; what the API server must say.
#[rustfmt::skip]
const PROVIDERS: &[Case<'_>] = &[
    (("TokenProvider", ""), "spec: Invalid value: set exactly one of videoIndexer, videoIndexerClassic, blendVision, cognitiveServices, arcgisVideoServer; found: none"),
    (("ClusterTokenProvider", "ALL, videoIndexer: {ACCOUNT, AMBIENT}, blendVision: {organization: o, apiTokenRef: {name: s, key: k}}"), "found: videoIndexer blendVision"),
    (("ClusterTokenProvider", "videoIndexer: {ACCOUNT, AMBIENT}"), "spec.allowedNamespaces: Required value"),
    (("ClusterTokenProvider", "videoIndexer: {ACCOUNT, AMBIENT}, allowedNamespaces: {}"), "spec.allowedNamespaces: Invalid value: name the namespaces, or select them by labels; `selector: {}` admits all"),
    (("ClusterTokenProvider", "videoIndexer: {ACCOUNT, AMBIENT}, allowedNamespaces: {names: []}"), "name the namespaces, or select them by labels"),
    (("TokenProvider", "ALL, blendVision: {organization: o, apiTokenRef: {name: s, key: k}}"), ".spec.allowedNamespaces: field not declared in schema"),
    (("TokenProvider", "videoIndexer: {ACCOUNT, auth: {managedIdentity: {}}}"), "spec.videoIndexer.auth.managedIdentity: Forbidden: the node's identity serves ClusterTokenProviders only: use workloadIdentity"),
    (("TokenProvider", "videoIndexer: {ACCOUNT, AMBIENT}"), "spec.videoIndexer.auth.workloadIdentity: Required value: the operator's identity serves ClusterTokenProviders only: set serviceAccountName, clientId and tenantId"),
    (("TokenProvider", "videoIndexer: {ACCOUNT, auth: {workloadIdentity: {CLIENT}}}"), "set serviceAccountName, clientId and tenantId"),
    (("ClusterTokenProvider", "ALL, videoIndexer: {ACCOUNT, auth: {}}"), "spec.videoIndexer.auth: Invalid value: set exactly one of clientCertificate, clientSecret, managedIdentity, workloadIdentity; found: none"),
    (("ClusterTokenProvider", "ALL, videoIndexer: {ACCOUNT, auth: {workloadIdentity: {}, managedIdentity: {}}}"), "found: managedIdentity workloadIdentity"),
    (("ClusterTokenProvider", "ALL, videoIndexer: {subscriptionId: 00000000-0000-0000-0000-000000000000, resourceGroup: g, accountName: contoso/vi, AMBIENT}"), "spec.videoIndexer.accountName: Invalid value: must be the account's name alone: 3 to 50 letters, digits and dashes"),
    (("ClusterTokenProvider", "ALL, videoIndexer: {subscriptionId: contoso, resourceGroup: g, accountName: contoso-vi, AMBIENT}"), "spec.videoIndexer.subscriptionId: Invalid value: must be a GUID"),
    (("ClusterTokenProvider", "ALL, videoIndexer: {subscriptionId: 00000000-0000-0000-0000-000000000000, resourceGroup: a/b, accountName: contoso-vi, AMBIENT}"), "spec.videoIndexer.resourceGroup: Invalid value: must be a name, without a slash"),
    (("ClusterTokenProvider", "ALL, videoIndexer: {ACCOUNT, AMBIENT, cloud: Moon}"), "spec.videoIndexer.cloud: Invalid value: must be one of Public, USGovernment, China"),
    (("ClusterTokenProvider", "ALL, videoIndexer: {ACCOUNT, AMBIENT, cloud: Public, endpoints: {resourceManager: 'https://a.example', authority: 'https://b.example'}}"), "spec.videoIndexer.endpoints: Invalid value: set cloud or endpoints, not both"),
    (("ClusterTokenProvider", "ALL, videoIndexer: {ACCOUNT, AMBIENT, endpoints: {resourceManager: arm.example, authority: 'https://b.example'}}"), "spec.videoIndexer.endpoints.resourceManager: Invalid value: must be an absolute URL"),
    (("ClusterTokenProvider", "ALL, videoIndexer: {ACCOUNT, auth: {clientSecret: {tenantId: a/b, clientId: 00000000-0000-0000-0000-000000000000, secretRef: {name: s, key: k}}}}"), "spec.videoIndexer.auth.clientSecret.tenantId: Invalid value: must be the tenant's GUID or domain"),
    (("ClusterTokenProvider", "ALL, videoIndexer: {ACCOUNT, auth: {clientSecret: {CLIENT, secretRef: {namespace: other, name: s, key: k}}}}"), "secretRef.namespace: field not declared in schema"),
    (("TokenProvider", "cognitiveServices: {endpoint: 'https://user:pw@host.example', keyRef: {name: s, key: k}}"), "spec.cognitiveServices.endpoint: Invalid value: must be an absolute URL without user, query and fragment"),
    (("TokenProvider", "cognitiveServices: {endpoint: 'ftp://host.example', keyRef: {name: s, key: k}}"), "must be an absolute URL"),
    (("TokenProvider", "cognitiveServices: {endpoint: 'https://host.example', keyRef: {name: s, key: k}, targetResourceField: featureFlags}"), "targetResourceField: Invalid value: must be the name of a JSON field"),
    (("TokenProvider", "arcgisVideoServer: {url: 'https://v.example', usernameRef: {name: s, key: u}, passwordRef: {name: s, key: p}, extraParameters: {password: x}}"), "spec.arcgisVideoServer.extraParameters: Invalid value: password comes from passwordRef, expiration from lifetime"),
    (("TokenProvider", "blendVision: {organization: o, apiTokenRef: {name: s, key: k}}, caBundle: a, caBundleRef: {kind: Secret, name: c, key: k}"), "spec.caBundleRef: Invalid value: set caBundle or caBundleRef, not both"),
    (("TokenProvider", "blendVision: {organization: o, apiTokenRef: {name: s, key: k}}, caBundleRef: {kind: Pod, name: c, key: k}"), "spec.caBundleRef.kind: Invalid value: must be one of ConfigMap, Secret"),
    (("TokenProvider", "blendVision: {organization: o, apiTokenRef: {name: s, key: k}}, limits: {concurrency: 0}"), "spec.limits.concurrency: Invalid value"),
    (("TokenProvider", "blendVision: {organization: o, apiTokenRef: {name: s, key: k}}, limits: {windows: [{requests: 1, period: 48h}]}"), "spec.limits.windows[0].period: Invalid value: must be 1s to 24h"),
];

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
            "Name Type Ready Reason* Account Tokens Credentials Expire Last Issued* Age",
        ),
        (
            "clustertokenproviders".to_owned(),
            "Name Type Ready Reason* Account Tokens Credentials Expire Last Issued* Age",
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
