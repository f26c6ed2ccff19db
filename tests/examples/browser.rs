//! The demo's page in Chromium: by mouse, by keyboard alone, on a narrow screen, without script,
//! and with hostile texts.

mod chromium;

use chromium::Browser;
use http::{Method, StatusCode};
use serde_json::Value;
use support::demo::Demo;
use support::{bearer, start_polar};
use tower_polar_logout::testing::Fault;

/// The page at each step: sign in, log out, replay the old cookie, and sign in again.
#[tokio::test]
async fn old_cookie_is_rejected_after_logout() {
    let polar = start_polar().await;
    let demo = Demo::start_with(&polar, &[]).await;
    let browser = Browser::start("story").await;
    browser.open(&demo.url).await;
    browser.sees("you", "You are signed out.").await;
    browser.sees("live", "Up to date.").await;

    browser.click("Sign in with Polar").await;
    browser.sees("you", "You are signed in.").await;
    browser.sees("you", "polar_at_u_…").await;
    browser.click("Log out").await;
    browser.sees("you", "You are signed out.").await;
    browser.sees("steps", "Rejected here from now on.").await;
    browser.sees("steps", "Polar has revoked it.").await;
    assert_eq!(polar.seen().revoked, 1);

    browser.click("Replay the old cookie").await;
    browser.sees("replay", "HTTP/1.1 401 Unauthorized").await;
    browser.sees("replay", "www-authenticate: Bearer error=\"invalid_token\"").await;
    browser.sees("steps", "A request that carried it was rejected.").await;

    browser.click("Sign in with Polar").await;
    browser.sees("you", "You are signed in.").await;
    // The old session stays dead beside a living one.
    browser.click("Replay the old cookie").await;
    browser.sees("replay", "HTTP/1.1 401 Unauthorized").await;
    browser.sees("you", "You are signed in.").await;
}

#[tokio::test]
async fn page_works_by_keyboard_with_a_visible_focus() {
    let demo = Demo::start(&[]).await;
    let browser = Browser::start("keyboard").await;
    browser.open(&demo.url).await;
    browser.sees("you", "signed out").await;
    for (control, then) in [
        ("Sign in with Polar", ("you", "You are signed in.")),
        ("Log out", ("you", "You are signed out.")),
        ("Replay the old cookie", ("replay", "401 Unauthorized")),
    ] {
        browser.tab_to(control).await;
        browser.press_enter().await;
        browser.sees(then.0, then.1).await;
    }
    // From the answer, to which the page has jumped, through every control.
    for control in ["Replay the old cookie", "HTTP/1.1 401 Unauthorized", "/me", "/metrics"] {
        browser.tab_to(control).await;
    }
}

#[tokio::test]
async fn page_fits_a_narrow_screen() {
    let demo = Demo::start(&[]).await;
    let browser = Browser::start("narrow").await;
    browser.resize(360, 740).await;
    browser.open(&demo.url).await;
    for (click, then) in [
        ("Sign in with Polar", ("you", "You are signed in.")),
        ("Log out", ("you", "You are signed out.")),
        ("Replay the old cookie", ("replay", "401 Unauthorized")),
    ] {
        browser.fits(360).await;
        browser.click(click).await;
        browser.sees(then.0, then.1).await;
    }
    browser.fits(360).await;
    browser.open(&format!("{}/callback", demo.url)).await;
    browser.sees("failure", "You were not signed in").await;
    browser.fits(360).await;
}

#[tokio::test]
async fn page_works_without_script() {
    let demo = Demo::start(&[]).await;
    let browser = Browser::start("scriptless").await;
    browser.disable_script().await;
    browser.open(&demo.url).await;
    browser.click("Sign in with Polar").await;
    browser.sees("you", "You are signed in.").await;
    browser.click("Log out").await;
    browser.sees("you", "You are signed out.").await;
    browser.click("Replay the old cookie").await;
    browser.sees("replay", "HTTP/1.1 401 Unauthorized").await;
    browser.sees("steps", "Polar has revoked it.").await;
    browser.sees("delivery", "Confirmed").await;
    assert_eq!(browser.text("live").await, "", "only the script writes this text");
}

/// The page's script shows each step of the other logouts, and the end of the demo.
#[tokio::test]
async fn page_updates_itself_when_tokens_are_revoked_elsewhere() {
    let polar = start_polar().await;
    let demo = Demo::start_with(&polar, &[]).await;
    let browser = Browser::start("live").await;
    browser.open(&demo.url).await;
    browser.sees("time-line", "Nothing yet.").await;

    polar.behave_next(
        1,
        Fault::Status { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None },
    );
    for token in [polar.mint().access, polar.mint_for_another_client().access] {
        let authorization = bearer(&token);
        demo.send(Method::POST, "/logout", &[("authorization", &authorization)]).await;
    }
    for step in ["denied", "forwarded", "retrying", "confirmed", "dead letter"] {
        browser.sees("steps", step).await;
    }
    drop(demo);
    browser.sees("live", "The demo does not answer.").await;
}

#[tokio::test]
async fn hostile_text_is_shown_and_not_run() {
    const HOSTILE: &str = "<script>document.title='owned'</script><img src=x onerror=alert(1)>";
    let demo = Demo::start(&[]).await;
    let browser = Browser::start("hostile").await;
    browser.open(&demo.url).await;

    // This browser has begun a sign-in, and the answer of the server is an attack.
    let begun = demo.send(Method::GET, "/login", &[]).await;
    let cookie = begun.header("set-cookie").split(';').next().and_then(|pair| pair.split_once('='));
    let (name, value) = cookie.expect("a cookie");
    browser.set_cookie(name, value).await;
    let location = begun.header("location");
    let state = location.split('&').find_map(|pair| pair.strip_prefix("state="));
    let state = state.expect("a state");
    let mut answer = form_urlencoded::Serializer::new(String::new());
    answer.append_pair("error", HOSTILE).append_pair("error_description", HOSTILE);
    let answer = answer.finish();
    browser.open(&format!("{}/callback?state={state}&{answer}", demo.url)).await;
    browser.sees("failure", HOSTILE).await;
    assert_harmless(&browser).await;

    browser.set_cookie("access_token", "polar_at_u_<img/src=x/onerror=alert(1)>").await;
    browser.set_cookie("refresh_token", "<script>alert(1)</script>").await;
    browser.set_cookie("demo_browser", "'><script>alert(1)</script>").await;
    browser.open(&demo.url).await;
    browser.sees("you", "polar_at_u_…").await;
    assert_harmless(&browser).await;
    browser.click("Log out").await;
    browser.sees("steps", "denied").await;
    assert_harmless(&browser).await;
}

/// Checks that no text became an element, and that the content security policy holds too.
async fn assert_harmless(browser: &Browser) {
    let elements = browser.ask("return document.querySelectorAll('main :is(script, img)').length");
    assert_eq!(elements.await, 0);
    assert_eq!(browser.ask("return document.title").await, "tower-polar-logout");
    let inline = "const script = document.createElement('script');
                  script.textContent = 'document.title = \"run\"';
                  document.body.append(script);
                  return document.title";
    assert_eq!(browser.ask(inline).await, "tower-polar-logout", "the policy does not hold");
}

/// Saves the screenshots in `target/screenshots`.
#[tokio::test]
async fn page_fits_every_screen_in_light_and_dark() {
    let demo = Demo::start(&[]).await;
    let browser = Browser::start("screens").await;
    let screens = [360, 768, 1280]
        .into_iter()
        .flat_map(|width| ["light", "dark"].into_iter().map(move |scheme| (width, scheme)));
    let look = async |state: &str| {
        for (width, scheme) in screens.clone() {
            browser.resize(width, 800).await;
            browser.prefer(scheme).await;
            browser.fits(width).await;
            let seen = browser.ask("return getComputedStyle(document.body).backgroundColor").await;
            let colour = if scheme == "light" { "rgb(246, 245, 242)" } else { "rgb(21, 24, 26)" };
            assert_eq!(seen, Value::from(colour));
            browser.screenshot(&format!("{state}-{width}-{scheme}")).await;
        }
    };
    browser.open(&demo.url).await;
    look("signed-out").await;
    browser.click("Sign in with Polar").await;
    browser.sees("you", "You are signed in.").await;
    look("signed-in").await;
    browser.click("Log out").await;
    browser.click("Replay the old cookie").await;
    browser.sees("replay", "HTTP/1.1 401 Unauthorized").await;
    look("replayed").await;
    browser.open(&format!("{}/callback", demo.url)).await;
    browser.sees("failure", "You were not signed in").await;
    look("failed").await;
}
