//! Checks the client credentials before the first logout needs them.

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;
use tracing::warn;

use super::client::PolarClient;
use super::credentials::ClientAuthMethod;
use super::outcome::{Reason, RevokeOutcome};
use crate::error::{Error, ErrorKind};
use crate::token::Token;

/// Not a token of any server.
const MADE_UP_TOKEN: &str = "made-up";

/// How long to wait for each answer. The calls touch no row at the server, so giving up a call is
/// harmless.
const LIMIT: Duration = Duration::from_secs(5);

/// The result of a check in which the server accepted the client credentials.
///
/// If the authentication method in use works only for revoking, `Display` names the method to use
/// for exchanging codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialCheck {
    method: ClientAuthMethod,
    registered: Option<ClientAuthMethod>,
}

impl CredentialCheck {
    /// The authentication method that the client is registered for at the token endpoint. `None` if
    /// the token endpoint is not known, or if its answers did not show the method.
    ///
    /// Polar revokes and introspects with either method, and exchanges codes only with the
    /// registered one: a client registered for `client_secret_basic` cannot exchange a code by
    /// form.
    #[must_use]
    pub fn registered_method(&self) -> Option<ClientAuthMethod> {
        self.registered
    }

    /// Whether the method that revoke calls use differs from the registered one.
    #[must_use]
    pub fn is_mismatch(&self) -> bool {
        self.registered.is_some_and(|registered| registered != self.method)
    }
}

impl fmt::Display for CredentialCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server accepts the client credentials")?;
        match self.registered.filter(|_| self.is_mismatch()) {
            None => Ok(()),
            Some(registered) => write!(
                f,
                "; the client is registered for {registered}: revoking also works with {used}, but \
                 the token endpoint answers 401 to it; exchange codes with {registered}, or \
                 register the client for {used} in Polar's settings",
                used = self.method,
            ),
        }
    }
}

impl PolarClient {
    /// Asks the server whether it accepts the client id and secret, and which authentication method
    /// the client is registered for. No token is touched. Takes at most 15 s.
    ///
    /// Call this when an app starts, not in a readiness probe: it makes up to three calls, which
    /// count against Polar's limit for this address (500 a minute in production, 100 in the
    /// sandbox).
    ///
    /// ```no_run
    /// # async fn example(client: tower_polar_logout::client::PolarClient) -> Result<(), tower_polar_logout::Error> {
    /// use tower_polar_logout::ErrorKind;
    ///
    /// match client.check_credentials().await {
    ///     Ok(accepted) => println!("{accepted}"),
    ///     // Polar cannot be reached: revocations are retried until it can be.
    ///     Err(error) if error.kind() == ErrorKind::Unanswered => eprintln!("{error}"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The message says what to do.
    ///
    /// - [`ErrorKind::Credentials`](crate::ErrorKind::Credentials): the server does not accept
    ///   them. This includes a public client (PKCE, no secret), which can neither revoke nor
    ///   introspect.
    /// - [`ErrorKind::Configuration`](crate::ErrorKind::Configuration): the server's URL is wrong,
    ///   or a proxy answers instead of the server.
    /// - [`ErrorKind::Unanswered`](crate::ErrorKind::Unanswered): the server did not answer, limits
    ///   this address, or failed. Nothing is known about the credentials.
    pub async fn check_credentials(&self) -> Result<CredentialCheck, Error> {
        check(self).await
    }
}

async fn check(client: &PolarClient) -> Result<CredentialCheck, Error> {
    timeout(LIMIT, ask_about_made_up_token(client))
        .await
        .unwrap_or_else(|_| Err(unanswered(&"no answer within 5 s")))?;
    let method = client.auth_method();
    let other = match method {
        ClientAuthMethod::ClientSecretPost => ClientAuthMethod::ClientSecretBasic,
        ClientAuthMethod::ClientSecretBasic => ClientAuthMethod::ClientSecretPost,
    };
    let registered = match takes_at_token_endpoint(client, method).await {
        // Most servers accept both methods. Then there is no mismatch to report.
        Some(true) => Some(method),
        Some(false) => {
            takes_at_token_endpoint(client, other).await.and_then(|taken| taken.then_some(other))
        }
        None => None,
    };
    let accepted = CredentialCheck { method, registered };
    if accepted.is_mismatch() {
        warn!("{accepted}");
    }
    Ok(accepted)
}

async fn ask_about_made_up_token(client: &PolarClient) -> Result<(), Error> {
    let Some(token) = Token::parse(MADE_UP_TOKEN) else { return Ok(()) };
    let refused = if client.can_introspect() {
        client.introspect(&token).await.err()
    } else {
        // RFC 7009, section 2.2: an invalid token is answered with 200.
        Some(client.revoke(&token, None).await)
    };
    match refused {
        None | Some(RevokeOutcome::Confirmed | RevokeOutcome::Refused(_)) => Ok(()),
        Some(RevokeOutcome::Misconfigured(reason)) if is_about_credentials(&reason) => {
            Err(Error::new(
                ErrorKind::Credentials,
                format!(
                    "the server does not accept this client id and client secret ({reason}): copy \
                     both from your OAuth client in Polar's settings, and check that the client is \
                     registered at this server; a public client has no secret and cannot revoke"
                ),
            ))
        }
        Some(RevokeOutcome::Misconfigured(reason)) => Err(Error::configuration(format!(
            "the server's URL is wrong, or a proxy answers instead of the server ({reason}): set \
             the URL of Polar's API"
        ))),
        Some(RevokeOutcome::TryAgain { reason, .. }) => Err(unanswered(&reason)),
    }
}

fn unanswered(why: &dyn fmt::Display) -> Error {
    let message = format!(
        "the client credentials could not be checked ({why}): check that the server can be reached \
         from here, and try again later"
    );
    Error::new(ErrorKind::Unanswered, message)
}

/// `None` if the endpoint is not known, or if its answer says nothing about the credentials.
async fn takes_at_token_endpoint(client: &PolarClient, method: ClientAuthMethod) -> Option<bool> {
    match timeout(LIMIT, client.exchange_made_up_code(method)).await.ok()?? {
        RevokeOutcome::Misconfigured(reason) => is_about_credentials(&reason).then_some(false),
        // The server refused the code, so it accepted the credentials.
        RevokeOutcome::Refused(_) | RevokeOutcome::Confirmed => Some(true),
        RevokeOutcome::TryAgain { .. } => None,
    }
}

fn is_about_credentials(reason: &Reason) -> bool {
    matches!(reason.error_code(), Some("invalid_client" | "unauthorized_client"))
}
