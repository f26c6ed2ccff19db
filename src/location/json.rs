//! A field of the object that a JSON body is.

use std::fmt;
use std::ops::ControlFlow;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::token::CredentialKind;

/// Yields the strings in the named fields, the same field as often as it occurs.
///
/// What comes before a syntax error is yielded too: a streaming parser would have read it.
pub(super) fn visit(
    fields: &[(String, CredentialKind)],
    body: &[u8],
    yield_to: &mut impl FnMut(CredentialKind, &[u8]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if fields.is_empty() {
        return ControlFlow::Continue(());
    }
    let mut members = Vec::new();
    let _ = Members(&mut members).deserialize(&mut serde_json::Deserializer::from_slice(body));
    for (name, value) in members {
        for (field, kind) in fields {
            if name == *field
                && let Some(text) = text(&value)
            {
                yield_to(*kind, text.as_bytes())?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// The object without the named fields whose value is dead; `None` where there is none.
pub(super) fn without(
    body: &[u8],
    fields: &[(String, CredentialKind)],
    is_dead: impl Fn(&[u8]) -> bool,
) -> Option<Bytes> {
    let mut members = Vec::new();
    Members(&mut members).deserialize(&mut serde_json::Deserializer::from_slice(body)).ok()?;
    let count = members.len();
    members.retain(|(name, value)| {
        let is_field = fields.iter().any(|(field, _)| field == name);
        !(is_field && text(value).is_some_and(|text| is_dead(text.as_bytes())))
    });
    if members.len() == count {
        return None;
    }
    let mut kept = Vec::with_capacity(body.len());
    for (name, value) in members {
        kept.push(if kept.is_empty() { b'{' } else { b',' });
        serde_json::to_writer(&mut kept, &name).ok()?;
        kept.push(b':');
        kept.extend_from_slice(value.get().as_bytes());
    }
    if kept.is_empty() {
        kept.push(b'{');
    }
    kept.push(b'}');
    Some(kept.into())
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// Collects the members of an object as far as it can be read.
struct Members<'a>(&'a mut Vec<(String, Box<RawValue>)>);

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(member) = map.next_entry()? {
            self.0.push(member);
        }
        Ok(())
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        // Not an object, so it holds no field; read to its end, as a parser would.
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Vec<String> {
        let fields = [("t".to_owned(), CredentialKind::AccessToken)];
        let mut found = Vec::new();
        let _ = visit(&fields, body, &mut |_, value| {
            found.push(String::from_utf8_lossy(value).into_owned());
            ControlFlow::Continue(())
        });
        found
    }

    #[test]
    fn every_field_of_the_name_counts_however_it_is_written() {
        assert_eq!(read(br#"{"t": "1", "u": "2", "t": "3"}"#), ["1", "3"]);
        assert_eq!(read(br#" {"\u0074": "a\u0062c"} "#), ["abc"]);
    }

    #[test]
    fn what_is_no_string_in_an_object_is_no_token() {
        for body in [
            "",
            "[]",
            "[\"t\"]",
            "null",
            "1",
            "{",
            "\"t\"",
            "{\"t\": 1}",
            "{\"u\": {\"t\": \"1\"}}",
        ] {
            assert!(read(body.as_bytes()).is_empty(), "{body}");
        }
        assert!(read(b"\xff\xfe").is_empty());
    }

    #[test]
    fn a_token_before_a_syntax_error_is_still_seen() {
        assert_eq!(read(br#"{"t": "1", "#), ["1"]);
        assert_eq!(read(br#"{"t": "1"} trailing"#), ["1"]);
    }

    #[test]
    fn what_is_dead_is_cut_out_and_the_rest_stays_to_the_letter() {
        let fields = [("t".to_owned(), CredentialKind::AccessToken)];
        let dead = |value: &[u8]| value == b"dead";
        let cut = |body: &[u8]| without(body, &fields, dead);
        assert_eq!(
            cut(br#"{"a": 1e400, "t": "dead", "b": [1, 2]}"#).expect("cut"),
            r#"{"a":1e400,"b":[1, 2]}"#
        );
        assert_eq!(cut(br#"{"t": "dead"}"#).expect("cut"), "{}");
        assert_eq!(cut(br#"{"t": "alive"}"#), None);
        assert_eq!(cut(b"not json"), None);
    }
}
