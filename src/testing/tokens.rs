//! The tokens that the server has issued, and whether they are alive.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::commit::Commit;
use super::pair::{PairId, TokenPair, issue};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    App,
    Another,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Access,
    Refresh,
}

/// A row of Polar's token table.
struct Pair {
    owner: Owner,
    lifetime: Duration,
    issued: Instant,
    /// The state that calls see.
    committed: Life,
    /// The state after the pending commits.
    settled: Life,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Unborn,
    Live,
    Ended,
}

/// A token of a committed pair, dead or alive.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) pair: PairId,
    pub(super) kind: Kind,
    pub(super) owner: Owner,
    /// Revoked, or used up by a refresh.
    pub(super) has_ended: bool,
    /// Whether the access token has expired; a refresh token does not expire.
    pub(super) has_expired: bool,
    /// Seconds since the epoch.
    pub(super) issued_at: u64,
    /// Seconds since the epoch. For a refresh token it is the expiry of its access token.
    pub(super) expires_at: u64,
}

impl Found {
    pub(super) fn is_alive(&self) -> bool {
        !self.has_ended && (self.kind == Kind::Refresh || !self.has_expired)
    }
}

/// Every token that this server has issued.
pub(super) struct Tokens {
    pairs: Vec<Pair>,
    by_text: HashMap<String, (PairId, Kind)>,
    /// The same moment on both clocks. Only tokio's is read later, because tests can pause it.
    start: (Instant, Duration),
}

impl Tokens {
    pub(super) fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { pairs: Vec::new(), by_text: HashMap::new(), start: (Instant::now(), since_epoch) }
    }

    pub(super) fn mint(&mut self, owner: Owner, lifetime: Duration) -> TokenPair {
        let pair = TokenPair::issue();
        self.insert(owner, lifetime, Life::Live, &pair.access, Some(&pair.refresh));
        pair
    }

    pub(super) fn mint_access_only(&mut self, owner: Owner, lifetime: Duration) -> String {
        let access = issue("polar_at_u_");
        self.insert(owner, lifetime, Life::Live, &access, None);
        access
    }

    fn insert(
        &mut self,
        owner: Owner,
        lifetime: Duration,
        committed: Life,
        access: &str,
        refresh: Option<&str>,
    ) {
        let id = PairId(self.pairs.len());
        let (issued, settled) = (Instant::now(), Life::Live);
        self.pairs.push(Pair { owner, lifetime, issued, committed, settled });
        self.by_text.insert(access.to_owned(), (id, Kind::Access));
        if let Some(refresh) = refresh {
            self.by_text.insert(refresh.to_owned(), (id, Kind::Refresh));
        }
    }

    /// Finds a token in the state that calls see: without the pending commits.
    pub(super) fn find(&self, token: &str) -> Option<Found> {
        self.look_up(token, |pair| pair.committed)
    }

    /// Whether the token is alive, if the pending commits count as done.
    pub(super) fn is_alive(&self, token: &str) -> bool {
        self.look_up(token, |pair| pair.settled).is_some_and(|found| found.is_alive())
    }

    fn look_up(&self, token: &str, life: impl Fn(&Pair) -> Life) -> Option<Found> {
        let (id, kind) = *self.by_text.get(token)?;
        let pair = self.pairs.get(id.0).filter(|pair| life(pair) != Life::Unborn)?;
        let (start, since_epoch) = self.start;
        let issued = since_epoch + pair.issued.duration_since(start);
        Some(Found {
            pair: id,
            kind,
            owner: pair.owner,
            has_ended: life(pair) == Life::Ended,
            has_expired: pair.issued.elapsed() >= pair.lifetime,
            issued_at: issued.as_secs(),
            expires_at: (issued + pair.lifetime).as_secs(),
        })
    }

    /// Registers a pending commit. Calls do not see it yet.
    pub(super) fn promise(&mut self, commit: &Commit) {
        if let Commit::Issue { pair, grant } = commit {
            let TokenPair { access, refresh } = pair;
            self.insert(Owner::App, grant.lifetime(), Life::Unborn, access, Some(refresh));
        }
        if let Some(old) = self.row(commit.ends()) {
            old.settled = Life::Ended;
        }
    }

    /// Applies a commit. Returns `true` if it ended a live pair.
    pub(super) fn commit(&mut self, commit: &Commit) -> bool {
        if let Commit::Issue { pair, .. } = commit {
            let id = self.by_text.get(&pair.access).map(|(id, _)| *id);
            if let Some(new) = self.row(id) {
                new.committed = Life::Live;
            }
        }
        self.row(commit.ends())
            .is_some_and(|old| std::mem::replace(&mut old.committed, Life::Ended) == Life::Live)
    }

    fn row(&mut self, id: Option<PairId>) -> Option<&mut Pair> {
        self.pairs.get_mut(id?.0)
    }
}
