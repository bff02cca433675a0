//! The node as its clients see it: a process behind HTTP, that may be killed at any moment.

mod enqueue;
mod settings_and_tasks;
mod support;
mod tasks_survive_kill;
