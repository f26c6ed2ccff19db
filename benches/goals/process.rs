//! Starts this program again as a separate process, and reads the kernel's figures for a process.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

/// This program with other arguments. It ends, with its standard input, when this is dropped.
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines }
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        self.lines.next().expect("a line").expect("text")
    }

    /// The next line, which must be a number.
    pub(crate) fn number(&mut self) -> f64 {
        self.line().parse().expect("a number")
    }

    /// Its resident memory now, in bytes.
    pub(crate) fn resident(&self) -> f64 {
        status(self.child.id(), "VmRSS:")
    }

    /// Its highest resident memory so far, in bytes.
    pub(crate) fn most_resident(&self) -> f64 {
        status(self.child.id(), "VmHWM:")
    }

    /// Its CPU time so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        cpu_of(self.child.id())
    }

    /// Closes the standard input, which tells the process to end.
    pub(crate) fn close(&mut self) {
        drop(self.child.stdin.take());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.close();
        let _ = self.child.wait();
    }
}

/// The resident memory of this process now, in bytes.
pub(crate) fn resident() -> f64 {
    status(std::process::id(), "VmRSS:")
}

/// The highest resident memory of this process so far, in bytes.
pub(crate) fn most_resident() -> f64 {
    status(std::process::id(), "VmHWM:")
}

fn status(process: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("Linux");
    let line =
        status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of that name");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024.0
}

/// The CPU time of this process so far, in seconds: user and system time.
pub(crate) fn cpu() -> f64 {
    cpu_of(std::process::id())
}

fn cpu_of(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("Linux");
    // Skips the name in parentheses, which may contain any character. User and system time are
    // fields 14 and 15 of the line, in hundredths of a second.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().expect("a number") / 100.0).sum()
}
