//! How many entries to read at once: rules and state, no connection and no clock.

/// As many as Redis is asked for at most; more at once are no faster.
const LONGEST: usize = 1_000;

/// An entry may have a thousand events. No more than about so many are to be in memory at once, and
/// on a slow line.
const EVENTS: usize = 10_000;

pub(super) struct BatchSize(usize);

impl BatchSize {
    /// Slow at first, since nothing is known of the entries.
    pub(super) fn new() -> Self {
        Self(100)
    }

    /// How many to ask for now. Where nothing is heard of them, it is fewer the next time, so that a
    /// line which is too slow for many gets through with some.
    pub(super) fn ask(&mut self) -> usize {
        let count = self.0;
        self.0 = (count / 8).max(1);
        count
    }

    /// So many were asked for, and had so many events.
    pub(super) fn answered(&mut self, count: usize, events: usize) {
        let next = if events > EVENTS { count * EVENTS / events } else { count * 2 };
        self.0 = next.clamp(1, LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_one_event_are_soon_read_a_thousand_at_once() {
        let mut pace = BatchSize::new();
        for _ in 0..4 {
            let count = pace.ask();
            pace.answered(count, count);
        }
        assert_eq!(pace.ask(), LONGEST);
    }

    #[test]
    fn entries_of_many_events_are_read_a_few_at_once() {
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
    fn what_is_not_answered_is_asked_for_in_smaller_pieces_down_to_one() {
        let mut pace = BatchSize(LONGEST);
        let asked: Vec<_> = (0..5).map(|_| pace.ask()).collect();
        assert_eq!(asked, [1_000, 125, 15, 1, 1]);
        pace.answered(1, 1);
        assert_eq!(pace.ask(), 2);
    }
}
