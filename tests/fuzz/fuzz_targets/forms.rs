//! A form, or JSON, in the body of a request: whatever token an app reads in it, the layer sees.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_polar_logout_fuzz::{Site, judge, request};

fuzz_target!(|bytes: &[u8]| {
    judge(&request::with_body(bytes), Site::Body);
});
