//! From nothing to a table of tokens: a real control plane, emulators of all token APIs, the operator, the
//! examples' YAML, one live renewal. Exits with 0 only if everything that it says was checked and held.
//!
//! `KEEP=1` leaves all of it running until Ctrl-C. `PICTURE=FILE` draws the steps of the README's picture as an SVG.

mod example;
mod kubectl;
mod others;
mod picture;
mod screen;
mod stand;
mod story;
mod tokens;

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use screen::Screen;
use stand::Stand;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// What the example creates.
const NAMESPACE: &str = "analytics";
const PROVIDER: &str = "contoso-indexer";
/// Steps in the picture.
const PICTURED: [&str; 3] = ["The table of tokens", "A renewal, live", "What an observer saw"];

const TOKENS: [&str; 2] = ["all-cameras", "lobby-camera"];

fn main() -> ExitCode {
    let mut screen = Screen::new();
    let told = tokio::runtime::Runtime::new().map_err(anyhow::Error::from).and_then(|runtime| {
        let told = runtime.block_on(demo(&mut screen));
        runtime.shutdown_timeout(Duration::from_secs(1));
        told
    });
    let seconds = screen.seconds();
    match told {
        Ok(()) => {
            screen.strong(&format!("\nAll of it held, in {seconds:.0} s."));
            ExitCode::SUCCESS
        }
        Err(error) if error.is::<Interrupted>() => {
            screen.strong(&format!("\nInterrupted after {seconds:.0} s. Everything is stopped and removed."));
            ExitCode::from(130)
        }
        Err(error) => {
            screen.strong(&format!("\nThe demo failed after {seconds:.0} s: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn demo(screen: &mut Screen) -> Result<()> {
    screen.strong("video-token-operator: from nothing to a table of tokens");
    let stand = unless_interrupted(Stand::start(screen)).await?;
    if let Err(error) = unless_interrupted(tell(screen, &stand)).await {
        if !error.is::<Interrupted>() {
            screen.note(format_args!("\nThe operator's log ends with:\n{}", stand.log_tail()));
        }
        return Err(error);
    }
    if std::env::var_os("KEEP").is_some_and(|keep| keep == "1") {
        keep(screen, &stand).await?;
    }
    unless_interrupted(clean_up(screen, stand)).await
}

async fn tell(screen: &mut Screen, stand: &Stand) -> Result<()> {
    example::apply(screen, stand).await?;
    let applied = Instant::now();
    story::table(screen, stand, applied).await?;
    let first = story::secret(screen, stand).await?;
    story::renewal(screen, stand, first).await?;
    story::verdict(screen, stand).await?;
    others::table(screen, stand).await?;
    if let Some(file) = std::env::var_os("PICTURE").filter(|file| !file.is_empty()) {
        std::fs::write(&file, picture::draw(&screen.said(), &PICTURED))?;
        screen.note(format_args!("{} is drawn.", file.display()));
    }
    Ok(())
}

/// Leaves everything running until someone has seen enough.
async fn keep(screen: &mut Screen, stand: &Stand) -> Result<()> {
    screen.step("Yours, until Ctrl-C");
    screen.note("In another terminal:");
    screen.command(&format!("export KUBECONFIG={}", stand.kubectl.kubeconfig().display()));
    screen.command(&format!("alias kubectl={}", stand.kubectl.program().display()));
    screen.command("kubectl get vat --watch");
    screen.command(&format!("tail -f {}", stand.operator.log_path().display()));
    interrupted().await
}

async fn clean_up(screen: &mut Screen, mut stand: Stand) -> Result<()> {
    screen.step("Clean-up");
    let stopped = stand.operator.terminate().await?;
    ensure!(stopped.status.success(), "the operator ended with {}", stopped.status);
    screen.note(format_args!("The operator stopped in {:.2} s.", stopped.took.as_secs_f64()));
    drop(stand);
    screen.note("Everything else is stopped, and what it wrote is removed.");
    Ok(())
}

/// The outcome, or an error as soon as the demo is asked to stop.
async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        done = work => done,
        stop = interrupted() => Err(stop.err().unwrap_or_else(|| Interrupted.into())),
    }
}

/// Waits for Ctrl-C, or to be terminated.
async fn interrupted() -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The demo was asked to stop.
#[derive(Debug)]
struct Interrupted;

impl std::error::Error for Interrupted {}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}
