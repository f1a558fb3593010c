//! What a run measures.

use crate::scenario::Scenario;
use std::fmt::Write;
use std::time::Duration;

/// What is measured of one cluster, after [`Report::SETTLED`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// Calls that reached the token API.
    pub calls: u32,
    /// Calls that it answered with 429.
    pub throttled: u32,
    /// Tokens that expired before their renewal, since the start of the run.
    pub late: u32,
    /// Number of samples.
    pub samples: u32,
    /// Samples in which the account was oversubscribed.
    pub oversubscribed: u32,
    /// Calls that its tokens need.
    pub need: f64,
    /// Writes of the provider's status, since the start of the run.
    pub status_writes: u32,
}

/// Sums over ten seconds, and the state at their end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Calls that reached the token API.
    pub calls: u32,
    /// Calls that it answered with 429.
    pub throttled: u32,
    /// Tokens with less than half of their margin left.
    pub in_danger: u32,
    /// Tokens that expired and are not renewed.
    pub expired: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Clusters that report that their account is oversubscribed.
    pub oversubscribed: u32,
}

/// Result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario.
    pub scenario: Scenario,
    /// One entry for each cluster.
    pub clusters: Vec<Measured>,
    /// One entry for each ten seconds.
    pub samples: Vec<Sample>,
}

impl Report {
    /// Time from which the clusters are measured.
    pub const SETTLED: Duration = Duration::from_mins(10);

    fn sum(&self, of: impl Fn(&Measured) -> u32) -> u32 {
        self.clusters.iter().map(of).sum()
    }

    /// Returns the number of tokens that expired.
    pub fn late(&self) -> u32 {
        self.sum(|cluster| cluster.late)
    }

    /// Returns the calls of all clusters.
    pub fn calls(&self) -> u32 {
        self.sum(|cluster| cluster.calls)
    }

    /// Returns the part of the calls that was answered with 429.
    pub fn throttled(&self) -> f64 {
        f64::from(self.sum(|cluster| cluster.throttled)) / f64::from(self.calls().max(1))
    }

    /// Returns the smallest and the largest ratio of what a cluster got to what it needed.
    pub fn shares(&self) -> (f64, f64) {
        let share = |cluster: &Measured| f64::from(cluster.calls - cluster.throttled) / cluster.need;
        let shares = self.clusters.iter().filter(|cluster| cluster.need > 0.0).map(share);
        shares.fold((f64::MAX, 0.0), |(least, most), share| (least.min(share), most.max(share)))
    }

    /// Returns the smallest and the largest part of the time for which a cluster reports that it is oversubscribed.
    pub fn oversubscribed(&self) -> (f64, f64) {
        let told = |cluster: &Measured| f64::from(cluster.oversubscribed) / f64::from(cluster.samples.max(1));
        self.clusters.iter().map(told).fold((1.0, 0.0), |(least, most), told| (least.min(told), most.max(told)))
    }

    /// Returns the writes of a provider's status for each cluster and hour.
    pub fn writes_per_hour(&self) -> f64 {
        let hours = self.scenario.length.as_secs_f64() / 3600.0;
        f64::from(self.sum(|cluster| cluster.status_writes)) / self.clusters.len() as f64 / hours
    }

    /// Returns the largest number of tokens in danger at once.
    pub fn in_danger(&self) -> u32 {
        self.samples.iter().map(|sample| sample.in_danger).max().unwrap_or_default()
    }
}

/// Returns a table with a row for each run.
pub fn table(reports: &[Report]) -> String {
    let mut text = format!(
        "{:<34} {:>8} {:>7} {:>6} {:>9} {:>11} {:>15} {:>9}\n",
        "scenario", "calls", "429s", "late", "in danger", "got/need", "oversubscribed", "writes/h"
    );
    for report in reports {
        let (least, most) = report.shares();
        let (seldom, often) = report.oversubscribed();
        let share = format!("{least:.2}-{most:.2}");
        let told = format!("{:.0}-{:.0}%", seldom * 100.0, often * 100.0);
        let _ = writeln!(
            text,
            "{:<34} {:>8} {:>6.2}% {:>6} {:>9} {share:>11} {told:>15} {:>9.1}",
            report.scenario.name,
            report.calls(),
            report.throttled() * 100.0,
            report.late(),
            report.in_danger(),
            report.writes_per_hour(),
        );
    }
    text
}
