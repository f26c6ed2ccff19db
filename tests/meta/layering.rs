//! Who may import whom: downward only. Reads every `use crate::` and holds it against the table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms it may import from, those above it first. `token` and `error` may be
/// imported by all, and import nothing of ours.
const ROOMS: &[(&str, &[&str])] = &[
    ("lib", &["*"]),
    ("guide", &[]),
    ("observability", &[]),
    ("axum", &["handle", "logout"]),
    (
        "layer",
        &[
            "after_logout",
            "answers",
            "counts",
            "csrf",
            "delivery",
            "denylist",
            "follower",
            "freshness",
            "gauges",
            "handle",
            "location",
            "log",
            "logout",
            "polar",
            "policy",
            "recorder",
            "route",
            "seal",
            "service",
            "tasks",
            "when_revoked",
        ],
    ),
    ("check_body", &["answers", "handle", "policy", "read_body"]),
    ("end_streams", &["handle", "policy", "signal"]),
    ("handle", &["counts", "health", "logout", "polar", "policy"]),
    ("service", &["answers", "future", "policy", "signal", "task", "under_way", "verdict"]),
    ("future", &["answers", "policy", "task", "under_way"]),
    ("task", &["answers", "location", "policy", "prefetch", "read_body", "route"]),
    ("under_way", &["policy", "signal"]),
    ("verdict", &["answers", "location", "policy", "signal", "when_revoked"]),
    (
        "policy",
        &[
            "after_logout",
            "answers",
            "csrf",
            "location",
            "logout",
            "metrics",
            "route",
            "signal",
            "tasks",
            "when_revoked",
        ],
    ),
    ("after_logout", &["answers", "client_kind", "logout"]),
    ("read_body", &["answers"]),
    ("answers", &["client_kind", "logout"]),
    ("gauges", &["logout", "metrics"]),
    ("follower", &["delivery", "denylist", "log", "logout", "recorder", "tasks"]),
    (
        "logout",
        &[
            "audit",
            "correlation",
            "counts",
            "delivery",
            "denylist",
            "freshness",
            "health",
            "metrics",
            "polar",
            "recorder",
            "seal",
        ],
    ),
    ("audit", &["correlation"]),
    ("csrf", &["location"]),
    ("recorder", &["correlation", "log", "seal", "tasks"]),
    ("seal", &["log"]),
    ("delivery", &["correlation", "counts", "health", "log", "metrics", "polar", "tasks"]),
    ("when_revoked", &["route"]),
    ("prefetch", &[]),
    ("route", &[]),
    ("prefetch", &[]),
    ("client_kind", &[]),
    ("location", &[]),
    ("signal", &["denylist"]),
    ("denylist", &["filter", "watchers"]),
    ("filter", &[]),
    ("watchers", &[]),
    ("freshness", &[]),
    ("testing", &["log", "polar"]),
    ("polar", &["tls"]),
    ("log", &["tls"]),
    ("tls", &[]),
    ("correlation", &[]),
    ("counts", &["metrics"]),
    ("metrics", &[]),
    ("health", &[]),
    ("tasks", &[]),
    ("token", &[]),
    ("error", &[]),
];

fn sources() -> Vec<PathBuf> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files
}

fn room(file: &Path) -> String {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let first = file.strip_prefix(src).expect("in src").iter().next().expect("a name");
    first.to_str().expect("text").trim_end_matches(".rs").to_owned()
}

/// The rooms that a source names in paths that begin at the crate.
fn imports(source: &str) -> BTreeSet<String> {
    let code: String = source
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    code.match_indices("crate::")
        .filter(|(at, _)| !code[..*at].ends_with('$'))
        .map(|(at, _)| {
            let rest = &code[at + "crate::".len()..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            rest[..end].to_owned()
        })
        .collect()
}

#[test]
fn imports_go_downward_only() {
    let table: BTreeMap<_, _> = ROOMS.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut found = 0;
    for file in sources() {
        let room = room(&file);
        let Some(allowed) = table.get(room.as_str()) else {
            wrong.push(format!("{} is in no room of the table", file.display()));
            continue;
        };
        for import in imports(&fs::read_to_string(&file).expect("a source")) {
            found += 1;
            let to_all = ["token", "error"].contains(&import.as_str());
            let own = import == room;
            if !to_all && !own && !allowed.contains(&"*") && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{room} must not import {import} ({})", file.display()));
            }
            if ["token", "error"].contains(&room.as_str()) && import != "error" && !own {
                wrong.push(format!("{room} must import nothing of ours, but imports {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(found > 30, "only {found} imports found: does this test still read them?");
}

#[test]
fn the_table_itself_goes_downward_only() {
    let order: Vec<_> = ROOMS.iter().map(|(room, _)| *room).collect();
    for (at, (room, allowed)) in ROOMS.iter().enumerate() {
        for import in allowed.iter().filter(|import| **import != "*") {
            let below = order.iter().position(|other| other == import).expect("a room");
            assert!(below > at, "{room} imports {import}, which stands above it");
        }
    }
}

#[test]
fn every_room_has_its_file() {
    let rooms: BTreeSet<_> = sources().iter().map(|file| room(file)).collect();
    let table: BTreeSet<_> = ROOMS.iter().map(|(room, _)| (*room).to_owned()).collect();
    assert_eq!(rooms, table);
}
