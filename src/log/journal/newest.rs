//! Makes redb open the newer of a file's last two commits, even if a bit in the header is wrong.

use std::fs::OpenOptions;
use std::ops::Bound::Unbounded;
use std::path::Path;

use redb::StorageBackend;
use redb::backends::FileBackend;

// redb's file format 3: a header with two commit slots, and a byte of flags.
const HEADER: usize = 320;
const FLAGS: usize = 9;
const SECOND_IS_CURRENT: u8 = 1;
const RECOVER: u8 = 2;
const TWO_PHASES: u8 = 4;
const SLOTS: [usize; 2] = [64, 192];
const VERSION: u8 = 3;
const COMMIT: usize = 104;

/// If the file says that the older of the two commits is current, makes redb choose between them
/// itself. Returns whether that was necessary. The file must have been verified, and must not be
/// open.
///
/// After a two-phase commit only the flags say which slot is current, and no checksum covers the
/// flags. One flipped bit brings back the commit before the last one, and tokens that were revoked
/// since then are accepted again.
///
/// After a one-phase commit redb takes the newer slot if it is intact, and the other one if not.
/// That is right here too: an intact newer commit was either hidden by this bit, or was not
/// acknowledged because of a crash, and such a commit may be kept.
pub(super) fn prefer(path: &Path) -> Result<bool, redb::Error> {
    let file = FileBackend::new(OpenOptions::new().read(true).write(true).open(path)?)?;
    if !file.try_lock_range(Unbounded, Unbounded)? {
        return Err(redb::Error::DatabaseAlreadyOpen);
    }
    let preferred = clear(&file);
    file.close()?;
    preferred
}

fn clear(file: &FileBackend) -> Result<bool, redb::Error> {
    let mut header = [0; HEADER];
    file.read(0, &mut header)?;
    let flags = header[FLAGS];
    // redb ignores unknown flags. But if they are set, the other flags and a commit may be damaged
    // too, and redb would go back to the commit before it.
    if flags & !(SECOND_IS_CURRENT | RECOVER | TWO_PHASES) != 0 {
        return Err(redb::Error::Corrupted("the header has unknown flags".to_owned()));
    }
    let [first, second] = SLOTS.map(|slot| commit(&header[slot..]));
    let other_is_newer = match (first, second) {
        (Some(first), Some(second)) if flags & SECOND_IS_CURRENT == 0 => second > first,
        (Some(first), Some(second)) => first > second,
        _ => false,
    };
    let wrong = other_is_newer && flags & TWO_PHASES != 0;
    if wrong {
        file.write(FLAGS as u64, &[flags & !TWO_PHASES])?;
        file.sync_data()?;
    }
    Ok(wrong)
}

/// The number of the commit in this slot; `None` for another format, which may hold it elsewhere.
fn commit(slot: &[u8]) -> Option<u64> {
    let number = slot.get(COMMIT..)?.first_chunk()?;
    (slot[0] == VERSION).then(|| u64::from_le_bytes(*number))
}
