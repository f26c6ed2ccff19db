//! An example, built.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// Built anew where it has changed: a run of one test alone would take a stale one.
pub fn build(name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo tells a test of its package: ring would be built anew for the difference.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    let built = cargo
        .args(["build", "--quiet", "--locked", "--all-features", "--example", name])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo");
    assert!(built.success(), "the example {name} does not build");
    let test = env::current_exe().expect("this test");
    test.ancestors().nth(2).expect("the target folder").join("examples").join(name)
}
