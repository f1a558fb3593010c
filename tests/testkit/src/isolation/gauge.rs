//! How the operator's process is while it is attacked: its memory, and what it says of its health.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Between two looks at the memory; the kernel remembers the highest all the same.
const EVERY: Duration = Duration::from_millis(100);

/// Between two questions for `/livez`.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// As the chart's probe has it: `livenessProbe.timeoutSeconds`.
const PROBE: Duration = Duration::from_secs(5);

/// What was seen of the processes, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// The most anonymous memory that was resident, in bytes.
    pub(crate) peak_bytes: u64,
    /// Questions for `/livez`.
    pub(crate) asked: u64,
    /// Those that weren't answered with success in time.
    pub(crate) failed: u64,
}

/// The process that counts now, and the URL of its `/livez`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) pid: u32,
    pub(crate) livez: String,
}

/// Looks until it is dropped.
pub(crate) struct Gauge {
    subject: Arc<Mutex<Option<Subject>>>,
    health: Arc<Mutex<Health>>,
    looking: [JoinHandle<()>; 2],
}

impl Gauge {
    pub(crate) fn start() -> Self {
        let (subject, health) = (Arc::<Mutex<Option<Subject>>>::default(), Arc::<Mutex<Health>>::default());
        let memory = tokio::spawn(weigh(subject.clone(), health.clone()));
        let probe = tokio::spawn(probe(subject.clone(), health.clone()));
        Self { subject, health, looking: [memory, probe] }
    }

    /// From now on this process counts. `None`: none runs.
    pub(crate) fn turn_to(&self, subject: Option<Subject>) {
        *locked(&self.subject) = subject;
    }

    pub(crate) fn health(&self) -> Health {
        locked(&self.health).clone()
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.looking.iter().for_each(JoinHandle::abort);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn weigh(subject: Arc<Mutex<Option<Subject>>>, health: Arc<Mutex<Health>>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let pid = locked(&subject).as_ref().map(|subject| subject.pid);
        // a process may be gone by now
        let status = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
        if let Some(peak) = status.as_deref().and_then(peak) {
            let mut health = locked(&health);
            health.peak_bytes = health.peak_bytes.max(peak);
        }
    }
}

/// The most anonymous memory that a process has had, by its `/proc/PID/status`: the highest that was resident in all,
/// less what is mapped from files.
fn peak(status: &str) -> Option<u64> {
    let kilobytes = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse().ok()
    };
    let highest = kilobytes("VmHWM")?.saturating_sub(kilobytes("RssFile")?);
    Some(highest.max(kilobytes("RssAnon")?) * 1024)
}

async fn probe(subject: Arc<Mutex<Option<Subject>>>, health: Arc<Mutex<Health>>) {
    let Ok(client) = reqwest::Client::builder().no_proxy().timeout(PROBE).build() else { return };
    let mut ticks = interval(ASKED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = None;
    loop {
        ticks.tick().await;
        let asked = locked(&subject).clone();
        let Some(asked) = asked else { continue };
        let alive = client.get(&asked.livez).send().await.is_ok_and(|answer| answer.status().is_success());
        if alive {
            heard = Some(asked.clone());
        }
        // one that doesn't listen yet, or was stopped meanwhile, hasn't failed
        if heard.as_ref() == Some(&asked) && locked(&subject).as_ref() == Some(&asked) {
            let mut health = locked(&health);
            health.asked += 1;
            health.failed += u64::from(!alive);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_between_two_looks_is_not_missed() {
        let status = "Name:\tx\nVmHWM:\t  300 kB\nVmRSS:\t  150 kB\nRssAnon:\t  100 kB\nRssFile:\t   50 kB\n";
        assert_eq!(peak(status), Some(250 * 1024));
        assert_eq!(peak(&status.replace("300", "120")), Some(100 * 1024));
        assert_eq!(peak("Name:\tx\n"), None);
    }
}
