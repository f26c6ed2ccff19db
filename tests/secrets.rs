//! No token and no client secret in any event, error, Debug output or response.

mod common;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::tls::{Authority, terminate_tls};
use common::{App, SERVERS, bearer, start_polar};
use http::{Method, StatusCode};
use tower_polar_logout::testing::{FakePolar, Fault};
use tower_polar_logout::{
    ClientCredentials, Outcome, PolarClient, PolarLogoutLayer, PolarServer, Revocation, Token,
    TokenHash, TokenLocation,
};
use tracing_subscriber::fmt::MakeWriter;

/// Everything that any crate logs, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("the log")).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Collects what was put out, and what must not be in it.
struct Watch {
    log: Log,
    put_out: Vec<String>,
    secrets: Vec<String>,
}

impl Watch {
    fn keep(&mut self, put_out: impl std::fmt::Debug) {
        self.put_out.push(format!("{put_out:?}"));
    }

    fn secret(&mut self, secret: &str) -> String {
        self.secrets.push(secret.to_owned());
        secret.to_owned()
    }

    fn check(&self) {
        let log = self.log.text();
        for needle in ["hyper", "rustls", "tower_polar_logout", "TRACE", "logout"] {
            assert!(log.contains(needle), "the log does not reach `{needle}`: {log}");
        }
        for secret in &self.secrets {
            // The prefix alone would do no harm; what follows is the secret.
            let core = &secret[secret.len() - 20..];
            for text in self.put_out.iter().chain([&log]) {
                assert!(!text.contains(core), "a secret in the open: {text}");
            }
        }
    }
}

#[tokio::test]
async fn nothing_that_is_put_out_holds_a_token_or_the_secret() {
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .with_ansi(false)
        .init();
    let mut watch = Watch { log, put_out: Vec::new(), secrets: Vec::new() };
    for server in SERVERS {
        let polar = start_polar().await;
        watch.secret(polar.client_secret());
        let authority = Authority::new();
        let plain = polar.url().trim_start_matches("http://").to_owned();
        let port = terminate_tls(authority.acceptor(&[]), plain).await;
        let client = PolarClient::builder(polar.credentials())
            .server(PolarServer::Url(format!("https://localhost:{port}")))
            .root_certificates(authority.pem());
        let layer = PolarLogoutLayer::builder(client)
            .logout_route(Method::POST, "/logout")
            .access_token(TokenLocation::bearer())
            .access_token(TokenLocation::cookie("access_token"))
            .refresh_token(TokenLocation::cookie("refresh_token"))
            .access_token(TokenLocation::query("access_token"))
            .refresh_token(TokenLocation::form("token"))
            .deadline(Duration::from_millis(50))
            .build()
            .await
            .expect("a layer");
        watch.keep(&layer);
        let app = App::start(server, layer).await;
        whole_flows(&app, &polar, &mut watch).await;
        watch.keep(&app.handle);
        watch.keep(app.handle.counts());
        polar.recover();
        app.handle.shutdown(Duration::from_secs(60)).await;
    }
    debug_of_every_public_type(&mut watch).await;
    errors(&mut watch).await;
    watch.check();
}

async fn whole_flows(app: &App, polar: &FakePolar, watch: &mut Watch) {
    let failure = |status| Fault::Status { status, retry_after: None };
    for fault in [
        None,
        Some(failure(StatusCode::TOO_MANY_REQUESTS)),
        Some(failure(StatusCode::INTERNAL_SERVER_ERROR)),
        Some(Fault::Drop),
        Some(Fault::Freeze),
    ] {
        polar.recover();
        if let Some(fault) = fault {
            polar.behave(fault);
        }
        let pair = polar.mint();
        let (access, refresh) = (watch.secret(&pair.access), watch.secret(&pair.refresh));
        let in_body = watch.secret(&polar.mint().refresh);
        let cookie = format!("access_token={access}; refresh_token={refresh}");
        let authorization = bearer(&access);
        let headers = [("cookie", &*cookie), ("authorization", &*authorization)];
        let body = format!("token={in_body}");
        watch.keep(app.send(Method::POST, "/logout", &headers, body.clone()).await);
        let rejected = app.get("/me", &headers).await;
        assert_eq!(rejected.status, StatusCode::UNAUTHORIZED);
        watch.keep(rejected);
        watch.keep(app.get(&format!("/me?access_token={access}"), &[]).await);
        let cross_site = [("cookie", &*cookie), ("sec-fetch-site", "cross-site")];
        watch.keep(app.send(Method::POST, "/logout", &cross_site, body).await);
    }
    let foreign = polar.mint_for_another_client();
    let foreign = watch.secret(&foreign.access);
    watch.keep(app.post("/logout", &[("authorization", &bearer(&foreign))]).await);
}

async fn debug_of_every_public_type(watch: &mut Watch) {
    let secret = watch.secret("polar_cs_0123456789012345678901234567890123456789");
    let token = watch.secret("polar_at_u_abcdefghijklmnopqrstuvwxyzabcdefghijk");
    let credentials = ClientCredentials::new("polar_ci_public", secret.clone());
    watch.keep(&credentials);
    watch.keep(PolarClient::builder(credentials.clone()));
    watch.keep(PolarClient::builder(credentials.clone()).build());
    let builder = || {
        PolarLogoutLayer::builder(credentials.clone())
            .logout_route(Method::POST, "/logout")
            .access_token(TokenLocation::bearer())
    };
    watch.keep(builder());
    watch.keep(builder().build().await);
    watch.keep(Token::parse(&token));
    watch.keep(TokenHash::of(&token));
    watch.keep(Revocation::access_token(&token));
    watch.keep(Revocation::opaque(&token));
    let password = watch.secret("https://user:password-0123456789-0123456789@api.polar.sh");
    watch.keep(PolarServer::Url(password.clone()));
    watch.keep(PolarClient::builder(credentials.clone()).server(PolarServer::Url(password)));
    let polar = start_polar().await;
    let pair = polar.mint();
    watch.secret(&pair.access);
    watch.secret(&pair.refresh);
    watch.keep(&pair);
    watch.secret(polar.client_secret());
    watch.keep(&polar);
}

async fn errors(watch: &mut Watch) {
    let secret = watch.secret("polar_cs_9876543210987654321098765432109876543210");
    let broken = format!("{secret} \u{e9}");
    let credentials = ClientCredentials::new("id", broken.clone());
    let error = PolarClient::builder(credentials).build().expect_err("not ASCII");
    watch.keep(format!("{error} {error:?}"));
    let swapped = ClientCredentials::new(broken, "id");
    let error = PolarClient::builder(swapped).build().expect_err("not ASCII");
    watch.keep(format!("{error} {error:?}"));

    for misplaced in [secret.parse().map(|_: PolarServer| ()), credentials_for(&secret)] {
        let error = misplaced.expect_err("a secret is no server");
        watch.keep(format!("{error} {error:?}"));
    }

    let polar = start_polar().await;
    let token = watch.secret(&polar.mint().access);
    polar.behave(Fault::Drop);
    let client = PolarClient::builder(polar.credentials()).server(polar.server());
    let client = client.build().expect("a client");
    let outcome = client.revoke(&Token::parse(&token).expect("a token"), None).await;
    let Outcome::TryAgain { reason, .. } = &outcome else { panic!("{outcome:?}") };
    let mut error: Option<&dyn std::error::Error> = Some(reason);
    while let Some(this) = error {
        watch.keep(format!("{this} {this:?}"));
        error = this.source();
    }
    watch.keep(&outcome);
}

fn credentials_for(server: &str) -> Result<(), tower_polar_logout::Error> {
    let client = PolarClient::builder(ClientCredentials::new("id", "secret"));
    client.server(PolarServer::Url(server.to_owned())).build().map(|_| ())
}
