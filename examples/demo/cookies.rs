//! The cookies and their attributes. Scripts cannot read the cookies. From other sites, browsers
//! send them only with a link that the user follows. If the demo is reached over TLS, browsers send
//! them over TLS only.

use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use cookie::time::Duration;

pub(crate) const ACCESS_TOKEN: &str = "access_token";
pub(crate) const REFRESH_TOKEN: &str = "refresh_token";
/// The id of a pending sign-in.
pub(crate) const SIGN_IN: &str = "sign_in";
/// The id of a browser, used only for the replay.
pub(crate) const BROWSER: &str = "demo_browser";

pub(crate) fn value<'a>(jar: &'a CookieJar, name: &str) -> Option<&'a str> {
    jar.get(name).map(Cookie::value).filter(|value| !value.is_empty())
}

#[derive(Clone, Copy)]
pub(crate) struct Cookies {
    pub(crate) secure: bool,
}

impl Cookies {
    pub(crate) fn set(self, name: &'static str, value: String) -> Cookie<'static> {
        Cookie::build((name, value))
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(self.secure)
            .build()
    }

    pub(crate) fn set_for(
        self,
        name: &'static str,
        value: String,
        lifetime: std::time::Duration,
    ) -> Cookie<'static> {
        let mut cookie = self.set(name, value);
        cookie.set_max_age(Duration::try_from(lifetime).ok());
        cookie
    }

    pub(crate) fn remove(self, name: &'static str) -> Cookie<'static> {
        let mut cookie = self.set(name, String::new());
        cookie.make_removal();
        cookie
    }
}
