//! Connections to nodes between two requests, in Pingora's pool.
//!
//! Pingora's connector puts a task beside each idle connection that watches for its end, and the task must be woken to let go
//! of the connection: of what a leg cost the proxy that was a fifth, most of it before the request left. Here a connection
//! is looked at when it is taken, and one that has ended or waited too long is dropped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::FutureExt;
use pingora::protocols::Stream;
use pingora_pool::{ConnectionMeta, ConnectionPool};
use tokio::io::AsyncReadExt;

use super::IDLE_CONNECTION_TIMEOUT;

/// Idle connections that are kept, over all nodes and threads. One more closes the one that was idle longest.
const IDLE_CONNECTIONS_MAX: usize = 1_024;

thread_local! {
    static THREAD: u64 = {
        static THREADS: AtomicU64 = AtomicU64::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed)
    };
}

/// Number of this thread among those that talk to nodes. A connection is only used again by the thread that opened it: the
/// kernel reports to that thread what arrives, and to tell another one costs two switches between threads.
pub(super) fn this_thread() -> u64 {
    THREAD.with(|thread| *thread)
}

struct Idle {
    stream: Stream,
    since: Instant,
}

pub(super) struct IdleConnections(ConnectionPool<Idle>);

impl Default for IdleConnections {
    fn default() -> Self {
        Self(ConnectionPool::new(IDLE_CONNECTIONS_MAX))
    }
}

impl IdleConnections {
    /// A connection that this thread opened and that seems to be open still. `peer` is the peer's reuse hash.
    pub(super) fn take(&self, peer: u64) -> Option<Stream> {
        // Ends: each turn takes one out of the pool.
        loop {
            let Idle { mut stream, since } = self.0.get(&peer)?;
            if since.elapsed() < IDLE_CONNECTION_TIMEOUT && is_quiet(&mut stream) {
                return Some(stream);
            }
        }
    }

    /// Keeps a connection on which a request and its whole answer have passed.
    pub(super) fn put(&self, peer: u64, mut stream: Stream) {
        if is_quiet(&mut stream) {
            let meta = ConnectionMeta::new(peer, stream.id());
            // Nobody waits to hear of its use or eviction.
            drop(self.0.put(&meta, Idle { stream, since: Instant::now() }));
        }
    }
}

/// Whether nothing has arrived since the last answer, neither its end nor something that nobody asked for.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0];
    // Outside of the task's budget, since a read that is put off would look like a quiet connection.
    tokio::task::unconstrained(stream.read(&mut byte)).now_or_never().is_none()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Both ends of a connection.
    async fn connection() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (Box::new(pingora::protocols::l4::stream::Stream::from(near)), far)
    }

    #[tokio::test]
    async fn a_connection_is_used_again_for_its_peer_only() {
        let idle = IdleConnections::default();
        let (near, _far) = connection().await;
        let id = near.id();
        idle.put(1, near);
        assert!(idle.take(0).is_none());
        assert_eq!(idle.take(1).map(|stream| stream.id()), Some(id));
        assert!(idle.take(1).is_none());
    }

    #[tokio::test]
    async fn a_connection_that_the_node_closed_is_not_used_again() {
        let idle = IdleConnections::default();
        let (near, far) = connection().await;
        idle.put(0, near);
        let (open, _far) = connection().await;
        let id = open.id();
        idle.put(0, open);
        drop(far);
        // The kernel reports the end when this thread next looks for events.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        assert_eq!(idle.take(0).map(|stream| stream.id()), Some(id));
    }

    #[tokio::test]
    async fn a_connection_on_which_something_came_unasked_is_not_used_again() {
        let idle = IdleConnections::default();
        let (near, mut far) = connection().await;
        far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        idle.put(0, near);
        assert!(idle.take(0).is_none());
    }

    #[test]
    fn threads_do_not_share_connections() {
        let here = this_thread();
        assert_eq!(this_thread(), here);
        assert_ne!(std::thread::spawn(this_thread).join().unwrap(), here);
    }
}
