//! The handle and the outcome of a logout in axum handlers.

use axum::Router;
use axum::extract::FromRef;
use axum::routing::{get, post};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use support::{bearer, builder, start_polar};
use tower::ServiceExt;
use tower_polar_logout::testing::FakePolar;
use tower_polar_logout::{LogoutHandle, LogoutOutcome, PolarLogoutLayer, Revocation};

#[derive(Clone)]
struct AppState {
    logout: LogoutHandle,
}

impl FromRef<AppState> for LogoutHandle {
    fn from_ref(state: &AppState) -> Self {
        state.logout.clone()
    }
}

async fn layer(polar: &FakePolar) -> PolarLogoutLayer {
    builder(polar).call_inner_after_logout(true).build().await.expect("a layer")
}

async fn send(app: &Router, method: &str, path: &str, token: &str) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("authorization", bearer(token));
    let request = request.body(axum::body::Body::empty()).expect("a request");
    let response = app.clone().oneshot(request).await.expect("an answer");
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

async fn goodbye(outcome: LogoutOutcome) -> &'static str {
    outcome.as_str()
}

async fn goodbye_or_hello(outcome: Option<LogoutOutcome>) -> String {
    format!("{outcome:?}")
}

/// Revokes the token in the request's body, as an administrator would.
async fn revoke(logout: LogoutHandle, token: String) -> String {
    let revocation = Revocation::access_token(token).expect("a token");
    logout.revoke([revocation]).await.as_str().to_owned()
}

#[tokio::test]
async fn outcome_is_extracted_in_the_logout_handler() {
    let polar = start_polar().await;
    let app = Router::new().route("/logout", post(goodbye)).layer(layer(&polar).await);
    let token = polar.mint().access;
    assert_eq!(
        send(&app, "POST", "/logout", &token).await,
        (StatusCode::OK, "confirmed".to_owned())
    );
    assert!(!polar.is_alive(&token));
    let foreign = polar.mint_for_another_client().access;
    assert_eq!(send(&app, "POST", "/logout", &foreign).await.1, "refused");
}

/// The route is not a logout route, or the layer is missing. The answer says what to do.
#[tokio::test]
async fn outcome_without_a_logout_is_500_with_advice() {
    let polar = start_polar().await;
    let elsewhere = Router::new().route("/me", get(goodbye)).layer(layer(&polar).await);
    let without_layer = Router::new().route("/logout", post(goodbye));
    for (app, method, path) in [(elsewhere, "GET", "/me"), (without_layer, "POST", "/logout")] {
        let (status, body) = send(&app, method, path, &polar.mint().access).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        for needed in ["PolarLogoutLayer", "logout_route", "call_inner_after_logout(true)"] {
            assert!(body.contains(needed), "{body}");
        }
    }
}

/// One handler can serve the logout route and others.
#[tokio::test]
async fn optional_outcome_is_none_without_a_logout() {
    let polar = start_polar().await;
    let app = Router::new()
        .route("/logout", post(goodbye_or_hello))
        .route("/me", get(goodbye_or_hello))
        .layer(layer(&polar).await);
    let token = polar.mint().access;
    assert_eq!(send(&app, "GET", "/me", &token).await.1, "None");
    assert_eq!(send(&app, "POST", "/logout", &token).await.1, "Some(Confirmed)");
}

/// The handle is a part of the state, or the state itself.
#[tokio::test]
async fn handle_is_extracted_from_the_state() {
    let polar = start_polar().await;
    let layer = layer(&polar).await;
    let state = AppState { logout: layer.handle() };
    let of_state =
        Router::new().route("/revoke", post(revoke)).with_state(state).layer(layer.clone());
    let is_state = Router::new()
        .route("/revoke", post(revoke))
        .with_state(layer.handle())
        .layer(layer.clone());
    for app in [of_state, is_state] {
        let token = polar.mint().access;
        let request = Request::post("/revoke").body(axum::body::Body::from(token.clone()));
        let response = app.oneshot(request.expect("a request")).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert!(layer.handle().is_revoked(&token));
        assert!(!polar.is_alive(&token));
    }
}
