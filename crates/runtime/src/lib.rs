//! What both programs need of the machine and the cluster around them.
//!
//! | Module | What lives there |
//! |---|---|
//! | [`cluster`] | the way to an API server: kubeconfig, proxies, exec plugins |
//! | [`logs`] | what is logged, where, and what never is |
//! | [`output`] | what is printed |
//! | [`signal`] | what ends a process |
//! | [`yaml`] | YAML output |
//!
//! May not enter: what is asked of the API server, and anything of tokens.

pub mod cluster;
pub mod logs;
pub mod output;
pub mod signal;
pub mod yaml;
