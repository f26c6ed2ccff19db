//! The page. It is complete without the script, which only keeps it up to date.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{Html, IntoResponse};
use axum_extra::extract::CookieJar;
use maud::{DOCTYPE, Markup, Render, html};
use tower_polar_logout::TokenHash;

use crate::app::App;
use crate::replay::{Browser, REPLAY, Replayed};
use crate::sign_in::{Failure, LOGIN, LOGIN_ASKING};
use crate::time_line::Step;
use crate::{assets, cookies, health};

pub(crate) async fn page(State(app): State<Arc<App>>, jar: CookieJar) -> impl IntoResponse {
    let browser = app.browsers.get(&jar).unwrap_or_default();
    // The layer takes a revoked token out of the request, so a token that is here is not revoked.
    let signed_in = cookies::value(&jar, cookies::ACCESS_TOKEN).is_some();
    answer(&html! {
        section #you aria-labelledby="you-title" {
            h2 #you-title { "You" }
            @if signed_in { (signed_in_as(&jar)) } @else { (signed_out(&app)) }
        }
        (replay(&app, &browser, signed_in))
        section #delivery aria-labelledby="delivery-title" {
            h2 #delivery-title { "Figures" }
            (delivery(&app))
        }
        section #time-line aria-labelledby="time-line-title" {
            h2 #time-line-title { "What the layer did" }
            p .note {
                "Newest first, for all users of this demo. A token is named by the first digits "
                "of its hash."
            }
            (time_line(&app.time_line.steps()))
        }
    })
}

pub(crate) fn sign_in_failed(app: &App, failure: &Failure) -> impl IntoResponse + use<> {
    answer(&html! {
        section #failure aria-labelledby="failure-title" {
            h2 #failure-title { "You were not signed in" }
            p { (failure.explanation(&app.public_url)) }
            p .actions {
                a .button href=(LOGIN) { "Try again" }
                a href="/" { "Back to the start" }
            }
        }
    })
}

fn answer(main: &Markup) -> impl IntoResponse + use<> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "tower-polar-logout" }
                link rel="icon" href=(assets::ICON) type="image/svg+xml";
                link rel="stylesheet" href=(assets::STYLE);
                script src=(assets::SCRIPT) defer {}
            }
            body {
                header {
                    h1 { "tower-polar-logout" }
                    p { "A logout that works: denied here at once, and revoked at Polar." }
                }
                main { (main) }
                footer {
                    p #live role="status" {}
                    nav aria-label="For machines" {
                        a href="/me" { "/me" }
                        a href="/health" { "/health" }
                        a href="/metrics" { "/metrics" }
                    }
                }
            }
        }
    };
    ([(CACHE_CONTROL, "no-store")], Html(page.into_string()))
}

fn signed_in_as(jar: &CookieJar) -> Markup {
    html! {
        p .state.in { "You are " strong { "signed in" } "." }
        dl .tokens {
            @for (name, title) in
                [(cookies::ACCESS_TOKEN, "Access token"), (cookies::REFRESH_TOKEN, "Refresh token")]
            {
                @if let Some(token) = cookies::value(jar, name) {
                    dt { (title) }
                    dd { code { (prefix(token)) "…" } " hash " code { (hash(token)) "…" } }
                }
            }
        }
        form .actions method="post" action="/logout" { button { "Log out" } }
    }
}

fn signed_out(app: &App) -> Markup {
    html! {
        p .state.out { "You are " strong { "signed out" } "." }
        p .actions {
            a .button href=(LOGIN) { "Sign in with Polar" }
            a href=(LOGIN_ASKING) { "Sign in as another user" }
        }
        @if app.polar.stand_in_url().is_some() {
            p .note { "This demo uses a stand-in for Polar, in which the user agrees at once." }
        }
    }
}

fn replay(app: &App, browser: &Browser, signed_in: bool) -> Markup {
    html! {
        section #replay aria-labelledby="replay-title" tabindex="-1" {
            h2 #replay-title { "The old cookie" }
            @if let Some(token) = browser.old_token(app) {
                p {
                    "Your browser has deleted the cookie of the session that you ended. "
                    "A thief would have kept it:"
                }
                p { code { (prefix(token)) "…" } " hash " code { (hash(token)) "…" } }
                form .actions method="post" action=(REPLAY) {
                    button { "Replay the old cookie" }
                }
                @if let Some(replayed) = &browser.replayed { (refused(replayed)) }
            } @else if signed_in {
                p { "Log out to see here how a request with your old cookie is answered." }
            } @else {
                p {
                    "Sign in and log out to see here how a request with your old cookie is "
                    "answered."
                }
            }
            p .note {
                "To act as the thief, this demo keeps the last two access tokens of each browser "
                "in memory for an hour. A real app must not do this: tokens that it does not keep "
                "cannot be stolen."
            }
        }
    }
}

fn refused(replayed: &Replayed) -> Markup {
    html! {
        p #answer-title { "The demo called its own " code { "/me" } " with it. The answer:" }
        pre role="region" aria-labelledby="answer-title" tabindex="0" {
            code {
                strong { (replayed.status_line) } "\n"
                @for (name, value) in &replayed.headers {
                    (name) ": " (String::from_utf8_lossy(value.as_bytes())) "\n"
                }
            }
        }
    }
}

fn delivery(app: &App) -> Markup {
    let (counts, health) = (app.handle.counts(), app.handle.health());
    let seconds = |time: Duration| format!("{} s", time.as_secs());
    html! {
        dl .figures {
            (figure("Pending", &counts.pending))
            @if let Some(age) = health.oldest_age { (figure("Oldest pending for", &seconds(age))) }
            (figure("Calls to Polar", &counts.attempts))
            (figure("Confirmed", &counts.confirmed))
            (figure("Dead letters", &counts.dead_letters))
            (figure("Tokens denied", &counts.revoked))
            (figure("Rejected", &counts.rejected))
            @if let Some(left) = health::pause_left(&health) {
                (figure("Paused for", &seconds(left)))
            }
            @if let Some(error) = health.last_error {
                (figure("Last error", &error.as_str().replace('_', " ")))
            }
            @if let Some(behind) = health.log_lag { (figure("Log behind for", &seconds(behind))) }
            @if health.log_held > 0 { (figure("Held for the log", &health.log_held)) }
        }
    }
}

fn figure(name: &str, value: &dyn Render) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn time_line(steps: &[Step]) -> Markup {
    html! {
        p #nothing hidden[!steps.is_empty()] { "Nothing yet." }
        ol #steps aria-live="polite" aria-relevant="additions" {
            @for Step { number, at, fields } in steps {
                li id={ "step-" (number) } class=[class(&fields.step)] {
                    strong { (fields.step.replace('_', " ")) }
                    @if let Some(elapsed) = &fields.elapsed_ms {
                        " " span .after { "after " (elapsed) " ms" }
                    }
                    span .what { (meaning(&fields.step)) }
                    @if let Some(reason) = &fields.reason { span .what { (reason) } }
                    small {
                        time { (time_of_day(*at)) }
                        @if let Some(hash) = &fields.hash { " token " code { (hash) } }
                        @if let Some(id) = &fields.id { " logout " code { (id) } }
                    }
                }
            }
        }
    }
}

fn meaning(step: &str) -> &'static str {
    match step {
        "denied" => "Rejected here from now on.",
        "recorded" => "In the log, which outlives this process.",
        "forwarded" => "Polar is asked to revoke it.",
        "confirmed" => "Polar has revoked it.",
        "retrying" => "Polar did not confirm. It is asked again.",
        "dead_letter" => "Polar refused to revoke it. It is not asked again.",
        "rejected" => "A request that carried it was rejected.",
        _ => "",
    }
}

fn class(step: &str) -> Option<&'static str> {
    match step {
        "confirmed" => Some("good"),
        "retrying" => Some("wait"),
        "dead_letter" => Some("bad"),
        "denied" | "rejected" => Some("stop"),
        _ => None,
    }
}

/// The prefix that all tokens of this kind share, which reveals nothing of this token.
fn prefix(token: &str) -> &str {
    const PREFIXES: [&str; 4] = ["polar_at_u_", "polar_at_o_", "polar_rt_u_", "polar_rt_o_"];
    PREFIXES.into_iter().find(|prefix| token.starts_with(prefix)).unwrap_or("")
}

/// The first digits of the token's hash, as in the time line.
fn hash(token: &str) -> String {
    let [a, b, c, d, ..] = *TokenHash::of(token).as_bytes();
    format!("{a:02x}{b:02x}{c:02x}{d:02x}")
}

/// In UTC, with milliseconds.
fn time_of_day(at: SystemTime) -> String {
    let time = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = time.as_secs() % (24 * 3_600);
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, time.subsec_millis())
}
