//! What every bench measures: the layer with so many revoked tokens.

use http::Method;
use tower_polar_logout::{
    ClientCredentials, LogoutHandle, PolarLogoutLayer, PolarLogoutLayerBuilder, PolarServer,
    Revocation, TokenLocation,
};

/// Revoked in one go.
const AT_ONCE: u32 = 1_000;

/// As long as Polar's: one block of SHA-256.
pub(crate) fn token(n: u32) -> String {
    format!("polar_at_u_{n:043}")
}

/// As a session id, so that Polar is not told.
pub(crate) fn opaque(token: &str) -> Revocation {
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

/// With a server where nobody is.
pub(crate) fn without_polar() -> PolarLogoutLayerBuilder {
    let nobody = PolarServer::Url("http://127.0.0.1:9".to_owned());
    builder(nobody, ClientCredentials::new("id", "secret"))
}

/// A layer planned for that many revocations.
pub(crate) async fn layer(limit: u32) -> PolarLogoutLayer {
    let limit = usize::try_from(limit).expect("a small number");
    without_polar().denylist_capacity(limit).build().await.expect("a layer")
}

/// A layer with that many revoked tokens, the first of all, and no room for more.
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
        let orders = (first..count.min(first + AT_ONCE)).map(|n| order(opaque(&token(n))));
        assert!(handle.revoke(orders).await.is_denied());
    }
}
