//! Makes a request from any bytes. Nearly all of them are used, and the request looks like them.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};

use crate::readers::{DEAD, X_TOKEN};

/// The head of a request, from lines in any order:
///
/// - `?` and a query
/// - `G` or `H` for GET or HEAD
/// - a header, by its first letter, up to a colon: `authorization:`, `cookie:`,
///   `sec-websocket-protocol:`, `x-token:`
/// - any other line: a header that the layer ignores
///
/// `T` is the dead token.
pub fn head(bytes: &[u8]) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = Method::POST;
    for line in with_tokens(bytes).split(|byte| *byte == b'\n') {
        match line.split_first() {
            None => {}
            Some((b'?', query)) => *request.uri_mut() = uri(query),
            Some((b'G', _)) => *request.method_mut() = Method::GET,
            Some((b'H', _)) => *request.method_mut() = Method::HEAD,
            Some((first, _)) => add_header(request.headers_mut(), *first, line),
        }
    }
    request
}

/// The first line is the head, the rest is the body.
pub fn with_body(bytes: &[u8]) -> Request<Bytes> {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (first, body) = bytes.split_at(end);
    let body = with_tokens(body.get(1..).unwrap_or(bytes));
    let mut request = head(first).map(|_| Bytes::from(body));
    let length = request.body().len().into();
    request.headers_mut().insert(CONTENT_LENGTH, length);
    request
}

fn with_tokens(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|byte| *byte == b'T').collect::<Vec<_>>().join(DEAD.as_bytes())
}

fn add_header(headers: &mut HeaderMap, first: u8, line: &[u8]) {
    let name = match first {
        b'a' => AUTHORIZATION,
        b'c' => COOKIE,
        b's' => SEC_WEBSOCKET_PROTOCOL,
        b'x' => X_TOKEN,
        _ => HeaderName::from_static("x-other"),
    };
    let colon = line.iter().position(|byte| *byte == b':').map_or(0, |colon| colon + 1);
    let value = line[colon..].strip_prefix(b" ").unwrap_or(&line[colon..]);
    // Drops the bytes that no header may hold.
    let is_allowed = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    let value: Vec<_> = value.iter().copied().filter(is_allowed).collect();
    headers.append(name, HeaderValue::from_bytes(&value).expect("a header value"));
}

/// A URI from those of the bytes that a URI may hold.
fn uri(query: &[u8]) -> Uri {
    let is_allowed = |byte: &&u8| byte.is_ascii_graphic() && **byte != b'#';
    let query: Vec<u8> = query.iter().filter(is_allowed).copied().collect();
    let uri = [b"/?", &query[..]].concat();
    Uri::try_from(&uri[..]).unwrap_or_default()
}
