//! axum extractors (feature `axum`).

use std::convert::Infallible;
use std::fmt;

use axum_core::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::handle::LogoutHandle;
use crate::revocation::LogoutOutcome;

/// Extracts the handle from the router's state, as axum's `State` does. Either the state is the
/// handle, or `FromRef` takes the handle out of the state. Otherwise the app's handler does not
/// compile, so the extraction never fails.
///
/// The layer puts no handle into the extensions of a request: that would cost an allocation for
/// each request, and a request through the layer costs none.
///
/// ```
/// use axum::extract::FromRef;
/// use axum::routing::post;
/// use axum::{Router, http::StatusCode};
/// use tower_polar_logout::{LogoutHandle, PolarLogoutLayer, Revocation};
///
/// #[derive(Clone)]
/// struct AppState {
///     logout: LogoutHandle,
/// }
///
/// impl FromRef<AppState> for LogoutHandle {
///     fn from_ref(state: &AppState) -> Self {
///         state.logout.clone()
///     }
/// }
///
/// async fn sign_out_everywhere(logout: LogoutHandle) -> StatusCode {
///     // The tokens of all of the user's sessions.
///     let tokens = [
///         "polar_at_u_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG",
///         "polar_at_u_0123456789abcdefghijklmnopqrstuvwxyzHIJKLMN",
///     ];
///     let tokens: Result<Vec<_>, _> = tokens.map(Revocation::access_token).into_iter().collect();
///     let Ok(tokens) = tokens else { return StatusCode::INTERNAL_SERVER_ERROR };
///     if logout.revoke(tokens).await.is_denied() {
///         StatusCode::NO_CONTENT
///     } else {
///         StatusCode::SERVICE_UNAVAILABLE
///     }
/// }
///
/// fn app(layer: PolarLogoutLayer) -> Router {
///     let state = AppState { logout: layer.handle() };
///     Router::new().route("/everywhere", post(sign_out_everywhere)).with_state(state).layer(layer)
/// }
/// ```
impl<S> FromRequestParts<S> for LogoutHandle
where
    Self: FromRef<S>,
    S: Sync,
{
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self::from_ref(state))
    }
}

/// Extracts the outcome in the app's own logout handler, which the layer calls with
/// [`call_inner_after_logout`](crate::PolarLogoutLayerBuilder::call_inner_after_logout).
///
/// `Option<LogoutOutcome>` is `None` in every other handler.
///
/// ```
/// use axum::response::Redirect;
/// use axum::routing::post;
/// use axum::Router;
/// use tower_polar_logout::{LogoutOutcome, PolarLogoutLayer};
///
/// async fn goodbye(outcome: LogoutOutcome) -> Redirect {
///     Redirect::to(match outcome {
///         LogoutOutcome::NoToken => "/",
///         _ => "/goodbye",
///     })
/// }
///
/// /// The layer is built with `.logout_route(Method::POST, "/logout")` and
/// /// `.call_inner_after_logout(true)`.
/// fn app(layer: PolarLogoutLayer) -> Router {
///     Router::new().route("/logout", post(goodbye)).layer(layer)
/// }
/// ```
impl<S: Sync> FromRequestParts<S> for LogoutOutcome {
    type Rejection = LogoutOutcomeRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, LogoutOutcomeRejection> {
        parts.extensions.get().copied().ok_or(LogoutOutcomeRejection(()))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for LogoutOutcome {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().copied())
    }
}

/// The layer did no logout before this handler. Answered 500, with a text that says what to do. The
/// cause is one of these:
///
/// - The handler is not behind the layer.
/// - The handler's route is not a logout route of the layer.
/// - The layer is built without
///   [`call_inner_after_logout`](crate::PolarLogoutLayerBuilder::call_inner_after_logout).
#[derive(Debug)]
pub struct LogoutOutcomeRejection(());

impl fmt::Display for LogoutOutcomeRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the layer did no logout before this handler: put `PolarLogoutLayer` around the \
             router, with this route as a `logout_route` and with `call_inner_after_logout(true)`",
        )
    }
}

impl std::error::Error for LogoutOutcomeRejection {}

impl IntoResponse for LogoutOutcomeRejection {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}
