//! The figures as JSON, the run as text, and the verdict.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::ideal::Cause;
use crate::stand::controlplane::repository;

/// What a run came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// What the faults' schedule was made from.
    pub seed: u64,
    /// How long the run was.
    pub seconds: u64,
    /// Seconds in which a Secret held an expired token that could have been renewed in time.
    pub expired_seconds_inside_promise: f64,
    /// The same of tokens that could not.
    pub expired_seconds_outside: f64,
    /// Seconds by which renewals came later than P17 promises, whatever the neighbours did.
    pub late_seconds_inside_promise: f64,
    /// Seconds by which tokens were signed anew later than promised after their key had changed.
    pub outdated_key_seconds_inside_promise: f64,
    /// Tokens issued.
    pub issuances: u64,
    /// Tokens that had to be issued.
    pub ideal_issuances: u64,
    /// Requests that write a Secret.
    pub secret_writes: u64,
    /// Requests that write an object's status.
    pub status_writes: u64,
    /// GETs and lists, the Lease's too.
    pub api_reads: u64,
    /// Faults played.
    pub faults: u64,
    /// Objects that were Stalled in the end.
    pub stalled_at_end: u64,
}

/// How many of a hundred issues may be needless.
const NEEDLESS_PERCENT: u64 = 5;

impl Figures {
    /// Why the run failed; empty: it passed.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.expired_seconds_inside_promise > 0.0 {
            let seconds = self.expired_seconds_inside_promise;
            reasons
                .push(format!("Secrets held expired tokens for {seconds:.1} s in which P01 promises that none does"));
        }
        if self.late_seconds_inside_promise > 0.0 {
            let seconds = self.late_seconds_inside_promise;
            reasons.push(format!(
                "renewals were {seconds:.1} s later than P17 promises, with nothing wrong but neighbours"
            ));
        }
        if self.outdated_key_seconds_inside_promise > 0.0 {
            let seconds = self.outdated_key_seconds_inside_promise;
            reasons.push(format!("tokens were signed anew {seconds:.1} s after P03 lets another key wait"));
        }
        if self.issuances * 100 > self.ideal_issuances * (100 + NEEDLESS_PERCENT) {
            let (issued, ideal) = (self.issuances, self.ideal_issuances);
            reasons.push(format!(
                "{issued} tokens were issued and {ideal} had to be: more than {NEEDLESS_PERCENT} % beyond (P03)"
            ));
        }
        if self.stalled_at_end > 0 {
            reasons.push(format!("{} objects are Stalled though nothing is wrong any more", self.stalled_at_end));
        }
        reasons
    }

    /// Writes `soak.json`, and the pictures `soak.svg` and `dashboard.svg`, into cargo's target directory if no other is
    /// named; returns where they are.
    pub fn write(&self, chart: &str, dashboard: &str, directory: Option<&Path>) -> Result<[PathBuf; 3]> {
        let target = || std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
        let directory = directory.map_or_else(target, Path::to_owned);
        std::fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            anyhow::Ok(path)
        };
        let figures = serde_json::to_string_pretty(self)? + "\n";
        Ok([write("soak.json", &figures)?, write("soak.svg", chart)?, write("dashboard.svg", dashboard)?])
    }
}

/// A run in words, and whether it passed.
#[derive(Debug)]
pub struct Outcome {
    /// The figures.
    pub figures: Figures,
    /// What happened and what it came to.
    pub text: String,
    /// The picture, as SVG.
    pub chart: String,
    /// The Grafana dashboard's panels over the run, as SVG.
    pub dashboard: String,
    /// Why it failed; empty: it passed.
    pub reasons: Vec<String>,
}

/// Lines with their times, as `mm:ss` from the beginning, in order.
pub(super) fn timeline(begun: DateTime<Utc>, mut lines: Vec<(DateTime<Utc>, String)>) -> String {
    lines.sort_by_key(|(at, _)| *at);
    lines.iter().fold(String::new(), |mut text, (at, line)| {
        let _ = writeln!(text, "{}  {line}", clock(*at - begun));
        text
    })
}

/// `mm:ss`.
pub(super) fn clock(time: TimeDelta) -> String {
    let seconds = time.num_seconds().max(0);
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

/// How many tokens were issued for which cause.
pub(super) fn causes(tally: &BTreeMap<Cause, u64>) -> String {
    tally.iter().map(|(cause, count)| format!("{count} {cause}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_exactly_the_figures() {
        let json = serde_json::to_value(Figures::default()).unwrap();
        let mut names: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = [
            "seed",
            "seconds",
            "expired_seconds_inside_promise",
            "late_seconds_inside_promise",
            "outdated_key_seconds_inside_promise",
            "expired_seconds_outside",
            "issuances",
            "ideal_issuances",
            "secret_writes",
            "status_writes",
            "api_reads",
            "faults",
            "stalled_at_end",
        ];
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_run_fails_for_each_reason() {
        let good = Figures { issuances: 105, ideal_issuances: 100, expired_seconds_outside: 9.0, ..Figures::default() };
        let cases = [
            (good.clone(), 0),
            (Figures { issuances: 106, ..good.clone() }, 1),
            (Figures { expired_seconds_inside_promise: 0.1, ..good.clone() }, 1),
            (Figures { late_seconds_inside_promise: 0.1, ..good.clone() }, 1),
            (Figures { outdated_key_seconds_inside_promise: 0.1, ..good.clone() }, 1),
            (Figures { stalled_at_end: 1, ..good.clone() }, 1),
            (Figures { issuances: 200, stalled_at_end: 2, ..good }, 2),
        ];
        for (figures, reasons) in cases {
            assert_eq!(figures.reasons().len(), reasons, "{figures:?}");
        }
    }
}
