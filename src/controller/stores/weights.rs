//! Limit of the memory that the large specs of all objects use together (P21).
//!
//! A spec up to [`LIGHT`] bytes is always kept. Larger specs share [`OF_A_NAMESPACE`] bytes in a namespace and
//! [`TOGETHER`] bytes overall. An object beyond these limits is kept without its template and is rejected. Therefore
//! one namespace with many large objects can't use up the memory of all, and an ordinary object is never rejected.

use std::collections::HashMap;
use std::sync::Arc;

/// Size in bytes up to which a spec counts as nothing.
pub(crate) const LIGHT: usize = 4 * 1024;

/// Limit in bytes of the larger specs of one namespace.
const OF_A_NAMESPACE: usize = 8 * 1024 * 1024;

/// Limit in bytes of the larger specs of all namespaces: a third of the memory limit in the chart.
const TOGETHER: usize = 40 * 1024 * 1024;

/// Memory used by larger specs; see the documentation of the module.
#[derive(Debug, Default)]
pub(crate) struct Weights {
    all: usize,
    of: HashMap<Arc<str>, usize>,
}

impl Weights {
    /// Replaces a spec of length `before` by one of this length, if there is enough memory. Returns true if there is.
    /// Otherwise only the old spec is removed.
    pub(crate) fn replace(&mut self, namespace: &Arc<str>, before: usize, length: usize) -> bool {
        let before = weight(before);
        let of = self.of.entry(namespace.clone()).or_default();
        *of = of.saturating_sub(before);
        self.all = self.all.saturating_sub(before);
        let new = weight(length);
        let fits = new == 0 || (*of + new <= OF_A_NAMESPACE && self.all + new <= TOGETHER);
        if fits {
            *of += new;
            self.all += new;
        }
        if *of == 0 {
            self.of.remove(namespace);
        }
        fits
    }

    /// Releases the memory of a spec of this length.
    pub(crate) fn remove(&mut self, namespace: &Arc<str>, length: usize) {
        self.replace(namespace, length, 0);
    }
}

fn weight(length: usize) -> usize {
    if length > LIGHT { length } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 64 * 1024;

    #[test]
    fn p21_large_specs_have_a_bound_together_and_ordinary_ones_none() {
        let namespaces: Vec<Arc<str>> = (0..9).map(|n| format!("n-{n}").into()).collect();
        let mut weights = Weights::default();
        let kept =
            |weights: &mut Weights, namespace| (0..1000).filter(|_| weights.replace(namespace, 0, LARGE)).count();
        for namespace in &namespaces[..5] {
            assert_eq!(kept(&mut weights, namespace), OF_A_NAMESPACE / LARGE);
        }
        assert_eq!(kept(&mut weights, &namespaces[5]), 0, "five namespaces have it all");
        assert!((0..10_000).all(|_| weights.replace(&namespaces[6], 0, LIGHT)), "ordinary specs are always kept");
        assert!(weights.replace(&namespaces[0], LARGE, LARGE), "an edit keeps its share");
        weights.remove(&namespaces[0], LARGE);
        assert!(weights.replace(&namespaces[7], 0, LARGE), "what goes leaves room");
        assert!(!weights.replace(&namespaces[8], 0, LARGE));
    }
}
