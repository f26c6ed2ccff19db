//! Reads the stream from a cursor on.

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

/// How long a read waits in Redis for a new entry.
const BLOCK_MILLIS: u64 = 1_000;
/// How long to wait for the answer to a read.
const PATIENCE: Duration = Duration::from_millis(BLOCK_MILLIS + 2_000);

/// How often each replica trims the stream. A random wait of up to as long is added.
const TRIM: Duration = Duration::from_secs(400);

/// The same after entries were trimmed, since there may be more to trim.
const TRIM_MORE: Duration = Duration::from_secs(10);

pub(super) struct Reader {
    shared: Arc<Shared>,
    /// Taken while it is in use: if a read is given up, so is the connection, because the answer
    /// may still come.
    connection: Option<Connection>,
    /// All entries were read, so the next read may wait in Redis.
    is_current: bool,
    batch_size: BatchSize,
    clock: Option<Clock>,
    trim: Trim,
    /// `None` until all entries were read once.
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
            batch_size: BatchSize::new(),
            clock: None,
            trim: Trim::after(Id::ZERO),
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
            if self.trim.is_elsewhere(after) {
                self.restart(after);
            }
            let read = self.shared.outbox().unseen.read();
            let asked = Asked { after, count: self.batch_size.ask(), read };
            let trim_to = self.trim_to(connection.clock());
            let commands = self.commands(&asked, trim_to);
            let mut answers = connection.query(commands, PATIENCE).await?.into_iter();
            let mut next = || self.answer(answers.next().unwrap_or(Value::Nil));

            let entries = reply::entries_read(next()?).ok_or_else(|| connection.foreign())?;
            let checked = next()?;
            if trim_to.is_some() {
                self.trimmed(answers.next());
            }
            let mut followed = self.take_entries(&entries, &asked, &connection)?;
            if after != Id::ZERO && matches!(checked, Value::Array(found) if found.is_empty()) {
                // The stream was lost after this read. No other replica may have these events.
                lost.append(&mut followed.events);
                (after, has_lost) = (Id::ZERO, true);
                continue;
            }
            // If Redis's clock was set forward, events that were stored before expire too early.
            let clock = connection.clock();
            has_lost |= self.clock.replace(clock).is_some_and(|known| clock.is_far_ahead_of(known));
            followed.events.append(&mut lost);
            self.connection = Some(connection);
            return Ok(followed.with_lost(has_lost));
        }
    }

    fn restart(&mut self, after: Id) {
        self.is_current = false;
        self.trim = Trim::after(after);
        self.trim_at = None;
    }

    /// All commands of one round trip. The other commands come after the read, so they show the
    /// stream as it is after the read has waited.
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
            // Trims nothing, but shows already now whether this user may write to this server.
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

    fn take_entries(
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
                    self.trim.read(id, &records);
                    events.extend(records.into_iter().map(|record| record.to_event(clock)));
                }
                Err(reason) => {
                    self.trim.read(id, &[]);
                    skipped.count(id, reason);
                }
            }
        }
        self.batch_size.answered(asked.count, events.len());
        let is_current = entries.len() < asked.count;
        let reached = if is_current { Reached::End } else { Reached::Id(last) };
        self.write_again(self.shared.outbox().found(asked.read, own, reached));
        self.is_current = is_current;
        if is_current {
            self.trim_at.get_or_insert_with(Instant::now);
        }
        let cursor = Cursor::new(last.to_string());
        Ok(Followed::new(events, cursor).with_current(is_current).with_skipped(skipped.report()))
    }

    fn write_again(&self, lost: usize) {
        if lost > 0 {
            warn!(lost, "Redis lost appends that it had acknowledged; they are written again");
            self.shared.work.notify_one();
        }
    }

    /// The id up to which to trim the stream now, if it is time to.
    fn trim_to(&self, clock: Clock) -> Option<Id> {
        self.trim_at.filter(|at| *at <= Instant::now())?;
        Some(self.trim.at(clock.to_redis(millis(SystemTime::now()))))
    }

    fn trimmed(&mut self, answer: Option<Value>) {
        let pause = match answer {
            Some(Value::Int(entries)) if entries > 0 => TRIM_MORE,
            Some(Value::ServerError(error)) => {
                let reason = refusal::server(&self.shared.target, &error);
                warn!(%reason, "the revocation stream cannot be trimmed and keeps growing");
                TRIM
            }
            _ => TRIM,
        };
        self.trim_at = Some(Instant::now() + pause.mul_f64(1.0 + fastrand::f64()));
    }
}

const NOT_OURS: &str = "it does not have the field that this crate writes";

/// The entries of one read that cannot be decoded.
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

    /// One event for all entries, because the stream of another program can have many.
    fn report(self) -> u64 {
        if let Some((id, reason)) = self.first {
            let skipped = self.count;
            warn!(
                skipped, first = %id, reason,
                "entries of the revocation stream cannot be read and are skipped"
            );
        }
        self.count
    }
}
