//! Failures of the environment: an output that can't be written, a wrong clock.

use crate::TOOL;
use crate::stand::command;
use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Output, Stdio};
use testkit::stand::controlplane::repository;
use testkit::stand::process::Scratch;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// With a standard output that is full.
fn into_full(args: &[&str]) -> Output {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(TOOL);
    command.args(args).current_dir(repository()).env_clear();
    command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).output().unwrap()
}

#[test]
fn an_output_that_cant_be_written_is_told() {
    for (args, code) in [
        (&["man"][..], 1),
        (&["man", "kubectl-videotoken"], 1),
        (&["check", "-f", "deploy/examples"], 2),
        (&["check", "-o", "json", "-f", "deploy/examples"], 2),
        (&["kubectl", "check", "-f", "deploy/examples"], 2),
        (&["kubectl", "completion", "bash"], 3),
    ] {
        let output = into_full(args);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?} {said}");
        assert!(said.starts_with("error: the output can't be written: No space left"), "{args:?} {said}");
    }
    for dir in ["/proc/nope", "/dev/null"] {
        let output = command("man").args(["--dir", dir]).output().unwrap();
        let said = said(&output);
        assert!(output.status.code() == Some(1) && said.starts_with(&format!("error: --dir {dir}: ")), "{said}");
    }
}

#[test]
fn whoever_reads_may_have_enough() {
    for args in [&["man"][..], &["check", "-f", "deploy/examples"]] {
        let mut child = Command::new(TOOL)
            .args(args)
            .current_dir(repository())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // a byte at most, as `head -c1` takes
        let mut byte = [0];
        let _ = child.stdout.take().unwrap().read(&mut byte);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), said(&output)), (Some(0), String::new()), "{args:?}");
    }
}

/// A clock that reads 1969, as of a machine whose battery is empty and that knows no NTP.
const CLOCK: &str = r"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, __func__);
    int result = real(id, at);
    if (id == CLOCK_REALTIME) at->tv_sec = -86400;
    return result;
}
";

#[test]
fn a_clock_before_1970_is_an_error_and_no_panic() {
    let folder = Scratch::new("vto-clock-").unwrap();
    let source = folder.write("clock.c", CLOCK).unwrap();
    let library = folder.file("clock.so");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
    assert!(built.unwrap().success());
    for args in [&["check", "-f", "deploy/examples"][..], &["issue", "-f", "deploy/examples"], &["man"]] {
        let output =
            Command::new(TOOL).args(args).current_dir(repository()).env("LD_PRELOAD", &library).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?} {said}");
        assert!(
            said.starts_with("error: this machine's clock reads 1969-12-31T00:00:00Z, before 1970: set it"),
            "{said}"
        );
    }
}
