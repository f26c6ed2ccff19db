//! An app with a login, a page for those who are signed in, and a logout that works.
//!
//! `cargo run --example demo`
//!
//! Without configuration a stand-in for Polar runs beside it. Settings, all of them environment
//! variables:
//!
//! - `LISTEN_ADDR`: where to listen; default `127.0.0.1:3000`, port 0 for any free one
//! - `POLAR_CLIENT_ID`, `POLAR_CLIENT_SECRET`: credentials of a real client at Polar
//! - `POLAR_SERVER`: `production` (the default), `sandbox`, or a URL
//! - `REVOCATION_JOURNAL`: a file that keeps what was revoked, and what Polar is yet to be told,
//!   across restarts; default none
//! - `REVOCATION_REDIS`: the URL of a Redis that does so for several demos at once, which are
//!   replicas of one app then; default none
//! - `REJECT_WHEN_BEHIND`: after how many seconds without Redis a request with a token is answered
//!   503; default never
//! - `ACCESS_TOKEN_RETENTION`: for how many seconds a revoked access token is rejected; default
//!   864060

use std::env::{self, VarError};
use std::error::Error;
use std::fmt::Arguments;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{AppendHeaders, Html, IntoResponse, Json, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, serve};
use serde_json::json;
use tokio::net::TcpListener;
use tower_polar_logout::testing::FakePolar;
use tower_polar_logout::{
    ClientCredentials, ErrorClass, Journal, LogoutHandle, PolarLogoutLayer, PolarServer, RedisLog,
    TokenLocation, WhenRevoked,
};

#[tokio::main]
async fn main() -> ExitCode {
    // Whoever started this may have closed standard error: no reason to fail.
    tracing_subscriber::fmt().with_writer(std::io::stderr).log_internal_errors(false).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("demo: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let polar = Polar::from_env().await?;
    let mut builder = PolarLogoutLayer::builder(polar.credentials()?).server(polar.server()?);
    builder = match (env::var_os("REVOCATION_JOURNAL"), text("REVOCATION_REDIS")?) {
        (Some(_), Some(_)) => {
            return Err("REVOCATION_JOURNAL and REVOCATION_REDIS are both set: choose one".into());
        }
        (Some(path), None) => builder.log(Journal::open(path)?),
        (None, Some(url)) => builder.log(RedisLog::connect(&url)?),
        (None, None) => builder,
    };
    if let Some(limit) = seconds("REJECT_WHEN_BEHIND")? {
        builder = builder.reject_when_behind(limit);
    }
    if let Some(retention) = seconds("ACCESS_TOKEN_RETENTION")? {
        builder = builder.access_token_retention(retention);
    }
    let logout = builder
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
        .access_token(TokenLocation::cookie("access_token"))
        .refresh_token(TokenLocation::cookie("refresh_token"))
        .redirect_to("/")
        // What must work for a browser that still carries a dead cookie.
        .when_revoked_at("/", WhenRevoked::Anonymous)
        .when_revoked_at("/login", WhenRevoked::Anonymous)
        .when_revoked_at("/health", WhenRevoked::Anonymous)
        .build()
        .await?;

    let address = env::var("LISTEN_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&address).await.map_err(|error| {
        format!(
            "cannot listen on LISTEN_ADDR `{address}`: {error}; give a free one like `127.0.0.1:0`"
        )
    })?;
    print_welcome(&format!("http://{}", listener.local_addr()?), &polar);

    let handle = logout.handle();
    let app = router(Arc::new(polar), handle.clone()).layer(logout);
    serve(listener, app).with_graceful_shutdown(stop_signal()).await?;

    let left = handle.shutdown(Duration::from_secs(10)).await;
    say(format_args!("stopped; {left} revocations are still on their way to Polar"));
    Ok(())
}

fn text(name: &str) -> Result<Option<String>, String> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is not text")),
    }
}

fn seconds(name: &str) -> Result<Option<Duration>, String> {
    let Some(value) = text(name)? else { return Ok(None) };
    let seconds = value
        .parse()
        .map_err(|_| format!("{name} is `{value}`: give a whole number of seconds, 60 say"))?;
    Ok(Some(Duration::from_secs(seconds)))
}

fn say(line: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Polar, or its stand-in.
enum Polar {
    Real,
    StandIn(FakePolar),
}

impl Polar {
    async fn from_env() -> Result<Self, Box<dyn Error>> {
        let is_set = |name| env::var_os(name).is_some();
        if is_set("POLAR_CLIENT_ID") || is_set("POLAR_CLIENT_SECRET") {
            return Ok(Self::Real);
        }
        if is_set("POLAR_SERVER") {
            return Err(
                "POLAR_SERVER is set, but neither POLAR_CLIENT_ID nor POLAR_CLIENT_SECRET: \
                        set them too, or none of the three for the stand-in"
                    .into(),
            );
        }
        // Always for the same client, so that several demos on one Redis are replicas of one app.
        Ok(Self::StandIn(FakePolar::start_for("polar_ci_demo", "polar_cs_demo").await?))
    }

    fn credentials(&self) -> Result<ClientCredentials, tower_polar_logout::Error> {
        match self {
            Self::Real => ClientCredentials::from_env(),
            Self::StandIn(polar) => Ok(polar.credentials()),
        }
    }

    fn server(&self) -> Result<PolarServer, tower_polar_logout::Error> {
        match self {
            Self::Real => PolarServer::from_env(),
            Self::StandIn(polar) => Ok(polar.server()),
        }
    }
}

#[derive(Clone)]
struct App {
    polar: Arc<Polar>,
    handle: LogoutHandle,
}

fn router(polar: Arc<Polar>, handle: LogoutHandle) -> Router {
    let app =
        Router::new().route("/", get(page)).route("/me", get(me)).route("/health", get(health));
    let app = match *polar {
        Polar::Real => app,
        Polar::StandIn(_) => app.route("/login", post(login)),
    };
    app.with_state(App { polar, handle })
}

async fn page(State(app): State<App>, headers: HeaderMap) -> Html<String> {
    let state = if carries_token(&headers) { "signed in" } else { "signed out" };
    let login = match *app.polar {
        Polar::Real => "<p>Bring a token of your own: sign in with Polar elsewhere.</p>",
        Polar::StandIn(_) => r#"<form method="post" action="/login"><button>Login</button></form>"#,
    };
    Html(format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>tower-polar-logout</title>
<h1>tower-polar-logout</h1>
<p>You are <strong>{state}</strong>.</p>
{login}
<form method="post" action="/logout"><button>Logout</button></form>
<p><a href="/me">/me</a> <a href="/health">/health</a></p>
</html>
"#
    ))
}

/// Signs in at the stand-in: as after "Sign in with Polar", the browser holds a pair of tokens.
async fn login(State(app): State<App>) -> Response {
    let Polar::StandIn(polar) = &*app.polar else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let pair = polar.mint();
    let cookie =
        |name, token| (SET_COOKIE, format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax"));
    let cookies =
        AppendHeaders([cookie("access_token", pair.access), cookie("refresh_token", pair.refresh)]);
    (cookies, [(CACHE_CONTROL, "no-store")], Redirect::to("/")).into_response()
}

async fn me(headers: HeaderMap) -> Response {
    if carries_token(&headers) {
        Json(json!({ "signed_in": true })).into_response()
    } else {
        (StatusCode::UNAUTHORIZED, Json(json!({ "signed_in": false }))).into_response()
    }
}

async fn health(State(app): State<App>) -> Json<serde_json::Value> {
    let (counts, health) = (app.handle.counts(), app.handle.health());
    Json(json!({
        "revoked": counts.revoked,
        "limit": counts.limit,
        "rejected": counts.rejected,
        "logouts": counts.logouts,
        "full": counts.full,
        "pending": counts.pending,
        "attempts": counts.attempts,
        "confirmed": counts.confirmed,
        "dead_letters": counts.dead_letters,
        "adopted": counts.adopted,
        "skipped": counts.skipped,
        "unsure": counts.unsure,
        "oldest_pending_seconds": health.oldest_age.map(|age| age.as_secs()),
        "log_behind_seconds": health.log_behind.map(|time| time.as_secs()),
        "log_held": health.log_held,
        "last_error": health.last_error.map(ErrorClass::as_str),
        "paused_seconds": health
            .paused_until
            .and_then(|until| until.duration_since(SystemTime::now()).ok())
            .map(|left| left.as_secs()),
    }))
}

/// A real app would ask Polar who this is. Here it is enough that there is a token: the layer has
/// turned away those that are revoked.
fn carries_token(headers: &HeaderMap) -> bool {
    let text = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let bearer = text(AUTHORIZATION).any(|value| {
        value.split_once(' ').is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()
        })
    });
    let cookie = text(COOKIE).flat_map(|value| value.split(';')).any(|pair| {
        pair.trim().strip_prefix("access_token=").is_some_and(|token| !token.is_empty())
    });
    bearer || cookie
}

fn print_welcome(url: &str, polar: &Polar) {
    let to_try = match polar {
        Polar::StandIn(polar) => format!(
            "a stand-in for Polar runs at {}; to try it:
  curl -i -c jar -X POST {url}/login   # signs in
  curl -i -b jar {url}/me              # 200
  curl -i -b jar -X POST {url}/logout  # 204: dead here and at Polar
  curl -i -b jar {url}/me              # 401: the old cookie is refused",
            polar.url()
        ),
        Polar::Real => format!(
            "to try it with a token of yours:
  curl -i -H 'Authorization: Bearer polar_at_u_...' {url}/me
  curl -i -H 'Authorization: Bearer polar_at_u_...' -X POST {url}/logout
  curl -i -H 'Authorization: Bearer polar_at_u_...' {url}/me"
        ),
    };
    // Whoever started this may have closed the pipe: no reason to stop.
    let _ = writeln!(std::io::stdout(), "listening on {url}\n{to_try}\n  curl {url}/health");
}

async fn stop_signal() {
    let ctrl_c = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = ctrl_c => {}
        () = terminate => {}
    }
}
