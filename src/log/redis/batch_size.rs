//! Decides how many entries to read at once: rules and state, without a connection or a clock.

/// The most entries of one read. Larger reads are not faster.
const LONGEST: usize = 1_000;

/// About how many events one read may return, because of memory and slow connections. An entry may
/// have a thousand events.
const EVENTS: usize = 10_000;

pub(super) struct BatchSize(usize);

impl BatchSize {
    /// Begins with few entries, because their size is not known yet.
    pub(super) fn new() -> Self {
        Self(100)
    }

    /// How many entries to ask for now. If no answer comes, the next call returns fewer, so that a
    /// slow connection can transfer them in time.
    pub(super) fn ask(&mut self) -> usize {
        let count = self.0;
        self.0 = (count / 8).max(1);
        count
    }

    /// Takes the result of a read of `count` entries, which had `events` events.
    pub(super) fn answered(&mut self, count: usize, events: usize) {
        let next = if events > EVENTS { count * EVENTS / events } else { count * 2 };
        self.0 = next.clamp(1, LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Within four reads.
    #[test]
    fn small_entries_are_read_a_thousand_at_once() {
        let mut pace = BatchSize::new();
        for _ in 0..4 {
            let count = pace.ask();
            pace.answered(count, count);
        }
        assert_eq!(pace.ask(), LONGEST);
    }

    #[test]
    fn large_entries_are_read_a_few_at_once() {
        let mut pace = BatchSize::new();
        for _ in 0..10 {
            let count = pace.ask();
            pace.answered(count, count * 1_000);
        }
        assert!((5..=20).contains(&pace.ask()));
        pace.answered(1, 1_000_000);
        assert_eq!(pace.ask(), 1);
    }

    #[test]
    fn reads_without_an_answer_shrink_to_one_entry() {
        let mut pace = BatchSize(LONGEST);
        let asked: Vec<_> = (0..5).map(|_| pace.ask()).collect();
        assert_eq!(asked, [1_000, 125, 15, 1, 1]);
        pace.answered(1, 1);
        assert_eq!(pace.ask(), 2);
    }
}
