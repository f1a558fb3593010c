//! Reason of a condition in memory.

/// Reason in CamelCase. The default is empty: no reason.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Reason(Box<str>);

impl Reason {
    /// Creates a reason.
    pub fn new(word: &str) -> Self {
        Self(word.into())
    }

    /// Returns the reason as a string.
    pub fn word(&self) -> &str {
        &self.0
    }
}
