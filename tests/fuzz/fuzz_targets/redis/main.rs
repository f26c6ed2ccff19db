//! The answers of a Redis, and the entries of a stream: each entry is read as it was written, or is
//! skipped and counted.
#![no_main]

mod server;
mod wire;

use std::cell::OnceCell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{self, Runtime};
use tokio::time::timeout;
use tower_polar_logout::log::{Event, Kept, RevocationLog, SealedToken};
use tower_polar_logout::{Error, RedisLog};
use tower_polar_logout_fuzz::let_panic;

use self::server::{Answer, Server};
use self::wire::{LATEST, Record};

#[derive(Arbitrary, Debug)]
enum Case<'a> {
    Entries {
        seconds_ahead: i16,
        entries: Vec<Entry<'a>>,
    },
    /// The answer to a read. Then the connection ends.
    Answer(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
struct Entry<'a> {
    id: (u32, u8),
    fields: Fields<'a>,
}

#[derive(Arbitrary, Debug)]
enum Fields<'a> {
    Written { records: Vec<Record<'a>>, cut: Option<u8>, overwritten: Option<(u8, u8)> },
    Content(&'a [u8]),
    Others(Vec<&'a [u8]>),
    Deleted,
}

impl Fields<'_> {
    /// Names and values. `None` for a deleted entry.
    fn to_vec(&self) -> Option<Vec<Vec<u8>>> {
        let content = match self {
            Self::Written { records, cut, overwritten } => {
                let mut content = wire::encode(records);
                if let Some((at, with)) = *overwritten {
                    let at = usize::from(at) % content.len();
                    content[at] = with;
                }
                if let Some(cut) = *cut {
                    content.truncate(usize::from(cut));
                }
                content
            }
            Self::Content(content) => content.to_vec(),
            Self::Others(fields) => return Some(fields.iter().map(|it| it.to_vec()).collect()),
            Self::Deleted => return None,
        };
        Some(vec![b"e".to_vec(), content])
    }
}

/// In milliseconds. The two clocks never differ by so much.
const FARTHEST: u64 = 40_000_000;

/// Fewer than 100, because a read that returns 100 entries is not the last.
const MOST_ENTRIES: usize = 50;

thread_local! {
    static RUNTIME: Runtime =
        runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    static SERVER: OnceCell<Server> = const { OnceCell::new() };
}

fuzz_target!(
    // A panic there ends the connection.
    init: let_panic("/redis-"),
    |case: Case<'_>| {
        RUNTIME.with(|runtime| {
            runtime.block_on(async {
                let server =
                    SERVER.with(|server| server.get_or_init(Server::start).clone());
                match case {
                    Case::Entries { seconds_ahead, entries } => {
                        judge_entries(&server, seconds_ahead, &entries).await;
                    }
                    Case::Answer(bytes) => judge_answer(&server, bytes).await,
                }
            });
        });
    }
);

async fn judge_entries(server: &Server, seconds_ahead: i16, entries: &[Entry<'_>]) {
    let entries = &entries[..entries.len().min(MOST_ENTRIES)];
    let ahead = i64::from(seconds_ahead) * 1_000;
    let sent: Vec<_> =
        entries.iter().map(|entry| (server::id(entry.id), entry.fields.to_vec())).collect();
    let (mut records, mut skipped) = (Vec::new(), 0);
    for (_, fields) in &sent {
        let content = match fields.as_deref() {
            Some([name, content]) if name == b"e" => Some(content),
            _ => None,
        };
        match content.and_then(|content| wire::decode(content)) {
            Some(found) => records.extend(found),
            None => skipped += 1,
        }
    }
    server.will_answer(Answer::Entries(sent.clone()), ahead);

    let started = Instant::now();
    let log = log(server);
    let followed = match soon(log.follow(None)).await {
        Ok(followed) => followed,
        Err(error) if is_late(&error) => return,
        Err(error) => panic!("{error}"),
    };
    let slack = slack(started);
    assert!(followed.is_current() && !followed.has_lost());
    assert_eq!(followed.skipped(), skipped, "each unreadable entry is counted");
    assert_eq!(followed.cursor().as_str(), sent.last().map_or("0-0", |(id, _)| id));
    let events = followed.into_events();
    assert_eq!(events.len(), records.len());
    for (event, record) in events.iter().zip(&records) {
        assert_is(event, record, ahead, slack);
    }
    if !events.is_empty() {
        judge_append(server, &log, events, &records, started).await;
    }
}

/// Events that are appended again are written as before. An expiry may be a little later, but never
/// earlier.
async fn judge_append(
    server: &Server,
    log: &RedisLog,
    events: Vec<Event>,
    records: &[Record<'_>],
    started: Instant,
) {
    match soon(log.append(events)).await.expect("kept") {
        Kept::Durably => {}
        // As above: the machine is busy, and the log does not wait for it.
        Kept::ForNow(_) => return,
    }
    let slack = slack(started);
    let added = server.added();
    let written: Vec<_> =
        added.iter().flat_map(|content| wire::decode(content).expect("an entry")).collect();
    assert_eq!(written.len(), records.len());
    for (written, record) in written.iter().zip(records) {
        assert_eq!(written.hash, record.hash);
        assert_eq!(written.kind(), record.kind());
        let (Some(written), Some(until)) = (written.expires_at(), record.expires_at()) else {
            continue;
        };
        let until = until.min(LATEST);
        assert!(written >= until, "{written} is before {until}");
        // By the local clock it may be before 1970 or after `LATEST`: then it is moved to that
        // limit.
        let most = until.max(FARTHEST) + slack;
        let most = if most + FARTHEST >= LATEST { LATEST } else { most };
        assert!(written <= most, "{written} is long after {until}");
    }
}

/// The clock of Redis is `ahead` of the local one, and the call took `slack` at most. Both are in
/// milliseconds.
fn assert_is(event: &Event, record: &Record<'_>, ahead: i64, slack: u64) {
    match event {
        Event::Delivered { hash } => {
            assert_eq!((*hash.as_bytes(), record.kind()), (record.hash, wire::DELIVERED));
        }
        Event::Claimed { hash, until, by } => {
            assert_eq!((*hash.as_bytes(), record.kind()), (record.hash, wire::CLAIMED));
            assert_eq!(Some(*by.as_bytes()), record.claimant());
            assert_is_time(*until, record, ahead, slack);
        }
        Event::Revoked { hash, expires_at, sealed } => {
            assert_eq!(*hash.as_bytes(), record.hash);
            assert_eq!(sealed.as_ref().map(SealedToken::as_bytes), record.sealed());
            assert_is_time(*expires_at, record, ahead, slack);
        }
    }
}

fn assert_is_time(time: SystemTime, record: &Record<'_>, ahead: i64, slack: u64) {
    let read = time.duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let read = u64::try_from(read).expect("a time");
    let until = record.expires_at().expect("an expiry");
    let least =
        if until >= LATEST { LATEST } else { until.saturating_add_signed(-ahead).min(LATEST) };
    assert!(read >= least, "{read} is before {least}");
    assert!(read <= (least + slack).min(LATEST), "{read} is long after {least}");
}

/// The log neither panics nor makes up events.
async fn judge_answer(server: &Server, bytes: &[u8]) {
    server.will_answer(Answer::Bytes(bytes.to_vec()), 0);
    let log = log(server);
    if let Ok(followed) = soon(log.follow(None)).await {
        assert!(followed.events().len() * 33 <= bytes.len(), "{followed:?}");
        let skipped = usize::try_from(followed.skipped()).expect("few");
        assert!(skipped <= bytes.len(), "{followed:?}");
    }
}

fn log(server: &Server) -> RedisLog {
    let log = RedisLog::connect(server.url()).expect("a URL");
    log.assign("id").expect("a runtime");
    log
}

/// The log waits for a few seconds at most. A slower machine is no finding.
fn is_late(error: &Error) -> bool {
    error.to_string().contains("in time")
}

fn slack(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).expect("not long") + 5
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.expect("no hang")
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
}
