//! What Prometheus and Grafana are given: the Prometheus Operator's own types take it, and it names metrics that exist.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use testkit::chart::{cases, folder, run, template, tool};
use testkit::stand::controlplane::repository;

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

/// As the chart renders them: Grafana's sidecar reads them from there.
#[test]
fn grafanas_own_types_take_each_dashboard() {
    let rendered = template("vto", "video", "dashboard: {enabled: true}", &[]).unwrap();
    let documents = serde_yaml_ng::Deserializer::from_str(&rendered);
    let objects = documents.map(|document| <Value as serde::Deserialize>::deserialize(document).unwrap());
    let dashboards: Vec<_> = objects
        .filter(|object| object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("-dashboards")))
        .flat_map(|object| object["data"].as_object().unwrap().clone())
        .collect();
    assert_eq!(dashboards.len(), 1, "{:?}", dashboards.iter().map(|(name, _)| name).collect::<Vec<_>>());
    let text = dashboards[0].1.as_str().unwrap();
    let taken = run(&tool("grafana").unwrap(), &[], text).unwrap();
    assert!(taken.trim().parse::<u32>().unwrap() > 20, "{taken}");
    for (right, wrong) in [("\"fieldConfig\"", "\"fieldConfg\""), ("\"graphMode\": \"none\"", "\"graphMode\": 5")] {
        let refusal = run(&tool("grafana").unwrap(), &[], &text.replacen(right, wrong, 1)).unwrap_err();
        assert!(refusal.to_string().contains("panels[1]"), "{refusal}");
    }
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

/// docs/reference/metrics.md has a row for each; a test holds it against a live scrape.
#[test]
fn rules_and_dashboards_name_metrics_that_are_scraped() {
    let mut named = BTreeSet::new();
    for part in ["rules", "dashboards"] {
        for file in fs::read_dir(folder().join(part)).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            expressions(&serde_yaml_ng::from_str(&text).unwrap(), &mut named);
        }
    }
    assert!(named.len() > 5, "{named:?}");
    let documented = fs::read_to_string(repository().join("docs/reference/metrics.md")).unwrap();
    for name in &named {
        let part = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        let histogram = part.is_some_and(|whole| documented.contains(&format!("| `{whole}` | histogram |")));
        assert!(histogram || documented.contains(&format!("| `{name}` | ")), "docs/reference/metrics.md has no {name}");
    }
}

#[test]
fn every_alert_says_what_it_means_and_what_to_do() {
    for file in fs::read_dir(folder().join("rules")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let rules: Value = serde_yaml_ng::from_str(&text).unwrap();
        for rule in rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
            let Some(alert) = rule["alert"].as_str() else { continue };
            for field in ["summary", "description", "runbook_url"] {
                assert!(rule["annotations"][field].is_string(), "{alert} has no {field}");
            }
            assert!(
                ["critical", "warning", "info"].contains(&rule["labels"]["severity"].as_str().unwrap_or_default()),
                "{alert}"
            );
        }
    }
}
