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
    module: String,
    /// `None` for the module's own file.
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
            module: names[0].to_owned(),
            file: names.get(1).map(|name| (*name).to_owned()),
            depth: names.len(),
            path,
        }
    });
    // `lib.rs` is the contents page: it names every module.
    sources.filter(|source| source.module != "lib").collect()
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

fn find(name: &str) -> Option<&'static Module> {
    MODULES.iter().find(|module| module.name == name)
}

#[test]
fn modules_import_downward_only() {
    let mut wrong = Vec::new();
    let mut found = 0;
    for source in sources() {
        let Some(module) = find(&source.module) else {
            wrong.push(format!("{} is in no module of the table", source.path.display()));
            continue;
        };
        for import in names_after(&code(&source), "crate::") {
            found += 1;
            // A public name that the root exports is not a module.
            let is_known = find(import).is_some();
            let is_free = import == module.name
                || FOUNDATIONS.contains(&import) && !FOUNDATIONS.contains(&module.name)
                || import == "error";
            if is_known && !is_free && !module.imports.contains(&import) {
                wrong.push(format!(
                    "{} must not import {import} ({})",
                    module.name,
                    source.path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(found > 150, "only {found} imports found: does this test still find them all?");
}

#[test]
fn files_of_a_module_import_downward_only() {
    let mut wrong = Vec::new();
    let mut found = 0;
    for source in sources() {
        let (Some(module), Some(file)) = (find(&source.module), &source.file) else { continue };
        let Some(place) = module.files.iter().position(|name| name == file) else {
            wrong.push(format!("{} is not in the table", source.path.display()));
            continue;
        };
        let to_the_module = [
            format!("crate::{}::", module.name),
            // One `super` for each level from the source up to its module.
            "super::".repeat(source.depth - 1),
        ];
        let code = code(&source);
        for import in to_the_module.iter().flat_map(|path| names_after(&code, path)) {
            let Some(other) = module.files.iter().position(|name| *name == import) else {
                continue;
            };
            found += 1;
            if other < place {
                wrong.push(format!(
                    "{}: {file} must not import {import}, which stands above it ({})",
                    module.name,
                    source.path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(found > 80, "only {found} imports found: does this test still find them all?");
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
    let there: BTreeSet<_> =
        sources().into_iter().map(|source| (source.module, source.file)).collect();
    let mut table = BTreeSet::new();
    for module in MODULES {
        table.insert((module.name.to_owned(), None));
        table.extend(
            module.files.iter().map(|file| (module.name.to_owned(), Some((*file).to_owned()))),
        );
    }
    assert_eq!(there, table);
}
