//! Scrapes, and what Prometheus makes of them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::chart::{run, tool};

/// One scrape of one target.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Scrape {
    at: i64,
    target: BTreeMap<String, String>,
    content_type: String,
    text: String,
}

/// Scrapes in the order of time.
#[derive(Clone, Debug, Default)]
pub struct Scrapes {
    all: Vec<Scrape>,
}

/// What is evaluated over the time of all scrapes.
#[derive(Clone, Debug)]
pub struct Query {
    /// The expression.
    pub expr: String,
}

/// One series.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Line {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Unix seconds and value; where the value is no number there is none.
    pub samples: Vec<(f64, f64)>,
}

/// Steps in the whole time.
const STEPS: i32 = 180;

impl Scrapes {
    /// Scrapes one target now. Where it doesn't answer in time its series end, as they do in Prometheus.
    pub async fn take(&mut self, url: &str, instance: &str) {
        let failed = |_| ("text/plain; version=0.0.4".to_owned(), String::new());
        let (content_type, text) = get(url).await.unwrap_or_else(failed);
        let target = [("job", "video-token-operator"), ("instance", instance), ("namespace", "video-token-operator")];
        self.all.push(Scrape {
            at: Utc::now().timestamp_millis(),
            target: target.map(|(label, value)| (label.to_owned(), value.to_owned())).into(),
            content_type,
            text,
        });
    }

    /// From the first scrape to the last.
    pub fn span(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let at = |scrape: &Scrape| DateTime::from_timestamp_millis(scrape.at);
        Some((at(self.all.first()?)?, at(self.all.last()?)?))
    }
}

async fn get(url: &str) -> Result<(String, String)> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
    // as Prometheus asks by default
    let asked = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    let answer = client.get(url).header(http::header::ACCEPT, asked).send().await?.error_for_status()?;
    let type_ = answer.headers().get(http::header::CONTENT_TYPE).context("no Content-Type")?.to_str()?.to_owned();
    Ok((type_, answer.text().await?))
}

/// Each query's series over the time of all scrapes.
pub fn evaluate(scrapes: &Scrapes, queries: &[Query]) -> Result<Vec<Vec<Line>>> {
    let (start, end) = scrapes.span().context("no scrape")?;
    let step = ((end - start) / STEPS).max(TimeDelta::milliseconds(500));
    let ranged = |query: &Query| {
        serde_json::json!({"expr": query.expr, "start": start.timestamp_millis(), "end": end.timestamp_millis(),
            "step": step.num_milliseconds()})
    };
    let queries: Vec<_> = queries.iter().map(ranged).collect();
    let asked = serde_json::json!({"scrapes": scrapes.all, "queries": queries});
    let said = run(&tool("prometheus")?, &[], &asked.to_string())?;
    serde_json::from_str(&said).context("what the engine answers")
}
