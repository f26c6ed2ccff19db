//! The headers that the proxy passes on, and those that it sets.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{CONNECTION, FORWARDED, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request};

/// Headers for the next hop only, beside those that `Connection` names (RFC 9110, section 7.6.1).
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

/// The sender of a request.
pub(crate) struct Caller {
    pub(crate) peer: IpAddr,
    pub(crate) host: HeaderValue,
    /// The peer is a proxy, and its `Forwarded` and `X-Forwarded-*` headers name the caller.
    pub(crate) trusts_forwarded: bool,
}

/// The host of a request (RFC 9112, section 3.2), if there is exactly one and it is valid.
pub(crate) fn host<B>(request: &Request<B>) -> Option<HeaderValue> {
    let mut named = request.headers().get_all(HOST).iter();
    let header = named.next();
    if named.next().is_some() || header.is_some_and(|host| !is_host(host.as_bytes())) {
        return None;
    }
    match request.uri().authority() {
        Some(authority) if is_host(authority.as_str().as_bytes()) => {
            HeaderValue::from_str(authority.as_str()).ok()
        }
        Some(_) => None,
        None => header.cloned(),
    }
}

/// Whether this is a name or an address, with or without a port. A name may hold only the
/// characters of host names, which are fewer than RFC 3986 allows.
fn is_host(host: &[u8]) -> bool {
    let Ok(host) = str::from_utf8(host) else { return false };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, ""),
    };
    let is_name = match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok()),
        None => {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    };
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_name && (port.is_empty() || is_number)
}

/// Only WebSocket is passed on: HTTP/2 without TLS, for example, would carry requests past the
/// layer.
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
    // Trailers are not passed on: see `Upstream::send`.
    headers.remove(TRAILER);
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
        // The last address in the list is the peer of this proxy.
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

/// The members of a header's list, from all its lines.
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
