//! Traces: [`traces`] exports them, and [`issue_trace`] defines their content.

pub mod issue_trace;
pub mod traces;
