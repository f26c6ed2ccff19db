//! The telemetry that operators see. (`tests/secrets` checks that it holds no secrets.)

// Each logout has its spans, its steps and one audit event.
mod events;
// Metrics have the documented names, units and labels, and the right values.
mod metrics;
