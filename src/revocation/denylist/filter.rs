//! What is certainly not revoked, told from one cache line.
//!
//! The filter stands in front of the record of what is revoked. Its "no" is final; its "maybe" is
//! for the record to settle. So it may say "maybe" too often, and never "no" too early:
//!
//! > Once [`Filter::insert`] has returned for a hash that the record holds, no
//! > [`Filter::may_contain`] that starts afterwards says "no", until the record has let the hash go.
//!
//! It is a Bloom filter whose bits for one hash share one word of 64: one load answers, and one write
//! inserts all of a hash or nothing of it. A Bloom filter cannot forget, so there are two halves. One
//! is read; a renewal clears the other, fills it from the record, and turns to it by one store of the
//! generation.
//!
//! # Why no "no" is false
//!
//! **The rule for callers: the record first, then the filter.** The hash is in the record before
//! `insert` is called, every time, also where the record knew it already: whoever put it there may
//! not have come to the filter yet. The other way round would be wrong: a renewal that starts
//! between the two would find the hash neither in the record nor in flight, and forget it.
//!
//! **A writer** takes part in one of three orders with a renewal; the lock fixes which:
//! - It has the lock before the renewal begins. Then its hash was in the record before the renewal
//!   asks for what is live, and comes into the next half from there.
//! - It has the lock while the renewal runs. Then it writes into both halves.
//! - It has the lock after the renewal has turned. Then it writes into the half that is read.
//!
//! Whichever it is, and by induction over renewals: when `insert` has returned, the half of this
//! generation has the hash, and so has the half of every later one by the time it is turned to. A
//! reader acquires the generation, so it sees these bits, or later ones.
//!
//! **Later ones: a slow reader** may have chosen a half, been held up, and find it cleared for the
//! next renewal but one. That clearing comes after the generation moved on, with a release fence
//! between; the reader reads the generation again after an acquire fence. So whoever read a cleared
//! bit reads another generation than before, and says "maybe". (The pattern is the seqlock's; the
//! generation has 64 bits and never comes round.)
//!
//! No reader waits for anybody: two loads of a line that only a renewal writes, and the bits.
//!
//! # Why there is no secret in it
//!
//! Anybody may have tokens of his own choice revoked, and could look for such that fill whole words.
//! An entry sets 4 bits of the 16 planned for it, so a full record has 25 % of the words full at most,
//! however they are chosen, and one twice as large as planned has 50 %: then one in four, or in two, of
//! other people's hashes is a "maybe". What that costs is one lookup in the record; and to be answered "maybe" one can send a revoked token as well.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bits for each planned entry. With [four](Half::bits) of them set, 0.5 % of the hashes that are not
/// revoked are a "maybe" at the planned size, 3.3 % at twice that.
const BITS: usize = 16;

/// Nothing is planned for more entries than that: 32 MiB a half. Beyond, "maybe" grows more frequent.
const PLANNED_AT_MOST: usize = 1 << 24;

/// A set of SHA-256 digests that answers "no" or "maybe".
pub(crate) struct Filter {
    halves: [Half; 2],
    /// How many renewals there were: the lowest bit is the half that is read. Changes under the lock
    /// of `writing` only.
    generation: Apart<AtomicU64>,
    writing: Apart<Mutex<Writing>>,
    /// Held for as long as a renewal takes.
    renewing: Mutex<()>,
    planned: usize,
}

/// On cache lines of its own: what every request reads, apart from what every revocation writes.
#[repr(align(128))]
struct Apart<T>(T);

struct Writing {
    /// Hashes in the half that is read.
    held: usize,
    /// Hashes that came into the other half by `insert`, while there is a renewal.
    next: Option<usize>,
    /// Silted with more than that.
    room: usize,
}

impl Filter {
    /// A filter for that many hashes at a time: 4 bytes for each. More can come, and make for more
    /// "maybe".
    pub(crate) fn new(planned: usize) -> Self {
        let planned = planned.clamp(1, PLANNED_AT_MOST);
        Self {
            halves: [Half::new(planned * BITS), Half::new(planned * BITS)],
            generation: Apart(AtomicU64::new(0)),
            writing: Apart(Mutex::new(Writing { held: 0, next: None, room: planned })),
            renewing: Mutex::new(()),
            planned,
        }
    }

    /// Whether the hash may have been inserted. The hot path: takes no lock, writes nothing.
    pub(crate) fn may_contain(&self, hash: &[u8; 32]) -> bool {
        let generation = self.generation.0.load(Ordering::Acquire);
        if self.half(generation).may_contain(hash) {
            return true;
        }
        // "No", unless the half was given up meanwhile: it may be cleared by now.
        fence(Ordering::Acquire);
        self.generation.0.load(Ordering::Relaxed) != generation
    }

    /// Inserts a hash that the record holds already: see the rule above.
    pub(crate) fn insert(&self, hash: &[u8; 32]) {
        let mut writing = lock(&self.writing.0);
        let generation = self.generation.0.load(Ordering::Relaxed);
        let news = |generation| usize::from(self.half(generation).insert(hash));
        writing.held += news(generation);
        if let Some(next) = &mut writing.next {
            *next += news(generation + 1);
        }
    }

    /// Whether a renewal is worth its while: more hashes came than were planned for, and half of
    /// them at least since the last renewal. (So a record that is itself larger than planned is not
    /// renewed in vain again and again.)
    pub(crate) fn is_silted(&self) -> bool {
        let writing = lock(&self.writing.0);
        writing.held > writing.room
    }

    /// Forgets every hash that is not live. `live` is called once inserts go to both halves, and
    /// must ask the record anew: each hash it held since before the call has to come, of those that
    /// come and go meanwhile any.
    ///
    /// Takes as long as `live` does, so not on a request's path. It holds up no reader, and a writer
    /// for two assignments.
    pub(crate) fn renew<I>(&self, live: impl FnOnce() -> I)
    where
        I: IntoIterator<Item = [u8; 32]>,
    {
        let _one_at_a_time = lock(&self.renewing);
        let generation = self.generation.0.load(Ordering::Relaxed);
        let next = self.half(generation + 1);

        // Whoever reads a bit cleared here, reads this generation or a later one after it.
        fence(Ordering::Release);
        next.clear();

        lock(&self.writing.0).next = Some(0);
        let held = live().into_iter().filter(|hash| next.insert(hash)).count();

        let mut writing = lock(&self.writing.0);
        writing.held = held + writing.next.take().unwrap_or_default();
        writing.room = self.planned.max(writing.held.saturating_mul(2));
        self.generation.0.store(generation + 1, Ordering::Release);
    }

    fn half(&self, generation: u64) -> &Half {
        let [even, odd] = &self.halves;
        if generation.is_multiple_of(2) { even } else { odd }
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("planned", &self.planned).finish_non_exhaustive()
    }
}

/// The bits. What orders them among threads is the filter's affair.
struct Half(Box<[AtomicU64]>);

impl Half {
    fn new(bits: usize) -> Self {
        // From zeros of the system's, which are not resident before they are written.
        Self(vec![0; bits.div_ceil(64)].into_iter().map(AtomicU64::new).collect())
    }

    /// The word for a hash, and its bits there: four, or fewer where some coincide. A digest is spread
    /// well enough to take them from it as they are.
    fn bits(&self, hash: &[u8; 32]) -> (&AtomicU64, u64) {
        let [high, low] = [0, 8].map(|at| {
            let word = hash[at..].first_chunk().expect("a digest is longer than two words");
            u64::from_le_bytes(*word)
        });
        // As a fraction of the number of words: cheaper than the remainder.
        let at = usize::try_from((u128::from(high) * self.0.len() as u128) >> 64);
        let bits = [0, 8, 16, 24].map(|shift| 1 << (low >> shift & 63));
        let word = &self.0[at.expect("less than their number")];
        (word, bits[0] | bits[1] | bits[2] | bits[3])
    }

    fn may_contain(&self, hash: &[u8; 32]) -> bool {
        let (word, bits) = self.bits(hash);
        word.load(Ordering::Relaxed) & bits == bits
    }

    /// Says whether anything changed.
    fn insert(&self, hash: &[u8; 32]) -> bool {
        let (word, bits) = self.bits(hash);
        word.fetch_or(bits, Ordering::Relaxed) & bits != bits
    }

    fn clear(&self) {
        for word in &self.0 {
            word.store(0, Ordering::Relaxed);
        }
    }
}

/// Nothing is left half done under these locks, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::iter;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::RwLock;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use sha2::{Digest, Sha256};

    use super::*;

    fn hash(n: u32) -> [u8; 32] {
        Sha256::digest(n.to_le_bytes()).into()
    }

    /// The share of hashes never inserted that are a "maybe".
    fn maybes(filter: &Filter) -> f64 {
        let asked = 100_000;
        let maybes = (0..asked).filter(|n| filter.may_contain(&hash(u32::MAX - n))).count();
        f64::from(u32::try_from(maybes).expect("few")) / f64::from(asked)
    }

    #[test]
    fn what_is_inserted_may_be_there_and_little_else() {
        let filter = Filter::new(10_000);
        assert!(maybes(&filter) < f64::EPSILON);
        (0..10_000).for_each(|n| filter.insert(&hash(n)));
        assert!((0..10_000).all(|n| filter.may_contain(&hash(n))));
        assert!(maybes(&filter) < 0.01, "{}", maybes(&filter));
    }

    #[test]
    fn past_its_size_it_says_maybe_more_often_but_never_no() {
        let filter = Filter::new(10_000);
        (0..20_000).for_each(|n| filter.insert(&hash(n)));
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
        assert_eq!(Filter::new(1).halves[0].0.len(), 1);
        assert_eq!(Filter::new(usize::MAX).halves[0].0.len(), PLANNED_AT_MOST * BITS / 64);
    }

    #[test]
    fn a_renewal_keeps_what_is_live_and_forgets_the_rest() {
        let filter = Filter::new(10_000);
        (0..10_000).for_each(|n| filter.insert(&hash(n)));
        for live in [10_000, 1_000, 0] {
            filter.renew(|| (0..live).map(hash));
            assert!((0..live).all(|n| filter.may_contain(&hash(n))));
            let left = (live..10_000).filter(|&n| filter.may_contain(&hash(n))).count();
            assert!(left < 50, "{left} of {live}");
        }
    }

    #[test]
    fn what_comes_while_a_renewal_runs_is_there_at_once_and_stays() {
        let filter = Filter::new(10);
        filter.renew(|| {
            // The record was asked before it had this one.
            filter.insert(&hash(1));
            assert!(filter.may_contain(&hash(1)));
            iter::empty()
        });
        assert!(filter.may_contain(&hash(1)));
        filter.renew(iter::empty);
        assert!(!filter.may_contain(&hash(1)));
    }

    #[test]
    fn a_renewal_that_ends_in_a_panic_changes_nothing_and_the_next_one_succeeds() {
        let filter = Filter::new(10);
        filter.insert(&hash(1));
        let half_way = || iter::once(hash(2)).chain(iter::from_fn(|| panic!("half way")));
        catch_unwind(AssertUnwindSafe(|| filter.renew(half_way))).expect_err("it panics");
        assert!(filter.may_contain(&hash(1)));
        filter.insert(&hash(3));
        filter.renew(|| [hash(1), hash(3)]);
        assert!(filter.may_contain(&hash(1)) && filter.may_contain(&hash(3)));
        assert!(!filter.may_contain(&hash(2)));
    }

    #[test]
    fn it_silts_up_by_what_is_new_and_a_renewal_mends_it() {
        let filter = Filter::new(1_000);
        for _ in 0..10 {
            (0..900).for_each(|n| filter.insert(&hash(n)));
        }
        assert!(!filter.is_silted(), "the same ones again");
        (900..1_100).for_each(|n| filter.insert(&hash(n)));
        assert!(filter.is_silted());
        filter.renew(|| (1_000..1_100).map(hash));
        assert!(!filter.is_silted());
    }

    #[test]
    fn as_many_as_planned_do_not_silt_it_up_and_one_more_does() {
        let filter = Filter::new(1);
        filter.insert(&hash(1));
        assert!(!filter.is_silted());
        filter.insert(&hash(2));
        assert!(filter.is_silted());
    }

    #[test]
    fn what_comes_while_a_renewal_runs_silts_it_up_as_well() {
        let filter = Filter::new(1_000);
        filter.renew(|| {
            (0..400).for_each(|n| filter.insert(&hash(n)));
            iter::empty()
        });
        assert!(!filter.is_silted());
        (400..1_100).for_each(|n| filter.insert(&hash(n)));
        assert!(filter.is_silted());
    }

    #[test]
    fn a_record_larger_than_planned_is_not_renewed_for_ever() {
        let filter = Filter::new(1_000);
        (0..3_000).for_each(|n| filter.insert(&hash(n)));
        assert!(filter.is_silted());
        filter.renew(|| (0..3_000).map(hash));
        assert!(!filter.is_silted());
    }

    /// The race: a renewal asks the record what is live, a writer comes with a hash just then, and
    /// a reader looks into the half that was read until now, which the next renewal clears. So:
    /// writers, a renewal after the other, what is old expires all the time, and nothing that has
    /// been inserted and is live may ever read as "no", to whoever inserted it or to anybody else.
    #[test]
    fn writers_expiry_and_renewals_at_once_never_make_a_false_no() {
        const EACH: usize = 5_000;
        const ALIVE: usize = 50;
        // Small halves: a renewal takes microseconds, and there are thousands of them.
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
                    filter.renew(|| record.read().expect("a lock").clone());
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
