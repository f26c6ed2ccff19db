//! Makes the filter for the models from the source of the real filter.
//!
//! The script edits the text, so that the library need not know of loom. loom's primitives replace
//! those of std. Each line that the filter's proof needs gets a switch that breaks it.

use std::path::Path;
use std::{env, fs};

const SOURCE: &str = "../../src/revocation/denylist/filter.rs";

/// The lines that can be broken: the name, the code, and its replacement.
const BREAKS: [(&str, &str, &str); 6] = [
    ("second look", "self.generation.0.load(Ordering::Relaxed) != generation", "false"),
    ("fence before the second look", "fence(Ordering::Acquire)", ""),
    ("fence before clearing", "fence(Ordering::Release)", ""),
    (
        "generation acquired",
        "self.generation.0.load(Ordering::Acquire)",
        "self.generation.0.load(Ordering::Relaxed)",
    ),
    (
        "generation released",
        "self.generation.0.store(generation + 1, Ordering::Release)",
        "self.generation.0.store(generation + 1, Ordering::Relaxed)",
    ),
    ("both halves written", "lock(&self.writing.0).next = Some(0)", ""),
];

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    let source = fs::read_to_string(SOURCE).expect("the filter");
    let (filter, _tests) = source.split_once("#[cfg(test)]").expect("the filter, then its tests");
    let mut filter = filter
        .lines()
        // An included file must not begin with inner doc comments.
        .filter(|line| !line.starts_with("//!"))
        .map(|line| line.replace("use std::sync::", "use loom::sync::") + "\n")
        .collect::<String>();
    replace(&mut filter, ", PoisonError}", "}");
    filter.push_str("use std::sync::PoisonError;\n");
    // One word at first, because a model of many words takes too long. It still grows.
    replace(
        &mut filter,
        "const PLANNED_AT_LEAST: usize = 1 << 10;",
        "const PLANNED_AT_LEAST: usize = 1;",
    );
    for (name, code, broken) in BREAKS {
        let switch = format!("if crate::is_broken({name:?}) {{{broken}}} else {{ {code} }}");
        replace(&mut filter, code, &switch);
    }
    let out = env::var_os("OUT_DIR").expect("a folder from cargo");
    fs::write(Path::new(&out).join("filter.rs"), filter).expect("room for a file");
}

fn replace(text: &mut String, from: &str, to: &str) {
    let found = text.matches(from).count();
    assert_eq!(found, 1, "`{from}` must occur once in {SOURCE}: fix this script");
    *text = text.replace(from, to);
}
