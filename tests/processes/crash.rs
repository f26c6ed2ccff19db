//! A process is killed with SIGKILL while users log out, and started again on its journal.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use support::demo::Demo;
use support::folder::Folder;
use support::{bearer, start_polar};
use tower_polar_logout::testing::{FakePolar, Fault};

const ROUNDS: usize = 50;
const USERS: usize = 16;

/// Logs out one user after another until the process is gone. Returns the acknowledged tokens.
async fn log_users_out(demo: &Demo, polar: &FakePolar) -> Vec<String> {
    let mut acknowledged = Vec::new();
    loop {
        let token = polar.mint().access;
        let authorization = bearer(&token);
        let headers = [("authorization", &*authorization)];
        let Some(answer) = demo.try_send(Method::POST, "/logout", &headers).await else {
            return acknowledged;
        };
        if answer.status.is_success() || answer.status.is_redirection() {
            acknowledged.push(token);
        }
    }
}

async fn is_denied(demo: &Demo, token: &str) -> bool {
    let answer = demo.send(Method::GET, "/me", &[("authorization", &bearer(token))]).await;
    answer.status == StatusCode::UNAUTHORIZED
}

/// After a restart every acknowledged logout is denied. In the end each one is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_logouts_survive_a_kill_at_any_moment() {
    let folder = Folder::new("crash");
    let journal = folder.file("journal");
    let polar = start_polar().await;
    let mut acknowledged: Vec<String> = Vec::new();
    let mut denied = 0;
    for round in 0..ROUNDS {
        // In half of the rounds Polar is slow or down, so that some tokens are pending at the kill.
        polar.recover();
        let down = Fault::Status { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None };
        match round % 4 {
            1 => polar.behave(down),
            3 => polar.behave(Fault::Delay(Duration::from_millis(fastrand::u64(1..50)))),
            _ => {}
        }
        let mut demo = Demo::start_on(&journal, &polar).await;
        let before = acknowledged.len();
        let users = join_all((0..USERS).map(|_| log_users_out(&demo, &polar)));
        let kill = async {
            // Random, because the process must survive a kill at any moment.
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1..150))).await;
            demo.signal("KILL").await;
        };
        let (logged_out, ()) = tokio::join!(users, kill);
        demo.ended().await;
        acknowledged.extend(logged_out.into_iter().flatten());

        let mut demo = Demo::start_on(&journal, &polar).await;
        let again = join_all(acknowledged[before..].iter().map(|token| is_denied(&demo, token)));
        denied += again.await.into_iter().filter(|is_denied| *is_denied).count();
        demo.signal("KILL").await;
        demo.ended().await;
    }
    polar.recover();
    let last = Demo::start_on(&journal, &polar).await;
    let alive = |tokens: &[String]| tokens.iter().filter(|token| polar.is_alive(token)).count();
    let delivery = async {
        let mut revoked = polar.seen().revoked;
        while alive(&acknowledged) > 0 {
            // One more pair is revoked.
            revoked = polar.until(|seen| seen.revoked > revoked).await.revoked;
        }
    };
    // If this times out, some logouts are lost: the figures say how many.
    let _ = tokio::time::timeout(Duration::from_secs(180), delivery).await;
    drop(last);
    let delivered = acknowledged.len() - alive(&acknowledged);
    println!(
        "{ROUNDS} times SIGKILL: acknowledged {}, denied after restart {denied}, delivered \
         {delivered}",
        acknowledged.len()
    );
    assert!(acknowledged.len() > ROUNDS, "users log out");
    assert_eq!((denied, delivered), (acknowledged.len(), acknowledged.len()));
}
