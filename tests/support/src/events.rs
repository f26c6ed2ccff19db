//! Captures events and spans of `tracing`.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing::{Dispatch, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Scope};

/// Every event and every span of this crate on this thread.
#[derive(Clone, Default)]
pub struct Events {
    events: Arc<Mutex<Vec<Event>>>,
    spans: Arc<Mutex<Vec<Told>>>,
}

/// An event and its spans, the outermost first.
#[derive(Clone, Debug)]
pub struct Event {
    pub told: Told,
    pub spans: Vec<Told>,
}

/// A span or an event: its own fields, `message` among them.
#[derive(Clone, Debug)]
pub struct Told {
    pub name: &'static str,
    pub target: String,
    pub level: Level,
    pub fields: BTreeMap<&'static str, String>,
}

impl Events {
    /// Captures until the guard is dropped.
    pub fn capture() -> (Self, DefaultGuard) {
        let events = Self::default();
        let guard = listen(tracing_subscriber::registry().with(events.clone()));
        (events, guard)
    }

    pub fn all(&self) -> Vec<Event> {
        self.events.lock().expect("the events").clone()
    }

    pub fn spans(&self) -> Vec<Told> {
        self.spans.lock().expect("the spans").clone()
    }

    /// The steps of a token, by its hash as `Debug` writes it.
    pub fn steps(&self, hash: impl Debug) -> Vec<Event> {
        let hash = format!("{hash:?}");
        let is_step = |event: &Event| event.step().is_some() && event.field("hash") == Some(&hash);
        self.all().into_iter().filter(is_step).collect()
    }

    pub fn audited(&self) -> Vec<Event> {
        let is_audit = |event: &Event| event.told.target == "tower_polar_logout::audit";
        self.all().into_iter().filter(is_audit).collect()
    }
}

impl Event {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.told.fields.get(name).map(String::as_str)
    }

    pub fn step(&self) -> Option<&str> {
        self.field("step")
    }

    /// The event's own id, or the id of its span.
    pub fn id(&self) -> Option<&str> {
        let in_span = || self.spans.iter().rev().find_map(|span| span.fields.get("id"));
        self.told.fields.get("id").or_else(in_span).map(String::as_str)
    }
}

/// Gives this thread a subscriber, until the guard is dropped.
pub fn listen(subscriber: impl Subscriber + Send + Sync + 'static) -> DefaultGuard {
    // `tracing` asks only once whether an event is wanted. If the process has one subscriber,
    // `tracing` asks the first thread, and a thread without a subscriber refuses for all threads.
    // Two more subscribers, which want nothing, make it ask every subscriber.
    static OTHERS: OnceLock<[Dispatch; 2]> = OnceLock::new();
    OTHERS.get_or_init(|| [(); 2].map(|()| Dispatch::new(NoSubscriber::new())));
    tracing::subscriber::set_default(subscriber)
}

pub fn steps(events: &[Event]) -> Vec<&str> {
    events.iter().filter_map(Event::step).collect()
}

impl<S> Layer<S> for Events
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let metadata = attributes.metadata();
        if !metadata.target().starts_with("tower_polar_logout") {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let told = Told::new(metadata, fields);
        self.spans.lock().expect("the spans").push(told.clone());
        context.span(id).expect("a span").extensions_mut().insert(told);
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if !metadata.target().starts_with("tower_polar_logout") {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let scope = context.event_scope(event).into_iter().flat_map(Scope::from_root);
        let spans = scope.filter_map(|span| span.extensions().get::<Told>().cloned()).collect();
        let told = Told::new(metadata, fields);
        self.events.lock().expect("the events").push(Event { told, spans });
    }
}

impl Told {
    fn new(metadata: &'static tracing::Metadata<'static>, fields: Fields) -> Self {
        Self {
            name: metadata.name(),
            target: metadata.target().to_owned(),
            level: *metadata.level(),
            fields: fields.0,
        }
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
