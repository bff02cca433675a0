//! Who is there, and who leads: kept by scripts of their own, which are no writes of anybody's term.

use std::collections::HashMap;
use std::time::Duration;

use redis::{FromRedisValue, Script, Value};
use tokio::time::Instant;

use super::link::{pause, Call, Failure, Link, CALL_TIMEOUT};
use crate::conf::Secret;
use crate::store::{Candidacy, Peer, RollCall, StoreError};

pub struct Roll {
    call_roll: Script,
    leave: Script,
}

impl Roll {
    pub fn new() -> Self {
        Self {
            call_roll: Script::new(include_str!("scripts/call_roll.lua")),
            leave: Script::new(include_str!("scripts/leave.lua")),
        }
    }

    /// `secret` becomes that of all Miroirs on this store if there is none yet.
    pub async fn call(
        &self,
        (link, prefix): (&Link, &str),
        me: &Peer,
        candidacy: Candidacy,
        lease: Duration,
        secret: &str,
    ) -> Result<RollCall, StoreError> {
        let (stands, lease_ms) = (candidacy_code(candidacy), lease.as_millis().to_string());
        let arguments =
            [&me.id[..], &me.address, stands, &lease_ms, secret].map(|argument| argument.as_bytes().to_vec());
        let value = sent(link, &Call::Script { script: &self.call_roll, prefix, arguments: &arguments }).await?;
        let (leader, term, secret, peers): (String, u64, String, HashMap<String, String>) =
            FromRedisValue::from_redis_value(value).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let peers = peers.into_iter().map(|(id, address)| Peer { id, address });
        let peers: Vec<Peer> = peers.collect();
        let leader = peers.iter().find(|peer| peer.id == leader).cloned();
        Ok(RollCall { leader, term, peers, secret: Secret::new(secret) })
    }

    pub async fn leave(&self, (link, prefix): (&Link, &str), me: &Peer) -> Result<(), StoreError> {
        let arguments = [me.id.as_bytes().to_vec()];
        sent(link, &Call::Script { script: &self.leave, prefix, arguments: &arguments }).await.map(drop)
    }
}

const fn candidacy_code(candidacy: Candidacy) -> &'static str {
    match candidacy {
        Candidacy::No => "no",
        Candidacy::Stands => "stands",
        Candidacy::StartsHere => "starts here",
    }
}

/// Sends what may be done twice as it is, until the deadline.
async fn sent(link: &Link, call: &Call<'_>) -> Result<Value, StoreError> {
    let deadline = Instant::now() + CALL_TIMEOUT;
    loop {
        match link.attempt(call, deadline).await {
            Ok(value) => return Ok(value),
            Err(Failure::NotNow(_) | Failure::InDoubt(_)) if pause(deadline).await => {}
            Err(failure) => return Err(link.error(failure)),
        }
    }
}
