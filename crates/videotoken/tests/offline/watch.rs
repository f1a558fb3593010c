//! `issue --watch` keeps files fresh.

use crate::stand::{OWN_SECRET, Providers, object_mut, run};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::emulator::{Azure, Control, Fault, HoldPoint, Life, arcgis_example};
use testkit::leaks::before_a_leak;
use testkit::stand::eventually;

const SOON: Duration = Duration::from_secs(30);

/// A running `issue --watch`. Killed on drop.
struct Watch {
    child: Child,
    log: PathBuf,
}

impl Watch {
    fn start(mut command: Command, log: &Path) -> Self {
        command.arg("--watch").stdout(Stdio::null()).stderr(fs::File::create(log).unwrap());
        Self { child: command.spawn().unwrap(), log: log.to_owned() }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// SIGTERM, and how it ended within this time.
    fn stop(&mut self, within: Duration) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let begun = Instant::now();
        while begun.elapsed() < within {
            if let Some(code) = self.ended() {
                return Some(code);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Its exit code, if it has ended.
    fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().and_then(|status| status.code())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            #[allow(clippy::print_stderr)] // beside the panic
            {
                eprintln!("{}", self.said());
            }
        }
    }
}

/// A token of own-account whose Secret is changed so, in a folder of its own.
struct Kept {
    providers: Providers,
    control: Arc<Control>,
    file: PathBuf,
    into: PathBuf,
    _azure: Azure,
}

impl Kept {
    async fn new(life: u32, changes: &Value) -> Self {
        let azure = Azure::start().await.unwrap();
        let providers = Providers::beside(&azure).await;
        let mut documents = providers.example("own-account");
        let spec = object_mut(&mut documents, "VideoAccessToken")["spec"].as_object_mut().unwrap();
        spec.extend(changes.as_object().unwrap().clone());
        let file = providers.file("own.yaml", &documents);
        let control = azure.video_indexer.control().clone();
        control.set_life(Life::Seconds(life));
        let into = providers.folder.path().join("token");
        Self { providers, control, file, into, _azure: azure }
    }

    fn command(&self) -> Command {
        let mut command = self.providers.issue(&self.file);
        command.arg("--into").arg(&self.into);
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.providers.folder.path().join(name)
    }

    fn read(&self, key: &str) -> Option<String> {
        fs::read_to_string(self.into.join(key)).ok()
    }

    /// Waits until the folder holds another token than this, one that the provider issued.
    async fn another(&self, than: Option<&str>) -> String {
        eventually(SOON, "another token", async || {
            let token = self.read("token").filter(|token| Some(token.as_str()) != than).ok_or("not yet")?;
            self.control.knows(&token).ok_or("nobody issued it")?;
            Ok::<_, &str>(token)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_renewed_and_the_command_runs_after_each_renewal() {
    let kept = Kept::new(15, &json!({})).await;
    let whole = kept.path("secret.yaml");
    let (log, seen) = (kept.path("log"), kept.path("seen"));
    let mut command = kept.command();
    command.arg("--output-file").arg(&whole).env("RUST_LOG", "trace");
    let exec = format!(
        "echo \"$VIDEO_TOKEN_NAME $VIDEO_TOKEN_EXPIRES_AT $(cat \"$VIDEO_TOKEN_DIR/expires-at\") $VIDEO_TOKEN_FILE \
         ${{ENTRA-no-secret}}\" >> {}",
        seen.display()
    );
    command.args(["--exec", &exec, "--secret-env=entra-credential/client-secret=ENTRA"]).env("ENTRA", OWN_SECRET);
    let mut watch = Watch::start(command, &log);
    let first = kept.another(None).await;
    let second = kept.another(Some(&first)).await;
    let third = kept.another(Some(&second)).await;
    let lines = eventually(SOON, "the command ran thrice", async || {
        let lines = fs::read_to_string(&seen).unwrap_or_default();
        if lines.lines().count() >= 3 { Ok(lines) } else { Err(lines) }
    })
    .await;
    for line in lines.lines() {
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!((words[0], words[1]), ("cinema/trailers", words[2]), "{line}");
        assert_eq!((words[3], words[4]), (whole.to_str().unwrap(), "no-secret"), "{line}");
    }
    let secret: Value = serde_yaml_ng::from_str(&fs::read_to_string(&whole).unwrap()).unwrap();
    assert_eq!(secret["kind"], "Secret");
    let files = fs::read_dir(&kept.into).unwrap().map(|file| file.unwrap().path());
    let mut names: Vec<_> = files
        .map(|file| {
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
            file.file_name().unwrap().to_str().unwrap().to_owned()
        })
        .collect();
    names.sort();
    assert_eq!(names, ["..lock", "..secret", "expires-at", "player.json", "token"]);
    assert_eq!(fs::metadata(&whole).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(kept.read("player.json").unwrap().contains(&kept.read("token").unwrap()));
    assert_eq!(watch.stop(Duration::from_secs(5)), Some(0), "{}", watch.said());
    assert_eq!(before_a_leak(&watch.said(), &[first, second, third, OWN_SECRET.to_owned()]), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_provider_keeps_the_old_files_and_is_asked_again() {
    let kept = Kept::new(20, &json!({})).await;
    let mut watch = Watch::start(kept.command(), &kept.path("log"));
    let first = kept.another(None).await;
    kept.control.play(Fault::Status { code: 500, body: "{}".to_owned(), headers: Vec::new() });
    let before = kept.control.requests().len();
    eventually(SOON, "two attempts", async || {
        let attempts = kept.control.requests().len() - before;
        if attempts >= 2 { Ok(()) } else { Err(attempts) }
    })
    .await;
    assert_eq!(kept.read("token").as_ref(), Some(&first));
    assert_eq!(watch.said().matches("no token was issued").count().min(2), 2, "{}", watch.said());
    kept.control.clear_faults();
    kept.another(Some(&first)).await;
    assert_eq!(watch.stop(Duration::from_secs(5)), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_under_way_when_the_signal_comes_is_stored() {
    let kept = Kept::new(3600, &json!({})).await;
    let hold = kept.control.hold(HoldPoint::Answer, None);
    let mut watch = Watch::start(kept.command(), &kept.path("log"));
    tokio::time::timeout(SOON, hold.reached()).await.expect("no call was made");
    assert_eq!(watch.stop(Duration::from_millis(300)), None, "it ends with a token under way");
    hold.release();
    eventually(SOON, "it has ended", async || watch.ended().ok_or("not yet")).await;
    assert_eq!(watch.ended(), Some(0), "{}", watch.said());
    assert!(kept.control.knows(&kept.read("token").unwrap()).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_throttles_is_left_alone_as_long_as_it_asks() {
    let kept = Kept::new(3600, &json!({})).await;
    kept.control.play_once(Fault::Throttle { retry_after: Some(6) });
    let _watch = Watch::start(kept.command(), &kept.path("log"));
    kept.another(None).await;
    let [throttled, again] = &kept.control.requests()[..] else { panic!("two calls") };
    let pause = (again.call.time - throttled.call.time).to_std().unwrap();
    assert!(pause >= Duration::from_secs(6), "{pause:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_and_a_single_run_issue_nothing_while_the_files_hold_a_token_that_serves() {
    let kept = Kept::new(3600, &json!({})).await;
    let issued = || kept.control.tokens().len();
    let ran = run(kept.command()).await;
    assert_eq!((ran.code, ran.stdout.as_str(), issued()), (0, "", 1), "{}", ran.stderr);
    let first = kept.read("token").unwrap();
    let ran = run(kept.command()).await;
    assert!(ran.code == 0 && ran.stderr.contains("the files contain a valid token"), "{}", ran.stderr);
    let mut watch = Watch::start(kept.command(), &kept.path("log"));
    eventually(
        SOON,
        "it watches",
        async || if watch.said().contains("a valid token") { Ok(()) } else { Err(watch.said()) },
    )
    .await;
    assert_eq!(watch.stop(Duration::from_secs(5)), Some(0));
    assert_eq!((issued(), kept.read("token").unwrap()), (1, first));
    // a changed token is invalid, and --renew issues another
    fs::write(kept.into.join("token"), "altered").unwrap();
    assert_eq!(run(kept.command()).await.code, 0);
    assert_eq!(issued(), 2);
    let mut command = kept.command();
    command.arg("--renew");
    assert_eq!(run(command).await.code, 0);
    assert_eq!(issued(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_previous_token_leaves_the_folder_before_it_expires() {
    let secret = json!({"keys": {"token": "token", "expiresAt": "expires-at", "previousToken": "previous"}});
    let kept = Kept::new(32, &json!({"renewBeforePercentage": 50, "secret": secret})).await;
    assert_eq!(run(kept.command()).await.code, 0);
    let first = kept.another(None).await;
    assert_eq!(kept.read("previous"), None);
    let mut command = kept.command();
    command.arg("--renew");
    assert_eq!(run(command).await.code, 0);
    let second = kept.another(Some(&first)).await;
    assert_eq!(kept.read("previous").as_ref(), Some(&first));
    let _watch = Watch::start(kept.command(), &kept.path("log"));
    let third = kept.another(Some(&second)).await;
    eventually(SOON, "the previous token is there", async || {
        let previous = kept.read("previous");
        if previous.as_ref() == Some(&second) { Ok(()) } else { Err("not yet") }
    })
    .await;
    // also while the provider gives no other
    kept.control.play(Fault::Status { code: 500, body: "{}".to_owned(), headers: Vec::new() });
    eventually(SOON, "the previous token is gone", async || {
        if kept.read("previous").is_none() { Ok(()) } else { Err("still there") }
    })
    .await;
    assert_eq!(kept.read("token"), Some(third));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cant_be_written_is_written_again_and_not_issued_again() {
    let kept = Kept::new(3600, &json!({})).await;
    // a directory at the path of the file
    fs::create_dir_all(kept.into.join("token")).unwrap();
    let mut watch = Watch::start(kept.command(), &kept.path("log"));
    eventually(SOON, "two writes failed", async || {
        if watch.said().matches("the token can't be stored").count() >= 2 { Ok(()) } else { Err(watch.said()) }
    })
    .await;
    fs::remove_dir(kept.into.join("token")).unwrap();
    kept.another(None).await;
    assert_eq!(kept.control.tokens().len(), 1);
    assert_eq!(watch.stop(Duration::from_secs(5)), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_asked_for_while_its_folder_cant_be_written() {
    let kept = Kept::new(3600, &json!({})).await;
    // a file at the path of the directory
    fs::write(&kept.into, "").unwrap();
    let mut watch = Watch::start(kept.command(), &kept.path("log"));
    eventually(SOON, "it was tried twice", async || {
        if watch.said().matches("no token is requested").count() >= 2 { Ok(()) } else { Err(watch.said()) }
    })
    .await;
    assert_eq!(kept.control.requests().len(), 0);
    fs::remove_file(&kept.into).unwrap();
    kept.another(None).await;
    assert_eq!(kept.control.tokens().len(), 1);
    assert_eq!(watch.stop(Duration::from_secs(5)), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_fails_a_single_run_and_holds_up_no_renewal() {
    let kept = Kept::new(30, &json!({"renewBeforePercentage": 60})).await;
    let mut command = kept.command();
    command.args(["--exec", "exit 3"]);
    let ran = run(command).await;
    assert!(ran.code == 1 && ran.stderr.contains("--exec: exit status: 3"), "{} {}", ran.code, ran.stderr);
    // the next run makes up for it, and the one after has nothing to do
    for expected in ["1\n", "1\n"] {
        let mut command = kept.command();
        command.arg("--exec").arg(format!("echo 1 >> {}", kept.path("made-up").display()));
        assert_eq!(run(command).await.code, 0);
        assert_eq!(fs::read_to_string(kept.path("made-up")).unwrap(), expected);
    }
    assert_eq!(kept.control.tokens().len(), 1);
    let mut command = kept.command();
    command.args(["--exec", "sleep 1000", "--renew"]);
    let mut watch = Watch::start(command, &kept.path("log"));
    let first = kept.another(kept.read("token").as_deref()).await;
    kept.another(Some(&first)).await;
    assert_eq!(watch.stop(Duration::from_secs(15)), Some(0), "{}", watch.said());
    assert!(watch.said().contains("--exec is killed because it still runs"), "{}", watch.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_three_wrong_logins_are_made_and_another_password_is_tried_at_once() {
    let azure = Azure::start().await.unwrap();
    let providers = Providers::beside(&azure).await;
    let mut documents = providers.example("arcgis-video-server");
    documents.retain(|document| document["kind"] != "Secret");
    let file = providers.file("arcgis.yaml", &documents);
    let password = providers.folder.path().join("password");
    fs::write(&password, "wrong 0").unwrap();
    let mut command = providers.issue(&file);
    command.arg("--into").arg(providers.folder.path().join("token"));
    command.arg(format!("--secret-file=video-server-user/password={}", password.display()));
    command.arg("--secret-env=video-server-user/username=USER").env("USER", arcgis_example::USERNAME);
    let log = providers.folder.path().join("log");
    let watch = Watch::start(command, &log);
    let failed = || providers.arcgis().failed_logins(arcgis_example::USERNAME).len();
    for attempt in 1..=3 {
        eventually(
            SOON,
            "the wrong password was tried",
            async || if failed() == attempt { Ok(()) } else { Err(failed()) },
        )
        .await;
        fs::write(&password, format!("wrong {attempt}")).unwrap();
    }
    eventually(SOON, "no further login is made", async || {
        if watch.said().contains("no login is made, because failed logins lock the user") {
            Ok(())
        } else {
            Err(watch.said())
        }
    })
    .await;
    assert_eq!(failed(), 3);
}
