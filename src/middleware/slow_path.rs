//! A logout, in a task of its own: a caller that hangs up cannot stop it half way.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use http::header::ALLOW;
use http::{HeaderMap, Method, Request, request};
use http_body::Body;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::answers::{Reply, ReplyKind};
use super::gate::Gate;
use super::next::{Caller, LoggedOut, Next};
use super::prefetch::is_prefetch;
use super::read_body::read_body;
use super::route::allow;
use crate::location::{Finder, Found};
use crate::token::{CredentialKind, Revocation, TokenHash};

/// How many tokens of one request are sent to Polar. A browser has two; more than these are planted.
const MOST_SENT: usize = 16;

/// How many credentials a body may hold: a front end sends two.
const MOST_IN_BODY: usize = 64;

/// How many are denied, at 2 us each, until other tasks of the same thread have their turn.
const AT_ONCE: usize = 128;

/// A body that stalls holds up no longer what its head carried, which is denied, but not yet in the
/// log, nor on its way to Polar.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);

/// Logs out: every credential of the request is revoked. Goes on when the caller hangs up.
pub(crate) async fn log_out<B>(gate: Arc<Gate>, request: Request<B>, mut caller: Caller<B>)
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    let (mut parts, body) = request.into_parts();
    if let Some(reply) = unasked(&gate, &parts) {
        return caller.answer(parts, reply);
    }
    let cross_site = gate.csrf.cross_site((&parts).into());
    let mut credentials = Credentials::in_head(&gate.finder, &parts);
    if let Some(cross_site) = cross_site
        && credentials.came_by_itself
    {
        cross_site.report(&parts.headers);
        gate.revoker.counters.cross_site.increment();
        return caller.answer(parts, ReplyKind::CrossSite);
    }
    gate.requests.logout.add(1);
    let cross_site = cross_site.is_some();
    // Before the body, which may take its time.
    for together in credentials.found.chunks(AT_ONCE) {
        for Credential { revocation, .. } in together {
            gate.revoker.deny_at_once(revocation);
        }
        yield_now().await;
    }
    if gate.call_inner_after_logout {
        // Its body is the application's, unread.
        let outcome = gate.revoker.run(credentials.into_revocations()).await;
        if gate.after_logout.is_failure(outcome) {
            let prepared = gate.after_logout.reply(outcome, &parts.headers, cross_site);
            return caller.answer(parts, prepared);
        }
        parts.extensions.insert(outcome);
        let logged_out = LoggedOut::new(gate, cross_site);
        let request = Request::from_parts(parts, body);
        return caller.tell(Next::CallAfterLogout { request, logged_out });
    }
    let unreadable = if gate.finder.reads_bodies() {
        let gone = caller.gone();
        credentials.add_body(&gate, &parts.headers, body, gone).await.err()
    } else {
        drop(body);
        None
    };
    let outcome = gate.revoker.run(credentials.into_revocations()).await;
    if let Some(why) = unreadable {
        // What the head carried is revoked nevertheless.
        gate.requests.unreadable.add(1);
        return caller.answer(parts, why);
    }
    let prepared = gate.after_logout.reply(outcome, &parts.headers, cross_site);
    caller.answer(parts, prepared);
}

/// The reply to a request of a GET route that is no click on a logout link.
fn unasked(gate: &Gate, request: &request::Parts) -> Option<Reply> {
    match request.method {
        // Link checkers and previews send it. It is safe (RFC 9110, section 9.2.1), a logout is
        // not.
        Method::HEAD => {
            let allow = allow(&gate.logout_routes, &request.uri);
            Some(Reply::new(ReplyKind::Head).with(ALLOW, allow))
        }
        Method::GET if is_prefetch(&request.headers) => Some(Reply::new(ReplyKind::Prefetch)),
        _ => None,
    }
}

/// What a logout found, each credential once.
#[derive(Default)]
struct Credentials {
    found: Vec<Credential>,
    known: HashMap<TokenHash, usize>,
    /// A browser would send one of them, whichever site made it send the request.
    came_by_itself: bool,
}

struct Credential {
    revocation: Revocation,
    /// It stands where the application looks for it.
    is_expected: bool,
}

impl Credentials {
    fn in_head(finder: &Finder, request: &request::Parts) -> Self {
        let mut credentials = Self::default();
        let _ = finder.find_in_head(request.into(), |found| {
            credentials.came_by_itself |= found.came_by_itself;
            credentials.add(finder, &found);
            ControlFlow::Continue(())
        });
        credentials
    }

    async fn add_body<B: Body>(
        &mut self,
        gate: &Gate,
        headers: &HeaderMap,
        body: B,
        gone: impl Future<Output = ()>,
    ) -> Result<(), ReplyKind> {
        let read = read_body(headers, body, gate.max_body_size, gone);
        let body = timeout(ARRIVES_WITHIN, read).await.unwrap_or(Err(ReplyKind::BodyBroken))?;
        let mut in_body = Self::default();
        let look = gate.finder.find_in_body(&body, |found| {
            in_body.add(&gate.finder, &found);
            if in_body.found.len() > MOST_IN_BODY {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        if look.is_break() {
            return Err(ReplyKind::TooManyTokens);
        }
        for credential in in_body.found {
            self.add_once(credential);
        }
        Ok(())
    }

    fn add(&mut self, finder: &Finder, found: &Found<'_>) {
        if let (CredentialKind::Unrecognized, Some(place)) = (found.kind, found.place) {
            finder.warn_of_something_else(place);
        }
        let is_expected = found.is_expected();
        self.add_once(Credential { revocation: found.revocation(), is_expected });
    }

    fn add_once(&mut self, credential: Credential) {
        match self.known.entry(credential.revocation.hash) {
            Entry::Vacant(entry) => {
                entry.insert(self.found.len());
                self.found.push(credential);
            }
            Entry::Occupied(entry) => {
                self.found[*entry.get()].is_expected |= credential.is_expected;
            }
        }
    }

    fn into_revocations(mut self) -> Vec<Revocation> {
        self.found.sort_by_key(|credential| !credential.is_expected);
        let mut sent = 0;
        let revocations = self.found.into_iter().map(|Credential { mut revocation, .. }| {
            sent += usize::from(revocation.kind.is_token());
            revocation.is_one_too_many = sent > MOST_SENT;
            revocation
        });
        revocations.collect()
    }
}
