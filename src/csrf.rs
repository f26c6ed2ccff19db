//! Whether a request came from another site: the rules of tower-http's `CsrfLayer`.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::header::{HOST, ORIGIN};
use http::{HeaderName, Method, Request, Response};
use tower::util::{ServiceFn, service_fn};
use tower::{Layer, Service};
use tower_http::csrf::{CsrfLayer, ProtectionError};

use crate::error::Error;
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
            layer = layer.add_trusted_origin(&origin).map_err(|error| {
                Error::configuration(format!(
                    "the trusted origin `{origin}` must be like `https://app.example.com`"
                ))
                .with_source(error)
            })?;
        }
        Ok(Self(layer.layer(service_fn(|_| ready(Ok(Response::new(())))))))
    }

    /// Whether the request came from another site. Asked as a POST, whatever its method: a logout
    /// changes something, also where the application lets it be a GET.
    pub(crate) fn is_cross_site(&self, head: Head<'_>) -> bool {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = head.uri.clone();
        for name in [HOST, ORIGIN, SEC_FETCH_SITE] {
            for value in head.headers.get_all(&name) {
                request.headers_mut().append(&name, value.clone());
            }
        }
        let verdict = pin!(self.0.clone().call(request));
        match verdict.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(response)) => response.extensions().get::<ProtectionError>().is_some(),
            // The inner service is ready at once. Should that ever change: better refused.
            Poll::Pending => true,
        }
    }
}

impl fmt::Debug for Csrf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Csrf")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_cross_site(method: &str, headers: &[(&str, &str)]) -> bool {
        let csrf = Csrf::new(vec!["https://trusted.example".to_owned()]).expect("an origin");
        let mut request = Request::builder().method(method).uri("/logout");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        csrf.is_cross_site((&request.body(()).expect("a request")).into())
    }

    #[test]
    fn the_rules_of_csrf_layer_decide() {
        let host = ("host", "app.example");
        assert!(!is_cross_site("POST", &[host]));
        assert!(!is_cross_site("POST", &[host, ("sec-fetch-site", "same-origin")]));
        assert!(!is_cross_site("POST", &[host, ("sec-fetch-site", "none")]));
        assert!(!is_cross_site("POST", &[host, ("origin", "https://app.example")]));
        assert!(is_cross_site("POST", &[host, ("sec-fetch-site", "cross-site")]));
        assert!(is_cross_site("POST", &[host, ("sec-fetch-site", "same-site")]));
        assert!(is_cross_site("POST", &[host, ("origin", "https://evil.example")]));
        assert!(is_cross_site("POST", &[host, ("origin", "null")]));
        let trusted = ("origin", "https://trusted.example");
        assert!(!is_cross_site("POST", &[host, trusted, ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn a_logout_by_get_is_no_safer() {
        assert!(is_cross_site("GET", &[("host", "app.example"), ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_a_configuration_error() {
        for wrong in ["", "app.example", "https://app.example/path", "ftp://app.example"] {
            assert!(Csrf::new(vec![wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
