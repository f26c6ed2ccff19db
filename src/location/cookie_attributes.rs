//! A cookie that holds a credential, and the `Set-Cookie` value that removes it from the browser.

use http::HeaderValue;

use crate::error::Error;

/// A cookie that holds a credential. Made by
/// [`TokenLocation::cookie`](super::TokenLocation::cookie).
///
/// A browser removes a cookie only if the removal has the attributes that the cookie was set with.
/// The defaults are `Path=/`, no `Domain`, no `SameSite`, not `Secure`, not `Partitioned`.
///
/// Removals of cookies whose names begin with `__Secure-`, `__Host-`, `__Http-` or `__Host-Http-`
/// are always `Secure`. With the last two they are also `HttpOnly`. Browsers ignore a removal
/// without these attributes.
///
/// ```
/// use tower_polar_logout::{SameSite, TokenLocation};
///
/// let cookie = TokenLocation::cookie("access_token")
///     .domain("example.com")
///     .secure(true)
///     .same_site(SameSite::Lax);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieLocation {
    pub(super) name: String,
    path: String,
    domain: Option<String>,
    secure: bool,
    same_site: Option<SameSite>,
    partitioned: bool,
}

/// The `SameSite` attribute of a cookie: whether a browser sends it with requests that another site
/// causes. The layer uses it only to remove the cookie: give the value the cookie was set with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SameSite {
    /// `SameSite=Strict`
    Strict,
    /// `SameSite=Lax`
    Lax,
    /// `SameSite=None`, which browsers accept only together with `Secure`.
    None,
}

impl CookieLocation {
    pub(super) fn new(name: String) -> Self {
        let secure = Prefix::of(&name).needs_secure();
        Self {
            name,
            path: "/".to_owned(),
            domain: None,
            secure,
            same_site: None,
            partitioned: false,
        }
    }

    /// The `Path` the cookie was set with. Default `/`.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// The `Domain` the cookie was set with. Default none: the cookie belongs to the host that set
    /// it.
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Whether the cookie was set with `Secure`. Default `false`, but `true` for names that begin
    /// with `__Secure-`, `__Host-`, `__Http-` or `__Host-Http-`.
    #[must_use]
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// The `SameSite` the cookie was set with. Default none.
    #[must_use]
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = Some(same_site);
        self
    }

    /// Whether the cookie was set with `Partitioned` (CHIPS). Default `false`.
    #[must_use]
    pub fn partitioned(mut self, partitioned: bool) -> Self {
        self.partitioned = partitioned;
        self
    }

    /// The `Set-Cookie` value that removes the cookie (RFC 6265, section 3.1).
    pub(super) fn removal(&self) -> Result<HeaderValue, Error> {
        let name = &self.name;
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return Err(Error::configuration(format!(
                "the cookie location `{name}` is not a cookie name (RFC 6265, section 4.1.1): give \
                 the name of the cookie"
            )));
        }
        if !self.path.starts_with('/') || !is_attribute(&self.path) {
            return Err(Error::configuration(format!(
                "the path `{}` of the cookie `{name}` is invalid: it must begin with `/` and be \
                 printable ASCII without `;`",
                self.path
            )));
        }
        if self.domain.as_ref().is_some_and(|domain| domain.is_empty() || !is_attribute(domain)) {
            return Err(Error::configuration(format!(
                "the domain of the cookie `{name}` is invalid: it must be printable ASCII without \
                 `;`; if the cookie has no `Domain`, remove `.domain`"
            )));
        }
        if self.same_site == Some(SameSite::None) && !self.secure {
            return Err(Error::configuration(format!(
                "browsers ignore `SameSite=None` without `Secure`: add `.secure(true)` to the \
                 cookie `{name}`"
            )));
        }
        if self.partitioned && !self.secure {
            return Err(Error::configuration(format!(
                "browsers ignore `Partitioned` without `Secure`: add `.secure(true)` to the \
                 cookie `{name}`"
            )));
        }
        let prefix = Prefix::of(name);
        if prefix.needs_secure() && !self.secure {
            return Err(Error::configuration(format!(
                "browsers ignore the cookie `{name}` without `Secure`: remove `.secure(false)`"
            )));
        }
        if prefix.is_bound_to_host() && (self.path != "/" || self.domain.is_some()) {
            return Err(Error::configuration(format!(
                "browsers ignore the cookie `{name}` with a domain or a path other than `/`: \
                 remove `.domain` and `.path`"
            )));
        }
        let mut value = format!(
            "{name}=; Path={}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            self.path
        );
        if let Some(domain) = &self.domain {
            value.push_str("; Domain=");
            value.push_str(domain);
        }
        if self.secure {
            value.push_str("; Secure");
        }
        if prefix.needs_http_only() {
            value.push_str("; HttpOnly");
        }
        match self.same_site {
            Some(SameSite::Strict) => value.push_str("; SameSite=Strict"),
            Some(SameSite::Lax) => value.push_str("; SameSite=Lax"),
            Some(SameSite::None) => value.push_str("; SameSite=None"),
            None => {}
        }
        if self.partitioned {
            value.push_str("; Partitioned");
        }
        HeaderValue::from_str(&value).map_err(|error| {
            Error::configuration(format!(
                "the removal of the cookie `{name}` is not a header value: check its path and domain"
            ))
            .with_source(error)
        })
    }
}

/// A prefix of a cookie name that makes browsers demand attributes (RFC 6265bis, section 4.1.3).
/// Browsers ignore its case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefix {
    None,
    Secure,
    Host,
    Http,
    HostHttp,
}

impl Prefix {
    fn of(name: &str) -> Self {
        // `__Host-Http-` begins with `__Host-`.
        [
            ("__Host-Http-", Self::HostHttp),
            ("__Host-", Self::Host),
            ("__Http-", Self::Http),
            ("__Secure-", Self::Secure),
        ]
        .into_iter()
        .find(|(prefix, _)| {
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        })
        .map_or(Self::None, |(_, prefix)| prefix)
    }

    fn needs_secure(self) -> bool {
        self != Self::None
    }

    fn needs_http_only(self) -> bool {
        matches!(self, Self::Http | Self::HostHttp)
    }

    /// `Path=/`, and no `Domain`.
    fn is_bound_to_host(self) -> bool {
        matches!(self, Self::Host | Self::HostHttp)
    }
}

/// `token` of RFC 9110, section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_attribute(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b';')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_has_the_attributes_of_the_cookie() {
        let removal = |cookie: CookieLocation| {
            cookie.removal().expect("a removal").to_str().expect("text").to_owned()
        };
        let expired = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(removal(CookieLocation::new("t".into())), format!("t=; Path=/; {expired}"));
        assert_eq!(
            removal(
                CookieLocation::new("t".into())
                    .path("/app")
                    .domain("example.com")
                    .secure(true)
                    .same_site(SameSite::None)
                    .partitioned(true)
            ),
            format!(
                "t=; Path=/app; {expired}; Domain=example.com; Secure; SameSite=None; Partitioned"
            )
        );
        assert!(removal(CookieLocation::new("__Host-t".into())).ends_with("; Secure"));
    }

    /// Browsers ignore a `Set-Cookie` with such a name and without the attributes.
    #[test]
    fn removal_has_the_attributes_that_its_prefix_demands() {
        let removal = |name: &str| {
            let cookie = CookieLocation::new(name.to_owned());
            cookie.removal().expect("a removal").to_str().expect("text").to_owned()
        };
        for secure in ["__Secure-t", "__Host-t", "__SECURE-t", "__host-t"] {
            assert!(removal(secure).ends_with("; Secure"), "{secure}");
        }
        for http in ["__Http-t", "__Host-Http-t", "__http-t", "__HOST-HTTP-t"] {
            assert!(removal(http).ends_with("GMT; Secure; HttpOnly"), "{http}");
        }
        for plain in ["t", "_Host-t", "Http-t", "__Http", "__HostHttp-t"] {
            assert!(removal(plain).ends_with("GMT"), "{plain}");
        }
    }

    #[test]
    fn cookie_that_browsers_cannot_remove_is_an_error() {
        let cookie = |name: &str| CookieLocation::new(name.to_owned());
        for wrong in [
            cookie(""),
            cookie("a b"),
            cookie("a;b"),
            cookie("t").path("app"),
            cookie("t").path("/; Domain=evil"),
            cookie("t").domain(""),
            cookie("t").domain("a\r\nb"),
            cookie("t").same_site(SameSite::None),
            cookie("t").partitioned(true),
            cookie("__Secure-t").secure(false),
            cookie("__Host-t").secure(false),
            cookie("__Host-t").domain("example.com"),
            cookie("__Host-t").path("/app"),
            cookie("__host-t").path("/app"),
            cookie("__Http-t").secure(false),
            cookie("__Host-Http-t").secure(false),
            cookie("__Host-Http-t").domain("example.com"),
            cookie("__Host-Http-t").path("/app"),
            cookie("__HOST-HTTP-t").path("/app"),
        ] {
            assert!(wrong.removal().is_err(), "{wrong:?}");
        }
    }
}
