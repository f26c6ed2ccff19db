//! A million tokens are revoked in one incident, and later expire together and are cleaned up.
//! Meanwhile requests go on, one after the other, and a logout every millisecond.
//!
//! If a thread loses the processor for a moment, that looks like a wait too. Therefore the same
//! requests and logouts go on for the same time again, with nothing to revoke or to clean up, but
//! with a thread that computes. The waits of that phase are the machine's.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tower::{Layer, service_fn};
use tower_polar_logout::{LogoutHandle, LogoutOutcome, PolarLogoutLayer};

use crate::race::answer;
use crate::subject::{self, MANY, RUNTIME, app};
use crate::table::{Goal, row};

const REVOKED: u32 = 1_000_000;
/// When all of them expire, counted from the first.
const EXPIRE_AFTER: Duration = Duration::from_secs(20);
const LOGOUT_EVERY: Duration = Duration::from_millis(1);
/// The layer spreads tokens that expire together over a hundred seconds, most of them early. The
/// bench watches this part of the time.
const WATCHED: Duration = Duration::from_secs(30);
/// The goals, in milliseconds.
const LONGEST_WAIT: f64 = 1.0;
const LONGEST_LOGOUT: f64 = 10.0;
/// Room for the logouts meanwhile. More logouts come before the end, so that the filter is renewed
/// during the watched time. Fewer come before the first expiry, so that there is room for each.
const MARGIN: u32 = 30_000;

pub(crate) fn measure() {
    let layer = subject::layer(REVOKED + MARGIN);
    let incident = Incident::default();
    let cleaned = thread::scope(|scope| {
        scope.spawn(|| incident.requests(&layer));
        scope.spawn(|| incident.logouts(&layer.handle()));
        incident.happens(&layer.handle())
    });
    incident.report(cleaned);
}

#[derive(Clone, Copy)]
enum Phase {
    /// Requests and logouts have not begun.
    Before,
    Revoking,
    /// Every token is revoked and none has expired.
    Between,
    Cleaning,
    Without,
    Over,
}

#[derive(Default)]
struct Incident {
    phase: AtomicUsize,
    logouts_made: AtomicUsize,
    requests: Waits,
    logouts: Waits,
}

/// The waits in each phase.
#[derive(Default)]
struct Waits {
    /// Nanoseconds.
    longest: [AtomicU64; Phase::Over as usize + 1],
    count: [AtomicU64; Phase::Over as usize + 1],
}

impl Incident {
    /// Runs the phases. Returns how many tokens were cleaned up in the watched time.
    fn happens(&self, handle: &LogoutHandle) -> usize {
        while self.requests.count(Phase::Before) == 0 || self.logouts.count(Phase::Before) == 0 {
            spin_loop();
        }
        self.turn_to(Phase::Revoking);
        let begun = Instant::now();
        RUNTIME.block_on(subject::revoke(handle, REVOKED, |order| {
            order.expires_in(EXPIRE_AFTER.saturating_sub(begun.elapsed()))
        }));
        let revoking = begun.elapsed();
        assert!(revoking < EXPIRE_AFTER, "all must be revoked before the first expires");
        self.turn_to(Phase::Between);
        assert!(handle.is_revoked(subject::token(0)), "revoked, and not expired yet");
        thread::sleep(EXPIRE_AFTER.saturating_sub(begun.elapsed()));
        self.turn_to(Phase::Cleaning);
        let expired = Instant::now();
        thread::sleep(WATCHED);
        let cleaning = expired.elapsed();
        let logouts = self.logouts_made.load(Ordering::Relaxed);
        let cleaned = REVOKED as usize + logouts - handle.counts().revoked;
        self.turn_to(Phase::Without);
        let without = Instant::now();
        while without.elapsed() < revoking + cleaning {
            spin_loop();
        }
        self.turn_to(Phase::Over);
        cleaned
    }

    fn requests(&self, layer: &PolarLogoutLayer) {
        let mut service = layer.layer(service_fn(app));
        let mut tokens = MANY.tokens();
        while self.phase() != Phase::Over as usize {
            let request = subject::bearer(&tokens());
            let (phase, begun) = (self.phase(), Instant::now());
            answer(&mut service, request);
            self.requests.note(phase, begun.elapsed());
        }
    }

    fn logouts(&self, handle: &LogoutHandle) {
        let mut sessions = REVOKED..;
        while self.phase() != Phase::Over as usize {
            let order = subject::session_id(&subject::token(sessions.next().expect("no end")));
            let (phase, begun) = (self.phase(), Instant::now());
            assert_eq!(RUNTIME.block_on(handle.revoke([order])), LogoutOutcome::Confirmed);
            self.logouts.note(phase, begun.elapsed());
            self.logouts_made.fetch_add(1, Ordering::Relaxed);
            thread::sleep(LOGOUT_EVERY);
        }
    }

    fn phase(&self) -> usize {
        self.phase.load(Ordering::Relaxed)
    }

    fn turn_to(&self, phase: Phase) {
        self.phase.store(phase as usize, Ordering::Relaxed);
    }

    fn report(&self, cleaned: usize) {
        for (who, waits, limit) in
            [("request", &self.requests, LONGEST_WAIT), ("logout", &self.logouts, LONGEST_LOGOUT)]
        {
            let phases = [Phase::Revoking, Phase::Cleaning, Phase::Without];
            let [revoking, cleaning, without] = phases.map(|phase| waits.longest(phase));
            row(
                &format!(
                    "a million revoked in one incident, expired together, cleaned up: longest {who}"
                ),
                if without > limit { Goal::Unclear(limit) } else { Goal::AtMost(limit) },
                revoking.max(cleaning),
                " ms",
                &format!(
                    "{revoking:.2} ms while revoking, {cleaning:.2} ms while the first {cleaned} \
                     were cleaned up, {without:.2} ms without"
                ),
            );
        }
    }
}

impl Waits {
    fn note(&self, phase: usize, wait: Duration) {
        let wait = u64::try_from(wait.as_nanos()).expect("no century");
        self.longest[phase].fetch_max(wait, Ordering::Relaxed);
        self.count[phase].fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, phase: Phase) -> u64 {
        self.count[phase as usize].load(Ordering::Relaxed)
    }

    /// The longest wait in milliseconds.
    fn longest(&self, phase: Phase) -> f64 {
        assert_ne!(self.count(phase), 0, "no wait was measured");
        let longest = self.longest[phase as usize].load(Ordering::Relaxed);
        Duration::from_nanos(longest).as_secs_f64() * 1e3
    }
}
