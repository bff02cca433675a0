//! How a follower asks the leader, over plain HTTP. Calls block; each has a deadline.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::Serialize;

use super::{Known, News, NEWS_WAIT, PEER_SECRET};
use crate::cluster::IndexUid;
use crate::conf::Secret;
use crate::store::Peer;

/// Longest time for one call, beyond what the leader may take to have news. Well below the time that reads last without any.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// Largest picture of a cluster: a hundred thousand indexes of a few kilobytes.
const NEWS_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CallFailed(String);

pub struct LeaderClient {
    agent: ureq::Agent,
    me: Peer,
    secret: Secret,
}

impl LeaderClient {
    pub fn new(me: Peer, secret: Secret) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(NEWS_WAIT + CALL_TIMEOUT))
            .timeout_connect(Some(CALL_TIMEOUT))
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("Miroir/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into(), me, secret }
    }

    /// What is new after `known`, as soon as something is. `left` is the epoch before which no request goes by any more.
    pub fn news(&self, leader: &Peer, known: Known, left: u64) -> Result<News, CallFailed> {
        let Known { term, epoch } = known;
        let path = format!("news?peer={}&term={term}&epoch={epoch}&left={left}", self.me.id);
        let request = self.agent.get(url(leader, &path)).header(PEER_SECRET, self.secret.reveal());
        read(request.call())
    }

    /// This Miroir reads no more.
    pub fn leave(&self, leader: &Peer) -> Result<serde_json::Value, CallFailed> {
        let path = format!("news?peer={}&leaves", self.me.id);
        read(self.agent.get(url(leader, &path)).header(PEER_SECRET, self.secret.reveal()).call())
    }

    /// The settings of these indexes, by their names on the nodes, were found to be others than they should be.
    pub fn tell_of_drift(&self, leader: &Peer, indexes: &[IndexUid]) -> Result<serde_json::Value, CallFailed> {
        let request = self.agent.post(url(leader, "drift")).header(PEER_SECRET, self.secret.reveal());
        let body = serde_json::to_vec(&Drift { indexes }).map_err(|error| CallFailed(error.to_string()))?;
        read(request.header("content-type", "application/json").send(&body[..]))
    }
}

#[derive(Serialize)]
struct Drift<'a> {
    indexes: &'a [IndexUid],
}

fn url(leader: &Peer, path: &str) -> String {
    format!("http://{}/_miroir/peers/{path}", leader.address)
}

fn read<T: DeserializeOwned>(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<T, CallFailed> {
    let failed = |error: ureq::Error| CallFailed(error.to_string());
    let body = answer.map_err(failed)?.body_mut().with_config().limit(NEWS_BYTES_MAX).read_to_vec().map_err(failed)?;
    serde_json::from_slice(&body).map_err(|error| CallFailed(format!("its answer cannot be read: {error}")))
}
