//! Whether a request only fetches ahead of a click that may never come.

use http::header::{HeaderMap, HeaderName};

/// Headers whose value says what a request is for, and who sends them:
///
/// - `Sec-Purpose`: browsers today (Fetch standard), for `<link rel=prefetch>` and speculation rules;
/// - `Purpose`: Chromium before that, and `WebKit`; the data requests of Next.js's pages router;
/// - `X-Purpose`: Chromium before `Purpose`, and Safari's previews;
/// - `X-Moz`: Firefox before `Sec-Purpose`;
/// - `X-Sec-Purpose`: Turbo, since scripts cannot set `Sec-Purpose`.
const PURPOSES: [HeaderName; 5] = [
    HeaderName::from_static("sec-purpose"),
    HeaderName::from_static("purpose"),
    HeaderName::from_static("x-purpose"),
    HeaderName::from_static("x-moz"),
    HeaderName::from_static("x-sec-purpose"),
];

/// Headers that say it by being there: those of Next.js's app router, of Next.js's pages router
/// with a middleware, and of htmx's extension `preload`.
const MARKS: [HeaderName; 3] = [
    HeaderName::from_static("next-router-prefetch"),
    HeaderName::from_static("x-middleware-prefetch"),
    HeaderName::from_static("hx-preloaded"),
];

/// Whether the request is a prefetch, a prerender or a preview. Routers that mark theirs by
/// nothing, or fetch another path (`SvelteKit`'s `__data.json`), are not seen.
pub(crate) fn is_prefetch(headers: &HeaderMap) -> bool {
    MARKS.iter().any(|mark| headers.contains_key(mark))
        || PURPOSES
            .iter()
            .flat_map(|name| headers.get_all(name))
            .filter_map(|value| value.to_str().ok())
            .any(says_prefetch)
}

/// A structured token with parameters, `prefetch;prerender`, or a list of such.
fn says_prefetch(purpose: &str) -> bool {
    purpose.split([',', ';', ' ', '\t']).any(|word| {
        ["prefetch", "prerender", "preview"].iter().any(|it| word.eq_ignore_ascii_case(it))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &'static str) -> bool {
        let header = (HeaderName::from_static(name), value.parse().expect("a value"));
        is_prefetch(&HeaderMap::from_iter([header]))
    }

    #[test]
    fn a_prefetch_is_known_by_its_headers() {
        for (name, value) in [
            ("sec-purpose", "prefetch"),
            ("sec-purpose", "prefetch;prerender"),
            ("sec-purpose", "prefetch; anonymous-client-ip"),
            ("sec-purpose", "x, prefetch"),
            ("purpose", "prefetch"),
            ("purpose", "preview"),
            ("x-purpose", "preview"),
            ("x-purpose", "instant, preview"),
            ("x-moz", "prefetch"),
            ("x-moz", "Prefetch"),
            ("x-sec-purpose", "prefetch"),
            ("next-router-prefetch", "1"),
            ("next-router-prefetch", "2"),
            ("x-middleware-prefetch", "1"),
            ("hx-preloaded", "true"),
        ] {
            assert!(with(name, value), "{name}: {value}");
        }
    }

    #[test]
    fn a_click_is_no_prefetch() {
        assert!(!is_prefetch(&HeaderMap::new()));
        for (name, value) in [
            ("sec-purpose", ""),
            ("sec-purpose", "prefetched"),
            ("purpose", "no-prefetch"),
            ("x-moz", "\u{e9}"),
            ("sec-fetch-dest", "prefetch"),
            ("rsc", "1"),
            ("hx-request", "true"),
        ] {
            assert!(!with(name, value), "{name}: {value}");
        }
    }
}
