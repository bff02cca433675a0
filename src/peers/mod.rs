//! Several Miroirs on one store: one leads, all serve reads.
//!
//! The leader does everything that changes anything, as if it were alone: it takes writes, follows tasks, keeps logs, watches settings.
//! The others route reads by its [`Picture`] of the cluster and pass everything else on to it. `lead` is how long it may act, `reads` how long
//! each may read, `followers` what it knows of the others, `following` what one of them knows of it, `leader_client` how that one asks. When the leader dies
//! another one opens the store as after a crash: `docs/decisions/024-several-miroirs.md`.

mod followers;
mod following;
mod lead;
mod leader_client;
mod picture;
mod reads;

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::cluster::IndexUid;

pub use followers::Followers;
pub use following::Following;
pub use lead::Lead;
pub use leader_client::{CallFailed, LeaderClient};
pub use picture::{Known, News, Picture};
pub use reads::ReadLease;

/// How much longer than a lease reads last: another leader has to begin, and to tell what it knows.
const TAKEOVER_TIME: Duration = Duration::from_secs(5);

/// How long a follower reads by what the leader told it last, from when it began to ask: until another one leads, if that one has died. The
/// leader waits as long for one that it hears nothing of, from when it heard of it last: later, so that it never goes on while somebody
/// reads by what was before.
pub fn reads_last(lease: Duration) -> Duration {
    lease + TAKEOVER_TIME
}

/// Longest time that the leader has a follower wait for news.
pub const NEWS_WAIT: Duration = Duration::from_secs(1);

/// The header that tells a Miroir of the same store from a client.
pub const PEER_SECRET: http::HeaderName = http::HeaderName::from_static("x-miroir-peer");

/// What a Miroir is among those on its store.
pub enum Role {
    Leads { term: u64, followers: std::sync::Arc<Followers> },
    Follows(Following),
}

/// Whether something called `name` is this Miroir's to look after, and none of `others`': each name has one Miroir, and few of them change theirs
/// when one comes or goes (rendezvous hashing).
pub fn is_in_share(me: &str, others: &[String], name: &IndexUid) -> bool {
    let weight = |peer: &str| (xxh3_64(format!("{peer}/{name}").as_bytes()), peer.to_owned());
    let own = weight(me);
    others.iter().all(|other| weight(other) <= own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_in_one_share_and_stays_there_when_another_miroir_goes() {
        let peers = ["a", "b", "c"].map(str::to_owned);
        let names: Vec<IndexUid> = (0..300).map(|n| IndexUid::parse(&format!("index-{n}")).unwrap()).collect();
        let owner = |peers: &[String], name: &IndexUid| {
            let owners: Vec<&String> = peers.iter().filter(|me| is_in_share(me, peers, name)).collect();
            assert_eq!(owners.len(), 1, "{name}");
            owners[0].clone()
        };
        for name in &names {
            let before = owner(&peers, name);
            assert!(before == "c" || owner(&peers[..2], name) == before, "{name} has moved");
        }
        let of_a = names.iter().filter(|name| owner(&peers, name) == "a").count();
        assert!((60..140).contains(&of_a), "{of_a} of 300");
    }
}
