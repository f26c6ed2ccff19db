//! The task that writes appends to Redis.

use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, Value};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::connection::Connection;
use super::id::Id;
use super::outbox::Parcel;
use super::refusal::{self, Refusal};
use super::reply;
use super::shared::Shared;
use super::wire::{self, Origin};
use crate::log::Event;

/// How many appends may share a round trip.
const BATCH: usize = 1_000;
/// How many events may share a round trip, unless a single append has more.
const BATCH_EVENTS: usize = 2_000;

/// How many events may share an entry. A larger append is written as several entries in a
/// transaction.
const ENTRY: usize = 1_000;

/// How long Redis may take to acknowledge, plus as much again for each mebibyte.
const PATIENCE: Duration = Duration::from_secs(1);
const MEBIBYTE: usize = 1 << 20;

/// A connection is tested after it was idle for this long, so that no logout has to wait for a dead
/// connection.
const IDLE: Duration = Duration::from_secs(10);

const MOST_PATIENCE: u32 = 32;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Writer {
    shared: Arc<Shared>,
    connection: Option<Connection>,
    outage: Option<Outage>,
}

struct Outage {
    reason: String,
    pause: Duration,
    /// The factor by which Redis may take longer than usual.
    patience: u32,
    /// How many appends were written since Redis came back.
    written: usize,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, connection: None, outage: None }
    }

    /// Runs until it is aborted.
    pub(super) async fn run(mut self) {
        loop {
            match self.step().await {
                Ok(written) => self.back(written),
                Err(refusal) => {
                    let pause = self.away(&refusal);
                    sleep(pause).await;
                    continue;
                }
            }
            // A notification may be about work that the last step has already done.
            while self.shared.outbox().is_empty()
                && timeout(IDLE, self.shared.work.notified()).await.is_ok()
            {}
        }
    }

    /// Writes at most one batch, and returns how many appends it had.
    async fn step(&mut self) -> Result<usize, Refusal> {
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => Connection::open(&self.shared.target).await?,
        };
        let (mut appends, mut events) = (0, 0);
        let mut parcels = self.shared.outbox().take(|next| {
            appends += 1;
            events += next.len();
            appends == 1 || (appends <= BATCH && events <= BATCH_EVENTS)
        });
        let written = self.write(&mut connection, &mut parcels).await;
        self.shared.outbox().put_back(parcels);
        if written.is_ok() {
            self.connection = Some(connection);
        }
        written
    }

    /// Writes the `parcels`, and leaves those in it that could not be written.
    async fn write(
        &self,
        connection: &mut Connection,
        parcels: &mut Vec<(u64, Parcel)>,
    ) -> Result<usize, Refusal> {
        let mut commands = Pipeline::new();
        let mut bytes = 0;
        for (number, parcel) in &*parcels {
            bytes += self.add(&mut commands, *number, &parcel.events, connection);
        }
        let clock = connection.clock();
        // The wait grows with each failed try, so that a large batch passes a slow connection.
        let tries = self.outage.as_ref().map_or(1, |outage| outage.patience);
        let mebibytes = u32::try_from(bytes / MEBIBYTE).unwrap_or(u32::MAX);
        let patience = PATIENCE.saturating_mul(mebibytes.saturating_add(1)).saturating_mul(tries);
        let mut answers = connection.query(commands, patience).await?.into_iter();
        if !parcels.is_empty() && connection.clock().is_ahead_of(clock) {
            // Redis's clock was set forward, so the expiries are too early. Writes them again.
            return Ok(0);
        }

        let mut outbox = self.shared.outbox();
        let mut refusal = None;
        let mut refused = Vec::new();
        let count = parcels.len();
        for (number, parcel) in parcels.drain(..) {
            match self.acknowledged(&mut answers, parcel.events.len(), connection) {
                Ok(id) => outbox.written(number, parcel, id),
                Err(why) => {
                    refusal = Some(why);
                    refused.push((number, parcel));
                }
            }
        }
        drop(outbox);
        *parcels = refused;
        refusal.map_or(Ok(count), Err)
    }

    /// Adds the commands that write all of these events or none. Returns their size in bytes.
    fn add(
        &self,
        commands: &mut Pipeline,
        number: u64,
        events: &[Event],
        connection: &Connection,
    ) -> usize {
        let origin = Origin { replica: self.shared.replica, number };
        let is_transaction = events.len() > ENTRY;
        let mut bytes = 0;
        if is_transaction {
            commands.cmd("MULTI");
        }
        for events in events.chunks(ENTRY) {
            let content = wire::encode(origin, events, connection.clock());
            bytes += content.len();
            commands
                .cmd("XADD")
                .arg(&self.shared.target.key)
                .arg("*")
                .arg(wire::FIELD)
                .arg(content);
        }
        if is_transaction {
            commands.cmd("EXEC");
        }
        bytes
    }

    /// Takes the answers to the commands of [`Self::add`]. Returns the id of the last entry.
    fn acknowledged(
        &self,
        answers: &mut impl Iterator<Item = Value>,
        events: usize,
        connection: &Connection,
    ) -> Result<Id, Refusal> {
        // The answers to MULTI and to each XADD come before the answer to EXEC.
        let before = if events > ENTRY { 1 + events.div_ceil(ENTRY) } else { 0 };
        let refuse = |error| refusal::server(&self.shared.target, &error);
        let mut refusal = None;
        for answer in answers.take(before) {
            if let Value::ServerError(error) = answer {
                refusal.get_or_insert(refuse(error));
            }
        }
        let last = answers.next().ok_or_else(|| connection.foreign())?;
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let added = match last {
            Value::Array(all) => all,
            one => vec![one],
        };
        let mut last = None;
        for answer in added {
            match answer {
                Value::ServerError(error) => return Err(refuse(error)),
                id => last = Some(reply::id_added(&id).ok_or_else(|| connection.foreign())?),
            }
        }
        last.ok_or_else(|| connection.foreign())
    }

    /// Returns how long to wait before the next try.
    fn away(&mut self, refusal: &Refusal) -> Duration {
        let holds_some = {
            let mut outbox = self.shared.outbox();
            outbox.away();
            !outbox.is_empty()
        };
        let reason = refusal.to_string();
        let outage = self.outage.get_or_insert_with(|| Outage {
            reason: String::new(),
            pause: FIRST_PAUSE,
            patience: 1,
            written: 0,
        });
        // While there is nothing to write, the reader reports that Redis is down.
        if holds_some && outage.reason != reason {
            warn!(%reason, "revocations cannot be written to Redis and are held in memory");
            outage.reason = reason;
        }
        outage.patience = (outage.patience * 2).min(MOST_PATIENCE);
        let pause = outage.pause;
        outage.pause = (pause * 2).min(LONGEST_PAUSE);
        pause.mul_f64(0.5 + 0.5 * fastrand::f64())
    }

    fn back(&mut self, written: usize) {
        let is_all_written = self.shared.outbox().back();
        let Some(outage) = &mut self.outage else { return };
        outage.written += written;
        if is_all_written {
            // The end of an outage is reported only if its beginning was.
            if !outage.reason.is_empty() {
                let written = outage.written;
                info!(written, "Redis accepts writes again, and all held revocations are written");
            }
            self.outage = None;
        }
    }
}
