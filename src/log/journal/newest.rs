//! Which of its two last commits a file means, where one bit of it may be wrong.

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

/// Lets redb choose the newer of the two commits, where the file says that the older is current.
/// Says whether it had to. For a file that has been verified, and still has to be opened.
///
/// After a commit in two phases the flags alone say which slot is current, and no checksum covers
/// them: one flipped bit brings the commit before the last one back, and with it the tokens that
/// were revoked since. After a commit in one phase redb takes the newer slot if all of it is whole,
/// and the other one if not. That is right here as well: a newer commit that is whole is one that
/// only this bit hides, or one that a crash kept from being acknowledged, which may be there.
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
    // What nobody sets, redb does not look at: but who damaged it has damaged the others as well, and
    // a commit beside it perhaps, behind which the one before would come back.
    if flags & !(SECOND_IS_CURRENT | RECOVER | TWO_PHASES) != 0 {
        return Err(redb::Error::Corrupted("its flags are none of redb's".to_owned()));
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

/// The number of the commit in this slot; `None` for a format that may have it elsewhere.
fn commit(slot: &[u8]) -> Option<u64> {
    let number = slot.get(COMMIT..)?.first_chunk()?;
    (slot[0] == VERSION).then(|| u64::from_le_bytes(*number))
}
