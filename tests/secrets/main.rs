//! No token and no client secret is in an event, an error, a `Debug` output, a log or a response.
//!
//! This binary stands alone, because its subscriber captures every crate on every thread.

use std::convert::Infallible;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::prelude::{
    BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD, Engine as _,
};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use metrics_exporter_prometheus::PrometheusBuilder;
use support::folder::Folder;
use support::redis::RedisServer;
use support::tls::{Authority, terminate_tls};
use support::{App, SERVERS, bearer, start_polar};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_polar_logout::client::{PolarClient, RevokeOutcome, Token};
use tower_polar_logout::log::{Event, RevocationLog, SealedToken};
use tower_polar_logout::testing::{FakePolar, Fault, MemoryLog};
use tower_polar_logout::{
    ClientCredentials, DeadLetter, Journal, LogoutOutcome, PolarLogoutLayer, PolarServer, RedisLog,
    RequestBody, Revocation, RevocationSignal, TokenHash, TokenLocation,
};
use tracing_subscriber::fmt::MakeWriter;

/// The events of every crate, at every level.
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

/// Collects the outputs, and the secrets that must not be in them.
struct Watch {
    log: Log,
    outputs: Vec<String>,
    secrets: Vec<String>,
}

impl Watch {
    fn keep(&mut self, output: impl std::fmt::Debug) {
        self.outputs.push(format!("{output:?}"));
    }

    fn secret(&mut self, secret: &str) -> String {
        self.secrets.push(secret.to_owned());
        secret.to_owned()
    }

    fn check(&self) {
        let log = self.log.text();
        for needle in ["hyper", "rustls", "tower_polar_logout", "TRACE", "logout"] {
            assert!(log.contains(needle), "the log has no `{needle}`: {log}");
        }
        for secret in &self.secrets {
            for needle in encodings(secret) {
                for text in self.outputs.iter().chain([&log]) {
                    assert!(!text.contains(&needle), "a secret is in the output: {text}");
                }
            }
        }
    }
}

/// The encodings of a secret: as it is, percent-encoded, in hex, or in base64.
fn encodings(secret: &str) -> Vec<String> {
    // The prefix is not secret.
    let core = &secret[secret.len() - 20..];
    let each = |format: fn(u8) -> String| core.bytes().map(format).collect::<String>();
    let mut encodings = vec![
        core.to_owned(),
        each(|byte| format!("%{byte:02x}")),
        each(|byte| format!("%{byte:02X}")),
        each(|byte| format!("{byte:02x}")),
        each(|byte| format!("{byte:02X}")),
        // `Debug` writes bytes like this.
        core.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", "),
    ];
    for before in ["", "-", "--"] {
        let text = format!("{before}{core}");
        for base64 in [BASE64_STANDARD_NO_PAD.encode(&text), BASE64_URL_SAFE_NO_PAD.encode(&text)] {
            // Without the letters that depend on the neighbouring bytes.
            encodings.push(base64[4..base64.len() - 4].to_owned());
        }
    }
    encodings
}

#[test]
fn secret_is_found_in_every_encoding() {
    let secret = "polar_at_u_abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
    for output in [
        format!("{secret:?}"),
        format!("{:?}", secret.as_bytes()),
        BASE64_STANDARD.encode(format!("token={secret}&more")),
        BASE64_STANDARD.encode(format!("id:{secret}")),
        BASE64_URL_SAFE_NO_PAD.encode(secret),
        secret.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat(),
        secret.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat(),
    ] {
        assert!(encodings(secret).iter().any(|needle| output.contains(needle)), "{output}");
    }
}

#[tokio::test]
async fn no_output_holds_a_token_or_secret() {
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .with_ansi(false)
        .init();
    let mut watch = Watch { log, outputs: Vec::new(), secrets: Vec::new() };
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
            .logout_deadline(Duration::from_millis(50))
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
    panics(&mut watch).await;
    let monitor = PrometheusBuilder::new().build_recorder();
    let metered = metrics::set_default_local_recorder(&monitor);
    dead_letters_and_logs(&mut watch).await;
    drop(metered);
    watch.outputs.push(monitor.handle().render());
    assert!(watch.outputs.iter().any(|text| text.contains("polar_logout_confirmed_total")));
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
        Some(failure(StatusCode::BAD_REQUEST)),
        Some(failure(StatusCode::UNAUTHORIZED)),
        Some(failure(StatusCode::PAYLOAD_TOO_LARGE)),
        Some(failure(StatusCode::TEMPORARY_REDIRECT)),
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

/// The app panics while it holds a request with tokens. Keeps all that the app can print of them.
async fn panics(watch: &mut Watch) {
    let polar = start_polar().await;
    let layer =
        support::builder(&polar).call_inner_after_logout(true).build().await.expect("a layer");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    let handle = layer.handle();
    let app = service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
        keep.lock().expect("what was seen").extend([
            format!("{:?}", request.body()),
            format!("{:?}", request.extensions().get::<RevocationSignal>()),
            format!("{:?}", request.extensions().get::<LogoutOutcome>()),
        ]);
        async move {
            assert!(request.uri().path() == "/", "the app has a bug");
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }
    });
    let app = layer.layer(handle.end_streams().layer(app));
    for path in ["/refresh", "/logout"] {
        let (access, refresh) =
            (watch.secret(&polar.mint().access), watch.secret(&polar.mint().refresh));
        let request = Request::post(path)
            .header("authorization", bearer(&access))
            .body(Full::from(format!("token={refresh}")))
            .expect("a request");
        let mut app = app.clone();
        let called = app.ready().await.expect("ready").call(request);
        watch.keep(&called);
        let called = AssertUnwindSafe(called).catch_unwind().await;
        let panicked = called.expect_err("the app panics");
        watch.keep(panicked.downcast_ref::<&str>().expect("a text"));
    }
    assert_eq!(handle.counts().logouts, 1);
    watch.keep(&app);
    checked_bodies(&polar, watch).await;
    watch.outputs.append(&mut seen.lock().expect("what was seen"));
}

/// A route whose bodies are searched: one body holds a dead token, and one is too large.
async fn checked_bodies(polar: &FakePolar, watch: &mut Watch) {
    let layer = support::builder(polar).max_body_size(1_000).build().await.expect("a layer");
    let handle = layer.handle();
    let token = watch.secret(&polar.mint().refresh);
    handle.revoke([Revocation::refresh_token(&token).expect("a token")]).await;
    watch.keep(handle.check_body());
    let app = service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    for (length, status) in [(1, StatusCode::UNAUTHORIZED), (1_000, StatusCode::PAYLOAD_TOO_LARGE)]
    {
        let body = Full::<Bytes>::from(format!("token={token}&rest={}", "x".repeat(length)));
        let mut service = handle.check_body().layer(app);
        let called = service.call(Request::post("/refresh").body(body).expect("a request"));
        watch.keep(&called);
        let answer = called.await.expect("an answer");
        assert_eq!(answer.status(), status);
        watch.keep(answer);
    }
}

/// The dead letters, and the contents of a journal and of Redis while Polar is down.
async fn dead_letters_and_logs(watch: &mut Watch) {
    let polar = start_polar().await;
    watch.secret(polar.client_secret());
    let (folder, redis) = (Folder::new("secrets"), RedisServer::start("secrets").await);
    let journal = Journal::open(folder.file("journal")).expect("a journal");
    let shared = RedisLog::connect(&redis.url()).expect("a URL");
    watch.keep((&journal, &shared));
    let letters = Arc::new(Mutex::new(Vec::new()));
    for builder in [
        support::builder(&polar).revocation_log(journal),
        support::builder(&polar).revocation_log(shared),
    ] {
        let letters = Arc::clone(&letters);
        let read = move |letter: &DeadLetter<'_>| {
            letters.lock().expect("the letters").push(format!("{letter:?}"));
        };
        let builder = builder.logout_deadline(Duration::from_millis(1)).on_dead_letter(read);
        watch.keep(&builder);
        let handle = builder.build().await.expect("a layer").handle();
        polar.recover();
        let known = watch.secret(&polar.mint().access);
        let foreign = watch.secret(&polar.mint_for_another_client().access);
        let orders = [&known, &foreign].map(|it| Revocation::access_token(it).expect("a token"));
        watch.keep(handle.revoke(orders).await);
        // Polar confirms one token, and refuses the other.
        support::until("both are delivered", || handle.counts().pending == 0).await;
        polar.behave(Fault::Freeze);
        let pending = watch.secret(&polar.mint().access);
        watch.keep(handle.revoke([Revocation::access_token(&pending).expect("a token")]).await);
        watch.keep((&handle, handle.counts(), handle.health()));
        for file in std::fs::read_dir(folder.path()).expect("a folder") {
            let bytes = std::fs::read(file.expect("a file").path()).expect("its bytes");
            assert!(bytes.len() > 100);
            watch.outputs.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    let keys: Vec<String> = redis.ask(redis::cmd("KEYS").arg("*")).await;
    let [stream] = &keys[..] else { panic!("one stream: {keys:?}") };
    let entries: Vec<(String, Vec<Vec<u8>>)> =
        redis.ask(redis::cmd("XRANGE").arg(stream).arg("-").arg("+")).await;
    assert!(entries.len() >= 2, "delivered and pending tokens: {entries:?}");
    let texts = entries.iter().flat_map(|(_, fields)| fields);
    watch.outputs.extend(texts.map(|text| String::from_utf8_lossy(text).into_owned()));
    watch.outputs.extend(keys);
    support::until("the dead letters", || letters.lock().expect("the letters").len() == 2).await;
    watch.outputs.append(&mut letters.lock().expect("the letters"));
    polar.recover();
}

async fn debug_of_every_public_type(watch: &mut Watch) {
    let secret = watch.secret("polar_cs_0123456789012345678901234567890123456789");
    let token = watch.secret("polar_at_u_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ");
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
    watch.keep(token.parse::<Token>());
    watch.keep(TokenHash::of(&token));
    watch.keep(Revocation::access_token(&token));
    watch.keep(Revocation::session_id(&token));
    let password = watch.secret("https://user:password-0123456789-0123456789@api.polar.sh");
    watch.keep(PolarServer::Url(password.clone()));
    watch.keep(PolarClient::builder(credentials.clone()).server(PolarServer::Url(password)));
    let in_url = watch.secret("redis-password-0123456789-0123456789");
    let address = format!("redis://:{in_url}@127.0.0.1:9/0");
    let log = RedisLog::connect(&address).expect("a URL");
    watch.keep(&log);
    let error = match log.append(Vec::new()).await {
        Ok(kept) => format!("{kept:?}"),
        Err(error) => format!("{error} {error:?}"),
    };
    watch.outputs.push(error);
    watch.keep(RedisLog::connect(&format!("http://:{in_url}@127.0.0.1:9/0")));
    watch.keep(RedisLog::connect(&format!("redis://:{in_url}@[:x")));
    let sealed = SealedToken::from_bytes(token.clone().into_bytes());
    watch.keep(Event::Revoked {
        hash: TokenHash::of(&token),
        expires_at: std::time::SystemTime::now(),
        sealed: Some(sealed),
    });
    watch.keep((TokenLocation::bearer(), TokenLocation::cookie("access_token")));
    let polar = start_polar().await;
    let pair = polar.mint();
    watch.secret(&pair.access);
    watch.secret(&pair.refresh);
    watch.keep(&pair);
    let client = PolarClient::builder(polar.credentials()).server(polar.server());
    let client = client.build().expect("a client");
    client.revoke(&pair.access.parse::<Token>().expect("a token"), None).await;
    watch.keep(polar.requests());
    watch.keep(polar.seen());
    watch.keep(MemoryLog::new());
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
        let error = misplaced.expect_err("a secret is not a server");
        watch.keep(format!("{error} {error:?}"));
    }

    let polar = start_polar().await;
    let token = watch.secret(&polar.mint().access);
    polar.behave(Fault::Drop);
    let client = PolarClient::builder(polar.credentials()).server(polar.server());
    let client = client.build().expect("a client");
    let outcome = client.revoke(&token.parse::<Token>().expect("a token"), None).await;
    let RevokeOutcome::TryAgain { reason, .. } = &outcome else { panic!("{outcome:?}") };
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
