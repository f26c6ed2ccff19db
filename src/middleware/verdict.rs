//! What becomes of a request: it passes, it logs out, or it carries what is revoked.

use std::ops::ControlFlow;

use http::{HeaderValue, request};
use smallvec::SmallVec;
use tracing::debug;

use super::answers::{Prepared, ReplyKind};
use super::gate::Gate;
use super::when_revoked::WhenRevoked;
use crate::location::{Found, Head, PlaceId};
use crate::revocation::Carried;
use crate::token::{CredentialKind, FoundIn, TokenHash};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// It carries what is revoked, or may be: see [`Gate::strip`].
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

impl Gate {
    /// Decides, and keeps what the request carries if something may come of that later.
    #[inline]
    pub(crate) fn verdict(&self, head: Head<'_>, carried: &mut Carried) -> Verdict {
        // First, so that repeating a logout is harmless.
        if self.logout_routes.iter().any(|route| route.matches(head.method, head.uri)) {
            return Verdict::Logout;
        }
        let keeps = self.finder.has_cookies();
        let look = self.finder.find_in_head(head, |found| {
            if self.revoker.denylist.contains(&found.hash) || self.is_unsure() {
                return ControlFlow::Break(());
            }
            if keeps && found.is_expected() {
                carried.push(found.hash);
            }
            ControlFlow::Continue(())
        });
        if look.is_break() { Verdict::Strip } else { Verdict::Pass }
    }

    /// Says what a request with something revoked is answered, or takes that out, and says how it
    /// goes on.
    #[cold]
    #[allow(
        clippy::result_large_err,
        reason = "of nearly all of these requests it is what comes of it"
    )]
    pub(crate) fn strip(&self, parts: &mut request::Parts) -> Result<Stripped, Prepared> {
        let is_anonymous = self.when_revoked.at(parts.uri.path()) == WhenRevoked::Anonymous;
        let is_unsure = self.is_unsure();
        let Seen { dead, left } = self.see((&*parts).into());
        // What one cookie of a name holds, another cookie of the name may not take along.
        let cookies = dead.places.iter().filter(|place| !left.living_places.contains(place));
        let removals = cookies.flat_map(|place| self.finder.removals_of(*place)).cloned().collect();
        if !is_anonymous && let Some(hash) = dead.rejected_unless(left.lives) {
            return Err(self.reject(hash, removals));
        }
        self.finder.take_out(parts, |found| {
            is_unsure && is_anonymous || self.revoker.denylist.contains(&found.hash)
        });
        // Once more: a living credential may have gone with a dead one that it could not be
        // separated from, and what stands in the path, for example, cannot go at all.
        let still = self.see((&*parts).into());
        let rejected = dead.rejected_unless(still.left.lives).filter(|_| !is_anonymous);
        if let Some(hash) = rejected.or(still.dead.any) {
            return Err(self.reject(hash, removals));
        }
        if is_unsure && still.left.any {
            self.revoker.counters.unsure.increment();
            return Err(ReplyKind::Unsure.into());
        }
        if let Some(hash) = dead.any {
            self.revoker.counters.stripped.increment();
            debug!(step = "stripped", ?hash, "a request goes on without its revoked credentials");
        }
        let cookie_removals = if is_anonymous { removals } else { Vec::new() };
        Ok(Stripped { carried: still.left.carried, cookie_removals })
    }

    fn see(&self, head: Head<'_>) -> Seen {
        let mut seen = Seen::default();
        let _ = self.finder.find_in_head(head, |found| {
            if self.revoker.denylist.contains(&found.hash) {
                seen.dead.add(&found);
            } else {
                seen.left.add(&found);
            }
            ControlFlow::Continue(())
        });
        seen
    }

    fn reject(&self, hash: TokenHash, cookie_removals: Vec<HeaderValue>) -> Prepared {
        self.note_rejected(hash);
        Prepared { cookie_removals, ..ReplyKind::Rejected.into() }
    }
}

/// What a request carries.
#[derive(Default)]
struct Seen {
    dead: Dead,
    left: Left,
}

/// Of few places, seldom of more than one.
type Places = SmallVec<[PlaceId; 4]>;

/// What is revoked.
#[derive(Default)]
struct Dead {
    any: Option<TokenHash>,
    /// A token in `Authorization` or another header that its sender must have put there.
    in_header: Option<TokenHash>,
    /// A token in a configured place, where it may have been planted or left over.
    in_place: Option<TokenHash>,
    places: Places,
}

impl Dead {
    fn add(&mut self, found: &Found<'_>) {
        self.any = Some(found.hash);
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

/// What is not.
#[derive(Default)]
struct Left {
    any: bool,
    carried: Carried,
    /// Whether a living access token stands in a configured place: it signs its user in. A made-up
    /// one gains nothing, since it is all that the application sees.
    lives: bool,
    living_places: Places,
}

impl Left {
    fn add(&mut self, found: &Found<'_>) {
        self.any = true;
        if found.is_expected() {
            self.carried.push(found.hash);
        }
        self.lives |= found.place.is_some() && found.kind == CredentialKind::AccessToken;
        self.living_places.extend(found.place.filter(|it| !self.living_places.contains(it)));
    }
}
