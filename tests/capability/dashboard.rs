//! Every panel of the Grafana dashboard has data, and says what it shows and where to read on.

use crate::OPERATOR;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;
use testkit::dashboard::prometheus::{self, Query, Scrapes};
use testkit::dashboard::{self, Panel};
use testkit::emulator::{Fault, Life, Rule, example};
use testkit::scene::{Scene, hosts};
use testkit::stand::controlplane::repository;
use testkit::stand::{Failure, Matcher, Operator};
use testkit::tls::ClientCertificate;
use tokio::sync::oneshot;

const EVERY: Duration = Duration::from_millis(500);

/// Scrapes after the last change: its gauges, and two points for its rates.
const LAST: usize = 4;

/// Two scrapes at least, on a slow machine too.
const RATE: &str = "20s";

fn panels() -> Vec<Panel> {
    let text = fs::read_to_string(dashboard::file()).unwrap();
    dashboard::panels(&serde_json::from_str(&text).unwrap()).unwrap()
}

fn refuse(code: u16) -> Rule {
    Rule::new(Fault::Status { code, body: "{}".to_owned(), headers: Vec::new() })
}

/// Scrapes until it is told to stop, and then as often as the last gauges and rates take.
fn scraping(operator: &Operator) -> (oneshot::Sender<()>, tokio::task::JoinHandle<Scrapes>) {
    let url = operator.url("/metrics");
    let (stop, mut stopped) = oneshot::channel();
    let scraping = tokio::spawn(async move {
        let mut scrapes = Scrapes::default();
        let mut every = tokio::time::interval(EVERY);
        while stopped.try_recv().is_err() {
            every.tick().await;
            scrapes.take(&url, "operator").await;
        }
        for _ in 0..LAST {
            every.tick().await;
            scrapes.take(&url, "operator").await;
        }
        scrapes
    });
    (stop, scraping)
}

/// Whatever the metrics can tell happens once: tokens in good and bad states, refusals, a throttle, a refused write.
async fn live(scene: &Scene) {
    let control = scene.azure.video_indexer.control();
    let certificate = ClientCertificate::until("ends", (chrono::Utc::now() + chrono::TimeDelta::days(9)).date_naive());
    let certificate = certificate.unwrap();
    let keys = json!({"tls.crt": certificate.certificate_pem, "tls.key": certificate.private_key_pem});
    scene.apply(&scene.keys("ends", &hosts(&scene.azure).join(","), &keys)).await.unwrap();
    let auth = json!({"clientCertificate": {"tenantId": example::TENANT_ID, "clientId": example::CLIENT_ID,
        "secretRef": {"name": "ends"}}});
    scene.apply(&scene.provider("certified", &auth)).await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    control.play_once(Fault::Status { code: 403, body: "{}".to_owned(), headers: Vec::new() });
    scene.apply(&scene.token("refused", &json!({}))).await.unwrap();
    scene.until("refused", "Stalled", "True", "Forbidden").await.unwrap();
    control.set_life(Life::Seconds(10));
    scene.ready_token("short", &json!({})).await.unwrap();
    control.set_life(Life::Promised);

    control.play(refuse(503));
    scene.until("short", "Ready", "False", "Expired").await.unwrap();
    control.clear_faults();
    control.play_once(Fault::Throttle { retry_after: Some(3) });
    scene.touch("short").await.unwrap();
    scene.until("short", "Ready", "True", "").await.unwrap();
    let failing = scene.proxy.fail(Matcher::patch("secrets").name("lobby").first(1), Failure::Status(500));
    scene.force_renewal("lobby").await.unwrap();
    scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    assert_eq!(failing.hits(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panels_every_expression_has_data_in_a_real_scrape_and_an_invented_metric_has_none() {
    let scene = Scene::new("dashboard", OPERATOR).await.unwrap();
    let operator = scene.operator().await.unwrap();
    let (stop, scraping) = scraping(&operator);
    live(&scene).await;
    stop.send(()).unwrap();
    let scrapes = scraping.await.unwrap();

    // a single refusal is a step, though nothing of its kind was before it
    let refusals = r#"increase(videotoken_issue_failures_total{class="denied"}[20s]) > 0.9"#;
    let seen = prometheus::evaluate(&scrapes, &[Query { expr: refusals.to_owned() }]).unwrap();
    assert_eq!(seen[0].len(), 1, "{seen:?}");

    let mut panels = panels();
    let asked: usize = panels.iter().map(|panel| panel.targets.len()).sum();
    assert!(asked > 30, "{asked} expressions");
    let mut invented = panels[1].clone();
    let (expression, legend) = invented.targets[0].clone();
    invented.title = "Invented".to_owned();
    invented.targets = vec![(expression.replace("videotoken_tokens", "videotoken_coins"), legend)];
    panels.push(invented);
    let answers = dashboard::answers(&panels, &scrapes, RATE).unwrap();
    let empty = dashboard::without_data(&panels, &answers);
    assert_eq!(empty.len(), 1, "no data: {empty:#?}");
    assert!(empty[0].starts_with("Invented: ") && empty[0].contains("videotoken_coins"), "{empty:?}");

    let picture = dashboard::draw("a run", &panels, &answers, &scrapes);
    for panel in &panels {
        assert!(picture.contains(&format!(">{}<", panel.title)) || panel.kind == "row", "{}", panel.title);
    }
    assert!(!picture.contains(&scene.held("lobby").await.unwrap()));
}

#[test]
fn the_dashboard_tells_every_metric_of_the_table_and_nothing_else() {
    let page = fs::read_to_string(repository().join("docs/reference/metrics.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<_> = rows.map(|(name, _)| name.to_owned()).collect();
    let mut shown = BTreeSet::new();
    for (expression, _) in panels().iter().flat_map(|panel| &panel.targets) {
        let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let ours = words.filter(|word| word.starts_with("videotoken_") || word.starts_with("process_"));
        shown.extend(ours.map(|word| word.trim_end_matches("_bucket").trim_end_matches("_count").to_owned()));
    }
    assert_eq!(shown, documented);
}

#[test]
fn every_panel_says_what_it_shows_in_which_unit_and_leads_to_a_runbook_that_is_there() {
    let mut linked = BTreeSet::new();
    for Panel { title, json, kind, .. } in panels() {
        assert!(!title.is_empty());
        if kind == "row" {
            continue;
        }
        assert!(json["description"].as_str().is_some_and(|text| text.len() > 15), "{title} has no description");
        assert!(json["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        assert_eq!(json["datasource"]["uid"], "${datasource}", "{title}");
        let links = json["links"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(!links.is_empty(), "{title} has no link");
        for link in links {
            let url = link["url"].as_str().unwrap();
            let page = url.split_once("/blob/main/").unwrap().1;
            assert!(repository().join(page).is_file(), "{title} leads to {page}");
            linked.insert(page.rsplit('/').next().unwrap().to_owned());
        }
    }
    let pages = fs::read_dir(repository().join("docs/runbooks")).unwrap();
    let pages: BTreeSet<_> = pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(linked, pages, "each runbook is reached from a panel");
}

#[test]
fn panels_lie_side_by_side_and_bear_numbers_of_their_own() {
    let panels = panels();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel.json["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for (n, one) in panels.iter().enumerate() {
        let place = one.place;
        assert!(place.x + place.w <= 24, "{} leaves the grid", one.title);
        for other in &panels[n + 1..] {
            let there = other.place;
            let apart = place.x + place.w <= there.x
                || there.x + there.w <= place.x
                || place.y + place.h <= there.y
                || there.y + there.h <= place.y;
            assert!(apart, "{} lies over {}", one.title, other.title);
        }
    }
    let variables: Value = serde_json::from_str(&fs::read_to_string(dashboard::file()).unwrap()).unwrap();
    let names: Vec<_> = variables["templating"]["list"].as_array().unwrap().iter().map(|v| v["name"].clone()).collect();
    assert_eq!(names, ["datasource", "job", "namespace"]);
}
