//! A logout, and the only place that fixes the order of its effects.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};
use tokio_util::sync::DropGuard;
use tracing::{Instrument, debug, error};

use super::denylist::Denylist;
use super::log_lag::LogLag;
use super::outcome::{LogoutOutcome, Outcomes};
use super::recorder::{Recorded, Recorder};
use crate::delivery::{Delivered, Delivery, Held, NotTaken};
use crate::error::Error;
use crate::log::Sealer;
use crate::polar::ClientCredentials;
use crate::telemetry::{Correlation, Counters, Counts, Health, audit};
use crate::token::{CredentialKind, Issuer, Revocation, Token, TokenTypeHint};

/// A disk that hangs holds a logout no longer. Polar's deadline would be too short: it may be set
/// to almost nothing, and a sync takes what it takes.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);

/// How many are denied, at 2 us each, until other tasks of the same thread have their turn.
const AT_ONCE: usize = 128;

/// Longer is for ever, and keeps every sum of times in range.
const LONGEST_DEADLINE: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a credential is rejected where nobody knows its exact lifetime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) access_token: Duration,
    pub(crate) refresh_token: Duration,
    pub(crate) session_id: Duration,
}

#[derive(Debug)]
pub(crate) struct Revoker {
    pub(crate) denylist: Arc<Denylist>,
    /// Where a log is configured.
    pub(crate) recorder: Option<Recorder>,
    /// Whether all that the log says is denied here.
    pub(crate) log_lag: LogLag,
    pub(crate) delivery: Delivery,
    pub(crate) issuer: Issuer,
    pub(crate) send_hint: bool,
    pub(crate) retention: Retention,
    /// How long a logout waits for Polar.
    pub(crate) deadline: Duration,
    pub(crate) counters: Arc<Counters>,
    pub(super) outcomes: Outcomes,
    /// Held while credentials are exchanged.
    pub(crate) exchange: Mutex<()>,
    /// What follows the log ends with this.
    pub(crate) _closing: DropGuard,
}

/// A revocation with its expiry fixed, after it took its first effect.
struct Order {
    revocation: Revocation,
    /// What is to be sent.
    token: Option<Token>,
    expires_at: SystemTime,
    /// So far, but for what Polar will say.
    outcome: LogoutOutcome,
    /// It has a place in the queue to Polar.
    is_held: bool,
}

impl Revoker {
    /// Revokes: first here, at once and for all requests; then in the log, so that it survives this
    /// process; then at Polar, one token after the other, waiting at most the deadline. To be run
    /// in a task of its own, so that a caller who hangs up cannot stop it half way.
    pub(crate) async fn run(&self, revocations: Vec<Revocation>) -> LogoutOutcome {
        self.counters.logouts.increment();
        let correlation = Correlation::new(Instant::now());
        let span = correlation.logout_span();
        self.revoke(correlation, revocations).instrument(span).await
    }

    async fn revoke(
        &self,
        correlation: Correlation,
        revocations: Vec<Revocation>,
    ) -> LogoutOutcome {
        let deadline = correlation.began() + self.deadline.min(LONGEST_DEADLINE);
        let mut orders = Vec::with_capacity(revocations.len());
        for revocation in revocations {
            orders.push(self.deny(correlation, revocation));
            if orders.len().is_multiple_of(AT_ONCE) {
                yield_now().await;
            }
        }
        // Sent in this order, one after the other: a refresh token outlives an access token.
        orders.sort_by_key(|order| order.revocation.kind != CredentialKind::RefreshToken);
        // Before the log: what is sealed there must have a place in the queue, and what has one
        // must be sealed.
        let mut held = self.delivery.hold(correlation);
        for order in &mut orders {
            self.hold(&mut held, order);
        }
        let recorded = self.record(correlation, &orders).await;
        let sent = held.release();
        let mut outcome =
            orders.iter().map(|order| order.outcome).fold(recorded, LogoutOutcome::worse);
        for delivered in sent {
            let delivered = self.delivery.delivered_by(deadline, delivered).await;
            outcome = outcome.worse(outcome_of(delivered));
        }
        let credentials = orders.iter().map(|Order { revocation, .. }| revocation);
        let credentials: Vec<_> = credentials.map(|it| (it.found_in, it.hash)).collect();
        self.outcomes.count(outcome);
        audit::logout(correlation, outcome.as_str(), &credentials);
        outcome
    }

    pub(crate) fn counts(&self) -> Counts {
        let Self { denylist, delivery, counters, .. } = self;
        counters.snapshot(denylist.len(), denylist.limit(), delivery.pending())
    }

    pub(crate) fn health(&self) -> Health {
        Health {
            log_lag: self.log_lag.behind_for(),
            log_held: self.recorder.as_ref().map_or(0, Recorder::held),
            ..self.delivery.health()
        }
    }

    /// Calls Polar and seals tokens with these credentials from now on, what is on its way
    /// included.
    pub(crate) async fn set_credentials(
        &self,
        credentials: ClientCredentials,
    ) -> Result<(), Error> {
        // One exchange at a time, or the client of one could meet the sealer of the other.
        let _exchange = self.exchange.lock().await;
        let sealer = Sealer::new(&credentials.secret, []);
        self.delivery.set_credentials(credentials)?;
        let Some(recorder) = &self.recorder else { return Ok(()) };
        recorder.set_sealer(sealer);
        // Sealed with the old secret, which may not be at hand at the next start. The later expiry
        // holds, so this one changes nothing.
        let pending = self.delivery.tokens();
        let long_ago = SystemTime::UNIX_EPOCH;
        let pending: Vec<_> =
            pending.iter().map(|(hash, token)| (*hash, long_ago, Some(token))).collect();
        let correlation = Correlation::new(Instant::now());
        recorder.record(correlation, &pending).await.map(|_| ())
    }

    /// The first effect alone, for who cannot wait for the task that [runs](Self::run) the whole.
    /// Where there is no room, that will say so.
    pub(crate) fn deny_at_once(&self, revocation: &Revocation) {
        let _ = self.denylist.insert(revocation.hash, self.expiry(revocation));
    }

    fn expiry(&self, revocation: &Revocation) -> SystemTime {
        Denylist::expiry(revocation.lifetime.unwrap_or(self.retention.of(revocation.kind)))
    }

    fn deny(&self, correlation: Correlation, revocation: Revocation) -> Order {
        let expires_at = self.expiry(&revocation);
        let denied = self.denylist.insert(revocation.hash, expires_at);
        let (hash, elapsed_ms) = (revocation.hash, correlation.elapsed_ms());
        if denied.is_ok() {
            debug!(step = "denied", ?hash, elapsed_ms, "rejected here from now on");
        } else {
            self.counters.full.increment();
            error!(
                ?hash,
                limit = self.denylist.limit(),
                "no room for one more revocation, a token is NOT rejected here: raise the limit"
            );
        }
        let mut order = Order {
            token: None,
            expires_at,
            outcome: denied.map_or(LogoutOutcome::Full, |()| LogoutOutcome::Confirmed),
            is_held: false,
            revocation,
        };
        self.choose(&mut order);
        order
    }

    /// Decides what is sent: nothing that the server could not have issued, and not more of one
    /// request than a browser could have.
    fn choose(&self, order: &mut Order) {
        let Revocation { kind, token, is_one_too_many, .. } = &order.revocation;
        if *kind == CredentialKind::SessionId {
            return;
        }
        let could_be = |token: &&Token| self.issuer.could_have_issued(token.as_str().as_bytes());
        match token.as_ref().filter(could_be) {
            None => {
                self.counters.unrecognized.increment();
                order.outcome = order.outcome.worse(LogoutOutcome::Unrecognized);
            }
            Some(_) if *is_one_too_many => {
                order.outcome = order.outcome.worse(LogoutOutcome::Busy);
            }
            Some(token) => order.token = Some(token.clone()),
        }
    }

    fn hold(&self, held: &mut Held<'_>, order: &mut Order) {
        let Revocation { hash, kind, .. } = order.revocation;
        let Some(token) = order.token.clone() else { return };
        match held.add(hash, token, self.hint(kind)) {
            Ok(()) => order.is_held = true,
            Err(NotTaken::Ended) => {}
            Err(NotTaken::NoRoom) => {
                error!(?hash, "no room in the queue to Polar, which is not told of a token");
                order.outcome = order.outcome.worse(LogoutOutcome::Busy);
            }
        }
    }

    /// Keeps in the log what is denied here; what is not was refused, and would only fill the log
    /// past what the next start has room for.
    async fn record(&self, correlation: Correlation, orders: &[Order]) -> LogoutOutcome {
        let Some(recorder) = &self.recorder else { return LogoutOutcome::NoToken };
        let denied = orders.iter().filter(|order| order.outcome != LogoutOutcome::Full);
        let events: Vec<_> = denied
            .map(|Order { revocation, token, expires_at, is_held, .. }| {
                let sent = token.as_ref().filter(|_| *is_held);
                (revocation.hash, *expires_at, sent)
            })
            .collect();
        match timeout(RECORDED_WITHIN, recorder.record(correlation, &events)).await {
            Ok(Ok(Recorded::Durably)) => LogoutOutcome::NoToken,
            Ok(Ok(Recorded::ForNow)) => LogoutOutcome::Pending,
            Ok(Err(error)) => {
                error!(%error, "the log could not keep a revocation; it is lost with this process");
                LogoutOutcome::Unrecorded
            }
            Err(_) => {
                error!(
                    "the log takes too long to keep a revocation: is its disk, or its server, in order?"
                );
                LogoutOutcome::Unrecorded
            }
        }
    }

    fn hint(&self, kind: CredentialKind) -> Option<TokenTypeHint> {
        match kind {
            CredentialKind::AccessToken if self.send_hint => Some(TokenTypeHint::AccessToken),
            CredentialKind::RefreshToken if self.send_hint => Some(TokenTypeHint::RefreshToken),
            _ => None,
        }
    }
}

fn outcome_of(delivered: Option<Delivered>) -> LogoutOutcome {
    match delivered {
        Some(Delivered::Confirmed) => LogoutOutcome::Confirmed,
        Some(Delivered::Refused) => LogoutOutcome::Refused,
        // Not yet; or the runtime shuts down.
        None => LogoutOutcome::Pending,
    }
}

impl Retention {
    fn of(&self, kind: CredentialKind) -> Duration {
        match kind {
            CredentialKind::AccessToken => self.access_token,
            CredentialKind::RefreshToken => self.refresh_token,
            CredentialKind::SessionId | CredentialKind::Unrecognized => self.session_id,
        }
    }
}
