//! The figures of each row, what they fail for, and the table.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::stand::controlplane::repository;

/// P17: a healthy token is renewed within so many seconds of its due time.
const LATEST: f64 = 10.0;

/// What one attack came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// The attack.
    pub attack: String,
    /// How long the operator was looked at, in seconds.
    pub seconds: f64,
    /// The machine's load average over a minute, at the end.
    pub load: f64,
    /// The longest time from a due renewal of the victim's to the new token in its Secret.
    pub late_seconds: f64,
    /// Renewals of the victim's that were made.
    pub renewals: u64,
    /// How long the victim's Secrets held expired tokens, all together.
    pub expired_seconds: f64,
    /// Questions for `/livez`.
    pub livez_asked: u64,
    /// Those that weren't answered with success in time.
    pub livez_failed: u64,
    /// The operator's peak of resident anonymous memory.
    pub peak_bytes: u64,
    /// What it may be: the chart's limit.
    pub peak_bound: u64,
    /// Calls of the attacker's provider.
    pub calls: u64,
    /// What P06 and P18 leave of them.
    pub calls_bound: Option<u64>,
    /// Writes of the attacker's Secrets.
    pub writes: u64,
    /// What P18 leaves of them.
    pub writes_bound: Option<u64>,
    /// All requests in the attacker's namespace.
    pub requests: u64,
    /// How the operator ended, if it did by itself; or why the victim had no tokens, or the attack couldn't be made.
    pub broken: Option<String>,
    /// Why the row failed; empty: it passed.
    pub failures: Vec<String>,
}

impl Row {
    /// Fills in what it fails for.
    #[must_use]
    pub fn judged(mut self) -> Self {
        self.failures = self.reasons();
        self
    }

    fn reasons(&self) -> Vec<String> {
        let mut reasons: Vec<String> = self.broken.iter().cloned().collect();
        if self.late_seconds > LATEST {
            reasons.push(format!("P17: the victim was renewed {:.1} s after its due time", self.late_seconds));
        }
        if self.renewals == 0 && self.late_seconds <= LATEST && self.broken.is_none() {
            reasons.push("no renewal of the victim's was made: the row shows nothing".to_owned());
        }
        if self.expired_seconds > 0.0 {
            reasons.push(format!("P01: the victim's Secrets held expired tokens for {:.1} s", self.expired_seconds));
        }
        if self.livez_failed > 0 {
            reasons.push(format!("/livez failed {} of {} times", self.livez_failed, self.livez_asked));
        }
        if self.peak_bytes > self.peak_bound {
            reasons.push(format!("P21: {} of memory, of {}", megabytes(self.peak_bytes), megabytes(self.peak_bound)));
        }
        for (what, count, bound) in
            [("provider calls", self.calls, self.calls_bound), ("Secret writes", self.writes, self.writes_bound)]
        {
            if let Some(bound) = bound.filter(|bound| count > *bound) {
                reasons.push(format!("P18: {count} {what} for the attacker, of {bound}"));
            }
        }
        reasons
    }
}

#[allow(clippy::cast_precision_loss)]
fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}

/// All rows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// The operator's program.
    pub operator: PathBuf,
    /// Whether it is the short form.
    pub short: bool,
    /// One for each attack.
    pub rows: Vec<Row>,
}

impl Figures {
    /// Each failure by its row; empty: all passed.
    pub fn failures(&self) -> Vec<String> {
        let of = |row: &Row| row.failures.iter().map(|why| format!("{}: {why}", row.attack)).collect::<Vec<_>>();
        self.rows.iter().flat_map(of).collect()
    }

    /// The table, and below it why rows failed.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<20}{:>8}{:>10}{:>11}{:>10}{:>10}{:>12}{:>12}{:>10}{:>7}\n",
            "ATTACK", "LATE s", "RENEWALS", "EXPIRED s", "/livez", "PEAK MB", "CALLS", "WRITES", "REQUESTS", "LOAD"
        );
        for row in &self.rows {
            let of = |count: u64, bound: Option<u64>| bound.map_or(count.to_string(), |most| format!("{count}/{most}"));
            // a String takes whatever is written to it
            let _ = writeln!(
                text,
                "{:<20}{:>8.1}{:>10}{:>11.1}{:>10}{:>10}{:>12}{:>12}{:>10}{:>7.1}  {}",
                row.attack,
                row.late_seconds,
                row.renewals,
                row.expired_seconds,
                of(row.livez_failed, Some(row.livez_asked)),
                megabytes(row.peak_bytes).trim_end_matches(" MB"),
                of(row.calls, row.calls_bound),
                of(row.writes, row.writes_bound),
                row.requests,
                row.load,
                if row.failures.is_empty() { "passed" } else { "FAILED" },
            );
        }
        let failures = self.failures();
        if !failures.is_empty() {
            let _ = write!(text, "\n{}\n", failures.join("\n"));
        }
        text
    }

    /// Writes `isolation.json` into cargo's target directory, if no other is named; returns where it is.
    pub fn write(&self, path: Option<&Path>) -> Result<PathBuf> {
        let target = || std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
        let path = path.map_or_else(|| target().join("isolation.json"), Path::to_owned);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        std::fs::write(&path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// The chart's memory limit, in bytes: what P21 means.
pub(crate) fn chart_limit() -> Result<u64> {
    let path = repository().join("charts/video-token-operator/values.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let values: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).context("the chart's values")?;
    let limit = values["resources"]["limits"]["memory"].as_str().context("resources.limits.memory")?;
    let mebibytes: u64 = limit.strip_suffix("Mi").context("a limit in Mi")?.parse()?;
    Ok(mebibytes * 1024 * 1024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_row_fails_for_each_reason() {
        let good = Row {
            late_seconds: 9.9,
            renewals: 5,
            peak_bytes: 100,
            peak_bound: 100,
            calls: 4,
            calls_bound: Some(4),
            ..Row::default()
        };
        let cases = [
            (good.clone(), ""),
            (Row { late_seconds: 10.1, ..good.clone() }, "P17"),
            (Row { renewals: 0, ..good.clone() }, "shows nothing"),
            (Row { expired_seconds: 0.5, ..good.clone() }, "P01"),
            (Row { livez_failed: 1, livez_asked: 9, ..good.clone() }, "1 of 9"),
            (Row { peak_bytes: 101, ..good.clone() }, "P21"),
            (Row { calls: 5, ..good.clone() }, "5 provider calls"),
            (Row { writes: 5, ..good.clone() }, ""),
            (Row { writes: 5, writes_bound: Some(4), ..good.clone() }, "5 Secret writes"),
            (Row { broken: Some("it ended".to_owned()), renewals: 0, ..good }, "it ended"),
        ];
        for (row, reason) in cases {
            let failures = row.clone().judged().failures;
            assert_eq!(failures.len(), usize::from(!reason.is_empty()), "{row:?}");
            assert!(failures.iter().all(|why| why.contains(reason)), "{failures:?}");
        }
    }

    #[test]
    fn the_table_has_each_row_and_why_it_failed() {
        let row = Row { attack: "crowd".to_owned(), late_seconds: 12.0, peak_bound: 1, ..Row::default() }.judged();
        let figures = Figures { rows: vec![row], ..Figures::default() };
        let table = figures.table();
        assert!(table.contains("FAILED") && table.contains("crowd: P17: the victim was renewed 12.0 s"), "{table}");
    }

    #[test]
    fn the_chart_has_a_limit() {
        assert!(chart_limit().unwrap() >= 64 << 20);
    }
}
