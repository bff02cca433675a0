//! `POST /indexes/{uid}/documents/edit`: documents changed by a function that every node runs on those that it holds.
//!
//! It is an experimental feature of the nodes, each of which may have it on or off; a replica that lacked it would miss the write.
//! So all nodes are asked first, and nothing is sent unless all of them have it on.
//!
//! The function must not touch the document's shard: a document that lost it would never be found again. What a function does cannot
//! be told from its text, so it is handed over as text within a function of Miroir's, which takes the shard out of the document
//! before and puts it back afterwards, whatever the client's function has made of the document meanwhile (`return` and `doc = ()`
//! included). What it costs: the text is read anew for each document, its errors are found when the task runs and not when it is
//! sent, and it cannot define functions of its own.

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use serde::Deserialize;
use serde_json::{json, Map, Value};

use super::whole_index::{custom_metadata, index_missing, index_path, node_path, submit, to_all, turn, write_of};
use super::{whole_body, Answer, Body, Request};
use crate::app::App;
use crate::cluster::{IndexUid, NodeIndex};
use crate::error::{ApiError, Code};
use crate::reserved::SHARD_FIELD;
use crate::scatter::NodeRequest;
use crate::tasks::TaskKind;
use crate::writes::{Scope, Step, StepBody, Write};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExperimentalFeatures {
    #[serde(default)]
    edit_documents_by_function: bool,
}

pub async fn edit(app: &App, uid: &IndexUid, request: &Request<'_>, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let custom_metadata = custom_metadata(request)?;
    let body = whole_body(body).await?;
    if let Some(node) = node_without_feature(app).await? {
        // The error is the node's own; it looks at nothing else before.
        let request = NodeRequest::json(Method::POST, node_path(uid, "/documents/edit"), body);
        app.scatter.first_answer(&[node], &request).await?;
        return Err(ApiError::new(
            Code::MiroirTooBusy,
            "A node has just changed its features; send the request again.",
        ));
    }
    let edition = Edition::parse(&body)?;
    let turn = turn(app, uid, Scope::Whole).await?;
    let Some(index) = app.index_for_writes(uid) else {
        return index_missing(app, request, uid, TaskKind::DocumentEdition, edition.details(Some(0))).await;
    };
    let variable = format!("miroir_{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let path = index_path(&index, "/documents/edit");
    let body = StepBody::Whole(edition.for_nodes(&variable));
    let step = to_all(TaskKind::DocumentEdition, Method::POST, path, body, index.shard_count);
    let step = Step { takes_metadata: true, ..step };
    let write = write_of(uid, &index, TaskKind::DocumentEdition, edition.details(None), step, None);
    submit(app, request, Write { custom_metadata, ..write }, turn).await
}

/// A node that has the feature off, if there is one. An error if not all nodes say.
async fn node_without_feature(app: &App) -> Result<Option<NodeIndex>, ApiError> {
    let snapshot = app.cluster.snapshot();
    let asked = snapshot.topology.node_indexes().map(|node| async move {
        let answer = app.scatter.ask(node, &NodeRequest::get("/experimental-features")).await;
        let features = answer.ok().filter(|answer| answer.is_success());
        let features = features.and_then(|answer| serde_json::from_slice::<ExperimentalFeatures>(&answer.body).ok());
        (node, features.map(|features| features.edit_documents_by_function))
    });
    let said = join_all(asked).await;
    if let Some((node, _)) = said.iter().find(|(_, is_on)| *is_on == Some(false)) {
        return Ok(Some(*node));
    }
    match said.iter().find(|(_, is_on)| is_on.is_none()) {
        Some((node, _)) => Err(ApiError::new(
            Code::MiroirShardUnavailable,
            format!(
                "Documents can be edited by a function only while all nodes say that they support it; node `{}` does not answer.",
                app.scatter.health.id(*node)
            ),
        )),
        None => Ok(None),
    }
}

/// What a client wants done.
struct Edition {
    filter: Option<Value>,
    context: Option<Map<String, Value>>,
    function: String,
}

impl Edition {
    /// Errors are Meilisearch's.
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let parsed: Value = serde_json::from_slice(body).map_err(|error| ApiError::malformed_json(&error))?;
        let Value::Object(mut members) = parsed else {
            return Err(ApiError::new(Code::BadRequest, "Invalid value type: expected an object"));
        };
        let mut take = |name: &str| members.remove(name).filter(|value| !value.is_null());
        let (filter, context, function) = (take("filter"), take("context"), take("function"));
        if let Some(unknown) = members.keys().find(|name| !["filter", "context", "function"].contains(&name.as_str())) {
            let message = format!("Unknown field `{unknown}`: expected one of `filter`, `context`, `function`");
            return Err(ApiError::new(Code::BadRequest, message));
        }
        let function = match function {
            Some(Value::String(function)) => function,
            Some(_) => {
                let message = "Invalid value type at `.function`: expected a string";
                return Err(ApiError::new(Code::InvalidDocumentEditionFunctionFilter, message));
            }
            None => return Err(ApiError::new(Code::MissingDocumentEditionFunction, "Missing field `function`")),
        };
        let context = match context {
            Some(Value::Object(context)) => Some(context),
            Some(_) => return Err(ApiError::new(Code::InvalidDocumentEditionContext, "The context must be an object")),
            None => None,
        };
        Ok(Self { filter, context, function })
    }

    /// Counts that are `None` are filled in when the task ends.
    fn details(&self, count: Option<u64>) -> Value {
        json!({
            "editedDocuments": count,
            "deletedDocuments": count,
            "originalFilter": self.filter.as_ref().map(Value::to_string),
            "context": self.context,
            "function": self.function,
        })
    }

    /// The request's body for nodes. `variable` is a name that the client's function cannot guess.
    fn for_nodes(&self, variable: &str) -> Bytes {
        let function = format!(
            "let {variable} = doc.remove(\"{SHARD_FIELD}\"); eval(\"{}\"); \
             if type_of(doc) == \"map\" {{ doc[\"{SHARD_FIELD}\"] = {variable}; }}",
            as_rhai_text(&self.function)
        );
        let mut body = json!({ "function": function });
        if let Some(filter) = &self.filter {
            body["filter"] = filter.clone();
        }
        if let Some(context) = &self.context {
            body["context"] = json!(context);
        }
        Bytes::from(body.to_string())
    }
}

/// Escaped as it stands between the quotes of a text in Rhai, where a line must not end.
fn as_rhai_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_is_out_of_the_functions_reach() {
        let edition =
            Edition::parse(br#"{"function":"doc.a = \"x\\n\";\ndoc.b = 1","context":{"c":1},"filter":"n > 1"}"#);
        let body: Value = serde_json::from_slice(&edition.unwrap().for_nodes("saved")).unwrap();
        let function = "let saved = doc.remove(\"_miroir_shard\"); eval(\"doc.a = \\\"x\\\\n\\\";\\ndoc.b = 1\"); \
                        if type_of(doc) == \"map\" { doc[\"_miroir_shard\"] = saved; }";
        assert_eq!(body, json!({ "function": function, "context": { "c": 1 }, "filter": "n > 1" }));
    }

    #[test]
    fn what_is_no_edition_is_refused_as_by_meilisearch() {
        let code = |body: &str| Edition::parse(body.as_bytes()).err().expect("an error").body.code;
        assert_eq!(code("{}"), "missing_document_edition_function");
        assert_eq!(code(r#"{"function":1}"#), "invalid_document_edition_function_filter");
        assert_eq!(code(r#"{"function":"","context":[]}"#), "invalid_document_edition_context");
        assert_eq!(code(r#"{"function":"","other":1}"#), "bad_request");
        assert_eq!(code("{"), "malformed_payload");
    }
}
