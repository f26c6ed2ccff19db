//! The crate's public API, listed in `public-api.txt` beside this, and held against it.
//!
//! The list is made from the JSON of rustdoc, whose format changes with Rust: `public-api` in
//! `Cargo.toml` must be the version that reads it.
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Rewrites the list where it is set.
const UPDATE: &str = "UPDATE_PUBLIC_API";

#[test]
fn the_public_api_is_the_one_that_is_listed() {
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
         Where that is meant, write it down in CHANGELOG.md, and the list anew with\n  \
         {UPDATE}=1 cargo test --manifest-path tests/public-api/Cargo.toml",
        list.display(),
    );
}

#[test]
fn a_difference_names_what_came_and_what_went() {
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
            panic!("{error}: does the version of public-api fit this rustdoc?")
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
        // This crate alone may use what is not stable: nothing that it depends on is built otherwise.
        .env("RUSTC_BOOTSTRAP", "tower_polar_logout")
        .status()
        .expect("cargo");
    assert!(status.success(), "rustdoc made no JSON");
    target.join("doc/tower_polar_logout.json")
}
