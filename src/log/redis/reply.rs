//! What Redis answers, matched as it is: no maps and no text for entries that come by the million.

use redis::Value;

use super::id::{Id, number};
use super::wire::FIELD;

/// The entries that `XREAD` of one stream found.
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

/// An entry's id, and what is in it where it has our field and no other.
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

/// The id that `XADD` gave.
pub(super) fn id_added(value: &Value) -> Option<Id> {
    match value {
        Value::BulkString(id) => Id::parse(id),
        _ => None,
    }
}

/// What `TIME` says, in milliseconds since 1970.
pub(super) fn time(value: &Value) -> Option<u64> {
    let Value::Array(parts) = value else { return None };
    let [Value::BulkString(seconds), Value::BulkString(micros)] = &parts[..] else { return None };
    number(seconds)?.checked_mul(1000)?.checked_add(number(micros)? / 1000)
}
