//! The hashes of what is revoked, each until it would have expired anyway.

mod filter;
mod waiters;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use moka::Expiry;
use moka::ops::compute::Op;
use moka::sync::SegmentedCache;

use self::filter::Filter;
use self::waiters::{Waiters, Watching};
use crate::token::TokenHash;

/// No retention is longer than that, 100 years: it keeps every sum of times in range.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Expiries are spread over this share of what remains, or over this long for each entry there is,
/// whichever is longer, and over at most this long, so that what was revoked together does not
/// expire together: moka cleans up at 2 us an entry.
const SPREAD_SHARE: u32 = 10;
const SPREAD_EACH: Duration = Duration::from_micros(100);
const SPREAD_AT_MOST: Duration = Duration::from_secs(3600);

/// moka cleans up a second's worth of expiries in one piece, and who inserts into that segment
/// meanwhile waits: segments of so many entries, 64 at most, make the piece, and the wait, small.
const SEGMENT: usize = 16_384;
const MOST_SEGMENTS: usize = 64;

/// What is revoked.
///
/// moka without `max_capacity`: with one it refuses the newcomer or drops an old entry, and either
/// lets a revoked token in again. The limit is our own, and being full is an answer.
#[derive(Debug)]
pub(crate) struct Denylist {
    cache: SegmentedCache<TokenHash, ExpiresAt, foldhash::fast::RandomState>,
    /// Spares what is not revoked, nearly every request, the look into the cache.
    filter: Filter,
    /// Entries in the cache, those included that have expired but are not cleaned up yet.
    len: Arc<AtomicUsize>,
    limit: usize,
    waiters: Arc<Waiters>,
}

/// There is no room for one more revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DenylistFull;

#[derive(Clone, Copy, Debug)]
struct ExpiresAt(SystemTime);

impl Denylist {
    pub(crate) fn new(limit: usize) -> Self {
        let len = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&len);
        let cache = SegmentedCache::builder((limit / SEGMENT).clamp(1, MOST_SEGMENTS))
            .expire_after(PerEntry { len: Arc::clone(&len) })
            // Called once for each value that leaves, replaced ones included: see `insert`.
            .eviction_listener(move |_, _, _| {
                left.fetch_sub(1, Ordering::AcqRel);
            })
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self { cache, filter: Filter::new(limit), len, limit, waiters: Arc::default() }
    }

    /// When a lifetime that begins now is over.
    pub(crate) fn expiry(lifetime: Duration) -> SystemTime {
        SystemTime::now() + lifetime.min(LONGEST)
    }

    /// Whether the hash is revoked. The hot path: takes no lock, reads no clock unless it is there.
    pub(crate) fn contains(&self, hash: &TokenHash) -> bool {
        // Not `get`: that records the use for an eviction policy we do not have, and may do
        // housekeeping.
        self.filter.may_contain(hash.as_bytes()) && self.cache.contains_key(hash)
    }

    /// Revokes the hash until `expires_at` at least. Where it is revoked already, the later expiry
    /// wins. Visible to every thread when this returns.
    pub(crate) fn insert(
        &self,
        hash: TokenHash,
        expires_at: SystemTime,
    ) -> Result<(), DenylistFull> {
        self.put(hash, expires_at, || self.take_place())
    }

    /// The same for what was accepted elsewhere, whatever the limit: who was told that a token is
    /// dead must not find it alive here.
    pub(crate) fn admit(&self, hash: TokenHash, expires_at: SystemTime) {
        let always = || {
            self.len.fetch_add(1, Ordering::AcqRel);
            true
        };
        let _ = self.put(hash, expires_at, always);
    }

    fn put(
        &self,
        hash: TokenHash,
        expires_at: SystemTime,
        take_place: impl FnOnce() -> bool,
    ) -> Result<(), DenylistFull> {
        let now = SystemTime::now();
        let expires_at = expires_at.min(now + LONGEST);
        if expires_at <= now {
            return Ok(());
        }
        let mut full = false;
        // One step for each hash: of two threads with one hash the later expiry wins. Every value
        // put in takes a place, and gives it back when it leaves, by expiry or by replacement. An
        // expired value that is not cleaned up yet reads as absent here and is replaced all the
        // same, so nothing else would keep count.
        self.cache.entry_by_ref(&hash).and_compute_with(|known| match known {
            Some(known) if known.value().0 >= expires_at => Op::Nop,
            Some(_) => {
                self.len.fetch_add(1, Ordering::AcqRel);
                Op::Put(ExpiresAt(expires_at))
            }
            None if take_place() => Op::Put(ExpiresAt(expires_at)),
            None => {
                full = true;
                Op::Nop
            }
        });
        if full {
            return Err(DenylistFull);
        }
        // After the cache, and also where the cache knew it: whoever put it there may not have come
        // to this line yet. See the filter's rule.
        self.filter.insert(hash.as_bytes());
        self.waiters.tell(&hash);
        Ok(())
    }

    /// Waits, from now on, for any of these to be revoked.
    pub(crate) fn watch(&self, hashes: &[TokenHash]) -> Watching {
        self.waiters.watch(hashes)
    }

    fn take_place(&self) -> bool {
        self.len
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |len| {
                (len < self.limit).then_some(len + 1)
            })
            .is_ok()
    }

    /// How many are revoked, those included that have expired but are not cleaned up yet.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// What is revoked, each with its expiry. What comes or goes meanwhile may be there or not.
    pub(crate) fn live(&self) -> impl Iterator<Item = (TokenHash, SystemTime)> {
        self.cache.iter().map(|(hash, ExpiresAt(expires_at))| (*hash, expires_at))
    }

    /// Frees what has expired. Can take long, so not on a request's path.
    pub(crate) fn clean_up(&self) {
        self.cache.run_pending_tasks();
        if self.filter.is_silted() {
            self.renew_filter();
        }
    }

    fn renew_filter(&self) {
        self.filter.renew(|| self.cache.iter().map(|(hash, _)| *hash.as_bytes()));
    }
}

/// moka keeps the old expiry on a re-insert unless told otherwise.
struct PerEntry {
    len: Arc<AtomicUsize>,
}

impl PerEntry {
    fn remaining(&self, hash: &TokenHash, expires_at: ExpiresAt) -> Duration {
        remaining(hash, expires_at, self.len.load(Ordering::Relaxed))
    }
}

impl Expiry<TokenHash, ExpiresAt> for PerEntry {
    fn expire_after_create(
        &self,
        hash: &TokenHash,
        expires_at: &ExpiresAt,
        _now: Instant,
    ) -> Option<Duration> {
        Some(self.remaining(hash, *expires_at))
    }

    fn expire_after_update(
        &self,
        hash: &TokenHash,
        expires_at: &ExpiresAt,
        _now: Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.remaining(hash, *expires_at))
    }
}

fn remaining(hash: &TokenHash, ExpiresAt(expires_at): ExpiresAt, len: usize) -> Duration {
    let remaining = expires_at.duration_since(SystemTime::now()).unwrap_or_default();
    let for_all = SPREAD_EACH.saturating_mul(u32::try_from(len).unwrap_or(u32::MAX));
    let spread = (remaining / SPREAD_SHARE).max(for_all).min(SPREAD_AT_MOST);
    // Chance enough, and at hand.
    let [a, b, ..] = *hash.as_bytes();
    remaining + spread * u32::from(u16::from_be_bytes([a, b])) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn hash(n: usize) -> TokenHash {
        TokenHash::of(n.to_string())
    }

    fn later(duration: Duration) -> SystemTime {
        SystemTime::now() + duration
    }

    /// Waits, on moka's own clock, until the condition holds: it has no other.
    fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < Duration::from_secs(30), "never came to pass: {what}");
            thread::yield_now();
        }
    }

    #[test]
    fn what_is_inserted_is_revoked_and_nothing_else_is() {
        let denylist = Denylist::new(10);
        denylist.insert(hash(1), later(DAY)).expect("room");
        assert!(denylist.contains(&hash(1)));
        assert!(!denylist.contains(&hash(2)));
    }

    #[test]
    fn a_full_list_refuses_the_newcomer_and_forgets_nobody() {
        let denylist = Denylist::new(1000);
        for n in 0..1000 {
            denylist.insert(hash(n), later(DAY)).expect("room");
        }
        for n in 1000..2000 {
            assert_eq!(denylist.insert(hash(n), later(DAY)), Err(DenylistFull));
        }
        // What moka would have evicted it evicts here.
        denylist.clean_up();
        assert!((0..1000).all(|n| denylist.contains(&hash(n))));
        assert!((1000..2000).all(|n| !denylist.contains(&hash(n))));
        assert_eq!(denylist.len(), 1000);
    }

    #[test]
    fn a_full_list_still_takes_what_it_knows() {
        let denylist = Denylist::new(1);
        denylist.insert(hash(1), later(DAY)).expect("room");
        denylist.insert(hash(1), later(DAY * 2)).expect("known");
        denylist.insert(hash(1), later(DAY)).expect("known");
        assert_eq!(denylist.len(), 1);
    }

    #[test]
    fn what_was_accepted_elsewhere_is_revoked_past_the_limit_and_counted() {
        let denylist = Denylist::new(1);
        for n in 0..10 {
            denylist.admit(hash(n), later(DAY));
            denylist.admit(hash(n), later(DAY));
        }
        assert_eq!(denylist.insert(hash(10), later(DAY)), Err(DenylistFull));
        assert!((0..10).all(|n| denylist.contains(&hash(n))));
        assert_eq!((denylist.len(), denylist.live().count()), (10, 10));
    }

    #[test]
    fn the_later_expiry_wins_both_ways_round() {
        let denylist = Denylist::new(10);
        let soon = Duration::from_millis(20);
        denylist.insert(hash(1), later(soon)).expect("room");
        denylist.insert(hash(1), later(DAY)).expect("known");
        denylist.insert(hash(2), later(DAY)).expect("room");
        denylist.insert(hash(2), later(soon)).expect("known");
        denylist.insert(hash(3), later(soon)).expect("room");
        eventually("the short one expires", || !denylist.contains(&hash(3)));
        assert!(denylist.contains(&hash(1)));
        assert!(denylist.contains(&hash(2)));
    }

    #[test]
    fn what_is_prolonged_expires_all_the_same() {
        let denylist = Denylist::new(1);
        denylist.insert(hash(1), later(Duration::from_secs(1))).expect("room");
        denylist.insert(hash(1), later(Duration::from_millis(1010))).expect("known");
        eventually("it expires", || !denylist.contains(&hash(1)));
    }

    #[test]
    fn places_come_back_when_entries_expire_also_where_one_is_inserted_again() {
        let denylist = Denylist::new(2);
        for _ in 0..2 {
            let soon = later(Duration::from_millis(20));
            denylist.insert(hash(1), soon).expect("room");
            // Expired, not cleaned up, and inserted again: the place must not be lost.
            eventually("it expires", || !denylist.contains(&hash(1)));
            denylist.insert(hash(1), later(Duration::from_millis(20))).expect("room");
            eventually("it expires", || !denylist.contains(&hash(1)));
            eventually("its place comes back", || {
                denylist.clean_up();
                denylist.len() == 0
            });
        }
    }

    #[test]
    fn what_has_expired_already_takes_no_place() {
        let denylist = Denylist::new(1);
        denylist.insert(hash(1), SystemTime::UNIX_EPOCH).expect("nothing to do");
        assert_eq!(denylist.len(), 0);
    }

    #[test]
    fn a_lifetime_of_decades_is_not_cut_short() {
        let denylist = Denylist::new(1);
        let expires_at = Denylist::expiry(DAY * 365 * 90);
        assert!(expires_at > later(DAY * 365 * 89));
        denylist.insert(hash(1), expires_at).expect("room");
        assert_eq!(denylist.live().next(), Some((hash(1), expires_at)));
    }

    #[test]
    fn a_lifetime_without_end_is_long_and_no_overflow() {
        let denylist = Denylist::new(1);
        denylist.insert(hash(1), later(LONGEST * 2)).expect("room");
        assert!(denylist.contains(&hash(1)));
    }

    #[test]
    fn threads_that_revoke_at_once_never_pass_the_limit() {
        let denylist = Denylist::new(500);
        let refused = AtomicUsize::new(0);
        thread::scope(|scope| {
            for thread in 0..4 {
                let (denylist, refused) = (&denylist, &refused);
                scope.spawn(move || {
                    for n in 0..500 {
                        // Every hash comes from two threads.
                        if denylist.insert(hash(n + 500 * (thread / 2)), later(DAY)).is_err() {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        denylist.clean_up();
        let held = (0..1000).filter(|&n| denylist.contains(&hash(n))).count();
        assert_eq!((held, denylist.len()), (500, 500));
        assert!(refused.into_inner() >= 500);
    }

    #[test]
    fn expiries_are_spread_over_a_tenth_or_an_hour_and_only_to_the_later_side() {
        // A minute for a test that is held up.
        let held_up = Duration::from_secs(60);
        for (lifetime, at_most) in [(DAY, SPREAD_AT_MOST), (DAY / 4, DAY / 40)] {
            let expires_at = ExpiresAt(later(lifetime));
            let spread: Vec<_> = (0..1000).map(|n| remaining(&hash(n), expires_at, 0)).collect();
            let (first, last) =
                (spread.iter().min().expect("some"), spread.iter().max().expect("some"));
            assert!(*first + held_up >= lifetime);
            assert!(*last + held_up > *first + at_most * 9 / 10);
            assert!(*last <= lifetime + at_most);
        }
    }

    #[test]
    fn of_a_million_that_are_to_expire_at_once_a_few_do_in_any_twentieth_of_a_second() {
        let expires_at = ExpiresAt(later(Duration::ZERO));
        let mut at = vec![0_usize; 100 * 20 + 1];
        for n in 0..1_000_000 {
            at[remaining(&hash(n), expires_at, 1_000_000).as_millis() as usize / 50] += 1;
        }
        let most = at.into_iter().max().expect("some");
        assert!((500..1000).contains(&most), "{most}");
    }

    /// The race: hashes expire and are revoked again for longer, while the filter is renewed over
    /// and over from a cache that grows. Who has revoked a hash finds it revoked, at once and later.
    #[test]
    fn what_is_revoked_stays_so_while_others_expire_and_the_filter_is_renewed() {
        const EACH: usize = 20_000;
        // Large enough that a hash it forgets reads as "no".
        let denylist = Denylist { filter: Filter::new(2 * EACH), ..Denylist::new(usize::MAX) };
        let done = AtomicBool::new(false);
        let failed = thread::scope(|scope| {
            let writers = [0, EACH].map(|first| {
                let denylist = &denylist;
                scope.spawn(move || {
                    for n in 0..EACH {
                        let soon = later(Duration::from_millis(u64::from(n % 3 == 0) + 1));
                        denylist.insert(hash(first + n), soon).expect("room");
                        denylist.insert(hash(first + n - n % 2), later(DAY)).expect("room");
                        assert!(denylist.contains(&hash(first + n - n % 2)));
                        assert!(denylist.contains(&hash(first + n / 4 * 2)));
                    }
                })
            });
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    denylist.renew_filter();
                }
            });
            let failed = writers.map(|writer| writer.join().is_err());
            done.store(true, Ordering::Release);
            failed
        });
        assert_eq!(failed, [false, false]);
        assert!((0..2 * EACH).step_by(2).all(|n| denylist.contains(&hash(n))));
    }

    #[test]
    fn a_clean_up_of_more_than_was_planned_for_forgets_nobody_who_is_revoked() {
        let denylist = Denylist::new(1000);
        for n in 0..3000 {
            denylist.admit(hash(n), later(DAY));
        }
        assert!(denylist.filter.is_silted());
        denylist.clean_up();
        assert!(!denylist.filter.is_silted());
        assert!((0..3000).all(|n| denylist.contains(&hash(n))));
    }

    #[test]
    fn a_clean_up_frees_the_filter_of_what_has_expired_and_of_nothing_else() {
        let denylist = Denylist::new(1000);
        for n in 0..900 {
            denylist.insert(hash(n), later(Duration::from_millis(20))).expect("room");
        }
        eventually("they expire and are cleaned up", || {
            denylist.clean_up();
            denylist.len() == 0
        });
        for n in 900..1200 {
            denylist.insert(hash(n), later(DAY)).expect("room");
        }
        assert!(denylist.filter.is_silted());
        denylist.clean_up();
        assert!((900..1200).all(|n| denylist.contains(&hash(n))));
        let left = (0..900).filter(|&n| denylist.filter.may_contain(hash(n).as_bytes())).count();
        assert!(left < 50, "{left}");
    }
}
