//! A header whose whole value is the token.

use std::ops::ControlFlow;

/// Yields the value as it is, and trimmed where that differs: HTTP/2 delivers white space at both
/// ends, and an application may or may not cut it off.
pub(super) fn visit(
    value: &[u8],
    yield_to: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let trimmed = value.trim_ascii();
    yield_to(trimmed)?;
    if trimmed.len() != value.len() && !trimmed.is_empty() {
        yield_to(value)?;
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_it_is_and_trimmed() {
        for (value, expected) in
            [("t", vec!["t"]), (" t\t", vec!["t", " t\t"]), ("a, b", vec!["a, b"])]
        {
            let mut found = Vec::new();
            let _ = visit(value.as_bytes(), &mut |token| {
                found.push(String::from_utf8_lossy(token).into_owned());
                ControlFlow::Continue(())
            });
            assert_eq!(found, expected);
        }
    }
}
