use super::*;
use crate::token::TokenHash;

fn event(n: usize) -> Vec<Event> {
    vec![Event::Delivered { hash: TokenHash::of(n.to_be_bytes()) }]
}

fn id(millis: u64) -> Id {
    Id { millis, number: 0 }
}

fn take(outbox: &mut Outbox, count: usize) -> Vec<(u64, Parcel)> {
    let mut left = count;
    outbox.take(|_| {
        let more = left > 0;
        left = left.saturating_sub(1);
        more
    })
}

fn is_done(future: &mut LogFuture<'static, ()>) -> bool {
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(done) => {
            done.expect("kept");
            true
        }
        std::task::Poll::Pending => false,
    }
}

fn for_now(kept: &mut oneshot::Receiver<Kept>) -> LogFuture<'static, ()> {
    match kept.try_recv() {
        Ok(Kept::ForNow(written)) => written,
        other => panic!("{other:?}"),
    }
}

#[test]
fn append_is_kept_once_it_is_written() {
    let mut outbox = Outbox::default();
    let mut kept = outbox.append(event(1)).expect("room");
    let (number, parcel) = take(&mut outbox, 1).pop().expect("a parcel");
    assert!(kept.try_recv().is_err());
    outbox.written(number, parcel, id(1));
    assert!(matches!(kept.try_recv(), Ok(Kept::Durably)));
}

/// They get new numbers.
#[test]
fn appends_put_back_are_taken_first_in_order() {
    let mut outbox = Outbox::default();
    for n in 0..4 {
        drop(outbox.append(event(n)).expect("room"));
    }
    let taken = take(&mut outbox, 2);
    let numbers: Vec<_> = taken.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 1]);
    outbox.put_back(taken);
    for (n, (number, parcel)) in take(&mut outbox, 9).into_iter().enumerate() {
        assert_eq!(*parcel.events, *event(n));
        assert_eq!(number, n as u64 + 2);
    }
}

/// Until all held appends are written, `append` returns `Kept::ForNow`.
#[test]
fn appends_return_for_now_while_redis_is_down() {
    let mut outbox = Outbox::default();
    let mut before = outbox.append(event(1)).expect("room");
    let taken = take(&mut outbox, 1);
    outbox.put_back(taken);
    outbox.away();
    let mut during = outbox.append(event(2)).expect("room");
    let (mut before, mut during) = (for_now(&mut before), for_now(&mut during));

    let (number, parcel) = take(&mut outbox, 1).pop().expect("a parcel");
    outbox.written(number, parcel, id(1));
    assert!(is_done(&mut before));
    assert!(!outbox.back());
    assert!(!is_done(&mut during));
    drop(for_now(&mut outbox.append(event(3)).expect("room")));

    for (number, parcel) in take(&mut outbox, 9) {
        outbox.written(number, parcel, id(2));
    }
    assert!(is_done(&mut during));
    assert!(outbox.back());
    let mut after = outbox.append(event(4)).expect("room");
    assert!(after.try_recv().is_err(), "an answer before it is written");
}

/// Appends in flight count too.
#[test]
fn appends_are_refused_beyond_the_limit() {
    let mut outbox = Outbox::default();
    for n in 0..LIMIT {
        drop(outbox.append(event(n)).expect("room"));
    }
    assert!(outbox.append(event(0)).is_err());
    let mut taken = take(&mut outbox, 2);
    assert!(outbox.append(event(0)).is_err());
    let (number, parcel) = taken.pop().expect("a parcel");
    outbox.written(number, parcel, id(1));
    drop(outbox.append(event(0)).expect("room for one"));
    assert!(outbox.append(event(0)).is_err());
}

#[test]
fn lost_entries_are_written_again() {
    let mut outbox = Outbox::default();
    drop(outbox.append(event(1)).expect("room"));
    let (number, parcel) = take(&mut outbox, 1).pop().expect("a parcel");
    outbox.written(number, parcel, id(1));
    let read = outbox.unseen.read();
    assert_eq!(outbox.found(read, [], Reached::End), 1);
    let (again, parcel) = take(&mut outbox, 1).pop().expect("a parcel");
    assert_eq!(*parcel.events, *event(1));
    assert_ne!(again, number);
}

#[test]
fn held_append_fails_when_the_outbox_is_dropped() {
    let mut outbox = Outbox::default();
    outbox.away();
    let mut held = for_now(&mut outbox.append(event(1)).expect("room"));
    drop(outbox);
    let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
    assert!(matches!(held.as_mut().poll(context), std::task::Poll::Ready(Err(_))));
}
