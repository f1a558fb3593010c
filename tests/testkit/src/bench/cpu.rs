//! CPU time of processes and threads, from /proc.

use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The kernel counts in these on every architecture that Rust's Linux targets have.
const TICKS_PER_SECOND: f64 = 100.0;

/// Name of the threads of the bare client, which runs in this process.
pub(super) const BARE_CLIENT: &str = "bare-client";

/// CPU time of all that takes part, at one moment or between two.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    pub(super) apiserver: Duration,
    pub(super) etcd: Duration,
    pub(super) operator: Duration,
    pub(super) bare_client: Duration,
    /// The rest of this process: emulators and observer.
    pub(super) bench: Duration,
}

/// CPU time for one token, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) apiserver: f64,
    pub(super) etcd: f64,
    /// The operator or the bare client.
    pub(super) client: f64,
    /// Emulators and observer.
    pub(super) bench: f64,
}

impl Cost {
    /// The cost of the stand without the emulators and the observer.
    pub(super) fn total(self) -> f64 {
        self.apiserver + self.etcd + self.client
    }

    /// The mean of several costs.
    #[allow(clippy::cast_precision_loss)] // a few
    pub(super) fn mean(all: &[Self]) -> Self {
        let mean = |of: fn(&Self) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
        Self {
            apiserver: mean(|cost| cost.apiserver),
            etcd: mean(|cost| cost.etcd),
            client: mean(|cost| cost.client),
            bench: mean(|cost| cost.bench),
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { apiserver, etcd, client, bench } = self;
        write!(
            f,
            "{:.2} ms (API server {apiserver:.2}, etcd {etcd:.2}, client {client:.2}; beside it emulators and observer {bench:.2})",
            self.total()
        )
    }
}

impl Cpu {
    /// Reads the CPU time of this process and of its children. A child that is neither the API server nor etcd counts as the
    /// operator, because its program may have any name. No other child runs while the operator is measured.
    pub(super) fn now() -> Result<Self> {
        let own = std::process::id();
        let mut cpu = Self { bench: read(&format!("/proc/{own}/stat"))?.time, ..Self::default() };
        for thread in fs::read_dir("/proc/self/task").context("read /proc/self/task")? {
            // a thread may be gone by now
            let Ok(thread) = read(&format!("{}/stat", thread?.path().display())) else { continue };
            if thread.name == BARE_CLIENT {
                cpu.bare_client += thread.time;
            }
        }
        for entry in fs::read_dir("/proc").context("read /proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // a process may be gone by now
            let Ok(process) = read(&format!("/proc/{pid}/stat")) else { continue };
            if process.parent != own {
                continue;
            }
            match process.name.as_str() {
                "kube-apiserver" => cpu.apiserver += process.time,
                "etcd" => cpu.etcd += process.time,
                _ => cpu.operator += process.time,
            }
        }
        cpu.bench = cpu.bench.saturating_sub(cpu.bare_client);
        Ok(cpu)
    }

    /// The CPU time since `before`, for one of `count` tokens.
    #[allow(clippy::cast_precision_loss)] // thousands
    pub(super) fn per_token(self, before: Self, count: usize) -> Cost {
        let each = |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() * 1e3 / count as f64;
        Cost {
            apiserver: each(self.apiserver, before.apiserver),
            etcd: each(self.etcd, before.etcd),
            client: each(self.operator, before.operator) + each(self.bare_client, before.bare_client),
            bench: each(self.bench, before.bench),
        }
    }
}

struct Process {
    name: String,
    parent: u32,
    time: Duration,
}

/// A `stat` file of a process or a thread: "pid (name) state ppid … utime stime …", of which utime is the 14th field.
fn read(path: &str) -> Result<Process> {
    let stat = fs::read_to_string(path)?;
    let (before, after) = stat.rsplit_once(')').context("no name")?;
    let name = before.split_once('(').context("no name")?.1.to_owned();
    let fields: Vec<&str> = after.split_whitespace().collect();
    let field = |n: usize| fields.get(n - 3).context("a field is missing");
    let ticks: f64 = field(14)?.parse::<f64>()? + field(15)?.parse::<f64>()?;
    Ok(Process { name, parent: field(4)?.parse()?, time: Duration::from_secs_f64(ticks / TICKS_PER_SECOND) })
}
