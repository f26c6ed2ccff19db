//! What is left in the memory of this process.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

/// Longer than the blocks that a hash function or a cipher works on: what it leaves on a stack is no
/// part.
const PART: usize = 66;

const MASK: u8 = 0xa5;

/// What is read at a time is as long.
const ZEROS: &[u8] = &[0; 4 * 4096];

/// A text that is in memory nowhere but where somebody else puts it: here each byte is masked.
#[derive(Clone)]
pub struct Masked(Vec<u8>);

impl Masked {
    pub fn of(text: impl IntoIterator<Item = u8>) -> Self {
        Self(text.into_iter().map(|byte| byte ^ MASK).collect())
    }

    /// Bytes of an alphabet, as if by chance, and others for another seed.
    pub fn drawn(seed: u64, length: usize, alphabet: &[u8]) -> Self {
        let mut random = seed;
        Self::of((0..length).map(|_| {
            // Knuth's, of MMIX.
            random = random.wrapping_mul(6_364_136_223_846_793_005);
            random = random.wrapping_add(1_442_695_040_888_963_407);
            alphabet[usize::try_from(random >> 33).expect("31 bits") % alphabet.len()]
        }))
    }

    pub fn bytes(&self) -> impl Iterator<Item = u8> {
        self.0.iter().map(|byte| byte ^ MASK)
    }

    pub fn into_bytes(self) -> impl Iterator<Item = u8> {
        self.0.into_iter().map(|byte| byte ^ MASK)
    }

    /// Whether a part of the text is in memory. Several are looked for: an allocator writes over the
    /// beginning of what is given back, and what has grown may have moved half-way.
    pub fn is_in_memory(&self) -> bool {
        // One at a time: each reads what all others have in memory.
        static SEARCHING: Mutex<()> = Mutex::new(());
        let _searching = SEARCHING.lock().unwrap_or_else(PoisonError::into_inner);

        assert!(self.0.len() >= 2 * PART, "too short to be found");
        let memory = File::open("/proc/self/mem").expect("this process's memory");
        let mut read = Zeroizing::new(vec![0; ZEROS.len()]);
        let maps = fs::read_to_string("/proc/self/maps").expect("this process's maps");
        maps.lines().filter_map(writable).any(|map| self.is_at(&memory, map, &mut read))
    }

    fn is_at(&self, memory: &File, (mut at, end): (u64, u64), read: &mut [u8]) -> bool {
        while at < end {
            let length = read.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            // A map that is gone by now, or is none of memory.
            let Ok(length) = memory.read_at(&mut read[..length], at) else { return false };
            let text = &read[..length];
            // As most of it is.
            let is_empty = text == &ZEROS[..length];
            if !is_empty && self.is_part_of(text) {
                return true;
            }
            if length < PART {
                return false;
            }
            // What is cut in two here is whole in the next.
            let overlap = if at + length as u64 == end { 0 } else { PART - 1 };
            at += (length - overlap) as u64;
        }
        false
    }

    /// Byte by byte: whoever compares many at a time may leave them on the stack.
    fn is_part_of(&self, text: &[u8]) -> bool {
        let mut may_begin = [false; 256];
        for part in self.0.chunks_exact(PART) {
            may_begin[usize::from(part[0] ^ MASK)] = true;
        }
        let places = text.iter().enumerate().filter(|(_, byte)| may_begin[usize::from(**byte)]);
        places.filter_map(|(at, _)| text.get(at..at + PART)).any(|text| {
            let mut parts = self.0.chunks_exact(PART);
            parts.any(|part| text.iter().zip(part).all(|(a, b)| a ^ MASK == *b))
        })
    }
}

/// Where a map begins and ends, if it can be written to (`proc_pid_maps(5)`).
fn writable(map: &str) -> Option<(u64, u64)> {
    let mut fields = map.split(' ');
    let (begin, end) = fields.next()?.split_once('-')?;
    fields.next().filter(|permissions| permissions.starts_with("rw"))?;
    Some((u64::from_str_radix(begin, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}
