//! The Secret's templates, made by grammar: none takes more memory than its bound, and none takes long (libfuzzer's
//! own limit for one input).
#![no_main]

use cap::Cap;
use fuzz::templates::template;
use libfuzzer_sys::fuzz_target;
use std::alloc::System;
use std::collections::BTreeMap;
use std::thread;
use videotoken_core::plan::template::{STACK, check};

/// What one template may take beside what is there already.
const ROOM: usize = 64 * 1024 * 1024;

/// An allocation above the limit fails, which ends the process: libfuzzer takes that for a crash.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

fuzz_target!(|data: &[u8]| {
    let templates = BTreeMap::from([("key".to_owned(), template(data))]);
    let _ = MEMORY.set_limit(MEMORY.allocated() + ROOM);
    let checked = thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || check(&templates));
        thread.expect("a thread").join().expect("no panic")
    });
    if let Err(error) = checked {
        assert!(error.to_string().len() < 4096, "{} bytes of error", error.to_string().len());
    }
    let _ = MEMORY.set_limit(usize::MAX);
});
