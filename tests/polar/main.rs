//! The calls to Polar: the stand-in, the client, and the delivery of revocations.

// Retries, pauses, coalescing, verification, dead letters and shutdown.
mod delivery;
// `FakePolar` answers as Polar was recorded to answer: `revoke-vectors.json`.
mod fake_polar;
// `PolarClient` without the layer, for every answer of Polar, and for no answer.
mod polar_client;
// Polar gets one call about a pair at a time, and pauses are kept.
mod treated_well;
