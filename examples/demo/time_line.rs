//! The steps that the layer took: its tracing events that have a `step` field.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// How many steps are kept.
const LENGTH: usize = 100;

/// The last steps of the layer. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct TimeLine(Arc<Mutex<Steps>>);

#[derive(Default)]
struct Steps {
    /// The number of steps since the start.
    count: u64,
    last: VecDeque<Step>,
}

/// A step of the layer.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) number: u64,
    pub(crate) at: SystemTime,
    pub(crate) fields: Fields,
}

/// The fields of the event.
#[derive(Clone, Default)]
pub(crate) struct Fields {
    pub(crate) step: String,
    /// The id of the logout or delivery that the step belongs to.
    pub(crate) id: Option<String>,
    /// The first digits of the token's hash.
    pub(crate) hash: Option<String>,
    /// The time since the logout or the delivery began.
    pub(crate) elapsed_ms: Option<String>,
    pub(crate) reason: Option<String>,
}

impl TimeLine {
    /// The `tracing` layer that collects the steps.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let targets = Targets::new().with_target("tower_polar_logout", Level::DEBUG);
        Collector(self.clone()).with_filter(targets)
    }

    /// The kept steps, newest first.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.lock().last.iter().rev().cloned().collect()
    }

    fn push(&self, fields: Fields) {
        let mut steps = self.lock();
        steps.count += 1;
        if steps.last.len() == LENGTH {
            steps.last.pop_front();
        }
        let step = Step { number: steps.count, at: SystemTime::now(), fields };
        steps.last.push_back(step);
    }

    fn lock(&self) -> MutexGuard<'_, Steps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Collector(TimeLine);

/// The id of a span, stored in its extensions.
struct SpanId(String);

impl<S> Layer<S> for Collector
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(id), Some(span)) = (fields.id, context.span(id)) {
            span.extensions_mut().insert(SpanId(id));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if event.metadata().fields().field("step").is_none() {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        if fields.id.is_none() {
            fields.id = context.event_scope(event).and_then(|mut scope| {
                scope.find_map(|span| span.extensions().get().map(|SpanId(id)| id.clone()))
            });
        }
        self.0.push(fields);
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "step" => self.step = value,
            "id" => self.id = Some(value),
            "hash" => {
                let digits = value.trim_start_matches("TokenHash(").trim_end_matches("..)");
                self.hash = Some(digits.to_owned());
            }
            "elapsed_ms" => self.elapsed_ms = Some(value),
            "reason" => self.reason = Some(value),
            _ => {}
        }
    }
}
