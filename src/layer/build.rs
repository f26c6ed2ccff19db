//! From options to a layer: what could not work is refused, what can is started.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{HeaderValue, Method};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::builder::Options;
use super::redirect::redirect;
use super::{Builder, PolarLogoutLayer};
use crate::after_logout::{AfterLogout, ClearSiteData};
use crate::counts::Counters;
use crate::csrf::Csrf;
use crate::delivery::{Delivery, Setup};
use crate::denylist::Denylist;
use crate::error::Error;
use crate::follower::Follower;
use crate::freshness::Freshness;
use crate::gauges::Gauges;
use crate::location::Finder;
use crate::logout::{Logout, Outcomes};
use crate::metrics;
use crate::policy::{Policy, Requests};
use crate::recorder::Recorder;
use crate::route::Route;
use crate::seal::Sealer;
use crate::tasks::Tasks;
use crate::when_revoked::Rules;

/// How often what has expired is cleaned up. It goes in one piece, and who revokes meanwhile waits:
/// where there is much, often, so that a piece is small.
const CLEAN_UP_EVERY: Duration = Duration::from_secs(1);
const CLEAN_UP_MUCH_EVERY: Duration = Duration::from_millis(50);
const MUCH: usize = 500;

impl<A: Send + Sync + 'static> Builder<A> {
    /// Checks everything, reads the log, and starts what the layer needs in the background, on the
    /// tokio runtime it is called in. That runtime must live as long as the layer: without it a
    /// logout is answered 500.
    ///
    /// # Errors
    ///
    /// Everything that could not work, with what to do about it: what
    /// [`PolarClientBuilder::build`](crate::PolarClientBuilder::build) refuses; no logout route, or
    /// a path that never arrives; a route given twice; two rules for one path; no token location,
    /// one given twice, or one with a name that cannot be; a redirect to somewhere that is not
    /// allowed;
    /// [`then_call_app`](Self::then_call_app) together with a redirect, or with a location in the body;
    /// an origin that is invalid or has a path; a limit, a deadline or a retention of zero; to
    /// confirm at a server whose introspection endpoint is not known; a log that cannot be read, or
    /// not in time, or that holds more than the limit; no tokio runtime.
    ///
    /// # Panics
    ///
    /// The tokio runtime was built without its timer.
    pub async fn build(self) -> Result<PolarLogoutLayer<A>, Error> {
        Ok(PolarLogoutLayer::new(self.options.build().await?, self.answers))
    }
}

impl Options {
    async fn build(mut self) -> Result<Policy, Error> {
        let tasks = Tasks::current()?;
        self.check()?;
        let finder = Finder::new(std::mem::take(&mut self.locations), self.client.issuer())?;
        if finder.is_empty() {
            return Err(Error::configuration(
                "no token location: add `.access_token(TokenLocation::bearer())` or where else your \
                 requests carry tokens",
            ));
        }
        if self.body_limit == 0 {
            return Err(Error::configuration(
                "with a body limit of zero no token is found in a body; leave the 64 KiB",
            ));
        }
        if finder.reads_bodies() && self.then_call_app {
            return Err(Error::configuration(
                "with `then_call_app` the body of a logout is the application's, so the layer cannot \
                 look for tokens in it: leave the `form` and `json` locations out, and revoke what the \
                 body holds in the handler, with `LogoutHandle::revoke`",
            ));
        }
        Ok(Policy {
            logout_routes: logout_routes(&self.logout_routes)?,
            body_limit: self.body_limit,
            when_revoked: Rules::new(
                self.when_revoked,
                std::mem::take(&mut self.when_revoked_at),
                std::mem::take(&mut self.when_revoked_under),
            )?,
            then_call_app: self.then_call_app,
            csrf: Csrf::new(std::mem::take(&mut self.trusted_origins))?,
            after_logout: self.after_logout(&finder)?,
            finder,
            reject_when_behind: self.reject_when_behind,
            requests: Requests::new(),
            // Last, since this starts something.
            logout: self.start(&tasks).await?,
            tasks,
        })
    }

    fn check(&self) -> Result<(), Error> {
        for (name, duration) in [
            ("a deadline", self.deadline),
            ("an access token retention", self.retention.access_token),
            ("a refresh token retention", self.retention.refresh_token),
            ("an opaque retention", self.retention.opaque),
            ("a time to catch up", self.catch_up_within),
        ] {
            if duration.is_zero() {
                return Err(Error::configuration(format!(
                    "{name} of zero does nothing; leave the default"
                )));
            }
        }
        if self.log.is_none() && (self.start_behind || self.reject_when_behind.is_some()) {
            return Err(Error::configuration(
                "without a log nothing can be behind: add `.log(..)`, or leave `start_behind` and \
                 `reject_when_behind` out",
            ));
        }
        if self.then_call_app && self.redirect_to.is_some() {
            return Err(Error::configuration(
                "with `then_call_app` the app answers the logout: leave `redirect_to` out, and \
                 redirect in the app's own handler",
            ));
        }
        if self.limit == 0 || self.queue_limit == 0 {
            return Err(Error::configuration("a limit of zero revokes nothing; leave the default"));
        }
        Ok(())
    }

    fn after_logout(&self, finder: &Finder) -> Result<AfterLogout, Error> {
        Ok(AfterLogout {
            redirect_to: redirect(self.redirect_to.as_deref(), &self.allowed_redirect_origins)?,
            strict: self.strict,
            cookie_removals: finder.cookie_removals().cloned().collect(),
            clear_site_data: clear_site_data(&self.clear_site_data),
        })
    }

    async fn start(self, tasks: &Tasks) -> Result<Arc<Logout>, Error> {
        let credentials = self.client.credentials();
        let client_id = credentials.id.clone();
        let previous = self.previous_secrets.iter().map(|secret| secret.as_str());
        let sealer = Sealer::new(&credentials.secret, previous);
        let max_in_flight = self.client.calls_in_flight();
        let issuer = self.client.issuer();
        let client = self.client.build()?;
        if self.confirm && !client.can_introspect() {
            return Err(Error::configuration(
                "to confirm, Polar's introspection endpoint must be known: give the server as \
                 `PolarServer::Url`, or leave `confirm` off",
            ));
        }
        let counters = Arc::new(Counters::new());
        let closing = CancellationToken::new();
        let logout = Arc::new(Logout {
            denylist: Arc::new(Denylist::new(self.limit)),
            recorder: self.log.clone().map(|log| Recorder::new(log, sealer, tasks.clone())),
            freshness: Freshness::new(),
            delivery: Delivery::start(Setup {
                client,
                max_in_flight,
                limit: self.queue_limit,
                verify: self.confirm,
                log: self.log.clone(),
                on_dead_letter: self.on_dead_letter,
                counters: Arc::clone(&counters),
                tasks: tasks.clone(),
            }),
            issuer,
            send_hint: self.send_hint,
            retention: self.retention,
            deadline: self.deadline,
            counters,
            outcomes: Outcomes::new(),
            exchange: Mutex::new(()),
            _closing: closing.clone().drop_guard(),
        });
        if let Some(log) = self.log {
            log.assign(&client_id)?;
            let mut follower = Follower::new(log, &logout, tasks.clone());
            if let Err(error) = catch_up(&mut follower, self.catch_up_within, &logout).await {
                if !self.start_behind || error.is_configuration() {
                    return Err(error);
                }
                warn!(%error, "starting without knowing all that was revoked before");
            }
            let follow = closing.run_until_cancelled_owned(follower.run());
            tasks.spawn_background(async {
                follow.await;
            });
        }
        tasks.spawn_background(keep_house(&logout));
        Ok(logout)
    }
}

/// Rebuilds the denylist and the queue from a log.
async fn catch_up(follower: &mut Follower, limit: Duration, logout: &Logout) -> Result<(), Error> {
    timeout(limit, follower.catch_up()).await.map_err(|_| {
        Error::log(format!(
            "the revocation log could not be read within {limit:?}: allow more time with \
             `catch_up_within()`, or `start_behind()`"
        ))
    })??;
    let (len, limit) = (logout.denylist.len(), logout.denylist.limit());
    if len > limit {
        return Err(Error::configuration(format!(
            "the log holds {len} revocations, more than the limit of {limit}: raise it with \
             `.limit({})`",
            len.saturating_mul(2),
        )));
    }
    Ok(())
}

/// Cleans up, and tells monitoring what is held, for as long as the layer lives.
fn keep_house(logout: &Arc<Logout>) -> impl Future<Output = ()> + use<> {
    // Not in the task: a runtime without a timer is to be noticed at once.
    let mut pause = sleep(CLEAN_UP_EVERY);
    let mut gauges = Gauges::new();
    report(logout, &mut gauges);
    let logout = Arc::downgrade(logout);
    async move {
        loop {
            pause.await;
            let Some(denylist) = look_after(&logout, &mut gauges) else { return };
            pause = sleep(match denylist.len() {
                ..MUCH => CLEAN_UP_EVERY,
                MUCH.. => CLEAN_UP_MUCH_EVERY,
            });
            // On a thread where it holds nobody up.
            let _ = tokio::task::spawn_blocking(move || denylist.clean_up()).await;
        }
    }
}

fn look_after(logout: &Weak<Logout>, gauges: &mut Gauges) -> Option<Arc<Denylist>> {
    let logout = logout.upgrade()?;
    report(&logout, gauges);
    Some(Arc::clone(&logout.denylist))
}

fn report(logout: &Logout, gauges: &mut Gauges) {
    // Health walks through the queue: not for nobody.
    if metrics::ENABLED {
        gauges.report(&logout.counts(), &logout.health());
    }
}

fn logout_routes(given: &[(Method, String)]) -> Result<Vec<Route>, Error> {
    let routes = routes(given)?;
    if routes.is_empty() {
        return Err(Error::configuration(
            "no logout route: add `.logout_route(Method::POST, \"/logout\")`",
        ));
    }
    if routes.iter().any(|route| route.method() == Method::HEAD) {
        return Err(Error::configuration(
            "HEAD cannot log out: it only asks what a GET would answer; use POST",
        ));
    }
    if routes.iter().any(|route| route.method() == Method::OPTIONS) {
        return Err(Error::configuration(
            "OPTIONS cannot log out: it belongs to CORS preflights, which go to the application; \
             use POST",
        ));
    }
    Ok(routes)
}

fn routes(given: &[(Method, String)]) -> Result<Vec<Route>, Error> {
    let mut routes = Vec::with_capacity(given.len());
    for (method, path) in given {
        let route = Route::new(method.clone(), path.clone())?;
        if routes.contains(&route) {
            return Err(Error::configuration(format!(
                "the route `{method} {path}` is given twice; leave one out"
            )));
        }
        routes.push(route);
    }
    Ok(routes)
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
