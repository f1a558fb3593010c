//! Each operation of each token API, and each rejection.

use super::super::cognitive_services::FeatureFlagsFormat;
use super::super::schema::root;
use super::{provider, token, yaml};
use crate::provider::ProviderSpec;
use crate::request::{ENDLESS, FieldError, TokenRequest};
use serde_json::{Value, json};
use std::time::Duration;

const EXTENSION: &str = "/subscriptions/any/resourceGroups/rg/providers/Microsoft.Kubernetes/ConnectedClusters/c/providers/Microsoft.KubernetesConfiguration/extensions/e";
const HOUR: u64 = 3600;

/// Returns the request for `scope` at a provider of the same type.
fn request(scope: &str, rest: &str) -> Result<TokenRequest, FieldError> {
    let (type_, _) = scope.split_once(':').unwrap();
    token(scope, rest).request(&provider(type_))
}

/// Scope, rest of the spec, operation, fields, promised lifetime in seconds.
type Asked<'a> = (&'a str, &'a str, &'a str, Value, u64);

fn all_ask(account: &str, cases: &[Asked<'_>]) {
    for (scope, rest, operation, fields, lifetime) in cases {
        let request = request(scope, rest).unwrap_or_else(|error| panic!("{error} for {scope} {rest}"));
        assert_eq!(request.account, account);
        assert_eq!(request.operation, *operation, "{scope}");
        assert_eq!(Value::Object(request.fields), *fields, "{scope} {rest}");
        assert_eq!(request.promised_lifetime, Duration::from_secs(*lifetime), "{scope} {rest}");
    }
}

#[test]
fn video_indexer_has_four_operations() {
    let on_edge = |rest: &str| format!("videoIndexer: {{extensionId: {EXTENSION}, {rest}}}");
    all_ask(
        "videoIndexer/subscriptions/aaaaaaaa-0000-0000-0000-000000000000/resourcegroups/contoso-rg/accounts/contoso-vi",
        &[
            (
                "videoIndexer: {permission: Reader, mediaScope: Account}",
                "",
                "generateAccessToken",
                json!({"permissionType": "Reader", "scope": "Account"}),
                HOUR,
            ),
            (
                "videoIndexer: {permission: Contributor, mediaScope: Project, projectId: p}",
                "",
                "generateAccessToken",
                json!({"permissionType": "Contributor", "scope": "Project", "projectId": "p"}),
                HOUR,
            ),
            (
                "videoIndexer: {permission: RestrictedViewer, mediaScope: Video, videoId: v}",
                "",
                "generateRestrictedViewerAccessToken",
                json!({"scope": "Video", "videoId": "v"}),
                HOUR,
            ),
            (
                &on_edge("permission: Contributor, mediaScope: Account"),
                "",
                "generateExtensionAccessToken",
                json!({"permissionType": "Contributor", "scope": "Account", "extensionId": EXTENSION}),
                HOUR,
            ),
            (
                &on_edge("permission: Reader, mediaScope: Project"),
                "",
                "generateExtensionAccessToken",
                json!({"permissionType": "Reader", "scope": "Project", "extensionId": EXTENSION}),
                HOUR,
            ),
            (
                &on_edge("permission: RestrictedViewer, mediaScope: Video, videoId: v"),
                "lifetime: 12h",
                "generateExtensionRestrictedViewerAccessToken",
                json!({"scope": "Video", "videoId": "v", "extensionId": EXTENSION, "tokenLifetimeInSeconds": 43200}),
                12 * HOUR,
            ),
            (
                &on_edge("permission: RestrictedViewer, mediaScope: Video, videoId: v"),
                "",
                "generateExtensionRestrictedViewerAccessToken",
                json!({"scope": "Video", "videoId": "v", "extensionId": EXTENSION, "tokenLifetimeInSeconds": 3600}),
                HOUR,
            ),
        ],
    );
}

#[test]
fn the_classic_api_has_five_operations() {
    let of = |member: &str| format!("videoIndexerClassic: {{{member}}}");
    all_ask(
        "videoIndexerClassic/eastus/bbbbbbbb-0000-0000-0000-000000000000",
        &[
            (&of("account: {allowEdit: true}"), "", "Get-Account-Access-Token", json!({"allowEdit": true}), HOUR),
            (
                &of("accountWithPermission: {permission: Owner}"),
                "",
                "Get-Account-Access-Token-With-Permission",
                json!({"permission": "Owner"}),
                HOUR,
            ),
            (
                &of("project: {projectId: p}"),
                "",
                "Get-Project-Access-Token",
                json!({"allowEdit": false, "projectId": "p"}),
                HOUR,
            ),
            (
                &of("video: {videoId: v}"),
                "",
                "Get-Video-Access-Token",
                json!({"allowEdit": false, "videoId": "v"}),
                HOUR,
            ),
            (&of("user: {}"), "", "Get-User-Access-Token", json!({"allowEdit": false}), HOUR),
        ],
    );
}

#[test]
fn blend_vision_has_three_operations_and_asks_for_an_hour() {
    const RESOURCE: &str = "resourceId: r, resourceType: RESOURCE_TYPE_VOD";
    let of = |member: &str, rest: &str| format!("blendVision: {{{member}: {{{RESOURCE}, {rest}}}}}");
    let fields = |more: Value| {
        let mut fields = json!({"resource_id": "r", "resource_type": "RESOURCE_TYPE_VOD"});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    };
    all_ask(
        "blendVision/Org-1",
        &[
            (&of("resource", ""), "", "resources/tokens", fields(json!({"expires_in": "3600s"})), HOUR),
            (
                &of("resource", "customerId: c, customerName: n"),
                "lifetime: 90m",
                "resources/tokens",
                fields(json!({"customer_id": "c", "customer_name": "n", "expires_in": "5400s"})),
                5400,
            ),
            (&of("resource", "neverExpires: true"), "", "resources/tokens", fields(json!({})), ENDLESS.as_secs()),
            (
                &of("playback", "customerId: c"),
                "",
                "tokens",
                fields(json!({"customer_id": "c", "expires_in": "3600s"})),
                HOUR,
            ),
            (
                &of("playback", "customerId: c, expiredAt: '2099-01-31T00:00:00Z'"),
                "",
                "tokens",
                fields(json!({"customer_id": "c", "expired_at": "2099-01-31T00:00:00Z"})),
                ENDLESS.as_secs(),
            ),
            (&of("resourceAdmin", ""), "", "resources/tokens:admin", fields(json!({"expires_in": "3600s"})), HOUR),
        ],
    );
}

#[test]
fn cognitive_services_has_two_operations() {
    let limited = "cognitiveServices: {limitedAccess: {targetAzureResourceId: /r, featureFlags: [b, a, b]}}";
    let fields =
        |lifetime: u64| json!({"targetAzureResourceId": "/r", "featureFlags": ["a", "b"], "expiredTime": lifetime});
    all_ask(
        "cognitiveServices/virginia.api.cognitive.microsoft.us",
        &[
            (limited, "", "issueLimitedAccessToken", fields(3600), HOUR),
            (limited, "lifetime: 24h", "issueLimitedAccessToken", fields(86400), 24 * HOUR),
            (limited, "lifetime: 30s", "issueLimitedAccessToken", fields(30), 30),
            ("cognitiveServices: {service: {}}", "", "issueToken", json!({}), 600),
        ],
    );
    let mut renamed = provider("cognitiveServices");
    renamed.cognitive_services.as_mut().unwrap().target_resource_field = Some("resourceId".into());
    assert_eq!(token(limited, "").request(&renamed).unwrap().fields["resourceId"], "/r");

    let mut lone = provider("cognitiveServices");
    lone.cognitive_services.as_mut().unwrap().feature_flags_format = Some(FeatureFlagsFormat::String);
    let one = "cognitiveServices: {limitedAccess: {targetAzureResourceId: /r, featureFlags: [a]}}";
    assert_eq!(token(one, "").request(&lone).unwrap().fields["featureFlags"], "a");
    let refused = token(limited, "").request(&lone).unwrap_err();
    assert_eq!(refused.field, "spec.scope.cognitiveServices.limitedAccess.featureFlags");
}

#[test]
fn arcgis_counts_in_whole_minutes_rounded_up() {
    let fields = |client: &str, minutes: u64| json!({"client": client, "expiration": minutes});
    all_ask(
        "arcgisVideoServer/video.example:21443/arcgis/admin",
        &[
            (
                "arcgisVideoServer: {referer: 'https://player.example'}",
                "",
                "generateToken",
                json!({"client": "referer", "referer": "https://player.example", "expiration": 60}),
                HOUR,
            ),
            (
                "arcgisVideoServer: {ip: 192.0.2.7}",
                "lifetime: 90s",
                "generateToken",
                json!({"client": "ip", "ip": "192.0.2.7", "expiration": 2}),
                120,
            ),
            (
                "arcgisVideoServer: {requestIp: {}}",
                "lifetime: 8760h",
                "generateToken",
                fields("requestip", 525_600),
                31_536_000,
            ),
        ],
    );
    let mut quirky = provider("arcgisVideoServer");
    quirky.arcgis_video_server.as_mut().unwrap().extra_parameters =
        [("client".into(), "ipAddress".into()), ("user".into(), "u".into())].into();
    let request = token("arcgisVideoServer: {requestIp: {}}", "").request(&quirky).unwrap();
    assert_eq!(Value::Object(request.fields), json!({"client": "ipAddress", "user": "u", "expiration": 60}));
}

#[test]
#[allow(clippy::too_many_lines)] // a table
fn what_cant_be_asked_is_refused_by_field() {
    let vi = "permission: Reader, mediaScope";
    let cases = [
        (
            "videoIndexer: {permission: Reader, mediaScope: Account}",
            "lifetime: 12h",
            "spec.lifetime: Video Indexer honours a lifetime only with mediaScope Video and an extensionId",
        ),
        (
            &format!("videoIndexer: {{{vi}: Account, extensionId: {EXTENSION}}}"),
            "lifetime: 1h",
            "spec.lifetime: Video Indexer honours",
        ),
        (
            &format!("videoIndexer: {{{vi}: Video, videoId: v, extensionId: {EXTENSION}}}"),
            "lifetime: 13h",
            "spec.lifetime: Video Indexer issues for 1s to 12h",
        ),
        (
            &format!("videoIndexer: {{{vi}: Video, videoId: v, extensionId: {EXTENSION}}}"),
            "lifetime: 0s",
            "spec.lifetime: Video Indexer issues for 1s to 12h",
        ),
        (
            &format!("videoIndexer: {{{vi}: Video, videoId: v, extensionId: {EXTENSION}}}"),
            "lifetime: 99999999999999999h",
            "spec.lifetime: must be a duration",
        ),
        (
            &format!("videoIndexer: {{{vi}: Project, projectId: p, extensionId: {EXTENSION}}}"),
            "",
            "spec.scope.videoIndexer.projectId: the extension operations take no projectId",
        ),
        (
            &format!("videoIndexer: {{{vi}: Video}}"),
            "",
            "spec.scope.videoIndexer.videoId: mediaScope Video needs a videoId",
        ),
        (
            &format!("videoIndexer: {{{vi}: Account, videoId: v}}"),
            "",
            "spec.scope.videoIndexer.videoId: videoId goes with mediaScope Video, not Account",
        ),
        (
            &format!("videoIndexer: {{{vi}: Project}}"),
            "",
            "spec.scope.videoIndexer.projectId: mediaScope Project needs a projectId",
        ),
        (
            &format!("videoIndexer: {{{vi}: Video, videoId: v, projectId: p}}"),
            "",
            "spec.scope.videoIndexer.projectId: projectId goes with mediaScope Project, not Video",
        ),
        (
            &format!("videoIndexer: {{{vi}: Account, extensionId: /subscriptions/x}}"),
            "",
            "spec.scope.videoIndexer.extensionId: must be /subscriptions/",
        ),
        (
            "videoIndexerClassic: {account: {}}",
            "lifetime: 1h",
            "spec.lifetime: Video Indexer's classic API always issues for 1h: remove lifetime",
        ),
        ("videoIndexerClassic: {}", "", "spec.scope.videoIndexerClassic: no kind of token"),
        (
            "videoIndexerClassic: {account: {}, user: {}}",
            "",
            "spec.scope.videoIndexerClassic: 2 of a kind of token: set exactly one",
        ),
        (
            "videoIndexerClassic: {video: {videoId: ../x}}",
            "",
            "spec.scope.videoIndexerClassic.video.videoId: must be a name",
        ),
        (
            r#"videoIndexerClassic: {video: {videoId: ".\t."}}"#,
            "",
            "spec.scope.videoIndexerClassic.video.videoId: must be a name",
        ),
        (
            "blendVision: {resource: {resourceId: r, resourceType: T, neverExpires: true}}",
            "lifetime: 1h",
            "spec.lifetime: a token that never expires has no lifetime",
        ),
        (
            "blendVision: {resource: {resourceId: r, resourceType: T, expiredAt: '2099-01-31T00:00:00Z'}}",
            "lifetime: 1h",
            "spec.lifetime: expiredAt says when the access ends: remove lifetime or expiredAt",
        ),
        (
            "blendVision: {resource: {resourceId: r, resourceType: T, expiredAt: '2099-02-30T00:00:00Z'}}",
            "",
            "spec.scope.blendVision.resource.expiredAt: must be a time in UTC such as 2027-01-31T00:00:00Z",
        ),
        (
            "blendVision: {resource: {resourceId: r, resourceType: T, neverExpires: true, expiredAt: '2099-01-31T00:00:00Z'}}",
            "",
            "spec.scope.blendVision.resource.expiredAt: a token that never expires has no end",
        ),
        (
            "cognitiveServices: {service: {}}",
            "lifetime: 10m",
            "spec.lifetime: Cognitive Services always issues a service token for 10m: remove lifetime",
        ),
        (
            "cognitiveServices: {limitedAccess: {targetAzureResourceId: r, featureFlags: [f]}}",
            "lifetime: 25h",
            "spec.lifetime: Cognitive Services issues for 1s to 24h",
        ),
        (
            "cognitiveServices: {limitedAccess: {targetAzureResourceId: r, featureFlags: []}}",
            "",
            "spec.scope.cognitiveServices.limitedAccess.featureFlags: name at least one",
        ),
        (
            "arcgisVideoServer: {requestIp: {}}",
            "lifetime: 8761h",
            "spec.lifetime: ArcGIS Video Server issues for 1m to 8760h",
        ),
        ("arcgisVideoServer: {ip: 192.0.2.7, requestIp: {}}", "", "spec.scope.arcgisVideoServer: 2 of a binding"),
    ];
    for (scope, rest, message) in cases {
        let refused = request(scope, rest).expect_err(scope).to_string();
        assert!(refused.starts_with(message), "{scope} {rest}\n  {refused}\n  {message}");
    }
}

#[test]
#[allow(clippy::large_stack_arrays)] // a table
fn scope_and_provider_must_be_of_one_type() {
    const ACCOUNT: &str = "videoIndexer: {permission: Reader, mediaScope: Account}";
    let two = ProviderSpec { blend_vision: provider("blendVision").blend_vision, ..provider("videoIndexer") };
    for (scope, provider, message) in [
        (
            ACCOUNT,
            provider("blendVision"),
            "spec.scope: the provider is blendVision but the scope is videoIndexer: set scope.blendVision, or name",
        ),
        ("", provider("blendVision"), "spec.scope: no scope"),
        ("sixth: {}", provider("blendVision"), "spec.scope: no scope"),
        (
            "videoIndexer: {permission: Reader, mediaScope: Account}, blendVision: {}",
            provider("blendVision"),
            "spec.scope: 2 of a scope",
        ),
        (ACCOUNT, ProviderSpec::default(), "spec.providerRef: the provider's spec: no provider type"),
        (ACCOUNT, two, "spec.providerRef: the provider's spec: 2 of a provider type"),
    ] {
        let refused = token(scope, "").request(&provider).expect_err(scope).to_string();
        assert!(refused.starts_with(message), "{refused}\n{message}");
    }
}

#[test]
#[allow(clippy::large_stack_arrays)] // a table
fn a_provider_that_cant_be_called_is_blamed() {
    let video_indexer = |member: &str| {
        yaml::<ProviderSpec>(&format!(
            "{{videoIndexer: {{subscriptionId: s, resourceGroup: g, accountName: a, auth: {{}}, {member}}}}}"
        ))
    };
    let arcgis = |url: &str, extra: &str| {
        yaml::<ProviderSpec>(&format!(
            "{{arcgisVideoServer: {{url: '{url}', usernameRef: {{name: s, key: u}}, passwordRef: {{name: s, key: p}}, extraParameters: {{{extra}}}}}}}"
        ))
    };
    let slash =
        yaml::<ProviderSpec>("{videoIndexer: {subscriptionId: s, resourceGroup: g, accountName: a/b, auth: {}}}");
    assert_eq!(slash.account().unwrap().identity().unwrap_err().field, "spec.videoIndexer.accountName");
    for (provider, member) in [
        (arcgis("video.example", ""), "url"),
        (arcgis("ftp://video.example", ""), "url"),
        (arcgis("https://u:p@video.example", ""), "url"),
        (arcgis("https://video.example/?q", ""), "url"),
        (arcgis("https://video.example", "password: x"), "extraParameters.password"),
    ] {
        let field = provider.account().unwrap().identity().unwrap_err().field;
        assert_eq!(field, format!("spec.arcgisVideoServer.{member}"));
    }

    let on_edge =
        token(&format!("videoIndexer: {{permission: Reader, mediaScope: Account, extensionId: {EXTENSION}}}"), "");
    let government = on_edge.request(&video_indexer("cloud: USGovernment")).unwrap_err();
    assert_eq!(government.field, "spec.scope.videoIndexer.extensionId");
    assert!(on_edge.request(&video_indexer("cloud: China")).is_ok());

    let moon = video_indexer("cloud: Moon").video_indexer.unwrap();
    assert_eq!(moon.cloud_endpoints().unwrap_err().field, "spec.videoIndexer.cloud");
}

#[test]
fn the_account_is_the_same_however_it_is_written() {
    let account = |url: &str| {
        let spec =
            yaml::<ProviderSpec>(&format!("{{cognitiveServices: {{endpoint: '{url}', keyRef: {{name: s, key: k}}}}}}"));
        spec.account().unwrap().identity().unwrap()
    };
    for url in [
        "https://A.example",
        "https://a.example/",
        "https://a.example:443",
        "HTTPS://a.EXAMPLE:443/",
        // As the portal shows it.
        "https://a.example/sts/v1.0/issuetoken",
        "https://a.example/sts/v1.0/",
    ] {
        assert_eq!(account(url), "cognitiveServices/a.example", "{url}");
    }
    assert_eq!(account("https://a.example/sts"), "cognitiveServices/a.example/sts", "a path of its own");
}

#[test]
fn an_endpoint_as_a_portal_shows_it_is_taken_as_its_root() {
    let cases = [
        ("https://a.example/sts/v1.0/issueToken", &["sts", "v1.0"][..], "https://a.example"),
        ("https://a.example/gateway/STS/V1.0/issueLimitedAccessToken/", &["sts", "v1.0"], "https://a.example/gateway"),
        (
            "https://v.example:21443/arcgis/admin/generateToken",
            &["generateToken"],
            "https://v.example:21443/arcgis/admin",
        ),
        ("https://v.example:21443/arcgis/admin/", &["generateToken"], "https://v.example:21443/arcgis/admin"),
        ("https://b.example/bv/cms/v1/resources/tokens", &["bv", "cms", "v1"], "https://b.example"),
        ("https://c.example/Auth/trial/Accounts/x/AccessToken", &["Auth", "Trial"], "https://c.example"),
        ("https://c.example/auth", &["Auth", "Trial"], "https://c.example/auth"),
        ("https://generatetoken", &["generateToken"], "https://generatetoken"),
        ("no URL", &["generateToken"], "no URL"),
    ];
    for (url, operation, expected) in cases {
        assert_eq!(root(url, operation), expected, "{url}");
    }
}

#[test]
fn an_extension_may_be_of_any_type_of_cluster() {
    let extension = |cluster: &str| {
        let id = format!(
            "/subscriptions/any/resourceGroups/rg/providers/{cluster}/c/providers/Microsoft.KubernetesConfiguration/extensions/e"
        );
        request(&format!("videoIndexer: {{permission: Reader, mediaScope: Account, extensionId: '{id}'}}"), "")
    };
    for cluster in [
        "Microsoft.Kubernetes/ConnectedClusters",
        "microsoft.kubernetes/connectedclusters",
        "Microsoft.ContainerService/managedClusters",
        "Microsoft.HybridContainerService/provisionedClusters",
        "Microsoft.ResourceConnector/appliances",
    ] {
        assert!(extension(cluster).is_ok(), "{cluster}");
    }
    for cluster in
        ["ConnectedClusters", "Microsoft/ConnectedClusters", "Microsoft.Kubernetes/a/b", "Microsoft.Kubernetes/"]
    {
        assert_eq!(extension(cluster).unwrap_err().field, "spec.scope.videoIndexer.extensionId", "{cluster}");
    }
}

#[test]
fn own_endpoints_may_have_an_api_version_of_their_own() {
    let endpoints = |rest: &str| {
        let urls = "resourceManager: 'https://arm.example/', authority: 'https://login.example'";
        let auth = "subscriptionId: s, resourceGroup: g, accountName: a, auth: {}";
        let spec = yaml::<ProviderSpec>(&format!("{{videoIndexer: {{{auth}, endpoints: {{{urls}{rest}}}}}}}"));
        spec.video_indexer.unwrap().cloud_endpoints().unwrap().api_version
    };
    assert_eq!(endpoints(""), "2025-04-01");
    assert_eq!(endpoints(", apiVersion: 2024-01-01"), "2024-01-01");
}
