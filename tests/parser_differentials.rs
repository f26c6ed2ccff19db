//! However an app reads a token out of a request, the layer sees it too: one property for each
//! place, with arbitrary bytes, and bytes that aim at where parsers differ.
//!
//! The cases are the same in every run. A case that fails is made as small as it can be, and printed.

#[path = "common/readers.rs"]
mod readers;

use std::cell::Cell;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use proptest::{option, prop_assert, prop_oneof};
use tokio::runtime;

use self::readers::{read_by_apps, way_around};

/// Holds the property against so many requests, and wants the apps to find a token in a good part
/// of them, or it would hold for nothing.
fn the_layer_sees_what_apps_read(cases: u32, requests: &impl Strategy<Value = Request<Bytes>>) {
    let config = Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..Config::default()
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let read = Cell::new(0);
    let outcome = TestRunner::new(config).run(requests, |request| {
        let tokens = runtime.block_on(read_by_apps(request.clone()));
        read.set(read.get() + u32::from(!tokens.is_empty()));
        let way = runtime.block_on(way_around(request));
        prop_assert!(way.is_none(), "an app reads {way:?}, and the layer does not see it");
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(read.get() > cases / 4, "apps read a token in {} of {cases} only", read.get());
}

/// What parsers differ on, or any bytes.
fn tricks() -> impl Strategy<Value = Vec<u8>> {
    let known = select(vec![
        "abc",
        "x.y-z~",
        " ",
        "  ",
        "\t",
        " \t ",
        ",",
        ", ",
        ";",
        "; ",
        "=",
        "==",
        "&",
        "+",
        "%",
        "%2",
        "%4",
        "%41",
        "%25",
        "%2541",
        "%20",
        "%09",
        "%22",
        "%2B",
        "%3D",
        "%3B",
        "%00",
        "%FF",
        "%C3%A9",
        "%c2%a0",
        "\"",
        "\"\"",
        "'",
        "\\",
        "\\\"",
        "\u{a0}",
        "\u{e9}",
        "\u{3000}",
        "Bearer",
        "bearer ",
        "token",
        "token=abc",
        "$Version=1",
    ]);
    let known = known.prop_map(|piece| piece.as_bytes().to_vec());
    let piece = prop_oneof![6 => known, 1 => vec(any::<u8>(), 0..4)];
    vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// A word in upper and lower case.
fn in_any_case(word: &'static str) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<bool>(), word.len()).prop_map(move |is_upper| {
        let cased = |(byte, is_upper): (u8, bool)| {
            if is_upper { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }
        };
        word.bytes().zip(is_upper).map(cased).collect()
    })
}

/// The name `token`, some of it encoded, once or twice.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let plain = || select(vec!["token"]).prop_map(|name| name.as_bytes().to_vec());
    let encoded = vec(0_u8..8, 5).prop_map(|how| {
        let encode = |(byte, how): (u8, u8)| match how {
            0 => format!("%{byte:02x}"),
            1 => format!("%{byte:02X}"),
            2 => format!("%25{byte:02x}"),
            _ => char::from(byte).to_string(),
        };
        b"token".iter().copied().zip(how).map(encode).collect::<String>().into_bytes()
    });
    let odd = select(vec!["TOKEN", "", "\"token\"", "%", "token%", " token", "token\t", "toke"]);
    let odd = odd.prop_map(|name| name.as_bytes().to_vec());
    prop_oneof![4 => plain(), 3 => encoded, 1 => odd]
}

/// `name=value` pairs with something between them.
fn pairs(separator: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let pair = (name(), select(vec!["=", "=", "=", " = ", "=\"", ""]), tricks());
    let pair = pair.prop_map(|(name, equals, value)| [&name, equals.as_bytes(), &value].concat());
    let between = select(vec!["", " ", "  ", "\t"]);
    vec((pair, between), 1..5).prop_map(move |pairs| {
        let pairs = pairs.into_iter().map(|(pair, between)| [between.as_bytes(), &pair].concat());
        pairs.collect::<Vec<_>>().join(separator.as_bytes())
    })
}

/// Without the bytes that no header may hold.
fn header(bytes: Vec<u8>) -> HeaderValue {
    let is_allowed = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    let allowed: Vec<_> = bytes.into_iter().filter(is_allowed).collect();
    HeaderValue::from_bytes(&allowed).expect("a header value")
}

fn with_headers(headers: Vec<(HeaderName, HeaderValue)>) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.headers_mut() = headers.into_iter().collect::<HeaderMap>();
    request
}

fn with_values(name: &HeaderName, values: Vec<Vec<u8>>) -> Request<Bytes> {
    with_headers(values.into_iter().map(|value| (name.clone(), header(value))).collect())
}

/// What a URI may hold of these bytes.
fn uri(query: &[u8]) -> Uri {
    let allowed = |byte: &&u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(byte);
    let query: Vec<u8> = query.iter().filter(allowed).copied().collect();
    format!("/body?{}", String::from_utf8(query).expect("ASCII")).parse().expect("a URI")
}

#[test]
fn bearer_tokens_in_any_case_with_any_white_space_and_two_headers() {
    let scheme = prop_oneof![
        6 => in_any_case("bearer"),
        1 => select(vec!["Basic", "", "Bearer,", " bearer"]).prop_map(|it| it.as_bytes().to_vec()),
    ];
    let space = select(vec![" ", " ", "  ", "\t", " \t ", ""]);
    let value = (scheme, space, tricks(), select(vec!["", "", " ", "\t", ",", ", Bearer x"]));
    let value = value.prop_map(|(scheme, space, token, end)| {
        [&scheme, space.as_bytes(), &token, end.as_bytes()].concat()
    });
    let requests = vec(value, 1..3).prop_map(|values| with_values(&AUTHORIZATION, values));
    the_layer_sees_what_apps_read(400, &requests);
}

#[test]
fn cookies_that_shadow_are_quoted_encoded_or_in_several_headers() {
    let requests = vec(pairs(";"), 1..4).prop_map(|values| with_values(&COOKIE, values));
    the_layer_sees_what_apps_read(1_000, &requests);
}

#[test]
fn one_cookie_anywhere_in_64_kib_of_them() {
    let noise = select(vec![
        "a=1",
        "theme=dark",
        "a=%41",
        "%61=%",
        "q=\"1\"",
        "q=\"",
        "=",
        "",
        "a",
        "token",
        "tokens=1",
        "a=token",
    ]);
    let requests = (vec(noise, 1..50), pairs("; "), any::<Index>(), option::of(pairs(";")));
    let requests = requests.prop_map(|(noise, token, at, first)| {
        let noise = noise.iter().map(|cookie| cookie.as_bytes().to_vec());
        // One byte that is not ASCII, and most apps read nothing of all that.
        let token = token.into_iter().filter(u8::is_ascii).collect();
        let mut cookies: Vec<_> = noise.cycle().take(5_000).collect();
        cookies.insert(at.index(cookies.len()), token);
        let mut all = first.unwrap_or_default();
        for cookie in cookies {
            if all.len() + cookie.len() < 64 * 1024 {
                all.extend_from_slice(b"; ");
                all.extend_from_slice(&cookie);
            }
        }
        with_values(&COOKIE, vec![all])
    });
    the_layer_sees_what_apps_read(16, &requests);
}

#[test]
fn queries_with_pluses_and_escapes_also_in_names_doubled_and_cut_short() {
    let requests = pairs("&").prop_map(|query| {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri(&query);
        request
    });
    the_layer_sees_what_apps_read(400, &requests);
}

#[test]
fn forms_of_any_bytes_in_the_body_or_in_the_query() {
    let method = select(vec![Method::POST, Method::POST, Method::GET, Method::HEAD]);
    let requests = (method, pairs("&"), pairs("&")).prop_map(|(method, query, body)| {
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri(&query);
        request
    });
    the_layer_sees_what_apps_read(400, &requests);
}

#[test]
fn whole_headers_with_anything_at_their_ends() {
    let requests = vec(tricks(), 1..3)
        .prop_map(|values| with_values(&HeaderName::from_static("x-token"), values));
    the_layer_sees_what_apps_read(300, &requests);
}
