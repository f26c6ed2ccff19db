//! What stands beside a dead credential, and stays when that is taken out.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE};
use http::{HeaderMap, Request};
use serde_json::{Map, Value};

/// Panics where something is missing in `left`, or has changed, that is not the `dead` token.
pub fn assert_stays(sent: &Request<Bytes>, left: &Request<Bytes>, dead: &str) {
    assert_eq!(sent.method(), left.method());
    assert_eq!(sent.uri().path(), left.uri().path());
    assert_eq!(other_headers(sent.headers()), other_headers(left.headers()));
    assert_eq!(cookies(sent, dead), cookies(left, dead));
    assert_eq!(query(sent, dead), query(left, dead));
    if sent.body() == left.body() {
        return;
    }
    assert_eq!(left.headers()[CONTENT_LENGTH], left.body().len().to_string());
    match object(sent.body()) {
        // Otherwise a string in it may look like a pair of a form, to whoever takes it for one.
        Some(object_sent) if !sent.body().contains(&b'&') => {
            let object_left = object(left.body()).expect("an object still");
            assert_eq!(without_dead(object_sent), without_dead(object_left));
        }
        Some(_) => {}
        None => assert_eq!(fields(sent.body(), dead), fields(left.body(), dead)),
    }
}

fn other_headers(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let ours = [AUTHORIZATION.as_str(), COOKIE.as_str(), CONTENT_LENGTH.as_str(), "x-token"];
    headers
        .iter()
        .filter(|(name, _)| !ours.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect()
}

fn cookies<'a>(request: &'a Request<Bytes>, dead: &str) -> Vec<&'a [u8]> {
    let headers = request.headers().get_all(COOKIE).iter();
    let pairs = headers.flat_map(|header| header.as_bytes().split(|byte| *byte == b';'));
    // With white space or a comma in it, some parsers see two cookies there.
    let is_one = |byte: &u8| byte.is_ascii_graphic() && *byte != b',';
    let pairs = pairs.map(<[u8]>::trim_ascii).filter(|pair| pair.iter().all(is_one));
    pairs.filter(|pair| must_stay(pair, dead)).collect()
}

fn query<'a>(request: &'a Request<Bytes>, dead: &str) -> Vec<&'a [u8]> {
    fields(request.uri().query().unwrap_or_default().as_bytes(), dead)
}

fn fields<'a>(encoded: &'a [u8], dead: &str) -> Vec<&'a [u8]> {
    encoded.split(|byte| *byte == b'&').filter(|pair| must_stay(pair, dead)).collect()
}

/// Whether everybody reads the name of the pair alike, and it is another than the token's; or it is
/// that, and everybody reads it alike, and it is not the dead one.
fn must_stay(pair: &[u8], dead: &str) -> bool {
    let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
    let (name, value) = (&pair[..equals], pair.get(equals + 1..).unwrap_or_default());
    let may_be_dead = name == b"token" && (!is_plain(value) || value == dead.as_bytes());
    is_plain(name) && !may_be_dead
}

fn is_plain(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_alphanumeric)
}

fn object(body: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(body).ok()
}

/// What must be the same before and after.
fn without_dead(mut object: Map<String, Value>) -> Map<String, Value> {
    // Of two of this name the last is in the map, and any may be the one that was taken out.
    if object.get("token").is_some_and(Value::is_string) {
        object.remove("token");
    }
    object
}
