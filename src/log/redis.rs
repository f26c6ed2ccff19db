//! The revocation log as a stream in Redis, which all replicas of an application share.
//!
//! Each append is one entry of the stream, and every replica reads the stream from its beginning,
//! and then what the others append. The stream is history, not state: entries that say nothing any
//! more are trimmed away by their age.

mod address;
mod batch_size;
mod clock;
mod connection;
mod id;
mod outbox;
mod reader;
mod refusal;
mod reply;
mod shared;
mod target;
mod trim;
mod unseen;
mod wire;
mod writer;

use std::fmt;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use self::address::Address;
use self::id::Id;
use self::reader::Reader;
use self::shared::Shared;
use self::target::Target;
use self::writer::Writer;
use super::{Cursor, Event, Followed, Kept, LogFuture, RevocationLog};
use crate::error::{Error, ErrorKind};
use crate::tls;

/// A [`RevocationLog`] in a Redis stream, which all replicas of an application share: what one
/// revokes the others reject within milliseconds, and what one could not deliver before it died
/// another delivers.
///
/// Redis 6.2 or newer, or Valkey. Give the URL of the primary: neither Sentinel nor Redis Cluster
/// is supported. A clone is another handle of the same log, and one log belongs to one layer, also
/// where building that layer failed: connect another to try again.
///
/// # Where Redis is away
///
/// The log neither fails nor waits for it: events are held in memory, 100,000 appends at most, and
/// are written once Redis is back, in their order. Whoever appends them is told after two seconds
/// at the latest, or at once where it is known already, that they are kept [for now](Kept::ForNow)
/// only. Those that are held when the process ends are lost. The log writes a `WARN` when Redis
/// goes away, with the reason, and an `INFO` when it is back.
///
/// # Durability
///
/// An append is durable once Redis has acknowledged it, as far as Redis is: with `appendonly yes`
/// and `appendfsync always` it survives a crash of Redis, with `everysec` all but the last second
/// does, and without either, or in a failover, more may be lost. Each replica notices that Redis has
/// lost something, and appends again what it knows; so nothing is lost for good while one replica
/// that knows it lives.
///
/// # The stream
///
/// It holds hashes of tokens, expiries, and tokens sealed under a key derived from the client
/// secret, never a token one could use. An entry is removed an hour after the longest revocation in
/// the stream would have ended had it begun with it, and not before its token is delivered. Redis
/// must not evict it: `maxmemory-policy noeviction`, or one of the `volatile-` policies.
///
/// Expiries are stored by Redis's clock, so the replicas' own clocks may differ.
///
/// A user of an ACL needs `XADD`, `XREAD`, `XRANGE`, `XTRIM`, `TIME`, `MULTI` and `EXEC` on the
/// stream's key.
///
/// ```no_run
/// # fn main() -> Result<(), tower_polar_logout::Error> {
/// use tower_polar_logout::RedisLog;
///
/// let log = RedisLog::connect("redis://:password@redis.internal:6379/0")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisLog {
    address: Address,
    stream: Option<String>,
    adopt_after: Duration,
    roots: Vec<u8>,
    /// Shared by all handles: assigned once, it is for all of them.
    assigned: Arc<std::sync::Mutex<Option<Arc<Assigned>>>>,
}

/// What a log has once it is a layer's. Tasks and connections end when it is dropped.
struct Assigned {
    shared: Arc<Shared>,
    reader: Mutex<Reader>,
    _writer: AbortOnDropHandle<()>,
}

impl RedisLog {
    /// A log in the Redis at this URL: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, with
    /// `rediss://` for TLS. The port is 6379 and the database 0 where none is given. On Unix a
    /// socket too: `unix:///PATH[?db=DATABASE&user=USER&pass=PASSWORD]`.
    ///
    /// Only reads the URL. The log connects when the layer is built, and again whenever the
    /// connection is lost.
    ///
    /// # Errors
    ///
    /// It is not such a URL. The message does not repeat it.
    pub fn connect(url: &str) -> Result<Self, Error> {
        Ok(Self {
            address: Address::parse(url)?,
            stream: None,
            adopt_after: Duration::from_secs(30),
            roots: Vec::new(),
            assigned: Arc::default(),
        })
    }

    /// The stream's key. Default `polar-logout:` and the client id, so that applications which
    /// share a Redis do not mix.
    #[must_use]
    pub fn stream(mut self, key: impl Into<String>) -> Self {
        self.stream = Some(key.into());
        self
    }

    /// How long a replica may go without claiming a token again until the others take it for dead:
    /// see [`RevocationLog::adopt_after`]. Default 30 s. One of them delivers the token once the
    /// time-out of a call to Polar (35 s) has passed too, and up to half of this time later, by chance.
    #[must_use]
    pub fn adopt_after(mut self, time: Duration) -> Self {
        self.adopt_after = time;
        self
    }

    /// Trusts these root certificates (PEM) too, beside the system's: for a `rediss://` URL and a
    /// private authority. They are read when the layer is built, which fails where they cannot be.
    #[must_use]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = pem.into();
        self
    }

    fn target(&self, client_id: &str) -> Result<Target, Error> {
        let tls = if self.address.is_tls() {
            Some(Arc::new(tls::client_config(&self.roots, true)?))
        } else {
            None
        };
        let key = self.stream.clone().unwrap_or_else(|| format!("polar-logout:{client_id}"));
        Ok(Target { address: self.address.clone(), tls, key })
    }

    fn assignment(&self) -> MutexGuard<'_, Option<Arc<Assigned>>> {
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn assigned(&self) -> Result<Arc<Assigned>, Error> {
        self.assignment().clone().ok_or_else(|| {
            Error::log(
                "the Redis log belongs to no layer yet: give it to `revocation_log` of a layer's \
                 builder, and build the layer",
            )
        })
    }
}

impl RevocationLog for RedisLog {
    fn assign(&self, client_id: &str) -> Result<(), Error> {
        let mut assignment = self.assignment();
        if assignment.is_some() {
            return Err(Error::log(
                "the Redis log is in use by another layer: connect another for this one",
            ));
        }
        let runtime = Handle::try_current().map_err(|error| {
            Error::new(ErrorKind::Runtime, "no tokio runtime: build the layer from within one")
                .with_source(error)
        })?;
        let shared = Arc::new(Shared::new(self.target(client_id)?));
        let writer = runtime.spawn(Writer::new(Arc::clone(&shared)).run());
        let reader = Mutex::new(Reader::new(Arc::clone(&shared)));
        let assigned = Assigned { shared, reader, _writer: AbortOnDropHandle::new(writer) };
        *assignment = Some(Arc::new(assigned));
        Ok(())
    }

    fn release(&self) {
        *self.assignment() = None;
    }

    fn follow(&self, after: Option<Cursor>) -> LogFuture<'_, Followed> {
        Box::pin(async move {
            let after = match after {
                None => Id::ZERO,
                Some(cursor) => Id::parse(cursor.as_str().as_bytes()).ok_or_else(|| {
                    Error::log("the cursor is none of a Redis stream's: follow from the beginning")
                })?,
            };
            Ok(self.assigned()?.reader.lock().await.follow(after).await?)
        })
    }

    /// As [`RevocationLog::append`]. The events are on their way once this returns, whether the
    /// future is polled or not.
    fn append(&self, events: Vec<Event>) -> LogFuture<'_, Kept> {
        if events.is_empty() {
            return Box::pin(std::future::ready(Ok(Kept::Durably)));
        }
        // Now and not when first polled: a caller that hangs up must not undo it.
        let appended = self.assigned().and_then(|assigned| assigned.shared.append(events));
        Box::pin(async { appended?.await.map_err(|_| outbox::ended()) })
    }

    fn adopt_after(&self) -> Duration {
        self.adopt_after
    }
}

/// Without the password.
impl fmt::Debug for RedisLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLog")
            .field("address", &self.address)
            .field("stream", &self.stream)
            .field("adopt_after", &self.adopt_after)
            .finish_non_exhaustive()
    }
}
