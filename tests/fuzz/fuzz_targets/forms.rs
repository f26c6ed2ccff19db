//! The body of a request: an app never reads a dead token in it, whatever its syntax.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_polar_logout_fuzz::{judge, request};

fuzz_target!(|bytes: &[u8]| {
    judge(&request::with_body(bytes));
});
