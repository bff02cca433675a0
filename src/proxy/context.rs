//! What one request carries from phase to phase.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use tokio::sync::OwnedSemaphorePermit;

use crate::api::{Forward, Route, SettingsMark};
use crate::app::App;
use crate::cluster::Snapshot;
use crate::scatter::PresentedKey;
use crate::store::Peer;

pub struct Context {
    /// What serves the request from its beginning to its end.
    app: Option<Arc<App>>,
    pub started: Instant,
    pub request_id: String,
    /// Held while the request is under way; `None` if too many are.
    pub permit: Option<OwnedSemaphorePermit>,
    pub counted_in_flight: bool,
    pub route: Option<Route>,
    pub degraded: Option<String>,
    pub settings: Option<SettingsMark>,
    /// What the request goes by, held until it has been answered.
    pub held: Option<Arc<Snapshot>>,
    /// Set when one node is to answer.
    pub forward: Option<Forward>,
    /// Set when the Miroir that leads is to answer.
    pub passed_on: Option<Arc<Peer>>,
    /// Which of the candidates is being asked.
    pub attempt: usize,
    /// What the node was asked with.
    pub node_key: Option<PresentedKey>,
    /// How many keys of it the node has refused.
    pub key_refusals: usize,
    /// Whether the same node is to be asked once more.
    pub asks_again: bool,
    /// A document on its way through, whose reserved fields come out once it is whole.
    pub document: BytesMut,
}

impl Context {
    pub fn new() -> Self {
        Self {
            app: None,
            started: Instant::now(),
            request_id: String::new(),
            permit: None,
            counted_in_flight: false,
            route: None,
            degraded: None,
            settings: None,
            held: None,
            forward: None,
            passed_on: None,
            attempt: 0,
            node_key: None,
            key_refusals: 0,
            asks_again: false,
            document: BytesMut::new(),
        }
    }

    /// The context is made when a connection begins to wait for a request; this is called when there is one.
    pub fn begin(&mut self, app: Arc<App>) {
        self.app = Some(app);
        self.started = Instant::now();
    }

    pub fn app(&self) -> Option<Arc<App>> {
        self.app.clone()
    }
}
