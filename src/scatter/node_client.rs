//! One request to one node, over Pingora's connectors and their connection pools. Every exchange has a deadline and a size limit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};
use http::Method;
use pingora::connectors::TransportConnector;
use pingora::http::RequestHeader;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::protocols::{Stream, TcpKeepalive};
use pingora::upstreams::peer::{HttpPeer, Peer};

use super::idle_connections::IdleConnections;
use super::node_keys::{is_refusal, NodeKeys};
use super::node_stream::NodeStream;
use crate::cluster::{NodeId, NodeIndex, Topology};
use crate::conf::Secret;

/// Largest answer that is taken from a node. A page of 1,000 documents of 100 KB fits twice; without a limit one mad node
/// would end the proxy.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// How long an idle connection to a node is kept. Shorter than any node's own limit would cost reconnects, longer only memory.
pub const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// Time to connect to a node. Nodes stand nearby; one that does not accept within a second is as good as gone.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Probes of a connection on which nothing comes: a machine that has gone, or come back without it, is noticed within half a
/// minute, where a late answer is awaited for longer than that. One whose server hangs answers them.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive {
        idle: Duration::from_secs(10),
        interval: Duration::from_secs(5),
        count: 3,
        #[cfg(target_os = "linux")]
        user_timeout: Duration::ZERO,
    }
}

/// A request as a node gets it. The body is a rope: replicas of one shard share its buffers.
#[derive(Clone, Debug)]
pub struct NodeRequest {
    pub method: Method,
    pub path_and_query: String,
    pub content_type: Option<&'static str>,
    pub body: Vec<Bytes>,
}

impl NodeRequest {
    pub fn get(path_and_query: impl Into<String>) -> Self {
        Self { method: Method::GET, path_and_query: path_and_query.into(), content_type: None, body: Vec::new() }
    }

    pub fn delete(path_and_query: impl Into<String>) -> Self {
        Self { method: Method::DELETE, ..Self::get(path_and_query) }
    }

    pub fn json(method: Method, path_and_query: impl Into<String>, body: Bytes) -> Self {
        Self { method, path_and_query: path_and_query.into(), content_type: Some("application/json"), body: vec![body] }
    }
}

/// A node's whole answer.
#[derive(Clone, Debug)]
pub struct NodeAnswer {
    pub status: u16,
    pub body: Bytes,
    /// Time from the request to the answer's last byte, waiting for a connection included.
    pub took: Duration,
    /// For how long a node that answered 503 does not want to be asked, if it says so in seconds.
    pub retry_after: Option<Duration>,
}

impl NodeAnswer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why a node gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum LegError {
    #[error("cannot connect to node {node}: {cause}")]
    Connect { node: NodeId, cause: String },
    #[error("node {node} did not answer within {} ms", .after.as_millis())]
    Timeout { node: NodeId, after: Duration },
    #[error("the connection to node {node} broke: {cause}")]
    Broken { node: NodeId, cause: String },
    #[error("node {node} refuses the key that it is asked with: node_master_key is not its master key")]
    KeyRefused { node: NodeId },
    #[error("the answer of node {node} is larger than {ANSWER_BYTES_MAX} bytes")]
    AnswerTooLarge { node: NodeId },
    #[error("node {node} answered {what}, with status {status}")]
    Garbled { node: NodeId, status: u16, what: &'static str },
}

/// What stopped an exchange on an open connection.
enum Stop {
    Io(Box<pingora::Error>),
    TooLarge,
}

impl From<Box<pingora::Error>> for Stop {
    fn from(error: Box<pingora::Error>) -> Self {
        Stop::Io(error)
    }
}

/// A node as the client reaches it.
struct Target {
    id: NodeId,
    /// `host:port` as configured; also the `Host` header.
    authority: String,
    /// Result of the last successful name resolution.
    resolved: ArcSwapOption<SocketAddr>,
}

/// The one HTTP client of the proxy.
pub struct NodeClient {
    connector: TransportConnector,
    idle: IdleConnections,
    targets: Vec<Target>,
    /// What no client ever sees.
    pub keys: NodeKeys,
}

impl NodeClient {
    /// `keys` are what nodes may be asked with.
    pub fn new<'k>(
        topology: &Topology,
        keys: impl Iterator<Item = &'k Secret>,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        let target = |node: &crate::cluster::Node| Target {
            id: node.id.clone(),
            authority: node.address.clone(),
            resolved: ArcSwapOption::from_pointee(node.address.parse::<SocketAddr>().ok()),
        };
        Ok(Self {
            connector: TransportConnector::new(None),
            idle: IdleConnections::default(),
            targets: topology.nodes.iter().map(target).collect(),
            keys: NodeKeys::new(topology.nodes.len(), keys)?,
        })
    }

    /// `host:port` of a node.
    pub fn authority(&self, node: NodeIndex) -> &str {
        &self.targets[node.0 as usize].authority
    }

    /// The peer to connect to. Names are resolved once and again when [`NodeClient::resolve`] is told to.
    pub async fn peer(&self, node: NodeIndex) -> Result<HttpPeer, LegError> {
        let target = &self.targets[node.0 as usize];
        let address = match target.resolved.load_full() {
            Some(address) => *address,
            None => self.resolve(node).await?,
        };
        let mut peer = HttpPeer::new(address, false, String::new());
        peer.options.connection_timeout = Some(CONNECT_TIMEOUT);
        peer.options.total_connection_timeout = Some(CONNECT_TIMEOUT);
        peer.options.idle_timeout = Some(IDLE_CONNECTION_TIMEOUT);
        peer.options.tcp_keepalive = Some(keepalive());
        peer.group_key = super::idle_connections::this_thread();
        Ok(peer)
    }

    /// Looks a node's name up again: an address may have moved while the node was away.
    pub async fn resolve(&self, node: NodeIndex) -> Result<SocketAddr, LegError> {
        let target = &self.targets[node.0 as usize];
        let refused = |cause: String| LegError::Connect { node: target.id.clone(), cause };
        let lookup = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host(target.authority.as_str()));
        let mut addresses = match lookup.await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(refused(error.to_string())),
            Err(_) => return Err(refused("its name could not be resolved in time".to_owned())),
        };
        let address = addresses.next().ok_or_else(|| refused("its name has no address".to_owned()))?;
        target.resolved.store(Some(Arc::new(address)));
        Ok(address)
    }

    /// Sends one request and takes the whole answer, within `deadline`.
    ///
    /// A pooled connection that the node has closed meanwhile is replaced by a new one for `GET`s and searches, never for
    /// a write: a node may have executed what it did not answer.
    pub async fn send(
        &self,
        node: NodeIndex,
        request: &NodeRequest,
        deadline: Duration,
        repeatable: bool,
    ) -> Result<NodeAnswer, LegError> {
        let id = &self.targets[node.0 as usize].id;
        match pingora::time::timeout(deadline, self.exchange(node, request, repeatable)).await {
            Ok(result) => result,
            Err(_) => Err(LegError::Timeout { node: id.clone(), after: deadline }),
        }
    }

    /// The same without a deadline; the caller has one.
    pub(super) async fn exchange(
        &self,
        node: NodeIndex,
        request: &NodeRequest,
        repeatable: bool,
    ) -> Result<NodeAnswer, LegError> {
        let id = &self.targets[node.0 as usize].id;
        let peer = self.peer(node).await?;
        let mut refusals = 0;
        loop {
            let (stream, reused) = match self.idle.take(peer.reuse_hash()) {
                Some(stream) => (stream, true),
                None => match self.connector.new_stream(&peer).await {
                    Ok(stream) => (Box::new(NodeStream::new(stream)) as Stream, false),
                    Err(error) => return Err(LegError::Connect { node: id.clone(), cause: error.to_string() }),
                },
            };
            let mut session = HttpSession::new(stream);
            let (key, authorization) = self.keys.authorization(node);
            let header = self.header(node, request, authorization);
            match exchange_on(&mut session, header, &request.body).await {
                Ok(answer) => {
                    session.respect_keepalive();
                    if let Some(stream) = session.reuse().await {
                        self.idle.put(peer.reuse_hash(), stream);
                    }
                    if !is_refusal(answer.status) {
                        return Ok(answer);
                    }
                    // Never an answer for a client: it would take its own key for a wrong one.
                    refusals += 1;
                    if !self.keys.refused(node, key) || refusals >= self.keys.count() {
                        return Err(LegError::KeyRefused { node: id.clone() });
                    }
                }
                Err(Stop::TooLarge) => return Err(LegError::AnswerTooLarge { node: id.clone() }),
                // Each turn takes a connection out of the pool, and one that is not reused ends the loop.
                Err(Stop::Io(_)) if reused && repeatable => continue,
                Err(Stop::Io(error)) => return Err(LegError::Broken { node: id.clone(), cause: error.to_string() }),
            }
        }
    }

    fn header(
        &self,
        node: NodeIndex,
        request: &NodeRequest,
        authorization: Option<http::HeaderValue>,
    ) -> Box<RequestHeader> {
        let length: usize = request.body.iter().map(Bytes::len).sum();
        let built = RequestHeader::build(request.method.clone(), request.path_and_query.as_bytes(), Some(4));
        let mut header = built.expect("paths are made of checked uids and percent-encoded parts");
        let mut insert = |name: http::HeaderName, value: http::HeaderValue| {
            header.insert_header(name, value).expect("a header value that is already one is accepted");
        };
        if let Ok(host) = http::HeaderValue::from_str(self.authority(node)) {
            insert(http::header::HOST, host);
        }
        if let Some(authorization) = authorization {
            insert(http::header::AUTHORIZATION, authorization);
        }
        if let Some(content_type) = request.content_type {
            insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
        }
        if length > 0 || request.method != Method::GET {
            insert(http::header::CONTENT_LENGTH, http::HeaderValue::from(length));
        }
        Box::new(header)
    }
}

async fn exchange_on(
    session: &mut HttpSession,
    header: Box<RequestHeader>,
    body: &[Bytes],
) -> Result<NodeAnswer, Stop> {
    session.write_request_header(header).await?;
    for piece in body.iter().filter(|piece| !piece.is_empty()) {
        session.write_body(piece).await?;
    }
    session.finish_body().await?;
    // What was written leaves with the first read. A node that it wakes takes a core, so on a small machine the other legs of
    // a fan-out are made ready first.
    tokio::task::yield_now().await;
    session.read_response().await?;
    let header = session.resp_header().expect("the header was just read");
    let status = header.status.as_u16();
    let announced =
        header.headers.get(http::header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > ANSWER_BYTES_MAX) {
        return Err(Stop::TooLarge);
    }
    let seconds = header.headers.get(http::header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
    let retry_after = seconds.filter(|_| status == 503).map(Duration::from_secs);
    let mut whole = BytesMut::with_capacity(announced.unwrap_or(0));
    // The connection is only reusable once the end has been read.
    while let Some(piece) = session.read_body_ref().await? {
        if whole.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(Stop::TooLarge);
        }
        whole.extend_from_slice(piece);
    }
    Ok(NodeAnswer { status, body: whole.freeze(), took: Duration::ZERO, retry_after })
}
