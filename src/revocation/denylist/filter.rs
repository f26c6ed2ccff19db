//! A filter that tells, from one CPU cache line, that a hash is certainly not denied.
//!
//! The filter stands in front of the cache of denied hashes. Its "no" is final. After a "maybe",
//! the cache decides. So the filter may say "maybe" too often, but must never say "no" too early:
//!
//! > Once [`Filter::insert`] has returned for a hash that the cache holds, no
//! > [`Filter::may_contain`] that starts later says "no", until the hash has left the cache.
//!
//! It is a Bloom filter in which all bits of a hash are in the same word of 64 bits. So one load
//! answers, and one write inserts all bits of a hash or none. A Bloom filter cannot remove a hash,
//! so there are two halves. One half is read. A renewal clears the other half, fills it from the
//! cache, and then switches to it by one store of the generation.
//!
//! A half uses only as many of its words as its hashes need, so that a short list stays in the CPU's
//! cache. A renewal chooses that size for the half that it fills, by how many hashes are live.
//!
//! # Why no "no" is false
//!
//! **The rule for callers: the cache first, then the filter.** The hash is in the cache before
//! `insert` is called, every time, even if the cache already had it: the thread that put it there
//! may not have called `insert` yet. The opposite order would be wrong: a renewal that starts
//! between the two steps would not find the hash in the cache, and would forget it.
//!
//! **A writer** and a renewal meet in one of three orders. The lock decides which:
//!
//! - The writer has the lock before the renewal begins. Its hash was then in the cache before the
//!   renewal reads the cache, and is copied into the next half.
//! - The writer has the lock while the renewal runs. It then writes into both halves.
//! - The writer has the lock after the renewal has switched. It then writes into the half that is
//!   read.
//!
//! In each case, and by induction over renewals: when `insert` has returned, the half of this
//! generation has the hash, and the half of each later generation has it before it is switched to.
//! A reader acquires the generation, so it sees these bits, or later ones.
//!
//! **A slow reader may see later bits.** It may choose a half, be delayed, and find the half
//! resized and cleared by the second renewal after that. This renewal does so after the generation
//! has changed, with a release fence in between. The reader reads the generation again, after an
//! acquire fence. So a reader that read the new size or a cleared bit reads another generation than
//! before, and says "maybe". (This is the pattern of a seqlock. The generation has 64 bits and never
//! returns to an old value.)
//!
//! No reader waits for another thread. It loads the size and the bits once, and the generation
//! twice. Only a renewal writes the lines of the size and of the generation.
//!
//! # Why it needs no secret
//!
//! An attacker can have tokens of its own choice revoked, and can search for tokens that fill whole
//! words. The effect is limited:
//!
//! - An entry sets 4 of the 16 bits that are planned for it. So in a full filter at most 25 % of
//!   the words are full, for any choice of tokens, and with twice as many entries as planned 50 %.
//!   A burst can fill all words until the next renewal.
//! - Then one in four, or one in two, of the hashes of other users is a "maybe".
//! - A "maybe" costs one lookup in the cache. A request with a revoked token costs the same.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bits for each planned entry. [Four](Half::bits) of them are set. So 0.5 % of the hashes that are
/// not denied are a "maybe" at the planned size, and 3.3 % at twice that size.
const BITS: usize = 16;

/// The smallest size that is planned for: 2 KiB for each half.
const PLANNED_AT_LEAST: usize = 1 << 10;

/// The largest size that is planned for: 32 MiB for each half. With more entries, "maybe" becomes
/// more frequent.
const PLANNED_AT_MOST: usize = 1 << 24;

/// A set of SHA-256 digests that answers "no" or "maybe".
pub(crate) struct Filter {
    halves: [Half; 2],
    /// How many renewals there were. The lowest bit is the half that is read. Changes only under
    /// the lock of `writing`.
    generation: Apart<AtomicU64>,
    writing: Apart<Mutex<Writing>>,
    /// Held during a renewal.
    renewing: Mutex<()>,
    /// The largest number of hashes that it grows for.
    most: usize,
}

/// A value on CPU cache lines of its own, so that the values that each request reads are not on the
/// lines that each revocation writes.
#[repr(align(128))]
struct Apart<T>(T);

struct Writing {
    /// Hashes in the half that is read.
    held: usize,
    /// Hashes that `insert` has put into the other half, during a renewal.
    next: Option<usize>,
    /// The filter is silted if it holds more hashes than this,
    room: usize,
    /// or if fewer than this are live.
    shrinks_below: usize,
}

impl Filter {
    /// A filter for few hashes, which renewals let grow for this many. Each half has 2 to 8 bytes for
    /// each live hash. It can take more hashes, but then says "maybe" more often.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.clamp(1, PLANNED_AT_MOST);
        let planned = plan(0, most);
        Self {
            halves: [planned, 0].map(|planned| Half::new(most, planned)),
            generation: Apart(AtomicU64::new(0)),
            writing: Apart(Mutex::new(Writing {
                held: 0,
                next: None,
                room: planned,
                shrinks_below: 0,
            })),
            renewing: Mutex::new(()),
            most,
        }
    }

    /// Whether the hash may have been inserted. This is the hot path: it takes no lock, and writes
    /// nothing.
    pub(crate) fn may_contain(&self, hash: &[u8; 32]) -> bool {
        let generation = self.generation.0.load(Ordering::Acquire);
        if self.half(generation).may_contain(hash) {
            return true;
        }
        // "No", unless a renewal has switched meanwhile: then the half may be cleared.
        fence(Ordering::Acquire);
        self.generation.0.load(Ordering::Relaxed) != generation
    }

    /// Inserts a hash. The cache must already hold it: see the rule above.
    pub(crate) fn insert(&self, hash: &[u8; 32]) {
        let mut writing = lock(&self.writing.0);
        let generation = self.generation.0.load(Ordering::Relaxed);
        let news = |generation| usize::from(self.half(generation).insert(hash));
        writing.held += news(generation);
        if let Some(next) = &mut writing.next {
            *next += news(generation + 1);
        }
    }

    /// Whether a renewal is useful, if so many hashes are live: to forget, to grow or to shrink. At
    /// its largest size, at least half of what the filter holds must have come after the last
    /// renewal, or a cache that is larger than the filter may become would be renewed endlessly
    /// without effect.
    ///
    /// A half that is full of bits counts no more hashes, so it cannot say how many there are.
    pub(crate) fn is_silted(&self, live: usize) -> bool {
        let writing = lock(&self.writing.0);
        writing.held > writing.room || live < writing.shrinks_below
    }

    /// Forgets every hash that is not live. `live` is called when inserts already go to both
    /// halves, and must then read the cache. It must return each hash that the cache has held since
    /// before the call. Hashes that come or go during the call are optional. `count` is about how
    /// many it returns.
    ///
    /// Takes as long as `live` does, so it must not run on a request's path. It delays no reader,
    /// and a writer only for two assignments.
    pub(crate) fn renew<I>(&self, count: usize, live: impl FnOnce() -> I)
    where
        I: IntoIterator<Item = [u8; 32]>,
    {
        let _one_at_a_time = lock(&self.renewing);
        let generation = self.generation.0.load(Ordering::Relaxed);
        let next = self.half(generation + 1);
        let planned = plan(count, self.most);

        // A reader that reads a size or a bit of here then reads this generation or a later one.
        fence(Ordering::Release);
        next.clear(planned);

        lock(&self.writing.0).next = Some(0);
        let held = live().into_iter().filter(|hash| next.insert(hash)).count();

        let mut writing = lock(&self.writing.0);
        writing.held = held + writing.next.take().unwrap_or_default();
        // Below its largest size, it grows again at once if the count was too low.
        let is_largest = planned == self.most;
        writing.room =
            if is_largest { planned.max(writing.held.saturating_mul(2)) } else { planned };
        // A quarter to a half of what is planned for is live.
        writing.shrinks_below = if planned > PLANNED_AT_LEAST { planned / 8 } else { 0 };
        self.generation.0.store(generation + 1, Ordering::Release);
    }

    fn half(&self, generation: u64) -> &Half {
        let [even, odd] = &self.halves;
        if generation.is_multiple_of(2) { even } else { odd }
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("most", &self.most).finish_non_exhaustive()
    }
}

/// How many hashes to plan for if so many are live, so that as many again have room.
fn plan(live: usize, most: usize) -> usize {
    let planned = live.saturating_mul(2).checked_next_power_of_two().unwrap_or(most);
    planned.clamp(PLANNED_AT_LEAST.min(most), most)
}

/// The bits of one half. The filter orders the accesses of several threads.
struct Half {
    words: Box<[AtomicU64]>,
    /// How many of the words are used. The rest may hold old bits.
    used: AtomicUsize,
}

impl Half {
    fn new(most: usize, planned: usize) -> Self {
        // Zeroed memory of the operating system, which is not resident before it is written.
        let words = vec![0; words_for(most)].into_iter().map(AtomicU64::new).collect();
        Self { words, used: AtomicUsize::new(words_for(planned)) }
    }

    /// The word for a hash, and its bits in the word: four, or fewer if some coincide. They are
    /// taken directly from the digest, which is distributed well enough.
    fn bits(&self, hash: &[u8; 32]) -> (&AtomicU64, u64) {
        let [high, low] = [0, 8].map(|at| {
            let word = hash[at..].first_chunk().expect("a digest is longer than two words");
            u64::from_le_bytes(*word)
        });
        // The hash as a fraction of the number of words: cheaper than a remainder.
        let used = self.used.load(Ordering::Relaxed);
        let at = usize::try_from((u128::from(high) * used as u128) >> 64);
        let bits = [0, 8, 16, 24].map(|shift| 1 << (low >> shift & 63));
        let word = &self.words[at.expect("less than their number")];
        (word, bits[0] | bits[1] | bits[2] | bits[3])
    }

    fn may_contain(&self, hash: &[u8; 32]) -> bool {
        let (word, bits) = self.bits(hash);
        word.load(Ordering::Relaxed) & bits == bits
    }

    /// Returns whether a bit changed.
    fn insert(&self, hash: &[u8; 32]) -> bool {
        let (word, bits) = self.bits(hash);
        word.fetch_or(bits, Ordering::Relaxed) & bits != bits
    }

    /// Takes the size for this many hashes, and clears it.
    fn clear(&self, planned: usize) {
        let used = words_for(planned);
        self.used.store(used, Ordering::Relaxed);
        for word in &self.words[..used] {
            word.store(0, Ordering::Relaxed);
        }
    }
}

fn words_for(planned: usize) -> usize {
    (planned * BITS).div_ceil(64)
}

/// A panic under these locks leaves the data consistent, so a poisoned lock is still used.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::iter;
    use std::ops::Range;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::RwLock;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use sha2::{Digest, Sha256};

    use super::*;

    fn hash(n: u32) -> [u8; 32] {
        Sha256::digest(n.to_le_bytes()).into()
    }

    /// The share of "maybe" among hashes that were never inserted.
    fn maybes(filter: &Filter) -> f64 {
        let asked = 100_000;
        let maybes = (0..asked).filter(|n| filter.may_contain(&hash(u32::MAX - n))).count();
        f64::from(u32::try_from(maybes).expect("few")) / f64::from(asked)
    }

    /// Inserts hashes that the cache has, and renews as housekeeping does.
    fn fill(filter: &Filter, hashes: Range<u32>) {
        for n in hashes {
            filter.insert(&hash(n));
            let live = n as usize + 1;
            if filter.is_silted(live) {
                filter.renew(live, || (0..=n).map(hash));
            }
        }
    }

    /// How many words are read.
    fn size(filter: &Filter) -> usize {
        let generation = filter.generation.0.load(Ordering::Relaxed);
        filter.half(generation).used.load(Ordering::Relaxed)
    }

    /// At every size, less than 1 % of the other hashes are a "maybe".
    #[test]
    fn inserted_hashes_and_few_others_are_maybe() {
        let filter = Filter::new(10_000);
        assert!(maybes(&filter) < f64::EPSILON);
        let mut filled = 0;
        for held in [100, 1_000, 3_000, 10_000] {
            fill(&filter, filled..held);
            filled = held;
            assert!((0..held).all(|n| filter.may_contain(&hash(n))));
            assert!(maybes(&filter) < 0.01, "{held}: {}", maybes(&filter));
        }
    }

    /// A thousand hashes use no more than 2 KiB, whatever the filter may grow to.
    #[test]
    fn size_follows_the_number_of_hashes() {
        let filter = Filter::new(1_000_000);
        fill(&filter, 0..1_000);
        assert_eq!(size(&filter) * 8, 2 << 10);
        fill(&filter, 1_000..50_000);
        let grown = size(&filter);
        assert!((50_000 * BITS / 64..50_000 * BITS / 16).contains(&grown), "{grown}");
        assert!(filter.is_silted(10), "nearly all have expired");
        filter.renew(10, || (0..10).map(hash));
        assert_eq!(size(&filter) * 8, 2 << 10);
        assert!((0..10).all(|n| filter.may_contain(&hash(n))));
        assert!(maybes(&filter) < 0.01, "old bits are left: {}", maybes(&filter));
        fill(&filter, 10..50_000);
        assert!((0..50_000).all(|n| filter.may_contain(&hash(n))));
        assert!(maybes(&filter) < 0.01, "old bits are left: {}", maybes(&filter));
    }

    /// A restart reads a whole log before the first renewal. A half that is full of bits does not
    /// know how many hashes came.
    #[test]
    fn burst_is_followed_by_a_filter_of_its_size() {
        let filter = Filter::new(1_000_000);
        (0..300_000).for_each(|n| filter.insert(&hash(n)));
        let mut renewals = 0;
        while filter.is_silted(300_000) {
            filter.renew(300_000, || (0..300_000).map(hash));
            renewals += 1;
        }
        assert_eq!(renewals, 1);
        assert!(maybes(&filter) < 0.01, "{}", maybes(&filter));
    }

    /// Hashes come and expire for a long time, and few are live at any time.
    #[test]
    fn churn_does_not_make_it_larger() {
        const LIVE: u32 = 100;
        let filter = Filter::new(1_000_000);
        for n in 0..20_000 {
            filter.insert(&hash(n));
            if filter.is_silted(LIVE as usize) {
                filter.renew(LIVE as usize, || (n.saturating_sub(LIVE - 1)..=n).map(hash));
            }
        }
        assert_eq!(size(&filter) * 8, 2 << 10);
    }

    /// The cache is far beyond the largest size, and then everything expires.
    #[test]
    fn overfull_filter_is_renewed_when_its_hashes_expire() {
        let filter = Filter::new(5_000);
        (0..50_000).for_each(|n| filter.insert(&hash(n)));
        filter.renew(50_000, || (0..50_000).map(hash));
        assert!(!filter.is_silted(50_000));
        assert!(filter.is_silted(10));
        filter.renew(10, || (0..10).map(hash));
        assert!(!filter.is_silted(10));
        assert!(maybes(&filter) < 0.01, "{}", maybes(&filter));
    }

    /// It says "maybe" to more of the other hashes.
    #[test]
    fn overfull_filter_never_says_a_false_no() {
        let filter = Filter::new(10_000);
        fill(&filter, 0..20_000);
        assert!((0..20_000).all(|n| filter.may_contain(&hash(n))));
        assert!(maybes(&filter) < 0.05, "{}", maybes(&filter));
        (20_000..200_000).for_each(|n| filter.insert(&hash(n)));
        assert!((0..200_000).all(|n| filter.may_contain(&hash(n))));
    }

    #[test]
    fn the_smallest_and_the_largest_limit_work() {
        for planned in [0, 1, usize::MAX] {
            let filter = Filter::new(planned);
            filter.insert(&hash(1));
            assert!(filter.may_contain(&hash(1)));
        }
        assert_eq!(Filter::new(1).halves[0].words.len(), 1);
        assert_eq!(Filter::new(usize::MAX).halves[0].words.len(), PLANNED_AT_MOST * BITS / 64);
    }

    #[test]
    fn renewal_keeps_only_live_hashes() {
        let filter = Filter::new(10_000);
        fill(&filter, 0..10_000);
        for live in [10_000, 1_000, 0] {
            filter.renew(live as usize, || (0..live).map(hash));
            assert!((0..live).all(|n| filter.may_contain(&hash(n))));
            let left = (live..10_000).filter(|&n| filter.may_contain(&hash(n))).count();
            assert!(left < 50, "{left} of {live}");
        }
    }

    /// The filter finds it at once.
    #[test]
    fn hash_inserted_during_a_renewal_stays() {
        let filter = Filter::new(10);
        filter.renew(0, || {
            // The cache was read before it had this hash.
            filter.insert(&hash(1));
            assert!(filter.may_contain(&hash(1)));
            iter::empty()
        });
        assert!(filter.may_contain(&hash(1)));
        filter.renew(0, iter::empty);
        assert!(!filter.may_contain(&hash(1)));
    }

    /// The next renewal succeeds.
    #[test]
    fn renewal_that_panics_changes_nothing() {
        let filter = Filter::new(10);
        filter.insert(&hash(1));
        let half_way = || iter::once(hash(2)).chain(iter::from_fn(|| panic!("half way")));
        catch_unwind(AssertUnwindSafe(|| filter.renew(2, half_way))).expect_err("it panics");
        assert!(filter.may_contain(&hash(1)));
        filter.insert(&hash(3));
        filter.renew(2, || [hash(1), hash(3)]);
        assert!(filter.may_contain(&hash(1)) && filter.may_contain(&hash(3)));
        assert!(!filter.may_contain(&hash(2)));
    }

    /// The same hashes again do not. After a renewal the filter is not silted.
    #[test]
    fn only_new_hashes_silt_the_filter() {
        let filter = Filter::new(1_000);
        for _ in 0..10 {
            (0..900).for_each(|n| filter.insert(&hash(n)));
        }
        assert!(!filter.is_silted(900), "the same ones again");
        (900..1_100).for_each(|n| filter.insert(&hash(n)));
        assert!(filter.is_silted(1_100));
        filter.renew(100, || (1_000..1_100).map(hash));
        assert!(!filter.is_silted(1));
    }

    #[test]
    fn filter_is_silted_beyond_the_planned_size() {
        let filter = Filter::new(1);
        filter.insert(&hash(1));
        assert!(!filter.is_silted(1));
        filter.insert(&hash(2));
        assert!(filter.is_silted(1));
    }

    #[test]
    fn hashes_inserted_during_a_renewal_silt_too() {
        let filter = Filter::new(1_000);
        filter.renew(0, || {
            (0..400).for_each(|n| filter.insert(&hash(n)));
            iter::empty()
        });
        assert!(!filter.is_silted(1));
        (400..1_100).for_each(|n| filter.insert(&hash(n)));
        assert!(filter.is_silted(1));
    }

    #[test]
    fn oversized_cache_is_not_renewed_indefinitely() {
        let filter = Filter::new(1_000);
        (0..3_000).for_each(|n| filter.insert(&hash(n)));
        assert!(filter.is_silted(1));
        filter.renew(3_000, || (0..3_000).map(hash));
        assert!(!filter.is_silted(1));
    }

    /// The race: a renewal reads the cache (here: `record`), a writer inserts a hash just then, and
    /// a reader still uses the old half, which the next renewal clears. So writers insert and
    /// expire hashes all the time, one renewal follows another, and an inserted hash that is live
    /// must never read as "no", neither for its writer nor for another thread.
    #[test]
    fn writers_expiry_and_renewals_make_no_false_no() {
        const EACH: usize = 5_000;
        const ALIVE: usize = 50;
        // Small halves, so that a renewal takes microseconds and there are thousands of renewals.
        let filter = Filter::new(500);
        let record = RwLock::new(HashSet::new());
        let hashes: Vec<_> = (0..).map(hash).take(2 * EACH).collect();
        let always = hash(u32::MAX);
        record.write().expect("a lock").insert(always);
        filter.insert(&always);
        let done = AtomicBool::new(false);
        let renewals = thread::scope(|scope| {
            let writers = [0, EACH].map(|first| {
                let (filter, record, hashes) = (&filter, &record, &hashes);
                scope.spawn(move || {
                    for n in first..first + EACH {
                        record.write().expect("a lock").insert(hashes[n]);
                        filter.insert(&hashes[n]);
                        if let Some(expired) = n.checked_sub(ALIVE).filter(|&n| n >= first) {
                            record.write().expect("a lock").remove(&hashes[expired]);
                        }
                        let oldest = n.saturating_sub(ALIVE - 1).max(first);
                        assert!(hashes[oldest..=n].iter().all(|hash| filter.may_contain(hash)));
                    }
                })
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        assert!(filter.may_contain(&always));
                    }
                });
            }
            let renewing = scope.spawn(|| {
                let mut renewals = 0;
                while !done.load(Ordering::Relaxed) {
                    filter.renew(ALIVE, || record.read().expect("a lock").clone());
                    renewals += 1;
                }
                renewals
            });
            let failed = writers.map(|writer| writer.join().is_err());
            done.store(true, Ordering::Relaxed);
            assert_eq!(failed, [false, false]);
            renewing.join().expect("it renews")
        });
        assert!(renewals > 100, "{renewals}");
    }
}
