//! Meilisearch's routes: what each one is, and the plan that it becomes.
//!
//! One file per family. A handler checks what the client sent, takes the snapshot once, and either answers, with the help
//! of `scatter`, `merge`, `documents` and `tasks`, or names the nodes of which one will answer. Nothing here knows Pingora.

mod alias_route;
mod alias_search;
mod answer;
mod arabic;
mod batches;
mod chats;
mod client_filter;
mod coalescing;
mod document_by_id;
mod document_edition;
mod document_list;
mod documents_write;
mod exactness;
mod experimental_features;
pub mod expired_documents;
pub mod expiry_filterable;
mod explain;
mod facet_search;
mod facts;
mod federated_search;
mod federation;
mod fields;
mod frequency;
pub mod hidden_expired;
mod hybrid;
mod idempotency;
mod index_read;
mod indexes;
pub mod json_body;
mod keys;
mod members;
mod multi_search;
mod origin;
mod query_lists;
mod query_string;
mod query_words;
mod read_kinds;
pub mod refused;
mod renaming;
mod reserved_attributes;
mod restriction;
mod route;
pub mod search;
mod search_query_string;
pub mod search_request;
mod search_rules;
mod server_info;
mod settings;
mod similar;
mod stats;
mod supplement;
mod task_cancelation;
mod tasks;
mod webhooks;
mod whole_index;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;

use crate::app::App;
use crate::auth::Rights;
use crate::cluster::{Index, IndexUid, NodeIndex, Snapshot};
use crate::documents::MemoryShare;
use crate::error::{ApiError, Code};
use crate::tasks::Idempotency;
use idempotency::KeyedRequest;

pub use alias_route::{resolve, Resolved};
pub use answer::{Answer, SettingsMark};
pub use coalescing::SearchesUnderWay;
pub use document_by_id::DocumentRead;
pub use idempotency::{IdempotencyKey, KeysUnderWay};
pub use origin::Origin;
pub use route::{Access, Needs, Route, Verb};
pub use settings::change_for_us as change_settings_for_us;
pub use stats::size_of;
pub use whole_index::{create_index_for_us, delete_index};

/// What a handler sees of a request.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a Method,
    pub path_and_query: &'a str,
    pub query: Option<&'a str>,
    pub content_type: Option<&'a str>,
    /// What the client may do: its action on the index that the path names has been checked.
    pub rights: &'a Rights,
    /// Value of `X-Miroir-Min-Settings-Version`.
    pub min_settings_version: Option<u64>,
    /// The header `X-Miroir-Over-Fetch`.
    pub over_fetch: Option<&'a str>,
    /// Set on routes that find out themselves who may use them.
    pub origin: Option<&'a Origin>,
    /// Set while a write is carried out under a client's `Idempotency-Key`.
    pub keyed: Option<&'a KeyedRequest<'a>>,
}

impl<'a> Request<'a> {
    /// What Miroir does by itself, as a handler sees it.
    pub fn of_ours(method: &'a Method, rights: &'a Rights) -> Self {
        Self {
            method,
            path_and_query: "",
            query: None,
            content_type: None,
            rights,
            min_settings_version: None,
            over_fetch: None,
            origin: None,
            keyed: None,
        }
    }
}

impl Request<'_> {
    /// The snapshot that this request is to keep, with the index that it reads. Nodes whose settings are older than the request
    /// accepts are not chosen from it.
    fn index(&self, app: &App, uid: &IndexUid) -> Result<(Arc<Snapshot>, Arc<Index>), ApiError> {
        let (snapshot, index) = app.index(uid)?;
        Ok((self.accepting(snapshot, &[&index])?, index))
    }

    /// The same for several indexes.
    fn accepting(&self, snapshot: Arc<Snapshot>, indexes: &[&Index]) -> Result<Arc<Snapshot>, ApiError> {
        let Some(floor) = self.min_settings_version else { return Ok(snapshot) };
        let mut snapshot = snapshot;
        for index in indexes {
            let view = snapshot.with_settings_floor(index, floor);
            snapshot = Arc::new(view.ok_or_else(|| index_read::settings_stale(floor))?);
        }
        Ok(snapshot)
    }

    /// What the task of this request is to carry.
    fn idempotency(&self) -> Result<Option<Idempotency>, ApiError> {
        self.keyed.map(KeyedRequest::idempotency).transpose()
    }
}

/// The request's body as it arrives. Refuses, with `payload_too_large`, to grow beyond the configured size.
#[async_trait]
pub trait Body: Send {
    /// Sets memory aside for what the body will become, for whoever means to keep it; to be called before the first chunk
    /// is read, since it may have to wait. Refuses with `miroir_too_busy` when too many bodies are being taken in.
    async fn reserve(&mut self) -> Result<MemoryShare, ApiError>;

    /// The next bytes, decompressed; `None` at the end.
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, ApiError>;
}

/// Largest body of a request that is not made of documents: searches, settings, lists of ids.
const JSON_BODY_BYTES_MAX: usize = 20 << 20;

/// Takes a whole body that is small by its nature.
pub async fn whole_body(body: &mut dyn Body) -> Result<Bytes, ApiError> {
    let Some(first) = body.next_chunk().await? else { return Ok(Bytes::new()) };
    let Some(second) = body.next_chunk().await? else { return Ok(first) };
    // Only now: most bodies of this kind are one chunk.
    let mut share = body.reserve().await?;
    let mut whole = first.to_vec();
    let mut next = Some(second);
    while let Some(chunk) = next {
        if whole.len() + chunk.len() > JSON_BODY_BYTES_MAX {
            return Err(ApiError::new(
                Code::PayloadTooLarge,
                format!("The provided payload reached the size limit. The maximum accepted payload size is {JSON_BODY_BYTES_MAX} bytes."),
            ));
        }
        whole.extend_from_slice(&chunk);
        share.cover(whole.capacity() as u64)?;
        next = body.next_chunk().await?;
    }
    Ok(share.attach(whole))
}

/// How a request gets its answer.
pub enum Plan {
    /// Here: from Miroir's own state, or merged from several nodes.
    Answer(Answer),
    /// From one node, streamed through on Pingora's upstream path.
    Forward(Forward),
}

/// A request that one node answers as it stands, but for reserved fields.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Nodes that can answer; the next is tried when one fails.
    pub candidates: Vec<NodeIndex>,
    /// As nodes know the index.
    pub path_and_query: String,
    pub settings: Option<SettingsMark>,
    /// Set if the answer is a document, out of which the reserved fields are taken.
    pub document: Option<DocumentRead>,
}

impl Forward {
    /// After the last candidate has failed: those that can answer only since the request began.
    pub fn add_recovered(&mut self, app: &App) {
        if let Some(document) = &self.document {
            let recovered = document.recovered(app, &self.candidates);
            self.candidates.extend(recovered);
        }
    }
}

impl From<Answer> for Plan {
    fn from(answer: Answer) -> Self {
        Plan::Answer(answer)
    }
}

/// Makes and, unless one node is to answer it, carries out the plan for a request. `key` is that of a write.
pub async fn plan(
    app: &App,
    route: &Route,
    request: &Request<'_>,
    key: Option<&IdempotencyKey>,
    body: &mut dyn Body,
) -> Result<Plan, ApiError> {
    match key {
        Some(key) => idempotency::once(app, key, route, request, body).await,
        None => dispatch(app, route, request, body).await,
    }
}

/// Carries a request out, and says in what it becomes how the settings of its index stood.
async fn dispatch(app: &App, route: &Route, request: &Request<'_>, body: &mut dyn Body) -> Result<Plan, ApiError> {
    let before = SettingsMark::of(app, route);
    let result = handle(app, route, request, body).await;
    let Some(before) = before else { return result };
    // What was true before or after may have been true for some leg.
    let mark = before.and(SettingsMark::of(app, route));
    match result {
        Ok(Plan::Answer(answer)) => Ok(Plan::Answer(Answer { settings: Some(mark), ..answer })),
        Ok(Plan::Forward(forward)) => Ok(Plan::Forward(Forward { settings: Some(mark), ..forward })),
        Err(error) => Err(in_clients_words(app, route, error)),
    }
}

/// A node's error, with the index called as the client calls it.
fn in_clients_words(app: &App, route: &Route, error: ApiError) -> ApiError {
    let snapshot = app.cluster.snapshot();
    match route.index_uid().and_then(|uid| Some((uid, snapshot.index(uid)?))) {
        Some((uid, index)) => ApiError { body: error.body.naming(&index.node_uid, uid), ..error },
        None => error,
    }
}

async fn handle(app: &App, route: &Route, request: &Request<'_>, body: &mut dyn Body) -> Result<Plan, ApiError> {
    if route.takes_json(request.method) {
        json_body::check_content_type(request.content_type)?;
    }
    Ok(match route {
        Route::Health => server_info::health().into(),
        Route::Version => server_info::version(app)?,
        Route::Stats => stats::all(app, request.rights).await?.into(),
        Route::Indexes(Verb::Get) => indexes::list(app, request)?.into(),
        Route::Indexes(_) => indexes::create(app, request, body).await?.into(),
        Route::Index(uid, Verb::Delete) => indexes::delete(app, uid, request).await?.into(),
        Route::Index(uid, Verb::Patch) => indexes::update(app, uid, request, body).await?.into(),
        Route::ExperimentalFeatures(Verb::Get) => experimental_features::show(app).await?.into(),
        Route::ExperimentalFeatures(_) => experimental_features::change(app, body).await?.into(),
        Route::SwapIndexes => renaming::swap(app, request, body).await?.into(),
        Route::Index(uid, _) => indexes::get(app, uid)?.into(),
        Route::IndexStats(uid) => stats::one(app, uid, request).await?.into(),
        Route::Settings(uid, sub, verb) => {
            settings::handle(app, uid, sub.as_deref(), *verb, request, body).await?.into()
        }
        Route::Documents(uid, Verb::Get) => document_list::list(app, uid, request).await?.into(),
        Route::Documents(uid, Verb::Delete) => whole_index::delete_all(app, uid, request).await?.into(),
        Route::Documents(uid, verb) => documents_write::add(app, uid, *verb, request, body).await?.into(),
        Route::DocumentsFetch(uid) => document_list::fetch(app, uid, request, body).await?.into(),
        Route::DocumentsDeleteBatch(uid) => documents_write::delete_batch(app, uid, request, body).await?.into(),
        Route::DocumentsDelete(uid) => whole_index::delete_by_filter(app, uid, request, body).await?.into(),
        Route::DocumentsEdit(uid) => document_edition::edit(app, uid, request, body).await?.into(),
        Route::Document(uid, id, Verb::Delete) => documents_write::delete_one(app, uid, id, request).await?.into(),
        Route::Document(uid, id, _) => document_by_id::one(app, uid, id, request).await?,
        Route::OfSeveral(route, targets) => alias_route::read(app, route, targets, request, body).await?.into(),
        Route::Search(uid, verb) => search::search(app, uid, *verb, request, body).await?.into(),
        Route::Explain(uid) => explain::explain(app, uid, request, body).await?.into(),
        Route::Similar(uid, verb) => similar::similar(app, uid, *verb, request, body).await?.into(),
        Route::MultiSearch => multi_search::multi_search(app, request, body).await?.into(),
        Route::Fields(uid) => fields::fields(app, uid, request, body).await?.into(),
        Route::FacetSearch(uid) => {
            facet_search::facet_search(app, std::slice::from_ref(uid), request, body).await?.into()
        }
        Route::Tasks(Verb::Delete) => tasks::delete(app, request).await?.into(),
        Route::Tasks(_) => tasks::list(app, request).await?.into(),
        Route::TasksCancel => task_cancelation::cancel(app, request).await?.into(),
        Route::Keys(Verb::Post) => keys::create(app, body).await?.into(),
        Route::Keys(_) => keys::list(app, request)?.into(),
        Route::Key(key, Verb::Patch) => keys::update(app, key, body).await?.into(),
        Route::Key(key, Verb::Delete) => keys::delete(app, key).await?.into(),
        Route::Key(key, _) => keys::get(app, key)?.into(),
        Route::Webhooks(Verb::Post) => webhooks::create(app, body).await?.into(),
        Route::Webhooks(_) => webhooks::list(app).into(),
        Route::Webhook(uid, Verb::Patch) => webhooks::update(app, uid, body).await?.into(),
        Route::Webhook(uid, Verb::Delete) => webhooks::delete(app, uid).await?.into(),
        Route::Webhook(uid, _) => webhooks::get(app, uid)?.into(),
        Route::SearchRules(Verb::Delete) => search_rules::clear(app, request).await?.into(),
        Route::SearchRules(_) => search_rules::list(app, body).await?.into(),
        Route::SearchRule(uid, Verb::Patch) => search_rules::update(app, uid, request, body).await?.into(),
        Route::SearchRule(uid, Verb::Delete) => search_rules::delete(app, uid, request).await?.into(),
        Route::SearchRule(uid, _) => search_rules::get(app, uid).await?.into(),
        Route::Chats => chats::list(app, request).await?.into(),
        Route::Chat(_, Verb::Get) => chats::get(app, request).await?.into(),
        Route::ChatSettings(_, Verb::Get) => chats::settings(app, request).await?.into(),
        Route::Chat(uid, _) => chats::delete(app, uid).await?.into(),
        Route::ChatSettings(uid, Verb::Patch) => chats::update(app, uid, body).await?.into(),
        Route::ChatSettings(uid, _) => chats::reset(app, uid).await?.into(),
        Route::Batches => batches::list(app, request).await?.into(),
        Route::Batch(uid) => batches::get(app, *uid, request.rights).await?.into(),
        Route::Task(uid) => tasks::get(app, *uid, request.rights).await?.into(),
        Route::Admin(route) => crate::admin::answer(app, route, request, body).await?.into(),
    })
}
