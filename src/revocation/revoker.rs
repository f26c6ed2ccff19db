//! Runs a logout. This is the only file that determines the order of its effects.

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

/// How long a logout waits for the log, for example if a disk hangs. Not `logout_deadline`, which
/// can be too short for a disk.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);

/// How many credentials are denied, at 2 us each, before other tasks of the thread get a turn.
const AT_ONCE: usize = 128;

/// A longer deadline is cut to this, so that adding it to a time cannot overflow.
const LONGEST_DEADLINE: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a credential is denied if its exact lifetime is not known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) access_token: Duration,
    pub(crate) refresh_token: Duration,
    pub(crate) session_id: Duration,
}

#[derive(Debug)]
pub(crate) struct Revoker {
    pub(crate) denylist: Arc<Denylist>,
    /// `None` if no log is configured.
    pub(crate) recorder: Option<Recorder>,
    /// Whether all revocations of the log are denied here.
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
    /// Dropping this ends the task that follows the log.
    pub(crate) _closing: DropGuard,
}

/// A revocation after its first effect, with its expiry.
struct Order {
    revocation: Revocation,
    /// The token that is sent to Polar.
    token: Option<Token>,
    expires_at: SystemTime,
    /// The outcome so far, without Polar's answer.
    outcome: LogoutOutcome,
    /// Whether it has a place in the queue to Polar.
    is_held: bool,
}

impl Revoker {
    /// Revokes credentials in this order:
    ///
    /// 1. Denies them here, at once and for all requests.
    /// 2. Records them in the log, so that they survive this process.
    /// 3. Sends the tokens to Polar, one after the other, and waits at most until the deadline.
    ///
    /// Must run in a task of its own, so that a caller that hangs up cannot stop it half way.
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
        // Refresh tokens are sent first, because they outlive access tokens.
        orders.sort_by_key(|order| order.revocation.kind != CredentialKind::RefreshToken);
        // Before the log, since a token is sealed there if and only if it has a place in the queue.
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
        let credentials: Vec<_> =
            credentials.map(|revocation| (revocation.found_in, revocation.hash)).collect();
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

    /// Calls Polar and seals tokens with these credentials from now on, including the tokens in the
    /// queue.
    pub(crate) async fn set_credentials(
        &self,
        credentials: ClientCredentials,
    ) -> Result<(), Error> {
        // One exchange at a time, so that the client and the sealer have the same credentials.
        let _exchange = self.exchange.lock().await;
        let sealer = Sealer::new(&credentials.secret, []);
        self.delivery.set_credentials(credentials)?;
        let Some(recorder) = &self.recorder else { return Ok(()) };
        recorder.set_sealer(sealer);
        // These tokens are sealed with the old secret, which may not be configured at the next
        // start. The later expiry of a hash wins, so `long_ago` changes no expiry.
        let pending = self.delivery.tokens();
        let long_ago = SystemTime::UNIX_EPOCH;
        let pending: Vec<_> =
            pending.iter().map(|(hash, token)| (*hash, long_ago, Some(token))).collect();
        let correlation = Correlation::new(Instant::now());
        recorder.record(correlation, &pending).await.map(|_| ())
    }

    /// Denies the credential, for a caller that cannot wait for the task that [runs](Self::run) all
    /// effects. If the denylist is full, that task reports it.
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
            debug!(step = "denied", ?hash, elapsed_ms, "denied here from now on");
        } else {
            self.counters.full.increment();
            error!(
                ?hash,
                limit = self.denylist.limit(),
                "the denylist is full, so a credential is NOT denied here: raise \
                 `denylist_capacity`"
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

    /// Decides whether the token is sent. It is not sent if the server cannot have issued it, or if
    /// the request carried more tokens than a browser could have.
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
                error!(
                    ?hash,
                    "the queue to Polar is full, so a token is not sent: check whether Polar \
                     answers, or raise `queue_capacity`"
                );
                order.outcome = order.outcome.worse(LogoutOutcome::Busy);
            }
        }
    }

    /// Records the credentials that are denied here. The others would only fill the log with more
    /// revocations than the denylist can take at the next start.
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
                error!(
                    %error,
                    "a revocation could not be recorded and is lost when this process ends: check \
                     the revocation log"
                );
                LogoutOutcome::Unrecorded
            }
            Err(_) => {
                error!(
                    "a revocation was not recorded within {RECORDED_WITHIN:?}: check the disk or \
                     the server of the revocation log"
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
        // Polar has not answered yet, or the runtime shuts down.
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
