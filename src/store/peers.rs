//! Who else uses the store, and which of them leads.

use std::fmt;

use crate::conf::Secret;

/// A Miroir as others on its store know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Drawn anew by each process.
    pub id: String,
    /// `host:port` at which the others reach it.
    pub address: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the Miroir at {}", self.address)
    }
}

/// Whether a Miroir would lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidacy {
    /// Not now.
    No,
    /// If nobody else does.
    Stands,
    /// The same, and whoever has said that it is at this address is gone: this one has just begun to listen there.
    StartsHere,
}

/// Who is there, as the store tells whoever says that it is.
#[derive(Clone, Debug)]
pub struct RollCall {
    pub leader: Option<Peer>,
    /// Rises whenever somebody else begins to lead.
    pub term: u64,
    /// All that have been heard of lately, the one that asks among them.
    pub peers: Vec<Peer>,
    /// What Miroirs on this store tell each other by from clients. Empty where there are no others.
    pub secret: Secret,
}
