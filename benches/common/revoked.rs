//! Builds the layer that every bench measures, with a number of revoked tokens.

use http::Method;
use tower_polar_logout::{
    ClientCredentials, LogoutHandle, PolarLogoutLayer, PolarLogoutLayerBuilder, PolarServer,
    Revocation, TokenLocation,
};

/// Tokens that one call revokes.
const AT_ONCE: u32 = 1_000;

/// A token as long as Polar's: one block of SHA-256.
pub(crate) fn token(n: u32) -> String {
    format!("polar_at_u_{n:043}")
}

/// Revokes the token as a session id, so that Polar is not called.
pub(crate) fn session_id(token: &str) -> Revocation {
    Revocation::session_id(token).expect("a token is not empty")
}

pub(crate) fn builder(
    server: PolarServer,
    credentials: ClientCredentials,
) -> PolarLogoutLayerBuilder {
    PolarLogoutLayer::builder(credentials)
        .server(server)
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
        .access_token(TokenLocation::cookie("access_token"))
}

/// With the URL of a port on which no server listens.
pub(crate) fn without_polar() -> PolarLogoutLayerBuilder {
    let unreachable = PolarServer::Url("http://127.0.0.1:9".to_owned());
    builder(unreachable, ClientCredentials::new("id", "secret"))
}

/// A layer with room for that many revocations.
pub(crate) async fn layer(limit: u32) -> PolarLogoutLayer {
    let limit = usize::try_from(limit).expect("a small number");
    without_polar().denylist_capacity(limit).build().await.expect("a layer")
}

/// A layer in which the first `revoked` tokens are revoked, and which has no room for more.
pub(crate) async fn layer_of(revoked: u32) -> PolarLogoutLayer {
    let layer = layer(revoked).await;
    revoke(&layer.handle(), revoked, |order| order).await;
    layer
}

pub(crate) async fn revoke(
    handle: &LogoutHandle,
    count: u32,
    order: impl Fn(Revocation) -> Revocation,
) {
    for first in (0..count).step_by(AT_ONCE as usize) {
        let orders = (first..count.min(first + AT_ONCE)).map(|n| order(session_id(&token(n))));
        assert!(handle.revoke(orders).await.is_denied());
    }
}
