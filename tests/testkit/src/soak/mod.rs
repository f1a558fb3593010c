//! `make soak`: two operators, hundreds of short-lived tokens, and faults by a schedule; afterwards a judgement.
//!
//! | File | What it is |
//! |---|---|
//! | [`schedule`] | which faults come when: a pure function of seed and length |
//! | `types`, `signed` | the provider types with an emulator, and the one whose tokens are known by their signatures |
//! | `stage`, `operators` | control plane, accounts and objects; two operators behind proxies |
//! | `neighbours` | a hostile namespace beside the others, which never rests |
//! | `play`, `watch` | plays the faults; looks each second at who leads and how the tokens are |
//! | `chronicle`, [`spans`] | what the harness knows of the run; stretches of time |
//! | [`promise`], [`ideal`] | the judgement, pure: was an expired token one that P01 promises never to be held; which tokens had to be issued |
//! | `judge`, [`report`], `chart` | brings it all together; figures, text and verdict; the picture |
//! | `scraped` | both operators' metrics over the run, and the dashboard that they make |
//!
//! A provider's name that stops resolving is not among the faults: the operator asks the machine's resolver, and what
//! that knows is in the machine's files. What it comes to is a connection that fails, as with connections reset.

mod chart;
mod chronicle;
pub mod ideal;
mod judge;
mod neighbours;
mod operators;
mod play;
pub mod promise;
pub mod report;
pub mod schedule;
mod scraped;
mod signed;
pub mod spans;
mod stage;
mod types;
mod watch;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, sleep, sleep_until};

use crate::stand::{Observer, ObserverOptions, operator};
use chronicle::Sample;
use judge::Judged;
use report::{Figures, Outcome};
use schedule::{Fault, neighbours, schedule};
use stage::{Object, Stage};
use watch::States;

/// What to run.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// What the schedule of faults is made from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// How long the faults and the calm after them last
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub minutes: u64,

    /// How many tokens
    #[arg(long, default_value_t = 300)]
    pub objects: usize,

    /// The operator's program [default: the one beside this program]
    #[arg(long, env = "VTO_OPERATOR")]
    pub operator: Option<PathBuf>,

    /// Where soak.json, soak.svg and dashboard.svg go [default: cargo's target directory]
    #[arg(long, value_name = "DIRECTORY")]
    pub out: Option<PathBuf>,

    /// Where to copy the operators' logs, if anywhere
    #[arg(long, value_name = "DIRECTORY")]
    pub logs: Option<PathBuf>,
}

/// From one line of progress to the next.
const PROGRESS: Duration = Duration::from_secs(10);

/// Runs, judges and prints what was found.
pub async fn run(options: &Options) -> Result<Outcome> {
    let length = Duration::from_secs(options.minutes * 60);
    let mut faults = schedule(options.seed, length);
    faults.extend(neighbours(options.seed, length));
    faults.sort_by_key(|fault| fault.at);
    for fault in &faults {
        say(&format!("to come at {:>3} s, for {:>2} s: {}", fault.at.as_secs(), fault.lasts.as_secs(), fault.kind));
    }
    let binary = options.operator.clone().map_or_else(operator::binary, Ok)?;
    if !Path::new(&binary).is_file() {
        bail!("{} is no file: build the operator with cargo build", binary.display());
    }
    say(&format!("starting the control plane, the emulators and {} objects", options.objects));
    let stage = Arc::new(Stage::set(options.objects, &binary, options.logs.clone()).await?);
    let looked_at = stage.clone();
    let truth = move |token: &str| looked_at.types.iter().find_map(|one| one.knows(token));
    let every = ObserverOptions { namespace: None, every: Duration::from_secs(1) };
    let observer = Observer::start(&stage.login, every, truth)?;
    let begun = Utc::now();
    for (number, seat) in stage.operators.seats.iter().enumerate() {
        seat.start(number).await?;
    }
    let scraping = tokio::spawn(scraped::every_two_seconds(stage.clone(), length));
    through(&stage, &observer, &faults, length).await?;
    let mut outcome = conclude(options, &stage, observer, begun).await?;
    // first what was found: neither a picture that fails nor a folder that can't be written to shall take it along
    writeln!(std::io::stdout(), "{}", outcome.text).context("print the report")?;
    // last: it may take minutes to build what evaluates the panels, which is no part of the run
    outcome.dashboard = scraped::picture(&scraping.await?, options)?;
    Ok(outcome)
}

/// Plays all faults and looks on, until the time is over.
async fn through(stage: &Stage, observer: &Observer, faults: &[Fault], length: Duration) -> Result<()> {
    let begun = Instant::now();
    let played = async {
        let all = stream::iter(faults).map(anyhow::Ok);
        all.try_for_each_concurrent(None, async |fault| {
            sleep_until(begun + fault.at).await;
            play::play(stage, *fault).await
        })
        .await?;
        sleep_until(begun + length).await;
        anyhow::Ok(())
    };
    tokio::select! {
        played = played => played,
        () = watch::looks(stage, observer) => bail!("looking on ended"),
        told = progress(stage, begun) => told,
    }
}

/// Says every few seconds how it goes, for as long as it is polled. Errors: an operator ended by itself.
async fn progress(stage: &Stage, begun: Instant) -> Result<()> {
    loop {
        sleep(PROGRESS).await;
        stage.operators.check().await?;
        let ready = watch::states(stage).await.map_or_else(|_| "?".to_owned(), |states| states.ready.to_string());
        let (sample, in_force) = {
            let pages = stage.chronicle.pages();
            (pages.samples.last().copied(), pages.in_force().join("; "))
        };
        let Sample { in_danger, expired, .. } = sample.unwrap_or(Sample { at: Utc::now(), in_danger: 0, expired: 0 });
        let time = report::clock(TimeDelta::from_std(begun.elapsed()).unwrap_or_default());
        say(&format!("{time}  {ready} ready, {in_danger} in danger, {expired} expired  {in_force}"));
    }
}

/// Ends the run and judges it.
async fn conclude(options: &Options, stage: &Stage, observer: Observer, begun: DateTime<Utc>) -> Result<Outcome> {
    let States { not_ready, barred, stalled, .. } = watch::states(stage).await.context("the state in the end")?;
    let seen = observer.finish().await?;
    let length = Utc::now() - begun;
    let mut unstopped = Vec::new();
    for (number, seat) in stage.operators.seats.iter().enumerate() {
        // P15: it is to stop within 20 s; the rest of the run is judged all the same
        if let Err(error) = seat.stop().await {
            let first = error.to_string().lines().next().unwrap_or_default().to_owned();
            unstopped.push(format!("an operator that was asked to stop did not: {first}"));
            seat.kill().await;
        }
        stage.operators.keep_log(number).await;
    }
    let (expired, issues) = (judge::expired(stage, &seen), judge::issues(stage, &seen));
    let late = judge::late(stage, &seen, begun + length);
    let late_by = late.iter().map(|one| one.by).sum::<TimeDelta>();
    let rekeyed = judge::rekeyed(stage, &seen, begun + length);
    let outdated_by = rekeyed.iter().filter_map(|one| one.by).sum::<TimeDelta>();
    let inside = |inside: bool| {
        let seconds = expired.iter().filter(|one| one.chance.is_some() == inside).map(|one| one.stretch.length());
        (seconds.sum::<TimeDelta>().as_seconds_f64() * 10.0).ceil() / 10.0
    };
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let figures = Figures {
        seed: options.seed,
        seconds: length.num_seconds().unsigned_abs(),
        expired_seconds_inside_promise: inside(true),
        expired_seconds_outside: inside(false),
        late_seconds_inside_promise: late_by.as_seconds_f64(),
        outdated_key_seconds_inside_promise: outdated_by.as_seconds_f64(),
        issuances: issues.tally.values().sum(),
        ideal_issuances: ideal::ideal(&issues.tally),
        secret_writes: stage.operators.count(&["create", "update", "patch", "delete"], Some("secrets")),
        status_writes: stage.operators.count(&["update", "patch"], Some("videoaccesstokens/status")),
        api_reads: stage.operators.count(&["get", "list"], None),
        faults: count(stage.chronicle.pages().faults.len()),
        stalled_at_end: count(stalled.len()),
    };
    let mut reasons = figures.reasons();
    reasons.extend(unstopped);
    reasons.extend(stage.types.iter().flat_map(|one| one.wrong()));
    if !not_ready.is_empty() {
        reasons.push(format!("{} objects are not Ready in the end", not_ready.len()));
    }
    let pages = stage.chronicle.pages();
    let mut lines = pages.notes.clone();
    for fault in &pages.faults {
        let lasted = fault.span(Utc::now());
        lines.push((fault.from, format!("{} ({} s)", fault.what.1, (lasted.to - lasted.from).num_seconds())));
    }
    lines.extend(expired.iter().map(|one| (one.stretch.from, told(one, begun))));
    lines.extend(issues.needless.iter().cloned());
    lines.extend(late.iter().map(|one| {
        let by = one.by.as_seconds_f64();
        (one.due, format!("{}: due here, and renewed {by:.1} s LATER THAN P17 PROMISES", one.secret))
    }));
    lines.extend(rekeyed.iter().map(|one| {
        let after = (one.replaced - one.given).as_seconds_f64();
        let late =
            one.by.map(|by| format!(", {:.1} s LATER THAN P03 PROMISES", by.as_seconds_f64())).unwrap_or_default();
        (one.given, format!("{}: another key from here on, and its tokens alone after {after:.1} s{late}", one.secret))
    }));
    let over_budget: u64 = stage.callers().map(|(_, control)| control.counters().throttled).sum();
    let mut text = report::timeline(begun, lines);
    for (what, which) in [("Stalled", &stalled), ("not Ready", &not_ready), ("not Ready, as promised", &barred)] {
        for one in which {
            let _ = writeln!(text, "{what} in the end: {one}");
        }
    }
    let passed = if reasons.is_empty() { "PASSED".to_owned() } else { format!("FAILED: {}", reasons.join("; ")) };
    let _ = write!(
        text,
        "\n{} tokens issued: {}; {over_budget} calls beyond an account's budget; {} calls for the neighbours\n{} s with an expired token inside the \
         promise, {} outside; renewals {:.1} s later than promised, other keys {:.1} s; {} Secret writes, {} status writes, {} \
         reads\n{passed}\n",
        figures.issuances,
        report::causes(&issues.tally),
        stage.neighbours.counters().requests,
        figures.expired_seconds_inside_promise,
        figures.expired_seconds_outside,
        figures.late_seconds_inside_promise,
        figures.outdated_key_seconds_inside_promise,
        figures.secret_writes,
        figures.status_writes,
        figures.api_reads,
    );
    let title = format!("seed {}, {} objects: {passed}", options.seed, options.objects);
    let chart = chart::draw(&pages, begun, length, &title);
    Ok(Outcome { figures, text, chart, dashboard: String::new(), reasons })
}

/// An expired token, in words.
fn told(one: &Judged, begun: DateTime<Utc>) -> String {
    let Judged { stretch, type_, life, chance } = one;
    let seconds = stretch.length().as_seconds_f64();
    let life = life.map(|life| life.length().num_seconds()).unwrap_or_default();
    let why = match chance {
        Some(at) => format!("INSIDE THE PROMISE: it could have been renewed from {}", report::clock(*at - begun)),
        None => "outside the promise".to_owned(),
    };
    format!("{}: expired for {seconds:.1} s, a token of {life} s by {type_}: {why}", stretch.secret)
}

impl Stage {
    /// The objects in namespaces that aren't deleted.
    fn living(&self) -> Vec<Object> {
        let estate = self.estate();
        estate.objects.iter().filter(|object| estate.namespaces.contains(&object.namespace)).cloned().collect()
    }

    /// Says whom a fault hits.
    fn name_fault(&self, number: usize, whom: &str) {
        let (kind, name) = &mut self.chronicle.pages().faults[number].what;
        *name = format!("{kind}: {whom}");
    }
}

/// Says on stderr what goes on.
fn say(text: &str) {
    // nobody reads along: then nobody misses it
    let _ = writeln!(std::io::stderr(), "soak: {} {text}", Utc::now().format("%H:%M:%S"));
}
