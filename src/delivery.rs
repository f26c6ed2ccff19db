//! Brings revocations to Polar.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::{debug, error, warn};

use crate::counts::Counters;
use crate::polar::{Outcome, PolarClient};
use crate::tasks::Tasks;
use crate::token::{CredentialKind, Token, TokenHash, TokenTypeHint};

/// Calls Polar in tasks of its own, so that nobody who hangs up can stop a call.
#[derive(Debug)]
pub(crate) struct Delivery {
    client: PolarClient,
    send_hint: bool,
    tasks: Tasks,
    counters: Arc<Counters>,
}

/// What became of one token at Polar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    Confirmed,
    Refused,
    Unconfirmed,
}

impl Delivery {
    pub(crate) fn new(
        client: PolarClient,
        send_hint: bool,
        tasks: Tasks,
        counters: Arc<Counters>,
    ) -> Self {
        Self { client, send_hint, tasks, counters }
    }

    /// Sends the token on its way. The receiver may be dropped: the token goes on.
    pub(crate) fn send(
        &self,
        hash: TokenHash,
        token: Token,
        kind: CredentialKind,
    ) -> oneshot::Receiver<Delivered> {
        let (report, delivered) = oneshot::channel();
        let hint = if self.send_hint { hint(kind) } else { None };
        let (client, counters) = (self.client.clone(), Arc::clone(&self.counters));
        counters.sent.increment();
        self.tasks.spawn(async move {
            let outcome = client.revoke(&token, hint).await;
            // Nobody may be waiting any more.
            let _ = report.send(record(hash, &outcome, &counters));
        });
        delivered
    }
}

fn record(hash: TokenHash, outcome: &Outcome, counters: &Counters) -> Delivered {
    match outcome {
        Outcome::Confirmed => {
            debug!(?hash, "Polar confirmed the revocation");
            counters.confirmed.increment();
            Delivered::Confirmed
        }
        Outcome::Refused(reason) => {
            error!(?hash, %reason, "Polar refuses for good to revoke a token; it is rejected here");
            counters.refused.increment();
            Delivered::Refused
        }
        Outcome::Misconfigured(reason) => {
            error!(
                ?hash, %reason,
                "Polar does not accept our configuration: check client id, client secret and server"
            );
            counters.unconfirmed.increment();
            Delivered::Unconfirmed
        }
        Outcome::TryAgain { reason, .. } => {
            warn!(?hash, %reason, "Polar did not confirm a revocation; the token is rejected here");
            counters.unconfirmed.increment();
            Delivered::Unconfirmed
        }
    }
}

fn hint(kind: CredentialKind) -> Option<TokenTypeHint> {
    match kind {
        CredentialKind::AccessToken => Some(TokenTypeHint::AccessToken),
        CredentialKind::RefreshToken => Some(TokenTypeHint::RefreshToken),
        CredentialKind::Opaque => None,
    }
}
