//! One connection to Redis that all calls share, made anew when it is lost. Every call has a deadline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, Script, ServerErrorKind, Value,
};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{timeout, timeout_at, Instant};

use crate::store::StoreError;

/// How long a call goes on before its caller is told that Redis does not answer: a restart of Redis fits in, and the caller
/// hears of it well before its own client's patience ends.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long making a connection may take. Several attempts fit into one call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one attempt of a call waits for its answer. Scripts take milliseconds; a slow disk may hold an answer up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// Wait before the next attempt after one that failed.
const RETRY_WAIT: Duration = Duration::from_millis(100);
/// Calls at the same time. Beyond it callers wait for their turn: that is the back-pressure.
const CALLS_MAX: usize = 1_024;

/// Why an attempt has no result.
#[derive(Debug)]
pub enum Failure {
    /// There was no turn for it in time.
    Busy,
    /// It was not carried out, and may be when it is tried again.
    NotNow(String),
    /// Its answer is missing: it may have been carried out, or may yet be.
    InDoubt(String),
    /// A script declined with this code, having changed nothing.
    Declined(String),
    /// Redis refused it and will do so again.
    Refused(String),
}

/// What is sent.
pub enum Call<'a> {
    Command(&'a Cmd),
    Script { script: &'a Script, prefix: &'a str, arguments: &'a [Vec<u8>] },
}

pub struct Link {
    client: Client,
    /// The server without the credentials that lead to it.
    server: String,
    connection: Mutex<Option<(u64, MultiplexedConnection)>>,
    connections_made: AtomicU64,
    turns: Semaphore,
}

impl Link {
    /// Connects when it is first used.
    pub fn new(client: Client, server: String) -> Self {
        Self {
            client,
            server,
            connection: Mutex::default(),
            connections_made: AtomicU64::new(0),
            turns: Semaphore::new(CALLS_MAX),
        }
    }

    /// Sends a command that changes nothing, again after a lost connection, until the deadline.
    pub async fn read<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let deadline = Instant::now() + CALL_TIMEOUT;
        loop {
            match self.attempt(&Call::Command(command), deadline).await {
                Ok(value) => return T::from_redis_value(value).map_err(|error| StoreError::Corrupt(error.to_string())),
                Err(Failure::NotNow(_) | Failure::InDoubt(_)) if pause(deadline).await => {}
                Err(Failure::InDoubt(why)) => return Err(self.error(Failure::NotNow(why))),
                Err(failure) => return Err(self.error(failure)),
            }
        }
    }

    /// Sends once.
    pub async fn attempt(&self, call: &Call<'_>, deadline: Instant) -> Result<Value, Failure> {
        let Ok(Ok(_turn)) = timeout_at(deadline, self.turns.acquire()).await else {
            return Err(Failure::Busy);
        };
        let connected = timeout_at(deadline, self.connect()).await;
        let (number, mut connection) =
            connected.unwrap_or_else(|_| Err(Failure::NotNow("no connection in time".to_owned())))?;
        let answer_by = deadline.min(Instant::now() + ANSWER_TIMEOUT);
        let failure = match timeout_at(answer_by, send(call, &mut connection)).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => {
                // A server that has become a replica may have a successor under the same name.
                if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) {
                    self.forget(number).await;
                }
                failure_of(&error)
            }
            Err(_) => Failure::InDoubt("no answer in time".to_owned()),
        };
        if matches!(failure, Failure::InDoubt(_)) {
            self.forget(number).await;
        }
        Err(failure)
    }

    /// The connection, with its number. Whoever finds none makes it, and the others wait.
    async fn connect(&self) -> Result<(u64, MultiplexedConnection), Failure> {
        let mut current = self.connection.lock().await;
        if let Some(connection) = &*current {
            return Ok(connection.clone());
        }
        // Deadlines are ours: the connection's own would be told as an error like any other.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let made = timeout(CONNECT_TIMEOUT, self.client.get_multiplexed_async_connection_with_config(&config)).await;
        let made = made.map_err(|_| Failure::NotNow(format!("no connection within {CONNECT_TIMEOUT:?}")))?;
        // Nothing of ours went out yet, so nothing is in doubt.
        let connection = made.map_err(|error| match failure_of(&error) {
            Failure::InDoubt(why) => Failure::NotNow(why),
            failure => failure,
        })?;
        let number = self.connections_made.fetch_add(1, Ordering::Relaxed);
        if number > 0 {
            log::info!("connected to Redis at {} again", self.server);
        }
        Ok(current.insert((number, connection)).clone())
    }

    /// The next call makes a new connection, unless one has been made already.
    async fn forget(&self, number: u64) {
        let mut current = self.connection.lock().await;
        if current.as_ref().is_some_and(|(known, _)| *known == number) {
            log::warn!("the connection to Redis at {} is given up", self.server);
            *current = None;
        }
    }

    /// What the caller of a call that failed for good is told.
    pub fn error(&self, failure: Failure) -> StoreError {
        let server = &self.server;
        StoreError::Backend(match failure {
            Failure::Busy => return StoreError::Busy,
            Failure::Declined(code) if code == "DEPOSED" => return StoreError::Deposed,
            Failure::NotNow(why) => format!(
                "Redis at {server} cannot be reached ({why}); check that it runs and that miroir.task_store.url names it"
            ),
            Failure::InDoubt(why) => format!(
                "Redis at {server} cannot be reached or does not answer ({why}); check that it runs and that \
                 miroir.task_store.url names it. Whether the change was made is not known"
            ),
            Failure::Declined(code) => format!("Redis at {server} declined with {code}"),
            Failure::Refused(why) => format!("Redis at {server} refused: {why}"),
        })
    }
}

/// Waits before the next attempt. False if there is no time left for one.
pub async fn pause(deadline: Instant) -> bool {
    if Instant::now() + RETRY_WAIT >= deadline {
        return false;
    }
    tokio::time::sleep(RETRY_WAIT).await;
    true
}

async fn send(call: &Call<'_>, connection: &mut MultiplexedConnection) -> Result<Value, RedisError> {
    match call {
        Call::Command(command) => command.query_async(connection).await,
        Call::Script { script, prefix, arguments } => {
            let mut invocation = script.key(*prefix);
            for argument in *arguments {
                invocation.arg(&argument[..]);
            }
            invocation.invoke_async(connection).await
        }
    }
}

fn failure_of(error: &RedisError) -> Failure {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::ReadOnly,
        ) => Failure::NotNow(text),
        ErrorKind::AuthenticationFailed => {
            Failure::Refused("it does not take the user and password of miroir.task_store.url".to_owned())
        }
        ErrorKind::Server(_) | ErrorKind::Extension => match error.code() {
            // A script of somebody else holds Redis up; ours was not begun.
            Some("BUSY") => Failure::NotNow(text),
            Some(code @ ("FENCED" | "DEPOSED" | "TAKEN" | "NOUIDS")) => Failure::Declined(code.to_owned()),
            Some("NOAUTH" | "WRONGPASS") => {
                Failure::Refused("it does not take the user and password of miroir.task_store.url".to_owned())
            }
            Some("OOM") => Failure::Refused(format!("{text}. Give it more memory (maxmemory)")),
            Some("MISCONF") => Failure::Refused(format!("{text}. Its disk is full or fails")),
            _ => Failure::Refused(text),
        },
        ErrorKind::InvalidClientConfig | ErrorKind::Client => Failure::Refused(text),
        _ => Failure::InDoubt(text),
    }
}
