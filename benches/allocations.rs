//! Counts the heap allocations of a request through the layer.
//!
//! `cargo bench --bench allocations`. It is separate from the other goals, because counting takes
//! time.

#[path = "goals/race.rs"]
#[allow(dead_code, reason = "shared; nothing races here")]
mod race;
#[path = "goals/subject.rs"]
#[allow(dead_code, unused_imports, reason = "shared; one revoked token is enough here")]
mod subject;
#[path = "goals/table.rs"]
#[allow(dead_code, reason = "shared; counts have no lower limit")]
mod table;

use std::hint::black_box;

use axum::body::Body;
use http::{Request, StatusCode};
use tower::{Layer, service_fn};

use crate::race::answer;
use crate::subject::{app, token};
use crate::table::{Goal, row};

fn main() {
    table::head();
    let (revoked, living) = (token(0), token(1));
    for (what, request, limit) in [
        ("bearer token, not revoked", subject::bearer(&living), 0.0),
        ("the token in one of four cookies", subject::cookie_among_four(&living), 0.0),
        ("request without a token", subject::without_token(), 0.0),
        // The cheapest answer is a status, which takes no allocation.
        ("revoked token, 401, beyond the cheapest answer", subject::bearer(&revoked), 3.0),
    ] {
        let allocations = count(request);
        row(&format!("heap allocations: {what}"), Goal::AtMost(limit), allocations, "", "");
    }
}

fn count(request: Request<Body>) -> f64 {
    let mut service = subject::layer_of(1).layer(service_fn(app));
    let is_revoked = subject::bearer(&token(0)).headers() == request.headers();
    let expected = if is_revoked { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
    let mut status = None;
    let counted = allocation_counter::measure(|| {
        let response = black_box(answer(&mut service, request));
        status = Some(response.status());
    });
    assert_eq!(status, Some(expected));
    f64::from(u32::try_from(counted.count_total).expect("few"))
}
