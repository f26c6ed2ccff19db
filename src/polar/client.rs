//! Calls Polar: with a time-out, a limit of calls in flight, and a typed outcome.

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

/// How much of an answer is read, in bytes. Polar's longest answer has fewer than 300.
const ANSWER_LIMIT: usize = 16 * 1024;

type Transport = BoxCloneSyncService<Request<Full<Bytes>>, Response<Bytes>, BoxError>;

/// Revokes tokens at Polar, or at any server with an RFC 7009 endpoint.
///
/// Clones share one connection pool and one limit of calls in flight. The client also works without
/// the layer:
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
    /// Returns a builder with the defaults of [`PolarClientBuilder`].
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

    /// Asks the server once to revoke `token`, and returns the outcome.
    ///
    /// - `hint` must be `None` for Polar, which takes the hint as a filter: Polar answers 200 to a
    ///   wrong hint and revokes nothing.
    /// - While [`max_in_flight`](PolarClientBuilder::max_in_flight) calls are in flight, the call
    ///   waits for its turn. The time-out starts after that.
    /// - Dropping the future may or may not stop the call.
    pub async fn revoke(&self, token: &Token, hint: Option<TokenTypeHint>) -> RevokeOutcome {
        match self.send(self.requests.revoke(token, hint)).await {
            Ok(answer) => RevokeOutcome::of_answer(&answer),
            Err(unanswered) => unanswered,
        }
    }

    /// Asks the server whether the token is active (RFC 7662, section 2.2). The error is as for a
    /// revoke call, but never [`RevokeOutcome::Refused`].
    pub(crate) async fn introspect(&self, token: &Token) -> Result<Introspection, RevokeOutcome> {
        let Some(request) = self.requests.introspect(token) else {
            return Err(RevokeOutcome::unanswered(
                "the introspection endpoint is not known".into(),
            ));
        };
        Introspection::of_answer(&self.send(request).await?)
    }

    /// Sends a made-up code to the token endpoint, with this authentication method. `None` if the
    /// endpoint is not known.
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

    /// How long a call may take. The default is longer than Polar's statement timeout, so that
    /// Polar has ended the call by then too, unless the call waited behind a frozen worker.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Whether the server's introspection endpoint is known.
    pub(crate) fn can_introspect(&self) -> bool {
        self.requests.endpoints().introspection.is_some()
    }

    /// A client with other credentials that shares this one's connections.
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
/// Defaults:
///
/// - [`PolarServer::Production`]
/// - `client_secret_post`
/// - a time-out of 35 s for a call, and of 5 s to connect
/// - 4 calls in flight
/// - with the feature `tls`, an HTTPS client that trusts the system's root certificates
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
    /// Root certificates to trust in addition to the system's, in PEM.
    #[cfg(feature = "tls")]
    extra_roots: Vec<u8>,
}

impl PolarClientBuilder {
    pub(crate) fn credentials(&self) -> &ClientCredentials {
        &self.credentials
    }

    /// The issuer of the tokens that are sent.
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

/// The HTTP client that sends the requests.
#[derive(Default)]
enum Connection {
    /// The client that comes with the feature `tls`.
    #[default]
    Own,
    Brought(Transport),
}

impl PolarClientBuilder {
    /// The server that revokes the tokens. Default [`PolarServer::Production`].
    pub fn server(mut self, server: PolarServer) -> Self {
        self.server = server;
        self
    }

    /// Allows `http://` to a host that is not loopback. Tokens and the client secret are then sent
    /// unencrypted, so use it only in a network that you trust. Default `false`.
    pub fn allow_insecure_http(mut self, allow: bool) -> Self {
        self.allow_insecure_http = allow;
        self
    }

    /// How the client authenticates. Default [`ClientAuthMethod::ClientSecretPost`].
    pub fn auth_method(mut self, method: ClientAuthMethod) -> Self {
        self.auth_method = method;
        self
    }

    /// How long one call may take, including connecting and reading the answer. Default 35 s, which
    /// is longer than Polar's statement timeout of 30 s. If a call is given up earlier, Polar still
    /// works on it, and a second call about the same pair then freezes the server for all callers.
    ///
    /// A logout does not wait that long: see
    /// [`logout_deadline`](crate::PolarLogoutLayerBuilder::logout_deadline).
    ///
    /// Two waits have this length:
    ///
    /// - After a call that was sent and not answered, no token of the same logout is sent until
    ///   this time has passed since the call began.
    /// - After the start, no token that the log holds from before is sent until this time has
    ///   passed.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long connecting may take: name resolution, TCP and TLS. Default 5 s. Applies only to the
    /// client that comes with the feature `tls`.
    #[cfg(feature = "tls")]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How many calls may be in flight at the same time. Default 4. Twelve at the same time freeze
    /// one of Polar's workers.
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        self.max_in_flight = calls;
        self
    }

    /// Trusts these root certificates (PEM) in addition to the system's, for a private authority.
    #[cfg(feature = "tls")]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.extra_roots = pem.into();
        self
    }

    /// Uses this HTTP client: any service from a request to a response, for example one that uses a
    /// proxy, a mock, or one with its own TLS. It must not follow redirects, and must not retry
    /// indefinitely.
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

    /// Checks the configuration and builds the client.
    ///
    /// # Errors
    ///
    /// - The credentials are empty or not visible ASCII.
    /// - The URL is not absolute, or is neither https nor http to loopback, unless
    ///   [`allow_insecure_http`](Self::allow_insecure_http) is set.
    /// - A time-out or [`max_in_flight`](Self::max_in_flight) is zero.
    /// - There are no root certificates.
    /// - Without the feature `tls`, there is no [`transport`](Self::transport).
    pub fn build(self) -> Result<PolarClient, Error> {
        let endpoints = self.server.endpoints(self.allow_insecure_http)?;
        let requests = Requests::new(endpoints, self.credentials, self.auth_method)?;
        if self.request_timeout.is_zero() {
            return Err(Error::configuration(
                "`request_timeout` is zero, so every call would fail: set it above zero, or leave \
                 it out (35 s)",
            ));
        }
        #[cfg(feature = "tls")]
        if self.connect_timeout.is_zero() {
            return Err(Error::configuration(
                "`connect_timeout` is zero, so every call would fail: set it above zero, or leave \
                 it out (5 s)",
            ));
        }
        if self.max_in_flight == 0 {
            return Err(Error::configuration(
                "`max_in_flight` is zero, so no token would reach Polar: set it to at least 1, or \
                 leave it out (4)",
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
                    "there is no HTTP client: enable the feature `tls`, or set one with \
                     `transport()`",
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

/// Reads the whole answer, so that the time-out covers it and the connection can be used again.
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
        // The body of a 2xx does not matter (RFC 7009, section 2.2).
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
