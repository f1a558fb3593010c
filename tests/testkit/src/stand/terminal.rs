//! A pseudo-terminal: what a person sees of a program, on so many columns.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::time::Instant;

use super::process::KEPT;

/// A program at a terminal. Killed on drop; when this process ends in whatever way, the terminal is gone and the
/// program's next write fails.
pub struct Terminal {
    child: Child,
    seen: Arc<Mutex<Seen>>,
    /// The program's side, so that it can be told when all that the program wrote is seen.
    user: File,
    reader: Option<JoinHandle<()>>,
}

/// What is written last: a command that terminals ignore.
const LAST: &[u8] = b"\x1b]777;seen\x07";

struct Seen {
    screen: vt100::Parser,
    /// All that was written.
    bytes: Vec<u8>,
}

impl Terminal {
    /// Starts a program at a terminal of this size, with none of this process's environment but what every child gets,
    /// and what is said here.
    pub fn start(program: &Path, args: &[&str], env: &[(&str, &str)], columns: u16, lines: u16) -> Result<Self> {
        let size = [lines, columns].map(NonZeroU16::new);
        let [Some(rows), Some(cells)] = size else { bail!("a terminal of no size") };
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).context("open a pseudo-terminal")?;
        grantpt(&master)?;
        unlockpt(&master)?;
        tcsetwinsize(&master, Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
        let user = File::from(ioctl_tiocgptpeer(&master, flags)?);
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs([("TERM", "xterm-256color"), ("LC_ALL", "C.UTF-8")])
            .envs(env.iter().copied())
            .stdin(Stdio::from(user.try_clone()?))
            .stdout(Stdio::from(user.try_clone()?))
            .stderr(Stdio::from(user.try_clone()?));
        let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let mut output = File::from(master);
        let seen = Arc::new(Mutex::new(Seen { screen: vt100::Parser::new(rows, cells, 0), bytes: Vec::new() }));
        let shared = seen.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
                seen.screen.process(&buffer[..count]);
                seen.bytes.extend_from_slice(&buffer[..count]);
                if seen.bytes.ends_with(LAST) {
                    break;
                }
            }
        });
        Ok(Self { child, seen, user, reader: Some(reader) })
    }

    fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the screen shows now, without colours and without the lines' trailing spaces.
    pub fn text(&self) -> String {
        let shown = self.look(|seen| seen.screen.screen().contents());
        let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
        lines.join("\n") + "\n"
    }

    /// All that was written, colours and all.
    pub fn raw(&self) -> String {
        self.look(|seen| String::from_utf8_lossy(seen.bytes.strip_suffix(LAST).unwrap_or(&seen.bytes)).into_owned())
    }

    /// A line of the screen that was too long for it, if there is one.
    pub fn wrapped(&self) -> Option<String> {
        self.look(|seen| {
            let screen = seen.screen.screen();
            let (lines, columns) = screen.size();
            let rows: Vec<String> = screen.rows(0, columns.get()).collect();
            (0..lines.get()).find(|line| screen.row_wrapped(*line)).map(|line| rows[usize::from(line)].clone())
        })
    }

    /// The cursor can be seen, and the screen is the first one: as a shell wants it.
    pub fn is_restored(&self) -> bool {
        self.look(|seen| !seen.screen.screen().hide_cursor() && !seen.screen.screen().alternate_screen())
    }

    /// Interrupts the program (SIGINT), as Ctrl-C does.
    pub fn interrupt(&mut self) -> Result<()> {
        let sent =
            Command::new("sh").args(["-c", r#"kill -s INT "$1""#, "sh", &self.child.id().to_string()]).status()?;
        if sent.success() { Ok(()) } else { bail!("kill ended with {sent}") }
    }

    /// Waits until it ends and all that it wrote is seen, `limit` at most.
    pub async fn end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.read_out()?;
                return Ok(status);
            }
            if begun.elapsed() > limit {
                bail!("still running after {limit:?}; the screen shows\n{}", self.text());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Terminal {
    /// Sees all that was written before.
    fn read_out(&mut self) -> Result<()> {
        if let Some(reader) = self.reader.take() {
            self.user.write_all(LAST)?;
            let _ = reader.join();
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // both fail only for a process that is gone
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.read_out();
    }
}
