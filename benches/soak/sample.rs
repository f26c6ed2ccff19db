//! The resources that a process holds at one moment.

use std::fmt;
use std::fs;

use tokio::runtime::Handle;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Bytes in memory.
    pub(crate) resident: f64,
    pub(crate) descriptors: f64,
    /// Tasks of the runtime.
    pub(crate) tasks: f64,
    /// Tokens that are not yet delivered to Polar.
    pub(crate) pending: f64,
}

impl Sample {
    pub(crate) fn take(pending: usize) -> Self {
        let status = fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        // Without the descriptor that reads the folder.
        let descriptors = fs::read_dir("/proc/self/fd").expect("Linux").count() - 1;
        Self {
            resident: kib * 1024.0,
            descriptors: figure(descriptors),
            tasks: figure(Handle::current().metrics().num_alive_tasks()),
            pending: figure(pending),
        }
    }

    /// Parses the text that `Display` writes.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split(' ').map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self { resident: next()?, descriptors: next()?, tasks: next()?, pending: next()? })
    }
}

fn figure(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("not that many"))
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident, descriptors, tasks, pending } = self;
        write!(f, "{resident} {descriptors} {tasks} {pending}")
    }
}

pub(crate) fn median(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> f64 {
    let mut figures: Vec<_> = samples.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

pub(crate) fn most(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> f64 {
    samples.iter().map(figure).fold(0.0, f64::max)
}
