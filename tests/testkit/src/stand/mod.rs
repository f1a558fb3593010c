//! The real control plane that tests, demo and benches run against, and what stands around it.
//!
//! | File | What it is |
//! |---|---|
//! | [`controlplane`] | etcd, kube-apiserver and kube-controller-manager on loopback |
//! | [`proxy`] | what the operator talks to instead of the API server: counts, holds, fails and cuts requests |
//! | [`forward`] | proxies between a person's machine and the API server |
//! | [`operator`], [`scrape`] | the operator as a process; its metrics |
//! | [`observer`] | watches every Secret for tokens that have expired |
//! | [`webhook`] | an admission webhook that hangs, breaks or denies |
//! | [`wait`], [`yaml`] | conditions with a deadline; manifests |
//! | [`terminal`] | a pseudo-terminal, and what it shows |
//! | [`process`], [`kubeconfig`] | children that die with the test; who one is to an API server |
//!
//! Nothing here knows the operator's code: it is seen from outside, as a user sees it.

pub mod controlplane;
pub mod forward;
pub mod kubeconfig;
pub mod observer;
pub mod operator;
pub mod process;
pub mod proxy;
pub mod scrape;
pub mod terminal;
pub mod wait;
pub mod webhook;
pub mod yaml;

pub use controlplane::{ControlPlane, ControlPlaneOptions, Snapshot, shared};
pub use forward::ForwardProxy;
pub use kubeconfig::Kubeconfig;
pub use observer::{Observer, ObserverOptions};
pub use operator::{Operator, OperatorOptions};
pub use proxy::{ApiProxy, Failure, Frozen, Held, Matcher, Traffic};
pub use wait::eventually;
pub use webhook::{Manner, Webhook};
