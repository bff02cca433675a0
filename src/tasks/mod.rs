//! Tasks: what becomes of each client write, told as one Meilisearch would tell it.
//!
//! Nodes number their tasks independently; Miroir keeps one record per client write with the node tasks (legs) under
//! it. `task` is the state machine, `new_task` what it comes from, `leg` one node's part in it, `cancelation` what canceling
//! does to tasks, `creation` what tasks have to do with an index that comes into being, `conclusion` what Miroir does itself
//! before a task has ended, `view` and `batch` their shapes for clients, `query` the filters of `GET /tasks`, `registry` what the
//! rest of Miroir talks to, `change` how changes of tasks share commits, `reconcile` the loop that asks the nodes, `follow` whom
//! it asks for what, `replicas` which of them lag.
//!
//! Nothing here knows how a node is reached (`NodeTasks` does) or where records are kept (`store` does).

mod batch;
mod cancelation;
mod change;
mod conclusion;
mod creation;
mod follow;
mod kind;
mod leg;
mod new_task;
mod query;
mod reconcile;
mod registry;
mod replicas;
mod report;
mod task;
mod view;

pub use batch::BatchView;
pub use cancelation::Cancelation;
pub use conclusion::Conclusion;
pub use creation::{InCreation, CREATION_STEPS};
pub use kind::{TaskKind, TaskStatus};
pub use leg::{Acknowledgement, Doubt, NodeTask};
pub use new_task::{Idempotency, NewTask, Outcome, Replay, RequestHead};
pub use query::{parse_task_uid, TaskFilter, TaskQuery};
pub use reconcile::NodeTasks;
pub use registry::{TaskMetrics, TaskRegistry};
pub use report::{Counts, NodeTaskReport};
pub use task::Task;
pub use view::{TaskPage, TaskSummary, TaskView};
