//! Reads the fields of a query or a form.

use percent_encoding::percent_decode;

/// The value of a field, still encoded, if the field has exactly this name.
pub(super) fn value_of<'a>(field: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let equals = memchr::memchr(b'=', field)?;
    let is_name = percent_decode(&field[..equals]).eq(name.iter().copied());
    is_name.then(|| &field[equals + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_is_recognised_by_its_decoded_name() {
        for field in ["token=1", "t%6fken=1"] {
            assert_eq!(value_of(field.as_bytes(), b"token"), Some(&b"1"[..]), "{field}");
        }
        for other in ["token", "tokens=1", "token%20=1", "t%256fken=1", "=1"] {
            assert_eq!(value_of(other.as_bytes(), b"token"), None, "{other}");
        }
    }
}
