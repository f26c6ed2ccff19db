//! Every option, its default, and what could not work.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, Uri, request};
use tokio::sync::Mutex;
use tokio::time::MissedTickBehavior;
use zeroize::Zeroizing;

use super::PolarLogoutLayer;
use crate::counts::Counters;
use crate::csrf::Csrf;
use crate::delivery::{DeadLetter, Delivery, OnDeadLetter, Setup};
use crate::denylist::Denylist;
use crate::error::Error;
use crate::location::{Locations, TokenLocation};
use crate::log::RevocationLog;
use crate::logout::{Logout, Retention};
use crate::polar::{PolarClientBuilder, PolarServer};
use crate::policy::{Policy, WhenRevoked};
use crate::recorder::{Recorder, Replayed};
use crate::response::{Answers, ClearSiteData, Rejection};
use crate::route::{Route, check_path};
use crate::seal::Sealer;
use crate::tasks::Tasks;
use crate::token::CredentialKind;

const CLEAN_UP_EVERY: Duration = Duration::from_secs(1);

/// Configures a [`PolarLogoutLayer`]. Every mistake is reported by [`build`](Builder::build).
///
/// At least one logout route and one token location are needed; all the rest has a default.
#[must_use = "a builder does nothing until `build` is called"]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Builder {
    client: PolarClientBuilder,
    send_hint: bool,
    logout_routes: Vec<(Method, String)>,
    body_routes: Vec<(Method, String)>,
    body_limit: usize,
    locations: Vec<(TokenLocation, CredentialKind)>,
    trusted_origins: Vec<String>,
    when_revoked: WhenRevoked,
    when_revoked_at: Vec<(String, WhenRevoked)>,
    rejection: Option<Rejection>,
    queue_limit: usize,
    confirm: bool,
    on_dead_letter: Option<OnDeadLetter>,
    log: Option<Arc<dyn RevocationLog>>,
    previous_secrets: Vec<Zeroizing<String>>,
    redirect_to: Option<String>,
    allowed_redirect_origins: Vec<String>,
    strict: bool,
    clear_site_data: Vec<ClearSiteData>,
    then_call_app: bool,
    deadline: Duration,
    limit: usize,
    retention: Retention,
}

impl Builder {
    pub(crate) fn new(client: PolarClientBuilder) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            client,
            send_hint: false,
            logout_routes: Vec::new(),
            body_routes: Vec::new(),
            body_limit: 64 * 1024,
            locations: Vec::new(),
            trusted_origins: Vec::new(),
            when_revoked: WhenRevoked::Reject,
            when_revoked_at: Vec::new(),
            rejection: None,
            queue_limit: 10_000,
            confirm: false,
            on_dead_letter: None,
            log: None,
            previous_secrets: Vec::new(),
            redirect_to: None,
            allowed_redirect_origins: Vec::new(),
            strict: false,
            clear_site_data: Vec::new(),
            then_call_app: false,
            deadline: Duration::from_secs(2),
            limit: 1_000_000,
            retention: Retention {
                // What Polar gives an access token, and a minute for clocks that differ.
                access_token: Duration::from_secs(864_000 + 60),
                refresh_token: DAY * 30,
                opaque: DAY * 30,
            },
        }
    }

    /// Which server is told. Default [`PolarServer::Production`].
    pub fn server(mut self, server: PolarServer) -> Self {
        self.client = self.client.server(server);
        self
    }

    /// Sends `token_type_hint` by the kind that each location was given. Default off, and to be
    /// left off for Polar: there a wrong hint is answered with 200 and revokes nothing.
    pub fn send_token_type_hint(mut self) -> Self {
        self.send_hint = true;
        self
    }

    /// Adds a route on which the layer logs out: a method, and a path that is matched exactly. POST
    /// is the customary method. Needed at least once.
    pub fn logout_route(mut self, method: Method, path: impl Into<String>) -> Self {
        self.logout_routes.push((method, path.into()));
        self
    }

    /// Adds a route, a refresh route say, on which [`form`](TokenLocation::form) and
    /// [`json`](TokenLocation::json) locations are looked for too, as they are on logout routes.
    pub fn body_route(mut self, method: Method, path: impl Into<String>) -> Self {
        self.body_routes.push((method, path.into()));
        self
    }

    /// How large a body may be where one is read, in bytes; past it 413. Default 64 KiB.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Adds a place where requests carry an access token of Polar's.
    pub fn access_token(self, location: impl Into<TokenLocation>) -> Self {
        self.location(location, CredentialKind::AccessToken)
    }

    /// Adds a place where requests carry a refresh token of Polar's.
    pub fn refresh_token(self, location: impl Into<TokenLocation>) -> Self {
        self.location(location, CredentialKind::RefreshToken)
    }

    /// Adds a place where requests carry a credential of the application's own, a session id say.
    /// On logout it is rejected here from then on, and never sent to Polar.
    pub fn opaque(self, location: impl Into<TokenLocation>) -> Self {
        self.location(location, CredentialKind::Opaque)
    }

    fn location(mut self, location: impl Into<TokenLocation>, kind: CredentialKind) -> Self {
        self.locations.push((location.into(), kind));
        self
    }

    /// Trusts an origin, like `https://app.example.com`, to log its users out from another site.
    /// Compared to the letter with the `Origin` header. Default none.
    pub fn trusted_origin(mut self, origin: impl Into<String>) -> Self {
        self.trusted_origins.push(origin.into());
        self
    }

    /// What becomes of a request that carries a revoked credential. Default
    /// [`WhenRevoked::Reject`].
    pub fn when_revoked(mut self, when: WhenRevoked) -> Self {
        self.when_revoked = when;
        self
    }

    /// The same for one path, matched exactly, in place of the layer's default: a login page needs
    /// [`WhenRevoked::Anonymous`].
    pub fn when_revoked_at(mut self, path: impl Into<String>, when: WhenRevoked) -> Self {
        self.when_revoked_at.push((path.into(), when));
        self
    }

    /// Replaces the answer to a request that carries a revoked credential. `Cache-Control:
    /// no-store` and the removal of the cookie it came in are added to yours.
    pub fn rejection(
        mut self,
        rejection: impl Fn(&request::Parts) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.rejection = Some(Arc::new(rejection));
        self
    }

    /// Where a browser goes after logout, with 303: a path, or an absolute URL whose origin is
    /// allowed by [`allow_redirect_origin`](Self::allow_redirect_origin). Default: nowhere, 204.
    pub fn redirect_to(mut self, target: impl Into<String>) -> Self {
        self.redirect_to = Some(target.into());
        self
    }

    /// Allows an origin, like `https://www.example.com`, as the target of the redirect.
    pub fn allow_redirect_origin(mut self, origin: impl Into<String>) -> Self {
        self.allowed_redirect_origins.push(origin.into());
        self
    }

    /// Answers 503 with `Retry-After` where Polar has not confirmed, in place of 202 or 303
    /// (RFC 7009, section 2.2.1), also where Polar refuses for good. The token is rejected here all
    /// the same, and the browser keeps its cookie, to try again. Default off.
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Tells the browser on logout to forget more than the configured cookies, with
    /// `Clear-Site-Data`. Default nothing.
    pub fn clear_site_data(mut self, what: impl IntoIterator<Item = ClearSiteData>) -> Self {
        self.clear_site_data.extend(what);
        self
    }

    /// After the tokens are revoked, calls the application's own handler of the logout route in
    /// place of answering. It finds a [`LogoutOutcome`](crate::LogoutOutcome) in the request's
    /// extensions, and its response gets the cookie removals added. It is not called where the
    /// logout failed (403, 413, 503). Default off.
    pub fn then_call_app(mut self) -> Self {
        self.then_call_app = true;
        self
    }

    /// How long a logout waits for Polar before it is answered with 202 or 303. Default 2 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How many tokens may be on their way to Polar at most; past it a logout is denied here and
    /// answered 503. Default 10,000.
    pub fn queue_limit(mut self, tokens: usize) -> Self {
        self.queue_limit = tokens;
        self
    }

    /// Counts a revocation as confirmed only when Polar, asked some 250 ms after it said so, says
    /// that the token is inactive; otherwise it is sent again. Polar answers before it commits, and
    /// can lose the commit. Costs a second call for each token. Default off.
    pub fn confirm(mut self, confirm: bool) -> Self {
        self.confirm = confirm;
        self
    }

    /// Called for each revocation that will never reach Polar, beside the ERROR event and the
    /// count. Must not block.
    pub fn on_dead_letter(
        mut self,
        callback: impl Fn(&DeadLetter<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.on_dead_letter = Some(Arc::new(callback));
        self
    }

    /// Keeps revocations in this log, beyond the life of this process: a logout is answered only
    /// once the log has it, and [`build`](Self::build) rebuilds the denylist and the queue to Polar
    /// from it. Default none.
    pub fn log(mut self, log: impl RevocationLog) -> Self {
        self.log = Some(Arc::new(log));
        self
    }

    /// A client secret of before: opens what the log holds sealed with it. May be given more than
    /// once.
    pub fn previous_client_secret(mut self, secret: impl Into<String>) -> Self {
        self.previous_secrets.push(Zeroizing::new(secret.into()));
        self
    }

    /// How many revocations are held at most; past it a logout is answered 503. Default 1,000,000,
    /// at some 400 bytes each.
    pub fn limit(mut self, revocations: usize) -> Self {
        self.limit = revocations;
        self
    }

    /// How long a revoked access token is rejected. Default 864,060 s: what Polar gives it, and a
    /// minute.
    pub fn access_token_retention(mut self, retention: Duration) -> Self {
        self.retention.access_token = retention;
        self
    }

    /// How long a revoked refresh token is rejected. Default 30 days: Polar's do not expire, but
    /// Polar knows it is revoked.
    pub fn refresh_token_retention(mut self, retention: Duration) -> Self {
        self.retention.refresh_token = retention;
        self
    }

    /// How long a revoked credential of the application's own is rejected. Default 30 days. Must be
    /// as long as the application would accept it.
    pub fn opaque_retention(mut self, retention: Duration) -> Self {
        self.retention.opaque = retention;
        self
    }

    /// Checks everything, reads the log, and starts what the layer needs in the background, on the
    /// tokio runtime it is called in. That runtime must live as long as the layer: without it a
    /// logout is answered 500.
    ///
    /// # Errors
    ///
    /// Everything that could not work, with what to do about it: what
    /// [`PolarClientBuilder::build`] refuses; no logout route, or a path that never arrives; no
    /// token location, one given twice, or one with a name that cannot be; body routes without a
    /// form or JSON location; a redirect to somewhere that is not
    /// allowed; an origin that is none; a limit, a deadline or a retention of zero; to confirm at a
    /// server whose introspection endpoint is not known; a log that cannot be read, or that holds
    /// more than the limit; no tokio runtime.
    ///
    /// # Panics
    ///
    /// The tokio runtime was built without its timer.
    pub async fn build(self) -> Result<PolarLogoutLayer, Error> {
        let tasks = Tasks::current()?;
        let logout_routes = routes(self.logout_routes)?;
        if logout_routes.is_empty() {
            return Err(Error::configuration(
                "no logout route: add `.logout_route(Method::POST, \"/logout\")`",
            ));
        }
        if logout_routes.iter().any(|route| route.method() == Method::OPTIONS) {
            return Err(Error::configuration(
                "OPTIONS cannot log out: it belongs to CORS preflights, which go to the \
                 application; use POST",
            ));
        }
        let locations = Locations::new(self.locations)?;
        if locations.is_empty() {
            return Err(Error::configuration(
                "no token location: add `.access_token(TokenLocation::bearer())` or where else your \
                 requests carry tokens",
            ));
        }
        let body_routes = routes(self.body_routes)?;
        if !body_routes.is_empty() && !locations.reads_bodies() {
            return Err(Error::configuration(
                "a body route needs a location in the body: add `TokenLocation::form(field)` or \
                 `TokenLocation::json(field)`, or leave the route out",
            ));
        }
        for (path, _) in &self.when_revoked_at {
            check_path(path)?;
        }
        check_positive("deadline", self.deadline)?;
        check_positive("access token retention", self.retention.access_token)?;
        check_positive("refresh token retention", self.retention.refresh_token)?;
        check_positive("opaque retention", self.retention.opaque)?;
        if self.limit == 0 || self.queue_limit == 0 {
            return Err(Error::configuration("a limit of zero revokes nothing; leave the default"));
        }
        let answers = Answers {
            redirect_to: redirect(self.redirect_to, &self.allowed_redirect_origins)?,
            strict: self.strict,
            cookie_removals: locations.cookie_removals().cloned().collect(),
            clear_site_data: clear_site_data(&self.clear_site_data),
            rejection: self.rejection,
        };
        let counters = Arc::new(Counters::default());
        let previous = self.previous_secrets.iter().map(|secret| secret.as_str());
        let sealer = Sealer::new(&self.client.credentials().secret, previous);
        let max_in_flight = self.client.calls_in_flight();
        let client = self.client.build()?;
        if self.confirm && !client.can_introspect() {
            return Err(Error::configuration(
                "to confirm, Polar's introspection endpoint must be known: give the server as \
                 `PolarServer::Url`, or leave `confirm` off",
            ));
        }
        let denylist = Arc::new(Denylist::new(self.limit));
        let recorder = self.log.clone().map(|log| Arc::new(Recorder::new(log, sealer)));
        let delivery = Delivery::start(Setup {
            client,
            max_in_flight,
            limit: self.queue_limit,
            confirm: self.confirm,
            log: self.log,
            on_dead_letter: self.on_dead_letter,
            counters: Arc::clone(&counters),
            tasks: tasks.clone(),
        });
        if let Some(recorder) = &recorder {
            resume(recorder.replay().await?, &denylist, &delivery)?;
        }
        tasks.spawn_background(clean_up(Arc::downgrade(&denylist), ticks()));
        let policy = Policy {
            locations,
            logout_routes,
            body_routes,
            body_limit: self.body_limit,
            when_revoked: self.when_revoked,
            when_revoked_at: self.when_revoked_at,
            then_call_app: self.then_call_app,
            csrf: Csrf::new(self.trusted_origins)?,
            answers: Arc::new(answers),
            logout: Arc::new(Logout {
                denylist,
                recorder,
                delivery,
                send_hint: self.send_hint,
                retention: self.retention,
                deadline: self.deadline,
                counters,
                exchange: Mutex::new(()),
            }),
        };
        Ok(PolarLogoutLayer::new(Arc::new(policy), tasks))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("client", &self.client)
            .field("logout_routes", &self.logout_routes)
            .field("locations", &self.locations)
            .finish_non_exhaustive()
    }
}

/// Rebuilds the denylist and the queue from a log.
fn resume(replayed: Replayed, denylist: &Denylist, delivery: &Delivery) -> Result<(), Error> {
    let count = replayed.revoked.len();
    for (hash, expires_at) in replayed.revoked {
        denylist.insert(hash, expires_at).map_err(|_| {
            Error::configuration(format!(
                "the log holds {count} revocations, more than the limit of {}: raise it with \
                 `.limit({})`",
                denylist.limit(),
                count.saturating_mul(2),
            ))
        })?;
    }
    delivery.resume(replayed.pending);
    for hash in replayed.unreadable {
        delivery.dead_letter(&DeadLetter::Unreadable { hash });
    }
    Ok(())
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(CLEAN_UP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Cleans up for as long as somebody holds the denylist.
async fn clean_up(denylist: Weak<Denylist>, mut ticks: tokio::time::Interval) {
    loop {
        ticks.tick().await;
        let Some(denylist) = denylist.upgrade() else { return };
        // Where many expire together this takes long: on a thread where it holds nobody up.
        let _ = tokio::task::spawn_blocking(move || denylist.clean_up()).await;
    }
}

fn routes(routes: Vec<(Method, String)>) -> Result<Vec<Route>, Error> {
    routes.into_iter().map(|(method, path)| Route::new(method, path)).collect()
}

fn redirect(
    target: Option<String>,
    allowed_origins: &[String],
) -> Result<Option<HeaderValue>, Error> {
    let Some(target) = target else { return Ok(None) };
    let refuse = |why: &str| Err(Error::configuration(format!("the redirect to `{target}` {why}")));
    if target.starts_with('/') {
        // Browsers read `//host` and `/\host` as another host.
        if matches!(target.as_bytes().get(1), Some(b'/' | b'\\')) {
            return refuse("leads to another host; give a path like `/`");
        }
    } else {
        let Some(origin) = origin(&target) else {
            return refuse("is neither a path like `/` nor an absolute http or https URL");
        };
        if !allowed_origins.contains(&origin) {
            return refuse(&format!(
                "leads to another origin; allow it with `.allow_redirect_origin(\"{origin}\")`"
            ));
        }
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse("must be percent-encoded ASCII");
    }
    match HeaderValue::from_str(&target) {
        Ok(value) => Ok(Some(value)),
        Err(_) => refuse("does not fit into a header"),
    }
}

fn origin(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    // What stands before an `@` can pretend to be the host.
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    Some(format!("{scheme}://{authority}"))
}

fn clear_site_data(what: &[ClearSiteData]) -> Option<HeaderValue> {
    let names: Vec<_> = what
        .iter()
        .map(|what| match what {
            ClearSiteData::Cookies => r#""cookies""#,
            ClearSiteData::Storage => r#""storage""#,
            ClearSiteData::ExecutionContexts => r#""executionContexts""#,
        })
        .collect();
    (!names.is_empty())
        .then(|| HeaderValue::from_str(&names.join(", ")).expect("quoted words are a header"))
}

fn check_positive(name: &str, duration: Duration) -> Result<(), Error> {
    if duration.is_zero() {
        return Err(Error::configuration(format!(
            "a {name} of zero does nothing; leave the default"
        )));
    }
    Ok(())
}
