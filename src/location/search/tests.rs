//! Tests that the search finds every spelling of a token, and reports nothing else.

mod reference;

use std::ops::ControlFlow;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Encodings, search};
use crate::token::PolarToken;

const TOKEN: &str = "polar_rt_o_uxUX7016abcdefABCDEF0123456789ghijklmnopqrs";

fn found(text: &[u8], encodings: Encodings) -> Vec<Vec<u8>> {
    let mut tokens = Vec::new();
    let flow = search(text, encodings, &mut |token| {
        tokens.push(token.as_bytes().to_vec());
        ControlFlow::Continue(())
    });
    assert!(flow.is_continue());
    assert!(tokens.iter().all(|token| PolarToken::at_start(token).is_some()));
    tokens
}

fn is_found(text: &[u8]) -> bool {
    found(text, Encodings::TextAndBase64).contains(&TOKEN.as_bytes().to_vec())
}

/// A way to write a byte.
type Spelling = fn(u8) -> Vec<u8>;

const PERCENT: Spelling = |byte| format!("%{byte:02x}").into_bytes();
const JSON: Spelling = |byte| format!("\\u{byte:04X}").into_bytes();
const HEXADECIMAL: Spelling = |byte| format!("\\x{byte:02x}").into_bytes();
const OCTAL: Spelling = |byte| format!("\\{byte:03o}").into_bytes();
const BACKSLASH: Spelling = |byte| vec![b'\\', byte];
const ESCAPES: [Spelling; 4] = [PERCENT, JSON, HEXADECIMAL, OCTAL];

/// Writes the bytes that `choose` selects in this spelling, and those that its grammar must escape.
fn written(text: &[u8], spelling: Spelling, choose: impl Fn(usize) -> bool) -> Vec<u8> {
    let must = |byte| byte == b'\\' && spelling(byte)[0] == b'\\';
    let write =
        |(index, &byte)| if choose(index) || must(byte) { spelling(byte) } else { vec![byte] };
    text.iter().enumerate().flat_map(write).collect()
}

/// Writes a quoted cookie, and escapes some characters that need no escape.
fn quoted(text: &[u8], choices: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::new();
    for (index, &byte) in text.iter().enumerate() {
        match choices[index % choices.len()] % 3 {
            0 => quoted.extend(OCTAL(byte)),
            // A digit is not escaped: with the digits after it, it could be an octal escape.
            1 if byte == b'\\' || !byte.is_ascii_digit() => quoted.extend(BACKSLASH(byte)),
            _ => quoted.push(byte),
        }
    }
    quoted
}

#[test]
fn token_is_found_inside_other_text() {
    for (before, after) in
        [("", ""), ("Bearer", "x"), ("polar_at_u_", ""), ("%7", "\\"), ("\\x7", ""), ("%2", "%")]
    {
        assert!(is_found(format!("{before}{TOKEN}{after}").as_bytes()));
    }
}

#[test]
fn token_is_found_with_any_byte_escaped() {
    for spelling in [PERCENT, JSON, HEXADECIMAL, OCTAL] {
        assert!(is_found(&written(TOKEN.as_bytes(), spelling, |_| true)));
        for chosen in 0..PolarToken::LEN {
            assert!(is_found(&written(TOKEN.as_bytes(), spelling, |index| index == chosen)));
        }
    }
}

#[test]
fn token_is_found_in_two_stacked_encodings() {
    for inner in ESCAPES {
        for outer in ESCAPES {
            for (first, second) in [(1, 1), (1, 2), (2, 1), (3, 2), (53, 1), (53, 5)] {
                let text = written(TOKEN.as_bytes(), inner, |index| index % first == 0);
                let text = written(&text, outer, |index| index % second == 0);
                assert!(is_found(&text), "{}", String::from_utf8_lossy(&text));
            }
        }
        // A string in a string, as encoders of JSON and of quoted cookies write it.
        let text = written(TOKEN.as_bytes(), inner, |index| index % 3 == 0);
        assert!(is_found(&String::from_utf8_lossy(&text).replace('\\', "\\\\").into_bytes()));
        assert!(is_found(&String::from_utf8_lossy(&text).replace('\\', "%5C%5c").into_bytes()));
    }
}

#[test]
fn token_is_found_in_base64_at_any_alignment() {
    for before in ["", "x", "x:", "x:y", "?>~"] {
        for after in ["", "~", "??", "more"] {
            let text = format!("{before}{TOKEN}{after}");
            let standard = BASE64_STANDARD.encode(&text);
            let url_safe = BASE64_URL_SAFE_NO_PAD.encode(&text);
            for text in [
                format!("Basic {standard}"),
                format!("base64url.bearer.authorization.example.{url_safe}, chat"),
                standard.replace('=', "%3D").replace('R', "%52"),
            ] {
                assert!(is_found(text.as_bytes()), "{text}");
                assert!(found(text.as_bytes(), Encodings::Text).is_empty());
            }
            for token in ["polar_at_u_", "polar_at_o_", "polar_rt_u_"] {
                let token = format!("{token}{}", &TOKEN[11..]);
                let text = BASE64_STANDARD.encode(format!("{before}{token}{after}"));
                let found = found(text.as_bytes(), Encodings::TextAndBase64);
                assert_eq!(found, [token.as_bytes()]);
            }
        }
    }
}

/// Made-up tokens can overlap. If each counted as 54 bytes of its own, no room would seem to be
/// left for the real token.
#[test]
fn token_is_found_among_made_up_ones() {
    let chain = |links: usize| {
        let link = format!("_at_u_{}polar", "A".repeat(38));
        format!("polar{}", link.repeat(links))
    };
    let escaped = TOKEN.replacen("polar", "%70olar", 1);
    for links in 0..8 {
        for between in ["/", ", ", ";access_token=", "\\", "A"] {
            let text = format!("{}{between}{escaped}", chain(links));
            assert!(is_found(text.as_bytes()), "{text}");
        }
    }
    for front in ["x:", "xy:", "xyz:"] {
        let encoded = BASE64_STANDARD.encode(format!("{front}{TOKEN}"));
        for front in ["polar_at_u_", "polar_at_u_A", "polar_at_u_polar_at_u_AAAA"] {
            assert!(is_found(format!("Basic {front}{encoded}").as_bytes()), "{front}");
        }
    }
}

/// `\1` is `1` in a quoted string of HTTP.
#[test]
fn token_is_found_with_backslashes_before_digits() {
    let token = TOKEN.replacen("7016", "7160", 1);
    let text = token.replacen("7160", "7\\160", 1);
    assert!(found(text.as_bytes(), Encodings::Text).contains(&token.into_bytes()));
}

#[test]
fn search_stops_at_break() {
    let text = format!("{TOKEN};{TOKEN}");
    let mut reported = 0;
    let flow = search(text.as_bytes(), Encodings::Text, &mut |_| {
        reported += 1;
        ControlFlow::Break(())
    });
    assert_eq!((flow, reported), (ControlFlow::Break(()), 1));
}

const PIECES: [&str; 35] = [
    "%",
    "25",
    "%25",
    "2",
    "5",
    "7",
    "0",
    "70",
    "%70",
    "%2570",
    "%5f",
    "\\",
    "\\\\",
    "%5C",
    "u",
    "x",
    "00",
    "\\u0070",
    "\\u005c",
    "\\x6f",
    "\\160",
    "160",
    "16",
    "1",
    "polar_",
    "polar_at_u_",
    "p",
    "_",
    "t_o_",
    "\\p",
    "\\u",
    "6F",
    "\"",
    "cG9sYXJf",
    ";",
];

/// Combines tokens, parts of tokens and of escapes, and other pieces that could confuse the search.
fn tricky() -> impl Strategy<Value = Vec<u8>> {
    let rest = &TOKEN[11..];
    let body = prop_oneof![
        4 => select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => Just(TOKEN.as_bytes().to_vec()),
        2 => (any::<u64>(), select(&ESCAPES[..])).prop_map(|(chosen, spelling)| {
            written(TOKEN.as_bytes(), spelling, |index| chosen >> index & 1 == 1)
        }),
        1 => vec(0_u8..6, 1..9).prop_map(|choices| quoted(TOKEN.as_bytes(), &choices)),
        1 => Just(rest.as_bytes().to_vec()),
        1 => (any::<u64>(), select(&ESCAPES[..])).prop_map(move |(chosen, spelling)| {
            written(rest.as_bytes(), spelling, |index| chosen >> index & 1 == 1)
        }),
    ];
    vec(body, 0..9).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn token_is_found_between_arbitrary_bytes(
        before in vec(any::<u8>(), 0..80),
        after in vec(any::<u8>(), 0..80),
        chosen in any::<u64>(),
        spelling in select(&ESCAPES[..]),
        choices in vec(0_u8..3, 1..20),
    ) {
        let escaped = written(TOKEN.as_bytes(), spelling, |index| chosen >> index & 1 == 1);
        prop_assert!(is_found(&[&before[..], &escaped, &after].concat()));
        let quoted = quoted(TOKEN.as_bytes(), &choices);
        prop_assert!(is_found(&[&before[..], &quoted, &after].concat()));
    }

    /// The token is encoded twice, or once and put into a string.
    #[test]
    fn token_is_found_in_random_stacks(
        chosen in vec(any::<bool>(), 1..60),
        spellings in (select(&ESCAPES[..]), select(&ESCAPES[..])),
        backslash in select(&["\\\\", "%5C", "\\134", "\\u005c", "%255c"][..]),
    ) {
        let inner = written(TOKEN.as_bytes(), spellings.0, |index| chosen[index % chosen.len()]);
        let outer = written(&inner, spellings.1, |index| chosen[index * 7 % chosen.len()]);
        prop_assert!(is_found(&outer), "{}", String::from_utf8_lossy(&outer));
        let string = String::from_utf8_lossy(&inner).replace('\\', backslash);
        prop_assert!(is_found(string.as_bytes()), "{string}");
    }

    #[test]
    fn nothing_is_reported_without_a_token(text in vec(any::<u8>(), 0..500)) {
        prop_assert!(found(&text, Encodings::TextAndBase64).is_empty());
    }

    /// The reference decodes the whole text in each order, and searches it byte by byte.
    #[test]
    fn search_finds_all_that_the_reference_does(text in tricky()) {
        let found = found(&text, Encodings::Text);
        for token in reference::tokens(&text) {
            prop_assert!(found.contains(&token), "{}", String::from_utf8_lossy(&text));
        }
    }
}
