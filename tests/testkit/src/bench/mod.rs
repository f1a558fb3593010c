//! `make bench`: how fast the operator is and what it costs, beside a bare client that does the same writes.
//!
//! | File | What it is |
//! |---|---|
//! | [`stage`], `identity` | control plane, emulators, the provider and the objects; who the operator is to Entra |
//! | `raw` | the limit: the two writes of a token by a bare client |
//! | `phases`, `memory`, `latency` | what is measured of the operator, in the order of [`run`] |
//! | `answers` | what a scrape and the status page take with all tokens |
//! | `status` | what `kubectl videotoken status -A` takes beside the raw list |
//! | `arrivals` | sees the tokens that the objects' status reports |
//! | `counts`, `cpu` | requests, by the operator's count and by the API server's; what a process burnt |
//! | [`report`] | the figures as a table and as JSON |
//!
//! What counts is the CPU time of API server, etcd and client for a token, ours over the bare client's: it hardly moves
//! with the machine's noise, while the stand's own speed drifts by a third between runs. The bare client takes half of
//! the tokens before the first issuance and half after it, each time as first tokens and again as renewals. kube-controller-manager is left out: then what the API server counts on the objects
//! concerned is the operator's alone.

mod answers;
mod arrivals;
mod counts;
mod cpu;
mod identity;
mod latency;
mod memory;
mod phases;
mod raw;
pub mod report;
pub mod stage;
mod status;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::Utc;
use clap::Args;

use crate::emulator::Life;
use report::Figures;
use stage::Stage;

/// What to measure.
#[allow(clippy::struct_excessive_bools)] // switches of a command line
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How many tokens
    #[arg(long, default_value_t = 10_000)]
    pub n: usize,

    /// How many tokens the bare client, and the operator, may have in flight
    #[arg(long, default_value_t = 32)]
    pub in_flight: usize,

    /// How many single objects to apply for the latency
    #[arg(long, default_value_t = 50)]
    pub latency_objects: usize,

    /// Measure only what needs no running operator: the raw limit, and the plugin's table of all tokens
    #[arg(long)]
    pub only_raw: bool,

    /// Leave out restart and renewal, which wait until all tokens are due
    #[arg(long)]
    pub skip_renewal: bool,

    /// Leave out the resident memory, which waits for the allocator to give back
    #[arg(long)]
    pub skip_memory: bool,

    /// Leave out the latency of single objects
    #[arg(long)]
    pub skip_latency: bool,

    /// Leave out the plugin's table of all tokens
    #[arg(long)]
    pub skip_status: bool,

    /// The operator's program [default: the one beside this program]
    #[arg(long, env = "VTO_OPERATOR")]
    pub operator: Option<PathBuf>,

    /// More arguments for the operator; repeatable
    #[arg(long = "operator-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub operator_args: Vec<String>,

    /// Where to copy the operator's logs, if anywhere
    #[arg(long, value_name = "DIRECTORY")]
    pub logs: Option<PathBuf>,
}

/// Measures everything on one stand. Takes about twenty minutes for 10,000 tokens on two cores.
pub async fn run(options: &Options) -> Result<Figures> {
    let mut figures = Figures::new(options.n);
    let mut stage = Stage::set(options).await?;
    if !options.only_raw && !options.skip_memory {
        memory::idle(&stage, &mut figures).await?;
    }
    raw::warm_up(&stage).await?;
    let before = raw::round(&stage, &mut figures, "before").await?;
    figures.bare(&[before]);
    if options.only_raw {
        if !options.skip_status {
            status::measure(&stage, &mut figures).await?;
        }
        return Ok(figures);
    }
    stage.clear(&stage.raw_namespace).await?;

    let life = first_life(options.n, before.rate);
    stage.azure.video_indexer.control().set_life(if options.skip_renewal { Life::Promised } else { life.into() });
    let last_issue = phases::first_issuance(&stage, &mut figures).await?;
    let after = raw::round(&stage, &mut figures, "after").await?;
    stage.clear(&stage.raw_namespace).await?;
    figures.bare(&[before, after]);
    if !options.skip_status {
        status::measure(&stage, &mut figures).await?;
    }

    let mut operator = phases::restart(&stage, &mut figures).await?;
    answers::measure(&operator, &mut figures).await?;
    stage.azure.video_indexer.control().set_life(Life::Promised);
    if !options.skip_renewal {
        let due = last_issue + life.due() - Utc::now();
        phases::renewal(&stage, &mut operator, due.to_std().unwrap_or_default(), &mut figures).await?;
    }
    if !options.skip_memory {
        memory::with_objects(&mut stage, &mut operator, &mut figures).await?;
    }
    if !options.skip_latency {
        latency::measure(&stage, &mut figures).await?;
    }
    operator.stop().await.context("stop the operator")?;
    if !options.skip_memory {
        memory::slope(&stage, &mut figures).await?;
    }
    Ok(figures)
}

/// How long the first tokens live.
#[derive(Clone, Copy, Debug)]
struct FirstLife(u32);

/// Long enough that none is due before the operator has been restarted beside a round of the raw limit, and that all
/// are renewed before they expire: both take a few times as long as the bare client for as many tokens.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // minutes
fn first_life(n: usize, raw: f64) -> FirstLife {
    FirstLife(60 + (9.0 * n as f64 / raw).ceil() as u32)
}

impl FirstLife {
    /// After which part of it a token is due at the latest.
    fn due(self) -> chrono::TimeDelta {
        chrono::TimeDelta::milliseconds(i64::from(self.0) * 2_000 / 3)
    }
}

impl From<FirstLife> for Life {
    fn from(life: FirstLife) -> Self {
        Self::Seconds(life.0)
    }
}

/// Says on stderr what goes on.
fn say(text: &str) {
    // nobody reads along: then nobody misses it
    let _ = writeln!(std::io::stderr(), "bench: {} {text}", Utc::now().format("%H:%M:%S"));
}

/// Waits for `work` and says every few seconds how far it is.
async fn while_saying<T>(what: &str, progress: impl Fn() -> String, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut every = tokio::time::interval(Duration::from_secs(5));
    every.tick().await;
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = every.tick() => say(&format!("{what}: {}", progress())),
        }
    }
}

/// How many a second.
#[allow(clippy::cast_precision_loss)] // thousands
fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
