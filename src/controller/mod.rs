//! Watches, the reconcile, and the only writes to Kubernetes.
//!
//! | Room or file | What lives there |
//! |---|---|
//! | `stores` | what the watches show, slim; own writes enter by the same door as the watch |
//! | `providers` | provider objects, what `account` makes of them, and their statuses |
//! | `grants` | budgets, the write breaker, logins, and what a new leader restores of earlier calls |
//! | `tokens` | the reconcile of a `VideoAccessToken`: observe, decide, act, record |
//! | `workloads` | restarts of workloads after a renewal |
//! | `output` | requests to the API server, how many at once, and events |
//! | `watches` | each watch feeds a store and triggers the objects that its events concern |
//! | `context`, `settings` | all of these by concern, and what the process is started with |
//! | `run`, `tasks`, `requeue` | start and stop, the tick, the tasks of the process, what is due when |
//! | `status_page_source`, `metrics_source` | what the status page and a scrape show of all this |
//! | `fail_point` | faults on purpose, in tests |
//!
//! May not enter: HTTP to providers; an import cycle between two files (a test in this file).

mod context;
mod fail_point;
mod grants;
mod metrics_source;
mod output;
mod providers;
mod requeue;
mod run;
mod settings;
mod status_page_source;
mod stores;
mod tasks;
mod tokens;
mod watches;
mod workloads;

pub use run::run;
pub use settings::{MIN_LEASE_TIME, Observers, Settings};
pub use tasks::TaskEnded;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod walls;
