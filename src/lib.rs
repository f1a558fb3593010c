//! Keeps short-lived video access tokens fresh in Kubernetes Secrets.
//!
//! `CONTRIBUTING.md` has the map of the crates and rooms, and the way of one token through the files.
//!
//! | Module | Content |
//! |---|---|
//! | [`controller`] | watches, the reconcile, and the requests to the API server |
//! | [`wiring`] | from flags to the settings of each module |
//! | [`kube_client`] | the client of the API server |
//! | [`lease`] | leader election |
//! | [`http_server`], [`status_page`] | probes, `/metrics` and the status page |
//! | [`metrics`], [`telemetry`] | metrics and traces |
//! | [`config`], [`cli`], [`crds`] | flags, subcommands, and the CRDs as YAML |

pub mod cli;
pub mod config;
pub mod controller;
pub mod crds;
pub mod http_server;
pub mod kube_client;
pub mod lease;
pub mod metrics;
pub mod status_page;
pub mod telemetry;
pub mod wiring;
