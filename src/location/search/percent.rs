//! Decodes percent-encoding that was applied any number of times.

use memchr::memchr;

use super::digits::{hexadecimal, is_hexadecimal};
use super::in_place::Progress;

/// How many bytes after a percent sign belong to its escape.
const DIGITS: u32 = 2;

/// Decodes `text` in place, in one pass, until no escape is left.
///
/// A byte may complete an escape (`%70`), and the decoded byte may complete another (`%2570`). Each
/// makes the decoded bytes shorter by two, so the whole text takes linear time.
pub(super) fn decode(text: &mut [u8]) -> &mut [u8] {
    let mut at = Progress::default();
    // How many of the next bytes may complete an escape.
    let mut open = 0;
    while at.next < text.len() {
        if open == 0 && text[at.next] != b'%' {
            let rest = &text[at.next..];
            let run = memchr(b'%', rest).unwrap_or(rest.len());
            at.keep(text, run);
            continue;
        }
        let mut byte = text[at.next];
        at.next += 1;
        open = if byte == b'%' { DIGITS } else { open - 1 };
        while is_hexadecimal(byte)
            && let [.., b'%', high] = text[..at.end]
            && let Some(decoded) = hexadecimal(high, byte)
        {
            at.end -= 2;
            byte = decoded;
            open = DIGITS;
        }
        at.push(text, byte);
    }
    &mut text[..at.end]
}
