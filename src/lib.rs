//! Keeps short-lived video access tokens fresh in Kubernetes Secrets.
//!
//! ```text
//! watches → controller::reconcile → plan::decide → Wait | Render | Enqueue | Refuse
//!             (observe)               (pure)                      │
//!   apply ← plan::{secret,status} ← issuer ← decide again ← budget grants (wakes the object)
//! (the only writes)  (pure)        (one HTTP call)
//! ```
//!
//! | Room | What lives there |
//! |---|---|
//! | [`api`] | the three kinds, their CEL rules and defaults; what each spec asks of its provider |
//! | [`plan`] | every decision, pure over `now` |
//! | [`issuer`] | one file per token API, and the one HTTP client |
//! | [`account`] | from a provider's spec to its issuer: credentials, and where they may be sent |
//! | [`budget`] | who may call a provider when; pure over `now` |
//! | [`controller`] | watches, the reconcile, and the only writes to Kubernetes |
//! | [`glance`] | how the state of a token reads at a glance; pure over `now` |
//! | [`assemble`] | from flags to what each room is told |
//! | [`page`] | the status page |
//! | [`config`], [`lease`], [`serve`], [`metrics`], [`telemetry`] | what a process needs around it |
//! | [`cluster`] | the way to an API server: kubeconfig, proxies, exec plugins |
//! | [`manifest`] | YAML read as kubectl reads it, with the place of every field |
//! | [`check`] | what the API server and the operator would refuse of a manifest |
//! | [`cli`] | the subcommands, from arguments to what is printed |

pub mod assemble;
pub mod cli;
pub mod config;
pub mod controller;
pub mod crds;
pub mod lease;
pub mod metrics;
pub mod page;
pub mod serve;
pub mod telemetry;

pub use videotoken_api as api;
pub use videotoken_core::{budget, plan, summary as glance};
pub use videotoken_providers as issuer;
pub use videotoken_providers::{account, clock};
