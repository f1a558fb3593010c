//! Tasks of the process. Each has a name, and a task that fails is always noticed.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;
use tokio::task::{Id, JoinHandle, JoinSet};
use videotoken_providers::clock::Scope;

/// Tasks that the controller spawned. They read the clock of the task that created the set.
#[derive(Debug)]
pub(crate) struct Tasks(Mutex<Running>, Scope);

impl Default for Tasks {
    fn default() -> Self {
        Self(Mutex::default(), Scope::current())
    }
}

/// Task that ends with its owner.
#[derive(Debug)]
pub(crate) struct OwnedTask<T>(pub(crate) JoinHandle<T>);

impl<T> Drop for OwnedTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug, Default)]
struct Running {
    set: JoinSet<()>,
    named: BTreeMap<Id, Task>,
}

#[derive(Clone, Copy, Debug)]
struct Task {
    name: &'static str,
    /// True for a task that must run as long as the process.
    lasts: bool,
}

/// Error for a task that must not end.
#[derive(Debug, thiserror::Error)]
#[error("the task {name} {how}: the process ends, to be started again")]
pub struct TaskEnded {
    name: &'static str,
    how: &'static str,
}

impl TaskEnded {
    /// Returns the error for a task that is awaited elsewhere and ended.
    pub(crate) fn of(name: &'static str) -> Self {
        Self { name, how: "ended" }
    }
}

impl Tasks {
    /// Spawns a task that must run as long as the process.
    pub(crate) fn lasting(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.lock().spawn(&self.1, Task { name, lasts: true }, task);
    }

    /// Spawns a task that ends by itself.
    pub(crate) fn passing(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.lock().spawn(&self.1, Task { name, lasts: false }, task);
    }

    /// Spawns a task that its owner awaits, and that is aborted when the owner drops it.
    pub(crate) fn owned<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> OwnedTask<T> {
        OwnedTask(self.1.spawn(task))
    }

    /// Spawns a task in a set, which owns it.
    pub(crate) fn spawn_in(&self, set: &mut JoinSet<()>, task: impl Future<Output = ()> + Send + 'static) {
        self.1.spawn_in(set, task);
    }

    /// Waits for the first task that panics, or that ends although it must run as long as the process.
    pub(crate) async fn failed(&self) -> TaskEnded {
        loop {
            let ended = poll_fn(|cx| {
                let mut running = self.0.lock();
                match running.set.poll_join_next_with_id(cx) {
                    // An empty set registers no waker. This set is never empty, because its first tasks run as long as
                    // the process.
                    Poll::Pending | Poll::Ready(None) => Poll::Pending,
                    Poll::Ready(Some(ended)) => {
                        let id = match &ended {
                            Ok((id, ())) => *id,
                            Err(error) => error.id(),
                        };
                        Poll::Ready((running.named.remove(&id), ended.err()))
                    }
                }
            });
            match ended.await {
                (Some(Task { name, .. }), Some(error)) if error.is_panic() => {
                    return TaskEnded { name, how: "panicked" };
                }
                (Some(Task { name, lasts: true }), _) => return TaskEnded { name, how: "ended" },
                _ => {}
            }
        }
    }

    /// Aborts all tasks.
    pub(crate) fn abort(&self) {
        self.0.lock().set.abort_all();
    }
}

impl Running {
    fn spawn(&mut self, scope: &Scope, of: Task, task: impl Future<Output = ()> + Send + 'static) {
        let id = scope.spawn_in(&mut self.set, task).id();
        self.named.insert(id, of);
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn p17_a_task_that_panics_or_ends_is_named() {
        let tasks = Tasks::default();
        tasks.lasting("watch", pending());
        tasks.passing("trigger", ready(()));
        assert!(timeout(Duration::from_secs(1), tasks.failed()).await.is_err(), "all is well");
        tasks.passing("resolve", async { panic!("on purpose") });
        assert_eq!(
            tasks.failed().await.to_string(),
            "the task resolve panicked: the process ends, to be started again"
        );
        tasks.lasting("tick", ready(()));
        assert_eq!(tasks.failed().await.to_string(), "the task tick ended: the process ends, to be started again");
    }
}
