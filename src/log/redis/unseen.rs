//! Detects lost entries, by remembering each until it is read back: rules and state, without a
//! connection or a clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::id::Id;
use crate::log::Event;

/// The written entries that were not read back yet.
///
/// Redis may lose acknowledged entries: it is killed before it syncs its file, it is emptied, or it
/// is replaced by an older copy. So each entry is remembered until it is read back.
///
/// The ids of a stream only grow, and entries are read in the order of their ids. So an entry is
/// lost if
///
/// - it was acknowledged with an id,
/// - a read was sent after that,
/// - the read reached that id, a later one, or the end of the stream,
/// - and neither this read nor an earlier one returned the entry.
///
/// A read that was sent before the acknowledgement proves nothing, because it may have been
/// answered before the entry was written. An entry that is read before its acknowledgement is
/// forgotten at once.
///
/// A new stream may begin with lower ids. Then the entry at the reader's cursor is missing too, and
/// the stream is read again from the beginning.
#[derive(Default)]
pub(super) struct Unseen {
    /// By number, which identifies an entry when it is read back.
    entries: BTreeMap<u64, Entry>,
    reads: u64,
}

/// How many entries are remembered. More than these come if the log is not read, or is read more
/// slowly than it is written. The oldest are then forgotten: one that Redis loses stays lost unless
/// a follower of the log appends it again.
const LIMIT: usize = 100_000;

struct Entry {
    events: Arc<[Event]>,
    acknowledged: Option<Acknowledged>,
}

struct Acknowledged {
    id: Id,
    /// The last read that was sent before the acknowledgement.
    read: Read,
}

/// A read, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Read(u64);

/// How far a read came.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reached {
    Id(Id),
    End,
}

impl Unseen {
    /// Must be called before an entry is sent.
    pub(super) fn send(&mut self, number: u64, events: Arc<[Event]>) {
        while self.entries.len() >= LIMIT {
            self.entries.pop_first();
        }
        self.entries.insert(number, Entry { events, acknowledged: None });
    }

    pub(super) fn acknowledge(&mut self, number: u64, id: Id) {
        let read = Read(self.reads);
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.acknowledged = Some(Acknowledged { id, read });
        }
    }

    /// Forgets an entry that was not acknowledged and will be sent again with another number.
    pub(super) fn forget(&mut self, number: u64) {
        self.entries.remove(&number);
    }

    /// Must be called before a read is sent.
    pub(super) fn read(&mut self) -> Read {
        self.reads += 1;
        Read(self.reads)
    }

    /// Takes the result of `read`, which returned the entries with these `numbers` and came as far
    /// as `reached`. Returns the events of the entries that are lost, each only once.
    pub(super) fn found(
        &mut self,
        read: Read,
        numbers: impl IntoIterator<Item = u64>,
        reached: Reached,
    ) -> Vec<Arc<[Event]>> {
        for number in numbers {
            self.entries.remove(&number);
        }
        let mut lost = Vec::new();
        self.entries.retain(|_, entry| {
            let is_lost = entry.acknowledged.as_ref().is_some_and(|acknowledged| {
                acknowledged.read < read && reached.includes(acknowledged.id)
            });
            if is_lost {
                lost.push(Arc::clone(&entry.events));
            }
            !is_lost
        });
        lost
    }
}

impl Reached {
    fn includes(self, id: Id) -> bool {
        match self {
            Self::Id(last) => id <= last,
            Self::End => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenHash;

    fn id(millis: u64) -> Id {
        Id { millis, number: 0 }
    }

    fn events(n: u64) -> Arc<[Event]> {
        Arc::new([Event::Delivered { hash: TokenHash::of(n.to_be_bytes()) }])
    }

    /// Entries that are sent and acknowledged: number `n` with the id `n`.
    fn written(numbers: impl IntoIterator<Item = u64>) -> Unseen {
        let mut unseen = Unseen::default();
        for number in numbers {
            unseen.send(number, events(number));
            unseen.acknowledge(number, id(number));
        }
        unseen
    }

    #[test]
    fn entry_that_is_read_back_is_not_lost() {
        let mut unseen = written([1, 2]);
        let read = unseen.read();
        assert!(unseen.found(read, [1], Reached::Id(id(1))).is_empty());
        let read = unseen.read();
        assert!(unseen.found(read, [2], Reached::End).is_empty());
        let read = unseen.read();
        assert!(unseen.found(read, [], Reached::End).is_empty());
    }

    #[test]
    fn entry_is_lost_once_at_the_end() {
        let mut unseen = written([1, 2]);
        let read = unseen.read();
        assert_eq!(unseen.found(read, [1], Reached::End), [events(2)]);
        let read = unseen.read();
        assert!(unseen.found(read, [], Reached::End).is_empty());
    }

    #[test]
    fn entry_is_lost_when_a_read_passes_it() {
        let mut unseen = written([5, 7]);
        let read = unseen.read();
        assert!(unseen.found(read, [], Reached::Id(id(4))).is_empty());
        let read = unseen.read();
        assert_eq!(unseen.found(read, [], Reached::Id(id(6))), [events(5)]);
    }

    #[test]
    fn read_sent_before_the_acknowledgement_proves_nothing() {
        let mut unseen = Unseen::default();
        unseen.send(1, events(1));
        let early = unseen.read();
        unseen.acknowledge(1, id(1));
        assert!(unseen.found(early, [], Reached::Id(id(9))).is_empty());
        assert!(unseen.found(early, [], Reached::End).is_empty());
        // The next read proves it, even though the reader has passed the entry.
        let next = unseen.read();
        assert_eq!(unseen.found(next, [], Reached::Id(id(10))), [events(1)]);
    }

    #[test]
    fn entry_may_be_read_before_its_acknowledgement() {
        let mut unseen = Unseen::default();
        unseen.send(1, events(1));
        let read = unseen.read();
        assert!(unseen.found(read, [1], Reached::End).is_empty());
        unseen.acknowledge(1, id(1));
        let read = unseen.read();
        assert!(unseen.found(read, [], Reached::End).is_empty());
    }

    #[test]
    fn entry_without_acknowledgement_is_not_lost() {
        let mut unseen = Unseen::default();
        unseen.send(1, events(1));
        let read = unseen.read();
        assert!(unseen.found(read, [], Reached::End).is_empty());
        unseen.forget(1);
        unseen.acknowledge(1, id(1));
        let read = unseen.read();
        assert!(unseen.found(read, [], Reached::End).is_empty());
    }

    #[test]
    fn oldest_entries_are_forgotten_beyond_the_limit() {
        let limit = LIMIT as u64;
        let mut unseen = written(0..limit + 10);
        let read = unseen.read();
        let lost = unseen.found(read, [], Reached::End);
        assert_eq!(lost.len(), LIMIT);
        assert_eq!(lost[0], events(10));
    }
}
