//! Documents in (`write`, whose bodies `formats` reads) and out (`read`).

mod formats;
pub mod read;
mod sorted;
pub mod write;
