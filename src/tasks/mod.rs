//! Tasks: what becomes of each client write, told as one Meilisearch would tell it.
//!
//! Nodes number their tasks independently; Miroir keeps one record per client write with the node tasks (legs) under
//! it. `task` is the state machine, `view` its shape for clients, `query` the filters of `GET /tasks`, `registry`
//! what the rest of Miroir talks to, `reconcile` the loop that asks the nodes, `follow` whom it asks for what.
//!
//! Nothing here knows how a node is reached (`NodeTasks` does) or where records are kept (`store` does).

mod follow;
mod kind;
mod query;
mod reconcile;
mod registry;
mod report;
mod task;
mod view;

pub use kind::{TaskKind, TaskStatus};
pub use query::{TaskFilter, TaskQuery};
pub use reconcile::NodeTasks;
pub use registry::{TaskMetrics, TaskRegistry};
pub use report::{Counts, NodeTaskReport};
pub use task::{NewTask, NodeTask, Outcome, Task};
pub use view::{TaskPage, TaskSummary, TaskView};
