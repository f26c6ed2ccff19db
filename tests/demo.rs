//! The demo as a stranger meets it: a process of its own, its output, and its answers over HTTP.

mod common;

use common::demo::{self, Demo};
use common::start_polar;
use http::{Method, StatusCode};

/// Signs in, and returns the `Cookie` header of the browser from then on.
async fn sign_in(demo: &Demo) -> String {
    let answer = demo.send(Method::POST, "/login", &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let cookies: Vec<_> = answer
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|value| value.to_str().expect("text").split(';').next().expect("a pair"))
        .collect();
    cookies.join("; ")
}

#[tokio::test]
async fn sign_in_log_out_replay_the_cookie_and_sign_in_again() {
    let mut demo = Demo::start(&[]).await;
    let page = demo.send(Method::GET, "/", &[]).await;
    assert!(page.body.contains("signed out") && page.body.contains("Login"), "{page:?}");
    assert_eq!(demo.send(Method::GET, "/me", &[]).await.status, StatusCode::UNAUTHORIZED);

    let cookie = sign_in(&demo).await;
    let signed_in = [("cookie", &*cookie)];
    assert_eq!(demo.send(Method::GET, "/me", &signed_in).await.status, StatusCode::OK);
    assert!(demo.send(Method::GET, "/", &signed_in).await.body.contains("signed in"));

    let browser = [("cookie", &*cookie), ("accept", "text/html")];
    let answer = demo.send(Method::POST, "/logout", &browser).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"));

    let replayed = demo.send(Method::GET, "/me", &signed_in).await;
    assert_eq!(replayed.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        replayed.header("www-authenticate").split(',').next(),
        Some("Bearer error=\"invalid_token\"")
    );
    let page = demo.send(Method::GET, "/", &signed_in).await;
    assert!(page.body.contains("signed out"), "a dead cookie locks nobody out");
    assert_eq!(demo.send(Method::POST, "/login", &signed_in).await.status, StatusCode::SEE_OTHER);

    let health = demo.send(Method::GET, "/health", &signed_in).await;
    let health: serde_json::Value = serde_json::from_str(&health.body).expect("JSON");
    assert_eq!((&health["revoked"], &health["confirmed"]), (&2.into(), &2.into()));
    assert_eq!(health["rejected"], 1);

    let mut to_try = Vec::new();
    while let Ok(Some(line)) = demo.output.next_line().await {
        let last = line.ends_with("/health");
        to_try.push(line);
        if last {
            break;
        }
    }
    assert_eq!(to_try.iter().filter(|line| line.contains("curl")).count(), 5, "{to_try:?}");
    // Ctrl-C, as a terminal sends it.
    demo.signal("INT").await;
    assert!(demo.ended().await.success());
}

#[tokio::test]
async fn with_credentials_it_talks_to_the_server_that_is_named() {
    let polar = start_polar().await;
    let demo = Demo::start_with(&polar, &[]).await;
    let token = polar.mint().access;
    let authorization = common::bearer(&token);
    let bearer = [("authorization", &*authorization)];
    assert_eq!(demo.send(Method::GET, "/me", &bearer).await.status, StatusCode::OK);
    let answer = demo.send(Method::POST, "/logout", &bearer).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert!(!polar.is_alive(&token));
    assert_eq!(demo.send(Method::GET, "/me", &bearer).await.status, StatusCode::UNAUTHORIZED);
    let login = demo.send(Method::POST, "/login", &[]).await;
    assert_eq!(login.status, StatusCode::NOT_FOUND, "the stand-in only");
}

#[tokio::test]
async fn bad_settings_end_in_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).expect("one");
    let id = ("POLAR_CLIENT_ID", "polar_ci_1");
    let secret = ("POLAR_CLIENT_SECRET", "polar_cs_hidden");
    for (environment, advice) in [
        (vec![("LISTEN_ADDR", "nowhere")], "cannot listen on LISTEN_ADDR `nowhere`"),
        (vec![("LISTEN_ADDR", &*taken.1)], "give a free one"),
        (vec![id], "POLAR_CLIENT_SECRET is not set"),
        (vec![secret], "POLAR_CLIENT_ID is not set"),
        (vec![id, ("POLAR_CLIENT_SECRET", "")], "the client secret is empty"),
        (vec![("POLAR_SERVER", "sandbox")], "POLAR_SERVER is set, but"),
        (vec![id, secret, ("POLAR_SERVER", "staging")], "POLAR_SERVER: the server is none of"),
        (vec![id, secret, ("POLAR_SERVER", "http://polar.example")], "in the clear"),
        (vec![("REVOCATION_REDIS", "localhost")], "redis://"),
        (vec![("REVOCATION_REDIS", "http://polar_cs_hidden@localhost")], "redis://"),
        (vec![("REVOCATION_REDIS", "redis://:polar_cs_hidden@127.0.0.1:1")], "127.0.0.1:1"),
        (vec![("REVOCATION_REDIS", "redis://a"), ("REVOCATION_JOURNAL", "b")], "choose one"),
        (vec![("REJECT_WHEN_BEHIND", "soon")], "a whole number of seconds"),
        (vec![("REJECT_WHEN_BEHIND", "5")], "without a log nothing can be behind"),
        (vec![("ACCESS_TOKEN_RETENTION", "0")], "an access token retention of zero"),
    ] {
        let output = demo::command(&environment).output().await.expect("it ends");
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{environment:?}: {error}");
        assert!(error.starts_with("demo: ") && error.contains(advice), "{environment:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!error.contains("polar_cs_hidden"));
    }
}
