//! Calls Polar: in time, a few at once, and with one typed outcome.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, ServiceExt};

use super::credentials::{ClientAuthMethod, ClientCredentials};
use super::introspection::Introspection;
use super::outcome::RevokeOutcome;
use super::request::Requests;
use super::server::PolarServer;
use crate::error::{BoxError, Error};
use crate::token::{Issuer, Token, TokenTypeHint};

/// How much of an answer is read, in bytes. Polar's longest is below 300.
const ANSWER_LIMIT: usize = 16 * 1024;

type Transport = BoxCloneSyncService<Request<Full<Bytes>>, Response<Bytes>, BoxError>;

/// Revokes tokens at Polar, or at any server with an RFC 7009 endpoint.
///
/// Clones share one connection pool and one limit of calls in flight. Usable without the layer:
///
/// ```no_run
/// use tower_polar_logout::client::{PolarClient, Token};
/// use tower_polar_logout::ClientCredentials;
///
/// # async fn example() -> Result<(), tower_polar_logout::Error> {
/// # #[cfg(feature = "tls")] {
/// let client = PolarClient::builder(ClientCredentials::from_env()?).build()?;
/// let token: Token = "polar_at_u_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG".parse()?;
/// assert!(client.revoke(&token, None).await.is_confirmed());
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PolarClient {
    requests: Requests,
    request_timeout: Duration,
    transport: Transport,
}

impl PolarClient {
    /// Starts with the defaults of [`PolarClientBuilder`].
    pub fn builder(credentials: ClientCredentials) -> PolarClientBuilder {
        PolarClientBuilder {
            credentials,
            server: PolarServer::default(),
            allow_insecure_http: false,
            auth_method: ClientAuthMethod::default(),
            request_timeout: Duration::from_secs(35),
            #[cfg(feature = "tls")]
            connect_timeout: Duration::from_secs(5),
            max_in_flight: 4,
            connection: Connection::default(),
            #[cfg(feature = "tls")]
            extra_roots: Vec::new(),
        }
    }

    /// Asks the server once to revoke `token`, and says what became of it.
    ///
    /// Leave `hint` at `None` for Polar, which takes it as a filter: a wrong one is answered with
    /// 200 and revokes nothing. Waits for its turn where
    /// [`max_in_flight`](PolarClientBuilder::max_in_flight) calls are under way; the time-out starts
    /// after that. Dropping the future may or may not stop the call.
    pub async fn revoke(&self, token: &Token, hint: Option<TokenTypeHint>) -> RevokeOutcome {
        match self.send(self.requests.revoke(token, hint)).await {
            Ok(answer) => RevokeOutcome::of_answer(&answer),
            Err(unanswered) => unanswered,
        }
    }

    /// Whether the server says the token is alive (RFC 7662, section 2.2). Where it says neither,
    /// why: as for a revoke call, but for nothing it answers is the token beyond help.
    pub(crate) async fn introspect(&self, token: &Token) -> Result<Introspection, RevokeOutcome> {
        let Some(request) = self.requests.introspect(token) else {
            return Err(RevokeOutcome::unanswered(
                "the introspection endpoint is not known".into(),
            ));
        };
        Introspection::of_answer(&self.send(request).await?)
    }

    /// What the token endpoint says of a code that nobody was issued, asked by this method; `None`
    /// where the endpoint is not known.
    pub(super) async fn exchange_made_up_code(
        &self,
        method: ClientAuthMethod,
    ) -> Option<RevokeOutcome> {
        let request = self.requests.exchange_made_up_code(method)?;
        Some(match self.send(request).await {
            Ok(answer) => RevokeOutcome::of_answer(&answer),
            Err(unanswered) => unanswered,
        })
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, RevokeOutcome> {
        self.transport.clone().oneshot(request).await.map_err(RevokeOutcome::unanswered)
    }

    pub(super) fn auth_method(&self) -> ClientAuthMethod {
        self.requests.auth_method()
    }

    /// How long a call may take. Longer than Polar's statement timeout, so that Polar has ended it
    /// too, unless it waited behind a frozen worker.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Whether it knows where to ask about a token.
    pub(crate) fn can_introspect(&self) -> bool {
        self.requests.endpoints().introspection.is_some()
    }

    /// The same client, connections and all, for other credentials.
    pub(crate) fn with_credentials(&self, credentials: ClientCredentials) -> Result<Self, Error> {
        let requests = self.requests.with_credentials(credentials)?;
        Ok(Self { requests, ..self.clone() })
    }
}

impl fmt::Debug for PolarClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolarClient")
            .field("endpoints", self.requests.endpoints())
            .finish_non_exhaustive()
    }
}

/// Configures a [`PolarClient`].
///
/// Defaults: [`PolarServer::Production`], `client_secret_post`, a time-out of 35 s (5 s to
/// connect), 4 calls in flight, and with the feature `tls` an HTTPS client of its own that trusts
/// the system's root certificates.
#[must_use = "a builder does nothing until `build` is called"]
pub struct PolarClientBuilder {
    credentials: ClientCredentials,
    server: PolarServer,
    allow_insecure_http: bool,
    auth_method: ClientAuthMethod,
    request_timeout: Duration,
    #[cfg(feature = "tls")]
    connect_timeout: Duration,
    max_in_flight: usize,
    connection: Connection,
    /// Root certificates to trust beside the system's, in PEM.
    #[cfg(feature = "tls")]
    extra_roots: Vec<u8>,
}

impl PolarClientBuilder {
    pub(crate) fn credentials(&self) -> &ClientCredentials {
        &self.credentials
    }

    /// Whose tokens are sent.
    pub(crate) fn issuer(&self) -> Issuer {
        match self.server {
            PolarServer::RevocationEndpoint(_) => Issuer::Other,
            _ => Issuer::Polar,
        }
    }

    pub(crate) fn calls_in_flight(&self) -> usize {
        self.max_in_flight
    }
}

/// What carries the requests.
#[derive(Default)]
enum Connection {
    /// The one that comes with the feature `tls`.
    #[default]
    Own,
    Brought(Transport),
}

impl PolarClientBuilder {
    /// Which server is told. Default [`PolarServer::Production`].
    pub fn server(mut self, server: PolarServer) -> Self {
        self.server = server;
        self
    }

    /// Allows `http://` to a host that is not loopback. Tokens and the client secret can then be
    /// read on the way, so it is only for a network you trust. Default `false`.
    pub fn allow_insecure_http(mut self, allow: bool) -> Self {
        self.allow_insecure_http = allow;
        self
    }

    /// How the client authenticates itself. Default [`ClientAuthMethod::ClientSecretPost`].
    pub fn auth_method(mut self, method: ClientAuthMethod) -> Self {
        self.auth_method = method;
        self
    }

    /// How long one call may take, connecting and reading the answer included. Default 35 s: longer
    /// than Polar's statement timeout of 30 s. A call that is given up earlier is still being
    /// worked on at Polar, and a second call about the same pair then freezes the server for
    /// everybody. A logout does not wait that long: see
    /// [`logout_deadline`](crate::PolarLogoutLayerBuilder::logout_deadline).
    ///
    /// After a call that was sent and not answered, no token of the same logout is sent again
    /// before this time has passed since the call began. Nothing that a log holds from before is
    /// sent in this time after the start either.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long connecting may take: resolving the name, TCP and TLS. Default 5 s. Only for the
    /// client that comes with the feature `tls`.
    #[cfg(feature = "tls")]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How many calls are under way at once. Default 4; twelve at once freeze a worker of Polar's.
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        self.max_in_flight = calls;
        self
    }

    /// Trusts these root certificates (PEM) too, beside the system's: for a private authority.
    #[cfg(feature = "tls")]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.extra_roots = pem.into();
        self
    }

    /// Brings a client: any service from a request to a response, behind a proxy, a mock, or with
    /// TLS of its own. It must not follow redirects, and must not retry without end.
    pub fn transport<T, B>(mut self, transport: T) -> Self
    where
        T: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
        T::Error: Into<BoxError> + 'static,
        T::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        self.connection = Connection::Brought(read_answers(transport));
        self
    }

    /// Checks everything and builds the client.
    ///
    /// # Errors
    ///
    /// Credentials that are empty or not visible ASCII; an URL that is not absolute, or not https
    /// (or http to loopback, or allowed by name); a time-out or a limit of zero; no root
    /// certificates; without the feature `tls`, no [`transport`](Self::transport).
    pub fn build(self) -> Result<PolarClient, Error> {
        let endpoints = self.server.endpoints(self.allow_insecure_http)?;
        let requests = Requests::new(endpoints, self.credentials, self.auth_method)?;
        if self.request_timeout.is_zero() {
            return Err(Error::configuration(
                "`request_timeout` is zero, so every call would fail: leave the option out (35 s)",
            ));
        }
        #[cfg(feature = "tls")]
        if self.connect_timeout.is_zero() {
            return Err(Error::configuration(
                "`connect_timeout` is zero, so every call would fail: leave the option out (5 s)",
            ));
        }
        if self.max_in_flight == 0 {
            return Err(Error::configuration(
                "`max_in_flight` is zero, so nothing would reach Polar: leave the option out (4)",
            ));
        }
        let connection = match self.connection {
            #[cfg(feature = "tls")]
            Connection::Own => {
                let url = &requests.endpoints().revocation;
                let timeout = self.connect_timeout;
                read_answers(super::transport::https(url, &self.extra_roots, timeout)?)
            }
            #[cfg(not(feature = "tls"))]
            Connection::Own => {
                return Err(Error::configuration(
                    "no HTTP client: enable the feature `tls`, or bring one with `transport()`",
                ));
            }
            Connection::Brought(transport) => transport,
        };
        let transport = ServiceBuilder::new()
            .concurrency_limit(self.max_in_flight)
            .timeout(self.request_timeout)
            .service(connection);
        let transport = BoxCloneSyncService::new(transport);
        Ok(PolarClient { requests, request_timeout: self.request_timeout, transport })
    }
}

impl From<ClientCredentials> for PolarClientBuilder {
    fn from(credentials: ClientCredentials) -> Self {
        PolarClient::builder(credentials)
    }
}

impl fmt::Debug for PolarClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolarClientBuilder").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Reads what comes back, so that the time-out covers it and the connection can be used again.
fn read_answers<T, B>(transport: T) -> Transport
where
    T: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    T::Error: Into<BoxError> + 'static,
    T::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    BoxCloneSyncService::new(transport.map_err(Into::into).and_then(read_answer))
}

async fn read_answer<B>(answer: Response<B>) -> Result<Response<Bytes>, BoxError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let (parts, body) = answer.into_parts();
    let mut body = std::pin::pin!(body);
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // A 2xx has said all that matters: RFC 7009, section 2.2, gives its body no meaning.
        let frame = match frame {
            Ok(frame) => frame,
            Err(_) if parts.status.is_success() => break,
            Err(error) => return Err(error.into()),
        };
        if let Ok(mut data) = frame.into_data() {
            use bytes::{Buf, BufMut};
            let room = ANSWER_LIMIT - read.len();
            if data.remaining() > room {
                break;
            }
            read.put(&mut data);
        }
    }
    Ok(Response::from_parts(parts, read.freeze()))
}
