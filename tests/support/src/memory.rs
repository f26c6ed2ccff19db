//! Searches the memory of this process.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

/// Longer than the blocks of a hash function or a cipher, which may leave a block on the stack.
const PART: usize = 66;

const MASK: u8 = 0xa5;

/// As long as one read of memory.
const ZEROS: &[u8] = &[0; 4 * 4096];

/// A text whose bytes are masked here, so that only other code can have it in memory.
#[derive(Clone)]
pub struct Masked(Vec<u8>);

impl Masked {
    pub fn of(text: impl IntoIterator<Item = u8>) -> Self {
        Self(text.into_iter().map(|byte| byte ^ MASK).collect())
    }

    /// Pseudo-random bytes of an alphabet. Each seed gives other bytes.
    pub fn drawn(seed: u64, length: usize, alphabet: &[u8]) -> Self {
        let mut random = seed;
        Self::of((0..length).map(|_| {
            // Knuth's generator for MMIX.
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

    /// Whether a part of the text is in memory. It searches for several parts, because an allocator
    /// overwrites the beginning of freed memory, and a buffer may have moved before it was full.
    pub fn is_in_memory(&self) -> bool {
        // One search at a time, because each reads the buffers of the others.
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
            // The map is gone by now, or cannot be read as memory.
            let Ok(length) = memory.read_at(&mut read[..length], at) else { return false };
            let text = &read[..length];
            // Most of the memory is empty.
            let is_empty = text == &ZEROS[..length];
            if !is_empty && self.is_part_of(text) {
                return true;
            }
            if length < PART {
                return false;
            }
            // A part that is cut in two here is whole in the next read.
            let overlap = if at + length as u64 == end { 0 } else { PART - 1 };
            at += (length - overlap) as u64;
        }
        false
    }

    /// Compares byte by byte, because wider comparisons may leave bytes on the stack.
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

/// The begin and the end of a map, if it is writable (`proc_pid_maps(5)`).
fn writable(map: &str) -> Option<(u64, u64)> {
    let mut fields = map.split(' ');
    let (begin, end) = fields.next()?.split_once('-')?;
    fields.next().filter(|permissions| permissions.starts_with("rw"))?;
    Some((u64::from_str_radix(begin, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}
