//! Reads the wall clock. No other module reads it. Decisions take [`Now`] as an argument.
//!
//! A simulation runs several operators in one process, each with a wall clock of its own: [`Scope`] gives the tasks of
//! one operator their [`Clock`]. The monotonic clock is tokio's everywhere, which a runtime can pause.

use std::sync::Arc;
use std::time::SystemTime;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::Instant;
pub use videotoken_core::clock::{Now, Timestamp};

tokio::task_local! {
    static CLOCK: Arc<dyn Clock>;
}

/// Clock in place of the machine's. For simulations.
pub trait Clock: std::fmt::Debug + Send + Sync {
    /// Reads the wall clock and the monotonic clock.
    fn now(&self) -> Now;
}

/// Reads the wall clock and the monotonic clock: the machine's, unless a [`Scope`] replaces them for this task.
pub fn now() -> Now {
    CLOCK.try_with(|clock| clock.now()).unwrap_or_else(|_| Now { wall: wall(SystemTime::now()), mono: Instant::now() })
}

/// Clock of a group of tasks. A task that tokio spawns doesn't inherit the clock of its parent; a task that is spawned
/// through a scope gets the scope's clock.
#[derive(Clone, Debug, Default)]
pub struct Scope(Option<Arc<dyn Clock>>);

impl Scope {
    /// Returns the scope whose tasks read `clock`.
    pub fn with(clock: Arc<dyn Clock>) -> Self {
        Self(Some(clock))
    }

    /// Returns the scope of the current task. Outside of any scope, it reads the machine's clock.
    pub fn current() -> Self {
        Self(CLOCK.try_with(Clone::clone).ok())
    }

    /// Spawns a task.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        match &self.0 {
            Some(clock) => tokio::spawn(CLOCK.scope(clock.clone(), task)),
            None => tokio::spawn(task),
        }
    }

    /// Spawns a task in this set.
    pub fn spawn_in(&self, set: &mut JoinSet<()>, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        match &self.0 {
            Some(clock) => set.spawn(CLOCK.scope(clock.clone(), task)),
            None => set.spawn(task),
        }
    }
}

/// Returns the time of `clock`. Times before 1970 are valid, unlike with `Utc::now`, which panics.
fn wall(clock: SystemTime) -> Timestamp {
    clock.into()
}

/// Checks that TLS and expiries work with the time of the machine's clock. A machine without a battery may start with a
/// time before 1970.
pub fn check() -> Result<(), String> {
    check_time(SystemTime::now())
}

fn check_time(clock: SystemTime) -> Result<(), String> {
    if clock >= SystemTime::UNIX_EPOCH {
        return Ok(());
    }
    let reads = wall(clock).format("%FT%TZ");
    Err(format!("this machine's clock reads {reads}, before 1970: set it, by NTP for example, and start again"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[derive(Debug)]
    struct Stopped(Timestamp);

    impl Clock for Stopped {
        fn now(&self) -> Now {
            Now { wall: self.0, mono: Instant::now() }
        }
    }

    #[tokio::test]
    async fn a_scope_gives_its_tasks_a_clock_and_leaves_others_theirs() {
        let then = wall(SystemTime::UNIX_EPOCH);
        let scope = Scope::with(Arc::new(Stopped(then)));
        let read = scope.spawn(async {
            let child = Scope::current().spawn(async { now().wall });
            let orphan = tokio::spawn(async { now().wall });
            (now().wall, child.await.unwrap(), orphan.await.unwrap())
        });
        let (own, child, orphan) = read.await.unwrap();
        assert_eq!((own, child), (then, then));
        assert!(orphan > then && now().wall > then);
    }

    #[test]
    fn a_clock_before_1970_is_read_and_refused() {
        let at = |seconds: i64| {
            let off = Duration::from_secs(seconds.unsigned_abs());
            if seconds < 0 { SystemTime::UNIX_EPOCH - off } else { SystemTime::UNIX_EPOCH + off }
        };
        for (seconds, refused) in [
            (-1, Some("1969-12-31T23:59:59Z")),
            (-86_400 * 365, Some("1969-01-01T00:00:00Z")),
            (0, None),
            (1_790_000_000, None),
        ] {
            assert_eq!(wall(at(seconds)).timestamp(), seconds);
            let said = check_time(at(seconds)).err();
            match (said, refused) {
                (None, None) => {}
                (Some(said), Some(refused)) => assert!(said.contains(refused), "{said}"),
                (said, _) => assert_eq!(said.as_deref(), refused, "{seconds}"),
            }
        }
    }
}
