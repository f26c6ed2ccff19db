//! Acts as a thief: sends a request with a cookie whose owner has logged out.
//!
//! A browser deletes the cookie at logout, so the demo itself keeps the last ones, in memory for an
//! hour. It keeps them for this purpose only; a real app has no reason to do so.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{ACCEPT, COOKIE};
use axum::http::{HeaderMap, Request, Version};
use axum::response::Redirect;
use axum_extra::extract::CookieJar;
use moka::ops::compute::Op;
use moka::sync::Cache;
use oauth2::CsrfToken;

use crate::app::App;
use crate::cookies;

pub(crate) const REPLAY: &str = "/replay";

/// The browsers that have signed in, by the name that the demo gave to each.
pub(crate) struct Browsers(Cache<String, Browser>);

#[derive(Clone, Default)]
pub(crate) struct Browser {
    /// The access tokens of the last two sign-ins, newest first.
    tokens: Vec<String>,
    pub(crate) replayed: Option<Arc<Replayed>>,
}

/// The answer to the old cookie.
pub(crate) struct Replayed {
    pub(crate) status_line: String,
    pub(crate) headers: HeaderMap,
}

impl Default for Browsers {
    fn default() -> Self {
        let hour = Duration::from_secs(3_600);
        Self(Cache::builder().max_capacity(10_000).time_to_idle(hour).build())
    }
}

impl Browsers {
    /// Keeps the token, and returns the browser's name: a new name if it had none.
    pub(crate) fn signed_in(&self, name: Option<&str>, token: &str) -> String {
        // An attacker could have chosen a name that the demo did not give.
        let known = name.filter(|name| self.0.contains_key(*name)).map(ToOwned::to_owned);
        let name = known.unwrap_or_else(|| CsrfToken::new_random().into_secret());
        self.0.entry(name.clone()).and_compute_with(|browser| {
            let before = browser.and_then(|browser| browser.into_value().tokens.into_iter().next());
            let tokens = [Some(token.to_owned()), before].into_iter().flatten().collect();
            Op::Put(Browser { tokens, replayed: None })
        });
        name
    }

    pub(crate) fn get(&self, jar: &CookieJar) -> Option<Browser> {
        self.0.get(cookies::value(jar, cookies::BROWSER)?)
    }

    fn replayed(&self, jar: &CookieJar, replayed: Replayed) {
        let Some(name) = cookies::value(jar, cookies::BROWSER) else { return };
        self.0.entry(name.to_owned()).and_compute_with(|browser| match browser {
            Some(browser) => {
                Op::Put(Browser { replayed: Some(Arc::new(replayed)), ..browser.into_value() })
            }
            None => Op::Nop,
        });
    }
}

impl Browser {
    /// The newest token that is logged out.
    pub(crate) fn old_token(&self, app: &App) -> Option<&String> {
        self.tokens.iter().find(|token| app.handle.is_revoked(token))
    }
}

/// Calls `/me` of this process, as a thief could from any machine.
pub(crate) async fn replay(State(app): State<Arc<App>>, jar: CookieJar) -> Redirect {
    let there = Redirect::to("/#replay");
    let browser = app.browsers.get(&jar).unwrap_or_default();
    let Some(token) = browser.old_token(&app) else { return there };
    let request = Request::get(format!("http://{}/me", app.own_address))
        .header(ACCEPT, "application/json")
        .header(COOKIE, format!("{}={token}", cookies::ACCESS_TOKEN))
        .body(Vec::new());
    let Ok(request) = request else { return there };
    let replayed = match app.http.clone().send(request).await {
        Ok(answer) => Replayed {
            status_line: status_line(answer.version(), answer.status()),
            headers: answer.headers().clone(),
        },
        Err(error) => Replayed { status_line: error.to_string(), headers: HeaderMap::new() },
    };
    app.browsers.replayed(&jar, replayed);
    there
}

fn status_line(version: Version, status: axum::http::StatusCode) -> String {
    format!("{version:?} {status}")
}
