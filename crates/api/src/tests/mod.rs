//! Tables of the requests that specs produce and of the specs that are rejected. Tests on a real API server prove the
//! rules of the CRD.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod any_stored_object;
mod declared;
mod requests;

use super::provider::ProviderSpec;
use super::provider_types::NAMES;
use super::video_access_token::VideoAccessTokenSpec;
use schemars::schema_for;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Parses a typed object from YAML.
fn yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_yaml_ng::from_str(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

/// Returns the spec of a VideoAccessToken with this scope. `rest` contains further members of the spec.
fn token(scope: &str, rest: &str) -> VideoAccessTokenSpec {
    yaml(&format!("{{providerRef: {{name: p}}, scope: {{{scope}}}, {rest}}}"))
}

/// Returns a provider of the type `name`.
fn provider(name: &str) -> ProviderSpec {
    let account = match name {
        "videoIndexer" => {
            "{subscriptionId: AAAAAAAA-0000-0000-0000-000000000000, resourceGroup: Contoso-RG, accountName: Contoso-VI,
              auth: {workloadIdentity: {}}}"
        }
        "videoIndexerClassic" => {
            "{location: EastUS, accountId: BBBBBBBB-0000-0000-0000-000000000000, subscriptionKeyRef: {name: s, key: k}}"
        }
        "blendVision" => "{organization: Org-1, apiTokenRef: {name: s, key: k}}",
        "cognitiveServices" => "{endpoint: 'https://Virginia.api.cognitive.microsoft.us/', keyRef: {name: s, key: k}}",
        "arcgisVideoServer" => {
            "{url: 'https://Video.example:21443/arcgis/admin/', usernameRef: {name: s, key: u}, passwordRef: {name: s, key: p}}"
        }
        "http" => {
            "{url: 'https://api.example/v1/', auth: {bearer: {name: s, key: k}}, parameters: {video: {pattern: '[0-9a-f]{4}'}},
              request: {path: '/videos/{{ video }}/token', json: {exp: '{{ expires_at | unix }}'}},
              response: {token: {json: $.token}, expires: {jwt: {}}}, lifetime: {min: 1m, max: 24h}}"
        }
        other => panic!("no provider type {other}"),
    };
    yaml(&format!("{{{name}: {account}}}"))
}

#[test]
fn the_unions_have_the_members_of_the_table() {
    let members = |schema: schemars::Schema| -> BTreeSet<String> {
        schema.get("properties").and_then(Value::as_object).unwrap().keys().cloned().collect()
    };
    let types: BTreeSet<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    let besides = ["caBundle", "caBundleRef", "limits"].map(str::to_owned);
    assert_eq!(members(schema_for!(super::scope::Scope)), types);
    assert_eq!(members(schema_for!(ProviderSpec)), types.into_iter().chain(besides).collect());
}

#[test]
fn an_absent_secret_and_an_empty_one_are_the_same() {
    let absent = token("", "");
    let empty = token("", "secret: {}");
    assert_eq!(absent.secret, empty.secret);
    assert_eq!(
        serde_json::to_value(&absent.secret).unwrap(),
        json!({"type": "Opaque", "keys": {"token": "token", "expiresAt": "expires-at"}, "deletionPolicy": "Delete"})
    );
}

#[test]
fn words_of_another_version_decode() {
    let spec: VideoAccessTokenSpec = yaml(
        "{providerRef: {kind: RegionTokenProvider, name: p}, secret: {deletionPolicy: Orphan},
          scope: {videoIndexer: {permission: Auditor, mediaScope: Channel}, sixth: {}}}",
    );
    let request = spec.request(&provider("videoIndexer")).unwrap();
    assert_eq!(request.operation, "generateAccessToken");
    assert_eq!(Value::Object(request.fields), json!({"permissionType": "Auditor", "scope": "Channel"}));
    assert_eq!(spec.provider_ref.kind.as_str(), "RegionTokenProvider");
}

#[test]
fn renewal_is_read_from_one_of_its_two_fields() {
    use super::video_access_token::RenewBefore::{Before, Default, Percentage};
    use std::time::Duration;
    for (rest, expected) in [
        ("", Ok(Default)),
        ("renewBefore: 20m", Ok(Before(Duration::from_mins(20)))),
        ("renewBeforePercentage: 50", Ok(Percentage(50))),
        ("renewBefore: 20m, renewBeforePercentage: 50", Err("spec.renewBeforePercentage")),
        ("renewBefore: 0s", Err("spec.renewBefore")),
        ("renewBefore: soon", Err("spec.renewBefore")),
        ("renewBeforePercentage: 0", Err("spec.renewBeforePercentage")),
        ("renewBeforePercentage: 100", Err("spec.renewBeforePercentage")),
    ] {
        let read = token("", rest).renew_before().map_err(|error| error.field);
        assert_eq!(read, expected.map_err(str::to_owned), "{rest}");
    }
}

#[test]
fn workloads_are_of_a_known_kind_and_have_a_name_that_fits_a_url() {
    for (named, expected) in [
        ("[]", Ok(vec![])),
        (
            "[{kind: Deployment, name: player}, {kind: DaemonSet, name: a.b-c.1}]",
            Ok(vec!["Deployment player".to_owned(), "DaemonSet a.b-c.1".to_owned()]),
        ),
        ("[{kind: StatefulSet, name: a}, {kind: CronJob, name: player}]", Err("spec.rolloutRestart[1].kind")),
        ("[{kind: deployment, name: player}]", Err("spec.rolloutRestart[0].kind")),
        ("[{kind: Deployment, name: ''}]", Err("spec.rolloutRestart[0].name")),
        ("[{kind: Deployment, name: ../secrets/x}]", Err("spec.rolloutRestart[0].name")),
        ("[{kind: Deployment, name: a..b}]", Err("spec.rolloutRestart[0].name")),
        ("[{kind: Deployment, name: a-}]", Err("spec.rolloutRestart[0].name")),
        ("[{kind: Deployment, name: Player}]", Err("spec.rolloutRestart[0].name")),
    ] {
        let workloads = token("", &format!("rolloutRestart: {named}")).workloads();
        let read = workloads.map(|all| all.iter().map(ToString::to_string).collect()).map_err(|error| error.field);
        assert_eq!(read, expected.map_err(str::to_owned), "{named}");
    }
}

#[test]
fn limits_default_by_type_and_are_overridden_one_by_one() {
    for (limits, windows, concurrency) in [
        ("{}", vec![(10, 1), (120, 60)], 4),
        ("{concurrency: 1}", vec![(10, 1), (120, 60)], 1),
        ("{windows: [{requests: 7, period: 1m}]}", vec![(7, 60)], 4),
    ] {
        let spec = ProviderSpec { limits: Some(yaml(limits)), ..provider("videoIndexer") };
        let read = spec.account_limits().unwrap();
        assert_eq!(
            read.windows.iter().map(|w| (w.requests, w.period.as_secs())).collect::<Vec<_>>(),
            windows,
            "{limits}"
        );
        assert_eq!(read.concurrency, concurrency, "{limits}");
    }
    for (limits, field) in [
        ("{concurrency: 0}", "spec.limits.concurrency"),
        ("{windows: [{requests: 0, period: 1m}]}", "spec.limits.windows[0].requests"),
        ("{windows: [{requests: 1, period: 1s}, {requests: 1, period: 25h}]}", "spec.limits.windows[1].period"),
    ] {
        let spec = ProviderSpec { limits: Some(yaml(limits)), ..provider("videoIndexer") };
        assert_eq!(spec.account_limits().unwrap_err().field, field);
    }
}

#[test]
fn namespaces_are_admitted_by_name_or_by_label() {
    use super::allowed::AllowedNamespaces;
    for (allowed, name, labels, admitted) in [
        ("{}", "a", "{}", false),
        ("{names: [a]}", "a", "{}", true),
        ("{names: [a]}", "b", "{video: 'true'}", false),
        ("{selector: {}}", "b", "{}", true),
        ("{selector: {matchLabels: {video: 'true'}}}", "b", "{video: 'true'}", true),
        ("{selector: {matchLabels: {video: 'true'}}}", "b", "{video: 'false'}", false),
        ("{names: [a], selector: {matchLabels: {video: 'true'}}}", "a", "{}", true),
        ("{selector: {matchExpressions: [{key: tier, operator: In, values: [x, y]}]}}", "b", "{tier: y}", true),
        ("{selector: {matchExpressions: [{key: tier, operator: In, values: [x, y]}]}}", "b", "{}", false),
        ("{selector: {matchExpressions: [{key: tier, operator: NotIn, values: [x]}]}}", "b", "{}", true),
        ("{selector: {matchExpressions: [{key: tier, operator: NotIn, values: [x]}]}}", "b", "{tier: x}", false),
        ("{selector: {matchExpressions: [{key: tier, operator: Exists}]}}", "b", "{tier: x}", true),
        ("{selector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}}", "b", "{tier: x}", false),
        ("{selector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: Exists}]}}", "b", "{a: b}", false),
        ("{selector: {matchExpressions: [{key: tier, operator: Resembles}]}}", "b", "{tier: x}", false),
    ] {
        let allowed_namespaces: AllowedNamespaces = yaml(allowed);
        assert_eq!(allowed_namespaces.admits(name, &yaml(labels)), admitted, "{allowed} {name} {labels}");
    }
}

#[test]
fn scopes_are_admitted_for_reading_unless_allowed() {
    use super::allowed::AllowedScopes;
    const USER: &str = "videoIndexerClassic: {user: {}}";
    const ENDLESS: &str = "blendVision: {resource: {resourceId: r, resourceType: T, neverExpires: true}}";
    const ADMIN: &str = "blendVision: {resourceAdmin: {resourceId: r, resourceType: T}}";
    for (allowed, scope, refused_at) in [
        ("{}", "videoIndexer: {permission: RestrictedViewer, mediaScope: Account}", None),
        ("{}", "videoIndexer: {permission: Reader, mediaScope: Account}", None),
        (
            "{}",
            "videoIndexer: {permission: Contributor, mediaScope: Account}",
            Some("spec.scope.videoIndexer.permission"),
        ),
        ("{}", "videoIndexer: {permission: Auditor, mediaScope: Account}", Some("spec.scope.videoIndexer.permission")),
        ("{permissions: [Contributor]}", "videoIndexer: {permission: Contributor, mediaScope: Account}", None),
        (
            "{permissions: []}",
            "videoIndexer: {permission: Reader, mediaScope: Account}",
            Some("spec.scope.videoIndexer.permission"),
        ),
        ("{}", "videoIndexerClassic: {account: {}}", None),
        ("{}", "videoIndexerClassic: {account: {allowEdit: true}}", Some("spec.scope.videoIndexerClassic.account")),
        ("{permissions: [Contributor]}", "videoIndexerClassic: {account: {allowEdit: true}}", None),
        (
            "{}",
            "videoIndexerClassic: {accountWithPermission: {permission: Owner}}",
            Some("spec.scope.videoIndexerClassic.accountWithPermission"),
        ),
        ("{permissions: [Owner]}", "videoIndexerClassic: {accountWithPermission: {permission: Owner}}", None),
        ("{}", USER, Some("spec.scope.videoIndexerClassic")),
        ("{videoIndexerClassic: {kinds: [user]}}", USER, None),
        ("{}", "blendVision: {playback: {resourceId: r, resourceType: T, customerId: c}}", None),
        ("{}", ADMIN, Some("spec.scope.blendVision")),
        ("{blendVision: {kinds: [resourceAdmin]}}", ADMIN, None),
        ("{}", ENDLESS, Some("spec.scope.blendVision.resource.neverExpires")),
        ("{blendVision: {neverExpires: true}}", ENDLESS, None),
        ("{}", "cognitiveServices: {limitedAccess: {targetAzureResourceId: r, featureFlags: [f]}}", None),
        ("{}", "cognitiveServices: {service: {}}", Some("spec.scope.cognitiveServices")),
        ("{cognitiveServices: {kinds: [service]}}", "cognitiveServices: {service: {}}", None),
        ("{}", "arcgisVideoServer: {requestIp: {}}", None),
        (
            "{arcgisVideoServer: {kinds: [referer]}}",
            "arcgisVideoServer: {requestIp: {}}",
            Some("spec.scope.arcgisVideoServer"),
        ),
        ("{}", "", Some("spec.scope")),
    ] {
        let allowed_scopes: AllowedScopes = yaml(allowed);
        let refused = allowed_scopes.admits(&token(scope, "").scope).err();
        assert_eq!(refused.as_ref().map(|error| error.field.as_str()), refused_at, "{allowed} {scope} {refused:?}");
    }
}

#[test]
fn a_namespace_brings_its_own_identity() {
    use super::azure::AzureAuth;
    let secret = "{tenantId: t, clientId: c, secretRef: {name: s, key: k}}";
    for (auth, of_cluster, of_namespace) in [
        ("{}", false, false),
        ("{workloadIdentity: {}}", true, false),
        ("{workloadIdentity: {serviceAccountName: s, clientId: c}}", true, false),
        ("{workloadIdentity: {serviceAccountName: s, clientId: c, tenantId: t}}", true, true),
        ("{managedIdentity: {}}", true, false),
        (&format!("{{clientSecret: {secret}}}"), true, true),
        ("{clientCertificate: {tenantId: t, clientId: c, secretRef: {name: s}}}", true, true),
        (&format!("{{managedIdentity: {{}}, clientSecret: {secret}}}"), false, false),
    ] {
        let parsed: AzureAuth = yaml(auth);
        assert_eq!(
            (
                parsed.of_cluster("spec.videoIndexer.auth").is_ok(),
                parsed.of_namespace("spec.videoIndexer.auth").is_ok()
            ),
            (of_cluster, of_namespace),
            "{auth}"
        );
    }
}

#[test]
fn names_of_the_operator_and_of_kubernetes_are_reserved() {
    use super::reserved::is_reserved;
    for (name, reserved) in [
        ("videotoken.dev/issued-at", true),
        ("app.kubernetes.io/managed-by", true),
        ("app.kubernetes.io/part-of", false),
        ("kubernetes.io/x", true),
        ("cluster.x-k8s.io/x", true),
        ("helm.sh/x", true),
        ("meta.k8s.io/x", true),
        ("k8s.io/x", true),
        ("team", false),
        ("example.com/team", false),
        ("notkubernetes.io/x", false),
        ("my.videotoken.dev.example/x", false),
    ] {
        assert_eq!(is_reserved(name), reserved, "{name}");
    }
}
