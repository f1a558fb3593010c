//! Each rejection of `issue`: exit code, location and action. No token API is called.

use crate::stand::{Providers, object_mut, run};
use serde_json::{Value, json};
use testkit::emulator::{Azure, Fault};
use testkit::stand::operator::binary;

type Change = fn(&mut Vec<Value>);

/// Change of the example own-account, further arguments, exit code and message.
#[rustfmt::skip]
const OWN: &[(Change, &[&str], i32, &str)] = &[
    (|all| object_mut(all, "VideoAccessToken")["spec"]["lifetime"] = "12h".into(), &[], 1, "spec.lifetime: Forbidden: Video Indexer honours a lifetime only with"),
    (|all| object_mut(all, "VideoAccessToken")["spec"]["lifetimes"] = "12h".into(), &[], 1, "spec.lifetimes: unknown field"),
    (|all| object_mut(all, "TokenProvider")["spec"]["videoIndexer"]["accountName"] = "a/b".into(), &[], 1, "spec.videoIndexer.accountName: Invalid value"),
    (|all| object_mut(all, "VideoAccessToken")["spec"]["suspend"] = true.into(), &[], 1, "spec.suspend: the token is suspended, so nothing is issued. Remove suspend."),
    (|all| object_mut(all, "VideoAccessToken")["spec"]["secret"]["template"]["data"]["a"] = "{{ tokn }}".into(), &[], 1, "spec.secret.template.data[a]"),
    (|all| object_mut(all, "VideoAccessToken")["spec"]["providerRef"]["name"] = "other".into(), &[], 1, "spec.providerRef: these files contain no TokenProvider other in namespace cinema. Add its file with -f."),
    (|all| object_mut(all, "VideoAccessToken")["spec"]["scope"] = json!({"blendVision": {"playback": {"resourceId": "r", "resourceType": "RESOURCE_TYPE_VOD", "customerId": "c"}}}), &[], 1, "spec.scope: the provider is videoIndexer but the scope is blendVision"),
    (|all| all.retain(|document| document["kind"] != "Secret"), &[], 1, "there is no Secret entra-credential in namespace cinema"),
    (|all| object_mut(all, "Secret")["metadata"]["labels"] = json!({}), &[], 1, "the Secret entra-credential isn't labelled as credentials for this operator"),
    (|all| object_mut(all, "Secret")["metadata"]["annotations"] = json!({}), &[], 1, "the Secret entra-credential doesn't allow the host"),
    (|all| object_mut(all, "Secret")["data"] = json!({"client-secret": "not base64!"}), &[], 1, "the Secret entra-credential: data[client-secret] is no base64: write plain text under stringData"),
    (|all| object_mut(all, "TokenProvider")["spec"]["videoIndexer"]["auth"] = json!({"workloadIdentity": {"serviceAccountName": "s", "clientId": "7d1f0a52-7f1d-4a9e-9a53-0b8e4d2f6a12", "tenantId": "t.example"}}), &[], 1, "only an API server issues tokens of the ServiceAccount cinema/s. Without a cluster, use clientSecret"),
    (|all| object_mut(all, "TokenProvider")["spec"]["caBundleRef"] = json!({"kind": "ConfigMap", "name": "ca", "key": "k"}), &[], 1, "set caBundle or caBundleRef, not both"),
    (|all| object_mut(all, "VideoAccessToken")["apiVersion"] = "videotoken.io/v1alpha1".into(), &[], 1, "apiVersion: no such kind: videotoken.io/v1alpha1: a VideoAccessToken has apiVersion: videotoken.dev/v1alpha1"),
    (|all| object_mut(all, "TokenProvider")["spec"]["videoIndexer"]["endpoints"]["authority"] = "https:a.example".into(), &[], 1, "spec.videoIndexer.endpoints.authority: Invalid value: must be an absolute URL"),
    (|all| object_mut(all, "Secret")["stringData"]["client-secret"] = "ENC[AES256_GCM,data:ViY4ihyiyg==,iv:abc=,tag:def=,type:str]".into(), &[], 1, "is a value that SOPS has encrypted: apply what `sops --decrypt` prints"),
    (|all| { let sealed = object_mut(all, "Secret"); sealed["apiVersion"] = "bitnami.com/v1alpha1".into(); sealed["kind"] = "SealedSecret".into(); }, &[], 1, "the SealedSecret entra-credential can only be decrypted in a cluster. Supply its keys with --secret-file"),
    (|_| {}, &["--secret-file=entra-credential/client-secret=crates/videotoken/tests/offline/sops.txt"], 1, "is a value that SOPS has encrypted"),
    (|_| {}, &["--secret-env=entra-credential/client-secret=NOT_SET"], 1, "the variable NOT_SET is not set or is empty"),
    (|_| {}, &["--secret-file=entra-credential/client-secret=/nowhere"], 1, "--secret-file /nowhere: No such file"),
    (|_| {}, &["--name=other"], 2, "--name other: these files contain no VideoAccessToken with this name, only cinema/trailers"),
    (|all| all.retain(|document| document["kind"] != "VideoAccessToken"), &[], 2, "these files contain no VideoAccessToken"),
    (|all| { let mut second = object_mut(all, "VideoAccessToken").clone(); second["metadata"]["name"] = "second".into(); all.push(second); }, &[], 2, "these files contain several VideoAccessTokens. Select one with --name [NAMESPACE/]NAME: cinema/trailers, cinema/second"),
    (|_| {}, &["-f", "/nowhere.yaml"], 2, "/nowhere.yaml: No such file"),
    (|_| {}, &["--watch"], 2, "--into"),
    (|_| {}, &["--exec=true"], 2, "--into"),
    (|_| {}, &["--into=/tmp/x", "-o", "token"], 2, "cannot be used with"),
    (|_| {}, &["--secret-file=a"], 2, "write NAME/KEY=PATH, or NAME=DIRECTORY"),
    (|_| {}, &["--secret-env=a=B"], 2, "write NAME/KEY=VARIABLE"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_names_the_place_and_the_way_out() {
    let azure = Azure::start().await.unwrap();
    let providers = Providers::beside(&azure).await;
    for (number, (change, args, code, said)) in OWN.iter().enumerate() {
        let mut documents = providers.example("own-account");
        change(&mut documents);
        let file = providers.file(&format!("{number}.yaml"), &documents);
        let mut command = providers.issue(&file);
        command.args(*args);
        let ran = run(command).await;
        assert!(ran.code == *code && ran.stderr.contains(said), "{said}\n{} {}", ran.code, ran.stderr);
        assert_eq!(ran.stdout, "", "{said}");
        if said.starts_with("spec.") {
            let place = ran.stderr.lines().next().unwrap_or_default();
            assert!(place.contains(&format!("{}:", file.display())), "{place}");
        }
    }
    assert_eq!(azure.video_indexer.control().requests().len() + azure.entra.control().requests().len(), 0);
}

/// Else every call would go direct, in silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_names_no_proxy_is_refused_at_the_start() {
    let azure = Azure::start().await.unwrap();
    let providers = Providers::beside(&azure).await;
    let file = providers.file("proxy.yaml", &providers.example("own-account"));
    let kubeconfig = providers.folder.path().join("kubeconfig");
    let nowhere = json!({"apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}], "users": [{"name": "a", "user": {}}]});
    std::fs::write(&kubeconfig, nowhere.to_string()).unwrap();
    let mut operator = std::process::Command::new(binary().unwrap());
    operator.arg("run").env_clear();
    operator.env("KUBECONFIG", &kubeconfig).arg("--metrics-addr=127.0.0.1:0");
    for (what, mut command) in [("issue", providers.issue(&file)), ("the operator", operator)] {
        command.env("HTTPS_PROXY", "http://user:sesame@squid.example:3128 # the house's");
        let ran = run(command).await;
        let said = format!("{} {}", ran.stdout, ran.stderr);
        assert!(ran.code == 1 && said.contains("HTTPS_PROXY: is no URL of a proxy"), "{what}: {} {said}", ran.code);
        assert!(!said.contains("sesame"), "{what}: {said}");
    }
    assert_eq!(azure.video_indexer.control().requests().len() + azure.entra.control().requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_yaml_is_told_with_its_line() {
    let mut command = crate::stand::command("issue");
    command.args(["-f", "-"]).stdin(std::process::Stdio::piped());
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"kind: VideoAccessToken\nspec: [1\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("-:3:1: not YAML"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_nobody_allowed_is_not_called() {
    let azure = Azure::start().await.unwrap();
    let providers = Providers::beside(&azure).await;
    let file = providers.file("own.yaml", &providers.example("own-account"));
    let mut command = crate::stand::command("issue");
    command.arg("-f").arg(&file);
    let ran = run(command).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("spec.videoIndexer.endpoints.resourceManager: a namespaced provider may not call"),
        "{}",
        ran.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_provider_allows_holds_without_a_cluster() {
    let azure = Azure::start().await.unwrap();
    let providers = Providers::beside(&azure).await;
    let without_namespace: Change = |all| all.retain(|document| document["kind"] != "Namespace");
    let cases: [(Change, &[&str], i32, &str); 6] = [
        (|_| {}, &[], 0, ""),
        (
            without_namespace,
            &[],
            1,
            "video-server selects namespaces by their labels, and these files contain no Namespace control-room",
        ),
        (without_namespace, &["--ignore-allowed-namespaces"], 0, ""),
        (
            |all| object_mut(all, "Namespace")["metadata"]["labels"] = json!({}),
            &[],
            1,
            "video-server doesn't allow the namespace control-room",
        ),
        (
            |all| object_mut(all, "ClusterTokenProvider")["spec"]["allowedNamespaces"] = json!({"names": ["other"]}),
            &[],
            1,
            "doesn't allow the namespace control-room",
        ),
        (
            |all| {
                let kinds = json!({"arcgisVideoServer": {"kinds": ["ip"]}});
                object_mut(all, "ClusterTokenProvider")["spec"]["allowedScopes"] = kinds;
            },
            &["--ignore-allowed-namespaces"],
            1,
            "the ClusterTokenProvider's allowedScopes admit ip, not referer",
        ),
    ];
    for (number, (change, args, code, said)) in cases.into_iter().enumerate() {
        let mut documents = providers.example("arcgis-video-server");
        change(&mut documents);
        let mut command = providers.issue(&providers.file(&format!("{number}.yaml"), &documents));
        command.args(args);
        let ran = run(command).await;
        assert!(ran.code == code && ran.stderr.contains(said), "case {number}: {} {}", ran.code, ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_is_told_with_its_words_and_its_time() {
    let azure = Azure::start().await.unwrap();
    let providers = Providers::beside(&azure).await;
    let file = providers.file("own.yaml", &providers.example("own-account"));
    let control = azure.video_indexer.control();
    for (fault, said) in [
        (Fault::Throttle { retry_after: Some(37) }, "; retry after 20"),
        (Fault::Status { code: 403, body: "{}".to_owned(), headers: Vec::new() }, "cinema/trailers: "),
        (Fault::ExpiredToken, "cinema/trailers: "),
    ] {
        control.play(fault);
        let before = control.requests().len();
        let ran = run(providers.issue(&file)).await;
        assert!(ran.code == 1 && ran.stderr.contains(said), "{} {}", ran.code, ran.stderr);
        assert_eq!(control.requests().len(), before + 1, "one call");
        assert_eq!(ran.stdout, "");
        control.clear_faults();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_requested_after_the_end_that_its_scope_names() {
    let azure = Azure::start().await.unwrap();
    let providers = Providers::beside(&azure).await;
    let mut documents = providers.example("blend-vision");
    let token = documents.iter_mut().find(|document| document["metadata"]["name"] == "opening-night").unwrap();
    token["spec"].as_object_mut().unwrap().remove("lifetime");
    token["spec"]["scope"]["blendVision"]["playback"]["expiredAt"] = "2020-01-01T00:00:00Z".into();
    let file = providers.file("ended.yaml", &documents);
    let into = providers.folder.path().join("into");
    for args in [&[][..], &["--into", into.to_str().unwrap()]] {
        let mut command = providers.issue(&file);
        command.args(["--name", "opening-night"]).args(args);
        let ran = run(command).await;
        let expected = "festival/opening-night: spec.scope.blendVision.playback.expiredAt: has passed";
        assert!(ran.code == 1 && ran.stderr.contains(expected), "{args:?}: {} {}", ran.code, ran.stderr);
    }
    assert_eq!(providers.control("blend-vision").requests().len(), 0);
}
