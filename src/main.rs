//! The binary: wiring only.

use std::process::ExitCode;

/// Returns what a relist freed to the system; glibc keeps it.
#[cfg(target_env = "gnu")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    video_token_operator::cli::main()
}
