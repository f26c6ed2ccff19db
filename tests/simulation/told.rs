//! Everything that the library reports through `tracing`, on the thread that runs a seed.

use std::cell::RefCell;
use std::fmt::{Debug, Write};
use std::hash::{DefaultHasher, Hasher};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, Interest};
use tracing::{Event, Metadata, Subscriber};

/// Every token and every secret of a world contains one of these, and no other text does.
const SECRETS: [&str; 3] = ["polar_at_", "polar_rt_", "polar_cs_"];

pub(crate) fn has_secret(text: impl AsRef<[u8]>) -> bool {
    let has = |secret: &str| memchr::memmem::find(text.as_ref(), secret.as_bytes()).is_some();
    SECRETS.into_iter().any(has)
}

/// Everything that was reported since the last `take`.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) digest: DefaultHasher,
    pub(crate) secrets: Vec<String>,
    text: String,
}

thread_local! {
    static TOLD: RefCell<Told> = RefCell::default();
}

pub(crate) fn take() -> Told {
    TOLD.with_borrow_mut(mem::take)
}

/// Listens on this thread until the guard is dropped.
pub(crate) fn listen() -> DefaultGuard {
    tracing::subscriber::set_default(Listener(AtomicU64::new(1)))
}

struct Listener(AtomicU64);

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tower_polar_logout")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        hear(span.metadata().target(), |told| span.record(told));
        Id::from_u64(self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn event(&self, event: &Event<'_>) {
        hear(event.metadata().target(), |told| event.record(told));
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        hear("", |told| values.record(told));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn hear(target: &str, record: impl FnOnce(&mut Told)) {
    TOLD.with_borrow_mut(|told| {
        told.text.clear();
        told.text.push_str(target);
        record(told);
        told.digest.write(told.text.as_bytes());
        if has_secret(&told.text) {
            told.secrets.push(told.text.clone());
        }
    });
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.text, " {field}={value:?}").expect("room");
    }
}
