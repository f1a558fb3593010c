//! The reason of a condition, as memory keeps it.

/// One CamelCase word; empty for none.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Reason(Box<str>);

impl Reason {
    /// The reason with this word.
    pub fn of(word: &str) -> Self {
        Self(word.into())
    }

    /// The word.
    pub fn word(&self) -> &str {
        &self.0
    }
}
