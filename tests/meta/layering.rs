//! The modules of `src/`: the files of each, and which module or file may import which. The tests
//! compare every path that begins with `crate` or `super` with the table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of `src/`, or a file without a folder.
struct Module {
    name: &'static str,
    /// Modules further down. All modules may import `token` and `error`.
    imports: &'static [&'static str],
    /// From top to bottom: each file imports only files after it. The module's own file is not in
    /// the list: the other modules import from it, and its files share its items.
    files: &'static [&'static str],
}

const fn module(
    name: &'static str,
    imports: &'static [&'static str],
    files: &'static [&'static str],
) -> Module {
    Module { name, imports, files }
}

/// All modules may import these.
const FOUNDATIONS: [&str; 2] = ["token", "error"];

/// From top to bottom.
const MODULES: &[Module] = &[
    module("guide", &[], &[]),
    module("observability", &[], &[]),
    module(
        "builder",
        &["middleware", "revocation", "delivery", "location", "polar", "log", "spawner"],
        &["build", "redirect"],
    ),
    module("handle", &["middleware", "revocation", "polar", "telemetry"], &["extract"]),
    module(
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
    module(
        "revocation",
        &["delivery", "polar", "log", "telemetry", "spawner"],
        &["start", "follower", "revoker", "recorder", "outcome", "signal", "denylist", "log_lag"],
    ),
    module(
        "delivery",
        &["polar", "log", "telemetry", "spawner"],
        &["courier", "queue", "recently_confirmed", "backoff"],
    ),
    module(
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
    module(
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
    module(
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
    module("log", &["tls"], &["journal", "redis", "seal", "refusal", "millis"]),
    module("telemetry", &[], &["audit", "correlation", "gauges", "counts", "health", "metrics"]),
    module("tls", &[], &[]),
    module("spawner", &[], &[]),
    module("token", &[], &["reading", "polar_token"]),
    module("error", &[], &[]),
];

/// A source file, by the module and the file in it that it belongs to.
struct Source {
    path: PathBuf,
    /// The path of its module, from the crate's root.
    modules: Names,
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
        let names = module.iter().map(|name| name.to_str().expect("text").to_owned()).collect();
        Source { modules: names, path }
    });
    // `lib.rs` is the contents page: it names every module.
    sources.filter(|source: &Source| source.modules[0] != "lib").collect()
}

/// The code without comments and without unit tests.
fn code(source: &Source) -> String {
    if source.modules.iter().any(|name| name == "tests") {
        return String::new();
    }
    let text = fs::read_to_string(&source.path).expect("a source");
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// A path from the crate's root: the names of modules, and perhaps of an item.
type Names = Vec<String>;

/// All paths in the code that begin with `start`, with their braces taken apart. They go on from
/// `base`.
fn paths_after(code: &str, start: &str, base: &[String]) -> Vec<Names> {
    let begins_a_path = |at: &usize| {
        let before = code[..*at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | ':'))
    };
    let starts = code.match_indices(start).map(|(at, _)| at).filter(begins_a_path);
    let mut paths = Vec::new();
    for at in starts {
        let (mut rest, mut base) = (&code[at + start.len()..], base);
        while let Some(higher) = rest.strip_prefix("super::") {
            (rest, base) = (higher, &base[..base.len().saturating_sub(1)]);
        }
        take_apart(rest, base, &mut paths);
    }
    paths
}

/// Adds the paths at the beginning of the text, and returns what follows them.
fn take_apart<'a>(text: &'a str, base: &[String], paths: &mut Vec<Names>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = take_apart(rest, base, paths).trim_start();
            match rest.strip_prefix(',') {
                Some(next) if !next.trim_start().starts_with('}') => rest = next,
                _ => {
                    let rest = rest.trim_start_matches(',').trim_start();
                    return rest.strip_prefix('}').unwrap_or(rest);
                }
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '*'));
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    let mut path = base.to_vec();
    match name {
        "self" => {}
        name => path.push(name.to_owned()),
    }
    if let Some(rest) = rest.strip_prefix("::") {
        return take_apart(rest, &path, paths);
    }
    paths.push(path);
    // `a as b`
    let renamed = rest
        .strip_prefix(" as ")
        .map(|rest| rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'));
    renamed.unwrap_or(rest)
}

/// What the code of a source names in the crate, beside what stands below the source itself.
fn imports(source: &Source) -> Vec<Names> {
    let code = code(source);
    let parent = &source.modules[..source.modules.len() - 1];
    [paths_after(&code, "crate::", &[]), paths_after(&code, "super::", parent)].concat()
}

/// The modules that there are, with the names that each hands on from a module below it.
fn all_modules(sources: &[Source]) -> BTreeMap<Names, BTreeMap<String, Names>> {
    let handed_on = |source: &Source| {
        let paths = paths_after(&code(source), "self::", &source.modules);
        let items = paths.into_iter().filter(|path| path.len() > source.modules.len() + 1);
        items.map(|path| (path[path.len() - 1].clone(), path[..path.len() - 1].to_vec())).collect()
    };
    sources.iter().map(|source| (source.modules.clone(), handed_on(source))).collect()
}

/// The module that holds what a path names.
fn holder(path: &[String], modules: &BTreeMap<Names, BTreeMap<String, Names>>) -> Names {
    let mut module = path.to_vec();
    while !modules.contains_key(&module) && !module.is_empty() {
        module.pop();
    }
    let item = path.get(module.len());
    match item.and_then(|item| modules.get(&module)?.get(item)) {
        Some(below) => {
            let path: Names = below.iter().chain(item).cloned().collect();
            holder(&path, modules)
        }
        None => module,
    }
}

fn find(name: &str) -> Option<&'static Module> {
    MODULES.iter().find(|module| module.name == name)
}

#[test]
fn modules_import_downward_only() {
    let mut wrong = Vec::new();
    let mut found = 0;
    for source in sources() {
        let Some(module) = find(&source.modules[0]) else {
            wrong.push(format!("{} is in no module of the table", source.path.display()));
            continue;
        };
        for path in imports(&source) {
            found += 1;
            let import = path.first().map_or("", String::as_str);
            let is_free = import == module.name
                || FOUNDATIONS.contains(&import) && !FOUNDATIONS.contains(&module.name)
                || import == "error";
            if !is_free && !module.imports.contains(&import) {
                wrong.push(format!(
                    "{} must not import `{}` ({})",
                    module.name,
                    path.join("::"),
                    source.path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(found > 300, "only {found} imports found: does this test still find them all?");
}

#[test]
fn files_of_a_module_import_downward_only() {
    let sources = sources();
    let modules = all_modules(&sources);
    let mut wrong = Vec::new();
    let mut found = 0;
    for source in &sources {
        let (Some(module), Some(file)) = (find(&source.modules[0]), source.modules.get(1)) else {
            continue;
        };
        let Some(place) = module.files.iter().position(|name| name == file) else {
            wrong.push(format!("{} is not in the table", source.path.display()));
            continue;
        };
        for path in imports(source) {
            let holder = holder(&path, &modules);
            let Some(other) = holder.get(1).filter(|_| holder[0] == module.name) else { continue };
            let other_place = module.files.iter().position(|name| name == other);
            found += 1;
            if other_place.is_some_and(|other_place| other_place < place) {
                wrong.push(format!(
                    "{}: {file} must not import {other}, which stands above it ({})",
                    module.name,
                    source.path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(found > 100, "only {found} imports found: does this test still find them all?");
}

/// Also in folders deeper down, which the table does not list. A file may import from a module that
/// it is a part of.
#[test]
fn files_import_one_another_without_a_circle() {
    let sources = sources();
    let modules = all_modules(&sources);
    let mut graph: BTreeMap<_, BTreeSet<Names>> = BTreeMap::new();
    for source in &sources {
        let holders = imports(source).into_iter().map(|path| holder(&path, &modules));
        let others = holders.filter(|holder| !source.modules.starts_with(holder));
        graph.entry(source.modules.clone()).or_default().extend(others);
    }
    // Takes away what imports nothing that is left, until only circles are left.
    while let Some(lowest) = graph.iter().find_map(|(module, imports)| {
        imports.iter().all(|import| !graph.contains_key(import)).then(|| module.clone())
    }) {
        graph.remove(&lowest);
    }
    assert!(graph.is_empty(), "these are in a circle, or above one: {graph:#?}");
}

/// What the tests above rest on.
#[test]
fn paths_are_taken_apart() {
    let base = ["a".to_owned(), "b".to_owned()];
    let code = "use super::{x::{Y, self}, w as v, *};\nfn f(_: super::Q, _: super::super::R) {}";
    let paths = paths_after(code, "super::", &base);
    let paths: Vec<_> = paths.iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["a::b::x::Y", "a::b::x", "a::b::w", "a::b::*", "a::b::Q", "a::R"]);
}

#[test]
fn table_goes_downward_only() {
    let order: BTreeMap<_, _> =
        MODULES.iter().enumerate().map(|(at, module)| (module.name, at)).collect();
    for (at, module) in MODULES.iter().enumerate() {
        for import in module.imports {
            assert!(order[import] > at, "{} imports {import}, which stands above it", module.name);
        }
    }
}

#[test]
fn table_lists_exactly_the_existing_files() {
    let there: BTreeSet<_> = sources()
        .iter()
        .map(|source| (source.modules[0].clone(), source.modules.get(1).cloned()))
        .collect();
    let mut table = BTreeSet::new();
    for module in MODULES {
        table.insert((module.name.to_owned(), None));
        table.extend(
            module.files.iter().map(|file| (module.name.to_owned(), Some((*file).to_owned()))),
        );
    }
    assert_eq!(there, table);
}
