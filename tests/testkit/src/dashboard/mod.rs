//! The Grafana dashboard, without Grafana: its panels as its JSON has them, their expressions evaluated by Prometheus's
//! own engine over what was really scraped, and a picture drawn from the answers.
//!
//! | File | What it is |
//! |---|---|
//! | this | the panels and what they ask |
//! | [`prometheus`] | scrapes over a time, and the series that an expression has over them |
//! | `picture`, `plot` | the SVG: the panels' frames and what is in them; lines, areas and axes |

mod picture;
mod plot;
pub mod prometheus;

pub use picture::draw;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::chart::folder;
use prometheus::{Line, Query, Scrapes};

/// Where a panel lies on Grafana's grid of 24 columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Columns from the left.
    pub x: u32,
    /// Rows from the top.
    pub y: u32,
    /// Columns.
    pub w: u32,
    /// Rows.
    pub h: u32,
}

/// One panel, a heading among them.
#[derive(Clone, Debug)]
pub struct Panel {
    /// `timeseries`, `stat`, `table`, `state-timeline` or, of a heading, `row`.
    pub kind: String,
    /// Its title.
    pub title: String,
    /// Its place.
    pub place: Place,
    /// Each expression, as it is written, with the legend of its series.
    pub targets: Vec<(String, String)>,
    /// The whole of it.
    pub json: Value,
}

/// The chart's dashboard.
pub fn file() -> PathBuf {
    folder().join("dashboards/video-token-operator.json")
}

/// Reads a dashboard's panels.
pub fn panels(dashboard: &Value) -> Result<Vec<Panel>> {
    let panels = dashboard["panels"].as_array().context("panels")?;
    panels.iter().map(panel).collect()
}

fn panel(json: &Value) -> Result<Panel> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let at = |side: &str| -> Result<u32> {
        let number = json["gridPos"][side].as_u64().with_context(|| format!("gridPos.{side} of {}", json["title"]))?;
        Ok(u32::try_from(number)?)
    };
    let targets = json["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Panel {
        kind: text(&json["type"]),
        title: text(&json["title"]),
        place: Place { x: at("x")?, y: at("y")?, w: at("w")?, h: at("h")? },
        targets: targets.iter().map(|target| (text(&target["expr"]), text(&target["legendFormat"]))).collect(),
        json: json.clone(),
    })
}

/// The expression as Grafana sends it with every variable at `All`. `interval` is what `$__rate_interval` comes to.
pub fn substituted(expression: &str, interval: &str) -> String {
    expression.replace("$job", ".*").replace("$namespace", ".*").replace("$__rate_interval", interval)
}

/// The series of each target of each panel, over the time of the scrapes.
pub fn answers(panels: &[Panel], scrapes: &Scrapes, interval: &str) -> Result<Vec<Vec<Vec<Line>>>> {
    let all = panels.iter().flat_map(|panel| &panel.targets);
    let queries: Vec<_> = all.map(|(expression, _)| Query { expr: substituted(expression, interval) }).collect();
    let mut answers = prometheus::evaluate(scrapes, &queries)?.into_iter();
    Ok(panels.iter().map(|panel| answers.by_ref().take(panel.targets.len()).collect()).collect())
}

/// The expressions that have no data, each with its panel's title.
pub fn without_data(panels: &[Panel], answers: &[Vec<Vec<Line>>]) -> Vec<String> {
    let targets = panels.iter().zip(answers).flat_map(|(panel, answers)| {
        panel.targets.iter().zip(answers).map(|((expression, _), lines)| (&panel.title, expression, lines))
    });
    let empty = targets.filter(|(_, _, lines)| lines.is_empty());
    empty.map(|(title, expression, _)| format!("{title}: {expression}")).collect()
}
