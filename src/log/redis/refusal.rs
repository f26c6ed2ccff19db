//! Why Redis could not do it, and what to do about it.
//!
//! Each names the Redis, and nothing of what was sent to it: neither this crate's errors nor Redis's
//! own texts go into it unread, since both may repeat a password.

use std::io;

use redis::{RedisError, ServerError};

use super::target::Target;
pub(super) use crate::log::refusal::Refusal;

fn new(target: &Target, what: &str) -> Refusal {
    Refusal::new(format!("the Redis at {} {what}", target.address))
}

pub(super) fn io(target: &Target, what: &str, error: io::Error) -> Refusal {
    new(target, what).with_source(error)
}

/// The connection is of no use any more.
pub(super) fn broken(target: &Target, error: &RedisError) -> Refusal {
    if error.kind() == redis::ErrorKind::Parse {
        return foreign(target);
    }
    new(target, "has closed the connection: is it up, and what does its log say?")
}

pub(super) fn foreign(target: &Target) -> Refusal {
    let what = "answers, but not as Redis does: check host and port, and whether it wants TLS \
                (rediss://) or not";
    new(target, what)
}

pub(super) fn late(target: &Target) -> Refusal {
    new(target, "does not answer in time: is it up, and not busy with a slow command?")
}

/// Redis did not do what `key` was to be used for.
pub(super) fn server(target: &Target, error: &ServerError) -> Refusal {
    let key = &target.key;
    let details = error.details().unwrap_or_default();
    let what = match error.code() {
        "NOAUTH" => "wants a password: put it in the URL, redis://:PASSWORD@HOST".to_owned(),
        "WRONGTYPE" => format!(
            "has a key {key:?} that is not a stream: choose another with `stream()`, or remove \
             it"
        ),
        "MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN" => {
            "is one of a Redis Cluster, which is not supported: give the URL of a Redis of its \
             own"
            .to_owned()
        }
        "READONLY" => "is a replica, which takes no writes: give the URL of the primary".to_owned(),
        "OOM" => "has reached its `maxmemory`: give it more, or free some".to_owned(),
        "MISCONF" | "NOREPLICAS" => {
            format!("takes no writes ({}): its log says why", error.code())
        }
        "LOADING" => "is loading its data from disk: wait".to_owned(),
        "MASTERDOWN" => "is a replica that has lost its primary: wait, or mend it".to_owned(),
        "NOPERM" => format!(
            "does not let this user do it: allow him `XADD`, `XREAD`, `XRANGE`, `XTRIM`, \
             `TIME`, `MULTI` and `EXEC` on the key {key:?}"
        ),
        "ERR" if details.starts_with("unknown command") => {
            "does not know streams: use Redis 6.2 or newer".to_owned()
        }
        "ERR" if details.contains("syntax error") => {
            "is too old: use Redis 6.2 or newer".to_owned()
        }
        "ERR" if details.contains("number of clients") => {
            "has no room for another client: raise its `maxclients`".to_owned()
        }
        code => format!("answers with the error {}", sanitized(code)),
    };
    new(target, &what)
}

/// Redis did not take the user or the password.
pub(super) fn login(target: &Target, error: &ServerError) -> Refusal {
    let details = error.details().unwrap_or_default();
    let what = match error.code() {
        "WRONGPASS" => "refuses the user or the password: check those in the URL",
        "ERR" if details.contains("without any password") || details.contains("no password") => {
            "has no password set, but the URL has one: take it out of the URL"
        }
        "ERR" if details.contains("invalid password") => {
            "refuses the password: check the one in the URL"
        }
        "ERR" if details.contains("wrong number of arguments") => {
            "knows no users: use Redis 6.2 or newer, or take the user out of the URL"
        }
        _ => return server(target, error),
    };
    new(target, what)
}

pub(super) fn database(target: &Target, error: &ServerError) -> Refusal {
    if error.code() != "ERR" {
        return server(target, error);
    }
    let what = format!("has no database {}: choose another in the URL", target.address.database);
    new(target, &what)
}

fn sanitized(code: &str) -> &str {
    let is_code = code.len() <= 20 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_code { code } else { "that it does not name" }
}
