//! The demo, as a process of its own.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;

use tokio::process::Command;

/// The demo's settings, which no test takes from its surroundings.
const VARIABLES: [&str; 5] =
    ["LISTEN_ADDR", "POLAR_CLIENT_ID", "POLAR_CLIENT_SECRET", "POLAR_SERVER", "REVOCATION_JOURNAL"];

/// A command that runs the demo with these settings, and with pipes for its output.
pub fn command(settings: &[(&str, &str)]) -> Command {
    static DEMO: OnceLock<PathBuf> = OnceLock::new();
    // A file that may grow no further is an error then, as a full disk is, and not a signal.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\""]).arg(DEMO.get_or_init(build));
    for name in VARIABLES {
        command.env_remove(name);
    }
    command
        .envs(settings.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Built anew where it has changed: a run of one test alone would take a stale one.
fn build() -> PathBuf {
    let built = std::process::Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--all-features", "--example", "demo"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo");
    assert!(built.success(), "the demo does not build");
    let test = std::env::current_exe().expect("this test");
    test.ancestors().nth(2).expect("the target folder").join("examples/demo")
}
