//! The `NetworkPolicy`: the way to each host that the values name.

use serde_json::{Value, json};
use testkit::chart::template;
use testkit::stand::yaml;

/// The egress rules that follow those of DNS, the API server and token APIs.
fn egress(values: &str) -> Vec<Value> {
    let args = ["--set", "networkPolicy.enabled=true", "--show-only", "templates/networkpolicy.yaml"];
    let policy = yaml::parse(&template("vto", "video", values, &args).unwrap()).unwrap().pop().unwrap();
    policy.data["spec"]["egress"].as_array().unwrap().iter().skip(3).cloned().collect()
}

fn rule(port: u16, cidr: Option<&str>) -> Value {
    let ports = json!([{"port": port, "protocol": "TCP"}]);
    match cidr {
        Some(cidr) => json!({"ports": ports, "to": [{"ipBlock": {"cidr": cidr}}]}),
        None => json!({"ports": ports}),
    }
}

#[test]
fn a_policy_permits_the_proxies_and_the_collector_of_the_values() {
    for (values, expected) in [
        ("", vec![]),
        ("proxy: {httpsProxy: 'http://proxy.example.com:3128'}", vec![rule(3128, None)]),
        ("proxy: {httpsProxy: 'http://u:p%40w@proxy.example.com:3128/'}", vec![rule(3128, None)]),
        ("proxy: {httpsProxy: 'http://proxy:3128', httpProxy: 'http://proxy:3128'}", vec![rule(3128, None)]),
        (
            "proxy: {httpsProxy: 'http://proxy:3128', httpProxy: 'http://other:8080'}",
            vec![rule(3128, None), rule(8080, None)],
        ),
        // the ports of schemes; the operator reads a text without one as http
        ("proxy: {httpsProxy: 'http://proxy'}", vec![rule(80, None)]),
        ("proxy: {httpsProxy: 'https://proxy/'}", vec![rule(443, None)]),
        ("proxy: {httpsProxy: proxy}", vec![rule(80, None)]),
        ("proxy: {httpsProxy: 'proxy:3128'}", vec![rule(3128, None)]),
        // addresses
        ("proxy: {httpsProxy: 'http://192.0.2.7:3128'}", vec![rule(3128, Some("192.0.2.7/32"))]),
        ("proxy: {httpsProxy: 'http://u:p@[2001:db8::7]:3128'}", vec![rule(3128, Some("2001:db8::7/128"))]),
        ("proxy: {httpsProxy: 'https://[2001:db8::7]'}", vec![rule(443, Some("2001:db8::7/128"))]),
        // variables
        (
            "extraEnv: [{name: ALL_PROXY, value: 'http://proxy:3128'}, {name: NO_PROXY, value: 'a:1'}]",
            vec![rule(3128, None)],
        ),
        ("extraEnv: [{name: HTTPS_PROXY, valueFrom: {secretKeyRef: {name: a, key: b}}}]", vec![]),
        ("extraEnv: [{name: OTEL_EXPORTER_OTLP_ENDPOINT, value: 'http://collector:4318'}]", vec![rule(4318, None)]),
        ("tracing: {otlpEndpoint: 'http://otel-collector.observability:4318'}", vec![rule(4318, None)]),
        ("tracing: {otlpEndpoint: 'https://192.0.2.8/otlp?a=b:1'}", vec![rule(443, Some("192.0.2.8/32"))]),
        (
            "proxy: {httpsProxy: 'http://proxy:3128'}\ntracing: {otlpEndpoint: 'http://collector:4318'}",
            vec![rule(3128, None), rule(4318, None)],
        ),
    ] {
        assert_eq!(egress(values), expected, "{values}");
    }
}

#[test]
fn named_peers_replace_those_of_the_url_and_further_rules_stay() {
    let values = "networkPolicy: {proxy: {to: [{ipBlock: {cidr: 192.0.2.0/24}}]}, collector: {to: [{podSelector: {}}]}, \
                  extraEgress: [{ports: [{port: 1, protocol: TCP}]}]}\n\
                  proxy: {httpsProxy: 'http://192.0.2.7:3128'}\n\
                  tracing: {otlpEndpoint: 'http://collector:4318'}\n";
    let mut collector = rule(4318, None);
    collector["to"] = json!([{"podSelector": {}}]);
    assert_eq!(egress(values), [rule(3128, Some("192.0.2.0/24")), collector, rule(1, None)]);
}
