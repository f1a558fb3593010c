//! Findings, and how they are shown: each as soon as it is known.

use super::super::fault::Fault;
use super::super::output::show;
use super::super::paint::{Paint, Tone, plain, wrap};
use serde::Serialize;
use std::fmt::Write as _;

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// To be looked at, or not to be seen from here.
    Warning,
    /// Not as it should be.
    Failed,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    /// Of what: `API server`, `CRDs`, …
    pub(super) area: &'static str,
    /// How it is.
    pub(super) verdict: Verdict,
    /// What was found.
    pub(super) found: String,
    /// What to do, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) way_out: Option<String>,
}

/// All findings.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    findings: Vec<Finding>,
    /// Where they are shown as they come.
    #[serde(skip)]
    paint: Option<Paint>,
}

impl Report {
    /// Shows each finding by `paint`; without, it only collects.
    pub(super) fn new(paint: Option<Paint>) -> Self {
        Self { findings: Vec::new(), paint }
    }

    /// All is as it should be.
    pub(super) fn ok(&mut self, area: &'static str, found: impl Into<String>) -> Result<(), Fault> {
        self.add(Finding { area, verdict: Verdict::Ok, found: found.into(), way_out: None })
    }

    /// Something to look at, and the way out.
    pub(super) fn warning(
        &mut self,
        area: &'static str,
        found: impl Into<String>,
        way_out: impl Into<String>,
    ) -> Result<(), Fault> {
        self.add(Finding { area, verdict: Verdict::Warning, found: found.into(), way_out: Some(way_out.into()) })
    }

    /// Something is wrong, and the way out.
    pub(super) fn failed(
        &mut self,
        area: &'static str,
        found: impl Into<String>,
        way_out: impl Into<String>,
    ) -> Result<(), Fault> {
        self.add(Finding { area, verdict: Verdict::Failed, found: found.into(), way_out: Some(way_out.into()) })
    }

    /// One more finding.
    pub(super) fn add(&mut self, finding: Finding) -> Result<(), Fault> {
        if let Some(paint) = self.paint {
            show(&lines(&finding, paint))?;
        }
        self.findings.push(finding);
        Ok(())
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// Nothing failed.
    pub(super) fn is_well(&self) -> bool {
        self.count(Verdict::Failed) == 0
    }

    /// The last line.
    pub(super) fn summary(&self) -> Result<(), Fault> {
        let [ok, warnings, failed] =
            [Verdict::Ok, Verdict::Warning, Verdict::Failed].map(|verdict| self.count(verdict));
        show(&format!("\n{ok} ok, {warnings} to be looked at, {failed} failed\n"))
    }
}

/// Where an area's name begins.
const AREA: usize = 9;
/// Where what was found begins.
const FOUND: usize = 23;

fn lines(finding: &Finding, paint: Paint) -> String {
    let (word, tone) = match finding.verdict {
        Verdict::Ok => ("ok", Tone::Good),
        Verdict::Warning => ("warning", Tone::Warn),
        Verdict::Failed => ("failed", Tone::Bad),
    };
    let columns = paint.width().map_or(usize::MAX, |columns| columns.saturating_sub(FOUND));
    let way_out = finding.way_out.as_deref().filter(|text| !text.is_empty()).map(|text| format!("-> {text}"));
    let mut all = wrap(&plain(&finding.found), columns);
    all.extend(way_out.map(|text| wrap(&plain(&text), columns)).into_iter().flatten());
    let mut shown = String::new();
    for (n, line) in all.iter().enumerate() {
        if n == 0 {
            let space = " ".repeat(AREA - word.len());
            let _ = writeln!(shown, "{}{space}{:<14}{line}", paint.tone(tone, word), finding.area);
        } else {
            let _ = writeln!(shown, "{}{line}", " ".repeat(FOUND));
        }
    }
    shown
}
