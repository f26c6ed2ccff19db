//! The errors of the Redis log. Each names the Redis and says what to do.
//!
//! Neither the errors of the `redis` crate nor Redis's own texts are copied into them, because both
//! may repeat a password.

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

/// The connection can no longer be used.
pub(super) fn broken(target: &Target, error: &RedisError) -> Refusal {
    if error.kind() == redis::ErrorKind::Parse {
        return foreign(target);
    }
    new(target, "has closed the connection: check that it is up, and read its log")
}

pub(super) fn foreign(target: &Target) -> Refusal {
    let what = "answers, but not as Redis does: check the host and the port, and whether it \
                requires TLS (rediss://)";
    new(target, what)
}

pub(super) fn late(target: &Target) -> Refusal {
    new(target, "does not answer in time: check that it is up and not busy with a slow command")
}

/// Redis answered a command on the stream with this error.
pub(super) fn server(target: &Target, error: &ServerError) -> Refusal {
    let key = &target.key;
    let details = error.details().unwrap_or_default();
    let what = match error.code() {
        "NOAUTH" => "requires a password: put it in the URL, redis://:PASSWORD@HOST".to_owned(),
        "WRONGTYPE" => format!(
            "has a key {key:?} that is not a stream: choose another key with `stream()`, or \
             remove this one"
        ),
        "MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN" => {
            "belongs to a Redis Cluster, which is not supported: give the URL of a single Redis"
                .to_owned()
        }
        "READONLY" => {
            "is a replica, which accepts no writes: give the URL of the primary".to_owned()
        }
        "OOM" => "has reached its `maxmemory`: raise it, or free memory".to_owned(),
        "MISCONF" | "NOREPLICAS" => {
            format!("accepts no writes ({}): read its log for the reason", error.code())
        }
        "LOADING" => "is loading its data from disk: wait until it is ready".to_owned(),
        "MASTERDOWN" => "is a replica that has lost its primary: check the primary".to_owned(),
        "NOPERM" => format!(
            "does not permit this command for this user: allow the user `XADD`, `XREAD`, \
             `XRANGE`, `XTRIM`, `TIME`, `MULTI` and `EXEC` on the key {key:?}"
        ),
        "ERR" if details.starts_with("unknown command") => {
            "does not support streams: use Redis 6.2 or newer".to_owned()
        }
        "ERR" if details.contains("syntax error") => {
            "is too old: use Redis 6.2 or newer".to_owned()
        }
        "ERR" if details.contains("number of clients") => {
            "accepts no more clients: raise its `maxclients`".to_owned()
        }
        code if is_code(code) => format!("answers with the error {code}"),
        _ => "answers with an unknown error".to_owned(),
    };
    new(target, &what)
}

/// Redis did not accept the user or the password.
pub(super) fn login(target: &Target, error: &ServerError) -> Refusal {
    let details = error.details().unwrap_or_default();
    let what = match error.code() {
        "WRONGPASS" => "refuses the user or the password: check both in the URL",
        "ERR" if details.contains("without any password") || details.contains("no password") => {
            "has no password set, but the URL has one: remove it from the URL"
        }
        "ERR" if details.contains("invalid password") => {
            "refuses the password: check it in the URL"
        }
        "ERR" if details.contains("wrong number of arguments") => {
            "does not support users: use Redis 6.2 or newer, or remove the user from the URL"
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

/// Whether an error may repeat the code. Other text may hold a password.
fn is_code(code: &str) -> bool {
    code.len() <= 20 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}
