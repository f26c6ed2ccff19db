//! Whether the server takes the client's credentials, told before the first logout needs them.

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

/// How long each answer is waited for. The calls touch no row at the server, so to give one up is
/// harmless.
const LIMIT: Duration = Duration::from_secs(5);

/// The server takes the client credentials. `Display` says so, and names the authentication method
/// to use where the one in use works for revoking only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialCheck {
    method: ClientAuthMethod,
    registered: Option<ClientAuthMethod>,
}

impl CredentialCheck {
    /// The authentication method that the client is registered for at the token endpoint; `None`
    /// where the server does not tell the methods apart, or did not say.
    ///
    /// Polar revokes and introspects by either method, and exchanges codes by the registered one
    /// only: a client registered for `client_secret_basic` cannot exchange a code by form.
    #[must_use]
    pub fn registered_method(&self) -> Option<ClientAuthMethod> {
        self.registered
    }

    /// The method that revoke calls use is not the registered one.
    #[must_use]
    pub fn is_mismatch(&self) -> bool {
        self.registered.is_some_and(|registered| registered != self.method)
    }
}

impl fmt::Display for CredentialCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server takes the client credentials")?;
        match self.registered.filter(|_| self.is_mismatch()) {
            None => Ok(()),
            Some(registered) => write!(
                f,
                "; the client is registered for {registered}: revoking works by {used} too, but \
                 the token endpoint answers 401 to a code exchanged by {used}, so exchange codes by \
                 {registered}, or register the client for {used} in Polar's settings",
                used = self.method,
            ),
        }
    }
}

impl PolarClient {
    /// Asks the server whether it takes the client id and secret, and which authentication method
    /// the client is registered for, without touching any token. For the start of an application:
    /// it makes up to three calls, which count against Polar's limit for this address (500 a minute
    /// in production, 100 in the sandbox), so it is no readiness probe. Takes 15 s at most.
    ///
    /// ```no_run
    /// # async fn example(client: tower_polar_logout::client::PolarClient) -> Result<(), tower_polar_logout::Error> {
    /// use tower_polar_logout::ErrorKind;
    ///
    /// match client.check_credentials().await {
    ///     Ok(accepted) => println!("{accepted}"),
    ///     // Polar cannot be asked: revocations are retried until it can be.
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
    /// - [`ErrorKind::Credentials`](crate::ErrorKind::Credentials): the server does not take them. A
    ///   public client (PKCE, no secret) is one of these cases: it can neither revoke nor introspect.
    /// - [`ErrorKind::Configuration`](crate::ErrorKind::Configuration): the server's URL is wrong, or
    ///   a proxy answers in its place.
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
        // Most servers take both: nothing is to be said then.
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
                    "the server does not take the client id with this client secret ({reason}): copy \
                 both from your OAuth client in Polar's settings, and check that the server is the \
                 one where the client is registered; a public client has no secret and cannot revoke"
                ),
            ))
        }
        Some(RevokeOutcome::Misconfigured(reason)) => Err(Error::configuration(format!(
            "the server's URL is wrong, or a proxy answers in its place ({reason}): give the URL of \
             Polar's API"
        ))),
        Some(RevokeOutcome::TryAgain { reason, .. }) => Err(unanswered(&reason)),
    }
}

fn unanswered(why: &dyn fmt::Display) -> Error {
    let message = format!(
        "whether the server takes the client credentials is not known ({why}): check that the server \
         can be reached from here, and try again later"
    );
    Error::new(ErrorKind::Unanswered, message)
}

/// `None` where the endpoint is not known, or says nothing of the credentials.
async fn takes_at_token_endpoint(client: &PolarClient, method: ClientAuthMethod) -> Option<bool> {
    match timeout(LIMIT, client.exchange_made_up_code(method)).await.ok()?? {
        RevokeOutcome::Misconfigured(reason) => is_about_credentials(&reason).then_some(false),
        // The code is refused, and so the credentials were taken.
        RevokeOutcome::Refused(_) | RevokeOutcome::Confirmed => Some(true),
        RevokeOutcome::TryAgain { .. } => None,
    }
}

fn is_about_credentials(reason: &Reason) -> bool {
    matches!(reason.error_code(), Some("invalid_client" | "unauthorized_client"))
}
