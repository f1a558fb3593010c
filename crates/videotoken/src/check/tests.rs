use super::*;
use crate::manifest::{Text, read};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::collections::BTreeSet;

fn report(text: &str) -> Report {
    let manifest = read(&Text { name: "file.yaml".to_owned(), text: text.to_owned() });
    assert_eq!(manifest.faults, []);
    check(&Kinds::default(), &manifest.objects)
}

/// The findings as `line:column field: message`.
fn found(text: &str) -> Vec<String> {
    let line = |finding: &Finding| {
        format!("{}:{} {}: {}", finding.place.line, finding.place.column, finding.field, finding.message)
    };
    report(text).findings.iter().map(line).collect()
}

const TOKEN: &str = "apiVersion: videotoken.dev/v1alpha1
kind: VideoAccessToken
metadata:
  name: lobby
  namespace: shop
spec:
  providerRef:
    name: indexer
  scope:
    videoIndexer:
      permission: Reader
      mediaScope: Account
";

const PROVIDER: &str = "apiVersion: videotoken.dev/v1alpha1
kind: TokenProvider
metadata:
  name: indexer
  namespace: shop
spec:
  blendVision:
    organization: o
    apiTokenRef: {name: s, key: k}
";

const CLUSTER: &str = "apiVersion: videotoken.dev/v1alpha1
kind: ClusterTokenProvider
metadata: {name: indexer}
spec:
  videoIndexer:
    subscriptionId: 00000000-0000-0000-0000-000000000000
    resourceGroup: g
    accountName: contoso-vi
    auth: {workloadIdentity: {}}
  allowedNamespaces: {selector: {matchLabels: {video: \"true\"}}}
";

#[test]
fn each_finding_names_its_field_and_its_place() {
    let with = |more: &str| format!("{TOKEN}{more}");
    for (text, expected) in [
        (with(""), None),
        (with("  lifetime: 12h\n"), Some("13:13 spec.lifetime: Forbidden: Video Indexer honours a lifetime only")),
        (with("  lifetime: 3600\n"), Some("13:13 spec.lifetime: Invalid value: must be of type string, not integer")),
        (with("  lifetimes: 1h\n"), Some("13:3 spec.lifetimes: unknown field")),
        (with("  suspend: yes\n"), None),
        (with("  suspend: \"yes\"\n"), Some("13:12 spec.suspend: Invalid value: must be of type boolean, not string")),
        (with("  suspend:\n"), None),
        (
            with("  renewBeforePercentage: 100\n"),
            Some("13:26 spec.renewBeforePercentage: Invalid value: should be less"),
        ),
        (
            with("  secret: {type: kubernetes.io/tls}\n"),
            Some("13:18 spec.secret.type: Invalid value: type kubernetes.io/tls"),
        ),
        (
            with("  rolloutRestart:\n  - {kind: Deployment, name: a}\n  - {kind: Deployment, name: a}\n"),
            Some("15:5 spec.rolloutRestart[1]: Duplicate value: kind: \"Deployment\", name: \"a\""),
        ),
        (
            with("  rolloutRestart: [{kind: Pod, name: a}]\n"),
            Some("13:27 spec.rolloutRestart[0].kind: Invalid value: must be one of"),
        ),
        (
            TOKEN.replace("Account", "Video"),
            Some("10:5 spec.scope.videoIndexer.videoId: Invalid value: mediaScope Video needs"),
        ),
        (TOKEN.replace("name: lobby", "name: Lobby"), Some("4:9 metadata.name: Invalid value")),
        (TOKEN.replace("name: lobby", "labels: {a: true}\n  name: l"), Some("4:15 metadata.labels.a: invalid type")),
        (TOKEN.replace("name: lobby", "lables: {}\n  name: l"), Some("4:3 metadata.lables: unknown field")),
        (TOKEN.replace("  name: lobby\n", ""), Some("3:1 metadata.name: Required value")),
        (TOKEN.replace("kind: VideoAccessToken", "kind: VideoToken"), Some("2:7 kind: no such kind")),
        (TOKEN.replace("v1alpha1", "v1"), Some("1:13 apiVersion: no such kind")),
    ] {
        let found = found(&text);
        match expected {
            None => assert_eq!(found, [""; 0], "{text}"),
            Some(expected) => assert!(found[0].starts_with(expected), "{text}\n{found:?}\n{expected}"),
        }
    }
}

#[test]
fn rules_are_not_asked_of_what_is_no_spec_at_all() {
    let found = found(&TOKEN.replace("      mediaScope: Account\n", "  lifetime: 1h\n"));
    let field = "10:5 spec.scope.videoIndexer.mediaScope: Required value";
    assert!(found.iter().any(|line| line == field), "{found:?}");
    assert!(found.iter().any(|line| line.contains("some rules were not evaluated")), "{found:?}");
    assert_eq!(found.len(), 2);
}

#[test]
fn what_the_operator_would_refuse_is_found_across_objects() {
    let both = |token: &str, provider: &str| format!("{provider}---\n{token}");
    let on_cluster = TOKEN.replace("name: indexer", "kind: ClusterTokenProvider\n    name: indexer");
    let namespace = |labels: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, labels: {labels}}}\n---\n{}",
            both(&on_cluster, CLUSTER)
        )
    };
    for (text, field, message) in [
        (both(TOKEN, PROVIDER), "spec.scope", "the provider is blendVision but the scope is videoIndexer"),
        (both(TOKEN, &PROVIDER.replace("shop", "other")), "", ""),
        (both(TOKEN, CLUSTER), "", ""),
        (both(&on_cluster, CLUSTER), "", ""),
        (
            both(&on_cluster.replace("Reader", "Contributor"), CLUSTER),
            "spec.scope.videoIndexer.permission",
            "allowedScopes admit",
        ),
        (namespace("{video: \"true\"}"), "", ""),
        (namespace("{}"), "spec.providerRef", "doesn't allow the namespace shop"),
        (both(TOKEN, TOKEN), "metadata.name", "is also at file.yaml:1"),
        (
            both(&TOKEN.replace("name: lobby", "name: hall"), &format!("{TOKEN}  secret: {{name: hall}}\n")),
            "spec.secret.name",
            "the Secret hall is already used",
        ),
        (
            format!("{TOKEN}  secret: {{template: {{data: {{a: '{{{{ tokn }}}}'}}}}}}\n"),
            "spec.secret.template.data[a]",
            "tokn",
        ),
    ] {
        let findings = report(&text).findings;
        if field.is_empty() {
            assert_eq!(findings, [], "{text}");
            continue;
        }
        assert_eq!(findings.len(), 1, "{text}\n{findings:?}");
        assert_eq!((findings[0].field.as_str(), findings[0].rejected_by), (field, RejectedBy::Operator), "{text}");
        assert!(findings[0].message.contains(message), "{findings:?}");
    }
}

#[test]
fn defaults_are_in_place_and_other_kinds_are_skipped() {
    let report = report(&format!("{TOKEN}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\n"));
    let [Verdict::Good(value), Verdict::Skipped] = &report.verdicts[..] else { panic!("{report:?}") };
    assert_eq!(value["spec"]["secret"]["keys"], json!({"token": "token", "expiresAt": "expires-at"}));
    assert_eq!(value["spec"]["providerRef"]["kind"], "TokenProvider");
}

/// A keyword that isn't supported would accept what the API server rejects.
#[test]
fn every_keyword_of_the_schemas_is_known() {
    fn collect(schema: &Value, keywords: &mut BTreeSet<String>) {
        let Some(members) = schema.as_object() else { return };
        keywords.extend(members.keys().cloned());
        for child in ["items", "additionalProperties"].into_iter().filter_map(|child| schema.get(child)) {
            collect(child, keywords);
        }
        schema["properties"].as_object().into_iter().flatten().for_each(|(_, child)| collect(child, keywords));
    }
    let mut keywords = BTreeSet::new();
    let kinds = Kinds::default();
    assert_eq!(kinds.names(), "VideoAccessToken, TokenProvider, ClusterTokenProvider");
    for kind in &kinds.0 {
        // the status is no part of what is created
        collect(&kind.schema["properties"]["spec"], &mut keywords);
    }
    let known = [
        "additionalProperties",
        "default",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "properties",
        "required",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    ];
    let unknown: Vec<_> = keywords.iter().filter(|keyword| !known.contains(&keyword.as_str())).collect();
    assert_eq!(unknown, [""; 0]);
}

#[test]
fn every_rule_of_the_schemas_compiles() {
    fn collect(rules: &kube_cel::CompiledSchema, failed: &mut Vec<String>) -> usize {
        failed.extend(rules.compilation_errors().iter().map(ToString::to_string));
        let below =
            rules.properties.values().chain(rules.items.as_deref()).chain(rules.additional_properties.as_deref());
        rules.validations.len() + below.map(|rules| collect(rules, failed)).sum::<usize>()
    }
    let mut failed = Vec::new();
    let rules: usize = Kinds::default().0.iter().map(|kind| collect(&kind.rules, &mut failed)).sum();
    assert_eq!(failed, [""; 0]);
    assert!(rules > 100, "{rules} rules");
}

#[test]
fn no_other_rule_asks_what_the_cel_library_judges_otherwise() {
    let uses = Kinds::default().use_urls();
    assert!(!uses, "a CEL rule calls url() or isURL(): src/check/url.rs must judge it as Go's net/url does");
}

#[test]
fn a_kind_of_ours_without_our_group_is_found() {
    for (text, expected) in [
        ("kind: VideoAccessToken\nmetadata: {name: a}\n", "1:1 apiVersion: Required value: a VideoAccessToken has"),
        (
            "apiVersion: videotoken.io/v1alpha1\nkind: VideoAccessToken\n",
            "1:13 apiVersion: no such kind: videotoken.io/v1alpha1",
        ),
        ("apiVersion: v1\nkind: TokenProvider\n", "1:13 apiVersion: no such kind: v1: a TokenProvider has"),
        ("kind: ClusterTokenProvider\n", "a ClusterTokenProvider has apiVersion: videotoken.dev/v1alpha1"),
    ] {
        let found = found(text);
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
    }
    for other in [
        "apiVersion: auth.example/v1\nkind: TokenProvider\n",
        "apiVersion: v1\nkind: ConfigMap\n",
        "kind: Kustomization\n",
    ] {
        assert_eq!(found(other), [""; 0], "{other}");
    }
}

#[test]
fn an_encrypted_credential_is_found_and_other_secrets_are_not_looked_at() {
    let secret = |label: &str, value: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: entra, labels: {{{label}: \"true\"}}}}\nstringData:\n  key: {value}\n"
        )
    };
    let encrypted = "ENC[AES256_GCM,data:ViY4ihyiyg==,iv:abc=,tag:def=,type:str]";
    let ours = found(&secret("videotoken.dev/credentials", encrypted));
    assert!(
        ours.len() == 1 && ours[0].starts_with("5:8 stringData[key]: is a value that SOPS has encrypted"),
        "{ours:?}"
    );
    assert_eq!(found(&secret("app", encrypted)), [""; 0]);
    assert_eq!(found(&secret("videotoken.dev/credentials", "plain")), [""; 0]);
    let data = secret("videotoken.dev/credentials", &STANDARD.encode(encrypted)).replace("stringData", "data");
    assert!(found(&data)[0].starts_with("5:8 data[key]: is a value that SOPS"), "{:?}", found(&data));
}

/// A provider of type http in namespace cinema, and its Secret.
const DECLARED: &str = "apiVersion: videotoken.dev/v1alpha1
kind: TokenProvider
metadata: {name: api, namespace: cinema}
spec:
  http:
    url: https://api.example.com
    auth:
      header: {name: Authorization, prefix: \"Apisecret \", secretRef: {name: api, key: secret}}
    request: {path: /otp}
    response:
      token: {json: $.otp}
      expires: {after: 5m}
---
apiVersion: v1
kind: Secret
metadata:
  name: api
  namespace: cinema
  labels: {videotoken.dev/credentials: \"true\"}
  annotations: {videotoken.dev/allowed-hosts: api.example.com}
stringData:
  secret: a-secret
";

/// Returns the report of `check` with the Secrets, as `line field: message`, and its hints.
fn with_secrets(text: &str) -> (Vec<String>, Vec<String>) {
    let manifest = read(&Text { name: "file.yaml".to_owned(), text: text.to_owned() });
    let mut report = check(&Kinds::default(), &manifest.objects);
    check_secrets(&manifest.objects, &mut report);
    let line = |finding: &Finding| format!("{} {}: {}", finding.place.line, finding.field, finding.message);
    (report.findings.iter().map(line).collect(), report.hints.iter().map(line).collect())
}

#[test]
fn a_secret_that_the_operator_would_not_use_is_found_where_the_provider_refers_to_it() {
    const REF: &str = "spec.http.auth.header.secretRef";
    for (from, to, expected) in [
        ("", "", None),
        ("labels: {videotoken.dev/credentials: \"true\"}", "labels: {a: b}", Some(format!("8 {REF}: the Secret api isn't labelled"))),
        (": api.example.com}", ": example.com}", Some(format!("8 {REF}: the Secret api doesn't allow the host api.example.com"))),
        ("  secret: a-secret", "  api-secret: a-secret", Some(format!("8 {REF}: the Secret api in namespace cinema has no key secret, but only api-secret"))),
        ("credentials: \"true\"", "credentials: true", Some("19 metadata.labels[videotoken.dev/credentials]: must be a text: write it in quotation marks, such as \"true\"".to_owned())),
        ("stringData:\n  secret: a-secret", "data:\n  secret: a-secret", Some("22 data[secret]: is no base64: write plain text under stringData instead of data".to_owned())),
        // filled elsewhere
        ("stringData:\n  secret: a-secret", "data: {}", None),
    ] {
        let (found, hints) = with_secrets(&DECLARED.replace(from, to));
        assert_eq!(found.len(), usize::from(expected.is_some()), "{to}: {found:?}");
        assert!(expected.is_none_or(|expected| found[0].starts_with(&expected)), "{to}: {found:?}");
        assert_eq!(hints, [""; 0], "{to}");
    }
    let of_another = DECLARED.replace("Secret\nmetadata:\n  name: api", "Secret\nmetadata:\n  name: other");
    assert_eq!(with_secrets(&of_another), (Vec::new(), Vec::new()));
    // a Secret of another use is not looked at
    let other = of_another.replace("credentials: \"true\"", "x: true").replace("videotoken.dev/x", "x");
    assert_eq!(with_secrets(&other).0, [""; 0]);
}

#[test]
fn a_probable_mistake_is_a_hint_and_rejects_nothing() {
    for (from, to, expected) in [
        ("url: https", "url: http", "6 spec.http.url: is called without TLS: write https"),
        ("\"Apisecret \"", "Apisecret", "8 spec.http.auth.header.prefix: ends in a letter or a digit"),
        (
            "name: api\n  namespace: cinema",
            "name: api\n  namespace: default",
            "4 spec: the Secret api is in namespace default here, and a TokenProvider reads the Secrets of its own namespace, cinema",
        ),
    ] {
        let (found, hints) = with_secrets(&DECLARED.replace(from, to));
        assert_eq!(found, [""; 0], "{to}");
        assert!(hints.len() == 1 && hints[0].starts_with(expected), "{to}: {hints:?}");
    }
    let (_, hints) = with_secrets(&format!(
        "{CLUSTER}---\n{}",
        DECLARED
            .replace("kind: TokenProvider", "kind: ClusterTokenProvider")
            .replace("name: api, namespace: cinema", "name: api")
            .replace("spec:\n", "spec:\n  allowedNamespaces: {names: [cinema]}\n")
    ));
    assert!(
        hints.len() == 1 && hints[0].contains("operator's namespace, video-token-operator by default"),
        "{hints:?}"
    );
}

#[test]
fn a_member_of_another_kind_is_named_with_its_kind() {
    let found = found(&format!("{PROVIDER}  allowedNamespaces: {{names: [shop]}}\n"));
    assert_eq!(found, ["10:3 spec.allowedNamespaces: unknown field: only a ClusterTokenProvider has it"]);
    let found = self::found(&format!("{TOKEN}  limits: {{}}\n"));
    assert_eq!(found, ["13:3 spec.limits: unknown field: only a TokenProvider or a ClusterTokenProvider has it"]);
}
