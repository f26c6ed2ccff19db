//! Parses Redis's answers in place, without maps or strings, because there may be millions of
//! entries.

use redis::Value;

use super::id::{Id, number};
use super::wire::FIELD;

/// The entries in the answer to `XREAD` of one stream.
pub(super) fn entries_read(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Nil => Some(Vec::new()),
        Value::Array(mut streams) => match (streams.pop(), streams.is_empty()) {
            (Some(Value::Array(mut stream)), true) => match (stream.pop(), stream.len()) {
                (Some(Value::Array(entries)), 1) => Some(entries),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// The id of an entry, and its content if it has only this crate's field.
pub(super) fn entry(value: &Value) -> Option<(Id, Option<&[u8]>)> {
    let Value::Array(entry) = value else { return None };
    let [Value::BulkString(id), fields] = &entry[..] else { return None };
    let content = match fields {
        Value::Array(fields) => match &fields[..] {
            [Value::BulkString(name), Value::BulkString(content)] if name == FIELD => {
                Some(&content[..])
            }
            _ => None,
        },
        _ => None,
    };
    Some((Id::parse(id)?, content))
}

/// The id in the answer to `XADD`.
pub(super) fn id_added(value: &Value) -> Option<Id> {
    match value {
        Value::BulkString(id) => Id::parse(id),
        _ => None,
    }
}

/// The answer to `TIME`, in milliseconds since 1970.
pub(super) fn time(value: &Value) -> Option<u64> {
    let Value::Array(parts) = value else { return None };
    let [Value::BulkString(seconds), Value::BulkString(micros)] = &parts[..] else { return None };
    number(seconds)?.checked_mul(1000)?.checked_add(number(micros)? / 1000)
}
