//! The text beside a dead token stays unchanged when the token is taken out.

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderName, HeaderValue, Request};

use super::{DEAD, X_TOKEN, contains};

/// Panics if a part of `sent` that holds no dead token is missing in `left`, or has changed.
pub(super) fn assert_stays(sent: &Request<Bytes>, left: &Request<Bytes>) {
    assert_eq!(sent.method(), left.method());
    assert_eq!(sent.uri().path(), left.uri().path());
    assert_eq!(sent.body(), left.body());
    let [sent, left] = [sent, left].map(|it| (it, it.headers()));
    assert_eq!(others(sent.1), others(left.1), "{left:?}");
    assert_eq!(fields(sent.0), fields(left.0), "{left:?}");
    for (name, separator) in [(COOKIE, b';'), (SEC_WEBSOCKET_PROTOCOL, b',')] {
        assert_eq!(items(sent.1, &name, separator), items(left.1, &name, separator), "{left:?}");
    }
    for name in [AUTHORIZATION, X_TOKEN] {
        let whole = |headers| values(headers, &name).filter(|it| must_stay(it)).collect::<Vec<_>>();
        assert_eq!(whole(sent.1), whole(left.1), "{left:?}");
    }
}

fn others(headers: &HeaderMap) -> Vec<(&HeaderName, &HeaderValue)> {
    let searched = [AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL, X_TOKEN];
    headers.iter().filter(|(name, _)| !searched.contains(name)).collect()
}

fn fields(request: &Request<Bytes>) -> Vec<&[u8]> {
    let query = request.uri().query().unwrap_or_default().as_bytes();
    query.split(|&byte| byte == b'&').filter(|field| must_stay(field)).collect()
}

fn items<'a>(headers: &'a HeaderMap, name: &HeaderName, separator: u8) -> Vec<&'a [u8]> {
    let items = values(headers, name).flat_map(|value| value.split(move |byte| *byte == separator));
    items.map(<[u8]>::trim_ascii).filter(|item| must_stay(item)).collect()
}

fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes)
}

/// No encoding makes a token shorter, and each uses base64 or one of these characters.
fn must_stay(piece: &[u8]) -> bool {
    let is_encoded = || piece.iter().any(|byte| b"%\\".contains(byte)) || has_base64(piece);
    let may_be_dead =
        piece.len() >= DEAD.len() && (is_encoded() || contains(piece, DEAD.as_bytes()));
    !piece.is_empty() && !may_be_dead
}

/// Whether the piece may hold the base64 of a token.
fn has_base64(piece: &[u8]) -> bool {
    let words = piece.split(|byte| !(byte.is_ascii_alphanumeric() || b"+/-_".contains(byte)));
    words.map(<[u8]>::len).max() > Some(DEAD.len())
}
