//! Between a person's machine and the API server is a proxy: the plugin goes where kubectl goes.

use crate::stage::{Ran, Stage};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use testkit::stand::ForwardProxy;
use testkit::tls::CertificateAuthority;

/// A kubeconfig whose cluster is changed so.
fn kubeconfig(stage: &Stage, name: &str, changes: &Value) -> PathBuf {
    let mut file: Value = serde_json::from_str(&stage.plane.admin().yaml()).unwrap();
    file["clusters"][0]["cluster"].as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    file["contexts"][0]["context"]["namespace"] = stage.namespace.as_str().into();
    let path = stage.program(name);
    std::fs::write(&path, file.to_string()).unwrap();
    path
}

/// The plugin and kubectl by this kubeconfig and environment.
fn both(stage: &Stage, kubeconfig: &Path, env: &[(&str, &str)]) -> [Ran; 2] {
    let path = kubeconfig.to_str().unwrap();
    let env = [env, &[("KUBECONFIG", path)]].concat();
    let plugin = stage.program("kubectl-videotoken");
    let kubectl = stage.plane.binaries().join("kubectl");
    [
        stage.run_program(&plugin, &["status", "lobby", "--request-timeout=10s"], &env),
        stage.run_program(&kubectl, &["get", "vat", "lobby", "--request-timeout=10s"], &env),
    ]
}

/// A kubeconfig, the environment, and the proxy that is asked for what; none: no proxy is.
type Case<'a> = (&'a Path, Vec<(&'a str, &'a str)>, Option<(&'a ForwardProxy, String)>);

#[tokio::test(flavor = "multi_thread")]
async fn the_plugin_goes_through_the_proxy_that_kubectl_goes_through() {
    let stage = Stage::set("proxies").await;
    stage.apply(&stage.token("lobby", &json!({}))).await.unwrap();
    let server: SocketAddr = stage.plane.api_url().trim_start_matches("https://").parse().unwrap();
    let ca = CertificateAuthority::generate().unwrap();
    let http = ForwardProxy::http(server).await.unwrap();
    let https = ForwardProxy::https(server, &ca).await.unwrap();
    let socks = ForwardProxy::socks5(server).await.unwrap();
    let bundle = format!("{}{}", stage.plane.ca(), ca.ca_pem());
    let port = server.port();
    // by a name that doesn't resolve here, and whose certificate is for another
    let named = json!({"server": format!("https://api.corp.example:{port}"), "tls-server-name": "localhost",
        "certificate-authority-data": STANDARD.encode(&bundle)});
    let named = kubeconfig(&stage, "named", &named);
    let with_url = |name: &str, url: &str| {
        kubeconfig(&stage, name, &json!({"proxy-url": url, "certificate-authority-data": STANDARD.encode(&bundle)}))
    };
    let here = kubeconfig(&stage, "here", &json!({}));
    let [plain, over_tls, by_socks] = [&http, &https, &socks].map(ForwardProxy::url);
    let bare = http.authority();
    let login = plain.replace("http://", "http://us%40er:pass@");
    let (to_name, to_here) = (format!("api.corp.example:{port}"), server.to_string());
    let through = |proxy| Some(proxy);
    let by_url = [with_url("u1", &plain), with_url("u2", &over_tls), with_url("u3", &by_socks)];
    let cases: Vec<Case<'_>> = vec![
        (&named, vec![("HTTPS_PROXY", &plain)], through((&http, to_name.clone()))),
        (&named, vec![("https_proxy", &plain)], through((&http, to_name.clone()))),
        (&named, vec![("HTTPS_PROXY", &bare)], through((&http, to_name.clone()))),
        (&named, vec![("HTTPS_PROXY", &over_tls)], through((&https, to_name.clone()))),
        (&named, vec![("HTTPS_PROXY", &by_socks)], through((&socks, to_name.clone()))),
        (&named, vec![("HTTPS_PROXY", &login)], through((&http, format!("{to_name} Basic dXNAZXI6cGFzcw==")))),
        (
            &named,
            vec![("HTTPS_PROXY", &plain), ("NO_PROXY", "10.0.0.0/8,,corp.example:1,.other, [::1]:6443,")],
            through((&http, to_name.clone())),
        ),
        // no proxy, no way to this name
        (&named, vec![], None),
        (&named, vec![("HTTP_PROXY", &plain)], None),
        (&named, vec![("HTTPS_PROXY", &plain), ("NO_PROXY", "*")], None),
        (&named, vec![("HTTPS_PROXY", &plain), ("no_proxy", "a.example,corp.example")], None),
        (&named, vec![("HTTPS_PROXY", &plain), ("NO_PROXY", ".corp.example")], None),
        // this machine is reached straight, unless the kubeconfig says otherwise
        (&here, vec![("HTTPS_PROXY", "http://127.0.0.1:1")], None),
        (&by_url[0], vec![("NO_PROXY", "*")], through((&http, to_here.clone()))),
        (&by_url[1], vec![], through((&https, to_here.clone()))),
        (&by_url[2], vec![("HTTPS_PROXY", "http://127.0.0.1:1")], through((&socks, to_here.clone()))),
    ];
    for (kubeconfig, env, expected) in cases {
        let what = format!("{env:?} {}", kubeconfig.display());
        let [plugin, kubectl] = both(&stage, kubeconfig, &env);
        let seen: Vec<_> = [&http, &https, &socks].map(ForwardProxy::take_seen).concat();
        let well = expected.is_some() || kubeconfig == here;
        assert_eq!((plugin.code == Some(0), kubectl.code == Some(0)), (well, well), "{what}: {}", plugin.stderr);
        assert_eq!(plugin.code.unwrap(), if well { 0 } else { 3 }, "{what}");
        match expected {
            // each of the two, by the same words
            Some((_, target)) => {
                assert!(seen.len() >= 2 && seen.iter().all(|seen| *seen == target), "{what}: {seen:?}");
            }
            None => assert_eq!(seen, [""; 0], "{what}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_commands_go_the_same_way() {
    let stage = Stage::set("verify-proxy").await;
    let server: SocketAddr = stage.plane.api_url().trim_start_matches("https://").parse().unwrap();
    let proxy = ForwardProxy::http(server).await.unwrap();
    let named = json!({"server": "https://api.corp.example:6443", "tls-server-name": "localhost"});
    let named = kubeconfig(&stage, "named", &named);
    let (kubeconfig, url) = (named.to_str().unwrap(), proxy.url());
    let env = [("KUBECONFIG", kubeconfig), ("HTTPS_PROXY", &url)];
    let said = stage.run_program(crate::stage::operator().as_ref(), &["verify", "--within=10s"], &env).well();
    assert!(said.contains("the API server serves the kinds"), "{said}");
    assert_eq!(proxy.take_seen(), ["api.corp.example:6443"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_wrong_is_named_without_its_password() {
    let stage = Stage::set("wrong-proxy").await;
    let named = json!({"server": "https://api.corp.example:6443"});
    let named = kubeconfig(&stage, "named", &named);
    let by_url = kubeconfig(&stage, "by-url", &json!({"proxy-url": "ftp://us:p4ssw0rd@squid"}));
    let forbidden = kubeconfig(&stage, "forbidden", &json!({"server": "https://forbidden.example:6443"}));
    let server: SocketAddr = stage.plane.api_url().trim_start_matches("https://").parse().unwrap();
    let proxy = ForwardProxy::http(server).await.unwrap();
    let (url, refused) = (proxy.url(), proxy.url().replace("http://", "http://refused@"));
    for (kubeconfig, proxy, expected) in [
        (&named, "http://us:p4ssw0rd@127.0.0.1:1" as &str, "the proxy 127.0.0.1:1: Connection refused"),
        (&named, &refused, "it requires a login, as in http://USER:PASSWORD@HOST:PORT"),
        (&forbidden, &url, "it rejects CONNECT to the API server"),
        (&named, "ftp://us:p4ssw0rd@squid", "HTTPS_PROXY is not the URL of a proxy. Write http://HOST:PORT"),
        (&by_url, "", "proxy-url of the kubeconfig's cluster is not the URL of a proxy"),
    ] {
        let [plugin, _] = both(&stage, kubeconfig, &[("HTTPS_PROXY", proxy)]);
        let said = plugin.ended(3);
        assert!(said.contains(expected) && !said.contains("p4ssw0rd"), "{proxy}: {said}");
    }
}
