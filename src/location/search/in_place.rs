//! Helps to decode a text in place.

/// The next byte to read, and the end of the decoded bytes that overwrite the text.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) next: usize,
    pub(super) end: usize,
}

impl Progress {
    /// Keeps `length` bytes as they are. Most bytes are in such runs, and the runs are long.
    pub(super) fn keep(&mut self, text: &mut [u8], length: usize) {
        text.copy_within(self.next..self.next + length, self.end);
        self.next += length;
        self.end += length;
    }

    /// Appends a decoded byte. At least one byte must have been read for it.
    pub(super) fn push(&mut self, text: &mut [u8], byte: u8) {
        text[self.end] = byte;
        self.end += 1;
    }
}
