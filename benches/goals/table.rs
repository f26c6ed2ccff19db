//! The table: each figure beside its goal.

use std::fmt;

/// The goal for a figure.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// The machine exceeds the limit even without the layer, so a figure over it means nothing.
    Unclear(f64),
    /// No goal: the figure is for comparison.
    None,
}

impl Goal {
    fn verdict(self, figure: f64) -> &'static str {
        let is_met = match self {
            Self::AtMost(limit) | Self::Unclear(limit) if figure <= limit => true,
            Self::AtMost(_) => false,
            Self::AtLeast(limit) => figure >= limit,
            Self::Unclear(_) => return "too noisy to tell",
            Self::None => return "",
        };
        if is_met { "met" } else { "falls short" }
    }
}

pub(crate) fn head() {
    println!("| what | goal | figure | |\n|---|---|---|---|");
}

/// Prints a row. The unit follows the number without a space in between. The remark explains the
/// figure.
pub(crate) fn row(what: &str, goal: Goal, figure: f64, unit: &str, remark: &str) {
    let goal_text = match goal {
        Goal::AtMost(0.0) => "0".to_owned(),
        Goal::AtMost(limit) | Goal::Unclear(limit) => format!("at most {limit}{unit}"),
        Goal::AtLeast(limit) => format!("at least {limit}{unit}"),
        Goal::None => String::new(),
    };
    let remark = if remark.is_empty() { String::new() } else { format!(" ({remark})") };
    let verdict = goal.verdict(figure);
    println!("| {what} | {goal_text} | {}{unit}{remark} | {verdict} |", Significant(figure));
}

/// A number, printed with its significant digits.
struct Significant(f64);

impl fmt::Display for Significant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0.abs() {
            size if size == 0.0 || size >= 100.0 => 0,
            size if size >= 10.0 => 1,
            size if size >= 1.0 => 2,
            _ => 3,
        };
        write!(f, "{:.digits$}", self.0)
    }
}
