//! Builds examples, and prepares their processes.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tokio::process;

use super::folder::target;

/// Builds the example if it has changed, because cargo does not when it runs one test alone.
pub fn build(name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    // Cargo sets these for a test. Cargo would build ring again if they differed.
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

/// Sets only these of the variables that an example reads, and pipes for its output.
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

/// Uses the shell's own `kill`, because a slim system has no other.
pub async fn signal(process: u32, name: &str) {
    let kill = format!("kill -{name} {process}");
    let sent = process::Command::new("sh").args(["-c", &kill]).status().await.expect("a shell");
    assert!(sent.success());
}
