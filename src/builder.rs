//! How the layer is configured: every option, and its default.

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

/// Configures a [`PolarLogoutLayer`](crate::PolarLogoutLayer). Every mistake is reported by
/// [`build`](Builder::build).
///
/// At least one logout route and one token location are needed; all the rest has a default.
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder<A = EmptyAnswers> {
    options: Options,
    answers: A,
}

/// All but how answers are written.
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
struct Options {
    revocation: Config,
    logout_routes: Vec<(Method, String)>,
    body_limit: usize,
    locations: Vec<(TokenLocation, CredentialKind)>,
    trusted_origins: Vec<String>,
    when_revoked: WhenRevoked,
    when_revoked_at: Vec<(String, WhenRevoked)>,
    when_revoked_under: Vec<(String, WhenRevoked)>,
    reject_when_behind: Option<Duration>,
    redirect_to: Option<String>,
    allowed_redirect_origins: Vec<String>,
    strict: bool,
    clear_site_data: Vec<ClearSiteData>,
    then_call_app: bool,
}

impl PolarLogoutLayer {
    /// Starts with the application's credentials at Polar, or with a whole
    /// [`PolarClientBuilder`] if the client needs more than that.
    pub fn builder(client: impl Into<PolarClientBuilder>) -> Builder {
        Builder::new(client.into())
    }
}

impl Builder {
    fn new(client: PolarClientBuilder) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let revocation = Config {
            client,
            send_hint: false,
            queue_limit: 10_000,
            confirm: false,
            on_dead_letter: None,
            log: None,
            catch_up_within: Duration::from_secs(30),
            start_behind: false,
            previous_secrets: Vec::new(),
            deadline: Duration::from_secs(2),
            limit: 1_000_000,
            retention: Retention {
                // What Polar gives an access token, and a minute for clocks that differ.
                access_token: Duration::from_secs(864_000 + 60),
                refresh_token: DAY * 30,
                opaque: DAY * 30,
            },
        };
        let options = Options {
            revocation,
            logout_routes: Vec::new(),
            body_limit: 64 * 1024,
            locations: Vec::new(),
            trusted_origins: Vec::new(),
            when_revoked: WhenRevoked::Reject,
            when_revoked_at: Vec::new(),
            when_revoked_under: Vec::new(),
            reject_when_behind: None,
            redirect_to: None,
            allowed_redirect_origins: Vec::new(),
            strict: false,
            clear_site_data: Vec::new(),
            then_call_app: false,
        };
        Self { options, answers: EmptyAnswers }
    }
}

impl<A> Builder<A> {
    /// How the layer's own answers are written: [`JsonAnswers`](crate::JsonAnswers),
    /// [`BrowserAnswers`](crate::BrowserAnswers), [`GrpcAnswers`](crate::GrpcAnswers), or a type of
    /// the application's own that implements [`Answer`](crate::Answer). Default [`EmptyAnswers`]:
    /// status and headers say everything, and there is no body.
    pub fn answers<N>(self, answers: N) -> Builder<N> {
        Builder { options: self.options, answers }
    }

    /// The same, by a closure: see [`Answer`](crate::Answer).
    ///
    /// ```
    /// # use tower_polar_logout::{ClientCredentials, PolarLogoutLayer};
    /// use axum::body::Body;
    /// use axum::response::{IntoResponse, Redirect};
    /// use tower_polar_logout::ReplyKind;
    ///
    /// # let credentials = ClientCredentials::new("id", "secret");
    /// let builder = PolarLogoutLayer::builder(credentials).answer_with(|_, reply| match reply.kind() {
    ///     ReplyKind::Rejected => Redirect::to("/login").into_response(),
    ///     _ => reply.with_body(Body::empty()),
    /// });
    /// ```
    pub fn answer_with<F, R>(self, answer: F) -> Builder<F>
    where
        F: Fn(&request::Parts, Reply) -> Response<R> + Send + Sync + 'static,
    {
        self.answers(answer)
    }

    /// Which server is told. Default [`PolarServer::Production`].
    pub fn server(mut self, server: PolarServer) -> Self {
        self.options.revocation.client = self.options.revocation.client.server(server);
        self
    }

    /// Sends `token_type_hint` by the kind that each location was given. Default off, and to be
    /// left off for Polar: there a wrong hint is answered with 200 and revokes nothing.
    pub fn send_token_type_hint(mut self) -> Self {
        self.options.revocation.send_hint = true;
        self
    }

    /// Adds a route on which the layer logs out: a method, and a path that is matched exactly. POST
    /// is the customary method. Needed at least once.
    ///
    /// On a GET route a prefetch, a prerender or a preview is answered 403, and a HEAD 405: the
    /// user has not asked to be logged out, and nothing is revoked.
    pub fn logout_route(mut self, method: Method, path: impl Into<String>) -> Self {
        self.options.logout_routes.push((method, path.into()));
        self
    }

    /// How large a body may be that is looked into, in bytes; past it 413. Default 64 KiB.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.options.body_limit = bytes;
        self
    }

    /// Adds a place from which the application takes an access token of Polar's.
    pub fn access_token(self, location: impl Into<TokenLocation>) -> Self {
        self.location(location, CredentialKind::AccessToken)
    }

    /// Adds a place from which the application takes a refresh token of Polar's.
    pub fn refresh_token(self, location: impl Into<TokenLocation>) -> Self {
        self.location(location, CredentialKind::RefreshToken)
    }

    /// Adds a place of session ids of the application's own: at least 16 bytes, random, and kept by
    /// the server. A logout ends it here, and it is never sent to Polar. From then on it is taken
    /// out of requests, and the application sees a visitor without a session.
    ///
    /// A cookie that is the whole session (signed or encrypted state without a record on the
    /// server) is another one with every change, and cannot be ended by a list of ids: keep a
    /// random id in it, and revoke that id with
    /// [`LogoutHandle::revoke`](crate::LogoutHandle::revoke) and check it with
    /// [`LogoutHandle::is_revoked`](crate::LogoutHandle::is_revoked).
    pub fn opaque(self, location: impl Into<TokenLocation>) -> Self {
        self.location(location, CredentialKind::Opaque)
    }

    fn location(mut self, location: impl Into<TokenLocation>, kind: CredentialKind) -> Self {
        self.options.locations.push((location.into(), kind));
        self
    }

    /// Trusts an origin, like `https://app.example.com`, to log its users out from another site.
    /// Compared to the letter with the `Origin` header. Default none.
    pub fn trusted_origin(mut self, origin: impl Into<String>) -> Self {
        self.options.trusted_origins.push(origin.into());
        self
    }

    /// How a request with a revoked credential is treated. Default [`WhenRevoked::Reject`].
    pub fn when_revoked(mut self, when: WhenRevoked) -> Self {
        self.options.when_revoked = when;
        self
    }

    /// The same for one path, matched exactly, in place of the layer's default: a login page needs
    /// [`WhenRevoked::Anonymous`].
    pub fn when_revoked_at(mut self, path: impl Into<String>, when: WhenRevoked) -> Self {
        self.options.when_revoked_at.push((path.into(), when));
        self
    }

    /// The same for a path and every path below it: `/assets` holds for `/assets` and
    /// `/assets/x.css`, not for `/assets.css`. A page with [`WhenRevoked::Anonymous`] needs it for
    /// its style sheets and scripts too.
    ///
    /// [`when_revoked_at`](Self::when_revoked_at) goes before it, and a longer prefix before a shorter.
    pub fn when_revoked_under(mut self, prefix: impl Into<String>, when: WhenRevoked) -> Self {
        self.options.when_revoked_under.push((prefix.into(), when));
        self
    }

    /// Where a browser goes after logout, with 303 (htmx with `HX-Redirect`): a path, or an
    /// absolute URL whose origin is allowed by
    /// [`allow_redirect_origin`](Self::allow_redirect_origin). Default: nowhere, 204. Not together
    /// with [`then_call_app`](Self::then_call_app).
    pub fn redirect_to(mut self, target: impl Into<String>) -> Self {
        self.options.redirect_to = Some(target.into());
        self
    }

    /// Allows an origin, like `https://www.example.com`, as the target of the redirect: scheme,
    /// host and port, without a path.
    pub fn allow_redirect_origin(mut self, origin: impl Into<String>) -> Self {
        self.options.allowed_redirect_origins.push(origin.into());
        self
    }

    /// Answers 503 with `Retry-After` if Polar has not confirmed, in place of 202 or 303 (RFC 7009,
    /// section 2.2.1): also if Polar refuses for good, or if a place of its token held something
    /// else. The token is rejected here nevertheless, and the browser keeps its cookie, to try
    /// again. Default off.
    pub fn strict(mut self) -> Self {
        self.options.strict = true;
        self
    }

    /// Tells the browser on logout to forget more than the configured cookies, with
    /// `Clear-Site-Data`. Pages in its back-forward cache are not reached. Default nothing.
    pub fn clear_site_data(mut self, what: impl IntoIterator<Item = ClearSiteData>) -> Self {
        self.options.clear_site_data.extend(what);
        self
    }

    /// After the tokens are revoked, calls the application's own handler of the logout route in
    /// place of answering. It finds a [`LogoutOutcome`](crate::LogoutOutcome) in the request's
    /// extensions, and the body untouched. Not together with a location in the body.
    ///
    /// Its response gets the cookie removals added, but for a server error (5xx), after which the
    /// browser needs its cookies to try again. A cookie that it sets with a credential is taken
    /// out, and the credential is revoked. It is not called if the logout failed (403, 503).
    /// Default off.
    pub fn then_call_app(mut self) -> Self {
        self.options.then_call_app = true;
        self
    }

    /// How long a logout waits for Polar before it is answered with 202 or 303. Default 2 s. It
    /// does not wait while Polar is known not to answer soon: see [`Health`](crate::Health).
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.revocation.deadline = deadline;
        self
    }

    /// How many tokens may be on their way to Polar at most; past it a logout is denied here and
    /// answered 503. Default 10,000.
    pub fn queue_limit(mut self, tokens: usize) -> Self {
        self.options.revocation.queue_limit = tokens;
        self
    }

    /// Verifies each revocation before it counts as confirmed: Polar answers before it commits, and
    /// can lose the commit. Default off. Costs two further calls and 250 ms for each token.
    ///
    /// Polar is asked before and 250 ms after whether the token is active. Where it was before and
    /// is not after, it is revoked. Where it still is, the revocation is sent again. Where the
    /// token read inactive before (its access token has expired, or the pair was dead),
    /// introspection proves nothing, because Polar's introspection tells about the access token of
    /// the pair; so the revocation is sent a second time, after those 250 ms. Two commits lost in a
    /// row for such a pair are not found out.
    pub fn confirm(mut self, confirm: bool) -> Self {
        self.options.revocation.confirm = confirm;
        self
    }

    /// Called for each revocation that will never reach Polar, beside the ERROR event and the
    /// count. Must not block.
    pub fn on_dead_letter(
        mut self,
        callback: impl Fn(&DeadLetter<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.options.revocation.on_dead_letter = Some(Arc::new(callback));
        self
    }

    /// Keeps revocations in this log, beyond the life of this process: a logout is answered only
    /// once the log has it, and [`build`](Self::build) rebuilds the denylist and the queue to Polar
    /// from it. Where several processes share the log, each follows what the others append. Default
    /// none.
    pub fn log(mut self, log: impl RevocationLog) -> Self {
        self.options.revocation.log = Some(Arc::new(log));
        self
    }

    /// How long [`build`](Self::build) may take to read the log. Default 30 s.
    pub fn catch_up_within(mut self, limit: Duration) -> Self {
        self.options.revocation.catch_up_within = limit;
        self
    }

    /// Starts also where the log cannot be read, or not in time, and catches up in the background:
    /// until then, what was revoked before is not known here. Default off:
    /// [`build`](Self::build) returns an error.
    ///
    /// With [`reject_when_behind`](Self::reject_when_behind) no dead token is let in meanwhile.
    pub fn start_behind(mut self) -> Self {
        self.options.revocation.start_behind = true;
        self
    }

    /// Answers 503 with `Retry-After` to requests that carry a credential, once the log has not
    /// been followed to its end for longer than this: other replicas may have revoked it. Where
    /// [`WhenRevoked::Anonymous`] holds, such a request goes on without its credentials. Logouts go
    /// on. Default off: requests are served by what is known.
    ///
    /// A log that does not answer is found out within a few seconds, so less than that is no
    /// stricter.
    pub fn reject_when_behind(mut self, limit: Duration) -> Self {
        self.options.reject_when_behind = Some(limit);
        self
    }

    /// A client secret of before: opens what the log holds sealed with it. May be given more than
    /// once.
    pub fn previous_client_secret(mut self, secret: impl Into<String>) -> Self {
        self.options.revocation.previous_secrets.push(Zeroizing::new(secret.into()));
        self
    }

    /// How many revocations are held at most; past it a logout is answered 503. Default 1,000,000,
    /// at some 400 bytes each.
    pub fn limit(mut self, revocations: usize) -> Self {
        self.options.revocation.limit = revocations;
        self
    }

    /// How long a revoked access token is rejected. Default 864,060 s: what Polar gives it, and a
    /// minute.
    pub fn access_token_retention(mut self, retention: Duration) -> Self {
        self.options.revocation.retention.access_token = retention;
        self
    }

    /// How long a revoked refresh token is rejected. Default 30 days: Polar's do not expire, but
    /// Polar knows it is revoked.
    pub fn refresh_token_retention(mut self, retention: Duration) -> Self {
        self.options.revocation.retention.refresh_token = retention;
        self
    }

    /// How long a revoked session id is taken out of requests. Default 30 days. Must be as long as
    /// the application would accept it. Holds too for other values in a place of Polar's token.
    pub fn opaque_retention(mut self, retention: Duration) -> Self {
        self.options.revocation.retention.opaque = retention;
        self
    }
}

impl<A> fmt::Debug for Builder<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("client", &self.options.revocation.client)
            .field("logout_routes", &self.options.logout_routes)
            .field("locations", &self.options.locations)
            .finish_non_exhaustive()
    }
}
