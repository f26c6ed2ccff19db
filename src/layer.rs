//! The layer, and how it is configured.

mod build;
mod builder;
mod redirect;

use std::sync::Arc;

use tower::Layer;

use crate::handle::LogoutHandle;
use crate::polar::PolarClientBuilder;
use crate::policy::Policy;
use crate::service::PolarLogout;

pub use self::builder::Builder;

/// Catches logout, tells Polar, and rejects revoked credentials from then on.
///
/// Wrap it around the outermost router or service: an axum layer inside `nest`, or a `route_layer`,
/// never sees a logout path that no route was registered for. Every clone, and every service it is
/// wrapped around, shares one denylist.
///
/// ```
/// use axum::{Router, routing::get};
/// use http::Method;
/// use tower_polar_logout::{ClientCredentials, PolarLogoutLayer, TokenLocation};
///
/// # async fn example() -> Result<(), tower_polar_logout::Error> {
/// let logout = PolarLogoutLayer::builder(ClientCredentials::from_env()?)
///     .logout_route(Method::POST, "/logout")
///     .access_token(TokenLocation::bearer())
///     .access_token(TokenLocation::cookie("access_token"))
///     .refresh_token(TokenLocation::cookie("refresh_token"))
///     .redirect_to("/")
///     .build()
///     .await?;
/// let app: Router = Router::new().route("/me", get(|| async { "me" })).layer(logout.clone());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PolarLogoutLayer {
    policy: Arc<Policy>,
}

impl PolarLogoutLayer {
    /// Starts with the application's credentials at Polar, or with a whole
    /// [`PolarClientBuilder`] where the client needs more than that.
    pub fn builder(client: impl Into<PolarClientBuilder>) -> Builder {
        Builder::new(client.into())
    }

    fn new(policy: Arc<Policy>) -> Self {
        Self { policy }
    }

    /// The application's own hold on the layer: to revoke, to ask, to shut down.
    #[must_use]
    pub fn handle(&self) -> LogoutHandle {
        LogoutHandle::new(Arc::clone(&self.policy.logout), self.policy.tasks.clone())
    }
}

impl<S> Layer<S> for PolarLogoutLayer {
    type Service = PolarLogout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PolarLogout::new(inner, Arc::clone(&self.policy))
    }
}
