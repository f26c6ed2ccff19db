//! What operators see. (What nobody may see: `tests/secrets`.)

// Spans, steps and audit events.
mod events;
// Names, units, labels and values of the metrics.
mod metrics;
