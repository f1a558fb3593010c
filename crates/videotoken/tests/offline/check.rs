//! `check` against the real API server: it accepts what that accepts, and refuses what that refuses, at the same fields
//! and with the same words.

use crate::mutation::{mutation, url};
use crate::{TOOL, cases};
use futures::{StreamExt, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Client;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use testkit::chart::run;
use testkit::stand::controlplane::repository;
use testkit::stand::shared;
use videotoken::check::{Finding, Kinds, RejectedBy, Verdict, check};
use videotoken::manifest::{Object, Text, read};

const NAMESPACE: &str = "default";

fn objects(text: &str) -> Vec<Object> {
    let manifest = read(&Text { name: "file.yaml".to_owned(), text: text.to_owned() });
    assert_eq!(manifest.faults, [], "{text}");
    manifest.objects
}

/// Returns the findings of `check` for the API server, and the object as it would be stored.
fn checked(kinds: &Kinds, value: &Value) -> (Vec<Finding>, Verdict) {
    let mut report = check(kinds, &objects(&value.to_string()));
    report.findings.retain(|finding| finding.rejected_by == RejectedBy::ApiServer);
    (report.findings, report.verdicts.remove(0))
}

/// Returns the response of the API server to a dry-run creation.
async fn creation(client: &Client, value: &Value) -> Result<Value, Status> {
    let kind = value["kind"].as_str().unwrap();
    let place = match kind {
        "ClusterTokenProvider" => "clustertokenproviders".to_owned(),
        kind => format!("namespaces/{NAMESPACE}/{}s", kind.to_lowercase()),
    };
    let url = format!("/apis/videotoken.dev/v1alpha1/{place}?dryRun=All&fieldValidation=Strict");
    let request = http::Request::post(url).header("content-type", "application/json");
    match client.request::<Value>(request.body(value.to_string().into_bytes()).unwrap()).await {
        Ok(stored) => Ok(stored),
        Err(kube::Error::Api(status)) => Err(serde_json::from_value(serde_json::to_value(&*status).unwrap()).unwrap()),
        Err(error) => panic!("{error}\n{value}"),
    }
}

/// The causes of a refusal: field and words, without the value that the API server quotes.
fn causes(status: &Status) -> Vec<(String, String)> {
    let causes = status.details.as_ref().and_then(|details| details.causes.clone()).unwrap_or_default();
    let mut found = Vec::new();
    for cause in causes {
        let (field, message) = (cause.field.unwrap_or_default(), cause.message.unwrap_or_default());
        // a rule was not asked: no word about the object
        if !field.is_empty() && field != "<nil>" {
            found.push((field, without_value(&message)));
        }
    }
    let message = status.message.clone().unwrap_or_default();
    for unknown in message.split("unknown field \"").skip(1) {
        found.push((unknown.split('"').next().unwrap().to_owned(), "unknown field".to_owned()));
    }
    found
}

fn without_value(message: &str) -> String {
    for kind in ["Invalid value", "Forbidden", "Required value"] {
        if let Some(rest) = message.strip_prefix(kind) {
            let words = rest.rsplit_once("\": ").filter(|_| rest.starts_with(": \"")).map_or(rest, |(_, words)| words);
            let words = words.trim_start_matches(':').trim();
            // a rule that ended in an error of its own: with the error before the rule's message
            let words = words.rsplit_once(" evaluating rule: ").map_or(words, |(_, message)| message);
            return if words.is_empty() { kind.to_owned() } else { format!("{kind}: {words}") };
        }
    }
    message.split(':').next().unwrap_or_default().to_owned()
}

fn of_metadata(field: &str) -> bool {
    field.starts_with("metadata.")
}

/// Schema and rules write a map's key in two ways. Of metadata the API server blames the whole member, and a name for
/// the prefix that it is made from.
fn same_field(ours: &str, theirs: &str) -> bool {
    let dotted = |field: &str| field.replace('[', ".").replace(']', "");
    let ours = dotted(ours).replace("generateName", "name");
    ours == dotted(theirs) || (of_metadata(theirs) && ours.starts_with(theirs))
}

/// Where the two differ; `None` if they don't.
async fn difference(client: &Client, kinds: &Kinds, value: &Value) -> Option<String> {
    let (found, verdict) = checked(kinds, value);
    let shown = |found: &[Finding]| {
        let lines: Vec<_> = found.iter().map(|found| format!("\n    {}: {}", found.field, found.message)).collect();
        lines.concat()
    };
    let status = match creation(client, value).await {
        Ok(stored) if found.is_empty() => {
            let Verdict::Good(ours) = verdict else { return None };
            let same = ours["spec"] == stored["spec"];
            return (!same)
                .then(|| format!("\n{value}\n  is stored as {}, and not as {}", stored["spec"], ours["spec"]));
        }
        Ok(_) => return Some(format!("\n{value}\n  the API server takes it, check says{}", shown(&found))),
        Err(status) => status,
    };
    if found.is_empty() {
        return Some(format!("\n{value}\n  check takes it, the API server says {:?}", status.message));
    }
    for (field, words) in causes(&status) {
        let of_field: Vec<_> = found.iter().filter(|finding| same_field(&finding.field, &field)).collect();
        // messages of the structural schema have their own wording
        let structural = words.contains(" in body ")
            || words.contains("an array of list-type map")
            || !words.contains(": ")
            || of_metadata(&field);
        let is_reported = of_field.iter().any(|finding| finding.message == words || structural);
        if !is_reported {
            return Some(format!("\n{value}\n  the API server says {field}: {words}, check says{}", shown(&found)));
        }
    }
    None
}

/// The differences over many objects.
async fn differences(values: Vec<Value>) -> Vec<String> {
    let client = shared().await.unwrap().client().unwrap();
    let kinds = Kinds::default();
    stream::iter(&values)
        .map(|value| difference(&client, &kinds, value))
        .buffer_unordered(8)
        .filter_map(std::future::ready)
        .collect()
        .await
}

fn object(kind: &str, spec: &str) -> Value {
    let spec = cases::written_out(spec);
    let metadata = "metadata: {name: case, namespace: default}";
    let text = format!("{{apiVersion: videotoken.dev/v1alpha1, kind: {kind}, {metadata}, spec: {{{spec}}}}}");
    objects(&text).remove(0).value
}

fn token((scope, rest): &(&str, &str)) -> Value {
    object("VideoAccessToken", &format!("providerRef: {{name: p}}, scope: {{{scope}}}, {rest}"))
}

/// All valid objects of the repository.
fn good() -> Vec<Value> {
    let mut good: Vec<_> = cases::GOOD_TOKENS.iter().map(token).collect();
    good.extend(cases::GOOD_PROVIDERS.iter().map(|(kind, spec)| object(kind, spec)));
    let folders = ["deploy/examples", "deploy/examples/platforms"].map(|folder| repository().join(folder));
    let files = folders.into_iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path());
    for file in files.filter(|path| path.is_file()) {
        for object in objects(&fs::read_to_string(file).unwrap()) {
            if object.api_version() == "videotoken.dev/v1alpha1" {
                let mut value = object.value;
                value["metadata"]["namespace"] = NAMESPACE.into();
                good.push(value);
            }
        }
    }
    for (kind, spec) in cases::GOOD_PROVIDERS.iter().take(3) {
        let mut value = object(kind, spec);
        value["metadata"]["labels"] = json!({"a": "b", "example.com/team": "video"});
        value["metadata"]["annotations"] = json!({"a": "any text", "Example.com/x": ""});
        good.push(value);
    }
    good
}

/// Metadata that some are good and some aren't.
fn with_metadata() -> Vec<Value> {
    let names = ["a", "a.b", "A", "a_b", "-a", "a-", "", "a..b", &"a".repeat(253), &"a".repeat(254)];
    let mut all: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
    all.extend([
        json!({"name": "a", "lables": {}}),
        json!({"name": "a", "labels": {"a": true}}),
        json!({"name": "a", "labels": null, "annotations": {}}),
        json!({"name": "a", "annotations": {"a": 1}}),
        json!({"name": "a", "annotations": {"a b": "c"}}),
        json!({"name": "a", "annotations": {"A/b/c": "c"}}),
        json!({"name": "a", "annotations": {"a": "x".repeat(256 * 1024)}}),
        json!({"name": "a", "labels": {"a": "b c"}}),
        json!({"name": "a", "labels": {"a": "x".repeat(64)}}),
        json!({"name": "a", "labels": {"UPPER.example/a": "b"}}),
        json!({"name": "a", "labels": {"x/": "b"}}),
        json!({"name": "a", "creationTimestamp": null, "finalizers": ["example.com/x"]}),
        json!({"name": "a", "finalizers": "x"}),
        json!({"name": 5}),
        json!({"generateName": "a-"}),
        json!({"generateName": "A-"}),
        json!({}),
    ]);
    let of = |metadata: &Value| {
        let mut value = object("TokenProvider", cases::GOOD_PROVIDERS[8].1);
        value["metadata"] = metadata.clone();
        value["metadata"]["namespace"] = NAMESPACE.into();
        value
    };
    all.iter().map(of).collect()
}

#[tokio::test]
async fn check_says_what_the_api_server_says_to_each_case() {
    let mut all = good();
    let (tokens, providers) = (cases::TOKENS.iter(), cases::PROVIDERS.iter());
    all.extend(tokens.map(|(case, _)| token(case)).chain(providers.map(|((kind, spec), _)| object(kind, spec))));
    all.extend(with_metadata());
    assert!(all.len() > 170, "{} cases", all.len());
    let differences = differences(all).await;
    assert!(differences.is_empty(), "{} differences{}", differences.len(), differences.concat());
}

/// `CHECK_MUTATIONS` sets how many.
#[tokio::test]
async fn check_says_what_the_api_server_says_to_objects_that_chance_has_changed() {
    let count = std::env::var("CHECK_MUTATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(2000);
    let strategy = (prop::sample::select(good()), prop::collection::vec(mutation(), 1..4));
    let mut runner = TestRunner::deterministic();
    let mutated = (0..count).map(|_| {
        let (mut value, mutations) = strategy.new_tree(&mut runner).unwrap().current();
        for mutation in mutations {
            mutation.apply(&mut value);
        }
        value
    });
    let differences = differences(mutated.collect()).await;
    let first: String = differences.iter().take(20).cloned().collect();
    assert!(differences.is_empty(), "{} differences of {count}{first}", differences.len());
}

/// `CHECK_MUTATIONS` sets how many.
#[tokio::test]
async fn check_says_what_the_api_server_says_to_every_url() {
    const FIELDS: [&str; 5] = ["endpoint", "url", "authority", "resourceManager", "managementEndpoint"];
    fn replace(value: &mut Value, url: &str) -> usize {
        match value {
            Value::Object(members) => members
                .iter_mut()
                .map(|(name, member)| {
                    if FIELDS.contains(&name.as_str()) && member.is_string() {
                        *member = url.into();
                        return 1;
                    }
                    replace(member, url)
                })
                .sum(),
            Value::Array(items) => items.iter_mut().map(|item| replace(item, url)).sum(),
            _ => 0,
        }
    }
    let count = std::env::var("CHECK_MUTATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(1500);
    let mut runner = TestRunner::deterministic();
    let good: Vec<_> = good().into_iter().filter(|value| replace(&mut value.clone(), "x") > 0).collect();
    assert!(good.len() > 5, "{} with a URL", good.len());
    let strategy = (prop::sample::select(good), url());
    let changed = (0..count).map(|_| {
        let (mut value, url) = strategy.new_tree(&mut runner).unwrap().current();
        replace(&mut value, &url);
        value
    });
    let differences = differences(changed.collect()).await;
    let first: String = differences.iter().take(20).cloned().collect();
    assert!(differences.is_empty(), "{} differences of {count}{first}", differences.len());
}

/// Words that YAML's versions take for different things.
const YAML: &str = "[yes, Yes, y, n, no, on, Off, true, 'yes', ~, null, 12, -12, +12, 0777, 0o17, 0xff, 0b11, 089, 1_000, \
    1.5, 33.0, 1e3, .5, 12h, 1.2.3, 2026-01-01, 18446744073709551615, 9223372036854775808, 1e400x, 0x, 1e, +, -x, '', \
    !!str 12, \"a\\tb\", 0.0, -0, 1__0, 0_7, .e1, NO, nO]";

#[tokio::test]
async fn yaml_is_read_as_kubectl_reads_it() {
    let plane = shared().await.unwrap();
    let text = format!(
        "apiVersion: videotoken.dev/v1alpha1\nkind: VideoAccessToken\nmetadata: {{name: a}}\nspec:\n  base: &base {{a: 1, \
         b: 2}}\n  merged: {{<<: *base, b: 3}}\n  yes: 1\n  1: 2\n  0x10: 3\n  folded: >-\n    a\n    b\n  words: {YAML}\n"
    );
    let kubeconfig = format!("--kubeconfig={}", plane.kubeconfig_path().display());
    let args = ["create", &kubeconfig, "--dry-run=client", "--validate=false", "-o", "json", "-f", "-"];
    let printed = run(&plane.binaries().join("kubectl"), &args, &text).unwrap();
    let theirs: Value = serde_json::from_str(&printed).unwrap();
    let ours = objects(&text).remove(0).value;
    // kubectl accepts it silently
    let twice = text.replace("merged:", "yes: 2\n  merged:");
    let printed = run(&plane.binaries().join("kubectl"), &args, &twice).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap()["spec"]["true"], 1);
    let manifest = read(&Text { name: "file.yaml".to_owned(), text: twice });
    assert_eq!(manifest.objects[0].value["spec"]["true"], 1);
    assert!(manifest.faults[0].message.contains("the key true is duplicated"), "{:?}", manifest.faults);
    let words = |of: &Value| of["spec"]["words"].as_array().unwrap().clone();
    assert_eq!(words(&ours).len(), words(&theirs).len());
    for (ours, theirs) in words(&ours).iter().zip(&words(&theirs)) {
        // beyond 64 bits a number is written in two ways
        assert!(ours == theirs || (ours.is_f64() && ours.as_f64() == theirs.as_f64()), "{ours} is {theirs} to kubectl");
    }
    for member in ["base", "merged", "true", "1", "16", "folded"] {
        assert_eq!(ours["spec"][member], theirs["spec"][member], "{member}");
    }
    let members = |of: &Value| of["spec"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(members(&ours), members(&theirs));
}

#[test]
fn the_command_prints_each_finding_and_exits_by_what_it_found() {
    let good = "apiVersion: videotoken.dev/v1alpha1\nkind: VideoAccessToken\nmetadata: {name: a}\nspec:\n  providerRef: {name: p}\n  scope:\n    blendVision: {playback: {resourceId: r, resourceType: RESOURCE_TYPE_VOD, customerId: c}}\n";
    let bad = good.replace("RESOURCE_TYPE_VOD", "VOD");
    let map = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    let finding =
        "-:7:59: spec.scope.blendVision.playback.resourceType: Invalid value: must be a BlendVision resource type";
    for (text, args, code, printed) in [
        (format!("{good}{map}"), &["-f", "-"][..], 0, "0 findings; 1 good, 0 rejected, 1 of other kinds skipped\n"),
        (bad.clone(), &["-f", "-"], 1, finding),
        (bad.clone(), &["-f", "-", "-o", "json"], 1, "\"line\": 7"),
        ("a: [".to_owned(), &["-f", "-"], 1, "-:2:1: not YAML"),
        (good.to_owned(), &["-f", "/nowhere.yaml"], 2, "/nowhere.yaml: No such file"),
        (good.to_owned(), &[], 2, "--filename"),
        (String::new(), &["-f", "deploy/examples"], 0, "0 findings; 21 good"),
        (String::new(), &["-f", "deploy/examples/platforms"], 0, "0 findings; "),
    ] {
        let heard = said(args, &text);
        assert_eq!(heard.0, code, "{args:?} {}", heard.1);
        assert!(heard.1.contains(printed), "{args:?} {}", heard.1);
    }
    let printed = said(&["-f", "-", "-o", "json"], &bad).1;
    let json: Value = serde_json::from_str(&printed).unwrap();
    let members: BTreeSet<_> = json["findings"][0].as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["column", "field", "file", "kind", "line", "message", "name", "namespace", "refusedBy"];
    assert_eq!(members, BTreeSet::from(expected));
    assert_eq!(json["findings"][0]["refusedBy"], "apiServer");
}

/// The exit code of `check`, and what it says.
fn said(args: &[&str], input: &str) -> (i32, String) {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new(TOOL)
        .arg("check")
        .args(args)
        .current_dir(repository())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), said)
}
