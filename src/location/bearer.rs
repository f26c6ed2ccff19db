//! `Authorization: Bearer TOKEN`

use std::ops::ControlFlow;

use super::reading::Reading;

/// Yields the credentials of one `Authorization` value, if its scheme is Bearer.
pub(super) fn visit(
    value: &[u8],
    yield_to: &mut impl FnMut(Reading<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    // As nearly every client writes it, so that there is one way to read it.
    if let Some((scheme, [b' ', token @ ..])) = value.split_first_chunk::<6>()
        && is_scheme(scheme)
        && is_plain(token)
    {
        return yield_to(Reading::likeliest(token));
    }
    let value = value.trim_ascii_start();
    let Some(end) = value.iter().position(|&byte| is_space(byte)) else {
        return ControlFlow::Continue(());
    };
    let (scheme, rest) = value.split_at(end);
    if !is_scheme(scheme) {
        return ControlFlow::Continue(());
    }
    let untrimmed = rest.trim_ascii_start();
    let token = untrimmed.trim_ascii_end();
    let is_joined = token.iter().any(|&byte| is_separator(byte));
    yield_to(Reading { value: token, is_likeliest: !is_joined })?;
    // Some parsers trim in front only, and HTTP/2 delivers white space at the end.
    if untrimmed.len() != token.len() {
        yield_to(Reading::possible(untrimmed))?;
    }
    // No bearer token holds a space or a comma (RFC 6750, section 2.1). What does is two headers
    // that were joined on the way, or meant to confuse: somebody may read one of its parts.
    if is_joined {
        let mut rest = token;
        while let Some(begin) = rest.iter().position(|&byte| !is_separator(byte)) {
            rest = &rest[begin..];
            let end = rest.iter().position(|&byte| is_separator(byte)).unwrap_or(rest.len());
            let (part, behind) = rest.split_at(end);
            if !is_scheme(part) {
                yield_to(Reading::likeliest(part))?;
            }
            rest = behind;
        }
    }
    ControlFlow::Continue(())
}

fn is_scheme(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"bearer")
}

/// No white space, no comma.
fn is_plain(token: &[u8]) -> bool {
    memchr::memchr3(b' ', b'\t', b',', token).is_none()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        let _ = visit(value, &mut |Reading { value, .. }| {
            if !value.is_empty() {
                found.push(String::from_utf8_lossy(value).into_owned());
            }
            ControlFlow::Continue(())
        });
        found
    }

    #[test]
    fn the_scheme_comes_in_any_case_and_with_any_white_space() {
        for value in ["Bearer t", "bearer t", "BEARER t", "bEaReR  \t t", " Bearer t", "Bearer\tt"]
        {
            assert_eq!(read(value.as_bytes()), ["t"], "{value:?}");
        }
    }

    #[test]
    fn trailing_white_space_is_read_both_ways() {
        assert_eq!(read(b"Bearer t "), ["t", "t "]);
    }

    #[test]
    fn joined_headers_yield_the_whole_and_every_part() {
        let found = read(b"Bearer a, Bearer b");
        assert_eq!(found, ["a, Bearer b", "a", "b"], "and no scheme");
    }

    #[test]
    fn polar_is_told_of_the_trimmed_token_and_of_each_part_of_joined_headers() {
        for (value, expected) in
            [(" Bearer t", vec!["t"]), ("Bearer t ", vec!["t"]), ("Bearer a, b", vec!["a", "b"])]
        {
            let mut likeliest = Vec::new();
            let _ = visit(value.as_bytes(), &mut |Reading { value, is_likeliest }| {
                likeliest.extend(is_likeliest.then(|| String::from_utf8_lossy(value).into_owned()));
                ControlFlow::Continue(())
            });
            assert_eq!(likeliest, expected, "{value:?}");
        }
    }

    #[test]
    fn other_schemes_and_empty_values_carry_no_token() {
        for value in ["", " ", "Bearer", "Bearer ", "Bearert", "Basic dDp0", "BearerX t"] {
            assert!(read(value.as_bytes()).is_empty(), "{value:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_a_token_like_any_other() {
        let mut found = Vec::new();
        let _ = visit(b"Bearer \xff\xfe", &mut |Reading { value, .. }| {
            found.push(value.to_vec());
            ControlFlow::Continue(())
        });
        assert_eq!(found, [b"\xff\xfe"]);
    }
}
