//! Many runs side by side, each in a process of its own, because tokio counts its seeds over a whole process.

use crate::arguments::Arguments;
use simulation::world::STRIKES;
use std::fmt::Write as _;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Interval at which the progress is printed.
const PROGRESS: Duration = Duration::from_mins(1);

/// How a run ended.
struct Ended {
    /// Its place in the list of plans.
    number: usize,
    passed: bool,
    text: String,
}

impl Ended {
    /// Returns the number of requests that a disturbance can hit.
    fn requests(&self) -> u64 {
        let after = self.text.split_whitespace().skip_while(|word| *word != "counted");
        after.skip(1).find_map(|number| number.parse().ok()).unwrap_or_default()
    }

    /// Prints why the run failed, and the arguments that repeat it.
    fn print(&self) {
        println!("run {} failed", self.number + 1);
        for line in self.text.lines().filter(|line| line.starts_with("FAULT") || line.starts_with("again")) {
            println!("{line}");
        }
    }
}

/// Runs each plan of the arguments, and each of its disturbances, if those are wanted.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let plans = arguments.plans();
    let undisturbed = all(&plans, arguments.first);
    let mut failed = undisturbed.iter().any(|run| !run.passed);
    if arguments.sweep && !(failed && arguments.first) {
        let each = undisturbed.iter().filter(|run| run.passed);
        let disturbed: Vec<_> = each.flat_map(|run| sweep(&plans[run.number], run.requests())).collect();
        let disturbed = sample(disturbed, arguments);
        failed |= all(&disturbed, arguments.first).iter().any(|run| !run.passed);
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Returns a plan for each request and each disturbance of it.
fn sweep(plan: &Arguments, requests: u64) -> Vec<Arguments> {
    let mut strikes = plan.strike.clone();
    if strikes.is_empty() {
        strikes = STRIKES.iter().map(|(name, _)| (*name).to_owned()).collect();
    }
    let each = (1..=requests).flat_map(|at| strikes.iter().map(move |strike| (at, strike)));
    each.map(|(at, strike)| plan.disturbed(at, strike)).collect()
}

/// Returns so many of the plans, chosen by the seed, as the arguments want.
fn sample(mut plans: Vec<Arguments>, arguments: &Arguments) -> Vec<Arguments> {
    if arguments.sample > 0 {
        fastrand::Rng::with_seed(arguments.seed).shuffle(&mut plans);
        plans.truncate(arguments.sample);
    }
    plans
}

/// Runs all plans, as many at the same time as there are processors. With `first`, no run begins after one has failed.
fn all(plans: &[Arguments], first: bool) -> Vec<Ended> {
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (ended, told) = (Mutex::new(Vec::new()), Mutex::new(Instant::now()));
    let work = || {
        while !over.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(plan) = plans.get(number) else { break };
            let (passed, text) = child(plan);
            let run = Ended { number, passed, text };
            if !passed {
                over.fetch_or(first, Ordering::Relaxed);
                run.print();
            }
            let mut ended = ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            ended.push(run);
            let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if told.elapsed() > PROGRESS {
                *told = Instant::now();
                summarize(plans, &ended);
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    let mut ended = ended.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    summarize(plans, &ended);
    ended.sort_by_key(|run| run.number);
    ended
}

fn summarize(plans: &[Arguments], ended: &[Ended]) {
    let minutes: u64 = ended.iter().filter_map(|run| plans.get(run.number)).map(|plan| plan.minutes).sum();
    let failed = ended.iter().filter(|run| !run.passed).count();
    let days = Duration::from_secs(60 * minutes).as_secs_f64() / 86_400.0;
    let cpu = cpu_of_children().map(|seconds| format!(", {seconds} s of CPU")).unwrap_or_default();
    println!("{} of {} runs, {failed} failed, {days:.1} days{cpu}", ended.len(), plans.len());
}

/// Returns the CPU time of the runs that have ended, where Linux tells it.
fn cpu_of_children() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |n: usize| fields.get(n)?.parse::<u64>().ok();
    Some((ticks(13)? + ticks(14)?) / 100)
}

fn child(plan: &Arguments) -> (bool, String) {
    let output = std::env::current_exe().and_then(|program| Command::new(program).args(plan.line()).output());
    match output {
        Ok(output) => {
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            if !output.status.success() && !text.contains("FAULT") {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                let last = said.lines().last().unwrap_or_default();
                let again = plan.line().join(" ");
                let _ = writeln!(text, "FAULT {}: {last}\nagain: make simulate ARGS='{again}'", output.status);
            }
            (output.status.success(), text)
        }
        Err(error) => (false, format!("FAULT {error}")),
    }
}
