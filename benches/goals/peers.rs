//! Other middleware that an app could use in place of the layer.

use std::convert::Infallible;
use std::future::ready;
use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use axum_login::{AuthManagerLayerBuilder, AuthSession, AuthUser, AuthnBackend, login_required};
use http::header::{AUTHORIZATION, SET_COOKIE};
use http::{Request, Response, StatusCode};
use moka::sync::Cache;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::auth::AsyncRequireAuthorizationLayer;
use tower_http::validate_request::ValidateRequestHeaderLayer;
use tower_polar_logout::TokenHash;
use tower_sessions::session::{Id, Record};
use tower_sessions::{MemoryStore, SessionManagerLayer, SessionStore};

use crate::subject::{RUNTIME, app, token};

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// The least work that any denylist of digests does: it finds the bearer token and hashes it.
#[derive(Clone)]
pub(crate) struct Floor<S>(pub(crate) S);

impl<S: Service<Request<Body>>> Service<Request<Body>> for Floor<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        black_box(bearer_hash(&request));
        self.0.call(request)
    }
}

fn bearer_hash(request: &Request<Body>) -> Option<TokenHash> {
    let value = request.headers().get(AUTHORIZATION)?;
    value.as_bytes().strip_prefix(b"Bearer ").map(TokenHash::of)
}

/// moka alone, without the layer's filter in front. It has a fast hasher and records no use on a
/// lookup.
pub(crate) type Moka = Arc<Cache<TokenHash, SystemTime, foldhash::fast::RandomState>>;

pub(crate) fn moka_of(revoked: u32) -> Moka {
    let cache = Cache::builder().time_to_live(MONTH).build_with_hasher(<_>::default());
    (0..revoked).for_each(|n| cache.insert(TokenHash::of(token(n)), SystemTime::now() + MONTH));
    cache.run_pending_tasks();
    Arc::new(cache)
}

fn is_revoked(moka: &Moka, request: &Request<Body>) -> bool {
    bearer_hash(request).is_some_and(|hash| moka.contains_key(&hash))
}

/// The middleware that an axum app would write first.
pub(crate) fn middleware_fn(
    moka: Moka,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> {
    let middleware = move |request: Request<Body>, next: Next| {
        let is_revoked = is_revoked(&moka, &request);
        async move {
            if is_revoked {
                StatusCode::UNAUTHORIZED.into_response()
            } else {
                next.run(request).await
            }
        }
    };
    from_fn(middleware).layer(service_fn(app))
}

/// The same decision with tower-http's layer.
pub(crate) fn async_authorization(
    moka: Moka,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> {
    let authorize = move |request: Request<Body>| {
        ready(if is_revoked(&moka, &request) {
            Err(StatusCode::UNAUTHORIZED.into_response())
        } else {
            Ok(request)
        })
    };
    AsyncRequireAuthorizationLayer::new(authorize).layer(service_fn(app))
}

/// Compares the header with one value. This is no revocation, but the cheapest check of a request.
#[expect(deprecated, reason = "too basic for an app, but right for a comparison")]
pub(crate) fn one_bearer(
    token: &str,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> + use<> {
    ValidateRequestHeaderLayer::bearer(token).layer(service_fn(app))
}

/// Sessions in memory, and the cookie of one of them.
pub(crate) fn sessions()
-> (impl Service<Request<Body>, Response = Response<Body>, Error = Infallible>, String) {
    let store = MemoryStore::default();
    let expiry_date = (SystemTime::now() + MONTH).into();
    let mut session = Record { id: Id::default(), data: <_>::default(), expiry_date };
    RUNTIME.block_on(store.create(&mut session)).expect("a session");
    (SessionManagerLayer::new(store).layer(service_fn(app)), format!("id={}", session.id))
}

/// Users with such sessions, and the cookie of a user that has logged in.
pub(crate) fn users()
-> (impl Service<Request<Body>, Response = Response<Body>, Error = Infallible>, String) {
    let sessions = SessionManagerLayer::new(MemoryStore::default());
    let layer = AuthManagerLayerBuilder::new(Users, sessions).build();
    let login = layer.layer(service_fn(|request: Request<Body>| async move {
        let mut auth: AuthSession<Users> = request.extensions().get().cloned().expect("a session");
        auth.login(&User).await.expect("a login");
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));
    let Ok(response) = RUNTIME.block_on(login.oneshot(Request::new(Body::empty())));
    let cookie = response.headers()[SET_COOKIE].to_str().expect("a cookie");
    let (cookie, _) = cookie.split_once(';').expect("attributes");
    (layer.layer(login_required!(Users).layer(service_fn(app))), cookie.to_owned())
}

/// The only user.
#[derive(Clone, Debug)]
struct User;

#[derive(Clone, Debug)]
struct Users;

impl AuthUser for User {
    type Id = u64;

    fn id(&self) -> u64 {
        1
    }

    fn session_auth_hash(&self) -> &[u8] {
        b"hash"
    }
}

impl AuthnBackend for Users {
    type User = User;
    type Credentials = ();
    type Error = Infallible;

    async fn authenticate(&self, (): ()) -> Result<Option<User>, Infallible> {
        Ok(Some(User))
    }

    async fn get_user(&self, _: &u64) -> Result<Option<User>, Infallible> {
        Ok(Some(User))
    }
}
