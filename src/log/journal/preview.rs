//! What redb would do to a file, without doing it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::{Bound, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

const BLOCK: usize = 4096;
const BLOCK_U64: u64 = BLOCK as u64;

type Block = Box<[u8; BLOCK]>;

/// A file that redb may write to as it likes, and that stays as it is: what is written is held in
/// memory, and gone with the `Preview`.
///
/// To open a database is to write to it: redb repairs what a crash left, and marks the file as
/// open. A file that turns out not to be ours, or damaged, must not be touched; so each is opened
/// like this first.
#[derive(Debug)]
pub(super) struct Preview {
    file: FileBackend,
    held: Mutex<HeldBlocks>,
}

#[derive(Debug)]
struct HeldBlocks {
    blocks: BTreeMap<u64, Block>,
    len: u64,
    /// How far the file itself still shows through: it may have been cut, and grown again.
    visible: u64,
}

impl HeldBlocks {
    fn check_end(&self, offset: u64, len: usize, kind: ErrorKind) -> io::Result<()> {
        let end = u64::try_from(len).ok().and_then(|len| offset.checked_add(len));
        if end.is_some_and(|end| end <= self.len) { Ok(()) } else { Err(kind.into()) }
    }
}

impl Preview {
    pub(super) fn of(file: File) -> Result<Self, DatabaseError> {
        let len = file.metadata()?.len();
        let held = HeldBlocks { blocks: BTreeMap::new(), len, visible: len };
        Ok(Self { file: FileBackend::new(file)?, held: Mutex::new(held) })
    }

    fn held(&self) -> MutexGuard<'_, HeldBlocks> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn block_of_file(&self, index: u64, visible: u64) -> io::Result<Block> {
        let mut block = Box::new([0; BLOCK]);
        let start = index * BLOCK_U64;
        let end = visible.min(start + BLOCK_U64);
        if end == start + BLOCK_U64 {
            self.file.read(start, &mut *block)?;
        } else if start < end {
            self.file.read(start, &mut block[..within(end)])?;
        }
        Ok(block)
    }
}

impl StorageBackend for Preview {
    fn len(&self) -> io::Result<u64> {
        Ok(self.held().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let held = self.held();
        held.check_end(offset, out.len(), ErrorKind::UnexpectedEof)?;
        for (index, start, part) in parts(offset, out.len()) {
            let out = &mut out[part];
            let range = start..start + out.len();
            match held.blocks.get(&index) {
                Some(block) => out.copy_from_slice(&block[range]),
                None => {
                    out.copy_from_slice(&self.block_of_file(index, held.visible)?[range]);
                }
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut held = self.held();
        held.visible = held.visible.min(len);
        let mut cut = held.blocks.split_off(&(len / BLOCK_U64));
        if let Some(mut block) = cut.remove(&(len / BLOCK_U64)) {
            block[within(len)..].fill(0);
            held.blocks.insert(len / BLOCK_U64, block);
        }
        held.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut held = self.held();
        held.check_end(offset, data.len(), ErrorKind::InvalidInput)?;
        for (index, start, part) in parts(offset, data.len()) {
            let data = &data[part];
            let visible = held.visible;
            let block = match held.blocks.entry(index) {
                Entry::Occupied(block) => block.into_mut(),
                Entry::Vacant(gap) => gap.insert(self.block_of_file(index, visible)?),
            };
            block[start..start + data.len()].copy_from_slice(data);
        }
        Ok(())
    }

    // The locks are the file's: who has it open keeps a preview out, and the other way round.

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

/// Where in its block this offset lies.
#[allow(clippy::cast_possible_truncation, reason = "less than a block, whatever a usize is")]
fn within(offset: u64) -> usize {
    (offset % BLOCK_U64) as usize
}

/// The blocks that `len` bytes from `offset` on lie in: the index of each, where in it they start,
/// and which of the bytes they are.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let mut next = (offset, 0);
    std::iter::from_fn(move || {
        let (offset, done) = next;
        let start = within(offset);
        let size = (BLOCK - start).min(len - done);
        next = (offset + size as u64, done + size);
        (size > 0).then(|| (offset / BLOCK_U64, start, done..done + size))
    })
}
