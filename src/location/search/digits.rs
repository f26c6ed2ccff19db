//! Decodes the digits of escapes.

const NONE: u8 = u8::MAX;

const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        values[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    values
};

pub(super) fn is_hexadecimal(digit: u8) -> bool {
    VALUES[usize::from(digit)] != NONE
}

/// The byte that two hexadecimal digits stand for.
pub(super) fn hexadecimal(high: u8, low: u8) -> Option<u8> {
    let (high, low) = (VALUES[usize::from(high)], VALUES[usize::from(low)]);
    (high != NONE && low != NONE).then_some(high << 4 | low)
}

/// The byte that three octal digits stand for.
pub(super) fn octal(high: u8, middle: u8, low: u8) -> Option<u8> {
    match (high, middle, low) {
        (b'0'..=b'3', b'0'..=b'7', b'0'..=b'7') => {
            Some((high - b'0') << 6 | (middle - b'0') << 3 | (low - b'0'))
        }
        _ => None,
    }
}
