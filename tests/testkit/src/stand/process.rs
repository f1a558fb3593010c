//! A program that cannot outlive the test process, and a directory that is removed even when that process is killed.
//!
//! A `Drop` does not run when a test process is killed or ends with something in a `static`. So each program is started
//! through a shell that first leaves a watchdog behind: it reads from a pipe that only the test process holds, and at
//! the end of that pipe kills the program's process group, which is also its own. The group's id is the program's pid
//! and cannot be reused while the watchdog is in it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::time::Instant;

const WATCHED: &str = r#"
exec 3<&0 </dev/null
{ exec >/dev/null 2>&1; read -r _ <&3; kill -9 -$$; } &
exec 3<&-
exec "$@"
"#;

/// The environment variables that a child gets from this process.
pub const KEPT: [&str; 8] =
    ["PATH", "HOME", "TMPDIR", "TZ", "RUST_BACKTRACE", "LLVM_PROFILE_FILE", "GOMAXPROCS", "GODEBUG"];

const JANITOR: &str = r#"read -r _; sleep 0.5; exec rm -rf -- "$1""#;

/// A child process whose output goes to a file. Killed on drop, and when this process ends in whatever way.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lifeline: Option<ChildStdin>,
    name: String,
    log: PathBuf,
    exit: Option<ExitStatus>,
}

impl Process {
    /// Starts `program` in `directory`; both of its output streams are appended to `log`. Of this process's environment
    /// it gets what [`KEPT`] names, so that nobody's proxy or credentials change a test.
    pub fn spawn<A, E>(program: &Path, args: A, env: E, directory: &Path, log: &Path) -> Result<Self>
    where
        A: IntoIterator<Item: AsRef<OsStr>>,
        E: IntoIterator<Item = (String, String)>,
    {
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        let out =
            File::options().create(true).append(true).open(log).with_context(|| format!("open {}", log.display()))?;
        let mut child = Command::new("sh")
            .args(["-c", WATCHED, "sh"])
            .arg(program)
            .args(args)
            .env_clear()
            .envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(env)
            .current_dir(directory)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let lifeline = child.stdin.take();
        Ok(Self { child, lifeline, name, log: log.to_owned(), exit: None })
    }

    /// The program's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file that holds its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().ok().flatten();
        }
        if self.exit.is_some() {
            self.lifeline = None;
        }
        self.exit
    }

    /// Sends a signal by its name without SIG, such as `TERM`, to the program alone.
    pub fn signal(&mut self, signal: &str) -> Result<()> {
        if let Some(exit) = self.exited() {
            bail!("cannot send SIG{signal} to {}: {exit}", self.name);
        }
        let pid = self.pid().to_string();
        let sent = Command::new("sh").args(["-c", r#"kill -s "$1" "$2""#, "sh", signal, &pid]).status()?;
        if !sent.success() {
            bail!("cannot send SIG{signal} to {}: kill ended with {sent}", self.name);
        }
        Ok(())
    }

    /// Kills it at once (SIGKILL, whatever it started too) and waits until it is gone.
    pub fn kill(&mut self) {
        if self.exited().is_none() {
            // Both fail only for a process that is gone, which is what is wanted.
            let _ = self.child.kill();
            self.exit = self.child.wait().ok();
            self.lifeline = None;
        }
    }

    /// Waits until it ends by itself, `limit` at most.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(exit) = self.exited() {
                return Ok(exit);
            }
            if begun.elapsed() > limit {
                bail!("{} is still running after {limit:?}; its last output:\n{}", self.name, self.log_tail(40));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// An error that says how it ended and what it said last, once it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.exited() {
            None => Ok(()),
            Some(exit) => bail!("{} ended ({exit}); its last output:\n{}", self.name, self.log_tail(40)),
        }
    }

    /// The last lines of its output.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a file, lossily decoded; empty if it cannot be read.
pub(super) fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().fold(String::new(), |mut shown, line| {
        let _ = writeln!(shown, "{line}");
        shown
    })
}

/// A temporary directory, removed on drop and when this process ends in whatever way. `VTO_KEEP=1` keeps it.
#[derive(Debug)]
pub struct Scratch {
    // Fields drop in order: the directory while the janitor still stands by.
    directory: TempDir,
    _janitor: Option<Janitor>,
}

#[derive(Debug)]
struct Janitor(Child);

impl Scratch {
    /// A fresh directory whose name begins with `prefix`.
    pub fn new(prefix: &str) -> Result<Self> {
        let mut directory = tempfile::Builder::new().prefix(prefix).tempdir().context("make a temporary directory")?;
        if std::env::var_os("VTO_KEEP").is_some_and(|keep| keep == "1") {
            directory.disable_cleanup(true);
            return Ok(Self { directory, _janitor: None });
        }
        let janitor = Command::new("sh")
            .args(["-c", JANITOR, "sh"])
            .arg(directory.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start sh")?;
        Ok(Self { directory, _janitor: Some(Janitor(janitor)) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.file(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A loopback port that nothing listens on.
///
/// It is below the range from which the kernel takes ports for outgoing connections (32768 and up), so that it is
/// still there when a server comes back. Another process may take it first all the same: try again with another.
pub fn free_port() -> Result<u16> {
    for _ in 0..100 {
        let [high, low, ..] = *uuid::Uuid::new_v4().as_bytes();
        let port = 20_000 + u16::from_be_bytes([high, low]) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between 20000 and 32000")
}
