//! Where Miroir answers with another error than one server, and why.

/// With which nodes a difference shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    Any,
    /// The embedded node answers otherwise than Meilisearch, with which Miroir goes.
    Embedded,
}

pub struct Difference {
    pub what: &'static str,
    pub why: &'static str,
    pub nodes: Nodes,
    /// Names of the cases that it explains.
    pub cases: &'static [&'static str],
}

impl Difference {
    pub fn applies(&self, is_embedded: bool) -> bool {
        self.nodes == Nodes::Any || is_embedded
    }

    /// Its row in `docs/compatibility.md`.
    pub fn row(&self) -> Vec<String> {
        let nodes = match self.nodes {
            Nodes::Any => "any",
            Nodes::Embedded => "embedded",
        };
        let cases: Vec<String> = self.cases.iter().map(|case| format!("`{case}`")).collect();
        vec![self.what.to_owned(), self.why.to_owned(), nodes.to_owned(), cases.join("<br>")]
    }
}

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        what: "a path that is no route, or has no such method",
        why: "Meilisearch's answer has no body; Miroir's says what is wrong, as all its errors do",
        nodes: Nodes::Any,
        cases: &[
            "GET /nonsense",
            "GET /indexes/films/nonsense",
            "GET /indexes/films/settings/nonsense",
            "GET /indexes/films/search/nonsense",
            "GET /tasks/1/nonsense",
            "POST /health",
            "DELETE /version",
            "PUT /indexes {}",
            "PUT /indexes/films {}",
            "PATCH /tasks {}",
            "PUT /indexes/films/search {}",
            "PATCH /indexes/films/documents {}",
            "POST /stats {}",
            "PUT /indexes/films/settings/typo-tolerance {}",
            "PATCH /indexes/films/settings/stop-words {}",
        ],
    },
    Difference {
        what: "a document without its key",
        why: "it is refused before it becomes a task, since no node could say which shard it belongs to",
        nodes: Nodes::Any,
        cases: &[r#"POST /indexes/films/documents [{"title":"no key"}]"#],
    },
    Difference {
        what: "an unknown locale in a search by `GET`",
        why: "it reaches the nodes as a search by `POST`, whose message says where in the body the value stands",
        nodes: Nodes::Any,
        cases: &["GET /indexes/films/search?locales=klingon"],
    },
    Difference {
        what: "a document that is no object",
        why: "Meilisearch fails on it with an internal error, and so does Miroir; the embedded node refuses it",
        nodes: Nodes::Embedded,
        cases: &["POST /indexes/films/documents [1]", "NDJSON of no object"],
    },
    Difference {
        what: "a list of ids that is none",
        why: "the embedded node does not say where in the body it stopped reading",
        nodes: Nodes::Embedded,
        cases: &["POST /indexes/films/documents/delete-batch {}", "POST /indexes/films/documents/delete-batch 1"],
    },
    Difference {
        what: "CSV without a line",
        why: "the embedded node takes it for a failure of its own",
        nodes: Nodes::Embedded,
        cases: &["CSV without a header"],
    },
    Difference {
        what: "a tenant token that nobody signed",
        why: "the embedded node leaves tokens to Miroir, and takes none",
        nodes: Nodes::Embedded,
        cases: &["forged token: a search"],
    },
];
