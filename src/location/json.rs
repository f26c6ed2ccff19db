//! Reads the fields of a body that is a JSON object.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::ControlFlow;

use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::PlaceId;

/// Passes the strings in the named fields to `found`. A body that is not a JSON object has none.
pub(super) fn strings(
    body: &[u8],
    places: &[(String, PlaceId)],
    mut found: impl FnMut(PlaceId, &[u8]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Ok(object) = serde_json::from_slice::<HashMap<Cow<'_, str>, &RawValue>>(body) else {
        return ControlFlow::Continue(());
    };
    for (name, place) in places {
        let value = object.get(name.as_str()).map(|value| value.get());
        if let Some(Ok(text)) = value.map(serde_json::from_str::<Zeroizing<String>>) {
            found(*place, text.as_bytes())?;
        }
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Vec<String> {
        let mut read = Vec::new();
        let _ = strings(body, &[("sid".to_owned(), PlaceId(0))], |_, value| {
            read.push(String::from_utf8_lossy(value).into_owned());
            ControlFlow::Continue(())
        });
        read
    }

    #[test]
    fn string_in_the_field_is_read() {
        assert_eq!(read(br#" {"a": [{}], "s\u0069d": "a\u0062c"} "#), ["abc"]);
    }

    #[test]
    fn body_without_the_string_has_no_fields() {
        for body in ["", "[]", "null", "{", "\"sid\"", "{\"sid\": 1}", "{\"u\": {\"sid\": \"1\"}}"]
        {
            assert!(read(body.as_bytes()).is_empty(), "{body}");
        }
        assert!(read(b"\xff\xfe").is_empty());
    }
}
