use super::*;

const AGAIN: Answer = Answer::TryAgain { retry_after: None, everyone: false };
const MINUTE: Duration = Duration::from_secs(60);

fn hash(name: &str) -> TokenHash {
    TokenHash::of(name)
}

/// A queue with a clock that a test moves.
struct Desk {
    queue: Queue,
    now: Instant,
}

impl Desk {
    fn new(max_in_flight: usize) -> Self {
        Self { queue: Queue::new(max_in_flight, 100, false), now: Instant::now() }
    }

    fn take_in(&mut self, name: &str) -> oneshot::Receiver<Delivered> {
        let delivered = self.hold(name);
        assert!(self.queue.release(&hash(name)));
        delivered
    }

    fn hold(&mut self, name: &str) -> oneshot::Receiver<Delivered> {
        let (waiter, delivered) = oneshot::channel();
        let token = Token::parse(name).expect("a token");
        self.queue.hold(Correlation::new(self.now), hash(name), token, None, waiter).expect("room");
        delivered
    }

    fn adopt(&mut self, name: &str) -> Result<bool, NotTaken> {
        self.queue.adopt(
            Correlation::new(self.now),
            hash(name),
            Token::parse(name).expect("a token"),
        )
    }

    /// The tokens that are called now, as many as there may be.
    fn called(&mut self) -> Vec<String> {
        let mut called = Vec::new();
        while let Next::Call(call) = self.queue.next(self.now) {
            called.push(call.token.as_str().to_owned());
        }
        called
    }

    fn answer(&mut self, name: &str, answer: Answer) {
        self.queue.settle(self.now, hash(name), answer);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

#[test]
fn the_oldest_goes_first_and_no_more_than_may_be_in_flight() {
    let mut desk = Desk::new(2);
    let _waiters: Vec<_> = ["a", "b", "c"].map(|name| desk.take_in(name)).into();
    assert_eq!(desk.called(), ["a", "b"]);
    assert!(desk.called().is_empty());
    desk.answer("b", Answer::Confirmed);
    assert_eq!(desk.called(), ["c"]);
}

#[test]
fn who_waits_for_the_same_token_shares_its_outcome() {
    let mut desk = Desk::new(2);
    let mut waiters = [desk.take_in("a"), desk.take_in("a")];
    assert_eq!(desk.called(), ["a"]);
    let Settled::Ended(delivered, senders) =
        desk.queue.settle(desk.now, hash("a"), Answer::Confirmed)
    else {
        panic!("it has ended")
    };
    for sender in senders {
        sender.send(delivered).expect("somebody waits");
    }
    assert!(waiters.iter_mut().all(|waiter| waiter.try_recv() == Ok(Delivered::Confirmed)));
}

#[test]
fn as_many_failures_in_a_row_as_may_be_in_flight_mean_that_the_server_is_down() {
    let mut desk = Desk::new(2);
    let _waiters: Vec<_> = ["a", "b", "c", "d"].map(|name| desk.take_in(name)).into();
    assert_eq!(desk.called(), ["a", "b"]);
    desk.answer("a", AGAIN);
    assert_eq!(desk.called(), ["c"], "one failure is nothing");
    desk.answer("b", AGAIN);
    desk.answer("c", AGAIN);
    desk.pass(MINUTE);
    assert_eq!(desk.called(), ["d"], "one at a time, which has not failed yet");
    desk.answer("d", Answer::Confirmed);
    assert_eq!(desk.called(), ["a", "b"], "back: the oldest first again, two at once");
}

#[test]
fn once_the_server_is_back_nobody_waits_for_its_own_time_any_more() {
    let mut desk = Desk::new(1);
    let _waiters: Vec<_> = ["a", "b"].map(|name| desk.take_in(name)).into();
    for _ in 0..10 {
        for name in desk.called() {
            desk.answer(&name, AGAIN);
        }
        desk.pass(MINUTE);
    }
    let probe = desk.called();
    assert_eq!(probe.len(), 1);
    desk.answer(&probe[0], Answer::Confirmed);
    assert_eq!(desk.called().len(), 1, "the other is called in the same instant");
}

#[test]
fn a_suspect_is_called_beside_the_others_and_says_nothing_about_the_server() {
    let mut desk = Desk::new(2);
    let mut waiters = vec![desk.take_in("suspect"), desk.take_in("a")];
    assert_eq!(desk.called(), ["suspect", "a"]);
    desk.answer("suspect", AGAIN);
    desk.answer("a", Answer::Confirmed);
    desk.pass(MINUTE);
    assert_eq!(desk.called(), ["suspect"]);
    desk.answer("suspect", AGAIN);
    let mut calls_of_suspect = 0;
    for round in 0..100 {
        waiters.extend(["b", "c", "d"].map(|name| desk.take_in(&format!("{name}{round}"))));
        desk.pass(MINUTE);
        let mut called = desk.called();
        assert_eq!(called.len(), 2, "the server is not down");
        while !called.is_empty() {
            for name in called {
                let is_suspect = name == "suspect";
                calls_of_suspect += usize::from(is_suspect);
                desk.answer(&name, if is_suspect { AGAIN } else { Answer::Confirmed });
            }
            called = desk.called();
        }
        assert_eq!(desk.queue.len(), 1);
    }
    assert!(calls_of_suspect > 30, "and the suspect not forgotten: {calls_of_suspect}");
}

#[test]
fn while_others_are_ready_a_suspect_is_called_after_eight_of_them_and_never_two_at_once() {
    let mut desk = Desk::new(3);
    let mut waiters: Vec<_> = ["suspect", "suspect_too", "a"].map(|it| desk.take_in(it)).into();
    for _ in 0..2 {
        assert_eq!(desk.called()[..2], ["suspect", "suspect_too"]);
        desk.answer("suspect", AGAIN);
        desk.answer("suspect_too", AGAIN);
        desk.answer("a", Answer::Confirmed);
        desk.pass(MINUTE);
    }
    waiters.extend((0..80).map(|n| desk.take_in(&n.to_string())));
    assert_eq!(desk.called(), ["suspect", "0", "1"]);
    desk.answer("1", Answer::Confirmed);
    for n in 2..22 {
        assert_eq!(desk.called(), [n.to_string()], "while the other suspect is in flight");
        desk.answer(&n.to_string(), Answer::Confirmed);
    }
    desk.answer("suspect", AGAIN);
    assert_eq!(desk.called(), ["suspect_too", "22"]);
    desk.answer("suspect_too", AGAIN);
    desk.pass(MINUTE);
    for n in 23..30 {
        assert_eq!(desk.called(), [n.to_string()], "the eighth since then is 29");
        desk.answer(&n.to_string(), Answer::Confirmed);
    }
    assert_eq!(desk.called(), ["suspect"]);
}

#[test]
fn a_first_failure_makes_no_suspect_nor_does_a_second_where_none_succeeded_in_between() {
    let mut desk = Desk::new(1);
    let _waiters = ["a", "b", "c"].map(|name| desk.take_in(name));
    assert_eq!(desk.called(), ["a"]);
    desk.answer("a", Answer::Confirmed);
    for name in ["b", "c", "b", "c"] {
        assert_eq!(desk.called(), [name]);
        desk.answer(name, AGAIN);
        assert!(desk.queue.paused_until() > Some(desk.now), "it speaks of the server: {name}");
        desk.pass(MINUTE);
    }
}

#[test]
fn what_concerns_everyone_pauses_the_queue_and_makes_nobody_a_suspect() {
    let limit = Answer::TryAgain { retry_after: Some(MINUTE), everyone: true };
    let mut desk = Desk::new(2);
    let mut waiters: Vec<_> = ["a", "b"].map(|name| desk.take_in(name)).into();
    for round in 0..3 {
        assert_eq!(desk.called().first().map(String::as_str), Some("a"), "the oldest");
        desk.answer("a", limit);
        assert!(desk.called().is_empty());
        desk.queue.try_all_now(desk.now);
        assert!(desk.called().is_empty(), "the server asked for that pause");
        desk.pass(Duration::from_millis(59_999));
        assert!(desk.called().is_empty());
        desk.pass(Duration::from_millis(1));
        // Others succeed in between.
        desk.answer("b", Answer::Confirmed);
        desk.answer(&format!("b{}", round - 1), Answer::Confirmed);
        waiters.push(desk.take_in(&format!("b{round}")));
    }
    assert_eq!(desk.queue.ready_suspects.len() + desk.queue.suspects_in_flight, 0);
}

#[test]
fn mended_credentials_are_tried_at_once() {
    let mut desk = Desk::new(1);
    let _waiters: Vec<_> = ["a", "b"].map(|name| desk.take_in(name)).into();
    assert_eq!(desk.called(), ["a"]);
    desk.answer("a", Answer::Misconfigured);
    desk.pass(Duration::from_secs(59));
    assert!(desk.called().is_empty(), "only a person can mend that: once a minute");
    desk.queue.try_all_now(desk.now);
    assert_eq!(desk.called(), ["a"]);
}

#[test]
fn what_only_a_person_can_mend_is_asked_for_once_a_minute_also_while_the_server_is_not_down() {
    let mut desk = Desk::new(2);
    let _waiters = ["a", "b"].map(|name| desk.take_in(name));
    assert_eq!(desk.called(), ["a", "b"]);
    desk.answer("a", Answer::Misconfigured);
    desk.pass(Duration::from_millis(59_999));
    assert!(desk.called().is_empty());
    desk.pass(Duration::from_millis(1));
    assert_eq!(desk.called(), ["a"]);
}

#[test]
fn mended_credentials_clear_a_suspect_and_it_is_tried_at_once() {
    let mut desk = Desk::new(2);
    let _waiters = ["suspect", "a"].map(|name| desk.take_in(name));
    for _ in 0..2 {
        assert_eq!(desk.called()[0], "suspect");
        desk.answer("suspect", AGAIN);
        desk.answer("a", Answer::Confirmed);
        assert!(desk.called().is_empty());
        desk.pass(MINUTE);
    }
    assert_eq!(desk.called(), ["suspect"]);
    desk.answer("suspect", AGAIN);
    desk.queue.try_all_now(desk.now);
    assert_eq!(desk.called(), ["suspect"]);
}

#[test]
fn a_confirmed_token_is_looked_at_again_where_that_was_asked_for() {
    let mut desk = Desk::new(1);
    desk.queue = Queue::new(1, 100, true);
    let _waiter = desk.take_in("a");
    let step = |desk: &mut Desk| match desk.queue.next(desk.now) {
        Next::Call(call) => Some(call.step),
        Next::Wait(_) => None,
    };
    for _ in 0..3 {
        desk.pass(MINUTE);
        assert_eq!(step(&mut desk), Some(Step::Revoke));
        desk.answer("a", Answer::Confirmed);
        assert_eq!(step(&mut desk), None, "Polar has not committed yet");
        desk.pass(COMMITTED_AFTER);
        assert_eq!(step(&mut desk), Some(Step::Confirm));
        desk.answer("a", Answer::StillActive);
    }
    desk.pass(MINUTE);
    assert_eq!(step(&mut desk), Some(Step::Revoke));
    desk.answer("a", Answer::Confirmed);
    desk.pass(COMMITTED_AFTER);
    assert_eq!(step(&mut desk), Some(Step::Confirm));
    desk.answer("a", Answer::Confirmed);
    assert_eq!(desk.queue.len(), 0);
    assert!(desk.queue.confirmed.contains(&hash("a")));
}

/// Otherwise each would be found out by a call of its own, a minute after the one before.
#[test]
fn many_lost_commits_do_not_mean_that_the_server_is_down() {
    let mut desk = Desk::new(2);
    desk.queue = Queue::new(2, 100, true);
    let names = ["a", "b", "c", "d", "e", "f"];
    let _waiters = names.map(|name| desk.take_in(name));
    let all = |desk: &mut Desk, answer| {
        let mut called = Vec::new();
        for _ in 0..names.len() / 2 {
            for name in desk.called() {
                desk.answer(&name, answer);
                called.push(name);
            }
        }
        called.sort();
        called
    };
    for answer in [Answer::StillActive, Answer::Confirmed] {
        assert_eq!(all(&mut desk, Answer::Confirmed), names);
        desk.pass(COMMITTED_AFTER);
        assert_eq!(all(&mut desk, answer), names);
        desk.pass(backoff::FIRST);
    }
    assert_eq!(desk.queue.len(), 0);
}

#[test]
fn an_answer_nobody_asked_for_changes_nothing() {
    let mut desk = Desk::new(1);
    let _waiter = desk.take_in("a");
    desk.answer("b", Answer::Confirmed);
    desk.answer("a", Answer::Confirmed);
    assert_eq!(desk.called(), ["a"]);
    desk.answer("a", Answer::Confirmed);
    desk.answer("a", Answer::Confirmed);
    assert_eq!((desk.queue.len(), desk.queue.in_flight), (0, 0));
}

#[test]
fn a_closed_queue_takes_nothing_in_but_what_a_log_has_kept_it_does_whatever_the_limit() {
    let mut queue = Queue::new(1, 1, false);
    let token = Token::parse("t").expect("a token");
    queue.adopt(Correlation::new(Instant::now()), hash("a"), token.clone()).expect("room");
    queue.adopt(Correlation::new(Instant::now()), hash("a"), token.clone()).expect("room");
    queue.adopt(Correlation::new(Instant::now()), hash("b"), token.clone()).expect("room");
    assert_eq!(queue.len(), 2);
    let (waiter, _delivered) = oneshot::channel();
    let refused =
        queue.hold(Correlation::new(Instant::now()), hash("c"), token.clone(), None, waiter);
    assert_eq!(refused, Err(NotTaken::NoRoom));
    let mut queue = Queue::new(1, 10, false);
    queue.close();
    let (waiter, _delivered) = oneshot::channel();
    let refused = queue.hold(Correlation::new(Instant::now()), hash("c"), token, None, waiter);
    assert_eq!(refused, Err(NotTaken::NoRoom));
}

#[test]
fn a_token_is_held_until_it_is_released() {
    let mut desk = Desk::new(2);
    let _waiter = desk.hold("a");
    assert!(desk.called().is_empty());
    assert_eq!(desk.queue.len(), 1, "but it has its place");
    assert!(desk.queue.release(&hash("a")));
    assert_eq!(desk.called(), ["a"]);
    assert!(desk.queue.release(&hash("a")), "and stays in flight");
    assert!(desk.called().is_empty());
    desk.answer("a", Answer::Confirmed);
    assert!(!desk.queue.release(&hash("a")), "it has ended");
}

#[test]
fn what_is_delivered_elsewhere_is_no_work_any_more_be_it_ready_waiting_or_a_suspect() {
    let mut desk = Desk::new(1);
    let mut waiters: Vec<_> = ["suspect", "a"].map(|name| desk.take_in(name)).into();
    // It fails, the other succeeds, and it fails again.
    for (name, answer) in [("suspect", AGAIN), ("a", Answer::Confirmed), ("suspect", AGAIN)] {
        assert_eq!(desk.called(), [name]);
        desk.answer(name, answer);
        desk.pass(MINUTE);
    }
    assert_eq!(desk.called(), ["suspect"]);
    desk.answer("suspect", AGAIN);
    waiters.extend(["in_flight", "ready"].map(|name| desk.take_in(name)));
    desk.pass(MINUTE);
    assert_eq!(desk.called(), ["in_flight"]);
    assert_eq!((desk.queue.ready.len(), desk.queue.ready_suspects.len()), (1, 1));
    desk.answer("in_flight", AGAIN);
    assert_eq!(desk.queue.waiting.len(), 1);
    for name in ["suspect", "ready", "in_flight", "unknown"] {
        desk.queue.delivered_elsewhere(&hash(name));
    }
    let Queue { ready, ready_suspects, waiting, .. } = &desk.queue;
    assert!(ready.is_empty() && ready_suspects.is_empty() && waiting.is_empty());
    assert_eq!(desk.queue.len(), 0);
    desk.pass(MINUTE * 60);
    assert!(desk.called().is_empty());
}

/// The race: another process delivers what the log is yet to have from here. Its note comes before
/// ours, and would not close what we are about to append.
#[test]
fn a_token_that_is_held_goes_on_though_it_is_delivered_elsewhere() {
    let mut desk = Desk::new(1);
    let _waiter = desk.hold("a");
    desk.queue.delivered_elsewhere(&hash("a"));
    assert_eq!(desk.queue.len(), 1);
    assert!(desk.queue.release(&hash("a")), "it is on its way still");
    assert_eq!(desk.called(), ["a"]);
}

#[test]
fn one_in_flight_that_is_delivered_elsewhere_ends_with_its_call_whatever_comes_of_it() {
    for answer in [AGAIN, Answer::Misconfigured, Answer::Refused, Answer::Confirmed] {
        let mut desk = Desk::new(1);
        let _waiter = desk.take_in("a");
        assert_eq!(desk.called(), ["a"]);
        desk.queue.delivered_elsewhere(&hash("a"));
        assert_eq!(desk.queue.len(), 1, "until it is answered");
        desk.answer("a", answer);
        assert_eq!((desk.queue.len(), desk.queue.in_flight), (0, 0), "{answer:?}");
        desk.pass(MINUTE * 60);
        assert!(desk.called().is_empty(), "{answer:?}");
    }
}

#[test]
fn what_was_adopted_comes_after_our_own_since_others_may_be_sending_it() {
    let mut desk = Desk::new(1);
    assert_eq!([desk.adopt("adopted"), desk.adopt("adopted_too")], [Ok(true), Ok(true)]);
    let _waiters = [desk.take_in("own"), desk.take_in("own_too")];
    for name in ["own", "own_too", "adopted", "adopted_too"] {
        assert_eq!(desk.called(), [name]);
        desk.answer(name, Answer::Confirmed);
    }
}

#[test]
fn adopting_says_whether_it_was_news_and_that_polar_has_confirmed_it_already() {
    let mut desk = Desk::new(1);
    assert_eq!(desk.adopt("a"), Ok(true));
    assert_eq!(desk.adopt("a"), Ok(false), "it is on its way");
    assert_eq!(desk.called(), ["a"]);
    desk.answer("a", Answer::Confirmed);
    assert_eq!(desk.adopt("a"), Err(NotTaken::Confirmed));
    assert_eq!(desk.queue.len(), 0);
}

/// The race: the server asks for a pause, then the queue makes a longer one of its own, and then
/// somebody mends the credentials. What the server asked for must stay.
#[test]
fn a_pause_of_our_own_does_not_hide_the_one_that_the_server_asked_for() {
    let mut desk = Desk::new(4);
    let names = ["a", "b", "c", "d"];
    let _waiters: Vec<_> = names.map(|name| desk.take_in(name)).into();
    assert_eq!(desk.called().len(), 4);
    let seconds = Duration::from_secs(30);
    desk.answer("a", Answer::TryAgain { retry_after: Some(seconds), everyone: true });
    for name in &names[1..] {
        desk.answer(name, Answer::Misconfigured);
    }
    desk.queue.try_all_now(desk.now);
    desk.pass(Duration::from_millis(29_999));
    assert!(desk.called().is_empty(), "a call while paused");
    desk.pass(Duration::from_millis(1));
    assert!(!desk.called().is_empty());
}

#[test]
fn what_the_server_asked_not_to_be_called_for_waits_also_where_all_others_are_tried_at_once() {
    let mut desk = Desk::new(1);
    let _waiters: Vec<_> = ["asked", "other"].map(|name| desk.take_in(name)).into();
    assert_eq!(desk.called(), ["asked"]);
    desk.answer("asked", Answer::TryAgain { retry_after: Some(MINUTE), everyone: false });
    desk.pass(backoff::FIRST);
    assert_eq!(desk.called(), ["other"]);
    desk.answer("other", Answer::Confirmed);
    assert!(desk.called().is_empty(), "the server is back, and has asked for a minute");
    desk.queue.try_all_now(desk.now);
    desk.pass(Duration::from_millis(59_499));
    assert!(desk.called().is_empty());
    desk.pass(Duration::from_millis(1));
    assert_eq!(desk.called(), ["asked"]);
}

#[test]
fn the_pauses_of_a_queue_whose_server_is_down_or_wants_fewer_calls_grow_to_a_minute() {
    for everyone in [false, true] {
        let mut longest = [Duration::ZERO; 9];
        for _ in 0..300 {
            let mut desk = Desk::new(1);
            let _waiter = desk.take_in("a");
            for longest in &mut longest {
                desk.pass(MINUTE);
                assert_eq!(desk.called(), ["a"]);
                desk.answer("a", Answer::TryAgain { retry_after: None, everyone });
                let until = desk.queue.paused_until().expect("it is paused");
                *longest = (*longest).max(until - desk.now);
            }
        }
        for (longest, at_most) in longest.iter().zip([0.5, 1., 2., 4., 8., 16., 32., 60., 60.]) {
            let seconds = longest.as_secs_f64();
            assert!((at_most * 0.9..=at_most).contains(&seconds), "{seconds} of {at_most}");
        }
    }
}

#[test]
fn to_come_back_at_once_is_no_answer_to_too_many_calls() {
    let at_once = Answer::TryAgain { retry_after: Some(Duration::ZERO), everyone: true };
    let mut desk = Desk::new(1);
    let _waiter = desk.take_in("a");
    let mut calls = 0;
    for _ in 0..6000 {
        for name in desk.called() {
            calls += 1;
            desk.answer(&name, at_once);
        }
        desk.pass(Duration::from_millis(10));
    }
    assert!(calls < 60, "{calls} calls in a minute of refusals");
}

#[test]
fn who_waits_no_longer_takes_no_memory() {
    let mut desk = Desk::new(1);
    for _ in 0..100_000 {
        drop(desk.take_in("a"));
    }
    let waiters = &desk.queue.entries[&hash("a")].waiters;
    assert!(waiters.capacity() < 100, "{}", waiters.capacity());
}

#[test]
fn suspects_do_not_starve_the_others_where_only_one_may_be_in_flight() {
    let mut desk = Desk::new(1);
    let mut waiters = Vec::new();
    // Suspects, each of which holds the line for five seconds.
    for n in 0..40 {
        waiters.push(desk.take_in(&format!("suspect{n}")));
    }
    let (mut healthy, mut delivered) = (0, 0);
    for second in 0..4 * 3600 {
        if second % 2 == 0 {
            waiters.push(desk.take_in(&format!("healthy{healthy}")));
            healthy += 1;
            // The limit of the queue is not what is looked at here.
            desk.queue.limit = usize::MAX;
        }
        loop {
            let called = desk.called();
            let Some(name) = called.first() else { break };
            if name.starts_with("suspect") {
                desk.pass(Duration::from_secs(5));
                desk.answer(name, AGAIN);
                break;
            }
            desk.answer(name, Answer::Confirmed);
            delivered += 1;
        }
        desk.pass(Duration::from_secs(1));
    }
    assert!(delivered > healthy * 9 / 10, "{delivered} of {healthy}");
}
