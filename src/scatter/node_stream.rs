//! A connection to a node that sends each request in one piece.
//!
//! Pingora's HTTP/1 client flushes a request's header, then its body. Each flush is a packet and wakes the node once more; over
//! three nodes that was nearly half of what a search cost the proxy. Here what is written waits until an answer is read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, BufStream, ReadBuf};

/// A request up to this size leaves in one piece: a search with its header does. What is larger is not held back.
const WRITE_BUFFER_BYTES: usize = 8 << 10;
/// An answer up to this size is taken with one call: a page of 20 documents with their score details is about half of it.
const READ_BUFFER_BYTES: usize = 32 << 10;

/// Holds flushes back until the next read. Right for HTTP/1 without `Expect`, where nobody waits for half a request.
#[derive(Debug)]
pub(super) struct NodeStream(BufStream<Stream>);

impl NodeStream {
    pub(super) fn new(stream: Stream) -> Self {
        Self(BufStream::with_capacity(READ_BUFFER_BYTES, WRITE_BUFFER_BYTES, stream))
    }
}

impl AsyncRead for NodeStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.0).poll_flush(cx))?;
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for NodeStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for NodeStream {
    async fn shutdown(&mut self) {
        self.0.get_mut().shutdown().await;
    }
}

impl UniqueID for NodeStream {
    fn id(&self) -> UniqueIDType {
        self.0.get_ref().id()
    }
}

/// Nodes are spoken to in the clear.
impl Ssl for NodeStream {}

impl Peek for NodeStream {}

impl GetTimingDigest for NodeStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.0.get_ref().get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.0.get_ref().get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.0.get_ref().get_write_pending_time()
    }
}

impl GetProxyDigest for NodeStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.0.get_ref().get_proxy_digest()
    }
}

impl GetSocketDigest for NodeStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.0.get_ref().get_socket_digest()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use pingora::protocols::l4;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Both ends of a connection.
    async fn connection() -> (NodeStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        near.set_nodelay(true).unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (NodeStream::new(Box::new(l4::stream::Stream::from(near))), far)
    }

    #[tokio::test]
    async fn header_and_body_leave_together_when_the_answer_is_read() {
        let (mut near, mut far) = connection().await;
        near.write_all(b"header ").await.unwrap();
        near.flush().await.unwrap();
        near.write_all(b"body").await.unwrap();
        near.flush().await.unwrap();
        let mut taken = [0; 64];
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(far.try_read(&mut taken).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));

        let node = async {
            let taken_bytes = far.read(&mut taken).await.unwrap();
            assert_eq!(&taken[..taken_bytes], b"header body");
            far.write_all(b"answer").await.unwrap();
        };
        let mut answer = [0; 6];
        let (_, read) = tokio::join!(node, near.read_exact(&mut answer));
        read.unwrap();
        assert_eq!(&answer, b"answer");
    }

    #[tokio::test]
    async fn a_request_larger_than_the_buffer_passes_whole() {
        let (mut near, mut far) = connection().await;
        let request: Vec<u8> = (0..10 * WRITE_BUFFER_BYTES + 1).map(|n| n as u8).collect();
        let mut taken = vec![0; request.len()];
        let node = async {
            far.read_exact(&mut taken).await.unwrap();
            far.write_all(b".").await.unwrap();
        };
        let proxy = async {
            for piece in request.chunks(WRITE_BUFFER_BYTES - 1) {
                near.write_all(piece).await.unwrap();
            }
            near.read_exact(&mut [0]).await.unwrap();
        };
        tokio::join!(node, proxy);
        assert!(taken == request);
    }
}
