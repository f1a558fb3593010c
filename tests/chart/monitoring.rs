//! What Prometheus and Grafana are given: the Prometheus Operator's own types take it, and it names metrics that exist.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;
use testkit::chart::{cases, folder, run, template, tool};
use testkit::stand::shared;
use video_token_operator::issuer::Class;
use video_token_operator::metrics::{API_SERVER, Metrics, client, count_requests};

#[test]
fn the_prometheus_operators_types_take_each_monitor_and_rule() {
    let mut taken = 0;
    for (case, values) in cases().unwrap() {
        let rendered = template("vto", "video", &values, &[]).unwrap();
        let said = run(&tool("monitoring").unwrap(), &[], &rendered).unwrap_or_else(|error| panic!("{case}: {error}"));
        taken += said.trim().parse::<u32>().unwrap();
    }
    assert_eq!(taken, 3, "a ServiceMonitor, a PodMonitor and a PrometheusRule");
    let wrong = "apiVersion: monitoring.coreos.com/v1\nkind: PodMonitor\nspec: {podMetricsEndpoint: []}\n";
    assert!(run(&tool("monitoring").unwrap(), &[], wrong).unwrap_err().to_string().contains("podMetricsEndpoint"));
}

/// The names in an expression that are ours.
fn ours(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("videotoken_")).map(str::to_owned).collect()
}

fn expressions(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(expression)) = members.get("expr") {
                into.extend(ours(expression));
            }
            members.values().for_each(|member| expressions(member, into));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, into)),
        _ => {}
    }
}

/// Metrics in which all happened that gives them series.
async fn scrape() -> String {
    let metrics = Metrics::new();
    metrics.issued("videoIndexer", Duration::from_millis(300));
    metrics.issue_failed("videoIndexer", Class::Throttled, "Throttled", Duration::from_millis(300));
    metrics.set_clock_skew(API_SERVER, 1);
    let login = shared().await.unwrap().admin().config().unwrap();
    client(login, &count_requests(metrics.clone())).unwrap().apiserver_version().await.unwrap();
    metrics.encode()
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_dashboards_name_metrics_that_are_scraped() {
    let mut named = BTreeSet::new();
    for part in ["rules", "dashboards"] {
        for file in fs::read_dir(folder().join(part)).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            expressions(&serde_yaml_ng::from_str(&text).unwrap(), &mut named);
        }
    }
    assert!(named.len() > 5, "{named:?}");
    let scrape = scrape().await;
    // what is shown only once there is a token
    let tokens =
        ["videotoken_tokens", "videotoken_token_expiry_timestamp_seconds", "videotoken_token_renew_timestamp_seconds"];
    for name in named.iter().filter(|name| !tokens.contains(&name.as_str())) {
        let family =
            ["_total", "_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(scrape.contains(&format!("# TYPE {family} ")), "no metric {name} in\n{scrape}");
    }
}

#[test]
fn every_alert_says_what_it_means_and_what_to_do() {
    for file in fs::read_dir(folder().join("rules")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let rules: Value = serde_yaml_ng::from_str(&text).unwrap();
        for rule in rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
            let Some(alert) = rule["alert"].as_str() else { continue };
            for field in ["summary", "description"] {
                assert!(rule["annotations"][field].is_string(), "{alert} has no {field}");
            }
            assert!(
                ["critical", "warning", "info"].contains(&rule["labels"]["severity"].as_str().unwrap_or_default()),
                "{alert}"
            );
        }
    }
}
