//! No part of a token or secret is left in the memory of this process once its holder is dropped.
//!
//! The tests use no other code that holds tokens: there is no socket, the app and the server are
//! functions, and the requests are made of buffers that are wiped.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use support::folder::Folder;
use support::memory::Masked;
use tokio::runtime::Runtime;
use tower::{Layer, ServiceExt, service_fn};
use tower_polar_logout::client::{ClientAuthMethod, PolarClient, PolarClientBuilder, Token};
use tower_polar_logout::{
    ClientCredentials, Journal, PolarLogoutLayer, PolarLogoutLayerBuilder, PolarServer,
    TokenLocation,
};
use zeroize::Zeroizing;

/// A revoked session id.
const DEAD: &str = "dead-session-0123";

const LETTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";

/// Characters that a form must escape.
const SIGNS: &[u8] = b"!\"#$%&'()+,/:;<=>?@[\\]^`{|}~";

/// Checks the search itself: without it, the other tests prove nothing.
#[test]
fn search_finds_living_text_but_not_wiped_text() {
    let secret = Masked::drawn(1, 200, LETTERS);
    assert!(!secret.is_in_memory(), "before it is written anywhere");
    let alive = wiped(secret.bytes());
    assert!(secret.is_in_memory());
    drop(alive);
    assert!(!secret.is_in_memory());
    let half = wiped(secret.bytes().skip(100));
    assert!(secret.is_in_memory(), "also if its beginning is overwritten");
    drop(half);
    let fragments: Vec<Vec<u8>> =
        (0..4).map(|n| secret.bytes().skip(n * 50).take(50).collect()).collect();
    assert!(!secret.is_in_memory(), "there are {} fragments", fragments.len());
}

#[test]
fn cookie_token_is_wiped_after_a_confirmed_logout() {
    let token = Masked::drawn(2, 200, LETTERS);
    let seen = Seen::default();
    let cookie = escaped(token.bytes());
    runtime().block_on(async {
        let layer = layer(client(looking(&[&token], &seen)))
            .access_token(TokenLocation::cookie("t"))
            .build()
            .await
            .expect("a layer");
        // The cookie is escaped, so no header holds the token itself.
        let request = Request::post("/logout")
            .header(COOKIE, header(b"t=".iter().copied().chain(cookie)))
            .body(Full::default());
        assert_eq!(log_out(&layer, request.expect("a request")).await, StatusCode::NO_CONTENT);
        assert!(!token.is_in_memory());
    });
    seen.all(1);
}

/// The body arrives in many pieces.
#[test]
fn body_token_is_wiped_after_a_confirmed_logout() {
    let token = Masked::drawn(3, 200, LETTERS);
    let written = Masked::of(escaped(token.bytes()));
    let form = Masked::of(b"t=".iter().copied().chain(written.bytes()));
    let json = b"{\"t\": \"".iter().copied().chain(token.bytes()).chain(*b"\"}");
    let json = Masked::of(json);
    for body in [form, json] {
        let seen = Seen::default();
        runtime().block_on(async {
            let layer = layer(client(looking(&[&token], &seen)))
                .access_token(TokenLocation::form("t"))
                .access_token(TokenLocation::json("t"))
                .build()
                .await
                .expect("a layer");
            let request = Request::post("/logout").body(in_pieces(&body)).expect("a request");
            assert_eq!(log_out(&layer, request).await, StatusCode::NO_CONTENT);
            assert_eq!(left(&[&token, &written]), 0);
        });
        seen.all(1);
    }
}

/// The layer takes a dead credential out of the cookie and of the query, and searches the body.
#[test]
fn rewritten_request_is_wiped_when_it_is_answered() {
    let [cookie, query, decoded] = [4, 5, 6].map(|seed| Masked::drawn(seed, 200, LETTERS));
    // The layer decodes the body to look the token up.
    let body = Masked::of(b"t=".iter().copied().chain(escaped(decoded.bytes())));
    let sent = [cookie, query, body];
    let [cookie, query, body] = &sent;
    let seen = Seen::default();
    runtime().block_on(async {
        let layer = layer(client(looking(&[], &Seen::default())))
            .session_id(TokenLocation::cookie("t"))
            .session_id(TokenLocation::query("t"))
            .session_id(TokenLocation::form("t"))
            .build()
            .await
            .expect("a layer");
        let request = Request::post(format!("/logout?t={DEAD}")).body(Full::default());
        let answer = log_out(&layer, request.expect("a request")).await;
        assert_eq!(answer, StatusCode::NO_CONTENT);

        let page = format!("/page?t={DEAD}&o=").into_bytes().into_iter().chain(query.bytes());
        let page = Uri::from_maybe_shared(Bytes::from_owner(wiped(page))).expect("a URI");
        let cookies = format!("t={DEAD}; o=").into_bytes().into_iter().chain(cookie.bytes());
        let request = Request::post(page)
            .header(COOKIE, header(cookies))
            .body(in_pieces(body))
            .expect("a request");
        let (alive, looking) = (sent.clone(), seen.clone());
        let app = service_fn(move |request: Request<Full<Bytes>>| {
            assert!(!request.uri().query().expect("a query").contains(DEAD));
            assert!(!request.headers()[COOKIE].to_str().expect("text").contains(DEAD));
            looking.look(&alive.each_ref());
            assert!(!decoded.is_in_memory());
            std::future::ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
        });
        let app = layer.layer(layer.handle().check_body().layer(app));
        assert_eq!(app.oneshot(request).await.expect("an answer").status(), StatusCode::OK);
        assert_eq!(left(&sent.each_ref()), 0);
    });
    seen.all(3);
}

#[test]
fn revocation_form_is_wiped_when_it_is_answered() {
    let [token, secret] = [7, 8].map(|seed| Masked::drawn(seed, 200, SIGNS));
    let written = [&token, &secret].map(|text| Masked::of(escaped(text.bytes())));
    let seen = Seen::default();
    runtime().block_on(async {
        let client = client_with(&secret, looking(&written.each_ref(), &seen));
        let client = client.build().expect("a client");
        let token = Token::try_from(wiped(token.bytes()).as_slice()).expect("a token");
        assert!(client.revoke(&token, None).await.is_confirmed());
        assert_eq!(left(&written.each_ref()), 0);
    });
    seen.all(2);
}

#[test]
fn client_authentication_header_is_wiped_with_the_client() {
    let secret = Masked::drawn(9, 200, SIGNS);
    let pair = Masked::of(b"id:".iter().copied().chain(escaped(secret.bytes())));
    let written = base64(&pair);
    let seen = Seen::default();
    runtime().block_on(async {
        let client = client_with(&secret, looking(&[&written], &seen));
        let client = client.auth_method(ClientAuthMethod::ClientSecretBasic);
        let client = client.build().expect("a client");
        let token = Token::try_from(support::access_token("t").as_bytes()).expect("a token");
        assert!(client.revoke(&token, None).await.is_confirmed());
        assert!(secret.is_in_memory(), "the client needs it");
        assert!(!pair.is_in_memory());
        drop(client);
        assert_eq!(left(&[&secret, &written]), 0);
    });
    seen.all(1);
}

/// One runtime seals the token into the journal and ends. The next one opens and delivers it.
#[test]
fn journaled_token_is_wiped_in_both_processes() {
    let token = Masked::drawn(10, 200, LETTERS);
    let folder = Folder::new("wiped");
    let journal = || Journal::open(folder.file("journal")).expect("a journal");
    let seen = Seen::default();
    let first = runtime();
    first.block_on(async {
        let look = looking(&[&token], &seen);
        let silent = service_fn(move |request: Request<Full<Bytes>>| {
            look(&request);
            async move {
                let _held = request;
                std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>().await
            }
        });
        let client = PolarClient::builder(ClientCredentials::new("id", "secret"));
        let layer = layer(client.transport(silent))
            .access_token(TokenLocation::cookie("t"))
            .revocation_log(journal())
            .logout_deadline(Duration::from_millis(1))
            .build()
            .await
            .expect("a layer");
        let cookie = b"t=".iter().copied().chain(escaped(token.bytes()));
        let request = Request::post("/logout").header(COOKIE, header(cookie)).body(Full::default());
        let answer = log_out(&layer, request.expect("a request")).await;
        assert_eq!(answer, StatusCode::ACCEPTED);
    });
    drop(first);
    seen.all(1);
    assert!(!token.is_in_memory(), "after it is sealed and the runtime has ended");

    let seen = Seen::default();
    runtime().block_on(async {
        let layer = layer(client(looking(&[&token], &seen)))
            .access_token(TokenLocation::cookie("t"))
            .revocation_log(journal())
            .build()
            .await
            .expect("a layer");
        support::until("it is delivered", || layer.handle().counts().confirmed == 1).await;
        assert!(!token.is_in_memory(), "after it is opened and delivered");
    });
    seen.all(1);
}

/// Counts the texts that were found while they were alive: otherwise a test proves nothing.
#[derive(Clone, Default)]
struct Seen(Arc<AtomicUsize>);

impl Seen {
    fn look(&self, alive: &[&Masked]) {
        self.0.fetch_add(left(alive), Ordering::SeqCst);
    }

    fn all(&self, texts: usize) {
        assert_eq!(self.0.load(Ordering::SeqCst), texts, "not searched for, or not found");
    }
}

/// How many of these texts are in memory.
fn left(texts: &[&Masked]) -> usize {
    texts.iter().filter(|text| text.is_in_memory()).count()
}

/// Acts as the server: searches for the living texts while it holds the request.
fn looking(
    alive: &[&Masked],
    seen: &Seen,
) -> impl Fn(&Request<Full<Bytes>>) + Clone + Send + Sync + 'static {
    let alive: Vec<_> = alive.iter().copied().cloned().collect();
    let seen = seen.clone();
    move |request| {
        assert!(request.headers().get(AUTHORIZATION).is_none_or(HeaderValue::is_sensitive));
        seen.look(&alive.iter().collect::<Vec<_>>());
    }
}

fn client(
    server: impl Fn(&Request<Full<Bytes>>) + Clone + Send + Sync + 'static,
) -> PolarClientBuilder {
    client_with(&Masked::of(*b"secret"), server)
}

fn client_with(
    secret: &Masked,
    server: impl Fn(&Request<Full<Bytes>>) + Clone + Send + Sync + 'static,
) -> PolarClientBuilder {
    let mut text = Vec::with_capacity(secret.bytes().count());
    text.extend(secret.bytes());
    let secret = String::from_utf8(text).expect("text");
    PolarClient::builder(ClientCredentials::new("id", secret)).transport(service_fn(
        move |request: Request<Full<Bytes>>| {
            server(&request);
            async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
        },
    ))
}

/// A layer for a server whose tokens are long enough to be found.
fn layer(client: PolarClientBuilder) -> PolarLogoutLayerBuilder {
    let server = PolarServer::RevocationEndpoint("http://127.0.0.1:9/revoke".to_owned());
    PolarLogoutLayer::builder(client.server(server))
        .logout_route(Method::POST, "/logout")
        .logout_deadline(Duration::from_secs(60))
}

async fn log_out<B>(layer: &PolarLogoutLayer, request: Request<B>) -> StatusCode
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    let app = layer.layer(service_fn(async |_: Request<B>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    app.oneshot(request).await.expect("an answer").status()
}

/// One thread for all tasks: a value that one task drops is wiped before another task continues.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A buffer that is wiped when it is dropped, and never reallocated.
fn wiped(text: impl Iterator<Item = u8>) -> Zeroizing<Vec<u8>> {
    let mut written = Zeroizing::new(Vec::with_capacity(4096));
    written.extend(text);
    assert!(written.capacity() == 4096, "the buffer has grown");
    written
}

fn header(text: impl Iterator<Item = u8>) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from_owner(wiped(text))).expect("a header")
}

/// A body in pieces that are too small to be found.
fn in_pieces(
    text: &Masked,
) -> StreamBody<impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + 'static>
{
    let mut text = text.clone().into_bytes().peekable();
    StreamBody::new(stream::iter(std::iter::from_fn(move || {
        text.peek()?;
        Some(Ok(Frame::data(text.by_ref().take(48).collect())))
    })))
}

/// Each byte as a form escapes it.
fn escaped(text: impl Iterator<Item = u8>) -> impl Iterator<Item = u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.flat_map(|byte| [b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]])
}

/// Encodes three bytes at a time, so that the whole result is never in memory.
fn base64(text: &Masked) -> Masked {
    let mut text = text.bytes().peekable();
    Masked::of(
        std::iter::from_fn(move || {
            text.peek()?;
            let three: Vec<u8> = text.by_ref().take(3).collect();
            let mut four = [0; 4];
            STANDARD.encode_slice(three, &mut four).expect("four are enough");
            Some(four)
        })
        .flatten(),
    )
}
