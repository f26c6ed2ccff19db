//! The hashes of revoked credentials, each until the credential has expired.

mod filter;
mod waiters;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use moka::Expiry;
use moka::ops::compute::Op;
use moka::sync::SegmentedCache;

use self::filter::Filter;
use self::waiters::{Waiters, Watch};
use crate::token::TokenHash;

/// Longer retentions are cut to this, 100 years, so that adding them to a time cannot overflow.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Entries that were revoked together must not expire together, since moka takes 2 us to clean up
/// an entry. So expiries are spread over this fraction of the remaining time, or over this long for
/// each entry in the list, whichever is longer, but at most over `SPREAD_AT_MOST`.
const SPREAD_SHARE: u32 = 10;
const SPREAD_EACH: Duration = Duration::from_micros(100);
const SPREAD_AT_MOST: Duration = Duration::from_secs(3600);

/// moka cleans up the expiries of a second in one step, and inserts into the same segment wait for
/// it. Segments of this many entries, and at most 64 of them, keep the step and the wait short.
const SEGMENT: usize = 16_384;
const MOST_SEGMENTS: usize = 64;

/// The hashes that are denied.
///
/// moka has no `max_capacity` here: with one it would refuse a new entry or drop an old one, and a
/// revoked token would be accepted again. The list has a limit of its own, and returns an error if
/// it is full.
#[derive(Debug)]
pub(crate) struct Denylist {
    cache: SegmentedCache<TokenHash, ExpiresAt, foldhash::fast::RandomState>,
    /// Saves a lookup in the cache for hashes that are not denied: those of nearly every request.
    filter: Filter,
    /// Entries in the cache, including expired ones that are not cleaned up yet.
    len: Arc<AtomicUsize>,
    limit: usize,
    waiters: Arc<Waiters>,
}

/// The denylist has no room for one more hash.
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

    /// The end of a lifetime that begins now.
    pub(crate) fn expiry(lifetime: Duration) -> SystemTime {
        SystemTime::now() + lifetime.min(LONGEST)
    }

    /// Whether the hash is denied. This is the hot path: it takes no lock, and reads the clock only
    /// if the hash is in the cache.
    pub(crate) fn contains(&self, hash: &TokenHash) -> bool {
        // Not `get`: it notes the use for an eviction policy, and may clean up.
        self.filter.may_contain(hash.as_bytes()) && self.cache.contains_key(hash)
    }

    /// Denies the hash until `expires_at` at least. If it is denied already, the later expiry wins.
    /// Visible to every thread when this returns.
    pub(crate) fn insert(
        &self,
        hash: TokenHash,
        expires_at: SystemTime,
    ) -> Result<(), DenylistFull> {
        self.put(hash, expires_at, || self.take_place())
    }

    /// Denies a hash that another process has accepted, even beyond the limit: its caller was told
    /// that the token is denied.
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
        // Atomic for each hash: if two threads insert one hash, the later expiry wins. Every value
        // takes a place when it is put in, and frees it when it leaves, expired or replaced. This
        // keeps the count right even for an expired value that is not cleaned up yet: `known` is
        // `None` for it, and yet it is replaced.
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
        // After the cache, and even if the cache knew the hash: the thread that put it there may
        // not have reached this line yet. See the rule of the filter.
        self.filter.insert(hash.as_bytes());
        self.waiters.notify(&hash);
        Ok(())
    }

    /// Watches, from now on, for any of these hashes to be denied.
    pub(crate) fn watch(&self, hashes: &[TokenHash]) -> Watch {
        self.waiters.watch(hashes)
    }

    fn take_place(&self) -> bool {
        self.len
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |len| {
                (len < self.limit).then_some(len + 1)
            })
            .is_ok()
    }

    /// How many hashes are in the list, including expired ones that are not cleaned up yet.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// The denied hashes with their expiries. A hash that comes or goes during the iteration may be
    /// included or not.
    pub(crate) fn live(&self) -> impl Iterator<Item = (TokenHash, SystemTime)> {
        self.cache.iter().map(|(hash, ExpiresAt(expires_at))| (*hash, expires_at))
    }

    /// Frees expired entries. This can take long, so it must not run on a request's path.
    pub(crate) fn clean_up(&self) {
        self.cache.run_pending_tasks();
        if self.is_silted() {
            self.renew_filter();
        }
    }

    /// Whether the filter answers "maybe" too often until the next [clean-up](Self::clean_up).
    pub(crate) fn is_silted(&self) -> bool {
        self.filter.is_silted(self.len())
    }

    fn renew_filter(&self) {
        self.filter.renew(self.len(), || self.cache.iter().map(|(hash, _)| *hash.as_bytes()));
    }
}

/// The expiry of each entry. Also implements updates: by default, moka would keep the old expiry.
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
    // The hash is random enough for this, and needs no generator.
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

    /// Waits in real time until the condition holds: moka's clock cannot be replaced.
    fn eventually(condition: &str, mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < Duration::from_secs(30), "not within 30 s: {condition}");
            thread::yield_now();
        }
    }

    #[test]
    fn only_inserted_hashes_are_denied() {
        let denylist = Denylist::new(10);
        denylist.insert(hash(1), later(DAY)).expect("room");
        assert!(denylist.contains(&hash(1)));
        assert!(!denylist.contains(&hash(2)));
    }

    #[test]
    fn full_list_refuses_new_and_keeps_old_hashes() {
        let denylist = Denylist::new(1000);
        for n in 0..1000 {
            denylist.insert(hash(n), later(DAY)).expect("room");
        }
        for n in 1000..2000 {
            assert_eq!(denylist.insert(hash(n), later(DAY)), Err(DenylistFull));
        }
        // moka would evict here.
        denylist.clean_up();
        assert!((0..1000).all(|n| denylist.contains(&hash(n))));
        assert!((1000..2000).all(|n| !denylist.contains(&hash(n))));
        assert_eq!(denylist.len(), 1000);
    }

    #[test]
    fn full_list_still_takes_known_hashes() {
        let denylist = Denylist::new(1);
        denylist.insert(hash(1), later(DAY)).expect("room");
        denylist.insert(hash(1), later(DAY * 2)).expect("known");
        denylist.insert(hash(1), later(DAY)).expect("known");
        assert_eq!(denylist.len(), 1);
    }

    #[test]
    fn admitted_hash_is_denied_beyond_the_limit() {
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
    fn later_expiry_wins_in_either_order() {
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
    fn prolonged_hash_still_expires() {
        let denylist = Denylist::new(1);
        denylist.insert(hash(1), later(Duration::from_secs(1))).expect("room");
        denylist.insert(hash(1), later(Duration::from_millis(1010))).expect("known");
        eventually("it expires", || !denylist.contains(&hash(1)));
    }

    /// Also if a hash is inserted again after it expired.
    #[test]
    fn places_are_freed_when_entries_expire() {
        let denylist = Denylist::new(2);
        for _ in 0..2 {
            let soon = later(Duration::from_millis(20));
            denylist.insert(hash(1), soon).expect("room");
            // Inserted again after it expired, before it is cleaned up: its place must not be lost.
            eventually("it expires", || !denylist.contains(&hash(1)));
            denylist.insert(hash(1), later(Duration::from_millis(20))).expect("room");
            eventually("it expires", || !denylist.contains(&hash(1)));
            eventually("its place is freed", || {
                denylist.clean_up();
                denylist.len() == 0
            });
        }
    }

    #[test]
    fn expired_hash_takes_no_place() {
        let denylist = Denylist::new(1);
        denylist.insert(hash(1), SystemTime::UNIX_EPOCH).expect("nothing to do");
        assert_eq!(denylist.len(), 0);
    }

    #[test]
    fn lifetime_of_decades_is_not_cut() {
        let denylist = Denylist::new(1);
        let expires_at = Denylist::expiry(DAY * 365 * 90);
        assert!(expires_at > later(DAY * 365 * 89));
        denylist.insert(hash(1), expires_at).expect("room");
        assert_eq!(denylist.live().next(), Some((hash(1), expires_at)));
    }

    #[test]
    fn longer_lifetime_than_a_century_does_not_overflow() {
        let denylist = Denylist::new(1);
        denylist.insert(hash(1), later(LONGEST * 2)).expect("room");
        assert!(denylist.contains(&hash(1)));
    }

    #[test]
    fn concurrent_inserts_never_exceed_the_limit() {
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
    fn expiries_are_only_spread_to_later_times() {
        // A minute, in case the test is slow.
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
    fn simultaneous_expiries_of_a_million_are_spread_evenly() {
        let expires_at = ExpiresAt(later(Duration::ZERO));
        let mut at = vec![0_usize; 100 * 20 + 1];
        for n in 0..1_000_000 {
            at[remaining(&hash(n), expires_at, 1_000_000).as_millis() as usize / 50] += 1;
        }
        let most = at.into_iter().max().expect("some");
        assert!((500..1000).contains(&most), "{most}");
    }

    /// The race: hashes expire and are denied again for longer, while the filter is renewed again
    /// and again from a cache that grows. A thread that denied a hash finds it denied, at once and
    /// later.
    #[test]
    fn denied_hash_stays_denied_during_filter_renewals() {
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
    fn clean_up_beyond_planned_size_keeps_hashes() {
        let denylist = Denylist::new(1000);
        for n in 0..3000 {
            denylist.admit(hash(n), later(DAY));
        }
        assert!(denylist.filter.is_silted(denylist.len()));
        denylist.clean_up();
        assert!(!denylist.filter.is_silted(denylist.len()));
        assert!((0..3000).all(|n| denylist.contains(&hash(n))));
    }

    #[test]
    fn clean_up_removes_only_expired_hashes_from_filter() {
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
        assert!(denylist.filter.is_silted(denylist.len()));
        denylist.clean_up();
        assert!((900..1200).all(|n| denylist.contains(&hash(n))));
        let left = (0..900).filter(|&n| denylist.filter.may_contain(hash(n).as_bytes())).count();
        assert!(left < 50, "{left}");
    }
}
