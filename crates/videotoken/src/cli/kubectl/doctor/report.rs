//! Findings. Each is printed as soon as it is known.

use super::super::error::CliError;
use super::super::output::show;
use super::super::terminal::{TerminalStyle, Tone, plain, wrap};
use serde::Serialize;
use std::fmt::Write as _;

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CheckResult {
    /// The check succeeded.
    Ok,
    /// The check needs attention, or could not be made.
    Warning,
    /// The check failed.
    Failed,
}

/// One check with its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    /// Area, such as `API server` or `CRDs`.
    pub(super) area: &'static str,
    /// Result.
    pub(super) verdict: CheckResult,
    /// Description of the result.
    pub(super) found: String,
    /// Action to take.
    #[serde(rename = "wayOut", skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<String>,
}

/// Report of the findings.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    findings: Vec<Finding>,
    /// Style in which findings are printed at once; `None`: they are only collected.
    #[serde(skip)]
    style: Option<TerminalStyle>,
}

impl Report {
    /// Creates a report that prints each finding in `style`, or only collects them.
    pub(super) fn new(style: Option<TerminalStyle>) -> Self {
        Self { findings: Vec::new(), style }
    }

    /// Adds a successful check.
    pub(super) fn ok(&mut self, area: &'static str, found: impl Into<String>) -> Result<(), CliError> {
        self.add(Finding { area, verdict: CheckResult::Ok, found: found.into(), action: None })
    }

    /// Adds a warning with an action.
    pub(super) fn warning(
        &mut self,
        area: &'static str,
        found: impl Into<String>,
        action: impl Into<String>,
    ) -> Result<(), CliError> {
        self.add(Finding { area, verdict: CheckResult::Warning, found: found.into(), action: Some(action.into()) })
    }

    /// Adds a failure with an action.
    pub(super) fn failed(
        &mut self,
        area: &'static str,
        found: impl Into<String>,
        action: impl Into<String>,
    ) -> Result<(), CliError> {
        self.add(Finding { area, verdict: CheckResult::Failed, found: found.into(), action: Some(action.into()) })
    }

    /// Adds a finding.
    pub(super) fn add(&mut self, finding: Finding) -> Result<(), CliError> {
        if let Some(style) = self.style {
            show(&lines(&finding, style))?;
        }
        self.findings.push(finding);
        Ok(())
    }

    fn count(&self, verdict: CheckResult) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// Returns true if no check failed.
    pub(super) fn is_well(&self) -> bool {
        self.count(CheckResult::Failed) == 0
    }

    /// Prints the summary.
    pub(super) fn summary(&self) -> Result<(), CliError> {
        let [ok, warnings, failed] =
            [CheckResult::Ok, CheckResult::Warning, CheckResult::Failed].map(|verdict| self.count(verdict));
        show(&format!("\n{ok} ok, {warnings} warnings, {failed} failed\n"))
    }
}

/// Column at which areas begin.
const AREA: usize = 9;
/// Column at which descriptions begin.
const FOUND: usize = 23;

fn lines(finding: &Finding, style: TerminalStyle) -> String {
    let (word, tone) = match finding.verdict {
        CheckResult::Ok => ("ok", Tone::Good),
        CheckResult::Warning => ("warning", Tone::Warn),
        CheckResult::Failed => ("failed", Tone::Bad),
    };
    let columns = style.width().map_or(usize::MAX, |columns| columns.saturating_sub(FOUND));
    let action = finding.action.as_deref().filter(|text| !text.is_empty()).map(|text| format!("-> {text}"));
    let mut all = wrap(&plain(&finding.found), columns);
    all.extend(action.map(|text| wrap(&plain(&text), columns)).into_iter().flatten());
    let mut shown = String::new();
    for (n, line) in all.iter().enumerate() {
        if n == 0 {
            let space = " ".repeat(AREA - word.len());
            let _ = writeln!(shown, "{}{space}{:<14}{line}", style.tone(tone, word), finding.area);
        } else {
            let _ = writeln!(shown, "{}{line}", " ".repeat(FOUND));
        }
    }
    shown
}
