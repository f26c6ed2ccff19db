//! Tokens in Polar's shape, and which of them are alive.

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
    /// What calls are told.
    committed: Life,
    /// What it will be once the commits under way are through.
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
    /// The access token; a refresh token does not expire.
    pub(super) has_expired: bool,
    /// Seconds since the epoch.
    pub(super) issued_at: u64,
    /// Seconds since the epoch; the access token's, also where this is the refresh token.
    pub(super) expires_at: u64,
}

impl Found {
    pub(super) fn is_alive(&self) -> bool {
        !self.has_ended && (self.kind == Kind::Refresh || !self.has_expired)
    }
}

/// Every token ever minted here.
pub(super) struct Tokens {
    pairs: Vec<Pair>,
    by_text: HashMap<String, (PairId, Kind)>,
    /// One moment on both clocks: tokio's may be paused, and the system's may not be asked later.
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

    /// What calls are told: nothing yet of a commit that is under way.
    pub(super) fn find(&self, token: &str) -> Option<Found> {
        self.look_up(token, |pair| pair.committed)
    }

    /// How it ends: a commit that is under way counts as done.
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

    /// The commit is under way: it will come, and calls are not told of it yet.
    pub(super) fn promise(&mut self, commit: &Commit) {
        if let Commit::Issue { pair, grant } = commit {
            let TokenPair { access, refresh } = pair;
            self.insert(Owner::App, grant.lifetime(), Life::Unborn, access, Some(refresh));
        }
        if let Some(old) = self.row(commit.ends()) {
            old.settled = Life::Ended;
        }
    }

    /// `true` if this ended a live pair.
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
