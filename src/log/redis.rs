//! A revocation log in a Redis stream, which all replicas of an app share.
//!
//! Each append is one entry of the stream. Each replica reads the stream from the beginning, and
//! then the entries that the others append. The stream is history, not state: entries that are old
//! enough to say nothing new are trimmed.

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

/// A [`RevocationLog`] in a Redis stream, which all replicas of an app share. Tokens that one
/// replica revokes are rejected by the others within milliseconds. If a replica dies, another one
/// delivers its pending tokens.
///
/// - It requires Redis 6.2 or newer, or Valkey.
/// - Neither Sentinel nor Redis Cluster is supported: use the URL of the primary.
/// - A clone is another handle of the same log.
/// - One log belongs to one layer. If building that layer fails, the log is free again.
///
/// # While Redis is down
///
/// Events are held in memory, at most 100,000 appends, and are written in their order once Redis is
/// back. Appends resolve to [`Kept::ForNow`] within two seconds, or at once if Redis is already
/// known to be down. Events that are still held when the process ends are lost.
///
/// The log writes a `WARN` event with the reason when Redis goes down, and an `INFO` event when it
/// is back.
///
/// # Durability
///
/// An append is durable once Redis has acknowledged it. How much survives depends on Redis:
///
/// - With `appendonly yes` and `appendfsync always`, all acknowledged appends survive a crash.
/// - With `appendfsync everysec`, all but those of the last second survive.
/// - Without either, or in a failover, more may be lost.
///
/// Each replica notices when Redis has lost events, and appends again those that it knows. So an
/// event is not lost permanently while a replica that knows it is running.
///
/// # The stream
///
/// The stream holds hashes of tokens, expiries, and tokens sealed under a key that is derived from
/// the client secret. It never holds a usable token.
///
/// An entry is removed once it is older than the longest lifetime of a revocation in the stream
/// plus one hour, but not before its token is delivered. Redis must not evict the stream: set
/// `maxmemory-policy` to `noeviction` or to one of the `volatile-` policies.
///
/// Expiries are stored by Redis's clock, so the clocks of the replicas may differ.
///
/// An ACL user needs `XADD`, `XREAD`, `XRANGE`, `XTRIM`, `TIME`, `MULTI` and `EXEC` on the stream's
/// key.
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
    /// Shared by all handles: an assignment applies to all of them.
    assigned: Arc<std::sync::Mutex<Option<Arc<Assigned>>>>,
}

/// The state of a log that belongs to a layer. Its tasks and connections end when it is dropped.
struct Assigned {
    shared: Arc<Shared>,
    reader: Mutex<Reader>,
    _writer: AbortOnDropHandle<()>,
}

impl RedisLog {
    /// A log in the Redis at this URL:
    ///
    /// - `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, or `rediss://` for TLS. The default
    ///   port is 6379, and the default database 0.
    /// - On Unix also a socket: `unix:///PATH[?db=DATABASE&user=USER&pass=PASSWORD]`.
    ///
    /// This method does not connect yet. The log connects when the layer is built, and again
    /// whenever the connection is lost.
    ///
    /// # Errors
    ///
    /// The URL has another form. The message does not repeat the URL.
    pub fn connect(url: &str) -> Result<Self, Error> {
        Ok(Self {
            address: Address::parse(url)?,
            stream: None,
            adopt_after: Duration::from_secs(30),
            roots: Vec::new(),
            assigned: Arc::default(),
        })
    }

    /// The stream's key. Default `polar-logout:` and the client id, so that apps can share a Redis.
    #[must_use]
    pub fn stream(mut self, key: impl Into<String>) -> Self {
        self.stream = Some(key.into());
        self
    }

    /// How long a replica may take to claim a token again before the others consider it dead: see
    /// [`RevocationLog::adopt_after`]. Default 30 s.
    ///
    /// One of the others then delivers the token, after the time-out of a call to Polar (35 s) has
    /// passed too, and after a random wait of up to half of this time.
    #[must_use]
    pub fn adopt_after(mut self, time: Duration) -> Self {
        self.adopt_after = time;
        self
    }

    /// Trusts these root certificates (PEM) in addition to the system's, for a `rediss://` URL and
    /// a private authority. They are read when the layer is built. If they are invalid, the build
    /// fails.
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
                "the Redis log does not belong to a layer yet: pass it to `revocation_log()` of a \
                 layer's builder, and build the layer",
            )
        })
    }
}

impl RevocationLog for RedisLog {
    fn assign(&self, client_id: &str) -> Result<(), Error> {
        let mut assignment = self.assignment();
        if assignment.is_some() {
            return Err(Error::log(
                "the Redis log is in use by another layer: create another one for this layer with \
                 `RedisLog::connect()`",
            ));
        }
        let runtime = Handle::try_current().map_err(|error| {
            Error::new(ErrorKind::Runtime, "there is no tokio runtime: build the layer inside one")
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
                    Error::log("the cursor is not from a Redis stream: follow from the beginning")
                })?,
            };
            Ok(self.assigned()?.reader.lock().await.follow(after).await?)
        })
    }

    /// As [`RevocationLog::append`]. The events are appended even if the future is never polled.
    fn append(&self, events: Vec<Event>) -> LogFuture<'_, Kept> {
        if events.is_empty() {
            return Box::pin(std::future::ready(Ok(Kept::Durably)));
        }
        // Appended now, not when the future is polled: a caller that hangs up must not undo it.
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
