//! Traces: [`traces`], and what they say: [`journey`].

pub mod journey;
pub mod traces;
