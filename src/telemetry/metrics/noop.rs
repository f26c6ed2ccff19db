//! In place of the facade where the feature `metrics` is off.

use std::time::Duration;

pub(crate) const ENABLED: bool = false;

#[derive(Debug, Default)]
pub(crate) struct Counter;

impl Counter {
    pub(super) fn new(
        _name: &'static str,
        _help: &'static str,
        _label: Option<(&'static str, &'static str)>,
    ) -> Self {
        Self
    }

    #[allow(clippy::unused_self, reason = "the facade's counter needs it")]
    pub(crate) fn add(&self, _more: u64) {}
}

#[derive(Debug)]
pub(crate) struct Histogram;

impl Histogram {
    pub(super) fn seconds(
        _name: &'static str,
        _help: &'static str,
        _label: (&'static str, &'static str),
    ) -> Self {
        Self
    }

    #[allow(clippy::unused_self, reason = "the facade's histogram needs it")]
    pub(crate) fn record(&self, _duration: Duration) {}
}

#[derive(Debug)]
pub(crate) struct Gauge;

#[allow(clippy::unused_self, reason = "the facade's gauge needs it")]
impl Gauge {
    pub(super) fn new(_name: &'static str, _help: &'static str) -> Self {
        Self
    }

    pub(super) fn seconds(_name: &'static str, _help: &'static str) -> Self {
        Self
    }

    pub(crate) fn set(&mut self, _count: usize) {}

    pub(crate) fn set_age(&mut self, _age: Duration) {}
}
