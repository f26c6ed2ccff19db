//! What the targets share: requests made of bytes, and the promises that each is held against.

#[path = "../../common/readers.rs"]
pub mod readers;

pub mod beside;
pub mod request;

use std::collections::BTreeSet;
use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use tokio::runtime::{self, Runtime};
use tower::{Layer, ServiceExt, service_fn};
use tower_polar_logout::{
    ClientCredentials, PolarLogoutLayer, PolarServer, RequestBody, Revocation, TokenLocation,
    WhenRevoked,
};

use self::readers::read_by_apps;

/// Lets what lies under this path panic: it is contained, or else the target fails all the same. By
/// default any panic, in any thread, is a finding.
pub fn let_panic(path: &'static str) {
    let finding = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.location().is_some_and(|location| location.file().contains(path)) {
            finding(panic);
        }
    }));
}

/// Where a request goes: the same app, behind routes that differ in what the layer does.
#[derive(Clone, Copy)]
pub enum Site {
    /// Bodies are not looked at.
    Head,
    /// Bodies are read for tokens.
    Body,
}

impl Site {
    fn rejecting(self) -> &'static str {
        match self {
            Self::Head => "/head",
            Self::Body => "/body",
        }
    }

    fn anonymous(self) -> &'static str {
        match self {
            Self::Head => "/public-head",
            Self::Body => "/public-body",
        }
    }
}

/// Of one request no more tokens are tried, each alone: a layer is built for each.
const MOST_TOKENS: usize = 8;

thread_local! {
    static RUNTIME: Runtime =
        runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    static NOTHING_REVOKED: PolarLogoutLayer = RUNTIME.with(|runtime| runtime.block_on(layer()));
}

/// Panics where a promise is broken for this request:
///
/// - where nothing is revoked, it reaches the app as it is;
/// - whatever token an app would read out of it, revoked alone, it is rejected;
/// - where dead credentials are taken out, no app can read the token any more, and what stands
///   beside it stays to the letter;
/// - sent to the logout route, it revokes every token that an app would read out of it.
pub fn judge(request: &Request<Bytes>, site: Site) {
    let layer = NOTHING_REVOKED.with(PolarLogoutLayer::clone);
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            match call(&layer, site.rejecting(), request).await {
                // More credentials than anybody looks at: no app sees it.
                Err(StatusCode::BAD_REQUEST) => return,
                Err(status) => panic!("{status} though nothing is revoked"),
                Ok(passed) => assert_unchanged(&at(site.rejecting(), request), &passed),
            }
            let tokens = read_by_apps(request.clone()).await;
            for token in tokens.iter().take(MOST_TOKENS) {
                judge_revoked(request, site, token).await;
            }
            judge_logout(request, &tokens).await;
        });
    });
}

async fn judge_revoked(request: &Request<Bytes>, site: Site, token: &str) {
    let layer = layer().await;
    layer.handle().revoke([Revocation::opaque(token).expect("a credential")]).await;
    match call(&layer, site.rejecting(), request).await {
        Err(StatusCode::UNAUTHORIZED) => {}
        other => panic!("an app reads {token:?}, and it is not rejected: {other:?}"),
    }
    match call(&layer, site.anonymous(), request).await {
        Ok(left) => {
            let still = read_by_apps(left.clone()).await;
            assert!(!still.contains(token), "an app still reads {token:?} in {left:?}");
            beside::assert_stays(&at(site.anonymous(), request), &left, token);
        }
        // What cannot be taken out is rejected.
        Err(StatusCode::UNAUTHORIZED) => {}
        Err(status) => panic!("{status} for a request that is to go on without {token:?}"),
    }
}

async fn judge_logout(request: &Request<Bytes>, tokens: &BTreeSet<String>) {
    if tokens.is_empty() {
        return;
    }
    let layer = layer().await;
    let mut logout = request.clone();
    // An app may have read the query of a GET as a form; that is a query still.
    *logout.method_mut() = Method::POST;
    match call(&layer, "/logout", &logout).await {
        Err(StatusCode::NO_CONTENT) => {
            for token in tokens {
                let is_revoked = layer.handle().is_revoked(token);
                assert!(is_revoked, "an app reads {token:?}, and logout does not revoke it");
            }
        }
        other => panic!("{other:?} to a logout"),
    }
}

async fn layer() -> PolarLogoutLayer {
    PolarLogoutLayer::builder(ClientCredentials::new("id", "secret"))
        // Nothing is sent there: no token is Polar's.
        .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
        .logout_route(Method::POST, "/logout")
        .body_route(Method::POST, Site::Body.rejecting())
        .body_route(Method::GET, Site::Body.rejecting())
        .body_route(Method::POST, Site::Body.anonymous())
        .body_route(Method::GET, Site::Body.anonymous())
        .when_revoked_at(Site::Head.anonymous(), WhenRevoked::Anonymous)
        .when_revoked_at(Site::Body.anonymous(), WhenRevoked::Anonymous)
        .opaque(TokenLocation::bearer())
        .opaque(TokenLocation::cookie("token"))
        .opaque(TokenLocation::header("x-token"))
        .opaque(TokenLocation::query("token"))
        .opaque(TokenLocation::form("token"))
        .opaque(TokenLocation::json("token"))
        .limit(100)
        .build()
        .await
        .expect("a layer")
}

/// What the app sees, or how the layer answers in its place.
async fn call(
    layer: &PolarLogoutLayer,
    path: &str,
    request: &Request<Bytes>,
) -> Result<Request<Bytes>, StatusCode> {
    let request = at(path, request).map(Full::new);
    let mut response = layer.layer(service_fn(app)).oneshot(request).await.expect("infallible");
    response.extensions_mut().remove::<Request<Bytes>>().ok_or(response.status())
}

/// Hands back what it was given.
async fn app(
    request: Request<RequestBody<Full<Bytes>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a body in memory").to_bytes();
    let mut response = Response::new(Full::default());
    response.extensions_mut().insert(Request::from_parts(parts, body));
    Ok(response)
}

fn at(path: &str, request: &Request<Bytes>) -> Request<Bytes> {
    let mut request = request.clone();
    let path = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    *request.uri_mut() = Uri::try_from(path).expect("a URI");
    request
}

fn assert_unchanged(sent: &Request<Bytes>, passed: &Request<Bytes>) {
    assert_eq!(sent.method(), passed.method());
    assert_eq!(sent.uri(), passed.uri());
    assert_eq!(sent.headers(), passed.headers());
    assert_eq!(sent.body(), passed.body());
}
