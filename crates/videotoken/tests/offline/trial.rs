//! `try`: the request of a declared provider as it would be sent, and an answer as it would be read.

use crate::stand::{Ran, command, run};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use testkit::emulator::{Emulator as _, Platforms, Serving, platform_example as example};
use testkit::stand::process::Scratch;
use testkit::tls::CertificateAuthority;

const SUCCESS: &str = "HTTP/2 200\r\ncontent-type: application/json\r\ndate: Sun, 22 Nov 2026 12:00:00 GMT\r\n\r\n";

async fn tried(arguments: &[&str]) -> Ran {
    let mut command = command("try");
    command.args(arguments);
    run(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_is_shown_with_its_secrets_masked_and_nothing_is_sent() {
    let video = example::VIDEO;
    let shown = tried(&["-f", "deploy/examples/http.yaml", "--lifetime", "2h"]).await;
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""));
    let lines: Vec<_> = shown.stdout.lines().collect();
    assert_eq!(lines[0], "Request");
    let path = format!("/client/v4/accounts/{}/stream/{video}/token", example::ACCOUNT);
    assert_eq!(lines[1], format!("  POST https://api.cloudflare.com{path}"));
    assert_eq!(lines[2], "  authorization: Bearer <cloudflare/api-token>");
    let body: Value = serde_json::from_str(lines[lines.len() - 1].trim()).unwrap();
    let life = body["exp"].as_i64().unwrap() - chrono::Utc::now().timestamp();
    assert!((7190..=7200).contains(&life), "{life}");

    let form = tried(&["-f", "deploy/examples/platforms/kaltura.yaml", "-p", "user=viewer-7"]).await;
    for line in ["  secret=<kaltura/admin-secret>", "  userId=viewer-7", "  expiry=7200"] {
        assert!(form.stdout.lines().any(|shown| shown == line), "{line}: {}", form.stdout);
    }
    let refused = tried(&["-f", "deploy/examples/http.yaml", "-p", "video=x"]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("allowedScopes admit"), "{}", refused.stderr);
    let pattern = tried(&["-f", "deploy/examples/platforms/daily-api.yaml", "-p", "room=a b"]).await;
    assert!(pattern.code == 1 && pattern.stderr.contains("must match"), "{}", pattern.stderr);
    let other = tried(&["-f", "deploy/examples/blend-vision.yaml"]).await;
    assert!(other.code == 2 && other.stderr.contains("try a provider of type http or signed"), "{}", other.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_is_shown_and_is_signed_with_a_key_that_is_not() {
    let folder = Scratch::new("vto-try-").unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "a-secret-of-this-test-0123456789").unwrap();
    let example = "deploy/examples/signed.yaml";
    let from = format!("livekit/api-secret={}", key.display());
    let shown = tried(&["-f", example, "-p", "room=lobby", "--lifetime", "2h", "--secret-file", &from]).await;
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{}", shown.stdout);
    let line = |start: &str| shown.stdout.lines().find_map(|line| line.trim().strip_prefix(start)).expect(start);
    assert_eq!(line("header: "), r#"{"alg":"HS256"}"#);
    let claims: Value = serde_json::from_str(line("claims: ")).unwrap();
    assert_eq!((&claims["video"]["room"], &claims["video"]["canPublish"]), (&json!("lobby"), &json!(false)));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["nbf"].as_i64().unwrap(), 7200);
    assert!(line("a token that expires at ").ends_with('Z'));
    for secret in ["a-secret-of", "eyJ"] {
        assert!(!shown.stdout.contains(secret), "{}", shown.stdout);
    }

    // a text with the key inside
    let wowza = "deploy/examples/platforms/wowza.yaml";
    let text = tried(&["-f", wowza]).await;
    assert_eq!((text.code, text.stderr.as_str()), (0, ""), "{}", text.stdout);
    assert!(text.stdout.contains("&<wowza/") || text.stdout.contains("?<wowza/"), "{}", text.stdout);
    assert!(text.stdout.contains("<signature>"), "{}", text.stdout);

    // the provider alone
    let provider = folder.path().join("provider.yaml");
    let documents = fs::read_to_string(testkit::stand::controlplane::repository().join(example)).unwrap();
    let alone = documents.split("\n---\n").find(|text| text.contains("kind: TokenProvider")).unwrap();
    fs::write(&provider, alone).unwrap();
    let provider = provider.display().to_string();
    let unsigned = tried(&["-f", &provider]).await;
    assert_eq!(unsigned.code, 0, "{}", unsigned.stderr);
    assert!(unsigned.stdout.contains("not signed: supply the key with --secret-file livekit/api-secret=FILE"));

    let call = tried(&["-f", &provider, "--send"]).await;
    assert!(call.code == 2 && call.stderr.contains("there is no call"), "{}", call.stderr);
    let wrong = tried(&["-f", "deploy/examples/platforms/mux.yaml"]).await;
    assert!(wrong.code == 1 && wrong.stderr.contains("spec.signed.key.secretRef"), "{}", wrong.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_answer_is_read_step_by_step_without_its_token() {
    let folder = Scratch::new("vto-try-").unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let token = "3f0c8a4e9b1d4f6a3f0c8a4e9b1d4f6a";
    let body = json!({"access_token": token, "refresh_token": format!("def{token}"), "expires_in": 3600}).to_string();
    let example = "deploy/examples/platforms/api-video.yaml";
    let read = tried(&["-f", example, "--answer", &file("good", &format!("{SUCCESS}{body}"))]).await;
    assert_eq!((read.code, read.stderr.as_str()), (0, ""), "{}", read.stdout);
    for line in [
        "  HTTP 200, application/json, 123 bytes",
        "  $.access_token: text of 32 characters",
        "  $.expires_in: 3600",
        "  none of the 1 failures matches",
        "  token: 32 characters from $.access_token",
        "  values.refreshToken",
    ] {
        assert!(read.stdout.lines().any(|shown| shown == line), "{line}: {}", read.stdout);
    }
    assert!(!read.stdout.contains(&token[..12]), "{}", read.stdout);
    for (name, answer, expected) in [
        (
            "key",
            "HTTP/1.1 400 Bad Request\n\n{\"type\": \"https://x/authentication-invalid-user-credentials\", \"status\": 400}",
            "class Credential: all calls of the account stop",
        ),
        (
            "busy",
            "HTTP/1.1 429 Too Many\nX-RateLimit-Retry-After: 17\n\n{}",
            "class Throttled: all calls of the account wait, for 17 s",
        ),
        ("empty", "{}", "BadAnswer: HTTP 200: token: nothing at $.access_token"),
        ("unit", "{\"access_token\": \"t\", \"expires_in\": 3600000000}", "The number fits expires.milliseconds"),
    ] {
        let read = tried(&["-f", example, "--answer", &file(name, answer)]).await;
        assert_eq!(read.code, 1, "{name}: {}", read.stdout);
        assert!(read.stdout.contains(expected), "{name}: {}", read.stdout);
    }
}

/// A declared provider with its token and its Secret, in one file.
const DECLARED: &str = r#"apiVersion: videotoken.dev/v1alpha1
kind: TokenProvider
metadata: {name: api, namespace: cinema}
spec:
  http:
    url: https://api.example.com
    auth: {bearer: {name: api, key: secret}}
    parameters: {video: {}}
    request:
      path: /{{ video }}
      json: {ttl: "{{ lifetime }}"}
    response:
      token: {json: $.otp}
      expires: {asked: {}}
    lifetime: {max: 24h}
---
apiVersion: videotoken.dev/v1alpha1
kind: VideoAccessToken
metadata: {name: film, namespace: cinema}
spec:
  providerRef: {name: api}
  scope: {http: {parameters: {video: "1234"}}}
  lifetime: 30m
---
apiVersion: v1
kind: Secret
metadata:
  name: api
  namespace: cinema
  labels: {videotoken.dev/credentials: "true"}
  annotations: {videotoken.dev/allowed-hosts: api.example.com}
stringData: {secret: a-secret}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_beside_the_provider_is_said_before_anything_is_sent() {
    let folder = Scratch::new("vto-try-").unwrap();
    let (file, key) = (folder.path().join("all.yaml"), folder.path().join("key"));
    fs::write(&key, "a-secret").unwrap();
    let with = async |from: &str, to: &str, more: &[&str]| {
        assert!(DECLARED.contains(from), "{from}");
        fs::write(&file, DECLARED.replace(from, to)).unwrap();
        let file = file.display().to_string();
        tried(&[&["-f", &file], more].concat()).await
    };
    let good = with("", "", &[]).await;
    assert_eq!((good.code, good.stderr.as_str()), (0, ""), "{}", good.stdout);
    assert!(!good.stdout.contains("Hints"), "{}", good.stdout);
    let file_of = |name: &str| format!("{name}={}", key.display());
    for (from, to, more, code, expected) in [
        (
            "\"1234\"",
            "1234",
            vec![],
            1,
            "all.yaml:22:38: spec.scope.http.parameters[video]: Invalid value: must be of type string",
        ),
        (
            "lifetime: 30m",
            "lifetime: 1800",
            vec![],
            1,
            "all.yaml:23:13: spec.lifetime: Invalid value: must be of type string",
        ),
        ("scope: {http:", "scope: {signed:", vec![], 1, "all.yaml:"),
        ("true\"", "yes\"", vec![], 1, "isn't labelled as credentials"),
        ("credentials: \"true\"", "credentials: true", vec![], 1, "write it in quotation marks, such as \"true\""),
        (": api.example.com}", ": example.com}", vec![], 1, "doesn't allow the host api.example.com"),
        ("{secret: a", "{api-secret: a", vec![], 1, "has no key secret, but only api-secret"),
        (
            "",
            "",
            vec!["--secret-file".to_owned(), file_of("api/key")],
            2,
            "--secret-file api/key is not used: the provider needs api/secret",
        ),
        ("", "", vec!["--secret-file".to_owned(), file_of("other")], 2, "--secret-file other is not used"),
        ("", "", vec!["--secret-env".to_owned(), "api/key=KEY".to_owned()], 2, "--secret-env api/key is not used"),
        ("ttl: \"{{ lifetime }}\"", "ttl: 300", vec![], 1, "spec.http.response.expires.asked"),
        ("ttl: \"{{ lifetime }}\"", "ttl: {{ lifetime }}", vec![], 1, "Put the template in quotes"),
    ] {
        let more: Vec<_> = more.iter().map(String::as_str).collect();
        let ran = with(from, to, &more).await;
        assert_eq!(ran.code, code, "{to} {more:?}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(expected), "{to} {more:?}: {}", ran.stderr);
    }
    // a flag replaces what the file has
    let replaced = with("lifetime: 30m", "lifetime: 1800", &["--lifetime", "30m"]).await;
    assert_eq!(replaced.code, 0, "{}", replaced.stderr);
    let handed = with("true\"", "yes\"", &["--secret-file", &file_of("api/secret")]).await;
    assert_eq!(handed.code, 0, "{}", handed.stderr);
    let hinted = with("url: https", "url: http", &[]).await;
    assert_eq!(hinted.code, 0, "{}", hinted.stderr);
    assert!(hinted.stdout.contains("Hints\n  spec.http.url: is called without TLS"), "{}", hinted.stdout);
    let answer = folder.path().join("answer");
    fs::write(&answer, "{\"otp\": \"abc\"}").unwrap();
    let assumed = with("", "", &["--answer", &answer.display().to_string()]).await;
    assert!(assumed.stdout.contains("HTTP 200 (assumed: the file has no status line), 14 bytes"), "{}", assumed.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sent_request_has_the_secrets_and_shows_neither_them_nor_the_token() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ca = Arc::new(CertificateAuthority::generate().unwrap());
    let serving = Serving::start(Platforms::furnished().unwrap(), &ca).await.unwrap();
    let folder = Scratch::new("vto-try-").unwrap();
    let text =
        fs::read_to_string(testkit::stand::controlplane::repository().join("deploy/examples/http.yaml")).unwrap();
    let mut documents: Vec<Value> =
        text.split("\n---\n").map(|document| serde_yaml_ng::from_str(document).unwrap()).collect();
    let provider = documents.iter_mut().find(|object| object["kind"] == "ClusterTokenProvider").unwrap();
    provider["spec"]["http"]["url"] = serving.url().into();
    provider["spec"]["caBundle"] = serving.ca_pem().into();
    let manifest = folder.path().join("provider.yaml");
    let documents: Vec<_> = documents.iter().map(|document| serde_yaml_ng::to_string(document).unwrap()).collect();
    fs::write(&manifest, documents.join("---\n")).unwrap();
    let sent = async |secret: &str| {
        let key = folder.path().join("key");
        fs::write(&key, secret).unwrap();
        let from = format!("cloudflare/api-token={}", key.display());
        tried(&["-f", &Path::new(&manifest).display().to_string(), "--send", "--secret-file", &from]).await
    };
    let good = sent(example::API_TOKEN).await;
    assert_eq!((good.code, good.stderr.as_str()), (0, ""), "{}", good.stdout);
    assert!(good.stdout.contains("expires in 12h") || good.stdout.contains("expires in 11h59m"), "{}", good.stdout);
    assert!(!good.stdout.contains(&example::API_TOKEN[..12]) && !good.stdout.contains("eyJ"), "{}", good.stdout);
    let wrong = sent("a-token-of-nobody").await;
    assert_eq!(wrong.code, 1);
    assert!(wrong.stdout.contains("class Credential"), "{}", wrong.stdout);
    assert_eq!(serving.control().counters().requests, 2);
}
