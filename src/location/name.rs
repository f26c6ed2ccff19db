//! The name of a cookie, or of a field of a query or form.

use std::ops::ControlFlow;

use super::percent::{escape, strip_decoded};

/// How many bytes are looked at in one go: what compilers make vectors of.
const CHUNK: usize = 32;

/// A name, to be searched for in what holds many.
///
/// Bytes that cannot begin it are passed over many at a time: however a text is made up, it costs
/// hardly more than its length.
#[derive(Debug)]
pub(super) struct Name {
    text: Vec<u8>,
    holds_percent: bool,
}

impl Name {
    /// The name is not empty.
    pub(super) fn new(name: &str) -> Self {
        Self { text: name.as_bytes().to_vec(), holds_percent: name.contains('%') }
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.text == name.as_bytes()
    }

    /// Yields where the name begins, and what is behind it: in front of all, and behind each
    /// separator, also where letters of it are percent-encoded. What no value follows may be left
    /// out.
    pub(super) fn search<'a>(
        &self,
        text: &'a [u8],
        is_separator: impl Fn(u8) -> bool,
        mut visit: impl FnMut(usize, &'a [u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (Some(&first), Some((_, behind))) = (self.text.first(), text.split_first()) else {
            return ControlFlow::Continue(());
        };
        if memchr::memchr2(b'%', b'+', text).is_none() {
            let mut visit = |at: usize| match text[at..].strip_prefix(&*self.text) {
                Some(behind) => visit(at, behind),
                None => ControlFlow::Continue(()),
            };
            let second = self.text.get(1).copied();
            return each_pair(
                text,
                behind,
                |byte| byte == first,
                |byte| second.is_none_or(|second| byte == second),
                |at| {
                    let is_apart = at == 0 || is_separator(text[at - 1]);
                    // Few bytes follow a name, as nearly always tells.
                    if is_apart && text.get(at + self.text.len()).copied().is_some_and(may_follow) {
                        visit(at)
                    } else {
                        ControlFlow::Continue(())
                    }
                },
            );
        }
        let mut visit = |at: usize| match self.strip_from(&text[at..]) {
            Some(behind) => visit(at, behind),
            None => ControlFlow::Continue(()),
        };
        visit(0)?;
        let plus = if first == b' ' { b'+' } else { first };
        each_pair(
            text,
            behind,
            is_separator,
            |byte| byte == first || byte == b'%' || byte == plus,
            |before| {
                if self.may_stand_at(&text[before + 1..]) {
                    visit(before + 1)
                } else {
                    ControlFlow::Continue(())
                }
            },
        )
    }

    /// What is behind the name that this begins with, once it is decoded or as it is.
    fn strip_from<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let decoded = strip_decoded(text, &self.text);
        if self.holds_percent {
            decoded.or_else(|| text.strip_prefix(&*self.text))
        } else {
            decoded
        }
    }

    /// Whether the first two letters fit, as nearly always tells.
    #[inline]
    fn may_stand_at(&self, text: &[u8]) -> bool {
        if self.holds_percent {
            return true;
        }
        let next = match text {
            [b'%', _, _, next, ..] => {
                if escape(text).is_none_or(|(letter, _)| Some(&letter) != self.text.first()) {
                    return false;
                }
                next
            }
            [_, next, ..] => next,
            _ => return false,
        };
        matches!(next, b'%' | b'+') || self.text.get(1).is_none_or(|second| next == second)
    }
}

/// Whether this may follow a name that has a value: an equals sign, or white space before it.
fn may_follow(byte: u8) -> bool {
    !matches!(byte, b'!'..=b'~') || byte == b'='
}

/// Yields the places at which the one holds of the one text, and the other of the other.
#[inline]
fn each_pair(
    firsts: &[u8],
    seconds: &[u8],
    first_holds: impl Fn(u8) -> bool,
    second_holds: impl Fn(u8) -> bool,
    mut visit: impl FnMut(usize) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let (chunks, rest) = seconds.as_chunks::<CHUNK>();
    for (n, (first, second)) in firsts.as_chunks::<CHUNK>().0.iter().zip(chunks).enumerate() {
        let mut holds = [0; CHUNK];
        for at in 0..CHUNK {
            // Without a branch, so that it is done with vectors.
            holds[at] = u8::from(first_holds(first[at])) & u8::from(second_holds(second[at]));
        }
        if holds == [0; CHUNK] {
            continue;
        }
        for (word, holds) in holds.as_chunks::<8>().0.iter().enumerate() {
            let mut holds = u64::from_le_bytes(*holds);
            while holds != 0 {
                visit(n * CHUNK + word * 8 + holds.trailing_zeros() as usize / 8)?;
                holds &= holds - 1;
            }
        }
    }
    let begin = seconds.len() - rest.len();
    for (at, (first, second)) in firsts[begin..].iter().zip(rest).enumerate() {
        if first_holds(*first) && second_holds(*second) {
            visit(begin + at)?;
        }
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, text: &str) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let _ = Name::new(name).search(
            text.as_bytes(),
            |byte| byte == b'&',
            |at, behind| {
                found.push((at, String::from_utf8_lossy(behind).into_owned()));
                ControlFlow::Continue(())
            },
        );
        found
    }

    #[test]
    fn a_name_is_found_in_front_and_behind_each_separator() {
        assert_eq!(found("ab", "ab=1&ab="), [(0, "=1&ab=".into()), (5, "=".into())]);
        assert_eq!(
            found("ab", "&%61b&a%62&a%6&xab"),
            [(1, "&a%62&a%6&xab".into()), (6, "&a%6&xab".into())]
        );
        assert_eq!(found("a b", "a+b&a%20b").len(), 2);
        assert!(found("ab", "").is_empty());
    }

    #[test]
    fn a_name_that_holds_an_escape_is_found_as_it_is_and_encoded() {
        assert_eq!(found("a%41b", "a%2541b=1&a%41b=2&aAb=3").len(), 2);
    }

    #[test]
    fn a_name_is_found_wherever_it_stands() {
        for before in 0..100 {
            let text = format!("{}&ab=&ab=", "x".repeat(before));
            let places: Vec<_> = found("ab", &text).into_iter().map(|(at, _)| at).collect();
            assert_eq!(places, [before + 1, before + 5]);
        }
    }
}
