//! Webhooks: addresses that are told of each task once it has ended. They are Miroir's own: nodes have none, since they would
//! tell of their own tasks, of which a client's has several.
//!
//! | file | what lives there |
//! |---|---|
//! | [`webhook`] | the record of one, and what may stand in it |
//! | [`registry`] | all of them, and how they change |
//! | [`outbox`] | what each has yet to be told, and when: plain state, the time is passed in |
//! | [`call`] | one call over HTTP |
//!
//! That a task has ended and was not told yet stands in its record, so a crash loses nothing: what was under way is told again
//! by the next start. Who drives all this is `background/webhook_calls.rs`.

mod call;
mod outbox;
mod registry;
mod webhook;

pub use call::{CallError, Caller};
pub use outbox::{Call, Outbox};
pub use registry::{WebhookTable, Webhooks};
pub use webhook::{HeaderChange, Webhook, WebhookError, WebhookPatch, WebhookUid};
