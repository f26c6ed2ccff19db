//! `build()` reports every configuration error, with a line that says what to do.

use std::process::Command;
use std::time::Duration;

use http::Method;
use support::example;
use tower_polar_logout::client::{ClientAuthMethod, PolarClient, Token};
use tower_polar_logout::{
    ClientCredentials, ErrorKind, PolarLogoutLayer, PolarLogoutLayerBuilder, PolarServer, SameSite,
    TokenLocation, WhenRevoked,
};

fn credentials() -> ClientCredentials {
    ClientCredentials::new("polar_ci_id", "polar_cs_secret")
}

/// The smallest configuration that works.
fn builder() -> PolarLogoutLayerBuilder {
    PolarLogoutLayer::builder(credentials())
        .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
        .logout_route(Method::POST, "/logout")
        .access_token(TokenLocation::bearer())
}

async fn refused(builder: PolarLogoutLayerBuilder, advice: &str) {
    let error = builder.build().await.expect_err(advice);
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    let message = error.to_string();
    assert!(message.contains(advice), "`{message}` should say `{advice}`");
    let everything = format!("{message} {error:?}");
    assert!(!everything.contains("polar_cs_secret"), "{everything}");
}

#[tokio::test]
async fn smallest_configuration_works() {
    builder().build().await.expect("a layer");
}

#[tokio::test]
async fn credentials_must_be_visible_ascii() {
    for (id, secret, advice) in [
        ("", "s", "the client id is empty"),
        ("i", "", "the client secret is empty"),
        ("\u{e9}", "s", "not ASCII"),
        ("i", "s\u{e9}", "not ASCII"),
        ("i", "s\n", "white space"),
        ("i d", "s", "white space"),
    ] {
        let builder = PolarLogoutLayer::builder(ClientCredentials::new(id, secret))
            .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
            .logout_route(Method::POST, "/logout")
            .access_token(TokenLocation::bearer());
        refused(builder, advice).await;
    }
}

#[tokio::test]
async fn server_url_must_be_https_or_loopback() {
    let with = |url: &str| builder().server(PolarServer::Url(url.to_owned()));
    for url in ["http://127.0.0.1:9", "http://127.1.2.3", "http://[::1]:9", "http://localhost/x"] {
        with(url).build().await.expect(url);
    }
    for (url, advice) in [
        ("", "URL is invalid"),
        ("api.polar.sh", "not absolute"),
        ("/v1", "not absolute"),
        ("ftp://api.polar.sh", "not an http or https URL"),
        ("https://", "URL is invalid"),
        ("https://api.polar.sh?x=1", "has a query"),
        ("https://api.polar.sh/#x", "fragment"),
        ("https://user:polar_cs_secret@api.polar.sh", "user name or password"),
        ("http://api.polar.sh", "unencrypted"),
        ("http://10.0.0.1", "unencrypted"),
        ("http://localhost.example", "unencrypted"),
        ("http://127.0.0.1.example", "unencrypted"),
        ("http://127.0.0.1:99999", "invalid port"),
        ("http://127.0.0.1:", "invalid port"),
        ("polar_cs_secret", "not absolute"),
    ] {
        refused(with(url), advice).await;
    }
    refused(builder().server(PolarServer::RevocationEndpoint("revoke".to_owned())), "not absolute")
        .await;
    let client = PolarClient::builder(credentials())
        .server(PolarServer::Url("http://10.0.0.1".to_owned()))
        .allow_insecure_http(true);
    client.build().expect("allowed explicitly");
}

/// Each path must be one that a request can have, and no pattern.
#[tokio::test]
async fn logout_route_and_token_location_are_needed() {
    let bare = || {
        PolarLogoutLayer::builder(credentials())
            .server(PolarServer::Url("http://127.0.0.1:9".to_owned()))
    };
    refused(bare().access_token(TokenLocation::bearer()), "no logout route").await;
    refused(bare().logout_route(Method::POST, "/logout"), "no token location").await;
    for (path, advice) in [
        ("logout", "write `/logout`"),
        ("", "does not begin with `/`"),
        ("/logout?x", "no request has the path"),
        ("/logout#x", "no request has the path"),
        ("/log out", "no request has the path"),
        ("/logout/{id}", "looks like a pattern"),
        ("/logout/:id", "looks like a pattern"),
        ("/:id/logout", "looks like a pattern"),
    ] {
        refused(builder().logout_route(Method::POST, path), advice).await;
        refused(builder().when_revoked_at(path, WhenRevoked::Anonymous), advice).await;
        refused(builder().when_revoked_under(path, WhenRevoked::Anonymous), advice).await;
    }
    builder().logout_route(Method::POST, "/users/7:logout").build().await.expect("no pattern");
    refused(builder().logout_route(Method::HEAD, "/logout"), "HEAD cannot log out").await;
    refused(builder().logout_route(Method::OPTIONS, "/logout"), "OPTIONS cannot log out").await;
}

#[tokio::test]
async fn contradictory_options_are_refused() {
    let twice = builder().logout_route(Method::POST, "/logout");
    refused(twice, "the route `POST /logout` is given twice").await;
    builder().logout_route(Method::DELETE, "/logout").build().await.expect("another method");

    let both = builder()
        .when_revoked_at("/", WhenRevoked::Anonymous)
        .when_revoked_at("/", WhenRevoked::Reject);
    refused(both, "`when_revoked_at` gives both `Anonymous` and `Reject` to `/`").await;
    let both = builder()
        .when_revoked_under("/assets", WhenRevoked::Anonymous)
        .when_revoked_under("/assets/", WhenRevoked::Reject);
    refused(both, "`when_revoked_under` gives both `Anonymous` and `Reject` to `/assets`").await;
    let same = builder()
        .when_revoked_at("/", WhenRevoked::Anonymous)
        .when_revoked_at("/", WhenRevoked::Anonymous);
    same.build().await.expect("no contradiction");

    let both = builder().redirect_to("/").call_inner_after_logout(true);
    refused(both, "the app answers the logout: remove `redirect_to`").await;
    let body = builder().refresh_token(TokenLocation::form("token")).call_inner_after_logout(true);
    refused(body, "with `LogoutHandle::revoke`").await;
}

#[tokio::test]
async fn location_is_unique_and_has_a_valid_name() {
    let cookie = || TokenLocation::cookie("t");
    let twice = "given twice";
    refused(builder().refresh_token(TokenLocation::bearer()), twice).await;
    refused(builder().session_id(cookie()).session_id(cookie()), twice).await;
    refused(builder().session_id(cookie()).access_token(cookie().path("/x")), twice).await;
    let scopes = builder().session_id(cookie()).session_id(cookie().path("/x"));
    scopes.build().await.expect("one cookie, set with two paths");
    for location in [
        TokenLocation::header as fn(&'static str) -> TokenLocation,
        TokenLocation::query,
        TokenLocation::form,
        TokenLocation::json,
    ] {
        refused(builder().session_id(location("t")).access_token(location("t")), twice).await;
    }
    let upper = TokenLocation::header("X-T");
    refused(builder().session_id(TokenLocation::header("x-t")).session_id(upper), twice).await;

    refused(builder().session_id(TokenLocation::cookie("a b")), "is not a cookie name").await;
    refused(builder().session_id(cookie().path("x")), "must begin with `/`").await;
    refused(builder().session_id(cookie().same_site(SameSite::None)), "`.secure(true)`").await;
    refused(builder().session_id(TokenLocation::header("a b")), "is not a header name").await;
    refused(builder().session_id(TokenLocation::header("Cookie")), "`TokenLocation::cookie(").await;
    let authorization = builder().session_id(TokenLocation::header("Authorization"));
    refused(authorization, "`TokenLocation::bearer()`").await;
    let proxy = builder().session_id(TokenLocation::header("Proxy-Authorization"));
    proxy.build().await.expect("another header");
    refused(builder().session_id(TokenLocation::query("")), "is empty").await;
    refused(builder().session_id(TokenLocation::form("")), "is empty").await;
    refused(builder().session_id(TokenLocation::json("")), "is empty").await;
}

#[tokio::test]
async fn redirect_to_another_origin_must_be_allowed() {
    let to = |target: &str| builder().redirect_to(target);
    for target in ["/", "/bye", "/bye?x=1#y"] {
        to(target).build().await.expect(target);
    }
    for (target, advice) in [
        ("", "is neither a path"),
        ("bye", "is neither a path"),
        ("//evil.example", "another host"),
        ("/\\evil.example", "another host"),
        ("javascript:alert(1)", "is neither a path"),
        ("https://www.example.com/", "allow_redirect_origin(\"https://www.example.com\")"),
        ("/caf\u{e9}", "percent-encoded"),
        ("/x\r\nset-cookie: y", "percent-encoded"),
    ] {
        refused(to(target), advice).await;
    }
    let allowed = || to("https://www.example.com/bye");
    allowed().allow_redirect_origin("https://www.example.com").build().await.expect("allowed");
    refused(allowed().allow_redirect_origin("https://example.com"), "another origin").await;
    for (origin, advice) in [
        ("https://www.example.com/", "write `https://www.example.com`"),
        ("https://www.example.com/bye", "write `https://www.example.com`"),
        ("https://www.example.com?x=1", "write `https://www.example.com`"),
        ("https://user:polar_cs_secret@www.example.com", "without a user name"),
        ("www.example.com", "without a user name"),
        ("ftp://www.example.com", "without a user name"),
        ("", "without a user name"),
    ] {
        refused(allowed().allow_redirect_origin(origin), advice).await;
    }
    refused(
        to("https://www.example.com@evil.example/")
            .allow_redirect_origin("https://www.example.com"),
        "is neither a path",
    )
    .await;
}

#[tokio::test]
async fn origins_and_numbers_must_be_valid() {
    refused(builder().trusted_origin("app.example.com"), "trusted origin").await;
    refused(builder().trusted_origin("https://app.example.com/x"), "trusted origin").await;
    let with_password = "https://user:polar_cs_secret@app.example.com";
    refused(builder().trusted_origin(with_password), "trusted origin").await;
    refused(builder().redirect_to(with_password), "is neither a path").await;
    refused(builder().denylist_capacity(0), "`denylist_capacity` is zero").await;
    refused(builder().queue_capacity(0), "`queue_capacity` is zero").await;
    refused(builder().max_body_size(0), "`max_body_size` is zero").await;
    refused(builder().logout_deadline(Duration::ZERO), "`logout_deadline` is zero").await;
    refused(builder().access_token_retention(Duration::ZERO), "`access_token_retention` is zero")
        .await;
    refused(builder().refresh_token_retention(Duration::ZERO), "`refresh_token_retention` is zero")
        .await;
    refused(builder().session_id_retention(Duration::ZERO), "`session_id_retention` is zero").await;

    let client = || PolarClient::builder(credentials());
    assert!(client().request_timeout(Duration::ZERO).build().is_err());
    assert!(client().connect_timeout(Duration::ZERO).build().is_err());
    assert!(client().max_in_flight(0).build().is_err());
    let no_pem = client().root_certificates("no certificate").build().expect_err("no PEM");
    assert_eq!(no_pem.kind(), ErrorKind::Tls);
}

#[test]
fn names_from_a_configuration_file_are_parsed() {
    let basic = "client_secret_basic".parse::<ClientAuthMethod>().expect("a name");
    assert_eq!(basic, ClientAuthMethod::ClientSecretBasic);
    let error = "basic".parse::<ClientAuthMethod>().expect_err("not a name");
    assert!(
        error.to_string().contains("`basic` is not known: use `client_secret_post`"),
        "{error}"
    );
    let error = "polar_at_u_ with a gap".parse::<Token>().expect_err("not a token");
    assert!(!error.to_string().contains("polar_at_u_"), "it repeats its input: {error}");
}

/// Reads the environment in a child process, because all tests share this process's variables.
fn in_environment(variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(example::build("child"));
    command.arg("print-environment");
    for name in ["POLAR_CLIENT_ID", "POLAR_CLIENT_SECRET", "POLAR_SERVER"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    let output = command.output().expect("it runs");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn credentials_and_server_come_from_the_environment() {
    let id = ("POLAR_CLIENT_ID", "polar_ci_1");
    let secret = ("POLAR_CLIENT_SECRET", "polar_cs_hidden");
    let output = in_environment(&[id, secret]);
    assert!(output.contains("ClientCredentials") && output.contains("polar_ci_1"), "{output}");
    assert!(!output.contains("polar_cs_hidden"), "{output}");
    assert!(output.contains("Production"), "{output}");

    let output = in_environment(&[id]);
    assert!(output.contains("Environment: POLAR_CLIENT_SECRET is not set"), "{output}");
    let output = in_environment(&[id, ("POLAR_CLIENT_SECRET", "")]);
    assert!(output.contains("Environment: POLAR_CLIENT_SECRET is empty: set it"), "{output}");
    let output = in_environment(&[secret]);
    assert!(output.contains("Environment: POLAR_CLIENT_ID is not set"), "{output}");

    for (value, expected) in [
        ("production", "Production"),
        ("sandbox", "Sandbox"),
        ("http://127.0.0.1:9", "Url(..)"),
        ("staging", "Environment: POLAR_SERVER: the server `staging` is not known; use"),
        ("polar_cs_secret", "Environment: POLAR_SERVER: the server is not known; use"),
        ("", "Environment: POLAR_SERVER is empty; use"),
        ("ftp://x", "Environment: POLAR_SERVER"),
    ] {
        let output = in_environment(&[("POLAR_SERVER", value)]);
        assert!(output.contains(expected), "{value}: {output}");
    }
}
