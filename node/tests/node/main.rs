//! The node as its clients see it: a process behind HTTP, that may be killed at any moment.

mod cancel_and_delete;
mod document_parameters;
mod enqueue;
mod keys;
mod multi_search;
mod settings_and_tasks;
mod support;
mod tasks_survive_kill;
mod vectors;
