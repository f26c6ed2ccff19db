//! A header whose whole value is the token.

use std::ops::ControlFlow;

use super::reading::{self, Reading, is_plain};

/// Yields the value as it is, and trimmed where that differs: HTTP/2 delivers white space at both
/// ends, and an application may or may not cut it off.
pub(super) fn visit(
    value: &[u8],
    yield_to: &mut impl FnMut(Reading<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if is_plain(value) {
        return yield_to(Reading::likeliest(value));
    }
    reading::visit(value, yield_to)
}

/// Whether a browser adds such an `Authorization` value by itself, as it does cookies.
pub(super) fn comes_by_itself(authorization: &[u8]) -> bool {
    let scheme = authorization.split(|&byte| byte == b' ').next().unwrap_or_default();
    ["basic", "digest", "ntlm", "negotiate"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_it_is_and_trimmed() {
        for (value, expected) in
            [("t", vec!["t"]), (" t\t", vec![" t\t", "t"]), ("a, b", vec!["a, b"])]
        {
            let mut found = Vec::new();
            let _ = visit(value.as_bytes(), &mut |Reading { value, .. }| {
                found.push(String::from_utf8_lossy(value).into_owned());
                ControlFlow::Continue(())
            });
            assert_eq!(found, expected);
        }
    }
}
