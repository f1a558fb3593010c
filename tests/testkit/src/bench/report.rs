//! The figures: a table for people, JSON for programs.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::cpu::Cost;
use super::latency::percentiles;
use super::memory::megabytes;
use super::raw::Round;
use crate::stand::controlplane::repository;

/// What was measured; what was left out is null.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// CPU milliseconds of API server, etcd and bare client for a token of a new object: mean of before and after the
    /// first issuance.
    pub bare_cpu_ms_per_token: Option<f64>,
    /// The same for a token that is written again.
    pub bare_renewal_cpu_ms_per_token: Option<f64>,
    /// CPU milliseconds of API server, etcd and operator for a token of a new object.
    pub first_issue_cpu_ms_per_token: Option<f64>,
    /// The same for a renewal.
    pub renewal_cpu_ms_per_token: Option<f64>,
    /// The operator's part of the first.
    pub operator_cpu_ms_per_first_token: Option<f64>,
    /// The operator's part of the second.
    pub operator_cpu_ms_per_renewal: Option<f64>,
    /// The operator's writes for a token of a new object, the Lease aside.
    pub writes_per_first_token: Option<f64>,
    /// Its GETs for one, the Lease aside.
    pub reads_per_first_token: Option<f64>,
    /// Tokens a second of the bare client: mean of before and after the first issuance.
    pub raw_tokens_per_s: Option<f64>,
    /// Tokens a second of the operator, for new objects.
    pub first_issue_tokens_per_s: Option<f64>,
    /// Tokens a second of the operator, all due at once.
    pub renewal_tokens_per_s: Option<f64>,
    /// The operator's writes for one renewal, the Lease aside.
    pub writes_per_renewal: Option<f64>,
    /// Its GETs and lists for one renewal, the Lease aside.
    pub reads_per_renewal: Option<f64>,
    /// Resident anonymous memory with a provider and no objects.
    pub idle_rss_bytes: Option<u64>,
    /// What each token adds, after relists.
    pub rss_bytes_per_token: Option<f64>,
    /// What each token adds between half of them and all, each in a new process.
    pub rss_slope_bytes_per_token: Option<f64>,
    /// Tokens issued because of a restart.
    pub restart_issuances: Option<u64>,
    /// GETs of Secrets after a restart.
    pub restart_secret_reads: Option<u64>,
    /// Writes after a restart, the Lease aside.
    pub restart_writes: Option<u64>,
    /// From the start of the process until it leads and knows every token.
    pub restart_seconds: Option<f64>,
    /// Median time from apply to Secret of a single object.
    pub apply_to_secret_ms_p50: Option<f64>,
    /// 99th percentile of the same.
    pub apply_to_secret_ms_p99: Option<f64>,
    /// Median time from apply to Secret of a single object while the tokens of all others are issued for the first time.
    pub apply_to_secret_beside_crowd_ms_p50: Option<f64>,
    /// 99th percentile of the same.
    pub apply_to_secret_beside_crowd_ms_p99: Option<f64>,
    /// Median time of a scrape with all tokens, each with its own series.
    pub scrape_ms: Option<f64>,
    /// Median time of the status page's first answer with all tokens.
    pub status_page_ms: Option<f64>,
    /// All pages of the objects by a bare client, unread.
    pub raw_list_seconds: Option<f64>,
    /// `kubectl videotoken status -A`, from its start to its end.
    pub status_seconds: Option<f64>,
    #[serde(skip)]
    n: usize,
    #[serde(skip)]
    notes: Vec<String>,
}

/// One row of the table.
struct Row {
    what: &'static str,
    figure: String,
    goal: &'static str,
    met: Option<bool>,
}

impl Figures {
    /// Nothing measured yet, of `n` tokens.
    pub(super) fn new(n: usize) -> Self {
        Self { n, ..Self::default() }
    }

    /// Something to tell below the table.
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Sets what the rounds of the bare client took.
    #[allow(clippy::cast_precision_loss)] // two
    pub(super) fn bare(&mut self, rounds: &[Round]) {
        let mean = |of: fn(&Round) -> Cost| Cost::mean(&rounds.iter().map(of).collect::<Vec<_>>()).total();
        self.bare_cpu_ms_per_token = Some(mean(|round| round.first));
        self.bare_renewal_cpu_ms_per_token = Some(mean(|round| round.renewal));
        self.raw_tokens_per_s = Some(rounds.iter().map(|round| round.rate).sum::<f64>() / rounds.len().max(1) as f64);
    }

    /// Sets what a token of a new object costs: CPU, writes and reads.
    pub(super) fn first_issue(&mut self, cost: Cost, [writes, reads]: [f64; 2]) {
        self.first_issue_cpu_ms_per_token = Some(cost.total());
        self.operator_cpu_ms_per_first_token = Some(cost.client);
        (self.writes_per_first_token, self.reads_per_first_token) = (Some(writes), Some(reads));
    }

    /// Sets what a renewal costs.
    pub(super) fn renewal(&mut self, cost: Cost) {
        self.renewal_cpu_ms_per_token = Some(cost.total());
        self.operator_cpu_ms_per_renewal = Some(cost.client);
    }

    /// Sets the latency of single objects beside a crowd, if any were applied.
    pub(super) fn beside_a_crowd(&mut self, mut times: Vec<Duration>) {
        [self.apply_to_secret_beside_crowd_ms_p50, self.apply_to_secret_beside_crowd_ms_p99] = percentiles(&mut times);
        self.note(format!("apply to Secret beside the crowd: {} objects", times.len()));
    }

    /// First issuance as a part of the raw limit.
    fn of_raw(&self, rate: Option<f64>) -> Option<f64> {
        Some(rate? / self.raw_tokens_per_s?)
    }

    /// Writes the JSON file into cargo's target directory and says where it is.
    pub fn write(&self) -> Result<PathBuf> {
        let directory = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
        let path = directory.join("bench.json");
        std::fs::create_dir_all(&directory)
            .and_then(|()| std::fs::write(&path, serde_json::to_string_pretty(self)? + "\n"))
            .with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// The table, and below it what the figures are made of.
    pub fn table(&self) -> String {
        let mut text = format!("\n{:<49}{:>13}   {:<18}\n", format!("{} TOKENS", self.n), "FIGURE", "GOAL");
        for Row { what, figure, goal, met } in self.rows() {
            let met = met.map_or("", |met| if met { "met" } else { "MISSED" });
            // a String takes whatever is written to it
            let _ = writeln!(text, "{what:<49}{figure:>13}   {goal:<18} {met}");
        }
        for note in &self.notes {
            let _ = write!(text, "\n{note}");
        }
        text + "\n"
    }

    fn rows(&self) -> Vec<Row> {
        let rates = self.of_raw(self.first_issue_tokens_per_s);
        let over = |ours: Option<f64>, bare: Option<f64>| Some(ours? / bare?);
        let first = over(self.first_issue_cpu_ms_per_token, self.bare_cpu_ms_per_token);
        let renewal = over(self.renewal_cpu_ms_per_token, self.bare_renewal_cpu_ms_per_token);
        let row = |what, figure: Option<String>, goal, met| Row {
            what,
            figure: figure.unwrap_or_else(|| "not measured".to_owned()),
            goal,
            met,
        };
        let rate = |rate: Option<f64>| rate.map(|rate| format!("{rate:.1} /s"));
        let plain = |value: Option<f64>, digits: usize| value.map(|value| format!("{value:.digits$}"));
        let count = |value: Option<u64>| value.map(|value| value.to_string());
        let none = |value: Option<u64>| value.map(|value| value == 0);
        let milliseconds = |value: Option<f64>| value.map(|value| format!("{value:.1} ms"));
        let milliseconds_of = |value: Option<f64>| value.map(|value| format!("{value:.2} ms"));
        let most = |value: Option<f64>, most: f64| value.map(|value| value <= most);
        let beyond = self.status_seconds.zip(self.raw_list_seconds).map(|(status, raw)| status - raw);
        let (idle, each) = (self.idle_rss_bytes, self.rss_bytes_per_token);
        vec![
            row("CPU of the stand for a first token / bare client", plain(first, 3), "1.12 or less", most(first, 1.12)),
            row("CPU of the stand for a renewal / bare client", plain(renewal, 3), "1.08 or less", most(renewal, 1.08)),
            row("CPU for a first token, bare client", milliseconds_of(self.bare_cpu_ms_per_token), "", None),
            row("CPU for a first token", milliseconds_of(self.first_issue_cpu_ms_per_token), "", None),
            row("CPU for a renewal, bare client", milliseconds_of(self.bare_renewal_cpu_ms_per_token), "", None),
            row("CPU for a renewal", milliseconds_of(self.renewal_cpu_ms_per_token), "", None),
            row(
                "CPU for a first token, operator alone",
                milliseconds_of(self.operator_cpu_ms_per_first_token),
                "1 ms or less",
                most(self.operator_cpu_ms_per_first_token, 1.0),
            ),
            row(
                "CPU for a renewal, operator alone",
                milliseconds_of(self.operator_cpu_ms_per_renewal),
                "0.7 ms or less",
                most(self.operator_cpu_ms_per_renewal, 0.7),
            ),
            row("bare client", rate(self.raw_tokens_per_s), "", None),
            row("first issuance", rate(self.first_issue_tokens_per_s), "", None),
            row("first issuance / bare client", plain(rates, 3), "", None),
            row("renewal", rate(self.renewal_tokens_per_s), "", None),
            row("renewal / bare client", plain(self.of_raw(self.renewal_tokens_per_s), 3), "", None),
            row(
                "writes per first token",
                plain(self.writes_per_first_token, 3),
                "2",
                most(self.writes_per_first_token, 2.01),
            ),
            row(
                "reads per first token",
                plain(self.reads_per_first_token, 3),
                "1",
                most(self.reads_per_first_token, 1.01),
            ),
            row(
                "writes per renewal",
                plain(self.writes_per_renewal, 3),
                "2",
                self.writes_per_renewal.map(|w| w < 2.01),
            ),
            row("reads per renewal", plain(self.reads_per_renewal, 3), "0", self.reads_per_renewal.map(|r| r < 0.01)),
            row("memory, idle", idle.map(megabytes), "16 MB or less", idle.map(|idle| idle <= 16_000_000)),
            row("memory per token", each.map(|b| format!("{b:.0} B")), "2500 B or less", each.map(|b| b <= 2_500.0)),
            row(
                "memory per token, between half and all",
                self.rss_slope_bytes_per_token.map(|b| format!("{b:.0} B")),
                "2500 B or less",
                most(self.rss_slope_bytes_per_token, 2_500.0),
            ),
            row("restart: tokens issued", count(self.restart_issuances), "0", none(self.restart_issuances)),
            row("restart: GETs of Secrets", count(self.restart_secret_reads), "0", none(self.restart_secret_reads)),
            row("restart: writes but the Lease's", count(self.restart_writes), "0", none(self.restart_writes)),
            row("restart: until it leads and knows all", self.restart_seconds.map(|s| format!("{s:.2} s")), "", None),
            row("scrape", milliseconds(self.scrape_ms), "100 ms or less", self.scrape_ms.map(|ms| ms <= 100.0)),
            row("status page, first answer", milliseconds(self.status_page_ms), "", None),
            row(
                "status -A beyond the raw list",
                plain(beyond, 2).map(|s| s + " s"),
                "1 s or less",
                beyond.map(|s| s <= 1.0),
            ),
            row("apply to Secret, median", milliseconds(self.apply_to_secret_ms_p50), "", None),
            row("apply to Secret, 99th percentile", milliseconds(self.apply_to_secret_ms_p99), "", None),
            row("beside a crowd, median", milliseconds(self.apply_to_secret_beside_crowd_ms_p50), "", None),
            row("beside a crowd, 99th percentile", milliseconds(self.apply_to_secret_beside_crowd_ms_p99), "", None),
        ]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_exactly_the_figures() {
        let json = serde_json::to_value(Figures::new(7)).unwrap();
        let names: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = [
            "bare_cpu_ms_per_token",
            "bare_renewal_cpu_ms_per_token",
            "first_issue_cpu_ms_per_token",
            "renewal_cpu_ms_per_token",
            "operator_cpu_ms_per_first_token",
            "operator_cpu_ms_per_renewal",
            "writes_per_first_token",
            "reads_per_first_token",
            "apply_to_secret_beside_crowd_ms_p50",
            "apply_to_secret_beside_crowd_ms_p99",
            "rss_slope_bytes_per_token",
            "raw_tokens_per_s",
            "first_issue_tokens_per_s",
            "renewal_tokens_per_s",
            "writes_per_renewal",
            "reads_per_renewal",
            "idle_rss_bytes",
            "rss_bytes_per_token",
            "restart_issuances",
            "restart_secret_reads",
            "restart_writes",
            "restart_seconds",
            "apply_to_secret_ms_p50",
            "apply_to_secret_ms_p99",
            "scrape_ms",
            "status_page_ms",
            "raw_list_seconds",
            "status_seconds",
        ];
        expected.sort_unstable();
        let mut names = names;
        names.sort_unstable();
        assert_eq!(names, expected);
    }

    #[test]
    fn the_table_says_what_is_missed() {
        let figures = Figures {
            bare_cpu_ms_per_token: Some(10.0),
            first_issue_cpu_ms_per_token: Some(11.3),
            restart_issuances: Some(0),
            ..Figures::new(10)
        };
        let table = figures.table();
        let line = |what: &str| table.lines().find(|line| line.starts_with(what)).unwrap().to_owned();
        assert!(line("CPU of the stand for a first token / bare").ends_with("MISSED"), "{table}");
        assert!(line("restart: tokens issued").ends_with("met"), "{table}");
        assert!(line("memory, idle").contains("not measured"), "{table}");
    }
}
