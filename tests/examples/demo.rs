//! The demo as a process of its own: its output, and its answers over HTTP.

use std::fs;
use std::future::IntoFuture;
use std::time::Duration;

use axum::routing::post;
use http::{Method, StatusCode};
use support::demo::{self, Demo};
use support::folder::Folder;
use support::tls::{Authority, terminate_tls};
use support::{Answer, start_polar};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tower_polar_logout::testing::Fault;

/// Keeps the cookies that the demo sets, and sends them as a browser does.
#[derive(Default)]
struct Browser {
    cookies: Vec<(String, String)>,
}

impl Browser {
    async fn get(&mut self, demo: &Demo, path: &str) -> Answer {
        self.send(demo, Method::GET, path).await
    }

    async fn send(&mut self, demo: &Demo, method: Method, path: &str) -> Answer {
        let cookie = self.cookie();
        let headers = [("cookie", &*cookie), ("accept", "text/html")];
        let answer = demo.send(method, path, &headers).await;
        for given in set_cookies(&answer) {
            let pair = given.split(';').next().expect("a pair");
            let (name, value) = pair.split_once('=').expect("a name");
            self.cookies.retain(|(known, _)| known != name);
            if !given.contains("Max-Age=0") {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        answer
    }

    fn cookie(&self) -> String {
        let pairs: Vec<_> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.cookies.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Begins to sign in, agrees at Polar, and returns the path that Polar sends it back to.
    async fn begin(&mut self, demo: &Demo) -> String {
        let begun = self.get(demo, "/login").await;
        assert_eq!(begun.status, StatusCode::SEE_OTHER);
        let agreed = demo.follow(begun.header("location")).await;
        assert_eq!(agreed.status, StatusCode::FOUND, "{agreed:?}");
        let back = agreed.header("location").strip_prefix(&demo.url);
        back.expect("back to the demo").to_owned()
    }

    async fn sign_in(&mut self, demo: &Demo) {
        let back = self.begin(demo).await;
        let signed_in = self.get(demo, &back).await;
        assert_eq!(signed_in.status, StatusCode::SEE_OTHER, "{signed_in:?}");
        assert_eq!(signed_in.header("location"), "/");
    }
}

fn set_cookies(answer: &Answer) -> Vec<&str> {
    let values = answer.headers.get_all("set-cookie").iter();
    values.map(|value| value.to_str().expect("text")).collect()
}

/// Also checks the page, the health report, the metrics and the exit.
#[tokio::test]
async fn old_cookie_is_rejected_after_logout() {
    let mut demo = Demo::start(&[]).await;
    let mut browser = Browser::default();
    let page = browser.get(&demo, "/").await;
    assert!(page.body.contains("<strong>signed out</strong>"), "{page:?}");
    assert_eq!(browser.get(&demo, "/me").await.status, StatusCode::UNAUTHORIZED);

    browser.sign_in(&demo).await;
    assert_eq!(browser.get(&demo, "/me").await.status, StatusCode::OK);
    let page = browser.get(&demo, "/").await;
    assert!(page.body.contains("<strong>signed in</strong>") && page.body.contains("polar_at_u_…"));
    for token in ["access_token", "refresh_token"] {
        assert!(!page.body.contains(browser.value(token).expect("a token")), "the prefix only");
    }

    let old = browser.cookie();
    let answer = browser.send(&demo, Method::POST, "/logout").await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"));
    assert_eq!((browser.value("access_token"), browser.value("refresh_token")), (None, None));

    let signed_in = [("cookie", &*old)];
    let replayed = demo.send(Method::GET, "/me", &signed_in).await;
    assert_eq!(replayed.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        replayed.header("www-authenticate").split(',').next(),
        Some("Bearer error=\"invalid_token\"")
    );
    let answer = browser.send(&demo, Method::POST, "/replay").await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/#replay"));
    let page = browser.get(&demo, "/").await.body;
    assert!(page.contains("HTTP/1.1 401 Unauthorized"), "{page}");
    assert!(page.contains("www-authenticate: Bearer error=&quot;invalid_token&quot;"), "{page}");

    let page = demo.send(Method::GET, "/", &signed_in).await;
    assert!(page.body.contains("signed out"), "a dead cookie locks no user out");
    for file in ["/demo.css", "/demo.js", "/icon.svg"] {
        assert_eq!(demo.send(Method::GET, file, &signed_in).await.status, StatusCode::OK);
    }
    let pairs = old.split("; ").filter_map(|pair| pair.split_once('='));
    let cookies = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut with_dead_cookie = Browser { cookies };
    with_dead_cookie.sign_in(&demo).await;
    assert_eq!(with_dead_cookie.get(&demo, "/me").await.status, StatusCode::OK);
    let page = with_dead_cookie.get(&demo, "/").await.body;
    assert!(page.contains("Replay the old cookie"), "also after another sign-in");

    let health = demo.send(Method::GET, "/health", &signed_in).await;
    let health: serde_json::Value = serde_json::from_str(&health.body).expect("JSON");
    assert_eq!((&health["revoked"], &health["confirmed"]), (&2.into(), &2.into()));
    assert_eq!(health["rejected"], 2);
    let metrics = demo.send(Method::GET, "/metrics", &signed_in).await;
    assert_eq!(metrics.status, StatusCode::OK);
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    // The exporter writes a summary by default, and buckets only if they are set. Both tokens were
    // confirmed.
    let confirmed = "polar_logout_polar_call_duration_seconds_bucket{result=\"confirmed\",le=";
    for bucket in [format!("\n{confirmed}\"0.01\"}} "), format!("\n{confirmed}\"+Inf\"}} 2\n")] {
        assert!(metrics.body.contains(&bucket), "{bucket} in {}", metrics.body);
    }

    let mut to_try = Vec::new();
    while let Ok(Some(line)) = demo.output.next_line().await {
        let last = line.ends_with("/health");
        to_try.push(line);
        if last {
            break;
        }
    }
    assert_eq!(to_try.iter().filter(|line| line.contains("curl")).count(), 5, "{to_try:?}");
    // A terminal sends this for Ctrl-C.
    demo.signal("INT").await;
    assert!(demo.ended().await.success());
}

#[tokio::test]
async fn demo_with_credentials_calls_the_configured_server() {
    let polar = start_polar().await;
    let demo = Demo::start_with(&polar, &[]).await;
    let token = polar.mint().access;
    let authorization = support::bearer(&token);
    let bearer = [("authorization", &*authorization)];
    assert_eq!(demo.send(Method::GET, "/me", &bearer).await.status, StatusCode::OK);
    let answer = demo.send(Method::POST, "/logout", &bearer).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert!(!polar.is_alive(&token));
    assert_eq!(demo.send(Method::GET, "/me", &bearer).await.status, StatusCode::UNAUTHORIZED);

    let mut browser = Browser::default();
    browser.sign_in(&demo).await;
    let access = browser.value("access_token").expect("signed in").to_owned();
    assert!(polar.is_alive(&access), "the configured server gave this token");
    // The token endpoint answers before it commits, and an uncommitted pair cannot be revoked.
    polar.until(|seen| seen.uncommitted == 0).await;
    browser.send(&demo, Method::POST, "/logout").await;
    assert!(!polar.is_alive(&access));
}

#[tokio::test]
async fn failed_sign_in_sets_no_cookie_and_explains() {
    let polar = start_polar().await;
    let demo = Demo::start_with(&polar, &[]).await;
    for (change, status, why) in [
        (("state=", "state=x"), StatusCode::BAD_REQUEST, "does not belong to the sign-in"),
        (("&state=", "&other="), StatusCode::BAD_REQUEST, "does not belong to the sign-in"),
        (("&state=", "&state=x&state="), StatusCode::BAD_REQUEST, "does not belong"),
        (("code=", "other="), StatusCode::BAD_REQUEST, "without an authorization code"),
        (("code=", "error=access_denied&x="), StatusCode::FORBIDDEN, "You declined"),
        (
            ("code=", "error=%3Cscript%3E&error_description=%26%3Cb%3E&x="),
            StatusCode::BAD_GATEWAY,
            "Polar refused: &lt;script&gt; (&amp;&lt;b&gt;)",
        ),
        (("code=", "code=x"), StatusCode::BAD_GATEWAY, "invalid_grant"),
    ] {
        let mut browser = Browser::default();
        let back = browser.begin(&demo).await;
        let answer = browser.get(&demo, &back.replacen(change.0, change.1, 1)).await;
        assert_eq!(answer.status, status, "{change:?}: {answer:?}");
        assert!(answer.body.contains(why), "{change:?}: {}", answer.body);
        assert!(answer.body.contains("href=\"/login\""), "a link to try again");
        assert_eq!(browser.cookies, [], "no session, and the sign-in is over");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

/// An attacker could send the link of a pending sign-in to a victim, or use it twice.
#[tokio::test]
async fn sign_in_works_once_in_its_browser_only() {
    let demo = Demo::start(&[]).await;
    let mut browser = Browser::default();
    let back = browser.begin(&demo).await;
    let elsewhere = Browser::default().get(&demo, &back).await;
    assert_eq!(elsewhere.status, StatusCode::BAD_REQUEST, "another browser");
    assert_eq!(set_cookies(&elsewhere).len(), 1, "only the removal of a cookie");

    let begun = Browser { cookies: browser.cookies.clone() };
    assert_eq!(browser.get(&demo, &back).await.status, StatusCode::SEE_OTHER);
    assert!(browser.value("access_token").is_some() && browser.value("sign_in").is_none());
    for mut again in [begun, browser] {
        let again = again.get(&demo, &back).await;
        assert_eq!(again.status, StatusCode::BAD_REQUEST, "{again:?}");
        assert!(again.body.contains("No sign-in is pending in this browser"));
    }
}

/// The demo itself also starts without Polar.
#[tokio::test]
async fn sign_in_fails_if_polar_does_not_answer() {
    let polar = start_polar().await;
    let demo = Demo::start_with(&polar, &[]).await;
    let mut browser = Browser::default();
    let back = browser.begin(&demo).await;
    drop(polar);
    let answer = browser.get(&demo, &back).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.body.contains("did not give tokens for the authorization code"), "{answer:?}");
    assert_eq!(browser.cookies, []);

    let nowhere = [
        ("POLAR_CLIENT_ID", "polar_ci_1"),
        ("POLAR_CLIENT_SECRET", "polar_cs_1"),
        ("POLAR_SERVER", "http://127.0.0.1:1"),
    ];
    let demo = Demo::start(&nowhere).await;
    let health = demo.send(Method::GET, "/health", &[]).await;
    assert_eq!(health.status, StatusCode::OK, "the demo starts without Polar");
}

/// The answers hold a token that is unsafe in a cookie, broken JSON, or too many bytes.
#[tokio::test]
async fn invalid_token_answer_sets_no_cookie() {
    for (answer, why) in [
        (r#"{"access_token":"a; Domain=b","token_type":"Bearer"}"#.to_owned(), "no valid token"),
        (r#"{"access_token":"a\r\nb: c","token_type":"Bearer"}"#.to_owned(), "no valid token"),
        (
            format!(
                r#"{{"access_token":"{}","refresh_token":"b;","token_type":"Bearer"}}"#,
                support::access_token("a")
            ),
            "no valid token",
        ),
        (r#"{"access_token":"","token_type":"Bearer"}"#.to_owned(), "no valid token"),
        (r#"{"access_token":"polar_at_u_secret""#.to_owned(), "cannot be read"),
        (format!(r#"{{"access_token":"{}"}}"#, "a".repeat(1_000_000)), "length limit"),
    ] {
        let token = post(async move || ([("content-type", "application/json")], answer));
        let other = axum::Router::new().route("/v1/oauth2/token", token);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(axum::serve(listener, other).into_future());
        let settings = [
            ("POLAR_CLIENT_ID", "polar_ci_1"),
            ("POLAR_CLIENT_SECRET", "polar_cs_1"),
            ("POLAR_SERVER", &url),
        ];
        let demo = Demo::start(&settings).await;
        let mut browser = Browser::default();
        let begun = browser.get(&demo, "/login").await;
        let state = begun.header("location").split('&').find(|pair| pair.starts_with("state="));
        let back = format!("/callback?code=x&{}", state.expect("a state"));
        let answer = browser.get(&demo, &back).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{why}: {answer:?}");
        assert!(answer.body.contains(why), "{why}: {}", answer.body);
        assert!(!answer.body.contains("secret"), "{}", answer.body);
        assert_eq!(browser.cookies, []);
        server.abort();
    }
}

#[tokio::test]
async fn sign_in_over_tls_needs_a_trusted_certificate() {
    let (polar, authority) = (start_polar().await, Authority::new());
    let folder = Folder::new("demo-tls");
    let pem = folder.file("authority.pem");
    fs::write(&pem, authority.pem()).expect("it is written");
    let port = terminate_tls(authority.acceptor(&["http/1.1"]), polar.address().to_string()).await;
    let settings = [
        ("POLAR_CLIENT_ID", polar.client_id()),
        ("POLAR_CLIENT_SECRET", polar.client_secret()),
        ("POLAR_SERVER", &*format!("https://localhost:{port}")),
        ("POLAR_AUTHORIZE_URL", &*format!("{}/oauth2/authorize", polar.url())),
    ];
    let trust = ("SSL_CERT_FILE", pem.to_str().expect("text"));
    let demo = Demo::start(&[&settings[..], &[trust]].concat()).await;
    let mut browser = Browser::default();
    browser.sign_in(&demo).await;
    let access = browser.value("access_token").expect("signed in").to_owned();
    browser.send(&demo, Method::POST, "/logout").await;
    polar.revoked(1).await;
    assert!(!polar.is_alive(&access));

    let elsewhere = Authority::new();
    fs::write(&pem, elsewhere.pem()).expect("it is written");
    let demo = Demo::start(&[&settings[..], &[trust]].concat()).await;
    let mut browser = Browser::default();
    let back = browser.begin(&demo).await;
    let answer = browser.get(&demo, &back).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{answer:?}");
    assert!(answer.body.contains("certificate"), "{}", answer.body);
    assert_eq!(browser.cookies, []);
}

/// `HttpOnly`, `SameSite=Lax`, and `Secure` if the public URL is https.
#[tokio::test]
async fn sign_in_cookie_has_protective_attributes() {
    for (public_url, secure) in [(None, false), (Some("https://demo.example/"), true)] {
        let setting = public_url.map(|url| ("PUBLIC_URL", url));
        let demo = Demo::start(setting.as_slice()).await;
        let begun = demo.send(Method::GET, "/login", &[]).await;
        let [cookie] = set_cookies(&begun)[..] else { panic!("one cookie: {begun:?}") };
        assert!(cookie.contains("; HttpOnly; SameSite=Lax; "), "{cookie}");
        assert!(cookie.contains("; Max-Age=600"), "{cookie}");
        assert_eq!(cookie.contains("; Secure"), secure, "{cookie}");
        let location = begun.header("location");
        assert!(location.contains("&code_challenge_method=S256"), "{location}");
        assert_eq!(
            location.contains("&redirect_uri=https%3A%2F%2Fdemo.example%2Fcallback"),
            secure,
            "{location}"
        );
    }
}

#[tokio::test]
async fn login_redirects_to_the_configured_page() {
    let polar = start_polar().await;
    let elsewhere = ("POLAR_AUTHORIZE_URL", "https://sign-in.example/authorize?theme=dark");
    let demo = Demo::start_with(&polar, &[elsewhere]).await;
    let begun = demo.send(Method::GET, "/login", &[]).await;
    let location = begun.header("location");
    assert!(location.starts_with("https://sign-in.example/authorize?theme=dark&"), "{location}");
    assert!(location.contains(&format!("client_id={}", polar.client_id())), "{location}");
    assert!(!location.contains(polar.client_secret()));
}

#[tokio::test]
async fn every_answer_has_restrictive_security_headers() {
    let demo = Demo::start(&[]).await;
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/me"),
        (Method::GET, "/login"),
        (Method::GET, "/callback"),
        (Method::GET, "/demo.js"),
        (Method::GET, "/nowhere"),
        (Method::POST, "/logout"),
    ] {
        let answer = demo.send(method, path, &[]).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; "), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
    }
}

#[tokio::test]
async fn page_shows_what_the_layer_did() {
    let polar = start_polar().await;
    let demo = Demo::start_with(&polar, &[]).await;
    polar.behave_next(
        1,
        Fault::Status { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None },
    );
    for token in [polar.mint().access, polar.mint_for_another_client().access] {
        let authorization = support::bearer(&token);
        let bearer = [("authorization", &*authorization)];
        assert!(demo.send(Method::POST, "/logout", &bearer).await.status.is_success());
        demo.send(Method::GET, "/me", &bearer).await;
    }
    let shown = async {
        loop {
            let page = demo.send(Method::GET, "/", &[]).await.body;
            if page.contains("<strong>confirmed</strong>") {
                return page;
            }
        }
    };
    let page = timeout(Duration::from_secs(60), shown).await.expect("the page shows it");
    for step in ["denied", "forwarded", "retrying", "dead letter", "rejected", "confirmed"] {
        assert!(page.contains(&format!("<strong>{step}</strong>")), "{step}: {page}");
    }
    assert!(page.contains("<dt>Dead letters</dt><dd>1</dd>"), "{page}");
}

#[tokio::test]
async fn bad_settings_end_in_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).expect("one");
    let id = ("POLAR_CLIENT_ID", "polar_ci_1");
    let secret = ("POLAR_CLIENT_SECRET", "polar_cs_hidden");
    let polar = start_polar().await;
    let (url, known) = (polar.url(), ("POLAR_CLIENT_ID", polar.client_id()));
    let server = ("POLAR_SERVER", &*url);
    for (environment, advice) in [
        (vec![("LISTEN_ADDR", "nowhere")], "cannot listen on LISTEN_ADDR `nowhere`"),
        (vec![("LISTEN_ADDR", &*taken.1)], "give a free address"),
        (vec![id], "POLAR_CLIENT_SECRET is not set"),
        (vec![secret], "POLAR_CLIENT_ID is not set"),
        (vec![id, ("POLAR_CLIENT_SECRET", "")], "POLAR_CLIENT_SECRET is empty: set it"),
        (vec![("LISTEN_ADDR", "")], "LISTEN_ADDR is empty: give it a value"),
        (vec![("REVOCATION_JOURNAL", "")], "REVOCATION_JOURNAL is empty: give the path"),
        (vec![("POLAR_SERVER", "sandbox")], "POLAR_SERVER is set, but"),
        (vec![("POLAR_AUTHORIZE_URL", "https://a.example")], "POLAR_AUTHORIZE_URL is set, but"),
        (vec![id, secret, ("POLAR_AUTHORIZE_URL", "polar.sh")], "POLAR_AUTHORIZE_URL is not"),
        (vec![("PUBLIC_URL", "demo.example")], "PUBLIC_URL is not an absolute http or https URL"),
        (vec![("PUBLIC_URL", "ftp://demo.example")], "PUBLIC_URL is not an absolute"),
        (vec![("PUBLIC_URL", "https://u:polar_cs_hidden@demo.example")], "PUBLIC_URL is not"),
        (vec![("PUBLIC_URL", "https://demo.example/app")], "PUBLIC_URL has a path"),
        (vec![("REVOCATION_JOURNAL", "src")], "is a directory: give the path of a file"),
        (vec![id, secret, ("POLAR_SERVER", "staging")], "the server `staging` is not known"),
        (vec![id, secret, ("POLAR_SERVER", "http://polar.example")], "unencrypted"),
        (vec![known, secret, server], "does not accept this client id and client secret"),
        (vec![id, secret, server], "copy both from your OAuth client in Polar's settings"),
        (vec![("REVOCATION_REDIS", "localhost")], "redis://"),
        (vec![("REVOCATION_REDIS", "http://polar_cs_hidden@localhost")], "redis://"),
        (vec![("REVOCATION_REDIS", "redis://:polar_cs_hidden@127.0.0.1:1")], "127.0.0.1:1"),
        (vec![("REVOCATION_REDIS", "redis://a"), ("REVOCATION_JOURNAL", "b")], "choose one"),
        (vec![("REJECT_WHEN_BEHIND", "soon")], "a whole number of seconds"),
        (vec![("REJECT_WHEN_BEHIND", "5")], "REJECT_WHEN_BEHIND needs a log"),
        (vec![("ACCESS_TOKEN_RETENTION", "0")], "ACCESS_TOKEN_RETENTION is `0`"),
    ] {
        let output = demo::command(&environment).output().await.expect("it ends");
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{environment:?}: {error}");
        assert!(error.starts_with("demo: ") && error.contains(advice), "{environment:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!error.contains("polar_cs_hidden"));
    }
}
