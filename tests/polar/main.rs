//! What Polar sees and answers: the stand-in, the client, and the delivery of revocations.

// Retry, pause, coalescing, confirmation, dead letters and shutdown.
mod delivery;
// `FakePolar` answers as Polar was recorded to answer: `revoke-vectors.json`.
mod fake_polar;
// `PolarClient` without the layer: every answer of Polar's, and every way to get none.
mod polar_client;
// One call about a pair at a time, and pauses are kept.
mod treated_well;
