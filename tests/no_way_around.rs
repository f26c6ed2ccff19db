//! However an app reads a token out of a request, the layer sees it too: random requests, and what
//! the extractors that people use make of them.
//!
//! A case that fails is printed with its seed; `DIFFERENTIAL_SEED=N cargo test --test
//! no_way_around` replays it. `tests/parser_differentials.rs` aims at one place at a time.

#[path = "common/readers.rs"]
mod readers;

use std::env;

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderValue, Method, Request};

use self::readers::{read_by_apps, way_around};

const CASES: u64 = 5_000;

/// Pieces that parsers disagree about.
const PIECES: [&[u8]; 40] = [
    b"token",
    b"TOKEN",
    b"t%6Fken",
    b"=",
    b"==",
    b";",
    b"; ",
    b"&",
    b"+",
    b"%",
    b"%20",
    b"%2",
    b"%22",
    b"%00",
    b"%C3%A9",
    b"%FF",
    b"\"",
    b"'",
    b",",
    b", ",
    b" ",
    b"  ",
    b"\t",
    b"abc",
    b"x.y-z~",
    b"\\",
    b"\\u0061",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"{\"token\":\"",
    b"\"}",
    b"\xc2\xa0",
    b"\xe3\x80\x80",
    b"\xff",
    b"\xc3\xa9",
    b"token=abc",
    b"\"token\": \"abc\"",
];

fn noise(rng: &mut Rng, most: usize) -> Vec<u8> {
    (0..rng.usize(0..=most)).flat_map(|_| rng.choice(PIECES).expect("some").to_vec()).collect()
}

/// Mostly what an app could read, with noise where it may be.
fn random_request(rng: &mut Rng) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = if rng.u8(0..5) == 0 { Method::GET } else { Method::POST };
    let headers = request.headers_mut();
    for _ in 0..rng.usize(0..3) {
        let scheme = rng.choice(["Bearer", "bearer", "BEARER", "Basic", "Bearer,"]).expect("one");
        let space = rng.choice([" ", "  ", "\t", " \t "]).expect("one");
        append(headers, "authorization", [scheme.as_bytes(), space.as_bytes(), &noise(rng, 4)]);
    }
    for _ in 0..rng.usize(0..3) {
        let (before, value, after) = (noise(rng, 3), noise(rng, 4), noise(rng, 3));
        append(headers, "cookie", [&before, b"; token=", &value, b"; ", &after]);
    }
    if rng.bool() {
        append(headers, "x-token", [&noise(rng, 4)]);
    }
    let query: Vec<u8> = [&noise(rng, 2)[..], b"&token=", &noise(rng, 4), b"&", &noise(rng, 2)]
        .concat()
        .into_iter()
        .filter(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(byte))
        .collect();
    let query = String::from_utf8(query).expect("ASCII");
    *request.uri_mut() = format!("/body?{query}").parse().expect("a URI");
    *request.body_mut() = match rng.u8(0..3) {
        0 => [&noise(rng, 2)[..], b"&token=", &noise(rng, 4), b"&", &noise(rng, 2)].concat(),
        1 => {
            [b"{\"a\":\"", &noise(rng, 1)[..], b"\",\"token\":\"", &noise(rng, 3), b"\"}"].concat()
        }
        _ => [b"[\"", &noise(rng, 2)[..], b"\"]"].concat(),
    }
    .into();
    request
}

fn append<const N: usize>(headers: &mut http::HeaderMap, name: &'static str, parts: [&[u8]; N]) {
    if let Ok(value) = HeaderValue::from_bytes(&parts.concat()) {
        headers.append(name, value);
    }
}

#[tokio::test]
async fn whatever_token_an_app_reads_the_layer_sees() {
    let seeds = match env::var("DIFFERENTIAL_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..CASES,
    };
    let mut read = 0;
    for seed in seeds {
        let request = random_request(&mut Rng::with_seed(seed));
        read += read_by_apps(request.clone()).await.len();
        if let Some(token) = way_around(request.clone()).await {
            panic!("seed {seed}: {token:?} is read by an app and not seen in {request:?}");
        }
    }
    println!("{CASES} requests, {read} tokens read by apps, each seen by the layer");
}
