//! What becomes of a request: it passes, it logs out, or it carries what is revoked.

use std::ops::ControlFlow;

use http::{HeaderValue, request};
use tracing::debug;

use crate::answers::{Prepared, ReplyKind};
use crate::location::{Found, Head, PlaceId};
use crate::policy::Policy;
use crate::signal::Carried;
use crate::token::{CredentialKind, FoundIn, TokenHash};
use crate::when_revoked::WhenRevoked;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// It carries what is revoked, or may be: see [`Policy::strip`].
    Strip,
    Logout,
}

/// A request without what is revoked.
#[derive(Debug)]
pub(crate) struct Stripped {
    /// What is left.
    pub(crate) carried: Carried,
    /// `Set-Cookie` values for its response.
    pub(crate) cookie_removals: Vec<HeaderValue>,
}

impl Policy {
    /// Decides, and keeps what the request carries if something may come of that later.
    #[inline]
    pub(crate) fn verdict(&self, head: Head<'_>, carried: &mut Carried) -> Verdict {
        // First, so that repeating a logout is harmless.
        if self.logout_routes.iter().any(|route| route.matches(head.method, head.uri)) {
            return Verdict::Logout;
        }
        let keeps = self.finder.has_cookies();
        let look = self.finder.find_in_head(head, |found| {
            if self.logout.denylist.contains(&found.hash) || self.is_unsure() {
                return ControlFlow::Break(());
            }
            if keeps && found.is_expected() {
                carried.push(found.hash);
            }
            ControlFlow::Continue(())
        });
        if look.is_break() { Verdict::Strip } else { Verdict::Pass }
    }

    /// Takes what is revoked out of a request, and says how it goes on, or what it is answered.
    #[cold]
    pub(crate) fn strip(&self, parts: &mut request::Parts) -> Result<Stripped, Box<Prepared>> {
        let is_anonymous = self.when_revoked.at(parts.uri.path()) == WhenRevoked::Anonymous;
        let is_unsure = self.is_unsure();
        let mut dead = Dead::default();
        self.finder.take_out(parts, |found| {
            let is_dead = self.logout.denylist.contains(&found.hash);
            if is_dead {
                dead.add(found);
            }
            is_dead || is_unsure && is_anonymous
        });
        let mut left = Left::default();
        let _ = self.finder.find_in_head((&*parts).into(), |found| {
            left.add(&found, self.logout.denylist.contains(&found.hash));
            ControlFlow::Continue(())
        });
        // What one cookie of a name holds, another cookie of the name may not take along.
        let cookies = dead.places.iter().filter(|place| !left.living_places.contains(place));
        let cookie_removals = cookies.flat_map(|place| self.finder.removals_of(*place)).cloned();
        if let Some(hash) = left.dead {
            // In the path, or where else it cannot be taken out.
            return Err(self.reject(hash, cookie_removals.collect()));
        }
        if is_unsure && left.any {
            self.logout.counters.unsure.increment();
            return Err(Box::new(ReplyKind::Unsure.into()));
        }
        if !is_anonymous && let Some(hash) = dead.rejected_unless(left.lives) {
            return Err(self.reject(hash, cookie_removals.collect()));
        }
        if dead.any {
            self.logout.counters.stripped.increment();
            debug!(step = "stripped", "a request goes on without its revoked credentials");
        }
        let cookie_removals = if is_anonymous { cookie_removals.collect() } else { Vec::new() };
        Ok(Stripped { carried: left.carried, cookie_removals })
    }

    fn reject(&self, hash: TokenHash, cookie_removals: Vec<HeaderValue>) -> Box<Prepared> {
        self.note_rejected(hash);
        Box::new(Prepared { cookie_removals, ..ReplyKind::Rejected.into() })
    }
}

/// What was taken out of a request.
#[derive(Default)]
struct Dead {
    any: bool,
    /// A token in a header that its sender must have put there.
    in_header: Option<TokenHash>,
    /// A token in a configured place, where it may have been planted or left over.
    in_place: Option<TokenHash>,
    /// The configured places of all that was taken out.
    places: Vec<PlaceId>,
}

impl Dead {
    fn add(&mut self, found: &Found<'_>) {
        self.any = true;
        self.places.extend(found.place.filter(|place| !self.places.contains(place)));
        if !found.kind.is_token() {
            return;
        }
        match found.carrier {
            FoundIn::Authorization | FoundIn::Header => self.in_header = Some(found.hash),
            _ if found.place.is_some() => self.in_place = Some(found.hash),
            _ => {}
        }
    }

    fn rejected_unless(&self, lives: bool) -> Option<TokenHash> {
        self.in_header.or(self.in_place.filter(|_| !lives))
    }
}

/// What is left in a request.
#[derive(Default)]
struct Left {
    any: bool,
    dead: Option<TokenHash>,
    carried: Carried,
    /// Whether a living access token stands in a configured place: it signs its user in. A made-up one
    /// gains nothing, since it is all that the application sees.
    lives: bool,
    living_places: Vec<PlaceId>,
}

impl Left {
    fn add(&mut self, found: &Found<'_>, is_dead: bool) {
        if is_dead {
            self.dead = Some(found.hash);
            return;
        }
        self.any = true;
        if found.is_expected() {
            self.carried.push(found.hash);
        }
        self.lives |= found.place.is_some() && found.kind == CredentialKind::AccessToken;
        self.living_places.extend(found.place.filter(|it| !self.living_places.contains(it)));
    }
}
