//! The files of `issue --into` and `--output-file`: several runs at once, and files that can't be written.

use crate::stand::{Providers, run};
use futures::future::join_all;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use testkit::emulator::{Azure, Control};
use testkit::stand::controlplane::repository;

struct Ground {
    providers: Providers,
    control: Arc<Control>,
    file: PathBuf,
    _azure: Azure,
}

impl Ground {
    async fn new() -> Self {
        let azure = Azure::start().await.unwrap();
        let providers = Providers::beside(&azure).await;
        let file = providers.file("own.yaml", &providers.example("own-account"));
        Self { control: azure.video_indexer.control().clone(), providers, file, _azure: azure }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.providers.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.providers.issue(&self.file);
        command.args(args);
        command
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_at_once_leave_files_that_fit_together_and_one_asks_for_all() {
    const RUNS: usize = 12;
    let ground = Ground::new().await;
    let (into, whole) = (ground.path("into"), ground.path("whole.yaml"));
    let args = ["--into", into.to_str().unwrap(), "--output-file", whole.to_str().unwrap()];
    for ran in join_all((0..RUNS).map(|_| run(ground.command(&args)))).await {
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    assert_eq!(ground.control.tokens().len(), 1, "the others find what the first has written");
    // each asks, and the last to write has written all of it
    for ran in join_all((0..RUNS).map(|_| run(ground.command(&[&args[..], &["--renew"]].concat())))).await {
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    assert_eq!(ground.control.tokens().len(), 1 + RUNS);
    let ran = run(ground.command(&args)).await;
    assert!(ran.code == 0 && ran.stderr.contains("a valid token"), "{}", ran.stderr);
    assert_eq!(ground.control.tokens().len(), 1 + RUNS);
    let mut left: Vec<_> =
        fs::read_dir(&into).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["..lock", "..secret", "expires-at", "player.json", "token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_asked_for_before_its_files_are_known_to_be_writable() {
    let ground = Ground::new().await;
    let (file, folder) = (ground.path("file"), ground.path("folder"));
    fs::write(&file, "").unwrap();
    fs::create_dir(&folder).unwrap();
    let (file, folder) = (file.to_str().unwrap(), folder.to_str().unwrap());
    for (args, expected) in [
        (["--into", file], "file: File exists"),
        (["--into", "/proc/nope"], "/proc/nope: No such file"),
        (["--output-file", folder], "folder: it is not a file"),
        (["--output-file", "/dev/full"], "/dev/full: it is not a file"),
        (["--output-file", "/nowhere/secret.yaml"], "No such file"),
    ] {
        let ran = run(ground.command(&args)).await;
        assert!(ran.code == 1 && ran.stderr.contains(expected), "{args:?}: {} {}", ran.code, ran.stderr);
        assert!(ran.stderr.contains("no token is requested"), "{}", ran.stderr);
    }
    // a disk that is full, as far as this process may write
    let into = ground.path("full");
    let command = ground.command(&["--into", into.to_str().unwrap()]);
    let mut limited = Command::new("sh");
    let program = command.get_program().to_owned();
    limited.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""]).arg(program).args(command.get_args());
    limited.env_clear().current_dir(repository());
    let ran = run(limited).await;
    assert!(ran.code == 1 && ran.stderr.contains("File too large"), "{} {}", ran.code, ran.stderr);
    assert_eq!(fs::read_dir(&into).unwrap().count(), 1, "nothing but the lock is left");
    assert_eq!(ground.control.requests().len(), 0);
}
