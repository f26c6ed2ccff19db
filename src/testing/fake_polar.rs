//! The handle with which a test controls the server.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::DropGuard;

use super::client::Client;
use super::fault::Fault;
use super::pair::{CODE_LIFETIME, TokenPair};
use super::seen::{ReceivedRevoke, Seen};
use super::server;
use super::state::State;
use super::tokens::Owner;
use crate::polar::{ClientAuthMethod, ClientCredentials, PolarServer};

/// A stand-in for Polar's OAuth server, on its own loopback port.
///
/// It speaks HTTP/1.1 and has these endpoints:
///
/// - `POST /v1/oauth2/revoke`
/// - `POST /v1/oauth2/introspect`
/// - `POST /v1/oauth2/token`, with the `grant_type` `authorization_code` or `refresh_token`
/// - `/v1/oauth2/userinfo` (`GET` and `POST`)
/// - `GET /oauth2/authorize`, the page to which an app sends its users to sign in
///
/// The sign-in page acts as if the user agreed at once. The browser is redirected to any
/// `redirect_uri`, with a `code` that can be exchanged once within ten minutes. If a
/// `code_challenge` was given, the exchange needs the code verifier (RFC 6749, section 4.1; RFC
/// 7636). No ID token is issued.
///
/// Like Polar, it closes a connection that is idle for five seconds, and it completes a call even
/// if the caller hangs up.
///
/// Like Polar, its revocation and token endpoints answer 200 before they commit. The commit comes
/// 25 ms later; [`Fault::CommitAfter`] sets another time, and [`Fault::LoseCommit`] loses the
/// commit. [`Seen::uncommitted`] counts the pending commits. Until the commit, calls see the state
/// before:
///
/// - A revoked token works.
/// - A pair that was refreshed can be refreshed again.
/// - The new pair does not exist.
///
/// Like Polar, it [freezes](super#two-calls-about-one-pair) if two calls touch one pair at the same
/// time. A revoke, token or introspect call takes 12 ms, so that calls overlap as they do at Polar.
/// If time is paused, it takes no time.
///
/// It uses tokio's clock, so a test can [drive it](super#time). After it is dropped, its tasks end,
/// its connections are closed and its port is released, as soon as the runtime runs its tasks.
pub struct FakePolar {
    address: SocketAddr,
    state: Arc<State>,
    _closing: DropGuard,
}

impl FakePolar {
    /// Starts a server with a new client (id and secret) and no tokens.
    ///
    /// # Errors
    ///
    /// Returns an error if no loopback port is available.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime whose I/O and time are enabled.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(Client::generate()).await
    }

    /// Starts a server that knows this client. Several replicas can then have a server each, as if
    /// all of them called one Polar.
    ///
    /// # Errors
    ///
    /// Returns an error if no loopback port is available.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime whose I/O and time are enabled.
    pub async fn start_for(
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
    ) -> io::Result<Self> {
        Self::start_with(Client::new(client_id.into(), client_secret.into())).await
    }

    async fn start_with(client: Client) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::new(client));
        state.spawn(server::listen(listener, Arc::clone(&state)));
        let closing = state.closing.clone().drop_guard();
        Ok(Self { address, state, _closing: closing })
    }

    /// The address on which the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's URL, `http://127.0.0.1:PORT`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The server to configure: [`PolarServer::Url`] with [`FakePolar::url`].
    #[must_use]
    pub fn server(&self) -> PolarServer {
        PolarServer::Url(self.url())
    }

    /// The credentials to configure: the only ones that this server accepts.
    #[must_use]
    pub fn credentials(&self) -> ClientCredentials {
        ClientCredentials::new(self.client_id(), self.client_secret())
    }

    /// The app's client id, `polar_ci_...`.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.state.client.id
    }

    /// The app's client secret, `polar_cs_...`.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.state.client.secret
    }

    /// Registers the client for this method. Default: [`ClientAuthMethod::ClientSecretPost`].
    ///
    /// As at Polar, only the token endpoint checks the method: it answers 401 `invalid_client` to
    /// correct credentials that were sent by the other method. Revocation and introspection accept
    /// both methods.
    pub fn register_for(&self, method: ClientAuthMethod) {
        self.state.client.register_for(method);
    }

    /// Issues a pair, as a login does. The access token lives for 864,000 s, the refresh token
    /// until it is revoked or used.
    #[must_use]
    pub fn mint(&self) -> TokenPair {
        self.state.tokens().mint(Owner::App, CODE_LIFETIME)
    }

    /// Issues an access token without a refresh token.
    #[must_use]
    pub fn mint_access_only(&self) -> String {
        self.state.tokens().mint_access_only(Owner::App, CODE_LIFETIME)
    }

    /// Issues a pair whose access token has expired and whose refresh token is alive.
    #[must_use]
    pub fn mint_expired(&self) -> TokenPair {
        self.state.tokens().mint(Owner::App, Duration::ZERO)
    }

    /// Issues a pair that belongs to another app. Calls that revoke it are answered with 400
    /// `invalid_grant`.
    #[must_use]
    pub fn mint_for_another_client(&self) -> TokenPair {
        self.state.tokens().mint(Owner::Another, CODE_LIFETIME)
    }

    /// Whether the token works: it is not revoked, not used up by a refresh, and not expired.
    /// `false` for a token that this server did not issue.
    ///
    /// A pending commit counts as done. The server's answers show the state before it until the
    /// commit.
    #[must_use]
    pub fn is_alive(&self, token: &str) -> bool {
        self.state.tokens().is_alive(token)
    }

    /// What the server has seen since its start.
    #[must_use]
    pub fn seen(&self) -> Seen {
        *self.state.seen.borrow()
    }

    /// The revoke calls that the server has received since its start, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<ReceivedRevoke> {
        self.state.requests().clone()
    }

    /// Resolves once `condition` holds for what the server has seen; at once if it already does.
    /// Returns what the server had seen at that moment.
    ///
    /// ```
    /// # use tower_polar_logout::testing::FakePolar;
    /// # async fn example(polar: FakePolar) {
    /// // Resolves once a call has arrived, whatever its result.
    /// polar.until(|seen| seen.revoke_calls >= 1).await;
    /// # }
    /// ```
    pub async fn until(&self, condition: impl Fn(&Seen) -> bool) -> Seen {
        let mut seen = self.state.seen.subscribe();
        // The channel cannot be closed: the sender is in `self`.
        seen.wait_for(condition).await.map_or_else(|_| self.seen(), |seen| *seen)
    }

    /// Resolves once revoke calls have ended at least `n` pairs since the start, counted at the
    /// commit ([`Seen::revoked`]); at once if they already have.
    pub async fn revoked(&self, n: usize) {
        self.until(|seen| seen.revoked >= n).await;
    }

    /// Makes every revoke call meet this fault from now on. Replaces all faults that were set
    /// before, also those of [`FakePolar::behave_next`].
    pub fn behave(&self, fault: Fault) {
        self.state.scripts().revoke.always(fault);
    }

    /// Makes the next `n` revoke calls meet this fault. Later calls behave as before. A second call
    /// of this method takes effect after the first `n` revoke calls.
    pub fn behave_next(&self, n: usize, fault: Fault) {
        self.state.scripts().revoke.next(n, fault);
    }

    /// Makes the next `n` calls to the token endpoint meet this fault, refreshes and codes alike.
    /// Later calls are served normally. A second call of this method takes effect after the first
    /// `n` calls to the endpoint.
    pub fn behave_next_at_token(&self, n: usize, fault: Fault) {
        self.state.scripts().token.next(n, fault);
    }

    /// Sets how long the server freezes if two calls touch one pair at the same time. Default:
    /// 30 s, as at Polar. A freeze that has begun keeps its length.
    pub fn statement_timeout(&self, timeout: Duration) {
        self.state.rows.set_statement_timeout(timeout);
    }

    /// Limits how many calls a minute the server accepts, over all endpoints. Calls that carry a
    /// Bearer token are not limited and not counted. Default: no limit.
    ///
    /// Calls over the limit are answered with 429 and an empty body. Their `retry-after` is always
    /// 60, whatever is left of the minute. The minute starts with its first call.
    pub fn rate_limit(&self, per_minute: u32) {
        self.state.set_rate_limit(Some(per_minute));
    }

    /// Removes all faults and the rate limit. Calls that met [`Fault::Freeze`] are served now.
    ///
    /// If two calls about one pair have frozen the server, only the statement timeout ends the
    /// freeze; this method does not.
    pub fn recover(&self) {
        self.state.set_rate_limit(None);
        self.state.recover();
    }
}

impl fmt::Debug for FakePolar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakePolar").field("url", &self.url()).finish_non_exhaustive()
    }
}
