//! `make explore`: what the operator makes of each disturbance at each of its requests.
//!
//! A scenario runs once undisturbed, which names its requests. Then it runs again for each disturbance of each request,
//! each time in a namespace of its own with an operator of its own, and is judged when all is quiet.
//!
//! | File | What it is |
//! |---|---|
//! | [`scenario`] | the stories |
//! | [`disturbance`], [`point`], [`plan`] | what can happen, at which request; the plans and their choice |
//! | `stage`, `play` | where a run takes place, and its course |
//! | `judge` | what must be true in the end |

pub mod disturbance;
mod judge;
pub mod plan;
mod play;
pub mod point;
pub mod scenario;
mod stage;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use chrono::Utc;
use clap::{Args, ValueEnum as _};
use futures::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::stand::operator;
use plan::{Candidate, Plan};
use play::{Outcome, play};
use scenario::Scenario;

/// What to run.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Only this scenario; repeatable
    #[arg(long, value_enum)]
    pub scenario: Vec<Scenario>,

    /// Only this plan, as a failure prints it; repeatable
    #[arg(long, value_name = "PLAN")]
    pub plan: Vec<Plan>,

    /// What chooses among the plans
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Percentage of all plans that are run
    #[arg(long, default_value_t = 100, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub share: u8,

    /// This many plans in place of a share
    #[arg(long, value_name = "COUNT")]
    pub runs: Option<usize>,

    /// Runs side by side
    #[arg(long, default_value_t = 24, value_name = "COUNT")]
    pub workers: usize,

    /// Seconds at rest in which nothing may be asked
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    pub quiet: u64,

    /// The previous release's operator; without it the scenario upgrade is left out
    #[arg(long, value_name = "FILE")]
    pub previous: Option<PathBuf>,

    /// The operator's program [default: the one beside this program]
    #[arg(long, env = "VTO_OPERATOR")]
    pub operator: Option<PathBuf>,

    /// Where the records of failed runs go
    #[arg(long, value_name = "DIRECTORY")]
    pub records: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scenario: Vec::new(),
            plan: Vec::new(),
            seed: 1,
            share: 100,
            runs: None,
            workers: 24,
            quiet: 3,
            previous: None,
            operator: None,
            records: None,
        }
    }
}

impl Options {
    fn binary(&self) -> Result<String> {
        let binary = self.operator.clone().map_or_else(operator::binary, Ok)?;
        let binary = std::path::absolute(binary)?;
        anyhow::ensure!(binary.is_file(), "{} is no file: build the operator", binary.display());
        Ok(binary.to_string_lossy().into_owned())
    }

    fn scenarios(&self) -> Vec<Scenario> {
        let named = |one: &Scenario| self.scenario.is_empty() || self.scenario.contains(one);
        let possible = |one: &Scenario| *one != Scenario::Upgrade || self.previous.is_some();
        Scenario::value_variants().iter().copied().filter(named).filter(possible).collect()
    }
}

/// A plan under which a promise was broken.
#[derive(Debug)]
pub struct Failure {
    /// The least of its disturbances that do.
    pub plan: Plan,
    /// The promises.
    pub broken: Vec<String>,
}

/// How often a plan that failed is played again, side by side: the load in which it failed, and more tries than a rare
/// race needs.
const AGAIN: usize = 32;

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Plans that were run.
    pub runs: usize,
    /// Disturbances whose request did not come: an earlier one had changed the story.
    pub unreached: usize,
    /// Experiences that were made, of those that the undisturbed runs promise.
    pub covered: (usize, usize),
    /// Plans that failed.
    pub failures: Vec<Failure>,
    /// Plans that failed once, and none of the times that they were played again: the machine may have stood still for
    /// longer than a scenario allows.
    pub once: Vec<Failure>,
    /// Runs that the stand could not bring to an end, neither beside others nor alone.
    pub broken: Vec<String>,
    /// Runs by disturbance.
    pub by_disturbance: BTreeMap<String, usize>,
    /// The time of all.
    pub seconds: f64,
}

impl Report {
    /// Whether nothing was found and each run was one.
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty() && self.broken.is_empty()
    }

    /// Returns the report as text.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} runs in {:.0} s; {} disturbances not reached; {} of {} experiences (request, decision, disturbance)\n",
            self.runs, self.seconds, self.unreached, self.covered.0, self.covered.1
        );
        let counts: Vec<_> = self.by_disturbance.iter().map(|(what, count)| format!("{what} {count}")).collect();
        // a String takes everything
        let _ = writeln!(text, "{}", counts.join(", "));
        for failure in &self.failures {
            let _ = writeln!(text, "FAILED {}", failure.broken.join("; "));
            let _ = writeln!(text, "       again: make explore ARGS=\"--plan '{}'\"", failure.plan);
        }
        for failure in &self.once {
            let _ = writeln!(text, "FAILED ONCE, and passed {AGAIN} times after: {}", failure.broken.join("; "));
            let _ = writeln!(text, "       again: make explore ARGS=\"--plan '{}'\"", failure.plan);
        }
        for broken in &self.broken {
            let _ = writeln!(text, "NO RUN {broken}");
        }
        let verdict = if self.is_clean() { "every promise held" } else { "not every promise held" };
        let _ = writeln!(text, "{verdict}");
        text
    }
}

/// Runs what the options choose.
pub async fn run(options: &Options) -> Result<Report> {
    let begun = Instant::now();
    let mut report = Report::default();
    let mut candidates = Vec::new();
    let mut outlines = BTreeMap::new();
    let mut scenarios: Vec<_> = options.plan.iter().map(|plan| plan.scenario).collect();
    if scenarios.is_empty() {
        scenarios = options.scenarios();
    }
    scenarios.sort_unstable();
    scenarios.dedup();
    let undisturbed = |scenario| async move {
        let plan = Plan { scenario, faults: Vec::new() };
        (scenario, play(options, &plan).await)
    };
    let references: Vec<_> = stream::iter(scenarios).map(undisturbed).buffered(options.workers.max(1)).collect().await;
    for (scenario, played) in references {
        let outcome = played.with_context(|| format!("{} undisturbed", scenario.name()))?;
        keep(options, &mut report, &Plan { scenario, faults: Vec::new() }, &outcome)?;
        candidates.extend(plan::singles(scenario, &outcome.seen));
        outlines.insert(scenario, outcome.outlines);
    }
    let mut plans = if options.plan.is_empty() { chosen(options, &candidates) } else { options.plan.clone() };
    // what takes long first, so that no worker is left alone with it
    plans.sort_by_key(|plan| !plan.faults.iter().any(|(disturbance, _)| disturbance.takes_long()));
    say(&format!("{} plans, {} workers, seed {}", plans.len(), options.workers, options.seed));
    let of = |plan: Plan| async move { (play(options, &plan).await, plan) };
    let mut played = stream::iter(plans).map(of).buffer_unordered(options.workers.max(1));
    let (mut experienced, mut unended) = (HashSet::new(), Vec::new());
    while let Some((outcome, plan)) = played.next().await {
        match outcome {
            Ok(mut outcome) => {
                let expected = outlines.get(&plan.scenario);
                outcome.failures.extend(difference(&plan, expected, &outcome));
                experienced.extend(experiences(&plan, &outcome));
                keep(options, &mut report, &plan, &outcome)?;
            }
            Err(error) => {
                say(&format!("{plan}: {error:#}"));
                unended.push(plan);
            }
        }
    }
    drop(played);
    for plan in unended {
        match play(options, &plan).await {
            Ok(outcome) => keep(options, &mut report, &plan, &outcome)?,
            Err(error) => report.broken.push(format!("{plan}: {error:#}")),
        }
    }
    let passes = async |plan: &Plan| play(options, plan).await.is_ok_and(|outcome| outcome.failures.is_empty());
    confirm(options.workers, &mut report, passes).await;
    shrink(options, &mut report).await;
    let promised: HashSet<_> = candidates.into_iter().map(|(_, experience)| experience).collect();
    report.covered = (experienced.intersection(&promised).count(), promised.len());
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

fn chosen(options: &Options, candidates: &[Candidate]) -> Vec<Plan> {
    let share = candidates.len() * usize::from(options.share) / 100;
    let count = options.runs.unwrap_or(share + share / 8);
    plan::choose(candidates.to_vec(), count, options.seed)
}

/// Returns what was disturbed how after which decision.
fn experiences(plan: &Plan, outcome: &Outcome) -> Vec<plan::Experience> {
    let reached = plan.faults.iter().zip(&outcome.reached).filter(|(_, reached)| **reached);
    let experience = |((what, point), _): (&(disturbance::Disturbance, point::Point), _)| {
        let (_, decision) = outcome.seen.iter().find(|(seen, _)| seen == point)?;
        Some((point.request.clone(), decision.clone(), *what))
    };
    reached.filter_map(experience).collect()
}

/// Tells where the objects' states differ from the undisturbed run's. Users' actions change them as they like.
fn difference(plan: &Plan, expected: Option<&Vec<serde_json::Value>>, outcome: &Outcome) -> Option<String> {
    let users = plan.faults.iter().any(|(what, _)| matches!(what, disturbance::Disturbance::User(..)));
    if users || !outcome.failures.is_empty() {
        return None;
    }
    let expected = expected?;
    (*expected != outcome.outlines).then(|| format!("the states are {:?}, not {expected:?}", outcome.outlines))
}

/// Notes how a run ended.
fn keep(options: &Options, report: &mut Report, plan: &Plan, outcome: &Outcome) -> Result<()> {
    report.runs += 1;
    report.unreached += outcome.reached.iter().filter(|reached| !**reached).count();
    for (what, _) in &plan.faults {
        *report.by_disturbance.entry(what.to_string()).or_default() += 1;
    }
    if report.runs.is_multiple_of(50) {
        say(&format!("{} runs, {} failed", report.runs, report.failures.len()));
    }
    if outcome.failures.is_empty() {
        return Ok(());
    }
    say(&format!("{:.1} s: {plan}: {}", outcome.seconds, outcome.failures.join("; ")));
    if let Some(folder) = &options.records {
        write(folder, report.runs, plan, outcome)?;
    }
    report.failures.push(Failure { plan: plan.clone(), broken: outcome.failures.clone() });
    Ok(())
}

fn write(folder: &Path, number: usize, plan: &Plan, outcome: &Outcome) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(format!("{number}.log"));
    let text = format!("{plan}\n{}\n\n{}", outcome.failures.join("\n"), outcome.record);
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

/// Plays each failed plan again, [`AGAIN`] times side by side, and keeps apart the plans that then pass each time.
async fn confirm(workers: usize, report: &mut Report, passes: impl AsyncFn(&Plan) -> bool) {
    for failure in std::mem::take(&mut report.failures) {
        let again = stream::iter(0..AGAIN).map(|_| passes(&failure.plan));
        let all_pass = again.buffer_unordered(workers.max(1)).all(async |passed| passed);
        let kept = if all_pass.await { &mut report.once } else { &mut report.failures };
        kept.push(failure);
    }
}

/// Takes from each failed plan what it does not need in order to fail.
async fn shrink(options: &Options, report: &mut Report) {
    let failures = std::mem::take(&mut report.failures);
    let shrunk = stream::iter(failures).map(|failure| shrunk(options, failure));
    report.failures = shrunk.buffered(options.workers.max(1)).collect().await;
}

async fn shrunk(options: &Options, mut failure: Failure) -> Failure {
    for index in (0..failure.plan.faults.len()).rev() {
        if failure.plan.faults.len() < 2 {
            break;
        }
        let mut less = failure.plan.clone();
        less.faults.remove(index);
        if let Ok(outcome) = play(options, &less).await
            && !outcome.failures.is_empty()
        {
            failure = Failure { plan: less, broken: outcome.failures };
        }
    }
    failure
}

/// Says on stderr what goes on.
fn say(text: &str) {
    // nobody reads along: then nobody misses it
    let _ = writeln!(std::io::stderr(), "explore: {} {text}", Utc::now().format("%H:%M:%S"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Returns the report on a plan that failed, and how often the plan was played again. `passes` says for each of
    /// these plays, by its number, whether it passes.
    async fn confirmed(passes: impl Fn(usize) -> bool) -> (Report, usize) {
        let plan = Plan { scenario: Scenario::value_variants()[0], faults: Vec::new() };
        let failures = vec![Failure { plan, broken: vec!["P01".to_owned()] }];
        let mut report = Report { failures, ..Report::default() };
        let count = Cell::new(0);
        let passes_again = async |_: &Plan| passes(count.replace(count.get() + 1));
        confirm(4, &mut report, passes_again).await;
        (report, count.get())
    }

    #[tokio::test]
    async fn a_failure_that_never_comes_again_is_kept_apart() {
        let (report, plays) = confirmed(|_| true).await;
        assert_eq!((report.failures.len(), report.once.len(), plays), (0, 1, AGAIN));
        assert!(report.is_clean() && report.text().contains("FAILED ONCE"), "{}", report.text());
    }

    #[tokio::test]
    async fn a_failure_that_comes_again_once_fails_the_run() {
        for fails in [0, AGAIN - 1] {
            let (report, _) = confirmed(|play| play != fails).await;
            assert_eq!((report.failures.len(), report.once.len()), (1, 0), "play {fails} fails");
            assert!(!report.is_clean() && report.text().contains("FAILED P01"), "{}", report.text());
        }
    }
}
