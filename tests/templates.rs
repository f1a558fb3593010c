//! P21: no template takes much memory. A test program of its own, since it counts what is allocated.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../fuzz/src/templates.rs"]
#[allow(unreachable_pub)] // as the fuzz target sees it
mod generator;

use cap::Cap;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::alloc::System;
use std::collections::BTreeMap;
use videotoken_core::plan::template::{STACK, check};

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// What one object's templates may take while they are rendered: a quarter of the chart's limit (128Mi), since two are
/// rendered at once and the caches need the rest.
const ROOM: usize = 32 * 1024 * 1024;

/// The most that was allocated at once since the process began, after this template.
fn peak(source: &str) -> usize {
    let templates = BTreeMap::from([("key".to_owned(), source.to_owned())]);
    let error = check(&templates).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.len() < 1024, "{} bytes of error", error.len());
    MEMORY.max_allocated()
}

/// One test for both: the meter is the process's.
#[test]
fn p21_no_template_takes_more_than_a_quarter_of_the_memory_limit() {
    let tried = std::thread::Builder::new().stack_size(STACK).spawn(try_templates);
    tried.unwrap().join().unwrap();
}

fn try_templates() {
    let bound = MEMORY.allocated() + ROOM;
    let long_name = format!("{{{{ {} }}}}", "x".repeat(16_000));
    for source in [
        "{{ expires_at | date('%c' * 3000000) | length }}",
        "{{ ([1] * 100000000) | tojson | length }}",
        "{{ (([1] * 100000000) ~ 'x') | length }}",
        "{{ ([1] * 100000000) | string | length }}",
        "{{ ([1] * 100000000) | upper | length }}",
        "{{ ([1] * 100000000) == ([1] * 100000000) }}",
        "{{ [[1] * 100000000] == [[1] * 100000000] }}",
        "{{ 1 in ([2] * 100000000) }}",
        "{{ ([1] | batch(400000, 'x' * 1000000)) | string | length }}",
        "{{ ([1] | slice(400000, 'x' * 1000000)) ~ '' }}",
        "{{ ('x' * 10000) | list | map('replace', 'x', 'y' * 100000) | list | length }}",
        "{{ ('a' * 1900000) | split('') | length }}",
        "{{ ('a ' * 950000) | split | length }}",
        "{{ ('a\n' * 950000) | lines | length }}",
        "{{ ('a' * 1900000) | list | length }}",
        "{{ ('%(a)s' * 10000) | format(a='x' * 100000) | length }}",
        "{{ ('%s' * 10000) | format('x' * 100000) | length }}",
        "{{ '%1000000000d' | format(1) | length }}",
        "{{ ('\x01' * 1900000) | tojson | length }}",
        "{{ ['\x01' * 1900000] ~ '' }}",
        "{{ ('<' * 1900000) | e | length }}",
        "{{ ('ä' * 950000) | urlencode | length }}",
        "{{ ('ß' * 950000) | upper | length }}",
        "{{ ('x' * 1900000) | b64encode | length }}",
        "{{ ('eHh4' * 450000) | b64decode | length }}",
        "{{ ('a' * 60000) | list | join('x' * 1000000) }}",
        "{{ 'x' * 1900000 }}",
        long_name.as_str(),
    ] {
        let peak = peak(source);
        let source: String = source.chars().take(80).collect();
        assert!(peak < bound, "{source}: {peak} bytes at once");
    }

    let mut runner = TestRunner::new(Config { cases: 2000, failure_persistence: None, ..Config::default() });
    let found = runner.run(&proptest::collection::vec(any::<u8>(), 0..200), |choices| {
        let source = generator::template(&choices);
        let peak = peak(&source);
        prop_assert!(peak < bound, "{source}: {peak} bytes at once");
        Ok(())
    });
    found.unwrap();
}
