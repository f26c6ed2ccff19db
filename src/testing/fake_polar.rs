//! The server as a test holds it.

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

/// A stand-in for Polar's OAuth server, on a loopback port of its own.
///
/// It speaks HTTP/1.1 and knows `POST /v1/oauth2/revoke`, `POST /v1/oauth2/introspect`,
/// `POST /v1/oauth2/token` (`grant_type` `authorization_code` and `refresh_token`) and
/// `/v1/oauth2/userinfo` (`GET` and `POST`). As Polar does, it closes a connection that idles for five
/// seconds, and goes on with a call whose caller hung up.
///
/// `GET /oauth2/authorize` is the page to which an application sends its users to sign in. Here the
/// user agrees at once: the browser is redirected to any `redirect_uri` with a `code`, which can be
/// exchanged once within ten minutes, and by the holder of the code verifier where a
/// `code_challenge` was given (RFC 6749, section 4.1; RFC 7636). No ID token is issued.
///
/// As Polar does, it answers 200 before it commits, at the revocation and at the token endpoint. The
/// commit comes 25 ms later ([`Fault::CommitAfter`] sets another time, [`Fault::LoseCommit`] loses
/// it). Until then every call is told the state before: a revoked token works, a pair that was
/// refreshed can be refreshed again, and the new pair does not exist. [`Seen::uncommitted`] counts
/// the commits to come.
///
/// As Polar does, it [freezes](super#two-calls-about-one-pair) if two calls touch one pair at the same
/// time. So that they overlap as they do there, a revoke, token or introspect call takes 12 ms, unless
/// time is paused.
///
/// Its clock is tokio's, so a test can [drive it](super#time). On drop its tasks end, its connections
/// are closed and its port is given back, as soon as the runtime turns to them.
pub struct FakePolar {
    address: SocketAddr,
    state: Arc<State>,
    _closing: DropGuard,
}

impl FakePolar {
    /// Starts a server with a client (id and secret) of its own and no tokens.
    ///
    /// # Errors
    ///
    /// No loopback port can be had.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime whose I/O and time are enabled.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(Client::of_its_own()).await
    }

    /// Starts a server that knows this client: several stand-ins for one Polar, of replicas that
    /// run beside one each.
    ///
    /// # Errors
    ///
    /// No loopback port can be had.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime whose I/O and time are enabled.
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

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, `http://127.0.0.1:PORT`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The server to configure: [`PolarServer::Url`] of [`FakePolar::url`].
    #[must_use]
    pub fn server(&self) -> PolarServer {
        PolarServer::Url(self.url())
    }

    /// The credentials to configure: the only ones that this server takes.
    #[must_use]
    pub fn credentials(&self) -> ClientCredentials {
        ClientCredentials::new(self.client_id(), self.client_secret())
    }

    /// The application's client id, `polar_ci_...`.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.state.client.id
    }

    /// The application's client secret, `polar_cs_...`.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.state.client.secret
    }

    /// Registers the client for this method, [`ClientAuthMethod::ClientSecretPost`] by default.
    ///
    /// As at Polar, only the token endpoint looks at it, and answers 401 `invalid_client` to right
    /// credentials that come by the other method. Revocation and introspection take both.
    pub fn register_for(&self, method: ClientAuthMethod) {
        self.state.client.register_for(method);
    }

    /// A pair as a login makes it: the access token lives for 864,000 s, the refresh token until it
    /// is revoked or used.
    #[must_use]
    pub fn mint(&self) -> TokenPair {
        self.state.tokens().mint(Owner::App, CODE_LIFETIME)
    }

    /// An access token that was issued without a refresh token.
    #[must_use]
    pub fn mint_access_only(&self) -> String {
        self.state.tokens().mint_access_only(Owner::App, CODE_LIFETIME)
    }

    /// A pair whose access token has expired. Its refresh token lives.
    #[must_use]
    pub fn mint_expired(&self) -> TokenPair {
        self.state.tokens().mint(Owner::App, Duration::ZERO)
    }

    /// A pair of another application's: to revoke it is answered with 400 `invalid_grant`.
    #[must_use]
    pub fn mint_for_another_client(&self) -> TokenPair {
        self.state.tokens().mint(Owner::Another, CODE_LIFETIME)
    }

    /// Whether the token works: neither revoked nor used up by a refresh nor expired. `false` for a
    /// token that was not minted here.
    ///
    /// A commit that is under way counts as done: this tells how it ends. The server's answers tell
    /// the state before, until the commit.
    #[must_use]
    pub fn is_alive(&self, token: &str) -> bool {
        self.state.tokens().is_alive(token)
    }

    /// What was seen since the start.
    #[must_use]
    pub fn seen(&self) -> Seen {
        *self.state.seen.borrow()
    }

    /// The revoke calls received since the start, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<ReceivedRevoke> {
        self.state.requests().clone()
    }

    /// Resolves once `condition` holds for what was seen, at once where it already does. Returns
    /// what was seen at that moment.
    ///
    /// ```
    /// # use tower_polar_logout::testing::FakePolar;
    /// # async fn example(polar: FakePolar) {
    /// // The call has arrived, whatever becomes of it.
    /// polar.until(|seen| seen.revoke_calls >= 1).await;
    /// # }
    /// ```
    pub async fn until(&self, condition: impl Fn(&Seen) -> bool) -> Seen {
        let mut seen = self.state.seen.subscribe();
        // It cannot be closed: the sender is in `self`.
        seen.wait_for(condition).await.map_or_else(|_| self.seen(), |seen| *seen)
    }

    /// Resolves once the commits of revoke calls have ended at least `n` pairs since the start
    /// ([`Seen::revoked`]), at once where they already have.
    pub async fn revoked(&self, n: usize) {
        self.until(|seen| seen.revoked >= n).await;
    }

    /// From now on, this happens to every revoke call. Replaces what was to happen before, that of
    /// [`FakePolar::behave_next`] too.
    pub fn behave(&self, fault: Fault) {
        self.state.scripts().revoke.always(fault);
    }

    /// This happens to the next `n` revoke calls, then what happened before. A second order waits
    /// until the first is through.
    pub fn behave_next(&self, n: usize, fault: Fault) {
        self.state.scripts().revoke.next(n, fault);
    }

    /// This happens to the next `n` calls of the token endpoint, refreshes and codes alike, then the
    /// normal. A second order waits until the first is through.
    pub fn behave_next_at_token(&self, n: usize, fault: Fault) {
        self.state.scripts().token.next(n, fault);
    }

    /// How long the server is frozen if two calls touch one pair at the same time: 30 s by default, as
    /// at Polar. Goes for the freezes to come.
    pub fn statement_timeout(&self, timeout: Duration) {
        self.state.rows.set_statement_timeout(timeout);
    }

    /// Takes at most so many calls a minute, over all endpoints but without those that carry a
    /// Bearer. More are answered with 429, `retry-after: 60` whatever is left of the minute, and an
    /// empty body. The minute starts with its first call. No limit is the default.
    pub fn rate_limit(&self, per_minute: u32) {
        self.state.set_rate_limit(Some(per_minute));
    }

    /// Back to normal: no fault, no rate limit. Calls that met [`Fault::Freeze`] are served now.
    ///
    /// If two calls about one pair have frozen the server, this does not end it. Only the statement
    /// timeout does.
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
