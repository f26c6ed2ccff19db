//! Tokens that another process is to deliver, in case it does not.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::log::SealedToken;
use crate::token::TokenHash;

/// Longer is for ever, and keeps every sum of times in range.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What somebody has appended sealed, and nobody has delivered yet. Each waits for a while, and by
/// chance for up to half as long again, so that of several processes one comes first.
pub(super) struct Orphans {
    adopt_after: Duration,
    known: HashMap<TokenHash, Orphan, foldhash::fast::RandomState>,
    /// The earliest first. Those that are not known any more, or due at another time, stay behind until
    /// they are more than are known: to take each out of the middle would cost more.
    due: BinaryHeap<Reverse<(Instant, [u8; 32])>>,
}

struct Orphan {
    sealed: SealedToken,
    /// `None` for one that nobody can read here.
    due: Option<Instant>,
}

impl Orphans {
    pub(super) fn new(adopt_after: Duration) -> Self {
        let adopt_after = adopt_after.min(LONGEST);
        Self { adopt_after, known: HashMap::default(), due: BinaryHeap::new() }
    }

    pub(super) fn revoked(&mut self, now: Instant, hash: TokenHash, sealed: SealedToken) {
        if let Some(orphan) = self.known.get_mut(&hash)
            && orphan.due.is_some()
        {
            // The newer may be sealed under a newer secret.
            orphan.sealed = sealed;
            return;
        }
        let jitter = fastrand::u64(0..=millis(self.adopt_after) / 2);
        let due = now + self.adopt_after + Duration::from_millis(jitter);
        self.due.push(Reverse((due, *hash.as_bytes())));
        self.known.insert(hash, Orphan { sealed, due: Some(due) });
    }

    pub(super) fn delivered(&mut self, hash: &TokenHash) {
        self.known.remove(hash);
        if self.due.len() / 2 > self.known.len() {
            let known = &self.known;
            self.due.retain(|&Reverse((at, hash))| is_due(known, at, hash));
        }
    }

    pub(super) fn next_due(&mut self) -> Option<Instant> {
        while let Some(&Reverse((at, hash))) = self.due.peek() {
            if is_due(&self.known, at, hash) {
                return Some(at);
            }
            self.due.pop();
        }
        None
    }

    /// Those whose time has come. They are no orphans any more.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(TokenHash, SealedToken)> {
        let mut taken = Vec::new();
        while self.next_due().is_some_and(|at| at <= now)
            && let Some(Reverse((_, hash))) = self.due.pop()
        {
            let hash = TokenHash::from_bytes(hash);
            taken.extend(self.known.remove(&hash).map(|orphan| (hash, orphan.sealed)));
        }
        taken
    }

    /// Keeps one that was sealed under another secret: for whoever knows that secret.
    pub(super) fn keep_unreadable(&mut self, hash: TokenHash, sealed: SealedToken) {
        self.known.insert(hash, Orphan { sealed, due: None });
    }

    /// Another secret is known: what could not be read is due at once.
    pub(super) fn retry_unreadable(&mut self, now: Instant) {
        for (hash, orphan) in &mut self.known {
            if orphan.due.is_none() {
                orphan.due = Some(now);
                self.due.push(Reverse((now, *hash.as_bytes())));
            }
        }
    }

    pub(super) fn sealed(&self) -> HashMap<TokenHash, SealedToken> {
        self.known.iter().map(|(hash, orphan)| (*hash, orphan.sealed.clone())).collect()
    }
}

fn is_due(
    known: &HashMap<TokenHash, Orphan, foldhash::fast::RandomState>,
    at: Instant,
    hash: [u8; 32],
) -> bool {
    known.get(&TokenHash::from_bytes(hash)).is_some_and(|orphan| orphan.due == Some(at))
}

/// Whole ones, as the runtime's clock ticks.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(30);

    fn hash(n: u8) -> TokenHash {
        TokenHash::of([n])
    }

    fn sealed(n: u8) -> SealedToken {
        SealedToken::from_bytes([n])
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_delivers_is_due_after_a_while_each_at_its_own_time() {
        let mut orphans = Orphans::new(AFTER);
        let now = Instant::now();
        for n in 0..100 {
            orphans.revoked(now, hash(n), sealed(n));
        }
        assert!(orphans.take_due(now + AFTER - Duration::from_millis(1)).is_empty());
        let half = orphans.take_due(now + AFTER * 5 / 4).len();
        assert!((1..100).contains(&half), "{half} at once");
        assert_eq!(orphans.take_due(now + AFTER * 3 / 2).len(), 100 - half);
        assert_eq!(orphans.next_due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_delivered_is_no_orphan_and_telling_twice_moves_no_time() {
        let mut orphans = Orphans::new(AFTER);
        let now = Instant::now();
        orphans.revoked(now, hash(1), sealed(1));
        orphans.revoked(now, hash(2), sealed(2));
        orphans.delivered(&hash(1));
        orphans.delivered(&hash(3));
        let due = orphans.next_due();
        orphans.revoked(now + AFTER, hash(2), sealed(3));
        assert_eq!(orphans.next_due(), due);
        assert_eq!(orphans.take_due(now + AFTER * 2), [(hash(2), sealed(3))]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_delivered_leaves_nothing_behind() {
        let mut orphans = Orphans::new(LONGEST);
        for n in 0..=u8::MAX {
            for _ in 0..100 {
                orphans.revoked(Instant::now(), hash(n), sealed(n));
                orphans.delivered(&hash(n));
            }
        }
        assert!(orphans.due.len() < 10, "{}", orphans.due.len());
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_kept_until_it_is_delivered_or_sealed_anew() {
        let mut orphans = Orphans::new(Duration::ZERO);
        let now = Instant::now();
        orphans.keep_unreadable(hash(1), sealed(1));
        orphans.keep_unreadable(hash(2), sealed(2));
        assert_eq!(orphans.next_due(), None);
        assert_eq!(orphans.sealed().len(), 2);
        orphans.delivered(&hash(1));
        orphans.revoked(now, hash(2), sealed(3));
        assert_eq!(orphans.take_due(now), [(hash(2), sealed(3))]);
        assert!(orphans.sealed().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_read_is_due_at_once_where_it_may_be_by_now_and_nothing_else_is() {
        let mut orphans = Orphans::new(AFTER);
        let now = Instant::now();
        orphans.keep_unreadable(hash(1), sealed(1));
        orphans.revoked(now, hash(2), sealed(2));
        orphans.retry_unreadable(now);
        orphans.retry_unreadable(now);
        assert_eq!(orphans.take_due(now), [(hash(1), sealed(1))]);
        // Whoever appended it may be delivering it.
        assert!(orphans.next_due() >= Some(now + AFTER));
        assert_eq!(orphans.take_due(now + AFTER * 2), [(hash(2), sealed(2))]);
        assert_eq!(orphans.next_due(), None);
    }
}
