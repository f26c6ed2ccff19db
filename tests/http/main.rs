//! The layer as callers and apps see it: requests, answers, the tower service and its neighbours.

// The handle and the outcome of a logout in axum handlers.
mod axum_extractors;
// A caller hangs up after any number of polls, and the logout still happens.
mod cancellation;
// Every configuration error ends in `build()`, with a line that says what to do.
mod configuration;
// Logouts with made-up tokens fill no more room than was planned.
mod floods;
// Which layer stands where, and what happens in another order.
mod layer_order;
// How a logout is answered: every row of the table of answers.
mod logout;
// The app, a body or a log panics, and the layer goes on.
mod panics;
// What becomes of a request that carries a revoked credential.
mod rejection;
// Readiness, cancellation, and what never reaches the inner service.
mod service;
// The stacks that people build compile and keep their types.
mod stacks;
// HTTP/1.1, HTTP/2 and Polar, each over TLS.
mod tls;
// An app with server-side sessions.
mod tower_sessions;
// A session that is renewed and a stream that goes on while the logout comes.
mod under_way;
