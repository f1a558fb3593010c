//! The Helm chart, and the manifests that are rendered from it, as a user's helm, kubectl and API server take them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api_server;
mod gitops;
mod kept_equal;
mod monitoring;
mod network;
mod openshift;
mod permissions;
mod publishing;
mod rendered;
mod upgrade;
mod values;
mod workflows;

/// The operator's program.
const OPERATOR: &str = env!("CARGO_BIN_EXE_video-token-operator");
