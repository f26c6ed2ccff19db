//! The builder of the layer: every option, and its default.

mod build;
mod redirect;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Response, request};
use zeroize::Zeroizing;

use crate::delivery::DeadLetter;
use crate::location::TokenLocation;
use crate::log::RevocationLog;
use crate::middleware::{ClearSiteData, EmptyAnswers, PolarLogoutLayer, Reply, WhenRevoked};
use crate::polar::{PolarClientBuilder, PolarServer};
use crate::revocation::{Config, Retention};
use crate::token::CredentialKind;

/// Configures a [`PolarLogoutLayer`]. [`build`](Self::build) reports every mistake.
///
/// At least one logout route and one token location are required. Every other option has a default.
///
/// | subject | options |
/// |---|---|
/// | routes | [`logout_route`](Self::logout_route), [`call_inner_after_logout`](Self::call_inner_after_logout), [`max_body_size`](Self::max_body_size), [`trusted_origin`](Self::trusted_origin) |
/// | credentials | [`access_token`](Self::access_token), [`refresh_token`](Self::refresh_token), [`session_id`](Self::session_id) |
/// | answers | [`redirect_to`](Self::redirect_to), [`allow_redirect_origin`](Self::allow_redirect_origin), [`clear_site_data`](Self::clear_site_data), [`when_revoked`](Self::when_revoked), [`when_revoked_at`](Self::when_revoked_at), [`when_revoked_under`](Self::when_revoked_under), [`answers`](Self::answers), [`answer_with`](Self::answer_with) |
/// | Polar | [`server`](Self::server), [`logout_deadline`](Self::logout_deadline), [`require_confirmation`](Self::require_confirmation), [`verify_revocation`](Self::verify_revocation), [`queue_capacity`](Self::queue_capacity), [`on_dead_letter`](Self::on_dead_letter), [`previous_client_secret`](Self::previous_client_secret), [`send_token_type_hint`](Self::send_token_type_hint) |
/// | revocations | [`revocation_log`](Self::revocation_log), [`startup_timeout`](Self::startup_timeout), [`allow_stale_start`](Self::allow_stale_start), [`max_log_lag`](Self::max_log_lag), [`denylist_capacity`](Self::denylist_capacity), [`access_token_retention`](Self::access_token_retention), [`refresh_token_retention`](Self::refresh_token_retention), [`session_id_retention`](Self::session_id_retention) |
///
/// Time-outs of a single call to Polar, the CA certificates and the HTTP client belong to
/// [`PolarClientBuilder`], which [`PolarLogoutLayer::builder`] takes in place of the credentials.
#[must_use = "a builder does nothing until `build` is called"]
pub struct PolarLogoutLayerBuilder<A = EmptyAnswers> {
    options: Options,
    answers: A,
}

/// Every option except how answers are written.
struct Options {
    revocation: Config,
    logout_routes: Vec<(Method, String)>,
    max_body_size: usize,
    locations: Vec<(TokenLocation, CredentialKind)>,
    trusted_origins: Vec<String>,
    when_revoked: WhenRevoked,
    when_revoked_at: Vec<(String, WhenRevoked)>,
    when_revoked_under: Vec<(String, WhenRevoked)>,
    max_log_lag: Option<Duration>,
    redirect_to: Option<String>,
    allowed_redirect_origins: Vec<String>,
    require_confirmation: bool,
    clear_site_data: Vec<ClearSiteData>,
    call_inner_after_logout: bool,
}

impl PolarLogoutLayer {
    /// Starts with the app's credentials at Polar, or with a [`PolarClientBuilder`] if the client
    /// needs other options too.
    pub fn builder(client: impl Into<PolarClientBuilder>) -> PolarLogoutLayerBuilder {
        PolarLogoutLayerBuilder::new(client.into())
    }
}

impl PolarLogoutLayerBuilder {
    fn new(client: PolarClientBuilder) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let revocation = Config {
            client,
            send_token_type_hint: false,
            queue_capacity: 10_000,
            verify_revocation: false,
            on_dead_letter: None,
            log: None,
            startup_timeout: Duration::from_secs(30),
            allow_stale_start: false,
            previous_secrets: Vec::new(),
            logout_deadline: Duration::from_secs(2),
            denylist_capacity: 1_000_000,
            retention: Retention {
                // Polar's lifetime of an access token, and a minute for clocks that differ.
                access_token: Duration::from_secs(864_000 + 60),
                refresh_token: DAY * 30,
                session_id: DAY * 30,
            },
        };
        let options = Options {
            revocation,
            logout_routes: Vec::new(),
            max_body_size: 64 * 1024,
            locations: Vec::new(),
            trusted_origins: Vec::new(),
            when_revoked: WhenRevoked::Reject,
            when_revoked_at: Vec::new(),
            when_revoked_under: Vec::new(),
            max_log_lag: None,
            redirect_to: None,
            allowed_redirect_origins: Vec::new(),
            require_confirmation: false,
            clear_site_data: Vec::new(),
            call_inner_after_logout: false,
        };
        Self { options, answers: EmptyAnswers }
    }
}

/// # Routes
impl<A> PolarLogoutLayerBuilder<A> {
    /// Adds a route on which the layer logs out: a method, and a path that is matched exactly.
    /// POST is the usual method. Required at least once.
    ///
    /// On a GET route, a prefetch, a prerender or a preview is answered 403, and a HEAD request
    /// 405. The user has not asked to be logged out, so nothing is revoked.
    pub fn logout_route(mut self, method: Method, path: impl Into<String>) -> Self {
        self.options.logout_routes.push((method, path.into()));
        self
    }

    /// After the tokens are revoked, calls the app's own handler of the logout route instead of
    /// answering. Default `false`.
    ///
    /// - The handler finds a [`LogoutOutcome`](crate::LogoutOutcome) in the request's extensions.
    /// - The layer does not read the body, so no location in the body can be configured.
    /// - The layer adds the cookie removals to the handler's response. It adds none to a server
    ///   error (5xx), because the browser then needs its cookies to try again.
    /// - If the response sets a cookie with a credential, the layer takes the cookie out and
    ///   revokes the credential.
    /// - The handler is not called if the logout failed (403, 503).
    pub fn call_inner_after_logout(mut self, call: bool) -> Self {
        self.options.call_inner_after_logout = call;
        self
    }

    /// The largest body in which the layer looks for credentials, in bytes. Requests with a larger
    /// body are answered 413. Default 65,536 (64 KiB).
    pub fn max_body_size(mut self, bytes: usize) -> Self {
        self.options.max_body_size = bytes;
        self
    }

    /// Trusts another origin, for example `https://app.example.com`, to log users out. The value
    /// must equal the `Origin` header. Default none.
    pub fn trusted_origin(mut self, origin: impl Into<String>) -> Self {
        self.options.trusted_origins.push(origin.into());
        self
    }
}

/// # Credentials
impl<A> PolarLogoutLayerBuilder<A> {
    /// Adds a place from which the app takes one of Polar's access tokens: the `Authorization`
    /// header, a cookie, another header, the query, a form field or a field of a JSON body. At
    /// least one location of any kind is needed.
    pub fn access_token(self, location: impl Into<TokenLocation>) -> Self {
        self.location(location, CredentialKind::AccessToken)
    }

    /// Adds a place from which the app takes one of Polar's refresh tokens.
    pub fn refresh_token(self, location: impl Into<TokenLocation>) -> Self {
        self.location(location, CredentialKind::RefreshToken)
    }

    /// Adds a place of the app's own session ids: at least 16 bytes, random, and kept by the
    /// server. A logout denies the session id here and never sends it to Polar. From then on the
    /// layer takes it out of requests, and the app sees a visitor without a session.
    ///
    /// Not for API keys: a logout ends every credential that its request carries, and a key is not
    /// a session.
    ///
    /// A cookie that holds the whole session (signed or encrypted, without a record on the server)
    /// changes with every change of the session, so a list of ids cannot end it. Keep a random id
    /// in it; revoke that id with [`LogoutHandle::revoke`](crate::LogoutHandle::revoke), and check
    /// it with [`LogoutHandle::is_revoked`](crate::LogoutHandle::is_revoked).
    pub fn session_id(self, location: impl Into<TokenLocation>) -> Self {
        self.location(location, CredentialKind::SessionId)
    }

    fn location(mut self, location: impl Into<TokenLocation>, kind: CredentialKind) -> Self {
        self.options.locations.push((location.into(), kind));
        self
    }
}

/// # Answers
impl<A> PolarLogoutLayerBuilder<A> {
    /// Redirects a browser after a logout, with 303 (htmx: with `HX-Redirect`). The target is a
    /// path, or an absolute URL whose origin
    /// [`allow_redirect_origin`](Self::allow_redirect_origin) allows. Default none: the answer is
    /// 204. This option cannot be combined with
    /// [`call_inner_after_logout`](Self::call_inner_after_logout).
    pub fn redirect_to(mut self, target: impl Into<String>) -> Self {
        self.options.redirect_to = Some(target.into());
        self
    }

    /// Allows an origin as the target of the redirect, for example `https://www.example.com`:
    /// scheme, host and port, without a path.
    pub fn allow_redirect_origin(mut self, origin: impl Into<String>) -> Self {
        self.options.allowed_redirect_origins.push(origin.into());
        self
    }

    /// On logout, tells the browser with `Clear-Site-Data` to forget more than the configured
    /// cookies. This does not clear pages in the back-forward cache. Default none.
    pub fn clear_site_data(mut self, what: impl IntoIterator<Item = ClearSiteData>) -> Self {
        self.options.clear_site_data.extend(what);
        self
    }

    /// How a request with a revoked credential is treated. Default [`WhenRevoked::Reject`].
    pub fn when_revoked(mut self, when: WhenRevoked) -> Self {
        self.options.when_revoked = when;
        self
    }

    /// The same for one path, matched exactly. A login page needs [`WhenRevoked::Anonymous`].
    pub fn when_revoked_at(mut self, path: impl Into<String>, when: WhenRevoked) -> Self {
        self.options.when_revoked_at.push((path.into(), when));
        self
    }

    /// The same for a path and every path below it: `/assets` holds for `/assets` and
    /// `/assets/x.css`, not for `/assets.css`. The style sheets and scripts of a page with
    /// [`WhenRevoked::Anonymous`] need it too.
    ///
    /// [`when_revoked_at`](Self::when_revoked_at) takes precedence, and a longer prefix takes
    /// precedence over a shorter one.
    pub fn when_revoked_under(mut self, prefix: impl Into<String>, when: WhenRevoked) -> Self {
        self.options.when_revoked_under.push((prefix.into(), when));
        self
    }

    /// Sets the type that writes the layer's own answers: [`JsonAnswers`](crate::JsonAnswers),
    /// [`BrowserAnswers`](crate::BrowserAnswers), [`GrpcAnswers`](crate::GrpcAnswers), or a type of
    /// the app that implements [`Answer`](crate::Answer). Default [`EmptyAnswers`]: status and
    /// headers say everything, and there is no body.
    pub fn answers<N>(self, answers: N) -> PolarLogoutLayerBuilder<N> {
        PolarLogoutLayerBuilder { options: self.options, answers }
    }

    /// The same with a closure: see [`Answer`](crate::Answer).
    ///
    /// ```
    /// # use tower_polar_logout::{ClientCredentials, PolarLogoutLayer};
    /// use axum::body::Body;
    /// use axum::response::{IntoResponse, Redirect};
    /// use tower_polar_logout::ReplyKind;
    ///
    /// # let credentials = ClientCredentials::new("id", "secret");
    /// let builder = PolarLogoutLayer::builder(credentials);
    /// let builder = builder.answer_with(|_, reply| match reply.kind() {
    ///     ReplyKind::Rejected => Redirect::to("/login").into_response(),
    ///     _ => reply.with_body(Body::empty()),
    /// });
    /// ```
    pub fn answer_with<F, R>(self, answer: F) -> PolarLogoutLayerBuilder<F>
    where
        F: Fn(&request::Parts, Reply) -> Response<R> + Send + Sync + 'static,
    {
        self.answers(answer)
    }
}

/// # Polar
impl<A> PolarLogoutLayerBuilder<A> {
    /// The server that revokes the tokens: Polar's production or sandbox, a URL, or the endpoint of
    /// another RFC 7009 server. [`PolarServer::from_env`] reads it from `POLAR_SERVER`. Default
    /// [`PolarServer::Production`].
    pub fn server(mut self, server: PolarServer) -> Self {
        self.options.revocation.client = self.options.revocation.client.server(server);
        self
    }

    /// How long a logout waits for Polar before it is answered with 202 or 303. Default 2 s. The
    /// logout does not wait if the layer knows that Polar will not answer soon: see
    /// [`Health`](crate::Health).
    pub fn logout_deadline(mut self, deadline: Duration) -> Self {
        self.options.revocation.logout_deadline = deadline;
        self
    }

    /// Answers 503 with `Retry-After` if Polar has not confirmed, instead of 202 or 303 (RFC 7009,
    /// section 2.2.1). This includes a token that Polar refuses permanently, and a place of Polar's
    /// token that held another value. The credential is denied here nevertheless. The browser keeps
    /// its cookie, so that it can try again. Default `false`.
    pub fn require_confirmation(mut self, require: bool) -> Self {
        self.options.require_confirmation = require;
        self
    }

    /// Verifies each revocation before it counts as confirmed, because Polar answers before it
    /// commits and can lose the commit. Costs two further calls and 250 ms for each token. Default
    /// `false`.
    ///
    /// Polar is asked before the revocation, and 250 ms after it, whether the token is active:
    ///
    /// - Active before and inactive after: the token is revoked.
    /// - Still active after: the revocation is sent again.
    /// - Inactive before (its access token has expired, or the pair was revoked): introspection
    ///   proves nothing, because it reports on the access token of the pair. The revocation is sent
    ///   a second time after those 250 ms. Two lost commits in a row for such a pair are not
    ///   detected.
    pub fn verify_revocation(mut self, verify: bool) -> Self {
        self.options.revocation.verify_revocation = verify;
        self
    }

    /// How many tokens may be on their way to Polar. If the queue is full, the tokens of a logout
    /// are denied here and the logout is answered 503. Default 10,000.
    pub fn queue_capacity(mut self, tokens: usize) -> Self {
        self.options.revocation.queue_capacity = tokens;
        self
    }

    /// Calls this for each revocation that will never reach Polar, in addition to the ERROR event
    /// and the count. The callback must not block. Default none.
    pub fn on_dead_letter(
        mut self,
        callback: impl Fn(&DeadLetter<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.options.revocation.on_dead_letter = Some(Arc::new(callback));
        self
    }

    /// Adds a former client secret, to open the tokens in the log that were sealed with it. May be
    /// given more than once.
    pub fn previous_client_secret(mut self, secret: impl Into<String>) -> Self {
        self.options.revocation.previous_secrets.push(Zeroizing::new(secret.into()));
        self
    }

    /// Sends `token_type_hint`, according to the kind of the token's location. Default `false`.
    /// Leave it off for Polar: Polar answers a wrong hint with 200 and revokes nothing.
    pub fn send_token_type_hint(mut self, send: bool) -> Self {
        self.options.revocation.send_token_type_hint = send;
        self
    }
}

/// # Revocations
impl<A> PolarLogoutLayerBuilder<A> {
    /// Keeps revocations in this log, beyond the life of this process. A logout is answered only
    /// after the log has it. [`build`](Self::build) restores the denylist and the queue to Polar
    /// from the log. If several processes share the log, each follows what the others append.
    /// Default none.
    ///
    /// The crate has `Journal` (a file, feature `journal`) and `RedisLog` (feature `redis`), and an
    /// app can bring its own: see [`log`](crate::log).
    pub fn revocation_log(mut self, log: impl RevocationLog) -> Self {
        self.options.revocation.log = Some(Arc::new(log));
        self
    }

    /// How long [`build`](Self::build) may take to read the log. Default 30 s.
    pub fn startup_timeout(mut self, timeout: Duration) -> Self {
        self.options.revocation.startup_timeout = timeout;
        self
    }

    /// Starts even if the log cannot be read in time, and catches up in the background. Until then
    /// the layer does not know which credentials were revoked before. Default `false`:
    /// [`build`](Self::build) returns an error.
    ///
    /// With [`max_log_lag`](Self::max_log_lag), requests with a credential are answered 503 once
    /// that time has passed since the start. With [`Duration::ZERO`] this holds at once, so no
    /// revoked token is accepted meanwhile.
    pub fn allow_stale_start(mut self, allow: bool) -> Self {
        self.options.revocation.allow_stale_start = allow;
        self
    }

    /// Answers 503 with `Retry-After` to requests that carry a credential, if the log has not been
    /// followed to its end for longer than this: other replicas may have revoked the credential.
    /// At paths with [`WhenRevoked::Anonymous`] such a request goes on without its credentials.
    /// Logouts are not affected. Default none: requests are served with the revocations known so
    /// far.
    ///
    /// The layer notices within a few seconds that a log does not answer, so a shorter time is not
    /// stricter.
    pub fn max_log_lag(mut self, lag: Duration) -> Self {
        self.options.max_log_lag = Some(lag);
        self
    }

    /// How many revocations the denylist of this process holds. If it is full, a logout is answered
    /// 503. Default 1,000,000, at about 400 bytes each.
    ///
    /// Revocations that other replicas accepted are denied here even beyond it.
    pub fn denylist_capacity(mut self, revocations: usize) -> Self {
        self.options.revocation.denylist_capacity = revocations;
        self
    }

    /// How long a revoked access token is rejected. Default 864,060 s: its lifetime at Polar, and a
    /// minute.
    pub fn access_token_retention(mut self, retention: Duration) -> Self {
        self.options.revocation.retention.access_token = retention;
        self
    }

    /// How long a revoked refresh token is rejected. Default 30 days. Polar's refresh tokens do not
    /// expire, but Polar itself knows that the token is revoked.
    pub fn refresh_token_retention(mut self, retention: Duration) -> Self {
        self.options.revocation.retention.refresh_token = retention;
        self
    }

    /// How long a revoked session id is taken out of requests. Default 30 days. Must be at least as
    /// long as the app would accept the session id. Also applies to other values in a place of
    /// Polar's token.
    pub fn session_id_retention(mut self, retention: Duration) -> Self {
        self.options.revocation.retention.session_id = retention;
        self
    }
}

impl<A> fmt::Debug for PolarLogoutLayerBuilder<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolarLogoutLayerBuilder")
            .field("client", &self.options.revocation.client)
            .field("logout_routes", &self.options.logout_routes)
            .field("locations", &self.options.locations)
            .finish_non_exhaustive()
    }
}
