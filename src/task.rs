//! What a request waits for before it is answered or passed on: its body, or its logout.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, Method, Request, Response, request};
use http_body::Body;
use tokio::sync::oneshot;

use crate::body::{ReadBody, ReadError, RequestBody};
use crate::location::{Found, LookedAt};
use crate::policy::{Policy, Stop};
use crate::prefetch::is_prefetch;
use crate::response::{self, Answers};
use crate::route::allow;
use crate::signal::Carried;
use crate::token::{CredentialKind, Revocation, TokenHash};
use crate::under_way::UnderWay;
use crate::when_revoked::WhenRevoked;

/// What the response future does when the task is through.
#[derive(Debug)]
pub(crate) enum Next<B> {
    Answer(Response<Bytes>),
    Call {
        request: Request<RequestBody<B>>,
        under_way: Option<UnderWay>,
    },
    /// Calls the application's own logout handler, and adds to its response what every logout
    /// answers.
    CallAfterLogout {
        request: Request<RequestBody<B>>,
        logged_out: LoggedOut,
    },
}

impl<B> Next<B> {
    /// The task is gone: the runtime shuts down, or a body panicked.
    pub(crate) fn lost() -> Self {
        Self::Answer(response::lost())
    }
}

/// What the response of the application's own logout handler needs.
#[derive(Debug)]
pub(crate) struct LoggedOut {
    answers: Arc<Answers>,
    cross_site: bool,
}

impl LoggedOut {
    pub(crate) fn add_to<R>(&self, response: &mut Response<R>) {
        if response.status().is_server_error() {
            // The handler has failed: the browser keeps what it needs to try again.
            return response::forbid_storing(response.headers_mut());
        }
        self.answers.forget(response.headers_mut(), self.cross_site);
    }
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

/// Reads the body of a request to find tokens in it, and rejects or passes it on. `is_anonymous`: a
/// revoked credential was taken out of its head.
pub(crate) async fn read_body<B>(
    policy: Arc<Policy>,
    request: Request<B>,
    mut caller: Caller<B>,
    mut is_anonymous: bool,
) where
    B: Body<Data = Bytes> + Send + 'static,
{
    let (mut parts, body) = request.into_parts();
    let mut body = match read(&policy, &parts.headers, body, &mut caller).await {
        Ok(body) => body,
        Err(answer) => {
            policy.requests.unreadable.add(1);
            return caller.tell(Next::Answer(answer));
        }
    };
    // The head anew: the body may have taken its time, and a logout has come meanwhile.
    let mut carried = Carried::new();
    let mut stop = policy.stop_all((&parts).into(), &body.data, &mut carried);
    if stop.is_some_and(Stop::can_be_taken_out)
        && policy.when_revoked(parts.uri.path()) == WhenRevoked::Anonymous
    {
        make_anonymous(&policy, &mut parts, &mut body);
        is_anonymous = true;
        carried.clear();
        // Also what could not be taken out, because the body is no plain form or object.
        stop = policy.stop_all((&parts).into(), &body.data, &mut carried);
    }
    if let Some(why) = stop {
        return caller.tell(Next::Answer(policy.turn_away(&parts, &body.data, why)));
    }
    policy.requests.pass(is_anonymous);
    let under_way = (!carried.is_empty()).then(|| UnderWay::new(Arc::clone(&policy), carried));
    if let Some(signal) = under_way.as_ref().and_then(UnderWay::signal) {
        parts.extensions.insert(signal);
    }
    let request = Request::from_parts(parts, RequestBody::replayed(body));
    caller.tell(Next::Call { request, under_way });
}

/// Logs out: every token of the request is revoked. Goes on when the caller hangs up, once the
/// request has arrived in full.
pub(crate) async fn log_out<B>(policy: Arc<Policy>, request: Request<B>, mut caller: Caller<B>)
where
    B: Body<Data = Bytes> + Send + 'static,
{
    let (mut parts, body) = request.into_parts();
    if let Some(answer) = answer_unasked(&policy, &parts) {
        return caller.tell(Next::Answer(answer));
    }
    let cross_site = policy.csrf.cross_site((&parts).into());
    let mut found = Credentials::default();
    let _ = policy.locations.visit_head((&parts).into(), |credential| found.add(credential));
    if let Some(cross_site) = cross_site
        && found.came_by_itself
    {
        cross_site.report(&parts.headers);
        policy.logout.counters.cross_site.increment();
        return caller.tell(Next::Answer(response::cross_site()));
    }
    policy.requests.logout.add(1);
    let cross_site = cross_site.is_some();
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
    if found.are_too_many {
        return caller.tell(Next::Answer(response::too_many_credentials()));
    }
    let outcome = policy.logout.run(found.revocations).await;
    caller.tell(if policy.then_call_app && !policy.answers.is_failure(outcome) {
        parts.extensions.insert(outcome);
        let logged_out = LoggedOut { answers: Arc::clone(&policy.answers), cross_site };
        Next::CallAfterLogout { request: Request::from_parts(parts, body), logged_out }
    } else {
        let client = response::Client::of(&parts.headers);
        Next::Answer(policy.answers.logged_out(outcome, client, cross_site))
    });
}

/// The answer to a request of a GET route behind which nobody asked to be logged out.
fn answer_unasked(policy: &Policy, request: &request::Parts) -> Option<Response<Bytes>> {
    match request.method {
        Method::HEAD => Some(response::head_of_logout(allow(&policy.logout_routes, &request.uri))),
        Method::GET if is_prefetch(&request.headers) => Some(response::prefetch_of_logout()),
        _ => None,
    }
}

/// What a logout found, each credential once.
#[derive(Default)]
struct Credentials {
    looked_at: LookedAt,
    are_too_many: bool,
    revocations: Vec<Revocation>,
    known: HashMap<(TokenHash, CredentialKind), usize>,
    /// A browser would send one of them, whoever made it send the request.
    came_by_itself: bool,
}

impl Credentials {
    fn add(&mut self, found: Found<'_>) -> ControlFlow<()> {
        self.are_too_many |= !self.looked_at.may_have(found.value, found.is_likeliest);
        if self.are_too_many {
            return ControlFlow::Break(());
        }
        self.came_by_itself |= found.came_by_itself;
        let Some(revocation) = found.revocation() else { return ControlFlow::Continue(()) };
        let next = self.revocations.len();
        match self.known.entry((revocation.hash, revocation.kind)) {
            Entry::Vacant(entry) => {
                entry.insert(next);
                self.revocations.push(revocation);
            }
            Entry::Occupied(entry) if revocation.token.is_some() => {
                self.revocations[*entry.get()] = revocation;
            }
            Entry::Occupied(_) => {}
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
        // A request that has arrived in full counts, though its caller be gone already.
        biased;
        read = ReadBody::of(body, policy.body_limit) => read,
        () = caller.0.closed() => Err(ReadError::Broken),
    };
    read.map_err(|error| match error {
        ReadError::TooLarge => response::body_too_large(),
        ReadError::Broken => response::body_broken(),
    })
}

fn make_anonymous(policy: &Policy, parts: &mut request::Parts, body: &mut ReadBody) {
    let mut stops = policy.stops();
    policy.locations.strip_head(parts, &mut stops);
    if let Some(kept) = policy.locations.strip_body(&body.data, stops) {
        body.data = kept;
        if parts.headers.contains_key(CONTENT_LENGTH) {
            parts.headers.insert(CONTENT_LENGTH, body.data.len().into());
        }
    }
}
