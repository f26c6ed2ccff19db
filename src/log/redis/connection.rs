//! One connection to Redis, and the time it takes.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, ServerError, Value};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::address::{Address, Place};
use super::clock::Clock;
use super::refusal::{self, Refusal};
use super::reply;
use super::target::Target;
use crate::log::millis::millis;

/// For all of it: the name, the connection, TLS, the password.
const CONNECT: Duration = Duration::from_secs(1);

/// Ends when it is dropped.
pub(super) struct Connection {
    target: Arc<Target>,
    redis: MultiplexedConnection,
    driver: AbortOnDropHandle<()>,
    clock: Clock,
}

impl Connection {
    pub(super) async fn open(target: &Arc<Target>) -> Result<Self, Refusal> {
        let deadline = Instant::now() + CONNECT;
        match &target.address.place {
            Place::Tcp { host, port, .. } => {
                let tcp = TcpStream::connect((&**host, *port));
                let tcp = reached(target, timeout_at(deadline, tcp).await)?;
                // Without it, it is slower, and no less right.
                let _ = tcp.set_nodelay(true);
                match &target.tls {
                    None => Self::greet(target, tcp, deadline).await,
                    Some(tls) => {
                        let tls = timeout_at(deadline, secure(tls, host, tcp)).await;
                        Self::greet(target, secured(target, tls)?, deadline).await
                    }
                }
            }
            #[cfg(unix)]
            Place::Unix(path) => {
                let stream = timeout_at(deadline, tokio::net::UnixStream::connect(path)).await;
                Self::greet(target, reached(target, stream)?, deadline).await
            }
        }
    }

    async fn greet<S>(target: &Arc<Target>, stream: S, deadline: Instant) -> Result<Self, Refusal>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Time-outs are of our own: a blocking read takes longer than any of the crate's.
        let config =
            AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let nobody = RedisConnectionInfo::default().set_skip_set_lib_name();
        let (redis, driver) = MultiplexedConnection::new_with_config(&nobody, stream, config)
            .await
            .map_err(|error| refusal::broken(target, &error))?;
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        let clock = Clock::measured(0, 0, 0);
        let mut connection = Self { target: Arc::clone(target), redis, driver, clock };
        let logged_in = timeout_at(deadline, connection.log_in()).await;
        logged_in.unwrap_or_else(|_| Err(refusal::late(target)))?;
        Ok(connection)
    }

    /// By our own commands: the errors of the crate's may repeat the password.
    async fn log_in(&mut self) -> Result<(), Refusal> {
        let target = Arc::clone(&self.target);
        let Address { user, password, database, .. } = &target.address;
        if let Some(password) = password {
            let login = redis::cmd("AUTH").arg(user.as_ref()).arg(password.as_str()).take();
            self.command(login, refusal::login).await?;
        }
        if *database != 0 {
            let select = redis::cmd("SELECT").arg(*database).take();
            self.command(select, refusal::database).await?;
        }
        let asked = now();
        let time = self.ask(&redis::cmd("TIME")).await?;
        self.set_clock(asked, time)
    }

    async fn command(
        &mut self,
        command: Cmd,
        refusal: fn(&Target, &ServerError) -> Refusal,
    ) -> Result<(), Refusal> {
        match self.ask(&command).await? {
            Value::Okay => Ok(()),
            Value::ServerError(error) => Err(refusal(&self.target, &error)),
            _ => Err(self.foreign()),
        }
    }

    /// Alone, since the crate does not say of several commands why they were not understood.
    async fn ask(&mut self, command: &Cmd) -> Result<Value, Refusal> {
        let answer = self.redis.send_packed_command(command).await;
        answer.map_err(|error| refusal::broken(&self.target, &error))
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
        let count = commands.len();
        let asked = now();
        let mut answers = timeout(patience, self.redis.send_packed_commands(&commands, 0, count))
            .await
            .map_err(|_| refusal::late(&self.target))?
            .map_err(|error| refusal::broken(&self.target, &error))?;
        match answers.pop() {
            Some(time) if answers.len() + 1 == count => {
                self.set_clock(asked, time)?;
                Ok(answers)
            }
            _ => Err(self.foreign()),
        }
    }

    fn set_clock(&mut self, asked: u64, time: Value) -> Result<(), Refusal> {
        if let Value::ServerError(error) = time {
            return Err(refusal::server(&self.target, &error));
        }
        let redis = reply::time(&time).ok_or_else(|| self.foreign())?;
        self.clock = Clock::measured(asked.saturating_sub(1), now(), redis);
        Ok(())
    }

    /// Redis's, as the last answer told it.
    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }

    pub(super) fn foreign(&self) -> Refusal {
        refusal::foreign(&self.target)
    }
}

/// Rounded up.
fn now() -> u64 {
    millis(SystemTime::now())
}

async fn secure(
    tls: &Arc<ClientConfig>,
    host: &str,
    tcp: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await
}

fn reached<S>(target: &Target, stream: Result<io::Result<S>, Elapsed>) -> Result<S, Refusal> {
    stream.unwrap_or_else(|late| Err(late.into())).map_err(|error| {
        let what = "cannot be reached: is it up? Check host and port, and any firewall between";
        refusal::io(target, what, error)
    })
}

fn secured<S>(target: &Target, stream: Result<io::Result<S>, Elapsed>) -> Result<S, Refusal> {
    stream.unwrap_or_else(|late| Err(late.into())).map_err(|error| {
        let what = "cannot be spoken to over TLS: does it want TLS, and is its certificate for \
                    this host and from an authority known here?";
        refusal::io(target, what, error)
    })
}
