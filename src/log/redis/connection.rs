//! One connection to Redis, and the time it takes.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, Value};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::address::{Address, Place};
use super::clock::Clock;
use super::refusal::Refusal;
use super::reply;
use crate::log::millis::millis;

/// For all of it: the name, the connection, TLS, the password.
const CONNECT: Duration = Duration::from_secs(1);

/// Which stream of which Redis.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: Address,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) key: String,
}

/// Ends when it is dropped.
pub(super) struct Connection {
    target: Arc<Target>,
    redis: MultiplexedConnection,
    driver: AbortOnDropHandle<()>,
    clock: Clock,
}

impl Connection {
    pub(super) async fn open(target: &Arc<Target>) -> Result<Self, Refusal> {
        let late = || {
            let what = "cannot be reached in time: check host and port, and any firewall between";
            Err(Refusal::new(target, what))
        };
        timeout(CONNECT, Self::connect(target)).await.unwrap_or_else(|_| late())
    }

    async fn connect(target: &Arc<Target>) -> Result<Self, Refusal> {
        let address = &target.address;
        let unreachable =
            |error| Refusal::io(target, "cannot be reached: is it up? Check host and port", error);
        match (&address.place, &target.tls) {
            (Place::Tcp { host, port, .. }, tls) => {
                let tcp = TcpStream::connect((&**host, *port)).await.map_err(unreachable)?;
                tcp.set_nodelay(true).map_err(unreachable)?;
                let Some(tls) = tls else { return Self::greet(target, tcp).await };
                let untrusted = |error| {
                    let what = "cannot be spoken to over TLS: does it want TLS, and is its \
                                certificate for this host and from an authority known here?";
                    Refusal::io(target, what, error)
                };
                let name = ServerName::try_from(host.clone())
                    .map_err(|error| untrusted(io::Error::other(error)))?;
                let connector = TlsConnector::from(Arc::clone(tls));
                Self::greet(target, connector.connect(name, tcp).await.map_err(untrusted)?).await
            }
            #[cfg(unix)]
            (Place::Unix(path), _) => {
                let stream = tokio::net::UnixStream::connect(path).await.map_err(unreachable)?;
                Self::greet(target, stream).await
            }
        }
    }

    /// Logs in by itself, since the crate's own errors may repeat what was sent.
    async fn greet<S>(target: &Arc<Target>, stream: S) -> Result<Self, Refusal>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let address = &target.address;
        // Time-outs are of our own: a blocking read takes longer than any of the crate's.
        let config =
            AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let nobody = RedisConnectionInfo::default().set_skip_set_lib_name();
        let (redis, driver) = MultiplexedConnection::new_with_config(&nobody, stream, config)
            .await
            .map_err(|error| Refusal::broken(target, &error))?;
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        let clock = Clock::measured(0, 0, 0);
        let mut connection = Self { target: Arc::clone(target), redis, driver, clock };

        if let Some(password) = &address.password {
            let mut login = Pipeline::new();
            login.cmd("AUTH").arg(address.user.as_ref()).arg(password);
            match &connection.send(&login).await?[..] {
                [Value::Okay] => {}
                [Value::ServerError(error)] => return Err(Refusal::login(target, error)),
                _ => return Err(Refusal::foreign(target)),
            }
        }
        if address.database != 0 {
            let mut select = Pipeline::new();
            select.cmd("SELECT").arg(address.database);
            match &connection.send(&select).await?[..] {
                [Value::Okay] => {}
                [Value::ServerError(error)] => return Err(Refusal::database(target, error)),
                _ => return Err(Refusal::foreign(target)),
            }
        }
        connection.query(Pipeline::new(), CONNECT).await?;
        Ok(connection)
    }

    /// The answers to these commands, errors of Redis's among them, within `patience`. After an
    /// error of ours, or where the future is dropped, an answer may still be on its way: the
    /// connection is not to be used again.
    pub(super) async fn query(
        &mut self,
        mut commands: Pipeline,
        patience: Duration,
    ) -> Result<Vec<Value>, Refusal> {
        commands.cmd("TIME");
        // Rounded up, as `millis` does.
        let asked = millis(SystemTime::now()).saturating_sub(1);
        let mut answers = timeout(patience, self.send(&commands))
            .await
            .map_err(|_| Refusal::late(&self.target))??;
        let answered = millis(SystemTime::now());
        match answers.pop() {
            Some(Value::ServerError(error)) => Err(Refusal::server(&self.target, &error)),
            Some(time) => {
                let redis = reply::time(&time).ok_or_else(|| self.foreign())?;
                self.clock = Clock::measured(asked, answered, redis);
                Ok(answers)
            }
            None => Err(self.foreign()),
        }
    }

    async fn send(&mut self, commands: &Pipeline) -> Result<Vec<Value>, Refusal> {
        let sent = self.redis.send_packed_commands(commands, 0, commands.len()).await;
        let answers = sent.map_err(|error| Refusal::broken(&self.target, &error))?;
        if answers.len() == commands.len() { Ok(answers) } else { Err(self.foreign()) }
    }

    /// Redis's, as the last answer told it.
    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }

    pub(super) fn foreign(&self) -> Refusal {
        Refusal::foreign(&self.target)
    }
}
