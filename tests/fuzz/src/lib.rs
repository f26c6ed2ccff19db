//! Shared by the targets: requests made from bytes, and the promises that each request must keep.

#[path = "../../support/src/readers.rs"]
pub mod readers;

pub mod request;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use tokio::runtime::{self, Runtime};

use self::readers::{ANONYMOUS, DEAD, Judge, assert_same, builder, call, is_read};

/// Allows panics in source files under this path. They are contained, or else the target fails in
/// another way. By default any panic, in any thread, is a finding.
pub fn let_panic(path: &'static str) {
    let finding = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.location().is_some_and(|location| location.file().contains(path)) {
            finding(panic);
        }
    }));
}

thread_local! {
    static RUNTIME: Runtime =
        runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    static JUDGE: Judge = RUNTIME.with(|runtime| runtime.block_on(Judge::new()));
}

/// Panics if this request breaks a promise: one of [`Judge::judge`], on either path, or one of a
/// logout.
pub fn judge(request: &Request<Bytes>) {
    RUNTIME.with(|runtime| {
        JUDGE.with(|judge| {
            runtime.block_on(async {
                for path in ["/", ANONYMOUS] {
                    judge.judge(&at(path, request)).await;
                }
                judge_logout(request).await;
            });
        });
    });
}

/// After a logout, no credential that the request carried is left in it.
async fn judge_logout(request: &Request<Bytes>) {
    let layer = builder().build().await.expect("a layer");
    let mut logout = at("/logout", request);
    *logout.method_mut() = Method::POST;
    let is_read = is_read(request).await;
    match call(&layer, &logout).await {
        // Polar does not answer.
        Err(StatusCode::NO_CONTENT | StatusCode::ACCEPTED) => {
            let is_revoked = layer.handle().is_revoked(DEAD);
            assert!(
                is_revoked || !is_read,
                "an app reads the token, and logout does not revoke it"
            );
        }
        other => panic!("{other:?} for a logout"),
    }
    if let Ok(left) = call(&layer, request).await {
        let again = call(&layer, &left).await.expect("nothing in it is revoked");
        assert_same(&left, &again);
    }
}

fn at(path: &str, request: &Request<Bytes>) -> Request<Bytes> {
    let mut request = request.clone();
    let target = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    *request.uri_mut() = Uri::try_from(target).expect("a URI");
    request
}
