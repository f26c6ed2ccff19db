//! From options to a layer: what could not work is refused, what can is started.

use http::{HeaderValue, Method};

use super::redirect::redirect;
use super::{Options, PolarLogoutLayerBuilder};
use crate::error::Error;
use crate::location::Finder;
use crate::middleware::{
    AfterLogout, ClearSiteData, Csrf, Gate, PolarLogoutLayer, RequestCounters, Route, Rules,
};
use crate::revocation::{Config, start};
use crate::spawner::Spawner;

impl<A: Send + Sync + 'static> PolarLogoutLayerBuilder<A> {
    /// Checks everything, reads the log, and starts what the layer needs in the background, on the
    /// tokio runtime it is called in. That runtime must live as long as the layer: without it a
    /// logout is answered 500.
    ///
    /// # Errors
    ///
    /// Every configuration that cannot work, with what to do about it:
    ///
    /// - no logout route, one that never arrives, or one given twice; two rules for one path;
    /// - no token location, one given twice, or one with an invalid name;
    /// - a redirect to a place that is not allowed, or an invalid origin;
    /// - [`call_inner_after_logout`](Self::call_inner_after_logout) together with a redirect, or
    ///   with a location in the body;
    /// - a capacity, a deadline or a retention of zero;
    /// - [`verify_revocation`](Self::verify_revocation) at a server whose introspection endpoint is
    ///   not known;
    /// - a log that cannot be read, or not in time, or that holds more revocations than
    ///   [`denylist_capacity`](Self::denylist_capacity). The log can be given to another builder
    ///   afterwards;
    /// - what [`PolarClientBuilder::build`](crate::client::PolarClientBuilder::build) refuses;
    /// - no tokio runtime.
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
        if finder.reads_bodies() && self.call_inner_after_logout {
            return Err(Error::configuration(
                "with `call_inner_after_logout` the body of a logout is the application's, so the layer cannot \
                 look for tokens in it: leave the `form` and `json` locations out, and revoke what the \
                 body holds in the handler, with `LogoutHandle::revoke`",
            ));
        }
        Ok(Gate {
            logout_routes: logout_routes(&self.logout_routes)?,
            max_body_size: self.max_body_size,
            when_revoked: Rules::new(
                self.when_revoked,
                std::mem::take(&mut self.when_revoked_at),
                std::mem::take(&mut self.when_revoked_under),
            )?,
            call_inner_after_logout: self.call_inner_after_logout,
            csrf: Csrf::new(std::mem::take(&mut self.trusted_origins))?,
            after_logout: self.after_logout(&finder)?,
            finder,
            max_log_lag: self.max_log_lag,
            requests: RequestCounters::new(),
            // Last, since this starts something.
            revoker: start(self.revocation, &spawner).await?,
            spawner,
        })
    }

    fn check(&self) -> Result<(), Error> {
        let Config { retention, .. } = &self.revocation;
        for (option, duration) in [
            ("logout_deadline", self.revocation.logout_deadline),
            ("startup_timeout", self.revocation.startup_timeout),
            ("access_token_retention", retention.access_token),
            ("refresh_token_retention", retention.refresh_token),
            ("session_id_retention", retention.session_id),
        ] {
            if duration.is_zero() {
                return Err(zero(option, "at least a millisecond, or leave the option out"));
            }
        }
        for (option, count) in [
            ("denylist_capacity", self.revocation.denylist_capacity),
            ("queue_capacity", self.revocation.queue_capacity),
            ("max_body_size", self.max_body_size),
        ] {
            if count == 0 {
                return Err(zero(option, "at least 1, or leave the option out"));
            }
        }
        if self.revocation.log.is_none()
            && (self.revocation.allow_stale_start || self.max_log_lag.is_some())
        {
            return Err(Error::configuration(
                "`allow_stale_start` and `max_log_lag` are about a revocation log, and there is none: \
                 add `.revocation_log(..)`, or leave them out",
            ));
        }
        if self.call_inner_after_logout && self.redirect_to.is_some() {
            return Err(Error::configuration(
                "with `call_inner_after_logout` the app answers the logout: leave `redirect_to` out, and \
                 redirect in the app's own handler",
            ));
        }
        Ok(())
    }

    fn after_logout(&self, finder: &Finder) -> Result<AfterLogout, Error> {
        Ok(AfterLogout {
            redirect_to: redirect(self.redirect_to.as_deref(), &self.allowed_redirect_origins)?,
            require_confirmation: self.require_confirmation,
            cookie_removals: finder.cookie_removals().cloned().collect(),
            clear_site_data: clear_site_data(&self.clear_site_data),
        })
    }
}

fn zero(option: &str, advice: &str) -> Error {
    Error::configuration(format!("`{option}` is zero, so nothing would be revoked: give {advice}"))
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
