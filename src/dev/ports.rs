//! Free ports on loopback.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{bail, Context};

/// Refuses a `port` that someone listens on, naming the `flag` that changes it. Port 0 is always free.
pub(super) fn require_free(port: u16, flag: &str) -> anyhow::Result<()> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            bail!("port {port} is taken by another program; choose another with {flag} ({flag} 0 picks a free one)")
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on port {port}; choose another with {flag}")),
    }
}

/// `count` different ports that were free a moment ago. Someone else may take one before it is used; whoever starts a
/// program on one must be ready to try another.
pub(super) fn pick_free(count: usize) -> anyhow::Result<Vec<u16>> {
    // All are held until the last is found, else the same could come twice.
    let held = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<io::Result<Vec<_>>>()
        .context("cannot find free ports on 127.0.0.1")?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// Whether nobody listens on `port`.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
