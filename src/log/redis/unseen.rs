//! What was written and is yet to be read back: rules and state, no connection and no clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::id::Id;
use crate::log::Event;

/// Redis may lose what it has acknowledged: it is killed before it has synced its file, it is
/// emptied, an older copy takes its place. So each entry is remembered until it is read back.
///
/// The ids of a stream only grow, and it is read in their order. So an entry is lost where
///
/// - it was acknowledged with an id,
/// - then a read was sent,
/// - which reached that id or one after it, or the stream's end,
/// - and the entry itself was in no read up to and with this one.
///
/// A read that was sent before the acknowledgement may have been answered before the entry was
/// written, and says nothing. An entry may be read before its acknowledgement is: then it is
/// forgotten already when that comes.
///
/// A stream that begins anew may have lower ids. Then the entry at the reader's cursor is gone too,
/// and all is read again from the beginning.
#[derive(Default)]
pub(super) struct Unseen {
    /// By number, in which an entry is recognized as it is read back.
    entries: BTreeMap<u64, Entry>,
    reads: u64,
}

/// More are not remembered: nobody reads, or not as fast as others write. Then what Redis loses of
/// the oldest is lost, unless they who follow the log append it again.
const LIMIT: usize = 100_000;

struct Entry {
    events: Arc<[Event]>,
    acknowledged: Option<Acknowledged>,
}

struct Acknowledged {
    id: Id,
    /// The last that was sent before.
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
    /// It is about to be sent.
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

    /// It was not acknowledged, and will be sent under another number.
    pub(super) fn forget(&mut self, number: u64) {
        self.entries.remove(&number);
    }

    /// A read is about to be sent.
    pub(super) fn read(&mut self) -> Read {
        self.reads += 1;
        Read(self.reads)
    }

    /// Says what is lost, once, where `read` found the entries of these `numbers` and came as far
    /// as `reached`.
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

    /// Sent and acknowledged: number `n` with the id `n`.
    fn written(numbers: impl IntoIterator<Item = u64>) -> Unseen {
        let mut unseen = Unseen::default();
        for number in numbers {
            unseen.send(number, events(number));
            unseen.acknowledge(number, id(number));
        }
        unseen
    }

    #[test]
    fn what_is_read_back_is_not_lost() {
        let mut unseen = written([1, 2]);
        let read = unseen.read();
        assert!(unseen.found(read, [1], Reached::Id(id(1))).is_empty());
        let read = unseen.read();
        assert!(unseen.found(read, [2], Reached::End).is_empty());
        let read = unseen.read();
        assert!(unseen.found(read, [], Reached::End).is_empty());
    }

    #[test]
    fn a_read_to_the_end_without_it_that_began_after_the_acknowledgement_says_that_it_is_lost_once()
    {
        let mut unseen = written([1, 2]);
        let read = unseen.read();
        assert_eq!(unseen.found(read, [1], Reached::End), [events(2)]);
        let read = unseen.read();
        assert!(unseen.found(read, [], Reached::End).is_empty());
    }

    #[test]
    fn a_read_that_goes_past_it_says_that_it_is_lost_and_one_that_ends_before_it_does_not() {
        let mut unseen = written([5, 7]);
        let read = unseen.read();
        assert!(unseen.found(read, [], Reached::Id(id(4))).is_empty());
        let read = unseen.read();
        assert_eq!(unseen.found(read, [], Reached::Id(id(6))), [events(5)]);
    }

    #[test]
    fn a_read_that_was_sent_before_the_acknowledgement_says_nothing_but_the_next_does() {
        let mut unseen = Unseen::default();
        unseen.send(1, events(1));
        let early = unseen.read();
        unseen.acknowledge(1, id(1));
        assert!(unseen.found(early, [], Reached::Id(id(9))).is_empty());
        assert!(unseen.found(early, [], Reached::End).is_empty());
        // Also where the reader has come past it meanwhile.
        let next = unseen.read();
        assert_eq!(unseen.found(next, [], Reached::Id(id(10))), [events(1)]);
    }

    #[test]
    fn it_may_be_read_before_its_acknowledgement_is() {
        let mut unseen = Unseen::default();
        unseen.send(1, events(1));
        let read = unseen.read();
        assert!(unseen.found(read, [1], Reached::End).is_empty());
        unseen.acknowledge(1, id(1));
        let read = unseen.read();
        assert!(unseen.found(read, [], Reached::End).is_empty());
    }

    #[test]
    fn what_was_never_acknowledged_is_not_lost_for_it_is_sent_again() {
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
    fn the_oldest_are_forgotten_where_nobody_reads() {
        let limit = LIMIT as u64;
        let mut unseen = written(0..limit + 10);
        let read = unseen.read();
        let lost = unseen.found(read, [], Reached::End);
        assert_eq!(lost.len(), LIMIT);
        assert_eq!(lost[0], events(10));
    }
}
