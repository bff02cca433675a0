//! Meilisearch's routes that Miroir refuses, and why. `docs/compatibility.md` has the same list, and the decisions on all
//! other routes; a test compares them.

use http::Method;

use crate::error::{ApiError, Code};

/// Routes, with `*` for a part that is a name, and why they are refused. Where a method stands, the route has others too.
pub const REFUSED: &[(&str, &str)] = &[
    ("/chats/*/chat/completions", NO_CHATS),
    ("/export", "nodes would export their own shards, with Miroir's fields in them; read the documents instead"),
    ("/dumps", "a dump of one node holds its own shards only, and Miroir does not make one of all nodes yet"),
    ("/snapshots", "a snapshot of one node holds its own shards only; take one of each node, at the node"),
    ("/logs/stream", NO_LOGS),
    ("/logs/stderr", NO_LOGS),
    ("/metrics", "Miroir's own metrics are served at the port that `metrics.port` names"),
    ("/network", NO_NETWORK),
    ("/network/control", NO_NETWORK),
    ("/render-template", "templates are rendered from one node's documents, and none has them all"),
    ("/tasks/compact", "the list of tasks is Miroir's own, and is pruned by `task_registry`"),
    ("/tasks/*/documents", "nodes keep the documents of a task in parts"),
    ("/indexes/*/compact", "compaction is a node's own work; ask each node for it"),
];

const NO_CHATS: &str = "a chat searches one node, which holds its own shards only";
const NO_LOGS: &str = "they are one node's; Miroir's own log goes to its standard error";
const NO_NETWORK: &str = "how nodes work together is Miroir's own matter; `/_miroir/topology` tells it";

/// The refusal of a request, if its path is one of them.
pub fn refusal(method: &Method, path: &str) -> Option<ApiError> {
    let (_, why) = REFUSED.iter().find(|(pattern, _)| matches(pattern, path))?;
    Some(ApiError::new(Code::MiroirNotSupported, format!("Miroir does not serve {method} `{path}`: {why}.")))
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.trim_end_matches('/').split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some("*"), Some(part)) if !part.is_empty() => {}
            (Some(expected), Some(part)) if expected == part => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_stars_and_nothing_else_does() {
        assert!(matches("/chats/*/settings", "/chats/mine/settings"));
        assert!(matches("/chats", "/chats/"));
        assert!(!matches("/chats/*", "/chats/mine/settings"));
        assert!(!matches("/chats/*", "/chats"));
        assert!(!matches("/chats/*", "/chats//"));
    }
}
