use super::entry::COMMITTED_AFTER;
use super::*;
use crate::delivery::backoff;

const AGAIN: CallAnswer =
    CallAnswer::TryAgain { retry_after: None, everyone: false, may_be_under_way: false };
const NO_ANSWER: CallAnswer =
    CallAnswer::TryAgain { retry_after: None, everyone: false, may_be_under_way: true };
const LIMIT: CallAnswer =
    CallAnswer::TryAgain { retry_after: Some(MINUTE), everyone: true, may_be_under_way: false };
const LIVES: CallAnswer = CallAnswer::Active { proves_for: HOUR };
const EXPIRES: CallAnswer = CallAnswer::Active { proves_for: Duration::ZERO };
const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const CALL_TIMEOUT: Duration = Duration::from_secs(35);

fn hash(name: &str) -> TokenHash {
    TokenHash::of(name)
}

/// A queue, with a clock that the test moves.
struct Desk {
    queue: Queue,
    now: Instant,
}

impl Desk {
    fn new(max_in_flight: usize) -> Self {
        Self::with(max_in_flight, false)
    }

    fn verifying(max_in_flight: usize) -> Self {
        Self::with(max_in_flight, true)
    }

    /// Begins after the first 35 s, in which no token from a log is sent.
    fn with(max_in_flight: usize, verify: bool) -> Self {
        let started = Instant::now();
        let queue = Queue::new(started, max_in_flight, 100, verify, CALL_TIMEOUT);
        Self { queue, now: started + CALL_TIMEOUT }
    }

    fn take_in(&mut self, name: &str) -> oneshot::Receiver<Delivered> {
        let delivered = self.hold(name);
        assert!(self.release(name));
        delivered
    }

    /// Adds the tokens of one logout.
    fn log_out(&mut self, names: &[&str]) -> Vec<oneshot::Receiver<Delivered>> {
        let mut group = Sibling::default();
        let held = names.iter().map(|name| self.hold_in(&mut group, name)).collect();
        let hashes: Vec<_> = names.iter().map(|name| hash(name)).collect();
        assert!(self.queue.release(self.now, &hashes).is_empty());
        held
    }

    fn hold(&mut self, name: &str) -> oneshot::Receiver<Delivered> {
        self.hold_in(&mut Sibling::default(), name)
    }

    fn hold_in(&mut self, group: &mut Sibling, name: &str) -> oneshot::Receiver<Delivered> {
        self.try_hold(group, name).expect("room")
    }

    fn try_hold(
        &mut self,
        group: &mut Sibling,
        name: &str,
    ) -> Result<oneshot::Receiver<Delivered>, NotTaken> {
        let (correlation, token) = (Correlation::new(self.now), Token::parse(name));
        self.queue.hold(self.now, group, correlation, hash(name), token.expect("a token"), None)
    }

    /// Returns whether the token is still in the queue.
    fn release(&mut self, name: &str) -> bool {
        self.queue.release(self.now, &[hash(name)]).is_empty()
    }

    fn adopt(&mut self, name: &str) -> Result<bool, NotTaken> {
        let (correlation, token) = (Correlation::new(self.now), Token::parse(name));
        self.queue.adopt(self.now, correlation, hash(name), token.expect("a token"))
    }

    fn delivered_elsewhere(&mut self, name: &str) {
        self.queue.delivered_elsewhere(self.now, &hash(name));
    }

    /// Begins all calls that may be in flight now, and returns their tokens.
    fn called(&mut self) -> Vec<String> {
        let mut called = Vec::new();
        while let Due::Call(call) = self.queue.next(self.now) {
            called.push(call.token.as_str().to_owned());
        }
        called
    }

    /// Begins one call, and returns its step.
    fn step(&mut self) -> Option<Step> {
        match self.queue.next(self.now) {
            Due::Call(call) => Some(call.step),
            Due::Wait(_) => None,
        }
    }

    fn answer(&mut self, name: &str, answer: CallAnswer) {
        self.queue.settle(self.now, hash(name), answer);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Moves the clock to one millisecond before `time` has passed.
    fn almost_pass(&mut self, time: Duration) {
        self.pass(time.saturating_sub(Duration::from_millis(1)));
    }

    /// How long there is nothing to do; `None` until the queue changes.
    fn waits(&mut self) -> Option<Duration> {
        match self.queue.next(self.now) {
            Due::Call(call) => panic!("a call about {}", call.token.as_str()),
            Due::Wait(until) => until.map(|until| until - self.now),
        }
    }
}

#[test]
fn oldest_token_is_sent_first_within_the_limit() {
    let mut desk = Desk::new(2);
    let _waiters: Vec<_> = ["a", "b", "c"].map(|name| desk.take_in(name)).into();
    assert_eq!(desk.called(), ["a", "b"]);
    assert!(desk.called().is_empty());
    desk.answer("b", CallAnswer::Confirmed);
    assert_eq!(desk.called(), ["c"]);
}

#[test]
fn waiters_for_the_same_token_share_its_outcome() {
    let mut desk = Desk::new(2);
    let mut waiters = [desk.take_in("a"), desk.take_in("a")];
    assert_eq!(desk.called(), ["a"]);
    let Settled::Ended(delivered, senders) =
        desk.queue.settle(desk.now, hash("a"), CallAnswer::Confirmed)
    else {
        panic!("the token has ended")
    };
    for sender in senders {
        sender.send(delivered).expect("a waiter");
    }
    assert!(waiters.iter_mut().all(|waiter| waiter.try_recv() == Ok(Delivered::Confirmed)));
}

/// As many as calls may be in flight.
#[test]
fn server_is_down_after_failures_in_a_row() {
    let mut desk = Desk::new(2);
    let _waiters: Vec<_> = ["a", "b", "c", "d"].map(|name| desk.take_in(name)).into();
    assert_eq!(desk.called(), ["a", "b"]);
    desk.answer("a", AGAIN);
    assert_eq!(desk.called(), ["c"], "one failure is not enough");
    desk.answer("b", AGAIN);
    desk.answer("c", AGAIN);
    desk.pass(MINUTE);
    assert_eq!(desk.called(), ["d"], "one at a time, the one that has not failed");
    desk.answer("d", CallAnswer::Confirmed);
    assert_eq!(desk.called(), ["a", "b"], "the server is back: two at once, the oldest first");
}

#[test]
fn waiting_tokens_are_ready_when_server_is_back() {
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
    desk.answer(&probe[0], CallAnswer::Confirmed);
    assert_eq!(desk.called().len(), 1, "the other token is sent in the same instant");
}

#[test]
fn new_credentials_are_tried_at_once() {
    let mut desk = Desk::new(1);
    let _waiters: Vec<_> = ["a", "b"].map(|name| desk.take_in(name)).into();
    assert_eq!(desk.called(), ["a"]);
    desk.answer("a", CallAnswer::Misconfigured);
    desk.pass(Duration::from_secs(59));
    assert!(desk.called().is_empty(), "only a person can fix that: one call a minute");
    desk.queue.try_all_now(desk.now);
    assert_eq!(desk.called(), ["b"], "the one that failed least");
    desk.answer("b", CallAnswer::Confirmed);
    assert_eq!(desk.called(), ["a"]);
}

/// Some tokens of a logout have failed, and the others are ready.
#[test]
fn new_credentials_are_tried_for_all_tokens() {
    let mut desk = Desk::new(1);
    let _logout = desk.log_out(&["a", "b"]);
    assert_eq!(desk.called(), ["a"]);
    desk.answer("a", CallAnswer::Misconfigured);
    desk.queue.try_all_now(desk.now);
    for name in ["b", "a"] {
        assert_eq!(desk.called(), [name]);
        desk.answer(name, CallAnswer::Confirmed);
    }
}

/// The call in flight was made with the old credentials. It is repeated at once.
#[test]
fn call_is_repeated_when_credentials_change_meanwhile() {
    let mut desk = Desk::new(1);
    let _waiter = desk.take_in("a");
    assert_eq!(desk.called(), ["a"]);
    desk.queue.try_all_now(desk.now);
    desk.answer("a", CallAnswer::Misconfigured);
    assert_eq!(desk.called(), ["a"]);
    desk.answer("a", CallAnswer::Misconfigured);
    assert!(desk.called().is_empty(), "the new credentials are wrong too");
}

/// The server is not down.
#[test]
fn misconfigured_call_is_repeated_once_a_minute() {
    let mut desk = Desk::new(2);
    let _waiters = ["a", "b"].map(|name| desk.take_in(name));
    assert_eq!(desk.called(), ["a", "b"]);
    desk.answer("a", CallAnswer::Misconfigured);
    desk.pass(Duration::from_millis(59_999));
    assert!(desk.called().is_empty());
    desk.pass(Duration::from_millis(1));
    assert_eq!(desk.called(), ["a"]);
}

#[test]
fn answer_without_a_call_changes_nothing() {
    let mut desk = Desk::new(1);
    let _waiter = desk.take_in("a");
    desk.answer("b", CallAnswer::Confirmed);
    desk.answer("a", CallAnswer::Confirmed);
    assert_eq!(desk.called(), ["a"]);
    desk.answer("a", CallAnswer::Confirmed);
    desk.answer("a", CallAnswer::Confirmed);
    assert_eq!((desk.queue.len(), desk.queue.in_flight.len()), (0, 0));
}

/// Another process delivers a token that is not recorded here yet. Its `Delivered` event comes
/// before the `Revoked` event that this process is about to append, and would not end it.
#[test]
fn held_token_stays_when_delivered_elsewhere() {
    let mut desk = Desk::new(1);
    let _waiter = desk.hold("a");
    desk.delivered_elsewhere("a");
    assert_eq!(desk.queue.len(), 1);
    assert!(desk.release("a"), "the token is still in the queue");
    assert_eq!(desk.called(), ["a"]);
}

#[test]
fn token_delivered_elsewhere_ends_with_its_call() {
    for answer in [AGAIN, CallAnswer::Misconfigured, CallAnswer::Refused, CallAnswer::Confirmed] {
        let mut desk = Desk::new(1);
        let _waiter = desk.take_in("a");
        assert_eq!(desk.called(), ["a"]);
        desk.delivered_elsewhere("a");
        assert_eq!(desk.queue.len(), 1, "until the call is answered");
        desk.answer("a", answer);
        assert_eq!((desk.queue.len(), desk.queue.in_flight.len()), (0, 0), "{answer:?}");
        desk.pass(MINUTE * 60);
        assert!(desk.called().is_empty(), "{answer:?}");
    }
}

/// Other processes may be sending the adopted tokens.
#[test]
fn adopted_tokens_come_after_own_tokens() {
    let mut desk = Desk::new(1);
    assert_eq!([desk.adopt("adopted"), desk.adopt("adopted_too")], [Ok(true), Ok(true)]);
    let _waiters = [desk.take_in("own"), desk.take_in("own_too")];
    for name in ["own", "own_too", "adopted", "adopted_too"] {
        assert_eq!(desk.called(), [name]);
        desk.answer(name, CallAnswer::Confirmed);
    }
}

#[test]
fn adopt_returns_whether_the_token_is_new() {
    let mut desk = Desk::new(1);
    assert_eq!(desk.adopt("a"), Ok(true));
    assert_eq!(desk.adopt("a"), Ok(false), "the token is in the queue");
    assert_eq!(desk.called(), ["a"]);
    desk.answer("a", CallAnswer::Confirmed);
    assert_eq!(desk.adopt("a"), Err(NotTaken::Ended));
    assert_eq!(desk.queue.len(), 0);
}

/// The server asks for a pause, then the queue makes a longer pause of its own, and then the app
/// replaces the credentials. The pause that the server asked for must stay.
#[test]
fn pause_of_the_server_stays_when_credentials_change() {
    let mut desk = Desk::new(4);
    let names = ["a", "b", "c", "d"];
    let _waiters: Vec<_> = names.map(|name| desk.take_in(name)).into();
    assert_eq!(desk.called().len(), 4);
    let seconds = Duration::from_secs(30);
    desk.answer(
        "a",
        CallAnswer::TryAgain {
            retry_after: Some(seconds),
            everyone: true,
            may_be_under_way: false,
        },
    );
    for name in &names[1..] {
        desk.answer(name, CallAnswer::Misconfigured);
    }
    desk.queue.try_all_now(desk.now);
    desk.pass(Duration::from_millis(29_999));
    assert!(desk.called().is_empty(), "a call while paused");
    desk.pass(Duration::from_millis(1));
    assert!(!desk.called().is_empty());
}

/// Even if all other tokens are tried at once.
#[test]
fn token_waits_as_long_as_the_server_asked() {
    let mut desk = Desk::new(1);
    let _waiters: Vec<_> = ["asked", "other"].map(|name| desk.take_in(name)).into();
    assert_eq!(desk.called(), ["asked"]);
    desk.answer(
        "asked",
        CallAnswer::TryAgain {
            retry_after: Some(MINUTE),
            everyone: false,
            may_be_under_way: false,
        },
    );
    desk.pass(backoff::FIRST);
    assert_eq!(desk.called(), ["other"]);
    desk.answer("other", CallAnswer::Confirmed);
    assert!(desk.called().is_empty(), "the server is back, and has asked for a minute");
    desk.queue.try_all_now(desk.now);
    desk.pass(Duration::from_millis(59_499));
    assert!(desk.called().is_empty());
    desk.pass(Duration::from_millis(1));
    assert_eq!(desk.called(), ["asked"]);
}

/// If the server is down, and also if it asks for fewer calls.
#[test]
fn pauses_of_the_queue_grow_to_a_minute() {
    for everyone in [false, true] {
        let mut longest = [Duration::ZERO; 9];
        for _ in 0..300 {
            let mut desk = Desk::new(1);
            let _waiter = desk.take_in("a");
            for longest in &mut longest {
                desk.pass(MINUTE);
                assert_eq!(desk.called(), ["a"]);
                desk.answer(
                    "a",
                    CallAnswer::TryAgain { retry_after: None, everyone, may_be_under_way: false },
                );
                let until = desk.queue.paused_until(desk.now).expect("a pause");
                *longest = (*longest).max(until - desk.now);
            }
        }
        for (longest, at_most) in longest.iter().zip([0.5, 1., 2., 4., 8., 16., 32., 60., 60.]) {
            let seconds = longest.as_secs_f64();
            assert!((at_most * 0.9..=at_most).contains(&seconds), "{seconds} of {at_most}");
        }
    }
}

/// The server limits calls and sends `Retry-After: 0`.
#[test]
fn queue_pauses_even_if_retry_after_is_zero() {
    let at_once = CallAnswer::TryAgain {
        retry_after: Some(Duration::ZERO),
        everyone: true,
        may_be_under_way: false,
    };
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
fn waiters_that_are_gone_take_no_memory() {
    let mut desk = Desk::new(1);
    for _ in 0..100_000 {
        drop(desk.take_in("a"));
    }
    let group = desk.queue.groups.values_mut().next().expect("a group");
    let waiters = &group.entry(&hash("a")).expect("an entry").waiters;
    assert!(waiters.capacity() < 100, "{}", waiters.capacity());
}

/// Promise 6: two calls about one pair at once freeze Polar's worker.
#[test]
fn tokens_of_one_logout_are_sent_in_sequence() {
    let mut desk = Desk::new(4);
    let _first = desk.log_out(&["refresh", "access"]);
    let _second = desk.log_out(&["refresh_too", "access_too"]);
    assert_eq!(desk.called(), ["refresh", "refresh_too"], "several logouts at once");
    desk.answer("refresh", CallAnswer::Confirmed);
    assert_eq!(desk.called(), ["access"], "at once after the answer");
    desk.answer("refresh_too", AGAIN);
    assert_eq!(desk.called(), ["access_too"], "a failure that was answered holds back no other");
    desk.answer("access_too", CallAnswer::Confirmed);
    assert!(desk.called().is_empty());
    desk.pass(SECOND);
    assert_eq!(desk.called(), ["refresh_too"]);
}

#[test]
fn group_waits_for_call_timeout_after_no_answer() {
    let mut desk = Desk::new(4);
    let _pair = desk.log_out(&["refresh", "access"]);
    assert_eq!(desk.called(), ["refresh"]);
    desk.pass(SECOND);
    desk.answer("refresh", NO_ANSWER);
    let _other = desk.take_in("other");
    assert_eq!(desk.called(), ["other"], "another logout does not wait");
    desk.answer("other", CallAnswer::Confirmed);
    desk.queue.try_all_now(desk.now);
    assert!(desk.called().is_empty(), "new credentials do not end the wait");
    desk.almost_pass(Duration::from_secs(34));
    assert!(desk.called().is_empty());
    assert_eq!(desk.waits(), Some(Duration::from_millis(1)));
    desk.pass(Duration::from_millis(1));
    assert_eq!(desk.called().len(), 1);
}

#[test]
fn logouts_that_share_a_token_share_a_group() {
    let mut desk = Desk::new(4);
    let _first = desk.log_out(&["access"]);
    assert_eq!(desk.called(), ["access"]);
    let _second = desk.log_out(&["refresh", "access"]);
    assert!(desk.called().is_empty(), "they may be one pair");
    desk.answer("access", CallAnswer::Confirmed);
    assert_eq!(desk.called(), ["refresh"]);
    desk.answer("refresh", CallAnswer::Confirmed);
    assert_eq!((desk.queue.len(), desk.queue.groups.len()), (0, 0));
}

#[test]
fn logout_joins_the_groups_of_all_its_tokens() {
    let mut desk = Desk::new(4);
    let _first = desk.take_in("access");
    let _second = desk.take_in("refresh");
    let _both = desk.log_out(&["refresh", "access", "third"]);
    for name in ["access", "refresh", "third"] {
        assert_eq!(desk.called().len(), 1, "{name} and the others are one group now");
        let called = desk.queue.in_flight[0].hash;
        desk.queue.settle(desk.now, called, CallAnswer::Confirmed);
    }
    assert_eq!((desk.queue.len(), desk.queue.groups.len()), (0, 0));
}

/// Another logout joins the groups while the tokens of this one are still being added.
#[test]
fn tokens_of_logout_stay_together_when_groups_join() {
    let mut desk = Desk::new(4);
    let mut first = Sibling::default();
    let _a = desk.hold_in(&mut first, "a");
    let _b = desk.take_in("b");
    let _joining = desk.log_out(&["b", "a"]);
    let _c = desk.hold_in(&mut first, "c");
    assert!(desk.release("c"));
    let mut called = Vec::new();
    for _ in 0..3 {
        let now = desk.called();
        assert_eq!(now.len(), 1, "{now:?}");
        desk.answer(&now[0], CallAnswer::Confirmed);
        called.extend(now);
    }
    called.sort();
    assert_eq!(called, ["a", "b", "c"]);
}

/// Its outcome is not known, so it must not be recorded as delivered.
#[test]
fn held_token_has_not_ended_when_taken_over() {
    let mut desk = Desk::new(1);
    let _first = desk.take_in("a");
    let _again = desk.hold("a");
    desk.delivered_elsewhere("a");
    assert!(desk.queue.release(desk.now, &[hash("a")]).is_empty());
}

/// The joined group waits for the calls of both groups.
#[test]
fn groups_join_while_calls_are_in_flight() {
    let mut desk = Desk::new(4);
    let _first = desk.log_out(&["a", "b"]);
    let _second = desk.log_out(&["c", "d"]);
    assert_eq!(desk.called(), ["a", "c"]);
    let _joining = desk.log_out(&["b", "d"]);
    desk.answer("a", CallAnswer::Confirmed);
    assert!(desk.called().is_empty(), "c is still in flight");
    desk.answer("c", NO_ANSWER);
    desk.almost_pass(CALL_TIMEOUT);
    assert!(desk.called().is_empty(), "Polar may still be working on c");
    desk.pass(Duration::from_millis(1));
    assert_eq!(desk.called().len(), 1);
}

/// Their groups are not known: any two of them may be one pair.
#[test]
fn adopted_tokens_are_sent_one_at_a_time() {
    let mut desk = Desk::new(4);
    for name in ["a", "b", "c"] {
        assert_eq!(desk.adopt(name), Ok(true));
    }
    assert_eq!(desk.called(), ["a"]);
    let _own = ["own", "own_too"].map(|name| desk.take_in(name));
    assert_eq!(desk.called(), ["own", "own_too"], "own tokens do not wait");
    desk.answer("a", NO_ANSWER);
    assert!(desk.called().is_empty(), "Polar may still be working on its pair");
    assert_eq!(desk.waits(), Some(CALL_TIMEOUT));
    desk.pass(CALL_TIMEOUT);
    assert_eq!(desk.called(), ["b"]);
    desk.answer("b", CallAnswer::Confirmed);
    assert_eq!(desk.called(), ["c"], "at once after an answer");
}

/// Polar may still be working on a call of the previous process.
#[test]
fn adopted_token_waits_for_the_call_timeout() {
    let mut desk = Desk::new(4);
    desk.now -= CALL_TIMEOUT;
    assert_eq!(desk.adopt("a"), Ok(true));
    let _own = desk.take_in("own");
    assert_eq!(desk.called(), ["own"]);
    assert_eq!(desk.waits(), Some(CALL_TIMEOUT));
    desk.pass(CALL_TIMEOUT);
    assert_eq!(desk.called(), ["a"]);
}

/// Tokens that never failed come first.
#[test]
fn token_that_keeps_failing_delays_no_other() {
    let mut desk = Desk::new(2);
    let mut waiters = vec![desk.take_in("poison"), desk.take_in("a")];
    let mut calls_of_poison = 0;
    for round in 0..100 {
        waiters.extend(["b", "c", "d"].map(|name| desk.take_in(&format!("{name}{round}"))));
        desk.pass(MINUTE);
        let mut called = desk.called();
        assert_eq!(called.len(), 2, "the server is not down");
        while !called.is_empty() {
            for name in called {
                let is_poison = name == "poison";
                calls_of_poison += usize::from(is_poison);
                desk.answer(&name, if is_poison { AGAIN } else { CallAnswer::Confirmed });
            }
            called = desk.called();
        }
        assert_eq!(desk.queue.len(), 1);
    }
    assert_eq!(calls_of_poison, 100, "the failing token is not forgotten");
}

/// While new tokens keep coming, those that failed get every eighth call.
#[test]
fn every_eighth_call_takes_the_oldest() {
    let mut desk = Desk::new(1);
    let mut waiters: Vec<_> = ["poison", "a"].map(|name| desk.take_in(name)).into();
    assert_eq!(desk.called(), ["poison"]);
    desk.answer("poison", AGAIN);
    desk.pass(MINUTE);
    waiters.extend((0..100).map(|n| desk.take_in(&n.to_string())).take(90));
    let mut calls_of_poison = Vec::new();
    for call in 2..=48 {
        let called = desk.called();
        let [name] = &called[..] else { panic!("one at a time") };
        if name == "poison" {
            calls_of_poison.push(call);
        }
        desk.answer(name, if name == "poison" { AGAIN } else { CallAnswer::Confirmed });
        desk.pass(MINUTE);
    }
    assert_eq!(calls_of_poison, [8, 16, 24, 32, 40, 48]);
}

/// One call may be in flight.
#[test]
fn failing_tokens_do_not_starve_the_others() {
    let mut desk = Desk::new(1);
    desk.queue.limit = usize::MAX;
    let mut waiters: Vec<_> = (0..40).map(|n| desk.take_in(&format!("poison{n}"))).collect();
    let (mut healthy, mut delivered) = (0, 0);
    for second in 0..4 * 3600 {
        if second % 2 == 0 {
            waiters.push(desk.take_in(&format!("healthy{healthy}")));
            healthy += 1;
        }
        loop {
            let called = desk.called();
            let Some(name) = called.first() else { break };
            if name.starts_with("poison") {
                // Each failing call takes five seconds.
                desk.pass(SECOND * 5);
                desk.answer(name, AGAIN);
                break;
            }
            desk.answer(name, CallAnswer::Confirmed);
            delivered += 1;
        }
        desk.pass(SECOND);
    }
    assert!(delivered > healthy * 9 / 10, "{delivered} of {healthy}");
}

/// It counts against no token.
#[test]
fn answer_that_concerns_everyone_pauses_the_queue() {
    let mut desk = Desk::new(2);
    let mut waiters: Vec<_> = ["a", "b"].map(|name| desk.take_in(name)).into();
    for round in 0..3 {
        assert_eq!(desk.called().first().map(String::as_str), Some("a"), "the oldest");
        desk.answer("a", LIMIT);
        assert!(desk.called().is_empty());
        assert!(desk.queue.is_unresponsive(desk.now));
        desk.queue.try_all_now(desk.now);
        assert!(desk.called().is_empty(), "the server asked for the pause");
        desk.almost_pass(MINUTE);
        assert!(desk.called().is_empty());
        desk.pass(Duration::from_millis(1));
        // Other tokens are confirmed in between.
        desk.answer("b", CallAnswer::Confirmed);
        desk.answer(&format!("b{}", round - 1), CallAnswer::Confirmed);
        waiters.push(desk.take_in(&format!("b{round}")));
    }
}

/// Hung calls in every slot stop all delivery, which is right, since Polar hangs. But logouts must
/// not wait for it.
#[test]
fn polar_is_unresponsive_when_all_calls_hang() {
    let mut desk = Desk::new(2);
    let _waiters = ["a", "b", "c"].map(|name| desk.take_in(name));
    assert_eq!(desk.called(), ["a", "b"]);
    assert_eq!(desk.waits(), Some(HUNG_AFTER), "then Polar becomes unresponsive");
    desk.almost_pass(HUNG_AFTER);
    assert!(!desk.queue.is_unresponsive(desk.now));
    desk.pass(Duration::from_millis(1));
    assert!(desk.queue.is_unresponsive(desk.now));
    assert_eq!(desk.waits(), None);
    desk.answer("a", CallAnswer::Confirmed);
    assert!(!desk.queue.is_unresponsive(desk.now));
    assert_eq!(desk.called(), ["c"]);
    assert!(!desk.queue.is_unresponsive(desk.now), "one of the calls has just begun");
}

#[test]
fn polar_is_unresponsive_while_it_is_down() {
    let mut desk = Desk::new(2);
    let _waiters = ["a", "b", "c"].map(|name| desk.take_in(name));
    assert_eq!(desk.called(), ["a", "b"]);
    desk.answer("a", AGAIN);
    assert!(!desk.queue.is_unresponsive(desk.now), "one failure is not enough");
    desk.answer("b", AGAIN);
    assert!(desk.queue.is_unresponsive(desk.now));
    desk.pass(MINUTE);
    assert_eq!(desk.called(), ["c"]);
    assert!(desk.queue.is_unresponsive(desk.now), "until it has answered");
    desk.answer("c", CallAnswer::Confirmed);
    assert!(!desk.queue.is_unresponsive(desk.now));
}

/// A pair that was active before its revocation and is inactive after it is revoked.
#[test]
fn verification_introspects_before_and_after() {
    let mut desk = Desk::verifying(1);
    let _waiter = desk.take_in("a");
    assert_eq!(desk.step(), Some(Step::AskBefore));
    desk.answer("a", LIVES);
    for _ in 0..3 {
        assert_eq!(desk.step(), Some(Step::Revoke));
        desk.answer("a", CallAnswer::Confirmed);
        assert_eq!(desk.step(), None, "Polar has not committed yet");
        desk.pass(COMMITTED_AFTER);
        assert_eq!(desk.step(), Some(Step::AskAfter));
        desk.answer("a", LIVES);
        desk.pass(MINUTE);
    }
    assert_eq!(desk.step(), Some(Step::Revoke));
    desk.answer("a", CallAnswer::Confirmed);
    desk.pass(COMMITTED_AFTER);
    assert_eq!(desk.step(), Some(Step::AskAfter));
    desk.answer("a", CallAnswer::Inactive);
    assert_eq!(desk.queue.len(), 0);
    assert!(desk.queue.confirmed.contains(&hash("a")));
}

/// "Inactive" may mean "expired", so the revocation is sent twice instead.
#[test]
fn revocation_is_sent_again_when_introspection_proves_nothing() {
    for before in [CallAnswer::Inactive, EXPIRES, AGAIN] {
        let mut desk = Desk::verifying(1);
        let _waiter = desk.take_in("a");
        assert_eq!(desk.step(), Some(Step::AskBefore));
        desk.answer("a", before);
        desk.pass(SECOND);
        assert_eq!(desk.step(), Some(Step::Revoke));
        desk.answer("a", CallAnswer::Confirmed);
        assert_eq!(desk.step(), None);
        desk.pass(COMMITTED_AFTER);
        assert_eq!(desk.step(), Some(Step::RevokeAgain));
        desk.answer("a", AGAIN);
        desk.pass(MINUTE);
        assert_eq!(desk.step(), Some(Step::RevokeAgain));
        desk.answer("a", CallAnswer::Confirmed);
        assert_eq!(desk.queue.len(), 0, "{before:?}");
    }
}

/// The access token expires between the two introspections.
#[test]
fn inactive_proves_nothing_after_the_access_token_expires() {
    let mut desk = Desk::verifying(1);
    let _waiter = desk.take_in("a");
    for answer in [CallAnswer::Active { proves_for: SECOND }, CallAnswer::Confirmed] {
        assert!(desk.step().is_some());
        desk.answer("a", answer);
    }
    desk.pass(SECOND);
    assert_eq!(desk.step(), Some(Step::AskAfter));
    desk.answer("a", CallAnswer::Inactive);
    assert_eq!(desk.step(), Some(Step::RevokeAgain));
}

/// Until the access token may have expired. Then the revocation is sent a second time instead.
#[test]
fn failed_introspection_is_repeated_while_it_can_prove() {
    let mut desk = Desk::verifying(1);
    let _waiter = desk.take_in("a");
    for answer in [LIVES, CallAnswer::Confirmed] {
        assert!(desk.step().is_some());
        desk.answer("a", answer);
    }
    desk.pass(COMMITTED_AFTER);
    for failure in [CallAnswer::Misconfigured, AGAIN, LIMIT, NO_ANSWER] {
        assert_eq!(desk.step(), Some(Step::AskAfter), "before {failure:?}");
        desk.answer("a", failure);
        desk.pass(MINUTE);
    }
    assert_eq!(desk.step(), Some(Step::AskAfter));
    desk.pass(HOUR);
    desk.answer("a", AGAIN);
    desk.pass(MINUTE);
    assert_eq!(desk.step(), Some(Step::RevokeAgain));
    desk.answer("a", CallAnswer::Confirmed);
    assert_eq!(desk.queue.len(), 0);
}

/// The next token of the logout is sent during the commit window of the first.
#[test]
fn commit_window_delays_no_other_token() {
    let mut desk = Desk::verifying(1);
    let _pair = desk.log_out(&["refresh", "access"]);
    for answer in [LIVES, CallAnswer::Confirmed] {
        assert_eq!(desk.called(), ["refresh"]);
        desk.answer("refresh", answer);
    }
    assert_eq!(desk.called(), ["access"]);
}

/// Otherwise each lost commit would be found by a call of its own, a minute after the previous one.
#[test]
fn server_is_not_down_after_many_lost_commits() {
    let mut desk = Desk::verifying(2);
    let names = ["a", "b", "c", "d", "e", "f"];
    let _waiters = names.map(|name| desk.take_in(name));
    let (began, mut lost) = (desk.now, Vec::new());
    while desk.queue.len() > 0 {
        while let Due::Call(call) = desk.queue.next(desk.now) {
            let answer = match call.step {
                Step::AskBefore => LIVES,
                Step::AskAfter if !lost.contains(&call.hash) => {
                    lost.push(call.hash);
                    LIVES
                }
                Step::AskAfter => CallAnswer::Inactive,
                Step::Revoke | Step::RevokeAgain => CallAnswer::Confirmed,
            };
            desk.queue.settle(desk.now, call.hash, answer);
        }
        assert!(!desk.queue.is_unresponsive(desk.now));
        desk.pass(COMMITTED_AFTER);
    }
    assert_eq!(lost.len(), names.len());
    assert!(desk.now - began < SECOND * 2);
}

/// But the limit does not apply to tokens from a log.
#[test]
fn queue_takes_no_logout_when_full_or_closed() {
    let mut desk = Desk::new(1);
    desk.queue.limit = 1;
    for name in ["a", "a", "b"] {
        desk.adopt(name).expect("room");
    }
    assert_eq!(desk.queue.len(), 2);
    let mut group = Sibling::default();
    assert_eq!(desk.try_hold(&mut group, "c").err(), Some(NotTaken::NoRoom));
    let mut desk = Desk::new(1);
    desk.queue.close();
    assert_eq!(desk.try_hold(&mut group, "c").err(), Some(NotTaken::NoRoom));
}

#[test]
fn token_is_held_until_it_is_released() {
    let mut desk = Desk::new(2);
    let _waiter = desk.hold("a");
    assert!(desk.called().is_empty());
    assert_eq!(desk.queue.len(), 1, "the token has its place");
    assert!(desk.release("a"));
    assert_eq!(desk.called(), ["a"]);
    assert!(desk.release("a"), "the token stays in flight");
    assert!(desk.called().is_empty());
    desk.answer("a", CallAnswer::Confirmed);
    assert!(!desk.release("a"), "the token has ended");
}

/// It is ready, waiting or in flight.
#[test]
fn token_is_removed_when_delivered_elsewhere() {
    let mut desk = Desk::new(1);
    let _waiters = ["waiting", "in_flight", "ready"].map(|name| desk.take_in(name));
    assert_eq!(desk.called(), ["waiting"]);
    desk.answer("waiting", AGAIN);
    assert_eq!(desk.called(), Vec::<String>::new(), "the server is down");
    desk.pass(SECOND);
    assert_eq!(desk.called(), ["in_flight"]);
    for name in ["waiting", "ready", "in_flight", "unknown"] {
        desk.delivered_elsewhere(name);
    }
    desk.answer("in_flight", AGAIN);
    let Queue { ready, waiting, groups, .. } = &desk.queue;
    assert!(ready.is_empty() && waiting.is_empty() && groups.is_empty());
    assert_eq!(desk.queue.len(), 0);
    desk.pass(MINUTE * 60);
    assert!(desk.called().is_empty());
}
