//! `make simulate`: runs the operator in virtual time, once or for each crash point.

#![allow(clippy::print_stdout)]

use clap::Parser;
use simulation::run::{Faults, Plan, run};
use simulation::world::Crash;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// Faults: api, crashes, users, provider, clocks, all, or none.
    #[arg(long, value_delimiter = ',', default_value = "all")]
    faults: Vec<String>,
    /// Kills the operator that sends the request of this number.
    #[arg(long, default_value_t = 0)]
    crash_at: u64,
    /// The killed operator's request has no effect.
    #[arg(long)]
    unserved: bool,
    /// Runs once for each request of the plan, and kills its sender, before and after the request has its effect.
    #[arg(long)]
    sweep: bool,
    /// Prints each request.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    SEED.store(arguments.seed | 1, Ordering::Relaxed);
    let _ = ahash::random_state::set_random_source(FixedSeed);
    if arguments.sweep { sweep(&arguments) } else { once(&arguments) }
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
        },
        crash: Crash { at: arguments.crash_at, unserved: arguments.unserved },
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
    let Arguments { seed, minutes, tokens, operators, faults, crash_at, unserved, .. } = arguments;
    let text = format!(
        "--seed {seed} --minutes {minutes} --tokens {tokens} --operators {operators} --faults {} --crash-at {crash_at}",
        faults.join(",")
    );
    let mut line: Vec<String> = text.split(' ').map(str::to_owned).collect();
    line.extend(unserved.then(|| "--unserved".to_owned()));
    line
}

/// Each run has a process of its own, because tokio counts its seeds over a whole process.
fn sweep(arguments: &Arguments) -> ExitCode {
    let child = |at: u64, unserved: bool| {
        let arguments = Arguments { crash_at: at, unserved, ..arguments.clone() };
        let program = std::env::current_exe()?;
        let output = Command::new(program).args(line(&arguments)).output()?;
        std::io::Result::Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    let requests = match child(0, false) {
        Ok((true, text)) => {
            text.split_whitespace().skip_while(|word| *word != "counted").nth(1).and_then(|n| n.parse().ok())
        }
        Ok((false, text)) => {
            println!("{text}");
            None
        }
        Err(_) => None,
    };
    let Some(requests) = requests else { return ExitCode::FAILURE };
    let mut failed = 0;
    for (at, unserved) in (1..=requests).flat_map(|at| [(at, false), (at, true)]) {
        match child(at, unserved) {
            Ok((true, _)) => {}
            Ok((false, text)) => {
                failed += 1;
                println!("{text}");
            }
            Err(error) => {
                failed += 1;
                println!("{error}");
            }
        }
    }
    println!("{} runs, {failed} failed", 2 * requests);
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
