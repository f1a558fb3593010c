//! `make simulate`: runs the operator in virtual time, once, or many times: for each seed, story and episode, and for
//! each request and each disturbance of it.

#![allow(clippy::print_stdout)]

mod arguments;
mod many;

use arguments::Arguments;
use clap::Parser as _;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};

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
    if arguments.is_one() { once(&arguments) } else { many::run(&arguments) }
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
    let report = match simulation::run::run(&arguments.plan()) {
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
    println!("again: make simulate ARGS='{}'", arguments.line().join(" "));
    ExitCode::FAILURE
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
