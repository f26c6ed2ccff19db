//! The layer.

use std::fmt;
use std::sync::Arc;

use tower::Layer;

use super::answers::EmptyAnswers;
use super::gate::{Gate, GateAndAnswers};
use super::service::PolarLogout;

/// Catches logouts, sends their tokens to Polar, and rejects revoked tokens from then on.
///
/// Wrap it around the outermost router or service: an axum layer inside `nest`, or a `route_layer`,
/// never sees a logout path for which no route is registered. All clones of the layer, and all
/// services that it wraps, share one denylist.
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
pub struct PolarLogoutLayer<A = EmptyAnswers> {
    shared: Arc<GateAndAnswers<A>>,
}

impl<A> PolarLogoutLayer<A> {
    pub(crate) fn new(gate: Gate, answers: A) -> Self {
        Self { shared: Arc::new(GateAndAnswers { gate: Arc::new(gate), answers }) }
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.shared.gate
    }
}

impl<S, A> Layer<S> for PolarLogoutLayer<A> {
    type Service = PolarLogout<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        PolarLogout::new(inner, Arc::clone(&self.shared))
    }
}

impl<A> Clone for PolarLogoutLayer<A> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<A> fmt::Debug for PolarLogoutLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolarLogoutLayer").finish_non_exhaustive()
    }
}
