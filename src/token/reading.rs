//! The reading of a credential that is recognised by its place, not by the shape of Polar's tokens.
//!
//! There is only one reading, and it decides both what a logout denies and what is looked up. A
//! second one, good enough to look up, could be too coarse to deny: many users share a scheme, a
//! placeholder or a counter.

use percent_encoding::percent_decode;
use zeroize::Zeroizing;

use super::TokenHash;

/// Shorter values are placeholders, flags and counters, which users share. A session id of 128 bits
/// is longer, however it is written.
const SHORTEST: usize = 16;

/// Reads a value, and passes the reading and its hash to `with`.
///
/// - The value is percent-decoded.
/// - Everything but `A-Za-z0-9-._~+/=` is cut off at both ends, and the scheme Bearer too.
/// - Values too short to be one user's credential, and `Basic` credentials, have no reading.
pub(crate) fn read<T>(value: &[u8], with: impl FnOnce(&[u8], TokenHash) -> T) -> Option<T> {
    let mut decoded = Zeroizing::new(Vec::new());
    let text = if memchr::memchr(b'%', value).is_some() {
        // The decoded text is never longer, so the buffer never moves and leaves no copy behind.
        decoded.reserve_exact(value.len());
        decoded.extend(percent_decode(value));
        trimmed(&decoded)
    } else {
        trimmed(value)
    };
    // A user name and a password, which are valid for the next session too.
    if behind_scheme(text, b"basic").is_some() {
        return None;
    }
    let text = behind_scheme(text, b"bearer").map_or(text, trimmed);
    (text.len() >= SHORTEST).then(|| with(text, hash(text)))
}

fn behind_scheme<'a>(text: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (word, behind) = text.split_at_checked(scheme.len())?;
    let is_scheme = word.eq_ignore_ascii_case(scheme) && behind.first()?.is_ascii_whitespace();
    is_scheme.then_some(behind)
}

fn trimmed(text: &[u8]) -> &[u8] {
    let Some(begin) = text.iter().position(|&byte| is_kept(byte)) else { return &[] };
    let end = text.iter().rposition(|&byte| is_kept(byte)).map_or(begin, |last| last + 1);
    &text[begin..end]
}

fn is_kept(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

/// The signature of a JWT can be encoded in several ways, so its decoded bytes are hashed.
fn hash(text: &[u8]) -> TokenHash {
    match signed_and_signature(text) {
        Some((signed, signature)) => TokenHash::of_parts([signed, b".", &signature]),
        None => TokenHash::of(text),
    }
}

/// The two parts of a JWT (RFC 7515, section 7.1): the signed text, and the decoded signature.
fn signed_and_signature(text: &[u8]) -> Option<(&[u8], Zeroizing<Vec<u8>>)> {
    // Every JWT header begins with `{"`, which is this in base64.
    if !text.starts_with(b"eyJ") {
        return None;
    }
    let mut dots = memchr::memchr_iter(b'.', text);
    let (_, second, None) = (dots.next()?, dots.next()?, dots.next()) else { return None };
    let (signed, signature) = (&text[..second], &text[second + 1..]);
    let mut decoded = Zeroizing::new(Vec::with_capacity(signature.len()));
    let (mut bits, mut in_use) = (0_u32, 0);
    // Decodes as the most lenient decoder does: it accepts both alphabets, skips all other
    // characters, and ignores leftover bits.
    for value in signature.iter().filter_map(|&letter| value(letter)) {
        bits = bits << 6 | value;
        in_use += 6;
        if in_use >= 8 {
            in_use -= 8;
            let [.., byte] = (bits >> in_use).to_be_bytes();
            decoded.push(byte);
        }
    }
    Some((signed, decoded))
}

/// The six bits of a base64 letter (RFC 4648, sections 4 and 5).
fn value(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "abcdefghijklmnopqrstuv";

    fn hash_of(value: &str) -> Option<TokenHash> {
        read(value.as_bytes(), |_, hash| hash)
    }

    #[test]
    fn value_reads_the_same_in_quotes_or_encoded() {
        for (one, other) in [
            (ID.to_owned(), format!("\"{ID}\"")),
            (format!("s%3A{ID}.SIG"), format!("\"s%3a{ID}.SIG\"")),
            (ID.to_owned(), format!("%22{ID}%22 ")),
            (ID.to_owned(), format!("\"bearer  {ID}\"")),
        ] {
            assert_eq!(hash_of(&one).expect("a reading"), hash_of(&other).expect("a reading"));
        }
    }

    #[test]
    fn jwt_hash_ignores_encoding_of_its_signature() {
        let jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2lnbmF0dXI_";
        let same = [
            format!("{jwt}="),
            jwt.replace('_', "/"),
            format!("{jwt}=="),
            jwt.replace("c2ln", "c2!!ln"),
        ];
        // In a group of two letters, the last carries four bits that no decoder reads.
        let loose = ("eyJhbGciOiJub25lIn0.e30.c2", "eyJhbGciOiJub25lIn0.e30.c3");
        for same in same {
            assert_eq!(hash_of(jwt), hash_of(&same), "{same}");
        }
        assert_eq!(hash_of(loose.0), hash_of(loose.1));
        assert_ne!(hash_of(jwt), hash_of(&jwt.replace("c2ln", "c2lm")));
        assert_ne!(hash_of(jwt), hash_of(&jwt.replace("eyJzdWIi", "eyJzdWJi")));
    }

    #[test]
    fn placeholders_have_no_reading() {
        for shared in [
            "",
            "null",
            "undefined",
            "Bearer",
            "Bearer undefined",
            "Bearer%20undefined",
            "Basic dXNlcjpwYXNzd29yZC1vZi1hLXVzZXI=",
            "chunks-2",
            "x",
            "-",
            "\"\"",
            "%20%20",
        ] {
            assert!(hash_of(shared).is_none(), "{shared}");
        }
    }

    #[test]
    fn values_of_two_users_never_read_the_same() {
        for carrier in ["{\"v\":1,\"sid\":\"{}\"}", "v2,{}", "Bearer tenant1, {}", "j:\"{}\""] {
            let [one, other] = [ID, "vutsrqponmlkjihgfedcba"].map(|id| carrier.replace("{}", id));
            assert_ne!(hash_of(&one).expect("a reading"), hash_of(&other).expect("a reading"));
        }
    }
}
