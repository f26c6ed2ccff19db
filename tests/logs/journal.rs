//! The journal keeps its events, even if the process, the disk or the file fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use support::example;
use tower_polar_logout::log::{Event, RevocationLog, SealedToken};
use tower_polar_logout::{Error, ErrorKind, Journal, TokenHash};

const HOUR: Duration = Duration::from_secs(3600);
const META: TableDefinition<&str, &str> = TableDefinition::new("meta");
const REVOKED: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("revoked");

/// A directory of the test's own, removed at its end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        Self::under(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    /// For tests that open thousands of files and need no durability: syncs cost nothing there.
    fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::under(memory) } else { Self::new() }
    }

    fn under(parent: &Path) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("journal-{}-{next}", std::process::id());
        let dir = parent.join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a directory");
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.join("revocations.redb")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("a directory");
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> Journal {
    Journal::open(path).expect("a journal")
}

/// The error for this file, which must name the file and leave it unchanged.
fn refused(path: &Path) -> Error {
    let before = fs::read(path).ok();
    let error = Journal::open(path).expect_err("a refusal");
    assert_eq!(error.kind(), ErrorKind::Log);
    let message = error.to_string();
    assert!(message.contains(path.to_str().unwrap()), "it does not name the file: {message}");
    assert!(fs::read(path).ok() == before, "the file was changed: {message}");
    error
}

fn hash(n: usize) -> TokenHash {
    TokenHash::of(n.to_be_bytes())
}

fn sealed(n: usize) -> SealedToken {
    SealedToken::from_bytes(format!("sealed token {n:0>120}").into_bytes())
}

/// A time in milliseconds, the unit of the journal.
fn at(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}

fn later() -> SystemTime {
    SystemTime::now() + HOUR
}

fn revoked(n: usize, expires_at: SystemTime) -> Event {
    Event::Revoked { hash: hash(n), expires_at, sealed: None }
}

fn pending(n: usize, expires_at: SystemTime) -> Event {
    Event::Revoked { hash: hash(n), expires_at, sealed: Some(sealed(n)) }
}

fn delivered(n: usize) -> Event {
    Event::Delivered { hash: hash(n) }
}

/// The replay of a journal: for each hash its expiry, and the sealed token if it is pending.
type State = BTreeMap<[u8; 32], (SystemTime, Option<Vec<u8>>)>;

async fn state(journal: &Journal) -> State {
    let events = journal.follow(None).await.expect("its events").into_events();
    let count = events.len();
    let state: State = events
        .into_iter()
        .map(|event| match event {
            Event::Revoked { hash, expires_at, sealed } => {
                (*hash.as_bytes(), (expires_at, sealed.map(|sealed| sealed.as_bytes().to_vec())))
            }
            other => panic!("a replay has no {other:?}"),
        })
        .collect();
    assert_eq!(state.len(), count, "each hash once");
    state
}

async fn state_at(path: &Path) -> State {
    state(&open(path)).await
}

fn entries_in_file(path: &Path) -> u64 {
    let database = Database::open(path).expect("a closed journal");
    let transaction = database.begin_read().unwrap();
    transaction.open_table(REVOKED).unwrap().len().unwrap()
}

#[tokio::test]
async fn appended_events_are_kept_across_reopening() {
    let dir = Dir::new();
    let expires_at = at(4_102_444_800_123);
    let journal = open(&dir.path());
    assert!(state(&journal).await.is_empty(), "a new one is empty");
    let events = vec![pending(1, expires_at), revoked(2, expires_at), pending(3, expires_at)];
    journal.append(events).await.expect("kept");
    journal.append(vec![delivered(3)]).await.expect("kept");
    journal.append(Vec::new()).await.expect("nothing to keep");
    let before = state(&journal).await;
    drop(journal);

    let after = state_at(&dir.path()).await;
    assert_eq!(before, after);
    let sealed = Some(sealed(1).as_bytes().to_vec());
    let expected = [(1, sealed), (2, None), (3, None)];
    let expected = expected.map(|(n, sealed)| (*hash(n).as_bytes(), (expires_at, sealed)));
    assert_eq!(after, State::from(expected));
}

/// An expiry is rounded up to a millisecond. One out of range becomes the nearest that can be
/// stored.
#[tokio::test]
async fn extreme_expiries_are_kept() {
    let dir = Dir::new();
    let journal = open(&dir.path());
    let nanos = SystemTime::UNIX_EPOCH + Duration::from_nanos(4_102_444_800_000_000_001);
    let centuries = SystemTime::UNIX_EPOCH + Duration::from_secs(100_000 * 365 * 86_400);
    let ancient = SystemTime::UNIX_EPOCH - HOUR;
    let events = vec![revoked(1, nanos), revoked(2, centuries), pending(3, ancient)];
    journal.append(events).await.expect("kept");
    let state = state(&journal).await;
    assert_eq!(state[hash(1).as_bytes()].0, at(4_102_444_800_001), "rounded up");
    assert!(state[hash(2).as_bytes()].0 > at(200_000_000_000_000));
    assert_eq!(state[hash(3).as_bytes()].0, UNIX_EPOCH);
}

#[tokio::test]
async fn append_is_kept_if_its_future_is_dropped() {
    let dir = Dir::new();
    let journal = open(&dir.path());
    drop(journal.append(vec![revoked(1, later())]));
    drop(journal);
    assert_eq!(state_at(&dir.path()).await.len(), 1);
}

/// Each handle closes the journal for all. Appended events are on disk then, and the file is free.
#[tokio::test]
async fn closed_journal_refuses_appends_and_opens_again() {
    let dir = Dir::new();
    let journal = open(&dir.path());
    let other_handle = journal.clone();
    drop(journal.append(vec![revoked(1, later())]));
    journal.close().await.expect("it is closed");
    other_handle.close().await.expect("it is closed already");
    let error = other_handle.append(vec![revoked(2, later())]).await.map(drop).expect_err("closed");
    assert!(error.to_string().contains("is closed: open it again"), "{error}");
    assert_eq!(state_at(&dir.path()).await.len(), 1);
}

#[tokio::test]
async fn denylist_ignores_order_and_repetition_of_events() {
    let (soon, late) = (at(4_000_000_000_000), at(4_100_000_000_000));
    let events = [
        Event::Revoked { hash: hash(1), expires_at: late, sealed: None },
        Event::Revoked { hash: hash(1), expires_at: soon, sealed: Some(sealed(1)) },
        Event::Delivered { hash: hash(1) },
    ];
    let dir = Dir::new();
    for order in 0..27_usize {
        let order = [order / 9, order / 3 % 3, order % 3];
        for repeats in 1..=2 {
            let path = dir.0.join(format!("{order:?}-{repeats}"));
            let journal = open(&path);
            let mut told = Vec::new();
            for _ in 0..repeats {
                for n in order {
                    journal.append(vec![events[n].clone()]).await.expect("kept");
                    told.push(n);
                }
            }
            let state = state(&journal).await;
            let found = state.get(hash(1).as_bytes());
            let expiry = match (told.contains(&0), told.contains(&1)) {
                (true, _) => Some(late),
                (false, true) => Some(soon),
                (false, false) => None,
            };
            assert_eq!(found.map(|found| found.0), expiry, "{told:?}");
            let last = told.iter().rfind(|&&n| n != 0);
            let is_pending = found.is_some_and(|found| found.1.is_some());
            assert_eq!(is_pending, last == Some(&1), "{told:?}: at worst, Polar is called twice");
        }
    }
}

/// The other logout comes after the delivery. Without a sealed token it makes nothing pending.
#[tokio::test]
async fn sealed_token_is_pending_again_after_another_logout() {
    let dir = Dir::new();
    let journal = open(&dir.path());
    let events = vec![pending(1, later()), pending(2, later()), delivered(1), delivered(2)];
    journal.append(events).await.expect("kept");
    journal.append(vec![pending(1, later()), revoked(2, later())]).await.expect("kept");
    let state = state(&journal).await;
    assert!(state[hash(1).as_bytes()].1.is_some());
    assert!(state[hash(2).as_bytes()].1.is_none());
}

/// It may be sealed under a newer key.
#[tokio::test]
async fn newer_sealed_token_replaces_the_older() {
    let dir = Dir::new();
    let journal = open(&dir.path());
    let newer = SealedToken::from_bytes(*b"newer");
    let again = Event::Revoked { hash: hash(1), expires_at: later(), sealed: Some(newer) };
    journal.append(vec![pending(1, later()), again]).await.expect("kept");
    journal.append(vec![revoked(1, later())]).await.expect("kept");
    assert_eq!(state(&journal).await[hash(1).as_bytes()].1.as_deref(), Some(&b"newer"[..]));
}

#[tokio::test]
async fn expired_revocation_stays_until_it_is_delivered() {
    let dir = Dir::new();
    let journal = open(&dir.path());
    let past = SystemTime::now() - HOUR;
    journal.append(vec![pending(1, past), revoked(2, past)]).await.expect("kept");
    for n in 10..20 {
        journal.append(vec![revoked(n, past)]).await.expect("kept");
        let state = state(&journal).await;
        assert_eq!(state.len(), 1, "expired and not pending: not replayed");
        assert!(state[hash(1).as_bytes()].1.is_some());
    }
    drop(journal);
    assert_eq!(entries_in_file(&dir.path()), 1, "expired and not pending: not kept");

    let journal = open(&dir.path());
    journal.append(vec![delivered(1)]).await.expect("kept");
    assert!(state(&journal).await.is_empty());
    drop(journal);
    assert_eq!(entries_in_file(&dir.path()), 0);
}

#[tokio::test]
async fn later_expiry_keeps_a_revocation() {
    let dir = Dir::new();
    let journal = open(&dir.path());
    let past = SystemTime::now() - HOUR;
    journal.append(vec![revoked(1, past), revoked(1, later()), revoked(1, past)]).await.unwrap();
    journal.append(vec![delivered(1), revoked(2, past)]).await.unwrap();
    drop(journal);
    assert_eq!(entries_in_file(&dir.path()), 1);
    assert!(state_at(&dir.path()).await.contains_key(hash(1).as_bytes()));
}

#[tokio::test]
async fn file_stops_growing_under_a_steady_load() {
    const ROUNDS: usize = 60;
    const A_ROUND: usize = 1_000;
    let dir = Dir::new();
    let journal = open(&dir.path());
    let past = SystemTime::now() - HOUR;
    let mut sizes = Vec::new();
    for round in 0..ROUNDS {
        // Each is pending for a round, and is delivered after it has expired.
        let new = (0..A_ROUND).map(|n| pending(round * A_ROUND + n, past));
        let old = (0..A_ROUND).map(|n| delivered(round.saturating_sub(1) * A_ROUND + n));
        let appends = new.zip(old).map(|(new, old)| journal.append(vec![new, old]));
        for append in appends.collect::<Vec<_>>() {
            append.await.expect("kept");
        }
        sizes.push(fs::metadata(dir.path()).unwrap().len() / 1024);
    }
    println!("{A_ROUND} revocations a round; KiB after each: {sizes:?}");
    let (early, late) = sizes.split_at(ROUNDS / 3);
    assert!(late.iter().max() <= early.iter().max(), "the file still grows");
    drop(journal);
    println!("KiB when closed: {}", fs::metadata(dir.path()).unwrap().len() / 1024);
}

#[tokio::test]
async fn journal_reopens_once_its_last_handle_is_dropped() {
    let dir = Dir::new();
    for n in 0..20 {
        let journal = open(&dir.path());
        let other = journal.clone();
        drop(journal);
        let in_use = refused_in_use(&dir.path());
        assert!(in_use.contains("in use"), "{in_use}");
        other.append(vec![revoked(n, later())]).await.expect("kept");
    }
    assert_eq!(state_at(&dir.path()).await.len(), 20);
}

/// Like [`refused`], for a file that is being written.
fn refused_in_use(path: &Path) -> String {
    let message = Journal::open(path).expect_err("a refusal").to_string();
    assert!(message.contains(path.to_str().unwrap()), "it does not name the file: {message}");
    message
}

#[test]
fn error_says_why_a_path_is_impossible() {
    let dir = Dir::new();
    let file = dir.0.join("file");
    fs::write(&file, "text").unwrap();
    let cases = [
        (dir.0.join("missing/revocations.redb"), "there is no directory"),
        (dir.0.clone(), "is a directory"),
        (file.join("revocations.redb"), "file is a file, not a directory: give another path"),
        (file.join("x/y"), "file is a file, not a directory: give another path"),
    ];
    for (path, reason) in cases {
        let message = refused(&path).to_string();
        assert!(message.contains(reason), "{message}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"text");
    assert_eq!(dir.names(), ["file"], "nothing was left behind");
    assert_eq!(Journal::open("").expect_err("no path").kind(), ErrorKind::Log);
}

/// Not even root can write these.
#[cfg(target_os = "linux")]
#[test]
fn error_names_a_file_that_cannot_be_written() {
    for (path, reason) in [
        ("/proc/revocations.redb", "cannot be created"),
        ("/proc/version", "is "),
        ("/dev/null", "is not a regular file"),
    ] {
        let message = refused_in_use(Path::new(path));
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn foreign_file_is_refused_unchanged() {
    let dir = Dir::new();
    let path = dir.path();
    for content in [&b"short"[..], &b"a text file\n".repeat(10_000), &vec![0; 100_000]] {
        fs::write(&path, content).unwrap();
        let message = refused(&path).to_string();
        assert!(message.contains("is not a journal"), "{message}");
    }
    // A journal's file is never empty. One that is must not be taken for a new journal.
    fs::write(&path, "").unwrap();
    let message = refused(&path).to_string();
    assert!(message.contains("is empty"), "{message}");
}

#[test]
fn foreign_redb_file_is_refused_unchanged() {
    let dir = Dir::new();
    let cases: [fn(&Database); 4] = [
        |_| {},
        |database| {
            let transaction = database.begin_write().unwrap();
            let other: TableDefinition<u64, &str> = TableDefinition::new("other");
            transaction.open_table(other).unwrap().insert(1, "one").unwrap();
            transaction.commit().unwrap();
        },
        |database| {
            let transaction = database.begin_write().unwrap();
            let meta: TableDefinition<u64, u64> = TableDefinition::new("meta");
            transaction.open_table(meta).unwrap().insert(1, 1).unwrap();
            transaction.commit().unwrap();
        },
        |database| {
            let transaction = database.begin_write().unwrap();
            transaction.open_table(META).unwrap().insert("kind", "another").unwrap();
            transaction.commit().unwrap();
        },
    ];
    for (n, fill) in cases.into_iter().enumerate() {
        let path = dir.0.join(n.to_string());
        let database = Database::create(&path).unwrap();
        fill(&database);
        drop(database);
        let message = refused(&path).to_string();
        assert!(message.contains("is not a journal"), "{message}");
    }
}

#[test]
fn newer_format_is_refused_unchanged() {
    let dir = Dir::new();
    drop(open(&dir.path()));
    let database = Database::open(dir.path()).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(META).unwrap();
        let was = meta.insert("format", "2").unwrap().expect("a format");
        assert_eq!(was.value(), "1");
    }
    transaction.commit().unwrap();
    drop(database);
    let message = refused(&dir.path()).to_string();
    assert!(message.contains("has format 2, of a newer"), "{message}");
}

/// The entry is not skipped: the whole journal is refused.
#[tokio::test]
async fn altered_entry_is_refused() {
    let dir = Dir::new();
    let journal = open(&dir.path());
    let events = vec![pending(1, later()), revoked(2, later())];
    journal.append(events).await.expect("kept");
    drop(journal);
    let whole = fs::read(dir.path()).unwrap();

    let alter = |alter: fn(&mut Vec<u8>)| {
        fs::write(dir.path(), &whole).unwrap();
        let database = Database::open(dir.path()).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut table = transaction.open_table(REVOKED).unwrap();
            let key = *hash(1).as_bytes();
            let mut value = table.get(&key).unwrap().unwrap().value().to_vec();
            alter(&mut value);
            table.insert(&key, &*value).unwrap();
        }
        transaction.commit().unwrap();
    };
    let alterations: [fn(&mut Vec<u8>); 6] = [
        |value| value[0] ^= 1,
        |value| value[15] ^= 1,
        |value| value[16] ^= 1,
        |value| *value.last_mut().unwrap() ^= 1,
        |value| value.truncate(10),
        Vec::clear,
    ];
    for alteration in alterations {
        alter(alteration);
        let message = refused(&dir.path()).to_string();
        assert!(message.contains("is damaged"), "{message}");
    }
    alter(|_| {});
    assert_eq!(state_at(&dir.path()).await.len(), 2, "without a change the journal opens");
}

/// A closed journal, and one after a crash, each with its replay.
async fn images() -> [(&'static str, Vec<u8>, State); 2] {
    let dir = Dir::new();
    let journal = open(&dir.path());
    for n in 0..40 {
        let expires_at = at(4_000_000_000_000 + n as u64);
        journal.append(vec![pending(n, expires_at), revoked(100 + n, expires_at)]).await.unwrap();
    }
    journal.append((0..10).map(delivered).collect()).await.unwrap();
    let said = state(&journal).await;
    let crashed = fs::read(dir.path()).unwrap();
    drop(journal);
    let closed = fs::read(dir.path()).unwrap();
    assert_ne!(crashed, closed);
    [("closed", closed, said.clone()), ("crashed", crashed, said)]
}

/// The journal is opened with all its events, or refused unchanged. It never panics.
async fn whole_or_refused(path: &Path, bytes: &[u8], said: &State, what: &str) -> bool {
    fs::write(path, bytes).unwrap();
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| Journal::open(path)));
    if let Ok(journal) = opened.expect("no panic") {
        assert!(state(&journal).await == *said, "{what}: opened, but incomplete");
        return true;
    }
    refused(path);
    false
}

#[tokio::test]
async fn cut_file_is_opened_whole_or_refused() {
    let dir = Dir::in_memory();
    for (name, image, said) in images().await {
        let lengths = (1..400).chain((400..image.len()).step_by(509)).chain([image.len() - 1]);
        let (mut opened, mut cut) = (0, 0);
        for len in lengths {
            let what = format!("{name}, cut to {len} of {}", image.len());
            opened += usize::from(whole_or_refused(&dir.path(), &image[..len], &said, &what).await);
            cut += 1;
        }
        println!("{name}: cut {cut} times, opened whole {opened}, refused {}", cut - opened);
        assert!(
            whole_or_refused(&dir.path(), &image, &said, name).await,
            "without a cut the journal opens"
        );
    }
}

/// One bit is flipped.
#[tokio::test]
async fn damaged_file_is_opened_whole_or_refused() {
    let dir = Dir::in_memory();
    for (name, image, said) in images().await {
        // All of the header's start, and a sample of everything else.
        let header = (0..128).chain((128..320 * 8).step_by(7));
        let pages = (320 * 8..image.len() * 8).step_by(8 * 211 + 3);
        let (mut opened, mut flipped) = (0, 0);
        for bit in header.chain(pages) {
            let mut bytes = image.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let what = format!("{name}, bit {} of byte {}", bit % 8, bit / 8);
            opened += usize::from(whole_or_refused(&dir.path(), &bytes, &said, &what).await);
            flipped += 1;
        }
        println!("{name}: flipped {flipped}, opened whole {opened}, refused {}", flipped - opened);
    }
}

/// The header has flags that redb does not set, and a damaged commit.
#[tokio::test]
async fn damaged_header_is_opened_whole_or_refused() {
    let dir = Dir::in_memory();
    for (name, image, said) in images().await {
        for flags in (8..=255).step_by(5) {
            for commit in [64, 192] {
                let mut bytes = image.clone();
                bytes[9] = flags;
                bytes[commit + 120] ^= 0xff;
                let what = format!("{name}, flags {flags:#x}, commit at {commit}");
                whole_or_refused(&dir.path(), &bytes, &said, &what).await;
            }
        }
    }
}

/// A process that performs `task` on the journal at `path`: `tests/support/child.rs`.
fn child(task: &str, path: &Path, shell: &str) -> (Child, BufReader<ChildStdout>) {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let mut child = Command::new("sh")
        .args(["-c", &format!("{shell}; exec \"$0\" \"$@\"")])
        .arg(PROGRAM.get_or_init(|| example::build("child")))
        .arg(task)
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child process");
    let stdout = child.stdout.take().expect("its output");
    (child, BufReader::new(stdout))
}

/// The text after `word` in the next line that contains it, or `None` after the last line.
fn heard(from: &mut impl BufRead, word: &str) -> Option<String> {
    loop {
        let mut line = String::new();
        from.read_line(&mut line).expect("a line");
        // A line that a kill cut short does not count.
        let line = line.strip_suffix('\n')?;
        if let Some((_, rest)) = line.split_once(word) {
            return Some(rest.trim().to_owned());
        }
    }
}

#[cfg(unix)]
#[test]
fn journal_is_refused_while_another_process_has_it() {
    let dir = Dir::new();
    let (mut holder, mut said) = child("hold", &dir.path(), ":");
    heard(&mut said, "holding").expect("the child holds the journal");
    let message = refused_in_use(&dir.path());
    assert!(message.contains("is in use"), "{message}");
    holder.stdin.take().unwrap().write_all(b"enough\n").unwrap();
    assert!(holder.wait().unwrap().success(), "the child failed");
    drop(open(&dir.path()));
}

/// Even if the umask allows all.
#[cfg(unix)]
#[test]
fn new_journal_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let (mut holder, mut said) = child("hold", &dir.path(), "umask 000");
    heard(&mut said, "holding").expect("the child holds the journal");
    let mode = fs::metadata(dir.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(dir.names(), ["revocations.redb"], "the child left another file");
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
}

/// The process is killed at a random moment.
#[cfg(unix)]
#[tokio::test]
async fn acknowledged_events_survive_a_kill() {
    let dir = Dir::new();
    let mut acknowledged = BTreeSet::new();
    for round in 1..=10 {
        let (mut victim, mut said) = child("append", &dir.path(), ":");
        let moment = RandomState::new().hash_one(round) % 300;
        let mut note = |said: &mut BufReader<ChildStdout>| {
            let n = heard(said, "acknowledged")?.parse::<usize>().expect("a number");
            acknowledged.insert(n);
            Some(())
        };
        for _ in 0..=moment {
            note(&mut said).expect("the child appends until it is killed");
        }
        victim.kill().unwrap();
        // Lines from before the kill count as well.
        while note(&mut said).is_some() {}
        victim.wait().unwrap();

        let found = state_at(&dir.path()).await;
        println!("round {round}: acknowledged {}, found {}", acknowledged.len(), found.len());
        let lost: Vec<_> =
            acknowledged.iter().filter(|&&n| !found.contains_key(hash(n).as_bytes())).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn full_disk_is_reported_until_there_is_room() {
    for kib in [72, 100, 150, 300, 500] {
        let dir = Dir::new();
        // The limit stands in for a disk. Its unit in a POSIX shell is half a KiB.
        let full = format!("trap '' XFSZ; ulimit -S -f {}", kib * 2);
        let (mut writer, mut said) = child("fill-disk", &dir.path(), &full);
        let mut acknowledged = BTreeSet::new();
        let mut refusal = None;
        while refusal.is_none() {
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            assert!(!line.is_empty(), "the child appends until its disk is full");
            if let Some(n) = line.strip_prefix("acknowledged ") {
                acknowledged.insert(n.trim().parse::<usize>().unwrap());
            }
            refusal = line.strip_prefix("refused Log ").map(str::to_owned);
        }
        let message = refusal.unwrap_or_default();
        assert!(message.contains(dir.path().to_str().unwrap()), "{message}");
        assert!(message.contains("free space on its disk"), "{message}");
        let when_full = acknowledged.len();

        let pid = format!("--pid={}", writer.id());
        let lifted = Command::new("prlimit").args([&*pid, "--fsize=unlimited"]).status();
        assert!(lifted.expect("prlimit, of util-linux").success());
        writer.stdin.take().unwrap().write_all(b"there is room\n").unwrap();
        while let Some(n) = heard(&mut said, "acknowledged") {
            acknowledged.insert(n.parse().unwrap());
        }
        assert!(writer.wait().unwrap().success());
        assert!(acknowledged.len() > when_full + 1_000, "the child appends again");

        let found = state_at(&dir.path()).await;
        println!(
            "a disk of {kib} KiB: acknowledged {when_full} until it was full, {} in all, found {}",
            acknowledged.len(),
            found.len()
        );
        assert!(acknowledged.iter().all(|&n| found.contains_key(hash(n).as_bytes())));
    }
}
