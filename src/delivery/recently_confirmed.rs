//! The tokens that were confirmed lately.

use std::collections::{HashSet, VecDeque};

use crate::token::TokenHash;

/// How many are remembered, so as not to be sent again. Older ones may be: repeating a revoke is
/// harmless.
const REMEMBERED: usize = 65_536;

/// The latest of what was put in.
#[derive(Default)]
pub(super) struct RecentlyConfirmed {
    known: HashSet<TokenHash>,
    oldest_first: VecDeque<TokenHash>,
}

impl RecentlyConfirmed {
    pub(super) fn contains(&self, hash: &TokenHash) -> bool {
        self.known.contains(hash)
    }

    pub(super) fn insert(&mut self, hash: TokenHash) {
        if self.known.contains(&hash) {
            return;
        }
        // Before the newcomer: one more than a power of two would take twice the memory.
        if self.oldest_first.len() >= REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.known.insert(hash);
        self.oldest_first.push_back(hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered_and_the_memory_does_not_grow() {
        let hash = |n: usize| TokenHash::of(n.to_string());
        let mut remembered = RecentlyConfirmed::default();
        for n in 0..=REMEMBERED {
            remembered.insert(hash(n));
            remembered.insert(hash(n));
        }
        assert!(!remembered.contains(&hash(0)));
        assert!(remembered.contains(&hash(1)) && remembered.contains(&hash(REMEMBERED)));
        assert_eq!(remembered.known.len(), REMEMBERED);
        assert_eq!(remembered.oldest_first.len(), REMEMBERED);
        assert_eq!(remembered.oldest_first.capacity(), REMEMBERED);
    }
}
