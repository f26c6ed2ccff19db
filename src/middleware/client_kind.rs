//! Who sends a request: how a client is sent on to a page.

use http::header::ACCEPT;
use http::{HeaderMap, HeaderName};

const HX_REQUEST: HeaderName = HeaderName::from_static("hx-request");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientKind {
    /// Sent on by 303.
    Browser,
    /// Sent on by `HX-Redirect`: its script would follow a 303 itself, and put the page into the
    /// one that is open.
    Htmx,
    /// Not sent on.
    Other,
}

impl ClientKind {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        if headers.get(HX_REQUEST).is_some_and(|value| value == "true") {
            Self::Htmx
        } else if wants_html(headers) {
            Self::Browser
        } else {
            Self::Other
        }
    }
}

/// Whether `Accept` names HTML: a browser that navigates does, a script's `*/*` does not.
pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let is_html = media.eq_ignore_ascii_case("text/html")
                || media.eq_ignore_ascii_case("application/xhtml+xml");
            is_html && !parts.any(is_zero_weight)
        })
}

/// `q=0`, `q=0.0`, ...: not acceptable (RFC 9110, section 12.4.2).
fn is_zero_weight(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, weight)| {
        name.trim_end().eq_ignore_ascii_case("q")
            && weight.trim_start().parse().is_ok_and(|weight: f32| weight == 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_wanted_where_it_is_named_and_not_refused() {
        let wants = |accept: &str| {
            wants_html(&HeaderMap::from_iter([(ACCEPT, accept.parse().expect("a value"))]))
        };
        for browser in [
            "text/html",
            "TEXT/HTML;level=1",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/json, text/html;q=0.1",
        ] {
            assert!(wants(browser), "{browser}");
        }
        for other in ["*/*", "", "application/json", "text/*", "text/html;q=0", "text/html; Q=0.0"]
        {
            assert!(!wants(other), "{other}");
        }
        assert!(!wants_html(&HeaderMap::new()));
    }
}
