//! The binary: wiring only.

use std::process::ExitCode;

/// The operator's allocator, so that both programs need the same memory for the same work.
#[cfg(target_env = "gnu")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    videotoken::cli::main()
}
