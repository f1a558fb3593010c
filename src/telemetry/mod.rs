//! Traces: [`traces`] exports them, and [`journey`] defines their content.

pub mod journey;
pub mod traces;
