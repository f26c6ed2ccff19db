//! Twice as many revocations as the denylist has room for: those over the limit are refused, and no
//! earlier one is dropped.

use futures_util::future::join_all;
use tower_polar_logout::LogoutOutcome;

use crate::subject::{self, RUNTIME, session_id, token};
use crate::table::{Goal, row};

const CAPACITY: u32 = 1_000_000;
const AT_ONCE: usize = 1_000;

pub(crate) fn measure() {
    let handle = subject::layer(CAPACITY).handle();
    let all: Vec<u32> = (0..2 * CAPACITY).collect();
    let (mut accepted, mut refused) = (Vec::new(), 0_u32);
    for some in all.chunks(AT_ONCE) {
        let orders = some.iter().map(|&n| handle.revoke([session_id(&token(n))]));
        for (&n, outcome) in some.iter().zip(RUNTIME.block_on(join_all(orders))) {
            match outcome {
                LogoutOutcome::Confirmed => accepted.push(n),
                LogoutOutcome::Full => refused += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    let gone = accepted.iter().filter(|&&n| !handle.is_revoked(token(n))).count();
    row(
        "revocations lost before their expiry, with twice as many as `denylist_capacity`",
        Goal::AtMost(0.0),
        f64::from(u32::try_from(gone).expect("at most all")),
        "",
        &format!("{} accepted, {refused} refused with an error", accepted.len()),
    );
}
