//! A field of the object that a JSON body is.

use std::fmt;
use std::ops::ControlFlow;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::name::Name;
use super::reading::Reading;
use crate::token::CredentialKind;

/// Yields the strings in the named fields, the same field as often as it occurs.
///
/// What comes before a syntax error is yielded too: a streaming parser would have read it. So are
/// the strings of an array, which serde reads as the fields of a struct in their order.
pub(super) fn visit(
    fields: &[(Name, CredentialKind)],
    body: &[u8],
    yield_to: &mut impl FnMut(CredentialKind, Reading<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if fields.is_empty() {
        return ControlFlow::Continue(());
    }
    let mut found = Vec::new();
    let strings = Strings { fields, found: &mut found };
    let _ = serde_json::Deserializer::from_slice(body).deserialize_any(strings);
    for (kind, text) in found {
        yield_to(kind, Reading::likeliest(text.as_bytes()))?;
    }
    ControlFlow::Continue(())
}

/// The object without the named fields whose value is dead; `None` where none is, or where the
/// body is no object.
pub(super) fn without(
    body: &[u8],
    fields: &[(Name, CredentialKind)],
    mut is_dead: impl FnMut(Reading<'_>) -> bool,
) -> Option<Bytes> {
    let Members(mut members) = serde_json::from_slice(body).ok()?;
    let count = members.len();
    members.retain(|(name, value)| {
        let is_field = fields.iter().any(|(field, _)| field.is(name));
        let text: Option<Zeroizing<String>> = serde_json::from_str(value.get()).ok();
        !(is_field && text.is_some_and(|text| is_dead(Reading::likeliest(text.as_bytes()))))
    });
    if members.len() == count {
        return None;
    }
    // What is written the shortest way is no longer than the body.
    let mut kept = Zeroizing::new(Vec::with_capacity(body.len()));
    kept.push(b'{');
    for (name, value) in members {
        if kept.len() > 1 {
            kept.push(b',');
        }
        serde_json::to_writer(&mut *kept, &name).ok()?;
        kept.push(b':');
        kept.extend_from_slice(value.get().as_bytes());
    }
    kept.push(b'}');
    Some(Bytes::from_owner(kept))
}

/// Collects the strings that could be credentials, as far as the body can be read.
struct Strings<'a> {
    fields: &'a [(Name, CredentialKind)],
    found: &'a mut Vec<(CredentialKind, Zeroizing<String>)>,
}

impl<'de> Visitor<'de> for Strings<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let mut named = self.fields.iter().filter(|(field, _)| field.is(&name)).peekable();
            // Other values are skipped and not read: they may hold what is no text.
            if named.peek().is_none() {
                map.next_value::<IgnoredAny>()?;
            } else if let Text(Some(text)) = map.next_value()? {
                self.found.extend(named.map(|(_, kind)| (*kind, text.clone())));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(Text(text)) = seq.next_element()? {
            if let Some(text) = text {
                self.found.extend(self.fields.iter().map(|(_, kind)| (*kind, text.clone())));
            }
        }
        Ok(())
    }
}

/// A string, or anything else.
#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrElse {
    Text(Zeroizing<String>),
    Else(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(from = "TextOrElse")]
struct Text(Option<Zeroizing<String>>);

impl From<TextOrElse> for Text {
    fn from(value: TextOrElse) -> Self {
        match value {
            TextOrElse::Text(text) => Self(Some(text)),
            TextOrElse::Else(_) => Self(None),
        }
    }
}

/// The members of an object, in their order, each as it was written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Vec<String> {
        let fields = [(Name::new("t"), CredentialKind::AccessToken)];
        let mut found = Vec::new();
        let _ = visit(&fields, body, &mut |_, Reading { value, .. }| {
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
        for body in ["", "[]", "null", "1", "{", "\"t\"", "{\"t\": 1}", "{\"u\": {\"t\": \"1\"}}"] {
            assert!(read(body.as_bytes()).is_empty(), "{body}");
        }
        assert!(read(b"\xff\xfe").is_empty());
    }

    #[test]
    fn what_serde_would_make_a_struct_of_is_read_as_it_would_be() {
        assert_eq!(read(br#"["1", 2, "3", ["4"]]"#), ["1", "3"]);
        assert_eq!(read(b"{\"a\": \"\xff\", \"t\": \"1\"}"), ["1"]);
        assert_eq!(read(b"{\"t\": \"1\", \"a\": \"\xff\"}"), ["1"]);
        assert_eq!(read(br#"{"t": {"t": "1"}, "t": "2"}"#), ["2"]);
    }

    #[test]
    fn a_token_before_a_syntax_error_is_still_seen() {
        assert_eq!(read(br#"{"t": "1", "#), ["1"]);
        assert_eq!(read(br#"{"t": "1"} trailing"#), ["1"]);
    }

    #[test]
    fn what_is_dead_is_cut_out_and_the_rest_stays_to_the_letter() {
        let fields = [(Name::new("t"), CredentialKind::AccessToken)];
        let dead = |it: Reading<'_>| it.value == b"dead";
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
