//! The operator on a real API server, one file per capability. One control plane serves all tests that break nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api_server;
mod arcgis_video_server;
mod bad_objects;
mod blend_vision;
mod clocks;
mod crash;
mod credentials;
mod crowd;
mod dashboard;
mod declared_http;
mod entra;
mod events;
mod every_type;
mod identities;
mod keyed_hosts;
mod leaks;
mod life;
mod logins;
mod metrics;
mod ownership;
mod provider_faults;
mod provider_status;
mod readers;
mod refusals;
mod repair;
mod restart;
mod rollout_restart;
mod shaping;
mod shared_providers;
mod signed;
mod status_page;
mod stop;
mod tenancy;
mod traces;
mod two_operators;

/// The operator's program.
const OPERATOR: &str = env!("CARGO_BIN_EXE_video-token-operator");
