//! Documents in and out.

pub mod read;
