//! Promise 4, no way around: whichever way an app reads tokens, it reads no dead token behind the
//! layer. The requests are random.
//!
//! The seed of a failing case is printed. `SEED=N cargo test --test locations no_way_around`
//! replays it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use fastrand::Rng;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};

use support::readers::{
    ANONYMOUS, DEAD, Fate, Judge, Seed, X_TOKEN, contains, is_read, is_replay, seeds,
};

const CASES: u64 = 3_000;

const LIVING: &str = "polar_at_o_GFEDCBAzyxwvutsrqponmlkjihgfedcba9876543210";

/// Pieces that parsers disagree about. Each character is one byte (Latin-1).
const PIECES: &str = "token|TOKEN|t%6Fken|[token]|__Host-token|token=|; token=|&token=|$Version=1|\
    =|==|;|; |&|&amp;|?|+|/|%|%2|%20|%22|%25|%00|%3B|%C3%A9|%FF|%C2%A0|\"|\"|'|,|, | |  |\t|\
    abc|x.y-z~|polar_|polar_at_u_|j:|s:|:|\\|\\\\|\\\"|\\u0|\\u00|\\06|{|}|[|]|{\"token\":\"|\"}|\
    Bearer |bearer:|Basic |base64url.bearer.authorization.example.|\
    \u{a0}|\u{85}|\u{c2}\u{a0}|\u{e3}\u{80}\u{80}|\u{ff}|\u{c3}\u{a9}";

fn noise(rng: &mut Rng, most: usize) -> Vec<u8> {
    let pieces: Vec<_> = PIECES.split('|').collect();
    let mut noise = Vec::new();
    for _ in 0..rng.usize(0..=most) {
        match rng.u8(0..8) {
            0 => noise.extend(spelled(rng, DEAD)),
            1 if rng.bool() => noise.extend(spelled(rng, LIVING)),
            _ => noise.extend(latin_1(rng.choice(&pieces).expect("some"))),
        }
    }
    noise
}

fn latin_1(text: &str) -> impl Iterator<Item = u8> {
    text.chars().map(|it| u8::try_from(it).expect("Latin-1"))
}

/// A token as it is, or with all or some of its bytes escaped.
fn spelled(rng: &mut Rng, token: &str) -> Vec<u8> {
    let escape: fn(u8) -> String = match rng.u8(0..16) {
        0 => |byte| format!("%{byte:02x}"),
        1 => |byte| format!("%{byte:02X}"),
        2 => |byte| format!("%25{byte:02x}"),
        3 => |byte| format!("\\u{byte:04x}"),
        4 => |byte| format!("\\x{byte:02X}"),
        5 => |byte| format!("\\{byte:03o}"),
        6 => |byte| format!("%5cu{byte:04x}"),
        7 => return STANDARD.encode(format!("x:{token}")).into_bytes(),
        8 => return URL_SAFE_NO_PAD.encode(token).into_bytes(),
        _ => return token.into(),
    };
    let one_of = *rng.choice(&[1, 4, 60]).expect("one");
    let spelled = token.bytes().map(|byte| match rng.u8(0..one_of) {
        0 => escape(byte),
        _ => char::from(byte).into(),
    });
    spelled.collect::<String>().into_bytes()
}

/// A request with tokens in most places that an app could read, and with noise around them.
fn random_request(rng: &mut Rng) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = if rng.bool() { Method::GET } else { Method::POST };
    let headers = request.headers_mut();
    if rng.u8(0..3) == 0 {
        for _ in 0..rng.usize(1..3) {
            let scheme = rng.choice(["Bearer", "bEARER", "Basic", "Token", "x Bearer", ""]);
            let space = rng.choice([" ", "  ", "\t", " \t ", ", ", ":", ""]).expect("one");
            let value = [scheme.expect("one").as_bytes(), space.as_bytes(), &noise(rng, 3)];
            append(headers, AUTHORIZATION, &value.concat());
        }
    }
    for _ in 0..rng.usize(0..3) {
        let (before, value, behind) = (noise(rng, 3), noise(rng, 3), noise(rng, 3));
        append(headers, COOKIE, &[&before, &b"; token="[..], &value, b"; ", &behind].concat());
    }
    if rng.u16(0..500) == 0 {
        let many = "theme=dark; a=%41; q=\"1\"; =; ; a; ".repeat(1_000).into_bytes();
        append(headers, COOKIE, &[&many, &b"token="[..], &noise(rng, 2), b"; ", &many].concat());
    }
    for name in [X_TOKEN, SEC_WEBSOCKET_PROTOCOL] {
        if rng.u8(0..4) == 0 {
            append(headers, name, &noise(rng, 3));
        }
    }
    append(headers, HeaderName::from_static("x-other"), &noise(rng, 3));
    let path = match rng.u8(0..10) {
        0 => ANONYMOUS.to_owned(),
        1 => format!("/{}", of_a_uri(noise(rng, 2)).replace('?', "")),
        _ => "/".to_owned(),
    };
    let query = [&noise(rng, 2)[..], b"&token=", &noise(rng, 2), b"&", &noise(rng, 2)].concat();
    let target = if rng.bool() { path } else { format!("{path}?{}", of_a_uri(query)) };
    *request.uri_mut() = target.parse::<Uri>().expect("a URI");
    *request.body_mut() = match rng.u8(0..6) {
        0 => [&noise(rng, 2)[..], b"&token=", &noise(rng, 3), b"&", &noise(rng, 2)].concat(),
        1 => {
            [b"{\"a\":\"", &noise(rng, 1)[..], b"\",\"token\":\"", &noise(rng, 2), b"\"}"].concat()
        }
        2 => [b"[\"", &noise(rng, 2)[..], b"\"]"].concat(),
        _ => Vec::new(),
    }
    .into();
    request
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    headers.append(name, HeaderValue::from_bytes(value).expect("no control characters"));
}

fn of_a_uri(bytes: Vec<u8>) -> String {
    let allowed = |byte: &u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(byte);
    bytes.into_iter().filter(allowed).map(char::from).collect()
}

#[tokio::test]
async fn app_never_reads_a_dead_token() {
    let judge = Judge::new().await;
    let (mut read, mut fates) = (0, [0; 3]);
    for seed in seeds(CASES) {
        let _seed = Seed(seed);
        let request = random_request(&mut Rng::with_seed(seed));
        let fate = judge.judge(&request).await;
        let mut authorization = request.headers().get_all(AUTHORIZATION).iter();
        let is_anonymous = request.uri().path() == ANONYMOUS;
        if !is_anonymous && authorization.any(|it| contains(it.as_bytes(), DEAD.as_bytes())) {
            assert_eq!(fate, Fate::Rejected, "{request:?}");
        }
        read += u64::from(is_read(&request).await);
        fates[fate as usize] += 1;
    }
    let [unchanged, taken_out, rejected] = fates;
    println!(
        "an app would read a dead token in {read} of {CASES} requests: {unchanged} passed \
         unchanged, {taken_out} went on without it, {rejected} were rejected"
    );
    assert!(is_replay() || read > CASES / 2 && fates.iter().all(|it| *it > CASES / 10));
}
