use super::*;

const ADOPT_AFTER: Duration = Duration::from_secs(30);
const CALL_TIMEOUT: Duration = Duration::from_secs(35);
const SECOND: Duration = Duration::from_secs(1);
/// The shortest and the longest time after which an unclaimed token of another process is due.
const DUE: Duration = Duration::from_secs(65);
const DUE_AT_LATEST: Duration = Duration::from_secs(80);

fn hash(n: u8) -> TokenHash {
    TokenHash::of([n])
}

fn sealed(n: u8) -> SealedToken {
    SealedToken::from_bytes([n])
}

fn claimant(n: u8) -> Claimant {
    Claimant::from_bytes([n; 8])
}

/// The orphans of the first replica.
fn orphans() -> Orphans {
    Orphans::new(claimant(1), ADOPT_AFTER, CALL_TIMEOUT)
}

fn at(now: Instant) -> (Instant, SystemTime) {
    (now, SystemTime::now())
}

fn due(orphans: &mut Orphans, now: Instant) -> Vec<TokenHash> {
    orphans.take_due(now).into_iter().map(|(hash, _)| hash).collect()
}

/// The tokens of one logout come together, so that one process delivers them all.
#[tokio::test(start_paused = true)]
async fn tokens_of_one_append_are_due_together() {
    let now = Instant::now();
    let mut waits = Vec::new();
    for _ in 0..100 {
        let mut orphans = orphans();
        orphans.revoked(now, hash(1), sealed(1), false);
        orphans.revoked(now, hash(2), sealed(2), false);
        let at = orphans.next_due().expect("one is due");
        assert_eq!(due(&mut orphans, at).len(), 2);
        waits.push(at - now);
    }
    assert!(waits.iter().all(|wait| (DUE..=DUE_AT_LATEST).contains(wait)));
    assert!(waits.iter().any(|wait| *wait != waits[0]), "one of several processes comes first");
}

#[tokio::test(start_paused = true)]
async fn delivered_token_is_no_orphan() {
    let (mut orphans, now) = (orphans(), Instant::now());
    orphans.revoked(now, hash(1), sealed(1), false);
    orphans.revoked(now, hash(2), sealed(2), false);
    orphans.delivered(&hash(1));
    orphans.delivered(&hash(3));
    let next = orphans.next_due();
    orphans.revoked(now + ADOPT_AFTER, hash(2), sealed(3), false);
    assert_eq!(orphans.next_due(), next, "a second event does not change the time");
    assert_eq!(orphans.take_due(now + DUE_AT_LATEST), [(hash(2), sealed(3))]);
}

#[tokio::test(start_paused = true)]
async fn delivered_tokens_leave_nothing_behind() {
    let mut orphans = Orphans::new(claimant(1), LONGEST, LONGEST);
    for n in 0..=u8::MAX {
        for _ in 0..100 {
            orphans.revoked(Instant::now(), hash(n), sealed(n), false);
            orphans.delivered(&hash(n));
        }
    }
    assert!(orphans.due.len() < 10, "{}", orphans.due.len());
}

/// It is due at once, because no other process can have claimed it. The queue waits for the calls
/// of the process before.
#[tokio::test(start_paused = true)]
async fn replayed_token_is_due_without_other_processes() {
    let mut orphans = Orphans::new(claimant(1), Duration::ZERO, CALL_TIMEOUT);
    let now = Instant::now();
    orphans.revoked(now, hash(1), sealed(1), false);
    assert!(!orphans.is_shared());
    assert_eq!(orphans.next_due(), Some(now));
}

#[tokio::test(start_paused = true)]
async fn no_process_overtakes_a_living_one() {
    let (mut holder, mut other) = (orphans(), Orphans::new(claimant(2), ADOPT_AFTER, CALL_TIMEOUT));
    let began = Instant::now();
    holder.revoked(began, hash(1), sealed(1), true);
    other.revoked(began, hash(1), sealed(1), false);
    let (mut now, mut claims, mut length) = (began, 0, ADOPT_AFTER);
    while now < began + SECOND * 3600 * 10 {
        now = holder.next_due().expect("it is claimed again");
        assert_eq!(due(&mut holder, now), [hash(1)]);
        assert!(holder.claim(at(now), hash(1), true).is_some());
        claims += 1;
        // Both read the claim.
        assert_eq!(holder.claimed(now, hash(1), now + length, claimant(1)), Turn::Unchanged);
        assert!(due(&mut other, now).is_empty(), "{claims} claims");
        other.claimed(now, hash(1), now + length, claimant(1));
        length = (length * 2).min(LONGEST_CLAIM);
    }
    assert!(claims < 150, "{claims} claims in ten hours");
    // The holder dies. Its claim runs out, and so does a call that it may have begun.
    let runs_out = now + LONGEST_CLAIM + CALL_TIMEOUT;
    assert!(due(&mut other, runs_out - SECOND).is_empty());
    assert_eq!(due(&mut other, runs_out + ADOPT_AFTER / 2), [hash(1)]);
}

/// Both replicas claim the token at the same time, and read both claims in the order of the log.
#[tokio::test(start_paused = true)]
async fn first_to_claim_delivers() {
    let (mut first, mut second) = (orphans(), Orphans::new(claimant(2), ADOPT_AFTER, CALL_TIMEOUT));
    let now = Instant::now();
    let later = now + DUE_AT_LATEST;
    for replica in [&mut first, &mut second] {
        replica.revoked(now, hash(1), sealed(1), false);
        assert_eq!(due(replica, later), [hash(1)]);
        assert!(replica.claim(at(later), hash(1), false).is_some());
    }
    let until = later + ADOPT_AFTER;
    assert_eq!(first.claimed(later, hash(1), until, claimant(1)), Turn::Mine);
    assert_eq!(second.claimed(later, hash(1), until, claimant(1)), Turn::Others);
    assert_eq!(first.claimed(later, hash(1), until, claimant(2)), Turn::Unchanged);
    assert_eq!(second.claimed(later, hash(1), until, claimant(2)), Turn::Unchanged, "too late");
    assert!(second.next_due() >= Some(until + CALL_TIMEOUT), "it waits for the claim of the other");
}

/// The process was stopped for longer than its claim lasted, and another has taken over meanwhile.
#[tokio::test(start_paused = true)]
async fn process_that_was_overtaken_lets_go() {
    let (mut orphans, now) = (orphans(), Instant::now());
    orphans.revoked(now, hash(1), sealed(1), true);
    let later = now + DUE_AT_LATEST;
    let until = later + ADOPT_AFTER;
    assert_eq!(orphans.claimed(later, hash(1), until, claimant(2)), Turn::Others);
    assert!(orphans.next_due() >= Some(until + CALL_TIMEOUT));
    // A claim that has run out has no effect.
    assert_eq!(orphans.claimed(until, hash(1), until, claimant(3)), Turn::Unchanged);
}

/// The log was unavailable, or has lost the claim.
#[tokio::test(start_paused = true)]
async fn claim_not_read_back_is_made_again() {
    let (mut orphans, now) = (orphans(), Instant::now());
    orphans.revoked(now, hash(1), sealed(1), true);
    let first = orphans.next_due().expect("to be claimed");
    for retry in 0..3 {
        let time = first + ADOPT_AFTER / 4 * retry;
        assert_eq!(due(&mut orphans, time), [hash(1)]);
        assert!(orphans.claim(at(time), hash(1), true).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn lost_claims_are_made_again_at_once() {
    let (mut orphans, now) = (orphans(), Instant::now());
    orphans.revoked(now, hash(1), sealed(1), true);
    orphans.revoked(now, hash(2), sealed(2), false);
    orphans.claim_again(now);
    assert_eq!(due(&mut orphans, now), [hash(1)]);
}

#[tokio::test(start_paused = true)]
async fn unreadable_token_is_kept_until_delivered_or_resealed() {
    let (mut orphans, now) = (orphans(), Instant::now());
    for n in [1, 2] {
        orphans.revoked(now, hash(n), sealed(n), false);
        orphans.keep_unreadable(hash(n));
    }
    assert_eq!(orphans.next_due(), None);
    assert_eq!(orphans.sealed().len(), 2);
    orphans.delivered(&hash(1));
    orphans.revoked(now, hash(2), sealed(3), false);
    assert_eq!(orphans.take_due(now + DUE_AT_LATEST), [(hash(2), sealed(3))]);
}

#[tokio::test(start_paused = true)]
async fn unreadable_token_is_due_with_a_new_secret() {
    let (mut orphans, now) = (orphans(), Instant::now());
    orphans.revoked(now, hash(1), sealed(1), false);
    orphans.keep_unreadable(hash(1));
    orphans.revoked(now, hash(2), sealed(2), false);
    orphans.retry_unreadable(now);
    assert!(orphans.next_due() >= Some(now + DUE), "its claimant may be calling Polar");
    // Another living process claims both, and later only the second.
    let later = now + DUE;
    for (n, until) in [(1, later + SECOND), (2, later + DUE * 10)] {
        orphans.keep_unreadable(hash(n));
        assert_eq!(orphans.claimed(later, hash(n), until, claimant(2)), Turn::Others);
    }
    assert_eq!(orphans.next_due(), None);
    let much_later = later + DUE_AT_LATEST;
    orphans.retry_unreadable(much_later);
    assert_eq!(due(&mut orphans, much_later), [hash(1)]);
}

/// A double click reached two replicas at the same time, so each has the token in its queue.
#[tokio::test(start_paused = true)]
async fn one_of_two_owners_lets_go() {
    let (mut first, mut second) = (orphans(), Orphans::new(claimant(2), ADOPT_AFTER, CALL_TIMEOUT));
    let now = Instant::now();
    for replica in [&mut first, &mut second] {
        replica.revoked(now, hash(1), sealed(1), true);
    }
    let until = now + ADOPT_AFTER * 2;
    assert_eq!(first.claimed(now, hash(1), until, claimant(1)), Turn::Unchanged);
    assert_eq!(second.claimed(now, hash(1), until, claimant(1)), Turn::Others);
    assert_eq!(first.claimed(now, hash(1), until, claimant(2)), Turn::Unchanged);
}
