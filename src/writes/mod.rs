//! How a write reaches every replica: order, quorum, replica logs. `docs/decisions/004-replica-logs.md` says why it is so.
//!
//! `request` is a write as handlers describe it, `order` lets conflicting ones wait for each other, `carry_out` takes one to its
//! nodes, `sharing` lets those of single documents share requests, `quorum` counts who has it, `logs` is what nodes still have to be
//! given, `replay` gives it to them (`round`: side by side where it may), `lookup` finds a request again that got no answer by its
//! `marker`, `lost_data` notices a node that comes back empty, `late_turns` keeps the turns of those whose answer may still come.
//! Nothing here knows what documents or settings are.

mod carry_out;
mod late_turns;
mod logs;
mod lookup;
mod lost_data;
mod marker;
mod order;
mod quorum;
mod replay;
mod request;
mod round;
mod sharing;

pub use carry_out::{carry_out, settled, Taken};
pub use late_turns::LateTurns;
pub use logs::{Backlog, ReplicaLogs};
pub use lost_data::examine;
pub use order::{Scope, Turn, Watch, WriteOrder};
pub use quorum::Quorum;
pub use replay::replay;
pub use request::{Reach, Spread, Step, StepBody, Write};
pub use sharing::{SharedRequests, DOCUMENT_BYTES_MAX};
