//! The file of a journal, damaged in any way: it is opened with its whole state, or is refused and
//! stays unchanged.
#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use redb::{Database, Durability, TableDefinition};
use sha2::{Digest, Sha256};
use tokio::runtime;
use tower_polar_logout::log::{Event, RevocationLog, SealedToken};
use tower_polar_logout::{ErrorKind, Journal, TokenHash};
use tower_polar_logout_fuzz::let_panic;

const META: TableDefinition<&str, &str> = TableDefinition::new("meta");
const REVOKED: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("revoked");
const BY_EXPIRY: TableDefinition<(u64, &[u8; 32]), ()> = TableDefinition::new("by_expiry");

/// The end of the year 9999, in milliseconds since 1970.
const LATEST: u64 = 253_402_300_799_999;

/// By hash: the expiry and the sealed token.
type State = BTreeMap<[u8; 32], (u64, Option<Vec<u8>>)>;

#[derive(Arbitrary, Debug)]
enum Case<'a> {
    Damaged { was_closed: bool, damage: Damage<'a>, more: Option<Damage<'a>> },
    Tables(Tables<'a>),
    Bytes(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum Damage<'a> {
    Flip { at: Place, bit: u8 },
    Overwrite { at: Place, with: &'a [u8] },
    Fill { at: Place, len: u16, with: u8 },
    Cut { at: Place },
    Append(&'a [u8]),
}

/// A page, and a byte in it. The first page begins with the header of the file.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Place {
    page: u8,
    byte: u16,
}

/// A file that redb accepts.
#[derive(Arbitrary, Debug)]
struct Tables<'a> {
    kind: Option<&'a str>,
    format: Option<&'a str>,
    rows: Vec<Row<'a>>,
    by_expiry: Vec<(u64, u8)>,
}

#[derive(Arbitrary, Debug)]
struct Row<'a> {
    hash: u8,
    expires_at: u64,
    rest: &'a [u8],
    is_checked: bool,
}

/// The file of a journal that was closed, and the file that a crash leaves. Both hold `state`, and
/// `before` is the state before the last commit.
struct Images {
    closed: Vec<u8>,
    crashed: Vec<u8>,
    state: State,
    before: State,
}

/// Is removed when the process ends.
struct Folder(PathBuf);

thread_local! {
    static FOLDER: Folder = Folder::new();
}

static PATH: LazyLock<PathBuf> =
    LazyLock::new(|| FOLDER.with(|folder| folder.0.join("revocations.redb")));

static IMAGES: LazyLock<Images> = LazyLock::new(|| {
    let _ = fs::remove_file(&*PATH);
    let journal = Journal::open(&*PATH).expect("a journal");
    for n in 0..4 {
        append(&journal, (0..4).map(|m| revoked(10 * n + m, m == 0)).collect());
    }
    append(&journal, vec![Event::Delivered { hash: hash(10) }]);
    let before = state(&journal);
    append(&journal, vec![revoked(0xfe, true)]);
    let latest = state(&journal);
    let crashed = fs::read(&*PATH).expect("its file");
    drop(journal);
    let closed = fs::read(&*PATH).expect("its file");
    Images { closed, crashed, state: latest, before }
});

fuzz_target!(
    init: {
        // redb panics on content that it does not expect. The journal turns the panic into an
        // error.
        let_panic("/redb-");
        LazyLock::force(&IMAGES);
    },
    |case: Case<'_>| {
        match case {
            Case::Bytes(bytes) => {
                fs::write(&*PATH, bytes).expect("room");
                // Random bytes are never a journal.
                assert_refused();
            }
            Case::Damaged { was_closed, damage, more } => {
                let image = if was_closed { &IMAGES.closed } else { &IMAGES.crashed };
                let mut file = image.clone();
                damage.apply(&mut file);
                if let Some(more) = more {
                    more.apply(&mut file);
                }
                fs::write(&*PATH, &file).expect("room");
                assert_whole_or_refused(looks_unfinished(image, &file));
            }
            Case::Tables(tables) => {
                tables.write();
                match tables.state() {
                    Some(state) => assert_whole(Journal::open(&*PATH).expect("a journal"), &state),
                    None => assert_refused(),
                }
            }
        }
    }
);

impl Folder {
    /// In memory if possible: syncs cost nothing there.
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = parent.join(format!("fuzz-journal-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn assert_whole_or_refused(looks_unfinished: bool) {
    match Journal::open(&*PATH) {
        Ok(journal) if looks_unfinished && state(&journal) == IMAGES.before => {}
        Ok(journal) => assert_whole(journal, &IMAGES.state),
        Err(_) => assert_refused(),
    }
}

/// The flags say that the last commit but one is current, and the last commit is damaged. A power
/// cut leaves the same of a commit that was never acknowledged.
fn looks_unfinished(image: &[u8], file: &[u8]) -> bool {
    let flags = file.get(9).copied().unwrap_or_default();
    flags < 8 && flags != image[9] && file.get(64..320) != image.get(64..320)
}

/// The journal has this state, and keeps it when it is appended to, closed and opened again.
fn assert_whole(journal: Journal, expected: &State) {
    let mut expected = expected.clone();
    assert_eq!(state(&journal), expected, "opened, but not whole");
    append(&journal, vec![revoked(0xff, true)]);
    drop(journal);
    let (hash, until, sealed) = entry(&revoked(0xff, true));
    let (known_until, known_sealed) = expected.entry(hash).or_default();
    *known_until = until.max(*known_until);
    *known_sealed = sealed;
    let journal = Journal::open(&*PATH).expect("it is whole");
    assert_eq!(state(&journal), expected, "no longer whole");
}

/// The error names the file, and the file is unchanged.
fn assert_refused() {
    let before = fs::read(&*PATH).expect("its file");
    let error = Journal::open(&*PATH).expect_err("a refusal");
    assert_eq!(error.kind(), ErrorKind::Log);
    assert!(error.to_string().contains(&*PATH.to_string_lossy()), "{error}");
    assert!(fs::read(&*PATH).expect("its file") == before, "{error}, but the file was changed");
}

impl Damage<'_> {
    fn apply(&self, file: &mut Vec<u8>) {
        let within = |at: Place| at.within(file.len());
        match *self {
            Self::Flip { at, bit } => {
                let at = within(at);
                if let Some(byte) = file.get_mut(at) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Overwrite { at, with } => {
                let at = within(at);
                let end = file.len().min(at + with.len());
                file[at..end].copy_from_slice(&with[..end - at]);
            }
            Self::Fill { at, len, with } => {
                let at = within(at);
                let end = file.len().min(at + usize::from(len));
                file[at..end].fill(with);
            }
            Self::Cut { at } => file.truncate(within(at)),
            Self::Append(bytes) => file.extend_from_slice(bytes),
        }
    }
}

impl Place {
    fn within(self, len: usize) -> usize {
        let byte = if self.page == 0 { self.byte % 320 } else { self.byte % 4096 };
        let pages = len.div_ceil(4096).max(1);
        (usize::from(self.page) % pages * 4096 + usize::from(byte)).min(len)
    }
}

impl Tables<'_> {
    fn kind(&self) -> &str {
        self.kind.unwrap_or("tower-polar-logout journal")
    }

    fn format(&self) -> &str {
        self.format.unwrap_or("1")
    }

    fn write(&self) {
        let _ = fs::remove_file(&*PATH);
        let database = Database::create(&*PATH).expect("a database");
        let mut transaction = database.begin_write().expect("one");
        transaction.set_durability(Durability::Immediate).expect("one");
        {
            let mut meta = transaction.open_table(META).expect("a table");
            meta.insert("kind", self.kind()).expect("room");
            meta.insert("format", self.format()).expect("room");
            let mut revoked = transaction.open_table(REVOKED).expect("a table");
            for row in &self.rows {
                revoked.insert(hash(row.hash).as_bytes(), &*row.bytes()).expect("room");
            }
            let mut by_expiry = transaction.open_table(BY_EXPIRY).expect("a table");
            for (until, n) in &self.by_expiry {
                by_expiry.insert((*until, hash(*n).as_bytes()), ()).expect("room");
            }
        }
        transaction.commit().expect("room");
    }

    /// `None` if the file must be refused.
    fn state(&self) -> Option<State> {
        if self.kind() != "tower-polar-logout journal" || self.format().parse() != Ok(1_u32) {
            return None;
        }
        // The last row of a hash replaces the others.
        let rows: BTreeMap<_, _> = self.rows.iter().map(|row| (row.hash, row)).collect();
        let mut state = State::new();
        for row in rows.values() {
            let (until, sealed) = row.content()?;
            if sealed.is_some() || until > millis(SystemTime::now()) {
                state.insert(*hash(row.hash).as_bytes(), (until.min(LATEST), sealed));
            }
        }
        Some(state)
    }
}

impl Row<'_> {
    fn bytes(&self) -> Vec<u8> {
        let checked = [&self.expires_at.to_be_bytes()[..], self.rest].concat();
        let digest = Sha256::new().chain_update(hash(self.hash).as_bytes()).chain_update(&checked);
        let check = if self.is_checked { digest.finalize().to_vec() } else { vec![0; 8] };
        [&check[..8], &checked].concat()
    }

    /// The expiry and the sealed token. `None` if no journal writes such a row.
    fn content(&self) -> Option<(u64, Option<Vec<u8>>)> {
        let sealed = match self.rest.split_first()? {
            (0, []) => None,
            (1, sealed) => Some(sealed.to_vec()),
            _ => return None,
        };
        self.is_checked.then_some((self.expires_at, sealed))
    }
}

fn state(journal: &Journal) -> State {
    let followed = block_on(journal.follow(None)).expect("it can be read");
    assert!(followed.is_current() && !followed.has_lost() && followed.skipped() == 0);
    let entries = followed.events().iter().map(entry);
    entries.map(|(hash, until, sealed)| (hash, (until, sealed))).collect()
}

fn append(journal: &Journal, events: Vec<Event>) {
    block_on(journal.append(events)).expect("kept");
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

fn hash(n: u8) -> TokenHash {
    TokenHash::of([n])
}

fn revoked(n: u8, is_pending: bool) -> Event {
    let sealed = is_pending.then(|| SealedToken::from_bytes(vec![n; 95]));
    let expires_at = UNIX_EPOCH + Duration::from_millis(4_000_000_000_000 + u64::from(n));
    Event::Revoked { hash: hash(n), expires_at, sealed }
}

fn entry(event: &Event) -> ([u8; 32], u64, Option<Vec<u8>>) {
    let Event::Revoked { hash, expires_at, sealed } = event else { panic!("not a revocation") };
    let sealed = sealed.as_ref().map(|sealed| sealed.as_bytes().to_vec());
    (*hash.as_bytes(), millis(*expires_at), sealed)
}

fn millis(time: SystemTime) -> u64 {
    let millis = time.duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    u64::try_from(millis).expect("a time")
}
