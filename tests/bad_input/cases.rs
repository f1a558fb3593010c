//! Specs that the API server takes, and specs that it refuses with these words. Words in capitals stand for the
//! constants below.

use std::sync::LazyLock;

const EXTENSION: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Kubernetes/connectedClusters/c/providers/Microsoft.KubernetesConfiguration/extensions/e";
const READER: &str = "videoIndexer: {permission: Reader, mediaScope: Account}";
const ON_EDGE: &str = "videoIndexer: {permission: Reader, mediaScope: Video, videoId: v, extensionId: EXTENSION}";
const RESOURCE: &str = "resourceId: r, resourceType: RESOURCE_TYPE_VOD";
const ACCOUNT: &str =
    "subscriptionId: 00000000-0000-0000-0000-000000000000, resourceGroup: contoso-rg, accountName: contoso-vi";
const AMBIENT: &str = "auth: {workloadIdentity: {}}";
const CLIENT: &str = "tenantId: contoso.example, clientId: 00000000-0000-0000-0000-000000000000";
const SIGNING: &str = "key: {secretRef: {name: s, key: k}}";
/// A request of a declared API and how its answer is read, without the URL.
const ASKING: &str = "auth: {bearer: {name: s, key: k}}, request: {path: /tokens}";
const READING: &str = "token: {json: $.token}, expires: {seconds: $.expires_in}";
const HTTP: &str = "url: 'https://api.example', ASKING, response: {READING}";
const ALL: &str = "allowedNamespaces: {selector: {}}";

/// One workload more than a token may name.
static SEVENTEEN: LazyLock<String> =
    LazyLock::new(|| (0..17).map(|n| format!("{{kind: Deployment, name: w{n}}}")).collect::<Vec<_>>().join(", "));

/// The spec with its words in capitals replaced.
pub(crate) fn written_out(spec: &str) -> String {
    [
        ("ON_EDGE", ON_EDGE),
        ("EXTENSION", EXTENSION),
        ("READER", READER),
        ("RESOURCE,", &format!("{RESOURCE},")),
        ("ACCOUNT", ACCOUNT),
        ("AMBIENT", AMBIENT),
        ("CLIENT", CLIENT),
        ("ALL", ALL),
        ("SIGNING", SIGNING),
        ("HTTP", HTTP),
        ("ASKING", ASKING),
        ("READING", READING),
        ("SEVENTEEN", &SEVENTEEN),
    ]
    .iter()
    .fold(spec.to_owned(), |spec, (word, text)| spec.replace(word, text))
}

/// Scope, rest of the spec.
#[rustfmt::skip]
pub(crate) const GOOD_TOKENS: &[(&str, &str)] = &[
    ("READER", ""),
    ("READER", "renewBefore: 20m"),
    ("READER", "renewBeforePercentage: 33, suspend: true"),
    ("READER", "rolloutRestart: [{kind: Deployment, name: a}, {kind: StatefulSet, name: a}, {kind: DaemonSet, name: b}]"),
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
    ("cognitiveServices: {limitedAccess: {targetAzureResourceId: /r, featureFlags: [Face.Identification]}}", "lifetime: 24h"),
    ("cognitiveServices: {service: {}}", "renewBefore: 5m"),
    ("arcgisVideoServer: {referer: 'https://player.example'}", "lifetime: 8760h"),
    ("arcgisVideoServer: {ip: '2001:db8::1'}", ""),
    ("arcgisVideoServer: {requestIp: {}}", ""),
    ("http: {}", ""),
    ("http: {parameters: {video: 5d5bc37ffcf54c9b82e996823bffbb81}}", "lifetime: 12h"),
    ("signed: {}", ""),
    ("signed: {parameters: {room: lobby, publish: 'true'}}", "lifetime: 1h"),
    ("READER", "secret: {name: lobby, keys: {token: t, expiresAt: e, previousToken: p}, deletionPolicy: Retain}"),
    ("READER", "secret: {template: {labels: {example.com/team: video}, annotations: {note: 'any text: {}'}, data: {config.json: '{{ token }}'}}}"),
    ("READER", "secret: {type: kubernetes.io/basic-auth, keys: {token: password}, template: {data: {username: u}}}"),
    ("READER", "secret: {type: kubernetes.io/dockerconfigjson, template: {data: {.dockerconfigjson: '{}'}}}"),
    ("READER", "secret: {type: kubernetes.io/tls, template: {data: {tls.crt: c, tls.key: k}}}"),
    ("READER", "secret: {type: example.com/token}"),
];

/// Kind, spec.
#[rustfmt::skip]
pub(crate) const GOOD_PROVIDERS: &[(&str, &str)] = &[
    ("ClusterTokenProvider", "ALL, videoIndexer: {ACCOUNT, AMBIENT}"),
    ("ClusterTokenProvider", "ALL, videoIndexer: {ACCOUNT, AMBIENT, cloud: USGovernment}"),
    ("ClusterTokenProvider", "ALL, videoIndexer: {ACCOUNT, AMBIENT, endpoints: {resourceManager: 'https://arm.example', authority: 'https://login.example/'}}"),
    ("ClusterTokenProvider", "ALL, videoIndexer: {ACCOUNT, auth: {managedIdentity: {}}}"),
    ("ClusterTokenProvider", "allowedNamespaces: {names: [a, b]}, videoIndexer: {ACCOUNT, AMBIENT}, allowedScopes: {permissions: [Reader]}"),
    ("ClusterTokenProvider", "ALL, blendVision: {organization: o, apiTokenRef: {name: s, key: k}}, allowedScopes: {blendVision: {kinds: [resourceAdmin], neverExpires: true}}"),
    ("TokenProvider", "videoIndexer: {ACCOUNT, auth: {workloadIdentity: {serviceAccountName: s, CLIENT}}}"),
    ("TokenProvider", "videoIndexer: {ACCOUNT, auth: {clientSecret: {CLIENT, secretRef: {name: s, key: k}}}}"),
    ("TokenProvider", "videoIndexer: {ACCOUNT, auth: {clientCertificate: {CLIENT, secretRef: {name: s}}}}, caBundleRef: {kind: ConfigMap, name: c, key: ca.crt}"),
    ("TokenProvider", "videoIndexerClassic: {location: trial, accountId: 00000000-0000-0000-0000-000000000000, subscriptionKeyRef: {name: s, key: k}}, caBundle: pem"),
    ("TokenProvider", "blendVision: {organization: o, apiTokenRef: {name: s, key: k}}"),
    ("TokenProvider", "cognitiveServices: {endpoint: 'https://virginia.api.cognitive.microsoft.us', keyRef: {name: s, key: k}, targetResourceField: resourceId}"),
    ("TokenProvider", "arcgisVideoServer: {url: 'https://video.example:21443/arcgis/admin', usernameRef: {name: s, key: u}, passwordRef: {name: s, key: p}, extraParameters: {user: u}}, limits: {concurrency: 1, windows: [{requests: 10, period: 1m}]}"),
    ("TokenProvider", "http: {HTTP}"),
    ("TokenProvider", "http: {url: 'https://api.example/v1', auth: {header: {name: Authorization, prefix: 'Token ', secretRef: {name: s, key: k}}}, \
        parameters: {room: {}}, request: {method: GET, path: '/rooms/{{ room }}', query: {type: play}, headers: [{name: Accept, value: text/plain}]}, \
        response: {token: {cookie: TOKEN}, expires: {after: 30m}, values: {csrf: {header: X-CSRF-Token}}, invalidatesPrevious: true}}"),
    ("TokenProvider", "http: {url: 'https://api.example', auth: {oauth2: {tokenUrl: 'https://login.example/token', grant: refresh_token, \
        refreshTokenRef: {name: s, key: k}}}, request: {path: /tokens, form: {a: 1, b: {secretRef: {name: s, key: k}}}}, \
        response: {token: {text: {}}, expires: {asked: {}}, success: {json: '$.ok', equals: true}, \
        failures: [{status: [400], json: \"$['error-code']\", matches: 'auth.*', class: Credential}], cooldown: 5s}, lifetime: {max: 24h}}"),
    ("TokenProvider", "signed: {SIGNING, jwt: {algorithm: HS256}}"),
    ("TokenProvider", "signed: {SIGNING, parameters: {room: {}, role: {type: integer, pattern: '[01]', default: '0'}}, \
      jwt: {algorithm: ES384, header: {typ: '', kid: a}, claims: {n: 1, deep: {a: [{b: '{{ room }}'}]}}, variants: {v: {aud: t}}}}"),
    ("TokenProvider", "signed: {SIGNING, message: {text: a, algorithm: HmacSha256, encoding: Hex, token: '{{ signature }}', values: {a: b}}}"),
    ("ClusterTokenProvider", "signed: {SIGNING, lifetime: {min: 1m, max: 24h, default: 1h}, parameters: {room: {}}, \
      agora: {appId: 970ca35de60c44645bbae8a215061b33, rtc: {channel: '{{ room }}'}}}, ALL, allowedScopes: {parameters: {room: [a, b]}}"),
];

pub(crate) type Case<'a> = ((&'a str, &'a str), &'a str);

/// Scope, rest of the spec; what the API server must say.
#[rustfmt::skip]
pub(crate) const TOKENS: &[Case<'_>] = &[
    // scopes
    (("", ""), "spec.scope: Invalid value: set exactly one of arcgisVideoServer, blendVision, cognitiveServices, http, signed, videoIndexer, videoIndexerClassic; found: none"),
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
    (("videoIndexer: {permission: Reader, mediaScope: Project, projectId: p, extensionId: EXTENSION}", ""), "spec.scope.videoIndexer.projectId: Forbidden: the extension operations take no projectId: remove projectId or extensionId"),
    (("videoIndexer: {permission: Reader, mediaScope: Account, extensionId: edge}", ""), "spec.scope.videoIndexer.extensionId: Invalid value: must be /subscriptions/"),
    (("videoIndexerClassic: {}", ""), "set exactly one of account, accountWithPermission, project, user, video; found: none"),
    (("videoIndexerClassic: {video: {videoId: a/b}}", ""), "spec.scope.videoIndexerClassic.video.videoId: Invalid value: must be a name, without a slash"),
    (("videoIndexerClassic: {video: {videoId: \".\\t.\"}}", ""), "spec.scope.videoIndexerClassic.video.videoId: Invalid value: must be a name, without a slash"),
    (("blendVision: {playback: {resourceId: r, resourceType: RESOURCE_TYPE_VOD}}", ""), "spec.scope.blendVision.playback.customerId: Required value"),
    (("blendVision: {resource: {resourceId: r, resourceType: VOD}}", ""), "must be a BlendVision resource type such as RESOURCE_TYPE_VOD"),
    (("cognitiveServices: {limitedAccess: {targetAzureResourceId: /r, featureFlags: []}}", ""), "spec.scope.cognitiveServices.limitedAccess.featureFlags"),
    (("arcgisVideoServer: {ip: everywhere}", ""), "spec.scope.arcgisVideoServer.ip: Invalid value: must be an IPv4 or IPv6 address"),
    (("arcgisVideoServer: {ip: 192.0.2.7, requestIp: {}}", ""), "found: ip requestIp"),
    (("http: {video: a}", ""), ".spec.scope.http.video: field not declared in schema"),
    (("http: {parameters: {video: 7}}", ""), ".spec.scope.http.parameters.video: expected string"),
    (("signed: {claims: {exp: 9}}", ""), ".spec.scope.signed.claims: field not declared in schema"),
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
    (("cognitiveServices: {limitedAccess: {targetAzureResourceId: /r, featureFlags: [f]}}", "lifetime: 0s"), "Cognitive Services issues for 1s to 24h"),
    (("arcgisVideoServer: {requestIp: {}}", "lifetime: 8761h"), "ArcGIS Video Server issues for 1m to 8760h"),
    (("blendVision: {resource: {RESOURCE, neverExpires: true}}", "lifetime: 1h"), "spec.lifetime: Forbidden: a token that never expires has no lifetime: remove lifetime or neverExpires"),
    (("blendVision: {resource: {RESOURCE, expiredAt: '2099-01-31T00:00:00Z'}}", "lifetime: 1h"), "spec.lifetime: Forbidden: expiredAt says when the access ends: remove lifetime or expiredAt"),
    (("blendVision: {resource: {RESOURCE, expiredAt: '2099-01-31T00:00:00Z', neverExpires: true}}", ""), "spec.scope.blendVision.resource.expiredAt: Forbidden: a token that never expires has no end: remove expiredAt or neverExpires"),
    (("blendVision: {resource: {RESOURCE, expiredAt: '2099-13-31T00:00:00Z'}}", ""), "spec.scope.blendVision.resource.expiredAt: Invalid value: must be a time in UTC such as 2027-01-31T00:00:00Z"),
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
    (("READER", "secret: {template: {annotations: {scheduler.alpha.k8s.io/x: any}}}"), "names under videotoken.dev/, kubernetes.io/ and k8s.io/ are reserved"),
    (("READER", "secret: {template: {labels: {a b: c}}}"), "spec.secret.template.labels: Invalid value: each name must be a label's or annotation's"),
    (("READER", "secret: {template: {labels: {team: '{{ token }}'}}}"), "a label's value has letters, digits, dashes, dots and underscores only"),
    (("READER", "secret: {deletionPolicy: Orphan}"), "spec.secret.deletionPolicy: Invalid value: must be one of Delete, Retain"),
    // restarts
    (("READER", "rolloutRestart: [{kind: CronJob, name: a}]"), "spec.rolloutRestart[0].kind: Invalid value: must be one of Deployment, StatefulSet, DaemonSet, or KIND.GROUP, such as Rollout.argoproj.io"),
    (("READER", "rolloutRestart: [{kind: deployment, name: a}]"), "spec.rolloutRestart[0].kind: Invalid value: must be one of Deployment, StatefulSet, DaemonSet, or KIND.GROUP, such as Rollout.argoproj.io"),
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

/// Kind, spec; what the API server must say.
#[rustfmt::skip]
pub(crate) const PROVIDERS: &[Case<'_>] = &[
    (("TokenProvider", ""), "spec: Invalid value: set exactly one of videoIndexer, videoIndexerClassic, blendVision, cognitiveServices, arcgisVideoServer, signed, http; found: none"),
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
    (("ClusterTokenProvider", "ALL, videoIndexer: {subscriptionId: a/b, resourceGroup: g, accountName: contoso-vi, AMBIENT}"), "spec.videoIndexer.subscriptionId: Invalid value: must be a name, without a slash"),
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
    (("TokenProvider", "http: {url: 'https://api.example/?a=b', ASKING, response: {READING}}"), "spec.http.url: Invalid value: must be an absolute URL without user, query and fragment"),
    (("TokenProvider", "http: {url: 'https://user:pw@api.example', ASKING, response: {READING}}"), "spec.http.url: Invalid value: must be an absolute URL"),
    (("TokenProvider", "http: {url: 'https://{{ host }}', ASKING, response: {READING}}"), "spec.http.url: Invalid value: is literal: write templates into request.path and request.query only"),
    (("TokenProvider", "http: {url: 'https://{{host}}.example', ASKING, response: {READING}}"), "spec.http.url: Invalid value: is literal"),
    (("TokenProvider", "http: {url: 'https://api.example/{{ tenant }}', ASKING, response: {READING}}"), "spec.http.url: Invalid value: is literal"),
    (("TokenProvider", "http: {url: 'https://api.example', request: {path: /x}, response: {READING}, auth: {oauth2: {tokenUrl: 'https://{{ host }}/token', \
        grant: password, usernameRef: {name: s, key: u}, passwordRef: {name: s, key: p}}}}"), "spec.http.auth.oauth2.tokenUrl: Invalid value: is literal"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {}, request: {path: /x}, response: {READING}}"), "spec.http.auth: Invalid value: set exactly one of"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {none: {}, bearer: {name: s, key: k}}, request: {path: /x}, response: {READING}}"), "found: bearer none"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {oauth2: {tokenUrl: 'https://login.example', grant: client_credentials}}, request: {path: /x}, response: {READING}}"), "grant client_credentials needs clientIdRef and clientSecretRef"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {oauth2: {tokenUrl: 'https://login.example', grant: refresh_token}}, request: {path: /x}, response: {READING}}"), "refreshTokenRef goes with grant refresh_token"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {header: {name: 'X Key', secretRef: {name: s, key: k}}}, request: {path: /x}, response: {READING}}"), "spec.http.auth.header.name: Invalid value: must be the name of a header"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {none: {}}, response: {READING}, request: {path: x}}"), "spec.http.request.path: Invalid value: must begin with a slash"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {none: {}}, response: {READING}, request: {path: '/x?a=b'}}"), "must begin with a slash, without a query"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {none: {}}, response: {READING}, request: {path: /x/../y}}"), "spec.http.request.path: Invalid value: leads to another URL than url"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {none: {}}, response: {READING}, request: {path: //evil.example/y}}"), "spec.http.request.path: Invalid value: leads to another URL than url"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {none: {}}, response: {READING}, request: {path: /x, headers: [{name: X-A, value: a}, {name: x-a, value: b}]}}"), "spec.http.request.headers: Invalid value: two headers have the same name"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {header: {name: Host, secretRef: {name: s, key: k}}}, request: {path: /x}, response: {READING}}"), "spec.http.auth.header.name: Invalid value: is not allowed: it belongs to the connection"),
    (("TokenProvider", "http: {url: 'https://api.example', ASKING, response: {READING, failures: [{status: [302], class: Denied}]}}"), "spec.http.response.failures[0].status: Invalid value: a redirect is always refused"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {none: {}}, response: {READING}, request: {path: /x, method: DELETE}}"), "spec.http.request.method: Invalid value: must be one of GET, POST, PUT, PATCH"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {none: {}}, response: {READING}, request: {path: /x, method: GET, json: {a: 1}}}"), "a GET request has no body"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {none: {}}, response: {READING}, request: {path: /x, json: {a: 1}, text: x}}"), "a request has one body"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {none: {}}, response: {READING}, request: {path: /x, headers: [{name: Host, value: evil.example}]}}"), "spec.http.request.headers[0].name: Invalid value: is not allowed: Authorization and Cookie come from auth"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {none: {}}, response: {READING}, request: {path: /x, headers: [{name: proxy-authorization, value: x}]}}"), "is not allowed"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {none: {}}, response: {READING}, request: {path: /x, headers: [{name: Transfer-Encoding, value: chunked}]}}"), "is not allowed"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {none: {}}, response: {READING}, request: {path: /x, headers: [{name: 'X A', value: x}]}}"), "must be the name of a header"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {none: {}}, response: {READING}, request: {path: /x, headers: [{name: X-A, value: \"a\\r\\nb\"}]}}"), "spec.http.request.headers[0].value: Invalid value: a header has no line breaks"),
    (("TokenProvider", "http: {url: 'https://api.example', auth: {none: {}}, response: {READING}, request: {path: /x, headers: [{name: X-A}]}}"), "set exactly one of value and secretRef"),
    (("TokenProvider", "http: {url: 'https://api.example', ASKING, response: {token: {json: $.token}}}"), "spec.http.response.expires: Required value"),
    (("TokenProvider", "http: {url: 'https://api.example', ASKING, response: {token: {json: $.token}, expires: {}}}"), "spec.http.response.expires: Invalid value: set exactly one of"),
    (("TokenProvider", "http: {url: 'https://api.example', ASKING, response: {token: {json: $.token}, expires: {after: 9000h}}}"), "spec.http.response.expires.after: Invalid value: must be more than 10s and at most 8784h"),
    (("TokenProvider", "http: {url: 'https://api.example', ASKING, response: {token: {json: $.token}, expires: {after: 5s}}}"), "must be more than 10s"),
    (("TokenProvider", "http: {url: 'https://api.example', ASKING, response: {token: {json: $.token}, expires: {asked: {}}}}"), "spec.http.lifetime: Required value: expires.asked needs lifetime"),
    (("TokenProvider", "http: {url: 'https://api.example', ASKING, response: {token: {json: $..token}, expires: {jwt: {}}}}"), "spec.http.response.token.json: Invalid value: must be a JSON path of names and indexes"),
    (("TokenProvider", "http: {url: 'https://api.example', ASKING, response: {token: {json: '$.a[?@.b == 1].token'}, expires: {jwt: {}}}}"), "no filters, wildcards, slices and descendants"),
    (("TokenProvider", "http: {url: 'https://api.example', ASKING, response: {token: {json: '$.a[*]'}, expires: {jwt: {}}}}"), "no filters, wildcards, slices and descendants"),
    (("TokenProvider", "http: {url: 'https://api.example', ASKING, response: {token: {cookie: 'a=b'}, expires: {jwt: {}}}}"), "spec.http.response.token.cookie: Invalid value: must be the name of a cookie"),
    (("TokenProvider", "http: {url: 'https://api.example', ASKING, response: {token: {json: $.a, text: {}}, expires: {jwt: {}}}}"), "found: json text"),
    (("TokenProvider", "http: {url: 'https://api.example', ASKING, response: {READING, values: {a-b: {json: $.a}}}}"), "each name must be a word"),
    (("TokenProvider", "http: {url: 'https://api.example', ASKING, response: {READING, failures: [{status: [400], class: Fatal}]}}"), "must be one of Credential, Denied, Throttled, Configuration, Transient"),
    (("TokenProvider", "http: {url: 'https://api.example', ASKING, response: {READING, failures: [{class: Denied}]}}"), "set status, or json with equals or matches"),
    (("TokenProvider", "http: {url: 'https://api.example', ASKING, response: {READING, cooldown: 2h}}"), "spec.http.response.cooldown: Invalid value: must be 1s to 1h"),
    (("TokenProvider", "http: {HTTP, lifetime: {min: 2h, max: 1h}}"), "min 2h must be at most max 1h"),
    (("TokenProvider", "http: {HTTP, lifetime: {max: 9000h}}"), "spec.http.lifetime.max: Invalid value: must be 10s to 8784h"),
    (("TokenProvider", "http: {HTTP, parameters: {token: {}}}"), "and no variable of templates"),
    (("TokenProvider", "http: {HTTP, parameters: {a: {type: number}}}"), "must be one of string, integer, boolean"),
    (("ClusterTokenProvider", "http: {HTTP}, ALL, allowedScopes: {parameters: {rooms: [a]}}"), "has a name that the provider doesn't declare"),
    (("TokenProvider", "signed: {SIGNING}"), "spec.signed: Invalid value: set exactly one of"),
    (("TokenProvider", "signed: {SIGNING, jwt: {algorithm: HS256}, agora: {appId: 970ca35de60c44645bbae8a215061b33, rtm: {user: u}}}"), "found: jwt agora"),
    (("TokenProvider", "signed: {SIGNING, jwt: {algorithm: none}}"), "spec.signed.jwt.algorithm: Invalid value: must be one of HS256"),
    (("TokenProvider", "signed: {SIGNING, jwt: {algorithm: HS256, claims: {exp: 9}}}"), "exp comes from the lifetime: remove it"),
    (("TokenProvider", "signed: {SIGNING, jwt: {algorithm: HS256, claims: {exp: '{{ lifetime }}'}}}"), "exp comes from the lifetime: remove it"),
    (("TokenProvider", "signed: {SIGNING, jwt: {algorithm: HS256, variants: {a: {exp: 9}}}}"), "exp comes from the lifetime: remove it"),
    (("TokenProvider", "signed: {key: {secretRef: {name: s, key: k}, encoding: base32}, jwt: {algorithm: HS256}}"), "spec.signed.key.encoding: Invalid value: must be one of none, base64, base64url, hex"),
    (("TokenProvider", "signed: {SIGNING, message: {text: a, algorithm: Md5, encoding: Hex, token: t}}"), "spec.signed.message.algorithm: Invalid value: must be one of HmacSha1"),
    (("TokenProvider", "signed: {SIGNING, message: {text: a, algorithm: Sha1, encoding: Base32, token: t}}"), "spec.signed.message.encoding: Invalid value: must be one of Hex"),
    (("TokenProvider", "signed: {SIGNING, message: {text: '', algorithm: Sha1, encoding: Hex, token: t}}"), "spec.signed.message.text"),
    (("TokenProvider", "signed: {SIGNING, lifetime: {max: 9000h}, jwt: {algorithm: HS256}}"), "spec.signed.lifetime.max: Invalid value: must be 10s to 8784h"),
    (("TokenProvider", "signed: {SIGNING, jwt: {algorithm: HS256, header: {alg: none}}}"), "alg comes from algorithm: remove it"),
    (("TokenProvider", "signed: {SIGNING, jwt: {algorithm: HS256, variants: {a-b: {}}}}"), "each name must be a word"),
    (("TokenProvider", "signed: {SIGNING, parameters: {lifetime: {}}, jwt: {algorithm: HS256}}"), "and no variable of templates"),
    (("TokenProvider", "signed: {SIGNING, parameters: {a: {type: number}}, jwt: {algorithm: HS256}}"), "must be one of string, integer, boolean"),
    (("TokenProvider", "signed: {SIGNING, lifetime: {min: 2h, max: 1h}, jwt: {algorithm: HS256}}"), "min 2h must be at most max 1h"),
    (("TokenProvider", "signed: {SIGNING, lifetime: {max: 5s}, jwt: {algorithm: HS256}}"), "must be 10s to 8784h"),
    (("TokenProvider", "signed: {SIGNING, jwt: {algorithm: HS256}}, limits: {concurrency: 1}"), "signed makes no calls: remove it"),
    (("TokenProvider", "signed: {SIGNING, jwt: {algorithm: HS256}}, caBundle: x"), "signed makes no calls: remove it"),
    (("TokenProvider", "signed: {SIGNING, agora: {appId: short, rtm: {user: u}}}"), "32 hexadecimal digits"),
    (("TokenProvider", "signed: {SIGNING, agora: {appId: 970ca35de60c44645bbae8a215061b33}}"), "set rtc, rtm or both"),
    (("ClusterTokenProvider", "signed: {SIGNING, jwt: {algorithm: HS256}}, ALL"), "lifetime.max must be set in a ClusterTokenProvider"),
    (("ClusterTokenProvider", "signed: {SIGNING, lifetime: {max: 1h}, parameters: {room: {}}, jwt: {algorithm: HS256}}, ALL, allowedScopes: {parameters: {rooms: [a]}}"), "has a name that the provider doesn't declare"),
];
