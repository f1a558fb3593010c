//! `make simulate`: runs the operator in virtual time, once, or once for each request and each disturbance of it.

#![allow(clippy::print_stdout)]

use clap::Parser;
use simulation::run::{Faults, Plan, run};
use simulation::users::{ACTIONS, Action};
use simulation::world::{STRIKES, Strike, Struck};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Runs the operator in virtual time. The same arguments give the same trace.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// Decides everything that is random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Virtual time in minutes.
    #[arg(long, default_value_t = 1440)]
    minutes: u64,
    /// Number of `VideoAccessToken`s.
    #[arg(long, default_value_t = 50)]
    tokens: u64,
    /// Number of operators, of which one leads.
    #[arg(long, default_value_t = 2)]
    operators: u64,
    /// Faults: api, crashes, users, provider, clocks, episodes, all, or none. Without api, provider and clocks, each
    /// delay needs a reason.
    #[arg(long, value_delimiter = ',', default_value = "all")]
    faults: Vec<String>,
    /// What a user does to the first token after two minutes.
    #[arg(long, value_parser = named(&ACTIONS))]
    story: Option<String>,
    /// Disturbs the request of this number.
    #[arg(long, default_value_t = 0)]
    at: u64,
    /// What disturbs it; repeatable in a sweep, which otherwise takes all.
    #[arg(long, value_parser = named(&STRIKES))]
    strike: Vec<String>,
    /// Runs once for each request of the plan and each disturbance of it.
    #[arg(long)]
    sweep: bool,
    /// Prints each request.
    #[arg(long)]
    trace: bool,
}

/// Returns a parser that takes one of these names.
fn named<T>(all: &[(&'static str, T)]) -> clap::builder::PossibleValuesParser {
    all.iter().map(|(name, _)| *name).collect::<Vec<_>>().into()
}

fn value_of<T: Copy>(all: &[(&str, T)], name: &str) -> Option<T> {
    all.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// The operator panics when it resolves this provider, which no token uses.
const PANIC: (&str, &str) = ("VIDEO_TOKEN_OPERATOR_PANIC", "resolve TokenProvider/fragile");

fn main() -> ExitCode {
    if std::env::var_os(PANIC.0).is_none() {
        return again();
    }
    let show = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // That of the fail point is part of the scenario.
        if !panic.location().is_some_and(|at| at.file().ends_with("fail_point.rs")) {
            show(panic);
        }
    }));
    let arguments = Arguments::parse();
    SEED.store(arguments.seed | 1, Ordering::Relaxed);
    let _ = ahash::random_state::set_random_source(FixedSeed);
    if arguments.sweep { sweep(&arguments) } else { once(&arguments) }
}

/// Runs in a process that has the fail point in its environment.
fn again() -> ExitCode {
    let status = std::env::current_exe()
        .and_then(|program| Command::new(program).args(std::env::args_os().skip(1)).env(PANIC.0, PANIC.1).status());
    match status {
        Ok(status) => ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)),
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn once(arguments: &Arguments) -> ExitCode {
    let has = |name: &str| arguments.faults.iter().any(|fault| fault == name || fault == "all");
    let plan = Plan {
        seed: arguments.seed,
        span: Duration::from_secs(60 * arguments.minutes),
        tokens: arguments.tokens,
        operators: arguments.operators,
        faults: Faults {
            api: has("api"),
            crashes: has("crashes"),
            users: has("users"),
            provider: has("provider"),
            clocks: has("clocks"),
            episodes: has("episodes"),
        },
        story: arguments.story.as_ref().and_then(|name| value_of::<Action>(&ACTIONS, name)),
        struck: arguments
            .strike
            .first()
            .filter(|_| arguments.at > 0)
            .and_then(|name| Some(Struck { at: arguments.at, strike: value_of::<Strike>(&STRIKES, name)? })),
        verbose: arguments.trace,
    };
    let report = match run(&plan) {
        Ok(report) => report,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    println!("trace {} counted {}", report.trace, report.requests);
    println!("{}", report.summary);
    for fault in &report.faults {
        println!("FAULT {fault}");
    }
    if report.faults.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("again: make simulate ARGS='{}'", line(arguments).join(" "));
    ExitCode::FAILURE
}

/// Returns the arguments of one run.
fn line(arguments: &Arguments) -> Vec<String> {
    let Arguments { seed, minutes, tokens, operators, faults, story, at, strike, .. } = arguments;
    let mut words = Vec::new();
    let mut add = |name: &str, value: String| words.extend([name.to_owned(), value]);
    for (name, value) in [("--seed", seed), ("--minutes", minutes), ("--tokens", tokens), ("--operators", operators)] {
        add(name, value.to_string());
    }
    add("--faults", faults.join(","));
    if let Some(story) = story {
        add("--story", story.clone());
    }
    if let Some(strike) = strike.first().filter(|_| *at > 0) {
        add("--at", at.to_string());
        add("--strike", strike.clone());
    }
    words
}

/// Each run has a process of its own, because tokio counts its seeds over a whole process.
fn child(arguments: &Arguments) -> (bool, String) {
    let output = std::env::current_exe().and_then(|program| Command::new(program).args(line(arguments)).output());
    match output {
        Ok(output) => (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => (false, error.to_string()),
    }
}

fn sweep(arguments: &Arguments) -> ExitCode {
    let (passed, text) = child(&Arguments { at: 0, ..arguments.clone() });
    let requests = text.split_whitespace().skip_while(|word| *word != "counted").nth(1).and_then(|n| n.parse().ok());
    let Some(requests) = requests.filter(|_| passed) else {
        println!("{text}");
        return ExitCode::FAILURE;
    };
    let mut strikes = arguments.strike.clone();
    if strikes.is_empty() {
        strikes = STRIKES.iter().map(|(name, _)| (*name).to_owned()).collect();
    }
    let plans: Vec<_> = (1..=requests).flat_map(|at| strikes.iter().map(move |strike| (at, strike))).collect();
    let (next, failed) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || {
        while let Some((at, strike)) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (passed, text) = child(&Arguments { at: *at, strike: vec![(*strike).clone()], ..arguments.clone() });
            if !passed {
                failed.fetch_add(1, Ordering::Relaxed);
                println!("{text}");
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner();
    println!("{} runs, {failed} failed", plans.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Seed of ahash, which kube's stores use, instead of an address in memory.
struct FixedSeed;

impl ahash::random_state::RandomSource for FixedSeed {
    fn gen_hasher_seed(&self) -> usize {
        7
    }
}

static SEED: AtomicU64 = AtomicU64::new(1);

/// Replaces the C library's function, so that the hash maps of the standard library and of kube iterate in the same
/// order in each run.
///
/// # Safety
/// As in C: `buffer` must be valid for `length` bytes.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    for n in 0..length {
        // SplitMix64
        let mut z = SEED.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [byte, ..] = (z ^ (z >> 31)).to_le_bytes();
        // SAFETY: the caller's buffer has `length` bytes.
        unsafe { buffer.add(n).write(byte) };
    }
    isize::try_from(length).unwrap_or(-1)
}
