//! The task queue.

pub struct Queue;
