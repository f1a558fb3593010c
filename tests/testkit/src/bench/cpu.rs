//! What processes have burnt, from /proc.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The kernel counts in these on every architecture that Rust's Linux targets have.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of all that takes part, at one moment or between two.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    pub(super) apiserver: Duration,
    pub(super) etcd: Duration,
    pub(super) operator: Duration,
    /// Bare client, emulators and observer.
    pub(super) bench: Duration,
}

impl Cpu {
    /// Of this process and its children, told apart by their names.
    pub(super) fn now() -> Result<Self> {
        let own = std::process::id();
        let mut cpu = Self { bench: read(own)?.time, ..Self::default() };
        for entry in fs::read_dir("/proc").context("read /proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // a process may be gone by now
            let Ok(process) = read(pid) else { continue };
            if process.parent != own {
                continue;
            }
            match process.name.as_str() {
                "kube-apiserver" => cpu.apiserver += process.time,
                "etcd" => cpu.etcd += process.time,
                "video-token-ope" => cpu.operator += process.time,
                _ => {}
            }
        }
        Ok(cpu)
    }

    /// What was burnt since `before`, each as milliseconds for one of `count`.
    #[allow(clippy::cast_precision_loss)] // thousands
    pub(super) fn per_item(self, before: Self, count: usize) -> String {
        let each = |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() * 1e3 / count as f64;
        format!(
            "API server {:.2}, etcd {:.2}, operator {:.2}, this program {:.2} ms",
            each(self.apiserver, before.apiserver),
            each(self.etcd, before.etcd),
            each(self.operator, before.operator),
            each(self.bench, before.bench),
        )
    }
}

struct Process {
    name: String,
    parent: u32,
    time: Duration,
}

/// `/proc/PID/stat`: "pid (name) state ppid … utime stime …", of which utime is the 14th field.
fn read(pid: u32) -> Result<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (before, after) = stat.rsplit_once(')').context("no name")?;
    let name = before.split_once('(').context("no name")?.1.to_owned();
    let fields: Vec<&str> = after.split_whitespace().collect();
    let field = |n: usize| fields.get(n - 3).context("a field is missing");
    let ticks: f64 = field(14)?.parse::<f64>()? + field(15)?.parse::<f64>()?;
    Ok(Process { name, parent: field(4)?.parse()?, time: Duration::from_secs_f64(ticks / TICKS_PER_SECOND) })
}
