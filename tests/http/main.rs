//! The layer as callers and apps see it: requests, answers, the tower service and its neighbours.

// The handle and the outcome of a logout in axum handlers.
mod axum_extractors;
// A caller hangs up after any number of polls, and the logout still happens.
mod cancellation;
// `build()` reports every configuration error, with a line that says what to do.
mod configuration;
// Logouts with made-up tokens take no more room than configured.
mod floods;
// Which layer goes where, and what happens in another order.
mod layer_order;
// The answers to a logout: every row of the table of answers.
mod logout;
// The layer keeps working after a panic in the app, a body or a log.
mod panics;
// Requests that carry a revoked credential.
mod rejection;
// Readiness, cancellation, and requests that never reach the inner service.
mod service;
// The usual stacks compile, and keep their types.
mod stacks;
// HTTP/1.1, HTTP/2 and Polar, each over TLS.
mod tls;
// An app with server-side sessions.
mod tower_sessions;
// Renewals, uploads and streams that are under way during a logout.
mod under_way;
