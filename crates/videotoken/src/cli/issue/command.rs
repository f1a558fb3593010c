//! The command that runs after each renewal. Its environment contains the location of the token, not the token.

use super::Options;
use super::store::Store;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use videotoken_api::key::ObjectKey;
use videotoken_api::wire_time;
use videotoken_providers::clock::Timestamp;

/// Time that a running command has to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The command of `--exec` and its running process.
pub(super) struct AfterRenewal<'a> {
    options: &'a Options,
    store: &'a Store,
    key: &'a ObjectKey,
    running: Option<Child>,
    /// Expiry of a token that was stored while the command ran, for which it runs again.
    again: Option<Timestamp>,
}

impl<'a> AfterRenewal<'a> {
    pub(super) fn new(options: &'a Options, store: &'a Store, key: &'a ObjectKey) -> Self {
        Self { options, store, key, running: None, again: None }
    }

    /// Records that a token is about to be written. If the process ends before the command has succeeded, the next run
    /// starts the command.
    pub(super) fn announce(&self) -> io::Result<()> {
        if self.options.exec.is_some() { self.store.set_pending() } else { Ok(()) }
    }

    /// Returns true if the command for the token in the files has not succeeded.
    pub(super) fn is_pending(&self) -> bool {
        self.options.exec.is_some() && self.store.is_pending()
    }

    /// Starts the command for a token with this expiry. If the command runs, it starts again when it has ended.
    pub(super) fn start(&mut self, expires_at: Timestamp) -> io::Result<()> {
        if self.running.is_some() {
            self.again = Some(expires_at);
            return Ok(());
        }
        let Some(line) = &self.options.exec else { return Ok(()) };
        let mut command = Command::new("sh");
        command.arg("-c").arg(line).stdin(Stdio::null()).kill_on_drop(true);
        for variable in &self.options.credentials.secret_env {
            command.env_remove(variable.variable());
        }
        if let Some(folder) = &self.store.folder {
            command.env("VIDEO_TOKEN_DIR", folder);
        }
        if let Some(file) = &self.store.file {
            command.env("VIDEO_TOKEN_FILE", file);
        }
        command.env("VIDEO_TOKEN_NAME", self.key.to_string());
        command.env("VIDEO_TOKEN_EXPIRES_AT", wire_time::text(expires_at));
        self.running = Some(command.spawn()?);
        Ok(())
    }

    /// Waits until the running command has ended, and starts it again if a token was stored while it ran. Never resolves if
    /// no command runs.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let Some(child) = &mut self.running else { return std::future::pending().await };
        let status = child.wait().await;
        self.running = None;
        let status = status?;
        match self.again.take() {
            Some(expires_at) => self.start(expires_at)?,
            None if status.success() => self.store.clear_pending()?,
            None => {}
        }
        Ok(status)
    }

    /// Runs the command and returns its exit status, or `None` without a command.
    pub(super) async fn run(&mut self, expires_at: Timestamp) -> io::Result<Option<ExitStatus>> {
        self.start(expires_at)?;
        if self.running.is_none() { Ok(None) } else { self.ended().await.map(Some) }
    }

    /// Waits until a running command has ended, and kills it after 10 s.
    pub(super) async fn finish(&mut self) {
        if let Some(child) = &mut self.running
            && tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err()
        {
            tracing::warn!("--exec is killed because it still runs after {} s", STOP_TIMEOUT.as_secs());
        }
    }
}
