//! Which headers pass, and which the proxy sets.

use std::net::IpAddr;

use http::header::{CONNECTION, COOKIE, FORWARDED, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use percent_encoding::percent_decode;

/// The cookies that the layer looks at.
pub(crate) const ACCESS_TOKEN: &str = "access_token";
pub(crate) const REFRESH_TOKEN: &str = "refresh_token";

/// Meant for the next neighbour only (RFC 9110, section 7.6.1), beside what `Connection` names.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Who sent a request.
pub(crate) struct Caller {
    pub(crate) peer: IpAddr,
    pub(crate) host: HeaderValue,
    /// It is a proxy that says for whom.
    pub(crate) trusts_forwarded: bool,
}

/// The host that was asked for (RFC 9112, section 3.2), where it is exactly one.
pub(crate) fn host<B>(request: &Request<B>) -> Option<HeaderValue> {
    if let Some(authority) = request.uri().authority() {
        let authority = Some(authority.as_str()).filter(|authority| !authority.contains('@'))?;
        return HeaderValue::from_str(authority).ok();
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    hosts.next().filter(|_| hosts.next().is_none()).cloned()
}

/// No other protocol is passed on: HTTP/2 in the clear, say, would carry requests past the layer.
pub(crate) fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let is_named = words(headers, &CONNECTION).any(|word| word.eq_ignore_ascii_case(b"upgrade"));
    let mut protocols = words(headers, &UPGRADE);
    let is_websocket = protocols.next().is_some_and(|word| word.eq_ignore_ascii_case(b"websocket"));
    is_named && is_websocket && protocols.next().is_none()
}

pub(crate) fn to_upstream(headers: &mut HeaderMap, caller: Caller, upgrades: bool) {
    let takes_trailers = words(headers, &TE).any(|word| word.eq_ignore_ascii_case(b"trailers"));
    strip_hop_by_hop(headers);
    strip(headers, |name| name.contains('_'));
    strip_look_alikes(headers);
    if upgrades {
        switch_to_websocket(headers);
    }
    if takes_trailers {
        headers.append(CONNECTION, HeaderValue::from_static("te"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    set_forwarded(headers, caller);
}

pub(crate) fn to_caller(headers: &mut HeaderMap, switches: bool) {
    strip_hop_by_hop(headers);
    if switches {
        switch_to_websocket(headers);
    }
}

fn set_forwarded(headers: &mut HeaderMap, Caller { peer, host, trusts_forwarded }: Caller) {
    headers.insert(HOST, host.clone());
    if !trusts_forwarded {
        strip(headers, |name| name == FORWARDED || name.starts_with("x-forwarded-"));
    }
    headers.entry(FORWARDED_HOST).or_insert(host);
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    if let Ok(peer) = HeaderValue::from_str(&peer.to_canonical().to_string()) {
        // The last in the list is who this proxy has seen itself.
        headers.append(FORWARDED_FOR, peer);
    }
}

fn switch_to_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<_> =
        words(headers, &CONNECTION).filter_map(|word| HeaderName::from_bytes(word).ok()).collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn strip(headers: &mut HeaderMap, is_unwanted: impl Fn(&str) -> bool) {
    let unwanted: Vec<_> =
        headers.keys().filter(|name| is_unwanted(name.as_str())).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
}

/// Takes out the cookies that PHP would take for one that the layer looks at.
fn strip_look_alikes(headers: &mut HeaderMap) {
    let lines: Vec<_> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    for line in lines {
        let pairs = line.as_bytes().split(|byte| *byte == b';');
        let kept = pairs.filter(|pair| !is_look_alike(pair)).collect::<Vec<_>>().join(&b';');
        // Parts of a header value are a header value again.
        if !kept.is_empty()
            && let Ok(line) = HeaderValue::from_bytes(&kept)
        {
            headers.append(COOKIE, line);
        }
    }
}

fn is_look_alike(pair: &[u8]) -> bool {
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or(pair).trim_ascii();
    [ACCESS_TOKEN, REFRESH_TOKEN]
        .map(str::as_bytes)
        .into_iter()
        .any(|cookie| name != cookie && as_php_reads(name) == as_php_reads(cookie))
}

/// The name of a cookie in `$_COOKIE`. Before PHP 7.4.11 it was decoded, too.
fn as_php_reads(name: &[u8]) -> Vec<u8> {
    let replaced = |byte| if b". [".contains(&byte) { b'_' } else { byte };
    percent_decode(name).map(replaced).collect()
}

/// The members of a list that a header holds, in all its lines.
fn words<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|word| !word.is_empty())
}
