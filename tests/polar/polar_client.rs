//! `PolarClient` without the layer, for every answer of Polar, and for no answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::LOCATION;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use support::{access_token, start_polar};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower::service_fn;
use tower_polar_logout::client::{
    ClientAuthMethod, PolarClient, PolarClientBuilder, RevokeOutcome, Token, TokenTypeHint,
};
use tower_polar_logout::testing::{FakePolar, Fault};
use tower_polar_logout::{ClientCredentials, ErrorKind, PolarServer};

fn client(polar: &FakePolar) -> PolarClientBuilder {
    PolarClient::builder(polar.credentials()).server(polar.server())
}

fn token(text: &str) -> Token {
    text.parse::<Token>().expect("a token")
}

fn is_try_again(outcome: &RevokeOutcome) -> bool {
    matches!(outcome, RevokeOutcome::TryAgain { .. })
}

#[tokio::test]
async fn either_token_revokes_the_pair() {
    let polar = start_polar().await;
    let client = client(&polar).build().expect("a client");
    for pair in [polar.mint(), polar.mint()] {
        let either = if polar.seen().answered == 0 { &pair.access } else { &pair.refresh };
        assert!(client.revoke(&token(either), None).await.is_confirmed());
        assert!(!polar.is_alive(&pair.access) && !polar.is_alive(&pair.refresh));
    }
}

#[tokio::test]
async fn wrong_hint_is_confirmed_but_revokes_nothing() {
    let polar = start_polar().await;
    let client = client(&polar).build().expect("a client");
    let pair = polar.mint();
    let outcome = client.revoke(&token(&pair.access), Some(TokenTypeHint::RefreshToken)).await;
    assert!(outcome.is_confirmed());
    assert!(polar.is_alive(&pair.access), "so no hint is sent by default");
}

#[tokio::test]
async fn token_of_another_client_is_refused() {
    let polar = start_polar().await;
    let client = client(&polar).build().expect("a client");
    let foreign = polar.mint_for_another_client();
    let outcome = client.revoke(&token(&foreign.refresh), None).await;
    let RevokeOutcome::Refused(reason) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reason.error_code(), Some("invalid_grant"));
}

/// With both authentication methods.
#[tokio::test]
async fn wrong_credentials_are_a_misconfiguration() {
    let polar = start_polar().await;
    let pair = polar.mint();
    for credentials in [
        ClientCredentials::new(polar.client_id(), "polar_cs_wrong"),
        ClientCredentials::new("polar_ci_unknown", polar.client_secret()),
    ] {
        for method in [ClientAuthMethod::ClientSecretPost, ClientAuthMethod::ClientSecretBasic] {
            let client = PolarClient::builder(credentials.clone())
                .server(polar.server())
                .auth_method(method)
                .build()
                .expect("a client");
            let outcome = client.revoke(&token(&pair.access), None).await;
            let RevokeOutcome::Misconfigured(reason) = outcome else { panic!("{outcome:?}") };
            assert_eq!(reason.error_code(), Some("invalid_client"));
        }
    }
    assert!(polar.is_alive(&pair.access));
}

#[tokio::test]
async fn basic_authentication_keeps_secret_out_of_form() {
    let polar = start_polar().await;
    let client =
        client(&polar).auth_method(ClientAuthMethod::ClientSecretBasic).build().expect("a client");
    let pair = polar.mint();
    assert!(client.revoke(&token(&pair.access), None).await.is_confirmed());
    assert!(!polar.is_alive(&pair.access));
    assert_eq!(polar.requests()[0].form.len(), 1);
}

/// The outcome has the status, and the pause that the server asks for.
#[tokio::test]
async fn rate_limits_and_server_errors_mean_try_again() {
    let polar = start_polar().await;
    let client = client(&polar).build().expect("a client");
    let pair = polar.mint();
    for (status, retry_after, expected) in [
        (StatusCode::TOO_MANY_REQUESTS, Some("60"), Some(60)),
        (StatusCode::SERVICE_UNAVAILABLE, None, None),
        (StatusCode::INTERNAL_SERVER_ERROR, None, None),
    ] {
        polar.behave_next(1, Fault::Status { status, retry_after: retry_after.map(Into::into) });
        let outcome = client.revoke(&token(&pair.access), None).await;
        let RevokeOutcome::TryAgain { reason, retry_after, .. } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(reason.status(), Some(status));
        assert_eq!(retry_after, expected.map(Duration::from_secs));
    }
    assert!(polar.is_alive(&pair.access));
    assert!(client.revoke(&token(&pair.access), None).await.is_confirmed());
}

#[tokio::test]
async fn missing_answer_means_try_again() {
    let polar = start_polar().await;
    let client =
        client(&polar).request_timeout(Duration::from_millis(50)).build().expect("a client");
    let pair = polar.mint();
    polar.behave(Fault::Freeze);
    assert!(is_try_again(&client.revoke(&token(&pair.access), None).await), "frozen");
    polar.behave(Fault::Drop);
    assert!(is_try_again(&client.revoke(&token(&pair.access), None).await), "dropped");
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    let unreachable = PolarClient::builder(polar.credentials()).server(PolarServer::Url(url));
    let client = unreachable.build().expect("a client");
    let outcome = client.revoke(&token(&pair.access), None).await;
    assert!(is_try_again(&outcome), "no listener: {outcome:?}");
}

#[tokio::test]
async fn calls_in_flight_never_exceed_the_cap() {
    let polar = start_polar().await;
    let client = client(&polar).build().expect("a client");
    polar.behave(Fault::Delay(Duration::from_millis(10)));
    let pairs: Vec<_> = (0..40).map(|_| token(&polar.mint().access)).collect();
    let outcomes = join_all(pairs.iter().map(|token| client.revoke(token, None))).await;
    assert!(outcomes.iter().all(RevokeOutcome::is_confirmed));
    assert_eq!(polar.seen().most_in_flight, 4);
}

/// A server with one fixed answer, for answers that `FakePolar` does not give.
async fn server(answer: &'static str) -> (PolarServer, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/oauth/revoke", listener.local_addr().expect("an address"));
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            counted.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (PolarServer::RevocationEndpoint(url), calls)
}

async fn answered_with(answer: &'static str) -> RevokeOutcome {
    let (server, calls) = server(answer).await;
    let client = PolarClient::builder(ClientCredentials::new("id", "secret")).server(server);
    let outcome = client.build().expect("a client").revoke(&token(&access_token("t")), None).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1, "one call, whatever the answer");
    outcome
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let outcome = answered_with(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    assert!(matches!(outcome, RevokeOutcome::Misconfigured(_)), "{outcome:?}");
}

#[tokio::test]
async fn endless_answer_is_not_read_to_its_end() {
    // It announces 2 GB and sends little: a client that waits for the rest would time out.
    let long = "HTTP/1.1 200 OK\r\ncontent-length: 2000000000\r\n\r\n";
    let filled: &'static str = Box::leak(format!("{long}{}", " ".repeat(20_000)).into());
    assert!(answered_with(filled).await.is_confirmed());
}

#[tokio::test]
async fn truncated_answer_confirms_only_with_status_2xx() {
    let outcome = answered_with("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").await;
    assert!(outcome.is_confirmed(), "{outcome:?}");
    let outcome = answered_with("HTTP/1.1 400 Bad Request\r\ncontent-length: 100\r\n\r\n{").await;
    assert!(is_try_again(&outcome), "{outcome:?}");
    assert!(is_try_again(&answered_with("no HTTP at all\r\n\r\n").await));
    assert!(is_try_again(&answered_with("").await));
}

#[tokio::test]
async fn custom_transport_gets_a_complete_request() {
    let transport = service_fn(|request: Request<Full<Bytes>>| async move {
        assert_eq!(request.uri(), "https://id.example.com/revoke");
        let length = request.headers()["content-length"].clone();
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(length, body.len().to_string());
        let token = access_token("t");
        assert_eq!(body, format!("token={token}&client_id=id&client_secret=secret"));
        let response =
            Response::builder().header(LOCATION, "/nowhere").body(Full::<Bytes>::default());
        Ok::<_, Infallible>(response.expect("a response"))
    });
    let client = PolarClient::builder(ClientCredentials::new("id", "secret"))
        .server(PolarServer::RevocationEndpoint("https://id.example.com/revoke".to_owned()))
        .transport(transport)
        .build()
        .expect("a client");
    assert!(client.revoke(&token(&access_token("t")), None).await.is_confirmed());
}

#[test]
fn token_is_1_to_4096_visible_ascii_characters() {
    for value in ["t", "polar_at_u_x", "a.b-c~d+e/f=", &"x".repeat(4096)] {
        assert!(Token::try_from(value.as_bytes()).is_ok(), "{value}");
    }
    for value in ["", " ", "a b", "a\n", "\u{e9}", "\x7f", &"x".repeat(4097)] {
        assert!(Token::try_from(value.as_bytes()).is_err(), "{value}");
    }
}

/// The text of a credential check, or the kind and the text of its error.
async fn check(client: PolarClientBuilder) -> Result<String, (ErrorKind, String)> {
    let checked = client.build().expect("a client").check_credentials().await;
    checked.map(|it| it.to_string()).map_err(|error| (error.kind(), error.to_string()))
}

#[tokio::test]
async fn credential_check_touches_no_token() {
    let polar = start_polar().await;
    let pair = polar.mint();
    for server in [
        polar.server(),
        PolarServer::RevocationEndpoint(format!("{}/v1/oauth2/revoke", polar.url())),
    ] {
        let accepted = check(client(&polar).server(server)).await;
        assert_eq!(accepted, Ok("the server accepts the client credentials".to_owned()));
    }
    assert!(polar.is_alive(&pair.access) && polar.is_alive(&pair.refresh));
    assert_eq!(polar.seen().revoked, 0);
}

#[tokio::test]
async fn credential_check_names_wrong_credentials() {
    let polar = start_polar().await;
    for credentials in [
        ClientCredentials::new(polar.client_id(), "polar_cs_wrong"),
        ClientCredentials::new("polar_ci_unknown", polar.client_secret()),
    ] {
        for method in [ClientAuthMethod::ClientSecretPost, ClientAuthMethod::ClientSecretBasic] {
            let client = PolarClient::builder(credentials.clone()).server(polar.server());
            let refused = check(client.auth_method(method)).await;
            let Err((ErrorKind::Credentials, message)) = refused else { panic!("{refused:?}") };
            assert!(message.contains("copy both from your OAuth client"), "{message}");
            assert!(!message.contains("polar_cs_"), "{message}");
        }
    }
}

/// Such a client can revoke by form, but cannot exchange a code by form.
#[tokio::test]
async fn credential_check_recognises_a_client_registered_for_basic() {
    let polar = start_polar().await;
    polar.register_for(ClientAuthMethod::ClientSecretBasic);
    let by_form = client(&polar).build().expect("a client");
    let accepted = by_form.check_credentials().await.expect("the right credentials");
    assert_eq!(accepted.registered_method(), Some(ClientAuthMethod::ClientSecretBasic));
    assert!(accepted.is_mismatch());
    let message = accepted.to_string();
    assert!(message.contains("registered for client_secret_basic"), "{message}");
    let token = token(&polar.mint().access);
    assert!(by_form.revoke(&token, None).await.is_confirmed(), "revocation still works");

    let by_basic = client(&polar).auth_method(ClientAuthMethod::ClientSecretBasic);
    let accepted = by_basic.build().expect("a client").check_credentials().await.expect("accepted");
    assert!(!accepted.is_mismatch());
}

#[tokio::test]
async fn credential_check_distinguishes_unanswered_from_misconfigured() {
    let polar = start_polar().await;
    polar.rate_limit(0);
    let limited = check(client(&polar)).await;
    assert!(matches!(limited, Err((ErrorKind::Unanswered, _))), "{limited:?}");
    polar.recover();
    // A port without a listener.
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", free.local_addr().expect("an address"));
    drop(free);
    let away = check(client(&polar).server(PolarServer::Url(url))).await;
    let Err((ErrorKind::Unanswered, message)) = away else { panic!("{away:?}") };
    assert!(message.contains("Connection refused"), "{message}");
    let elsewhere = PolarServer::Url(format!("{}/elsewhere", polar.url()));
    let wrong = check(client(&polar).server(elsewhere)).await;
    assert!(matches!(wrong, Err((ErrorKind::Configuration, _))), "{wrong:?}");
}
