//! What a request waits for before it is answered or passed on: its body, or its logout.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, Request, Response, request};
use http_body::Body;
use tokio::sync::oneshot;

use crate::body::{ReadBody, ReadError, RequestBody};
use crate::location::Found;
use crate::policy::{Policy, WhenRevoked};
use crate::response::{self, Answers};
use crate::token::{CredentialKind, Revocation, TokenHash};

/// What the response future does when the task is through.
#[derive(Debug)]
pub(crate) enum Next<B> {
    Answer(Response<Bytes>),
    Call(Request<RequestBody<B>>),
    /// Calls the application's own logout handler, and adds to its response what every logout
    /// answers.
    CallAfterLogout {
        request: Request<RequestBody<B>>,
        answers: Arc<Answers>,
        cross_site: bool,
    },
}

/// Who waits for the task, or does no longer.
pub(crate) struct Caller<B>(oneshot::Sender<Next<B>>);

impl<B> Caller<B> {
    pub(crate) fn new() -> (Self, oneshot::Receiver<Next<B>>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    fn tell(self, next: Next<B>) {
        // A caller that hung up changes nothing.
        let _ = self.0.send(next);
    }
}

/// Reads the body of a request to find tokens in it, and rejects or passes it on.
pub(crate) async fn read_body<B>(policy: Arc<Policy>, request: Request<B>, mut caller: Caller<B>)
where
    B: Body<Data = Bytes> + Send + 'static,
{
    let (mut parts, body) = request.into_parts();
    let mut body = match read(&policy, &parts.headers, body, &mut caller).await {
        Ok(body) => body,
        Err(answer) => return caller.tell(Next::Answer(answer)),
    };
    let found = policy
        .locations
        .visit_body((&parts).into(), &body.data, |found| policy.stop_if_revoked(found.value));
    if found.is_break() {
        match policy.when_revoked(parts.uri.path()) {
            WhenRevoked::Reject => return caller.tell(Next::Answer(policy.reject(&parts))),
            WhenRevoked::Anonymous => without_revoked(&policy, &mut parts, &mut body),
        }
    }
    caller.tell(Next::Call(Request::from_parts(parts, RequestBody::replayed(body))));
}

/// Logs out: every token of the request is revoked. Goes on when the caller hangs up, once the
/// request has arrived in full.
pub(crate) async fn log_out<B>(policy: Arc<Policy>, request: Request<B>, mut caller: Caller<B>)
where
    B: Body<Data = Bytes> + Send + 'static,
{
    let (mut parts, body) = request.into_parts();
    let cross_site = policy.csrf.is_cross_site((&parts).into());
    let mut found = Credentials::default();
    let _ = policy.locations.visit_head((&parts).into(), |credential| found.add(credential));
    if cross_site && found.came_by_itself {
        return caller.tell(Next::Answer(response::cross_site()));
    }
    let body = if policy.locations.reads_bodies() {
        match read(&policy, &parts.headers, body, &mut caller).await {
            Ok(body) => {
                let _ = policy
                    .locations
                    .visit_body((&parts).into(), &body.data, |credential| found.add(credential));
                RequestBody::replayed(body)
            }
            Err(answer) => return caller.tell(Next::Answer(answer)),
        }
    } else {
        RequestBody::untouched(body)
    };
    let outcome = policy.logout.run(found.revocations).await;
    caller.tell(if policy.then_call_app && !policy.answers.is_failure(outcome) {
        parts.extensions.insert(outcome);
        let answers = Arc::clone(&policy.answers);
        Next::CallAfterLogout { request: Request::from_parts(parts, body), answers, cross_site }
    } else {
        let wants_html = response::wants_html(&parts.headers);
        Next::Answer(policy.answers.logged_out(outcome, wants_html, cross_site))
    });
}

/// What a logout found, each credential once.
#[derive(Default)]
struct Credentials {
    revocations: Vec<Revocation>,
    known: HashSet<(TokenHash, CredentialKind)>,
    /// One came in a cookie, which a browser sends along whoever made it send the request.
    came_by_itself: bool,
}

impl Credentials {
    fn add(&mut self, found: Found<'_>) -> ControlFlow<()> {
        self.came_by_itself |= found.cookie_removal.is_some();
        if let Some(revocation) = Revocation::parse(found.value, found.kind)
            && self.known.insert((revocation.hash, revocation.kind))
        {
            self.revocations.push(revocation);
        }
        ControlFlow::Continue(())
    }
}

/// Reads a body to its end, unless the caller hangs up before: then the request never arrived.
async fn read<B>(
    policy: &Policy,
    headers: &HeaderMap,
    body: B,
    caller: &mut Caller<B>,
) -> Result<ReadBody, Response<Bytes>>
where
    B: Body<Data = Bytes>,
{
    if headers.get_all(CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
        return Err(response::body_encoded());
    }
    let read = tokio::select! {
        read = ReadBody::of(body, policy.body_limit) => read,
        () = caller.0.closed() => Err(ReadError::Broken),
    };
    read.map_err(|error| match error {
        ReadError::TooLarge => response::body_too_large(),
        ReadError::Broken => response::body_broken(),
    })
}

fn without_revoked(policy: &Policy, parts: &mut request::Parts, body: &mut ReadBody) {
    policy.locations.strip_head(parts, |value| policy.is_revoked(value));
    if let Some(kept) = policy.locations.strip_body(&body.data, |value| policy.is_revoked(value)) {
        body.data = kept;
        if parts.headers.contains_key(CONTENT_LENGTH) {
            parts.headers.insert(CONTENT_LENGTH, body.data.len().into());
        }
    }
}
