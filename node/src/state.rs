//! What every request handler shares.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Code, ResponseError};
use crate::features::Features;
use crate::indexes::Indexes;
use crate::kept::Kept;
use crate::keys::Keys;
use crate::queue::Queue;

/// Searches that may wait for a worker, per worker. Beyond it a search is refused at once, as Meilisearch does: a
/// client that would wait longer is better off asking another replica.
const QUEUED_SEARCHES_PER_WORKER: usize = 250;

/// How long a search waits for its turn. Meilisearch gives up after a minute as well: nobody waits for the answer any
/// more.
const SEARCH_WAIT_MAX: Duration = Duration::from_secs(60);

/// The node's state: cheap to clone, one per process.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

struct Shared {
    indexes: Indexes,
    queue: Queue,
    features: Kept<Features>,
    keys: Keys,
    master_key: Option<String>,
    payload_bytes_max: u64,
    /// One permit per search that may run at this moment.
    searching: Arc<Semaphore>,
    /// One permit per search that runs or waits to run.
    admitted: Arc<Semaphore>,
    admitted_max: usize,
}

impl AppState {
    pub fn new(
        indexes: Indexes,
        queue: Queue,
        features: Kept<Features>,
        keys: Keys,
        master_key: Option<String>,
        payload_bytes_max: u64,
        cores: usize,
    ) -> Self {
        let admitted_max = cores * (1 + QUEUED_SEARCHES_PER_WORKER);
        Self(Arc::new(Shared {
            indexes,
            queue,
            features,
            keys,
            master_key,
            payload_bytes_max,
            searching: Arc::new(Semaphore::new(cores)),
            admitted: Arc::new(Semaphore::new(admitted_max)),
            admitted_max,
        }))
    }

    /// The index of that name, ready to be read. `index_not_found` if there is none.
    pub fn index(&self, uid: &str) -> Result<milli_core::Index, ResponseError> {
        self.0.indexes.get(uid)
    }

    pub fn indexes(&self) -> &Indexes {
        &self.0.indexes
    }

    pub fn queue(&self) -> &Queue {
        &self.0.queue
    }

    /// The experimental features that are on.
    pub fn features(&self) -> Features {
        *self.0.features.get()
    }

    /// Changes them. Blocks for the disk.
    pub fn change_features<R>(
        &self,
        change: impl FnOnce(&mut Features) -> Result<R, ResponseError>,
    ) -> Result<R, ResponseError> {
        self.0.features.change(change)
    }

    /// The API keys.
    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// The key that requests have to carry, if any.
    pub fn master_key(&self) -> Option<&str> {
        self.0.master_key.as_deref()
    }

    /// The largest request body that is accepted, in bytes.
    pub fn payload_bytes_max(&self) -> u64 {
        self.0.payload_bytes_max
    }

    /// Runs `read`, which computes for long or waits for the disk, beside the server's own threads. Used by searches
    /// and everything else that reads an index; at most one per core runs at a time, and the number that waits is
    /// bounded.
    pub async fn run_search<T, F>(&self, read: F) -> Result<T, ResponseError>
    where
        F: FnOnce() -> Result<T, ResponseError> + Send + 'static,
        T: Send + 'static,
    {
        let _admitted = self.0.admitted.try_acquire().map_err(|_| Self::too_many_searches(self.0.admitted_max))?;
        let turn = Arc::clone(&self.0.searching).acquire_owned();
        let running: OwnedSemaphorePermit = tokio::time::timeout(SEARCH_WAIT_MAX, turn)
            .await
            .map_err(|_| Self::too_many_searches(self.0.admitted_max))?
            .map_err(ResponseError::internal)?;
        tokio::task::spawn_blocking(move || {
            // The permit goes with the work: a client that leaves does not make room for another search.
            let _running = running;
            read()
        })
        .await
        .map_err(ResponseError::internal)?
    }

    fn too_many_searches(admitted_max: usize) -> ResponseError {
        ResponseError::new(
            Code::TooManySearchRequests,
            format!("Too many search requests running at the same time: {admitted_max}. Retry after 10s."),
        )
    }
}
