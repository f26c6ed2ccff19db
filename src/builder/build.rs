//! From options to a layer: what could not work is refused, what can is started.

use http::{HeaderValue, Method};

use super::redirect::redirect;
use super::{Builder, Options};
use crate::error::Error;
use crate::location::Finder;
use crate::middleware::{
    AfterLogout, ClearSiteData, Csrf, Gate, PolarLogoutLayer, RequestCounters, Route, Rules,
};
use crate::revocation::start;
use crate::spawner::Spawner;

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
    async fn build(mut self) -> Result<Gate, Error> {
        let spawner = Spawner::current()?;
        self.check()?;
        let finder =
            Finder::new(std::mem::take(&mut self.locations), self.revocation.client.issuer())?;
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
        Ok(Gate {
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
            requests: RequestCounters::new(),
            // Last, since this starts something.
            revoker: start(self.revocation, &spawner).await?,
            spawner,
        })
    }

    fn check(&self) -> Result<(), Error> {
        for (name, duration) in [
            ("a deadline", self.revocation.deadline),
            ("an access token retention", self.revocation.retention.access_token),
            ("a refresh token retention", self.revocation.retention.refresh_token),
            ("an opaque retention", self.revocation.retention.opaque),
            ("a time to catch up", self.revocation.catch_up_within),
        ] {
            if duration.is_zero() {
                return Err(Error::configuration(format!(
                    "{name} of zero does nothing; leave the default"
                )));
            }
        }
        if self.revocation.log.is_none()
            && (self.revocation.start_behind || self.reject_when_behind.is_some())
        {
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
        if self.revocation.limit == 0 || self.revocation.queue_limit == 0 {
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
