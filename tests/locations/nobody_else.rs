//! Promise 5, nobody else is touched: a logout ends the whole credentials of its request, and
//! nothing that another user's request could share with it. The requests of two users differ only
//! in their credentials, which are written in random ways.
//!
//! The seed of a failing case is printed. `SEED=N cargo test --test locations nobody_else` replays
//! it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use fastrand::Rng;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderValue, Method, Request, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use support::readers::{Seed, assert_same, builder, call, is_replay, seeds};

const CASES: u64 = 4_000;

/// Text that users share, before, after or beside a credential. Some of it is as long as a
/// credential.
const SHARED: [&str; 18] = [
    "",
    "0",
    "1",
    "-",
    "x",
    "v2",
    "null",
    "undefined",
    "Bearer",
    "bearer",
    "Token",
    "tenant1",
    "user",
    "polar_at_u_",
    "chunks-2",
    "00000000-0000-0000-0000-000000000000",
    "eyJwYXNzcG9ydCI6e319",
    "bWFjbWFjbWFjbWFjbWFjbWFjbWFjbWFjbWFjbWFjbWE=",
];

/// The ASCII characters that `encodeURIComponent` encodes.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

fn any<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    rng.choice(of).expect("some")
}

/// A carrier with the credential in it. Only `rng` decides which carrier.
fn carried(rng: &mut Rng, depth: u8, credential: &str) -> String {
    if depth == 0 {
        return credential.to_owned();
    }
    let inner = carried(rng, depth - 1, credential);
    let shared = any(rng, &SHARED);
    let between =
        any(rng, &[" ", ",", ", ", ".", ":", "|", "-", "~", "/", "=", "+", "_", "--", "é"]);
    match rng.u8(0..9) {
        0 => format!("{shared}{between}{inner}"),
        1 => format!("{inner}{between}{shared}"),
        2 => format!("\"{inner}\""),
        3 => format!("'{inner}'"),
        4 => format!("{}{{\"v\":1,\"a\":\"{shared}\",\"sid\":\"{inner}\"}}", any(rng, &["", "j:"])),
        5 => format!("[\"{inner}\",\"{shared}\"]"),
        6 => percent_encode(inner.as_bytes(), COMPONENT).to_string(),
        7 if rng.bool() => URL_SAFE_NO_PAD.encode(inner),
        7 => STANDARD.encode(inner),
        _ => {
            let claims = URL_SAFE_NO_PAD.encode(format!("{{\"sid\":\"{inner}\"}}"));
            format!("eyJhbGciOiJIUzI1NiJ9.{claims}.c2lnbmF0dXJl")
        }
    }
}

/// A request with a carrier in one place, and shared text in the others.
fn request(rng: &mut Rng, credential: &str) -> Request<Bytes> {
    let depth = rng.u8(0..4);
    let carrier = carried(rng, depth, credential);
    let placeholder = any(rng, &["", "null", "undefined", "0", "Bearer", "chunks-2"]);
    let mut request = Request::new(Bytes::new());
    let mut add = |name: HeaderName, value: String| {
        request.headers_mut().append(name, HeaderValue::try_from(value).expect("a value"));
    };
    let cookie = any(rng, &["token", "session", "session", "last_page"]);
    match rng.u8(0..7) {
        0 | 1 => {
            let scheme = any(rng, &["Bearer ", "bearer  ", "Token ", "Basic ", "Bearer:", ""]);
            add(AUTHORIZATION, format!("{scheme}{carrier}"));
            add(COOKIE, format!("theme=dark; session={placeholder}; {cookie}={placeholder}"));
        }
        2 | 3 => {
            add(COOKIE, format!("theme=dark; token={placeholder}; {cookie}={carrier}; n=1"));
            add(AUTHORIZATION, format!("Bearer {placeholder}"));
        }
        4 => {
            let name = if rng.bool() { "x-token" } else { "x-session" };
            add(HeaderName::from_static(name), carrier);
        }
        5 => add(SEC_WEBSOCKET_PROTOCOL, format!("bearer, {carrier}, {placeholder}")),
        _ => {
            let value = percent_encode(carrier.as_bytes(), COMPONENT);
            let query = format!("/?page=2&{cookie}={value}&token={placeholder}&x");
            *request.uri_mut() = query.parse::<Uri>().expect("a URI");
        }
    }
    request
}

/// Two credentials that differ, often only a little.
fn two_credentials(rng: &mut Rng) -> [String; 2] {
    let letters =
        |rng: &mut Rng, most: usize| -> String { (0..most).map(|_| rng.alphanumeric()).collect() };
    let (one, mut other) = if rng.bool() {
        let mut token = || format!("polar_{}_{}_", any(rng, &["at", "rt"]), any(rng, &["u", "o"]));
        let begins = [token(), token()];
        begins.map(|begin| begin + &letters(rng, 43)).into()
    } else {
        let lengths = [rng.usize(16..=40), rng.usize(16..=40)];
        lengths.map(|length| letters(rng, length)).into()
    };
    let at = rng.usize(11..16);
    match rng.u8(0..3) {
        // The difference is one letter, possibly only its case.
        0 => other = format!("{}{}{}", &one[..at], rng.alphanumeric(), &one[at + 1..]),
        1 => other = [&one[..at], &one[at..].to_ascii_lowercase()].concat(),
        _ => {}
    }
    if one == other { two_credentials(rng) } else { [one, other] }
}

#[tokio::test]
async fn logout_of_one_user_never_touches_another() {
    let layer = builder().build().await.expect("a layer");
    let mut ended = 0;
    for seed in seeds(CASES) {
        let _seed = Seed(seed);
        let mut rng = Rng::with_seed(seed);
        let credentials = two_credentials(&mut rng);
        let [mine, others] = credentials.map(|it| request(&mut rng.clone(), &it));
        let mut logout = mine.clone();
        *logout.method_mut() = Method::POST;
        let target = mine.uri().query().map_or("/logout".to_owned(), |it| format!("/logout?{it}"));
        *logout.uri_mut() = target.parse().expect("a URI");
        call(&layer, &logout).await.expect_err("the app is not called");
        match call(&layer, &others).await {
            Ok(passed) => assert_same(&others, &passed),
            Err(status) => panic!("{status} for {others:?} after a logout with {mine:?}"),
        }
        let is_whole =
            |it: Request<Bytes>| it.headers() == mine.headers() && it.uri() == mine.uri();
        ended += u64::from(!call(&layer, &mine).await.is_ok_and(is_whole));
    }
    println!("{ended} of {CASES} logouts ended their own credentials, and nothing else");
    assert!(is_replay() || ended > CASES * 2 / 3, "{ended}");
}
