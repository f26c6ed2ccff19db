//! Every dependency builds with the oldest Rust that `Cargo.toml` promises.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

#[test]
fn no_dependency_needs_a_newer_rust() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--locked",
            "--format-version",
            "1",
            "--all-features",
            "--manifest-path",
        ])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages: BTreeMap<_, _> =
        list(&metadata["packages"]).iter().map(|package| (text(&package["id"]), package)).collect();
    let nodes: BTreeMap<_, _> =
        list(&metadata["resolve"]["nodes"]).iter().map(|node| (text(&node["id"]), node)).collect();
    let root = text(&metadata["resolve"]["root"]);
    let promised = version(&packages[root]["rust_version"]);

    let mut used = BTreeSet::new();
    let mut next = vec![root];
    while let Some(id) = next.pop() {
        if used.insert(id) {
            let is_used = |dependency: &&Value| {
                list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev")
            };
            let dependencies = list(&nodes[id]["deps"]).iter().filter(is_used);
            next.extend(dependencies.map(|dependency| text(&dependency["pkg"])));
        }
    }
    let newer: Vec<_> = used
        .iter()
        .filter(|id| version(&packages[*id]["rust_version"]) > promised)
        .map(|id| format!("{} {}", packages[id]["name"], packages[id]["rust_version"]))
        .collect();
    assert!(newer.is_empty(), "newer than {promised:?}: {newer:?}");
    assert!(used.len() > 50, "only {} dependencies found", used.len());
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

/// A missing version sorts before all others.
fn version(value: &Value) -> Vec<u32> {
    let parts = value.as_str().unwrap_or_default().split('.');
    parts.filter_map(|part| part.parse().ok()).collect()
}
