//! Measures a Miroir cluster from the outside, as a client sees it.
//!
//! - [`fidelity`]: does the cluster answer what one server with all the documents answers?
//! - [`latency`]: what does the way through the cluster cost, compared with asking a node directly?
//! - [`throughput`]: how many searches a second, compared with Meilisearch's own federated search over the same nodes?
//! - [`hedging`]: what does hedging do for the slowest searches, and what does it cost?
//! - [`stub`]: a node made slow or faulty.
//! - [`writes`]: what does the way through the cluster cost a write, compared with a single server?
//!
//! [`packages`] makes a large data set out of what Debian knows of its packages, and [`setup`] puts one into both sides.
//!
//! The first three send queries that [`generate`] makes out of the documents themselves ([`corpus`]), the same ones for the same
//! seed. [`client`] is this crate's own and shares nothing with the proxy, so that no mistake of the proxy can hide in
//! its measurement.

pub mod client;
pub mod compare;
pub mod corpus;
pub mod fidelity;
pub mod filters;
pub mod generate;
pub mod hedging;
pub mod latency;
pub mod packages;
pub mod prefix;
pub mod rank;
pub mod report;
pub mod setup;
pub mod stub;
pub mod throughput;
pub mod writes;
