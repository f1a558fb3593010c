//! A condition's reason as a number: two bytes in what was padding, where a text would cost each of ten thousand tokens.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

/// More words than all of ours; another hand that writes statuses can't fill memory with its own.
const MOST: usize = 1024;

/// A reason, while the process lives. The default is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Reason(u16);

#[derive(Default)]
struct Words {
    numbers: HashMap<&'static str, u16>,
    words: Vec<&'static str>,
}

fn words() -> &'static Mutex<Words> {
    static WORDS: OnceLock<Mutex<Words>> = OnceLock::new();
    WORDS.get_or_init(Mutex::default)
}

impl Reason {
    /// The number of this word; none, where there are too many words.
    pub fn of(word: &str) -> Self {
        let mut all = words().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = all.numbers.get(word) {
            return Self(*number);
        }
        let number = u16::try_from(all.words.len() + 1).unwrap_or_default();
        if word.is_empty() || word.len() > MOST || all.words.len() >= MOST {
            return Self::default();
        }
        // kept as long as the process lives: each word once
        let word: &'static str = Box::leak(word.into());
        all.words.push(word);
        all.numbers.insert(word, number);
        Self(number)
    }

    /// The word; empty for none.
    pub fn word(self) -> &'static str {
        let index = usize::from(self.0).checked_sub(1);
        let all = words().lock().unwrap_or_else(PoisonError::into_inner);
        index.and_then(|index| all.words.get(index).copied()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_comes_back_and_no_flood_of_words_fills_memory() {
        let pending = Reason::of("Pending");
        assert_eq!((pending.word(), Reason::of("Pending")), ("Pending", pending));
        assert_ne!(pending, Reason::of("TokenIssued"));
        assert_eq!((Reason::of(""), Reason::default().word()), (Reason::default(), ""));
        assert_eq!(Reason::of(&"x".repeat(MOST + 1)), Reason::default());
        // other tests of this process keep their words: those that are known stay known
        let known = words().lock().unwrap_or_else(PoisonError::into_inner).words.len();
        assert!(known < MOST / 2, "{known}");
    }
}
