//! Races in which the filter must never say a false "no". It says one as soon as a line is broken.

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::BROKEN;
use crate::filter::Filter;

/// One hash is enough, because hashes do not affect each other.
///
/// In a filter of one word it is in that word, and in one of two words in the second.
const HASH: [u8; 32] = *b"well sp\xf0ead, as a digest is, bit";

/// A reader chooses a half, and is delayed by two renewals. The second renewal clears that half.
#[test]
fn slow_reader_finds_hash_across_two_renewals() {
    slow_reader(|| Filter::new(1), 1);
}

/// The same while the filter grows, and HASH moves to another word: the first renewal gives the
/// other half two words, and the second one this half.
#[test]
fn slow_reader_finds_hash_while_the_filter_grows() {
    slow_reader(|| Filter::new(8), 4);
}

/// With renewals for so many live hashes.
fn slow_reader(filter: fn() -> Filter, live: usize) {
    model(move || {
        let filter = Arc::new(filter());
        filter.insert(&HASH);
        let reader = spawn(&filter, |filter| {
            assert_maybe(filter);
            assert_maybe(filter);
        });
        filter.renew(live, || [HASH]);
        filter.renew(live, || [HASH]);
        reader.join().expect("a reader");
    });
}

/// A writer adds to the record and then to the filter, while the filter grows.
#[test]
fn writer_finds_its_hash_while_the_filter_grows() {
    model(|| {
        let shared =
            Arc::new(Shared { filter: growing(), record: Record(AtomicBool::new(false)), live: 4 });
        let writer = spawn(&shared, |Shared { filter, record, .. }| {
            record.put();
            filter.insert(&HASH);
            assert_maybe(filter);
        });
        shared.renew();
        shared.renew();
        writer.join().expect("a writer");
        assert_maybe(&shared.filter);
    });
}

/// A writer adds to the record and then to the filter, while two renewals run.
#[test]
fn writer_finds_its_hash_across_two_renewals() {
    model(|| {
        let shared = Shared::new();
        let writer = spawn(&shared, |Shared { filter, record, .. }| {
            record.put();
            filter.insert(&HASH);
            assert_maybe(filter);
        });
        shared.renew();
        shared.renew();
        writer.join().expect("a writer");
        assert_maybe(&shared.filter);
    });
}

/// A reader hears from the writer that it is done, while a renewal runs.
#[test]
fn informed_reader_finds_hash_during_a_renewal() {
    model(|| {
        let shared = Arc::new((Shared::new(), AtomicBool::new(false)));
        let writer = spawn(&shared, |(shared, done)| {
            shared.record.put();
            shared.filter.insert(&HASH);
            done.store(true, Ordering::Release);
        });
        let reader = spawn(&shared, |(shared, done)| {
            if done.load(Ordering::Acquire) {
                assert_maybe(&shared.filter);
            }
        });
        shared.0.renew();
        writer.join().expect("a writer");
        reader.join().expect("a reader");
        assert_maybe(&shared.0.filter);
    });
}

/// Two threads ask for a renewal at once, with a writer between them.
#[test]
fn writer_finds_its_hash_during_concurrent_renewals() {
    model(|| {
        let shared = Shared::new();
        let other = spawn(&shared, Shared::renew);
        let writer = spawn(&shared, |Shared { filter, record, .. }| {
            record.put();
            filter.insert(&HASH);
            assert_maybe(filter);
        });
        shared.renew();
        other.join().expect("another");
        writer.join().expect("a writer");
        assert_maybe(&shared.filter);
    });
}

/// The filter's rule for callers forbids this order.
#[test]
#[should_panic(expected = "a false no")]
fn hash_is_lost_when_filter_precedes_record() {
    model(|| {
        let shared = Shared::new();
        let writer = spawn(&shared, |Shared { filter, record, .. }| {
            filter.insert(&HASH);
            record.put();
        });
        shared.renew();
        writer.join().expect("a writer");
        assert_maybe(&shared.filter);
    });
}

/// Each of these lines is needed by a test above: without it, the model finds a false "no".
mod broken {
    use super::*;

    #[test]
    #[should_panic(expected = "a false no")]
    fn second_look_is_needed() {
        without("second look", slow_reader_finds_hash_across_two_renewals);
    }

    #[test]
    #[should_panic(expected = "a false no")]
    fn fence_before_the_second_look_is_needed() {
        without("fence before the second look", slow_reader_finds_hash_across_two_renewals);
    }

    #[test]
    #[should_panic(expected = "a false no")]
    fn fence_before_clearing_is_needed() {
        without("fence before clearing", slow_reader_finds_hash_across_two_renewals);
    }

    #[test]
    #[should_panic(expected = "a false no")]
    fn fence_before_growing_is_needed() {
        without("fence before clearing", slow_reader_finds_hash_while_the_filter_grows);
    }

    #[test]
    #[should_panic(expected = "a false no")]
    fn generation_must_be_acquired() {
        without("generation acquired", slow_reader_finds_hash_across_two_renewals);
    }

    #[test]
    #[should_panic(expected = "a false no")]
    fn generation_must_be_released() {
        without("generation released", slow_reader_finds_hash_across_two_renewals);
    }

    #[test]
    #[should_panic(expected = "a false no")]
    fn both_halves_must_be_written() {
        without("both halves written", writer_finds_its_hash_across_two_renewals);
    }

    fn without(name: &'static str, story: fn()) {
        BROKEN.set(name);
        story();
    }
}

fn model(story: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    // A bound of 10 takes a minute and finds nothing more. `LOOM_MAX_PREEMPTIONS` sets another
    // bound.
    builder.preemption_bound.get_or_insert(6);
    builder.check(story);
}

fn spawn<T>(shared: &Arc<T>, run: fn(&T)) -> thread::JoinHandle<()>
where
    T: Send + Sync + 'static,
{
    let shared = Arc::clone(shared);
    thread::spawn(move || run(&shared))
}

/// A filter of one word with HASH. The next renewal lets it grow to two words.
fn growing() -> Filter {
    let filter = Filter::new(8);
    filter.insert(&HASH);
    filter
}

fn assert_maybe(filter: &Filter) {
    assert!(filter.may_contain(&HASH), "a false no");
}

/// A filter and the record behind it.
struct Shared {
    filter: Filter,
    record: Record,
    /// How many hashes a renewal plans for.
    live: usize,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self { filter: Filter::new(1), record: Record(AtomicBool::new(false)), live: 1 })
    }

    fn renew(&self) {
        self.filter.renew(self.live, || self.record.live());
    }
}

/// Stands in for moka, and holds one hash at most.
struct Record(AtomicBool);

impl Record {
    fn put(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn live(&self) -> Option<[u8; 32]> {
        self.0.load(Ordering::Acquire).then_some(HASH)
    }
}
