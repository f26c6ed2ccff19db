//! An example, built, and what its process is given.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tokio::process;

use super::folder::target;

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
        .arg("--target-dir")
        .arg(target())
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .status()
        .expect("cargo");
    assert!(built.success(), "the example {name} does not build");
    target().join("debug/examples").join(name)
}

/// Of the variables that an example reads these and no others, and pipes for its output.
pub fn set(command: &mut process::Command, variables: &[&str], settings: &[(&str, &str)]) {
    for name in variables {
        command.env_remove(name);
    }
    command
        .envs(settings.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
}

/// By the shell's own `kill`: a slim system has no other.
pub async fn signal(process: u32, name: &str) {
    let kill = format!("kill -{name} {process}");
    let sent = process::Command::new("sh").args(["-c", &kill]).status().await.expect("a shell");
    assert!(sent.success());
}
