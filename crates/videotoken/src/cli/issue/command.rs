//! The command that runs after each renewal. It is told where the token is, never the token.

use super::Options;
use super::store::Store;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use videotoken_api::key::ObjectKey;
use videotoken_api::wire_time;
use videotoken_providers::clock::Timestamp;

/// Once the program is told to stop, a command that still runs has this long.
const LAST: Duration = Duration::from_secs(10);

/// A command, and the one that runs.
pub(super) struct AfterRenewal<'a> {
    options: &'a Options,
    store: &'a Store,
    key: &'a ObjectKey,
    running: Option<Child>,
    /// A token was stored while it ran: it runs once more.
    again: Option<Timestamp>,
}

impl<'a> AfterRenewal<'a> {
    pub(super) fn new(options: &'a Options, store: &'a Store, key: &'a ObjectKey) -> Self {
        Self { options, store, key, running: None, again: None }
    }

    /// A token is about to be written: if the program ends before the command has succeeded, the next one runs it.
    pub(super) fn announce(&self) -> io::Result<()> {
        if self.options.exec.is_some() { self.store.set_pending() } else { Ok(()) }
    }

    /// An earlier program has written the token that is there, and its command hasn't succeeded.
    pub(super) fn is_pending(&self) -> bool {
        self.options.exec.is_some() && self.store.is_pending()
    }

    /// Starts the command for a token that expires then; or, while one runs, as soon as that has ended.
    pub(super) fn start(&mut self, expires_at: Timestamp) -> io::Result<()> {
        if self.running.is_some() {
            self.again = Some(expires_at);
            return Ok(());
        }
        let Some(line) = &self.options.exec else { return Ok(()) };
        let mut command = Command::new("sh");
        command.arg("-c").arg(line).stdin(Stdio::null()).kill_on_drop(true);
        for variable in &self.options.secret_env {
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

    /// Waits until the running command has ended, and starts it again if a token was stored meanwhile. Never resolves
    /// while none runs.
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

    /// Runs the command to its end, and tells how it ended; `None` where there is none.
    pub(super) async fn run(&mut self, expires_at: Timestamp) -> io::Result<Option<ExitStatus>> {
        self.start(expires_at)?;
        if self.running.is_none() { Ok(None) } else { self.ended().await.map(Some) }
    }

    /// Lets a running command end.
    pub(super) async fn finish(&mut self) {
        if let Some(child) = &mut self.running
            && tokio::time::timeout(LAST, child.wait()).await.is_err()
        {
            tracing::warn!("--exec still runs after {} s: it is killed", LAST.as_secs());
        }
    }
}
