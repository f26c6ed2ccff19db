//! The contract of every revocation log: one set of cases, run over each log.

use std::any::Any;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use support::folder::Folder;
use support::log::{HOUR, Told, delivered, hash, keep, pending, revoked, soon, told};
use support::redis::RedisServer;
use tower_polar_logout::log::{Claimant, Event, Kept, RevocationLog, SealedToken};
use tower_polar_logout::testing::MemoryLog;
use tower_polar_logout::{Journal, RedisLog};

/// Handles of one log.
struct Log {
    open: Box<dyn Fn() -> Box<dyn RevocationLog>>,
    /// Several processes may have it open and follow each other's events.
    is_shared: bool,
    _keeper: Box<dyn Any>,
}

impl Log {
    fn open(&self) -> Box<dyn RevocationLog> {
        let log = (self.open)();
        log.assign("client").expect("assigned");
        log
    }
}

async fn journal(name: &str) -> Log {
    let folder = Folder::new(&format!("contract-journal-{name}"));
    let path = folder.file("journal");
    let open = move || Box::new(Journal::open(&path).expect("a journal")) as Box<dyn RevocationLog>;
    Log { open: Box::new(open), is_shared: false, _keeper: Box::new(folder) }
}

async fn redis(name: &str) -> Log {
    let server = RedisServer::start(&format!("contract-redis-{name}")).await;
    let url = server.url();
    let open = move || Box::new(RedisLog::connect(&url).expect("a URL")) as Box<dyn RevocationLog>;
    Log { open: Box::new(open), is_shared: true, _keeper: Box::new(server) }
}

async fn memory(_: &str) -> Log {
    let log = MemoryLog::new();
    let open = move || Box::new(log.clone()) as Box<dyn RevocationLog>;
    Log { open: Box::new(open), is_shared: true, _keeper: Box::new(()) }
}

macro_rules! contract {
    ($($kind:ident)*) => {
        $(mod $kind {
            cases!($kind:
                empty_log_is_current_at_once
                appended_events_are_followed_by_every_handle
                delivered_token_is_no_longer_pending
                later_expiry_wins_and_repetition_is_harmless
                sealed_bytes_come_back_unchanged
                expiry_comes_back_at_most_a_second_later
                extreme_expiries_are_kept
                empty_append_is_kept
                append_is_kept_if_its_future_is_dropped
                simultaneous_appends_are_all_kept
                events_after_a_cursor_are_followed
                claims_reach_every_handle_in_one_order
            );
        })*
    };
}

macro_rules! cases {
    ($kind:ident: $($case:ident)*) => {
        $(#[tokio::test]
        async fn $case() {
            super::$case(super::$kind(stringify!($case)).await).await;
        })*
    };
}

contract!(memory journal redis);

async fn empty_log_is_current_at_once(log: Log) {
    let followed = soon(log.open().follow(None)).await.expect("an answer");
    assert!(followed.is_current() && !followed.has_lost());
    assert!(followed.events().is_empty() && followed.skipped() == 0);
}

/// By the handle that appended them, and by one that is opened later.
async fn appended_events_are_followed_by_every_handle(log: Log) {
    let first = log.open();
    keep(&*first, vec![revoked(1), pending(2)]).await;
    keep(&*first, vec![revoked(3)]).await;
    let by_the_same = told(&*first).await;
    drop(first);
    for seen in [by_the_same, told(&*log.open()).await] {
        assert!(seen.has(1) && seen.has(2) && seen.has(3) && seen.expiries.len() == 3);
        assert!(!seen.is_pending(1) && seen.is_pending(2) && !seen.is_pending(3));
        assert_eq!((seen.skipped, seen.losses), (0, 0));
    }
}

async fn delivered_token_is_no_longer_pending(log: Log) {
    let first = log.open();
    keep(&*first, vec![pending(1), pending(2), pending(3)]).await;
    keep(&*first, vec![delivered(1)]).await;
    keep(&*first, vec![delivered(3), delivered(3), delivered(4)]).await;
    drop(first);
    let seen = told(&*log.open()).await;
    assert!(seen.has(1) && seen.has(2) && seen.has(3));
    assert!(!seen.is_pending(1) && seen.is_pending(2) && !seen.is_pending(3));
}

/// In different orders, two replicas could each take their own claim for the first. A log of one
/// process keeps no claims.
async fn claims_reach_every_handle_in_one_order(log: Log) {
    if !log.is_shared {
        return;
    }
    let claimant = |n: usize| Claimant::from_bytes([n.to_le_bytes()[0]; 8]);
    let claim = |n: usize, by: usize| {
        let until = SystemTime::now() + HOUR;
        Event::Claimed { hash: hash(n), until, by: claimant(by) }
    };
    let (one, other) = (log.open(), log.open());
    let claims: Vec<_> = (0..50).map(|n| (n % 3, n)).collect();
    keep(&*one, vec![pending(0), pending(1), pending(2)]).await;
    let appends = claims.chunks(2).map(|pair| {
        let events = pair.iter().map(|(n, by)| claim(*n, *by)).collect();
        keep(&*one, events)
    });
    join_all(appends).await;
    let seen = told(&*one).await.claims;
    assert_eq!(seen.len(), claims.len());
    assert_eq!(told(&*other).await.claims, seen);
    for (n, by) in claims {
        assert!(seen.contains(&(*hash(n).as_bytes(), claimant(by))));
    }
}

fn until(n: usize, expires_at: SystemTime) -> Event {
    Event::Revoked { hash: hash(n), expires_at, sealed: None }
}

async fn later_expiry_wins_and_repetition_is_harmless(log: Log) {
    let first = log.open();
    let now = SystemTime::now();
    keep(&*first, vec![pending(1), pending(1)]).await;
    for hours in [1, 3, 2, 3] {
        keep(&*first, vec![until(1, now + hours * HOUR), until(2, now + hours * HOUR)]).await;
    }
    let seen = told(&*first).await;
    for n in [1, 2] {
        assert!(seen.expiries[hash(n).as_bytes()] >= now + 3 * HOUR);
    }
    assert!(seen.is_pending(1), "an entry without a sealed token removes none");
}

async fn sealed_bytes_come_back_unchanged(log: Log) {
    let mut random = fastrand::Rng::with_seed(7);
    let all: Vec<Vec<u8>> = [0, 1, 95, 127, 128, 255, 4_200, 70_000]
        .into_iter()
        .map(|length| (0..length).map(|_| random.u8(..)).collect())
        .collect();
    let events = all.iter().enumerate().map(|(n, bytes)| Event::Revoked {
        hash: hash(n),
        expires_at: SystemTime::now() + HOUR,
        sealed: Some(SealedToken::from_bytes(&bytes[..])),
    });
    keep(&*log.open(), events.collect()).await;
    let seen = told(&*log.open()).await;
    for (n, bytes) in all.iter().enumerate() {
        assert!(seen.sealed.get(hash(n).as_bytes()) == Some(bytes), "of {} bytes", bytes.len());
    }
}

/// An expiry never comes back earlier than it was written.
async fn expiry_comes_back_at_most_a_second_later(log: Log) {
    let now = SystemTime::now();
    let asked: Vec<_> = (0..200_u32)
        .map(|n| now + Duration::from_secs(60) * (n + 1) + Duration::from_nanos(7_654_321) * n)
        .collect();
    let events = asked.iter().enumerate().map(|(n, expires_at)| until(n, *expires_at));
    keep(&*log.open(), events.collect()).await;
    let seen = told(&*log.open()).await;
    for (n, asked) in asked.iter().enumerate() {
        let told = seen.expiries[hash(n).as_bytes()];
        let late = told.duration_since(*asked).expect("not earlier");
        assert!(late <= Duration::from_secs(1), "{late:?} late");
    }
}

async fn extreme_expiries_are_kept(log: Log) {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let in_9000 = UNIX_EPOCH + 7_030 * YEAR;
    let sealed = |n, expires_at| {
        let sealed = Some(support::log::sealed(n));
        Event::Revoked { hash: hash(n), expires_at, sealed }
    };
    let events = vec![
        until(1, in_9000),
        until(2, UNIX_EPOCH + 100_000 * YEAR),
        sealed(3, UNIX_EPOCH + 100_000 * YEAR),
        sealed(4, UNIX_EPOCH),
        sealed(5, UNIX_EPOCH - YEAR),
    ];
    keep(&*log.open(), events).await;
    let seen = told(&*log.open()).await;
    for n in [1, 2, 3] {
        assert!(seen.expiries[hash(n).as_bytes()] >= in_9000);
    }
    for n in [3, 4, 5] {
        assert!(seen.is_pending(n), "it must still be delivered");
    }
}

async fn empty_append_is_kept(log: Log) {
    let first = log.open();
    keep(&*first, Vec::new()).await;
    assert_eq!(told(&*first).await.expiries.len(), 0);
}

async fn append_is_kept_if_its_future_is_dropped(log: Log) {
    let first = log.open();
    for n in 0..100 {
        drop(first.append(vec![pending(n)]));
    }
    let all = async { while told(&*first).await.expiries.len() < 100 {} };
    soon(all).await;
}

async fn simultaneous_appends_are_all_kept(log: Log) {
    let first = log.open();
    let appends: Vec<_> = (0..2_500).map(|n| first.append(vec![pending(n), revoked(n)])).collect();
    for kept in soon(join_all(appends)).await {
        assert!(matches!(kept, Ok(Kept::Durably)));
    }
    keep(&*first, (2_500..5_000).map(pending).collect()).await;
    drop(first);
    let seen = told(&*log.open()).await;
    assert_eq!((seen.expiries.len(), seen.sealed.len()), (5_000, 5_000));
}

async fn events_after_a_cursor_are_followed(log: Log) {
    if !log.is_shared {
        return;
    }
    let (one, other) = (log.open(), log.open());
    keep(&*one, (0..10).map(revoked).collect()).await;
    let mut seen = told(&*other).await;
    for n in 10..2_500 {
        drop(one.append(vec![revoked(n)]));
    }
    seen.until(&*other, |seen| seen.expiries.len() == 2_500).await;

    let mut from_there = Told { cursor: seen.cursor.clone(), ..Told::default() };
    let waiting = from_there.until(&*other, |seen| seen.has(2_500));
    tokio::join!(waiting, keep(&*one, vec![revoked(2_500)]));
    // A third handle that begins at the cursor of the other.
    let mut late = Told { cursor: seen.cursor, ..Told::default() };
    late.catch_up(&*log.open()).await;
    assert!(late.has(2_500) && late.losses == 0);
}
