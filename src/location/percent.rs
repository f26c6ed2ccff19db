//! Percent-encoding (RFC 3986, section 2.1), as every decoder of cookies and forms reads it: what is no
//! escape stands for itself.

use zeroize::Zeroizing;

/// The byte that the escape at the front of this stands for, and what is behind it.
#[inline]
pub(super) fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, rest @ ..] = text else { return None };
    let (high, low) = (HEX[usize::from(*high)], HEX[usize::from(*low)]);
    (high | low < NO_DIGIT).then_some((high << 4 | low, rest))
}

const NO_DIGIT: u8 = 16;

/// What each byte is as a digit. Looked up, since this is done for every escape of a request.
const HEX: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < NO_DIGIT {
        digits[b"0123456789abcdef"[digit as usize] as usize] = digit;
        digits[b"0123456789ABCDEF"[digit as usize] as usize] = digit;
        digit += 1;
    }
    digits
};

/// The text with a byte in place of each escape; `None` where there is none.
pub(super) fn decoded(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let rest = &text[memchr::memchr(b'%', text)?..];
    rest.windows(3).find(|three| escape(three).is_some())?;
    // Never longer than this, so that it is never moved, and nothing is left where it was.
    let mut decoded = Zeroizing::new(vec![0; text.len()]);
    let mut length = 0;
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        let (byte, after) = escape(rest).unwrap_or((*byte, after));
        decoded[length] = byte;
        length += 1;
        rest = after;
    }
    decoded.truncate(length);
    Some(decoded)
}

/// What is behind the name that this text begins with, once it is decoded; `None` where it begins
/// with another. A plus is a space where that fits, as in forms.
pub(super) fn strip_decoded<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let is_same = |(byte, letter): &(&u8, &u8)| byte == letter && **byte != b'%';
    let plain = text.iter().zip(name).take_while(is_same).count();
    let mut rest = &text[plain..];
    for &letter in &name[plain..] {
        let (&byte, after) = rest.split_first()?;
        let (byte, after) = match byte {
            b'%' => escape(rest).unwrap_or((byte, after)),
            b'+' if letter == b' ' => (letter, after),
            _ => (byte, after),
        };
        if byte != letter {
            return None;
        }
        rest = after;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_all_else_stands_for_itself() {
        for (text, expected) in [
            (&b"%41"[..], &b"A"[..]),
            (b"a%62c%6a%6J%", b"abcj%6J%"),
            (b"%%41%4%41", b"%A%4A"),
            (b"%2541", b"%41"),
            (b"%ff%00", b"\xff\0"),
        ] {
            assert_eq!(decoded(text).expect("an escape").as_slice(), expected);
        }
        for plain in [&b""[..], b"abc", b"%", b"%4", b"%g0", b"%0g", b"%gg", b"100%"] {
            assert!(decoded(plain).is_none());
        }
    }

    #[test]
    fn a_name_is_found_however_much_of_it_is_escaped() {
        for text in [&b"name=1"[..], b"n%61me=1", b"%6e%61%6D%65=1"] {
            assert_eq!(strip_decoded(text, b"name"), Some(&b"=1"[..]));
        }
        for text in [&b""[..], b"nam", b"n%62me", b"n%6", b"n+me", b"nam%2565"] {
            assert_eq!(strip_decoded(text, b"name"), None);
        }
    }
}
