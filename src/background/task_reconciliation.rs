//! Follows the nodes' tasks to their end, for the registry.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use crate::app::App;
use crate::cluster::NodeId;
use crate::error::{ApiError, Code};
use crate::scatter::NodeRequest;
use crate::stage::SharedApp;
use crate::tasks::{NodeTaskReport, NodeTasks};

pub struct TaskReconciliation {
    app: SharedApp,
}

impl TaskReconciliation {
    pub fn new(app: SharedApp) -> Self {
        Self { app }
    }
}

#[async_trait]
impl BackgroundService for TaskReconciliation {
    async fn start(&self, shutdown: ShutdownWatch) {
        let reconciling = |app: Arc<App>| {
            let (tasks, shutdown) = (Arc::clone(&app.tasks), shutdown.clone());
            tasks.run(Arc::new(TaskLists { app }), shutdown)
        };
        self.app.while_leading(shutdown.clone(), reconciling).await;
    }
}

/// The nodes' task lists, over the scatter's client.
struct TaskLists {
    app: Arc<App>,
}

#[async_trait]
impl NodeTasks for TaskLists {
    async fn tasks(&self, node: &NodeId, uids: &[u32]) -> Result<Vec<NodeTaskReport>, ApiError> {
        let away = |why: String| ApiError::new(Code::MiroirShardUnavailable, why);
        let snapshot = self.app.cluster.snapshot();
        let index =
            snapshot.topology.find(node).ok_or_else(|| away(format!("Node {node} is not part of the cluster.")))?;
        if !snapshot.state(index).serves_reads() {
            return Err(away(format!("Node {node} is {}.", snapshot.state(index).name())));
        }
        let list: Vec<String> = uids.iter().map(u32::to_string).collect();
        let request = NodeRequest::get(format!("/tasks?limit={}&uids={}", uids.len(), list.join(",")));
        let answer = self.app.scatter.ask(index, &request).await.map_err(|error| away(error.to_string()))?;
        if !answer.is_success() {
            return Err(ApiError::from_node(answer.status, &answer.body));
        }
        NodeTaskReport::from_json(&answer.body)
    }
}
