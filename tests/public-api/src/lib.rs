//! Compares the crate's public API with the list in `public-api.txt`.
//!
//! The list is made from rustdoc's JSON, whose format changes with Rust: `Cargo.toml` must name a
//! version of `public-api` that reads it.
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// If this variable is set, the test rewrites the list.
const UPDATE: &str = "UPDATE_PUBLIC_API";

#[test]
fn public_api_is_the_listed_one() {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("public-api.txt");
    let now = public_api();
    if env::var_os(UPDATE).is_some() {
        fs::write(&list, &now).expect("the list is written");
        return;
    }
    let listed = fs::read_to_string(&list).expect("a list");
    let difference = difference(&listed, &now);
    assert!(
        difference.is_empty(),
        "the public API is not the one in {}:\n{difference}\n\
         If this is intended, add it to CHANGELOG.md, and rewrite the list with\n  \
         {UPDATE}=1 cargo test --manifest-path tests/public-api/Cargo.toml",
        list.display(),
    );
}

#[test]
fn difference_names_additions_and_removals() {
    assert_eq!(difference("a\nb\n", "a\nb\n"), "");
    assert_eq!(difference("a\nb\n", "b\nc\n"), "-a\n+c");
}

fn difference(listed: &str, now: &str) -> String {
    let missing = |of: &str, sign: &str, from: &str| -> Vec<String> {
        let from: Vec<_> = from.lines().collect();
        of.lines().filter(|line| !from.contains(line)).map(|line| format!("{sign}{line}")).collect()
    };
    [missing(listed, "-", now), missing(now, "+", listed)].concat().join("\n")
}

fn public_api() -> String {
    let api = public_api::Builder::from_rustdoc_json(rustdoc_json())
        .omit_blanket_impls(true)
        .build()
        .unwrap_or_else(|error| {
            panic!("{error}: does the version of public-api read the JSON of this rustdoc?")
        });
    format!("{api}")
}

fn rustdoc_json() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = root.join("target");
    let status = Command::new(env!("CARGO"))
        .args(["rustdoc", "--locked", "--lib", "--all-features", "--target-dir"])
        .arg(&target)
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        .current_dir(&root)
        // Only this crate may use unstable options: its dependencies are built as usual.
        .env("RUSTC_BOOTSTRAP", "tower_polar_logout")
        .status()
        .expect("cargo");
    assert!(status.success(), "rustdoc wrote no JSON");
    target.join("doc/tower_polar_logout.json")
}
