//! Watches, the reconcile, and the only writes to Kubernetes.
//!
//! | Folder or file | Contents |
//! |---|---|
//! | `stores` | the watched objects, slim; they include the operator's own writes |
//! | `providers` | provider objects, the accounts that they resolve to, and their statuses |
//! | `grants` | budgets, the write breaker, logins, and the calls of earlier leaders |
//! | `tokens` | the reconcile of a `VideoAccessToken`: observe, decide, act, record |
//! | `workloads` | restarts of workloads after a renewal |
//! | `output` | requests to the API server, how many at once, and events |
//! | `watches` | the watches: each feeds a store and triggers the objects that its events concern |
//! | `context`, `settings` | the state by concern, and the settings of the process |
//! | `run`, `tasks`, `requeue` | start and stop, the tick, the tasks of the process, the times of the next reconciles |
//! | `status_page_source`, `metrics_source` | input of the status page and of a scrape |
//! | `fail_point` | deliberate failures for tests |
//!
//! No file sends HTTP requests to token APIs. Imports between files have no cycles (a test in this file checks that).

mod context;
mod fail_point;
mod grants;
mod keyed_work;
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
pub use videotoken_core::plan::template::STACK;
pub use workloads::kinds::{RestartKind, RestartKinds};
