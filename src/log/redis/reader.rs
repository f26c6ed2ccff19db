//! What the stream says, from a cursor on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redis::{Pipeline, Value};
use tokio::time::Instant;
use tracing::warn;

use super::batch_size::BatchSize;
use super::clock::Clock;
use super::connection::Connection;
use super::id::Id;
use super::refusal::{self, Refusal};
use super::reply;
use super::shared::Shared;
use super::trim::Trim;
use super::unseen::{Reached, Read};
use super::wire;
use crate::log::millis::millis;
use crate::log::{Cursor, Followed};

/// How long a read waits in Redis for an entry to come, and how much longer for its answer.
const BLOCK_MILLIS: u64 = 1_000;
const PATIENCE: Duration = Duration::from_millis(BLOCK_MILLIS + 2_000);

/// How often the stream is trimmed, by each replica; spread by as much again.
const TRIM: Duration = Duration::from_secs(400);

/// What was trimmed at once was not all of it, perhaps.
const TRIM_MORE: Duration = Duration::from_secs(10);

pub(super) struct Reader {
    shared: Arc<Shared>,
    /// Taken while it is in use: where a read is given up, so is the connection, since the answer
    /// may be on its way.
    connection: Option<Connection>,
    /// All was read, and the next read may wait.
    is_current: bool,
    pace: BatchSize,
    clock: Option<Clock>,
    horizon: Trim,
    /// `None` until all was read once.
    trim_at: Option<Instant>,
}

struct Asked {
    after: Id,
    count: usize,
    read: Read,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            connection: None,
            is_current: false,
            pace: BatchSize::new(),
            clock: None,
            horizon: Trim::after(Id::ZERO),
            trim_at: None,
        }
    }

    pub(super) async fn follow(&mut self, mut after: Id) -> Result<Followed, Refusal> {
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => {
                self.is_current = false;
                Connection::open(&self.shared.target).await?
            }
        };
        let mut has_lost = false;
        let mut lost = Vec::new();
        loop {
            if self.horizon.is_elsewhere(after) {
                self.begin_anew(after);
            }
            let read = self.shared.outbox().unseen.read();
            let asked = Asked { after, count: self.pace.ask(), read };
            let trim_to = self.trim_to(connection.clock());
            let commands = self.commands(&asked, trim_to);
            let mut answers = connection.query(commands, PATIENCE).await?.into_iter();
            let mut next = || self.answer(answers.next().unwrap_or(Value::Nil));

            let entries = reply::entries_read(next()?).ok_or_else(|| connection.foreign())?;
            let checked = next()?;
            if trim_to.is_some() {
                self.trimmed(answers.next());
            }
            let mut followed = self.told(&entries, &asked, &connection)?;
            if after != Id::ZERO && matches!(checked, Value::Array(found) if found.is_empty()) {
                // What was read before it was lost, nobody else may have.
                lost.append(&mut followed.events);
                (after, has_lost) = (Id::ZERO, true);
                continue;
            }
            // By a clock that was set forward, what was stored before expires too early.
            let clock = connection.clock();
            has_lost |= self.clock.replace(clock).is_some_and(|known| clock.is_far_ahead_of(known));
            followed.events.append(&mut lost);
            self.connection = Some(connection);
            return Ok(followed.with_lost(has_lost));
        }
    }

    fn begin_anew(&mut self, after: Id) {
        self.is_current = false;
        self.horizon = Trim::after(after);
        self.trim_at = None;
    }

    /// All in one round trip. Where the read waits, the others wait behind it, and so tell of the
    /// stream as it is after.
    fn commands(&self, asked: &Asked, trim_to: Option<Id>) -> Pipeline {
        let key = &self.shared.target.key;
        let mut commands = Pipeline::new();
        let read = commands.cmd("XREAD").arg("COUNT").arg(asked.count);
        if self.is_current {
            read.arg("BLOCK").arg(BLOCK_MILLIS);
        }
        let after = asked.after.to_string();
        read.arg("STREAMS").arg(key).arg(&after);
        if asked.after == Id::ZERO {
            // Trims nothing: it is to be found out now whether this user, at this server, may write.
            commands.cmd("XTRIM").arg(key).arg("MINID").arg("0-1");
        } else {
            commands.cmd("XRANGE").arg(key).arg(&after).arg(&after);
        }
        if let Some(id) = trim_to {
            commands.cmd("XTRIM").arg(key).arg("MINID").arg("~").arg(id.to_string());
        }
        commands
    }

    fn answer(&self, answer: Value) -> Result<Value, Refusal> {
        match answer {
            Value::ServerError(error) => Err(refusal::server(&self.shared.target, &error)),
            answer => Ok(answer),
        }
    }

    fn told(
        &mut self,
        entries: &[Value],
        asked: &Asked,
        connection: &Connection,
    ) -> Result<Followed, Refusal> {
        let clock = connection.clock();
        let mut events = Vec::with_capacity(entries.len());
        let mut own = Vec::new();
        let mut skipped = Skipped::default();
        let mut last = asked.after;
        for value in entries {
            let (id, content) = reply::entry(value).ok_or_else(|| connection.foreign())?;
            last = id;
            match content.ok_or(NOT_OURS).and_then(wire::decode) {
                Ok((origin, records)) => {
                    if origin.replica == self.shared.replica {
                        own.push(origin.number);
                    }
                    self.horizon.read(id, &records);
                    events.extend(records.into_iter().map(|record| record.to_event(clock)));
                }
                Err(reason) => {
                    self.horizon.read(id, &[]);
                    skipped.count(id, reason);
                }
            }
        }
        self.pace.answered(asked.count, events.len());
        let is_current = entries.len() < asked.count;
        let reached = if is_current { Reached::End } else { Reached::Id(last) };
        self.write_again(self.shared.outbox().found(asked.read, own, reached));
        self.is_current = is_current;
        if is_current {
            self.trim_at.get_or_insert_with(Instant::now);
        }
        let cursor = Cursor::new(last.to_string());
        Ok(Followed::new(events, cursor).with_current(is_current).with_skipped(skipped.tell()))
    }

    fn write_again(&self, lost: usize) {
        if lost > 0 {
            warn!(lost, "Redis has lost what it had acknowledged: it is written again");
            self.shared.work.notify_one();
        }
    }

    /// Where to trim the stream now, where it is time to.
    fn trim_to(&self, clock: Clock) -> Option<Id> {
        self.trim_at.filter(|at| *at <= Instant::now())?;
        Some(self.horizon.at(clock.to_redis(millis(SystemTime::now()))))
    }

    fn trimmed(&mut self, answer: Option<Value>) {
        let pause = match answer {
            Some(Value::Int(entries)) if entries > 0 => TRIM_MORE,
            Some(Value::ServerError(error)) => {
                let reason = refusal::server(&self.shared.target, &error);
                warn!(%reason, "the revocation stream cannot be trimmed, and grows");
                TRIM
            }
            _ => TRIM,
        };
        self.trim_at = Some(Instant::now() + pause.mul_f64(1.0 + fastrand::f64()));
    }
}

const NOT_OURS: &str = "it has other fields than this crate's";

/// Entries of one read that cannot be understood.
#[derive(Default)]
struct Skipped {
    count: u64,
    first: Option<(Id, &'static str)>,
}

impl Skipped {
    fn count(&mut self, id: Id, reason: &'static str) {
        self.count += 1;
        self.first.get_or_insert((id, reason));
    }

    /// Once for all of them: somebody else's stream has many.
    fn tell(self) -> u64 {
        if let Some((id, reason)) = self.first {
            let skipped = self.count;
            warn!(skipped, first = %id, reason, "entries of the revocation stream are skipped");
        }
        self.count
    }
}
