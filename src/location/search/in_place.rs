//! Decoding in place.

/// How far a text is read, and where the decoded bytes end that overwrite it.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) next: usize,
    pub(super) end: usize,
}

impl Progress {
    /// Reads `length` bytes that stand for themselves. Most do, and in long runs.
    pub(super) fn keep(&mut self, text: &mut [u8], length: usize) {
        text.copy_within(self.next..self.next + length, self.end);
        self.next += length;
        self.end += length;
    }

    /// Appends a byte, after at least one was read for it.
    pub(super) fn push(&mut self, text: &mut [u8], byte: u8) {
        text[self.end] = byte;
        self.end += 1;
    }
}
