//! Access of both programs to the machine and the cluster.
//!
//! | Module | Content |
//! |---|---|
//! | [`cluster`] | connection to an API server: kubeconfig, proxies, exec plugins |
//! | [`crypto`] | AWS-LC, and its FIPS module |
//! | [`logs`] | log lines and their filter |
//! | [`output`] | standard output and errors |
//! | [`signal`] | signals that end a process |
//! | [`slim`] | slim copies of Kubernetes objects |
//! | [`yaml`] | YAML output |
//!
//! This crate contains no request to the API server and nothing about tokens.

pub mod cluster;
pub mod crypto;
pub mod logs;
pub mod output;
pub mod signal;
pub mod slim;
pub mod yaml;
