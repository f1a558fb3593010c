//! The stand itself, on one shared control plane.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod controlplane;
mod observer;
mod operator;
mod proxy;
