//! The house: which rooms `src/` has, which files stand in each, and who may import whom. Reads
//! every path that begins with `crate`, `self` or `super`, and holds it against the table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of `src/`, or a file that stands alone there.
struct Room {
    name: &'static str,
    /// Rooms further down. `token` and `error` may be imported by all.
    imports: &'static [&'static str],
    /// From top to bottom: each imports only files that stand after it. The file of the room itself
    /// stands apart: it is the face to the other rooms, and holds what all of these share.
    files: &'static [&'static str],
}

const fn room(
    name: &'static str,
    imports: &'static [&'static str],
    files: &'static [&'static str],
) -> Room {
    Room { name, imports, files }
}

/// Everybody's.
const FOUNDATIONS: [&str; 2] = ["token", "error"];

/// From top to bottom.
const HOUSE: &[Room] = &[
    room("guide", &[], &[]),
    room("observability", &[], &[]),
    room(
        "builder",
        &["middleware", "revocation", "delivery", "location", "polar", "log", "spawner"],
        &["build", "redirect"],
    ),
    room("handle", &["middleware", "revocation", "polar", "telemetry"], &["extract"]),
    room(
        "middleware",
        &["revocation", "location", "telemetry", "spawner"],
        &[
            "layer",
            "service",
            "verdict",
            "slow_path",
            "future",
            "next",
            "passed",
            "check_body",
            "end_streams",
            "gate",
            "csrf",
            "read_body",
            "after_logout",
            "answers",
            "when_revoked",
            "route",
            "prefetch",
            "client_kind",
        ],
    ),
    room(
        "revocation",
        &["delivery", "polar", "log", "telemetry", "spawner"],
        &["start", "follower", "revoker", "recorder", "outcome", "signal", "denylist", "log_lag"],
    ),
    room(
        "delivery",
        &["polar", "log", "telemetry", "spawner"],
        &["courier", "queue", "recently_confirmed", "backoff"],
    ),
    room(
        "testing",
        &["polar", "log"],
        &[
            "fake_polar",
            "memory_log",
            "server",
            "work",
            "state",
            "oauth",
            "authorization",
            "client",
            "call",
            "seen",
            "answer",
            "fault",
            "rate_limit",
            "rows",
            "tokens",
            "commit",
            "pair",
            "lock",
        ],
    ),
    room(
        "location",
        &[],
        &[
            "take_out",
            "finder",
            "places",
            "search",
            "pieces",
            "json",
            "query",
            "cookie",
            "cookie_attributes",
        ],
    ),
    room(
        "polar",
        &["tls"],
        &[
            "credential_check",
            "client",
            "transport",
            "introspection",
            "request",
            "outcome",
            "server",
            "credentials",
        ],
    ),
    room("log", &["tls"], &["journal", "redis", "seal", "refusal", "millis"]),
    room("telemetry", &[], &["audit", "correlation", "gauges", "counts", "health", "metrics"]),
    room("tls", &[], &[]),
    room("spawner", &[], &[]),
    room("token", &[], &["reading", "polar_token"]),
    room("error", &[], &[]),
];

/// A source, by the room and the file in it that it belongs to.
struct Source {
    path: PathBuf,
    room: String,
    /// `None` for the file of the room itself.
    file: Option<String>,
    /// How many names its module path has.
    depth: usize,
}

fn sources() -> Vec<Source> {
    fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, paths);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                paths.push(path);
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&src, &mut paths);
    let sources = paths.into_iter().map(|path| {
        let module = path.strip_prefix(&src).expect("in src").with_extension("");
        let names: Vec<_> = module.iter().map(|name| name.to_str().expect("text")).collect();
        Source {
            room: names[0].to_owned(),
            file: names.get(1).map(|name| (*name).to_owned()),
            depth: names.len(),
            path,
        }
    });
    // The contents page names every room, and its tests none.
    sources.filter(|source| source.room != "lib").collect()
}

/// The code without comments and without unit tests.
fn code(source: &Source) -> String {
    if source.path.iter().any(|name| name == "tests" || name == "tests.rs") {
        return String::new();
    }
    let text = fs::read_to_string(&source.path).expect("a source");
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The names that follow a path in the code: one, or several in braces.
fn names_after<'a>(code: &'a str, path: &'a str) -> impl Iterator<Item = &'a str> {
    let starts_a_path = |at: usize| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | ':'))
    };
    code.match_indices(path).filter(move |(at, _)| starts_a_path(*at)).flat_map(move |(at, _)| {
        let rest = &code[at + path.len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or_default(),
            None => rest,
        };
        let several = rest.starts_with('{');
        let names = names.split(',').take(if several { usize::MAX } else { 1 });
        names.map(|name| {
            let name = name.trim_start();
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            &name[..end]
        })
    })
}

fn find(name: &str) -> Option<&'static Room> {
    HOUSE.iter().find(|room| room.name == name)
}

#[test]
fn rooms_import_downward_only() {
    let mut wrong = Vec::new();
    let mut found = 0;
    for source in sources() {
        let Some(room) = find(&source.room) else {
            wrong.push(format!("{} is in no room of the house", source.path.display()));
            continue;
        };
        for import in names_after(&code(&source), "crate::") {
            found += 1;
            // What the root exports is public, and not a room: only texts name it.
            let is_known = find(import).is_some();
            let is_free = import == room.name
                || FOUNDATIONS.contains(&import) && !FOUNDATIONS.contains(&room.name)
                || import == "error";
            if is_known && !is_free && !room.imports.contains(&import) {
                wrong.push(format!(
                    "{} must not import {import} ({})",
                    room.name,
                    source.path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(found > 150, "only {found} imports found: does this test still read them?");
}

#[test]
fn files_of_a_room_import_downward_only() {
    let mut wrong = Vec::new();
    let mut found = 0;
    for source in sources() {
        let (Some(room), Some(file)) = (find(&source.room), &source.file) else { continue };
        let Some(place) = room.files.iter().position(|name| name == file) else {
            wrong.push(format!("{} is not in the table", source.path.display()));
            continue;
        };
        let to_the_room = [
            format!("crate::{}::", room.name),
            // As many as lead from the source's own module up to the room.
            "super::".repeat(source.depth - 1),
        ];
        let code = code(&source);
        for import in to_the_room.iter().flat_map(|path| names_after(&code, path)) {
            let Some(other) = room.files.iter().position(|name| *name == import) else { continue };
            found += 1;
            if other < place {
                wrong.push(format!(
                    "{}: {file} must not import {import}, which stands above it ({})",
                    room.name,
                    source.path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(found > 80, "only {found} imports found: does this test still read them?");
}

#[test]
fn the_table_goes_downward_only() {
    let order: BTreeMap<_, _> =
        HOUSE.iter().enumerate().map(|(at, room)| (room.name, at)).collect();
    for (at, room) in HOUSE.iter().enumerate() {
        for import in room.imports {
            assert!(order[import] > at, "{} imports {import}, which stands above it", room.name);
        }
    }
}

#[test]
fn the_table_names_what_there_is() {
    let there: BTreeSet<_> =
        sources().into_iter().map(|source| (source.room, source.file)).collect();
    let mut table = BTreeSet::new();
    for room in HOUSE {
        table.insert((room.name.to_owned(), None));
        table
            .extend(room.files.iter().map(|file| (room.name.to_owned(), Some((*file).to_owned()))));
    }
    assert_eq!(there, table);
}
