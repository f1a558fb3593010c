//! The chart's alerts: promtool reads them, they fire when they should and not else, and each has its page.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use testkit::chart::{folder, run, tool};
use testkit::stand::controlplane::repository;

const RULES: &str = "charts/video-token-operator/rules/tokens.yaml";
const CASES: &str = "tests/alerts/alerts.yaml";

fn promtool(args: &[&str]) -> String {
    run(&tool("promtool").unwrap(), args, "").unwrap_or_else(|error| panic!("{error:#}"))
}

fn alerts() -> BTreeSet<String> {
    let rules = fs::read_to_string(repository().join(RULES)).unwrap();
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned);
    names.collect()
}

#[test]
fn prometheus_takes_every_rule() {
    let files: Vec<_> = fs::read_dir(folder().join("rules")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files, [repository().join(RULES)], "one file, which the cases of {CASES} are about");
    let said = promtool(&["check", "rules", "--lint=all", "--lint-fatal", RULES]);
    assert!(said.contains(&format!("{} rules found", alerts().len())), "{said}");
}

#[test]
fn each_alert_fires_when_it_should_and_not_else() {
    promtool(&["test", "rules", CASES]);
    let cases = fs::read_to_string(repository().join(CASES)).unwrap();
    let fires = |alert: &&String| cases.contains(&format!("alertname=\"{alert}\""));
    let untested: Vec<_> = alerts().into_iter().filter(|alert| !fires(&alert)).collect();
    assert!(untested.is_empty(), "{CASES} has no case in which these fire: {untested:?}");
}

#[test]
fn each_alert_has_a_page_and_each_page_an_alert() {
    let pages = fs::read_dir(repository().join("docs/runbooks")).unwrap();
    let pages: BTreeSet<_> = pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    let alerts = alerts();
    assert_eq!(pages, alerts.iter().map(|alert| format!("{alert}.md")).collect());
    let rules = fs::read_to_string(repository().join(RULES)).unwrap();
    let index = fs::read_to_string(repository().join("docs/how-to/operations.md")).unwrap();
    for alert in alerts {
        assert!(
            index.contains(&format!("(../runbooks/{alert}.md)")),
            "docs/how-to/operations.md has no link to {alert}"
        );
        assert!(rules.contains(&format!("/docs/runbooks/{alert}.md\n")), "{alert} names no page");
        let page = fs::read_to_string(repository().join(format!("docs/runbooks/{alert}.md"))).unwrap();
        for part in ["**Meaning.**", "**Diagnosis.**", "**Action.**"] {
            assert!(page.contains(part), "{alert} has no {part}");
        }
    }
}
