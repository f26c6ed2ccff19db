//! Decides whether a request came from another site, by the rules of tower-http's `CsrfLayer`.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::header::{HOST, ORIGIN, REFERER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use tower::util::{ServiceFn, service_fn};
use tower::{Layer, Service};
use tower_http::csrf::{CsrfLayer, ProtectionError};
use tracing::info;

use crate::error::{Error, without_user};
use crate::location::Head;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

type Nothing = fn(Request<()>) -> Ready<Result<Response<()>, Infallible>>;

/// Asks `CsrfLayer` for its verdict on a request, without handing the request over.
#[derive(Clone)]
pub(crate) struct Csrf(tower_http::csrf::Csrf<ServiceFn<Nothing>>);

impl Csrf {
    pub(crate) fn new(trusted_origins: Vec<String>) -> Result<Self, Error> {
        let mut layer = CsrfLayer::new();
        for origin in trusted_origins {
            let invalid = || {
                Error::configuration(format!(
                    "the trusted origin `{}` is invalid: give `trusted_origin` an origin like \
                     `https://app.example.com`",
                    without_user(&origin)
                ))
            };
            // `CsrfLayer` takes a user name, which no browser sends.
            if origin.contains('@') {
                return Err(invalid());
            }
            layer = layer.add_trusted_origin(&origin).map_err(|_| invalid())?;
        }
        Ok(Self(layer.layer(service_fn(|_| ready(Ok(Response::new(())))))))
    }

    /// Which header shows that the request came from another site; `None` if it did not. The
    /// request is checked as a POST, because a logout changes state even on a GET route.
    pub(crate) fn cross_site(&self, head: Head<'_>) -> Option<CrossSite> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = head.uri.clone();
        for name in [HOST, ORIGIN, SEC_FETCH_SITE] {
            for value in head.headers.get_all(&name) {
                request.headers_mut().append(&name, value.clone());
            }
        }
        if let Some(origin) = own_origin(head) {
            request.headers_mut().insert(ORIGIN, origin);
        }
        let verdict = pin!(self.0.clone().call(request));
        let is_refused = match verdict.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(response)) => response.extensions().get::<ProtectionError>().is_some(),
            // The inner service is always ready. If that changes, the request is refused.
            Poll::Pending => true,
        };
        is_refused.then(|| CrossSite::by(head.headers))
    }
}

/// The header that shows that a request came from another site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CrossSite {
    /// `Sec-Fetch-Site`: the browser itself says so.
    SecFetchSite,
    /// An `Origin` that is not the `Host`, from a browser that sends no `Sec-Fetch-Site`: a browser
    /// from before 2023, or any browser over plain HTTP.
    Origin,
    /// `Origin: null` from such a browser, and no `Referer` of this site.
    NullOrigin,
}

impl CrossSite {
    fn by(headers: &HeaderMap) -> Self {
        if says_its_site(headers) {
            Self::SecFetchSite
        } else if headers.get(ORIGIN).is_some_and(is_null) {
            Self::NullOrigin
        } else {
            Self::Origin
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::SecFetchSite => "sec_fetch_site",
            Self::Origin => "origin",
            Self::NullOrigin => "null_origin",
        }
    }

    /// Tells operators that a logout was refused. The event shows only the host of the other
    /// site.
    pub(crate) fn report(self, headers: &HeaderMap) {
        let origin = headers.get(ORIGIN).and_then(parse);
        let from = origin.as_ref().and_then(Uri::host);
        info!(
            target: "tower_polar_logout::csrf",
            reason = self.as_str(), from, "a logout from another site was refused"
        );
    }
}

/// The origin of a request from this site, written as `CsrfLayer` expects it: with the host exactly
/// as in `Host`. `None` if the request came from elsewhere, or if its browser sends
/// `Sec-Fetch-Site`.
///
/// Browsers leave a default port out of `Origin`; clients and proxies may write it into `Host`.
///
/// For `Origin: null` the `Referer` decides:
///
/// - No other site can make a browser send a `Referer` of this site.
/// - By the standard, a sandboxed frame sends none.
/// - A page with `Referrer-Policy: no-referrer` sends none either. Its form looks like an attack,
///   so the request is refused.
fn own_origin(head: Head<'_>) -> Option<HeaderValue> {
    if says_its_site(head.headers) {
        return None;
    }
    let origin = head.headers.get(ORIGIN)?;
    let from = if is_null(origin) { head.headers.get(REFERER)? } else { origin };
    let from = parse(from)?;
    let scheme = from.scheme_str()?;
    let host = match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head.headers.get(HOST)?.to_str().ok()?,
    };
    let without_default_port = |authority: &str| {
        let port = if scheme == "https" { ":443" } else { ":80" };
        authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase()
    };
    if without_default_port(from.authority()?.as_str()) != without_default_port(host) {
        return None;
    }
    format!("{scheme}://{host}").parse().ok()
}

fn parse(url: &HeaderValue) -> Option<Uri> {
    Uri::try_from(url.as_bytes())
        .ok()
        .filter(|url| matches!(url.scheme_str(), Some("http" | "https")))
}

fn is_null(origin: &HeaderValue) -> bool {
    origin == "null"
}

fn says_its_site(headers: &HeaderMap) -> bool {
    headers.get(SEC_FETCH_SITE).is_some_and(|site| !site.is_empty())
}

impl fmt::Debug for Csrf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Csrf")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: (&str, &str) = ("host", "app.example");

    fn cross_site(method: &str, headers: &[(&str, &str)]) -> Option<CrossSite> {
        let csrf = Csrf::new(vec!["https://trusted.example".to_owned()]).expect("an origin");
        let mut request = Request::builder().method(method).uri("/logout");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        csrf.cross_site((&request.body(()).expect("a request")).into())
    }

    #[test]
    fn the_rules_of_csrf_layer_decide() {
        for same_site in [
            vec![],
            vec![("sec-fetch-site", "same-origin")],
            vec![("sec-fetch-site", "none")],
            vec![("origin", "https://app.example")],
            vec![("origin", "https://trusted.example"), ("sec-fetch-site", "cross-site")],
            vec![("origin", "https://trusted.example")],
        ] {
            assert_eq!(cross_site("POST", &[&[HOST], &*same_site].concat()), None, "{same_site:?}");
        }
        for (header, reason) in [
            (("sec-fetch-site", "cross-site"), CrossSite::SecFetchSite),
            (("sec-fetch-site", "same-site"), CrossSite::SecFetchSite),
            (("origin", "https://evil.example"), CrossSite::Origin),
            (("origin", "null"), CrossSite::NullOrigin),
        ] {
            assert_eq!(cross_site("POST", &[HOST, header]), Some(reason), "{header:?}");
        }
    }

    #[test]
    fn a_logout_by_get_is_no_safer() {
        let request = [HOST, ("sec-fetch-site", "cross-site")];
        assert_eq!(cross_site("GET", &request), Some(CrossSite::SecFetchSite));
    }

    #[test]
    fn a_default_port_is_the_same_origin() {
        for (host, origin, is_same) in [
            ("app.example:443", "https://app.example", true),
            ("app.example:80", "http://app.example", true),
            ("app.example", "https://app.example:443", true),
            ("app.example", "http://app.example:80", true),
            ("App.Example:443", "https://app.example", true),
            ("[::1]:443", "https://[::1]", true),
            ("app.example:8443", "https://app.example:8443", true),
            ("app.example:443", "http://app.example", false),
            ("app.example:80", "https://app.example", false),
            ("app.example", "https://app.example:8443", false),
            ("app.example:8443", "https://app.example", false),
            ("app.example:443", "https://evil.example", false),
            ("app.example:443", "https://evil.example:443", false),
            ("app.example:443", "https://app.example@evil.example", false),
            ("app.example:443", "ftp://app.example:443", false),
        ] {
            let came_from = cross_site("POST", &[("host", host), ("origin", origin)]);
            let expected = (!is_same).then_some(CrossSite::Origin);
            assert_eq!(came_from, expected, "{host} {origin}");
        }
    }

    #[test]
    fn the_authority_of_http_2_stands_for_host() {
        let csrf = Csrf::new(Vec::new()).expect("no origins");
        let from = |origin| {
            let request = Request::post("https://app.example:443/logout")
                .header("host", "evil.example")
                .header("origin", origin)
                .body(());
            csrf.cross_site((&request.expect("a request")).into())
        };
        assert_eq!(from("https://app.example"), None);
        assert_eq!(from("https://evil.example"), Some(CrossSite::Origin));
    }

    #[test]
    fn the_referer_decides_if_the_origin_is_null() {
        for (host, referer, is_same) in [
            ("app.example", "https://app.example/settings?tab=1", true),
            ("app.example:443", "https://app.example/", true),
            ("app.example", "https://evil.example/", false),
            ("app.example", "https://evil.example/https://app.example/", false),
            ("app.example", "https://app.example@evil.example/", false),
            ("app.example", "https://app.example.evil.example/", false),
            // Trusted as an `Origin`, but not as a `Referer`.
            ("app.example", "https://trusted.example/", false),
            ("app.example", "about:srcdoc", false),
            ("app.example", "", false),
        ] {
            let request = [("host", host), ("origin", "null"), ("referer", referer)];
            let expected = (!is_same).then_some(CrossSite::NullOrigin);
            assert_eq!(cross_site("POST", &request), expected, "{host} {referer}");
        }
    }

    /// A sandboxed frame of this site's own page is an opaque origin to the browser.
    #[test]
    fn sec_fetch_site_goes_before_origin_and_referer() {
        let own = ("referer", "https://app.example/");
        for origin in ["null", "https://app.example"] {
            let request = [HOST, ("sec-fetch-site", "cross-site"), ("origin", origin), own];
            assert_eq!(cross_site("POST", &request), Some(CrossSite::SecFetchSite), "{origin}");
        }
    }

    #[test]
    fn a_referer_alone_decides_nothing() {
        let other = ("referer", "https://evil.example/");
        assert_eq!(cross_site("POST", &[HOST, other]), None);
        let own = ("referer", "https://app.example/");
        let request = [HOST, ("origin", "https://evil.example"), own];
        assert_eq!(cross_site("POST", &request), Some(CrossSite::Origin));
    }

    /// No browser sends such an origin.
    #[test]
    fn invalid_origin_is_a_configuration_error() {
        for wrong in ["", "app.example", "https://app.example/path", "ftp://app.example"] {
            assert!(Csrf::new(vec![wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
