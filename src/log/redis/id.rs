//! The id of an entry in a Redis stream.

use std::fmt;

/// The time at which Redis stored the entry, in milliseconds of its clock, and a number within that
/// millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) millis: u64,
    pub(super) number: u64,
}

impl Id {
    /// Before every entry.
    pub(super) const ZERO: Self = Self { millis: 0, number: 0 };

    /// `None` if the text is not in Redis's form: two numbers with a `-` in between.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let dash = text.iter().position(|byte| *byte == b'-')?;
        Some(Self { millis: number(&text[..dash])?, number: number(&text[dash + 1..])? })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.number)
    }
}

pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Redis writes an id as two numbers with a hyphen between them.
    #[test]
    fn only_redis_ids_are_parsed() {
        for id in [Id::ZERO, Id { millis: u64::MAX, number: u64::MAX }] {
            assert_eq!(Id::parse(id.to_string().as_bytes()), Some(id));
        }
        for text in ["", "-", "1", "1-", "-1", "1-2-3", "+1-2", "1 -2", "18446744073709551616-0"] {
            assert_eq!(Id::parse(text.as_bytes()), None, "{text}");
        }
    }
}
