//! Recognising routes.

use http::Method;

use super::query_string::percent_decode;
use super::refused;
use crate::admin::AdminRoute;
use crate::auth::{Action, Scope};
use crate::cluster::{IndexUid, TaskUid};
use crate::error::{ApiError, Code};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// A request's route, its parts parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    Health,
    Version,
    Stats,
    Indexes(Verb),
    Index(IndexUid, Verb),
    IndexStats(IndexUid),
    SwapIndexes,
    ExperimentalFeatures(Verb),
    /// With the name of the sub-route, if any.
    Settings(IndexUid, Option<String>, Verb),
    Documents(IndexUid, Verb),
    DocumentsFetch(IndexUid),
    DocumentsDeleteBatch(IndexUid),
    DocumentsDelete(IndexUid),
    DocumentsEdit(IndexUid),
    /// With the document id, percent-decoded.
    Document(IndexUid, String, Verb),
    Search(IndexUid, Verb),
    /// A read by an alias that stands for these indexes, as if they were one.
    OfSeveral(Box<Route>, Vec<IndexUid>),
    FacetSearch(IndexUid),
    Fields(IndexUid),
    Explain(IndexUid),
    Similar(IndexUid, Verb),
    MultiSearch,
    Tasks(Verb),
    TasksCancel,
    Batches,
    Batch(TaskUid),
    Task(TaskUid),
    Keys(Verb),
    /// With the key's uid or value, percent-decoded.
    Key(String, Verb),
    Webhooks(Verb),
    /// With its uid as it stands in the path.
    Webhook(String, Verb),
    Chats,
    Chat(IndexUid, Verb),
    ChatSettings(IndexUid, Verb),
    SearchRules(Verb),
    /// With its uid as it stands in the path, percent-decoded.
    SearchRule(String, Verb),
    Admin(AdminRoute),
}

/// Which of several Miroirs can answer a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Anyone,
    /// Each that knows where things are.
    Picture,
    /// The one that takes writes and follows tasks.
    Leader,
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'r> {
    /// Everyone, without a question.
    Anyone,
    /// Whoever the route's handler lets in.
    Own,
    /// Who has any key: a route that does not exist.
    AnyKey,
    /// The master key, and keys that allow this action: on the index, where the route names one.
    Action(Action, Option<&'r IndexUid>),
    AdminKey,
    /// The admin key, or who may do this as any other action.
    AdminKeyOrAction(Action, &'r IndexUid),
}

impl Access<'_> {
    /// For a path that is no route.
    pub fn of_unknown(path: &str) -> Self {
        let first = path.trim_start_matches('/').split('/').next();
        if first == Some("_miroir") {
            Access::AdminKey
        } else {
            Access::AnyKey
        }
    }
}

impl Route {
    /// `path` is without the query string. Unknown paths are `not_found`; routes of Meilisearch that Miroir does not serve
    /// say so.
    pub fn recognise(method: &Method, path: &str) -> Result<Self, ApiError> {
        Self::served(method, path)?.ok_or_else(|| unserved(method, path))
    }

    /// The route, if Miroir serves it.
    fn served(method: &Method, path: &str) -> Result<Option<Self>, ApiError> {
        use Verb::{Delete, Get, Patch, Post, Put};
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let verb = match *method {
            Method::GET | Method::HEAD => Get,
            Method::POST => Post,
            Method::PUT => Put,
            Method::PATCH => Patch,
            Method::DELETE => Delete,
            _ => return Ok(None),
        };
        let index = |uid: &str| IndexUid::parse(&percent_decode(uid));
        let route = match (segments.as_slice(), verb) {
            (["health"], Get) => Route::Health,
            (["version"], Get) => Route::Version,
            (["stats"], Get) => Route::Stats,
            (["indexes"], Get | Post) => Route::Indexes(verb),
            (["indexes", uid], Get | Patch | Delete) => Route::Index(index(uid)?, verb),
            (["indexes", uid, "stats"], Get) => Route::IndexStats(index(uid)?),
            (["indexes", uid, "settings"], Get | Patch | Delete) => Route::Settings(index(uid)?, None, verb),
            (["indexes", uid, "settings", sub], Get | Put | Patch | Delete) => {
                Route::Settings(index(uid)?, Some((*sub).to_owned()), verb)
            }
            (["indexes", uid, "documents"], Get | Post | Put | Delete) => Route::Documents(index(uid)?, verb),
            (["indexes", uid, "documents", "fetch"], Post) => Route::DocumentsFetch(index(uid)?),
            (["indexes", uid, "documents", "delete-batch"], Post) => Route::DocumentsDeleteBatch(index(uid)?),
            (["indexes", uid, "documents", "delete"], Post) => Route::DocumentsDelete(index(uid)?),
            (["indexes", uid, "documents", "edit"], Post) => Route::DocumentsEdit(index(uid)?),
            (["indexes", uid, "documents", id], Get | Delete) => {
                Route::Document(index(uid)?, percent_decode(id).into_owned(), verb)
            }
            (["indexes", uid, "search"], Get | Post) => Route::Search(index(uid)?, verb),
            (["indexes", uid, "explain"], Post) => Route::Explain(index(uid)?),
            (["indexes", uid, "facet-search"], Post) => Route::FacetSearch(index(uid)?),
            (["indexes", uid, "fields"], Post) => Route::Fields(index(uid)?),
            (["experimental-features"], Get | Patch) => Route::ExperimentalFeatures(verb),
            (["swap-indexes"], Post) => Route::SwapIndexes,
            (["indexes", uid, "similar"], Get | Post) => Route::Similar(index(uid)?, verb),
            (["multi-search"], Post) => Route::MultiSearch,
            (["tasks"], Get | Delete) => Route::Tasks(verb),
            (["tasks", "cancel"], Post) => Route::TasksCancel,
            (["batches"], Get) => Route::Batches,
            (["batches", uid], Get) => Route::Batch(batch_uid(uid)?),
            (["tasks", uid], Get) => Route::Task(task_uid(uid)?),
            (["keys"], Get | Post) => Route::Keys(verb),
            (["keys", key], Get | Patch | Delete) => Route::Key(percent_decode(key).into_owned(), verb),
            (["webhooks"], Get | Post) => Route::Webhooks(verb),
            (["webhooks", uid], Get | Patch | Delete) => Route::Webhook(percent_decode(uid).into_owned(), verb),
            (["chats"], Get) => Route::Chats,
            (["chats", uid], Get | Delete) => Route::Chat(index(uid)?, verb),
            (["chats", uid, "settings"], Get | Patch | Delete) => Route::ChatSettings(index(uid)?, verb),
            (["dynamic-search-rules"], Post | Delete) => Route::SearchRules(verb),
            (["dynamic-search-rules", uid], Get | Patch | Delete) => {
                Route::SearchRule(percent_decode(uid).into_owned(), verb)
            }
            (["_miroir", rest @ ..], _) => match AdminRoute::recognise(rest, verb) {
                Some(route) => Route::Admin(route),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(route))
    }

    pub fn access(&self) -> Access<'_> {
        use Verb::{Delete, Get, Patch, Post};
        let (action, index) = match self {
            // Each of its indexes is checked by itself.
            Route::OfSeveral(route, _) => return route.access(),
            Route::Health | Route::Admin(AdminRoute::Ready) => return Access::Anyone,
            Route::Admin(AdminRoute::SearchUiSession(_) | AdminRoute::Login | AdminRoute::Peers(_)) => {
                return Access::Own
            }
            Route::Admin(_) => return Access::AdminKey,
            // It shows where things are, which is nobody's business who only searches.
            Route::Explain(uid) => return Access::AdminKeyOrAction(Action::Everything, uid),
            Route::Version => (Action::Version, None),
            Route::Stats => (Action::StatsGet, None),
            Route::Indexes(Get) => (Action::IndexesGet, None),
            Route::Indexes(_) => (Action::IndexesCreate, None),
            Route::Index(uid, Get) => (Action::IndexesGet, Some(uid)),
            Route::Index(uid, Delete) => (Action::IndexesDelete, Some(uid)),
            Route::Index(uid, _) => (Action::IndexesUpdate, Some(uid)),
            Route::IndexStats(uid) => (Action::StatsGet, Some(uid)),
            Route::SwapIndexes => (Action::IndexesSwap, None),
            Route::ExperimentalFeatures(Get) => (Action::ExperimentalGet, None),
            Route::ExperimentalFeatures(_) => (Action::ExperimentalUpdate, None),
            Route::Settings(uid, _, Get) => (Action::SettingsGet, Some(uid)),
            Route::Settings(uid, ..) => (Action::SettingsUpdate, Some(uid)),
            Route::Documents(uid, Get) | Route::DocumentsFetch(uid) | Route::Document(uid, _, Get) => {
                (Action::DocumentsGet, Some(uid))
            }
            Route::Documents(uid, Delete)
            | Route::DocumentsDelete(uid)
            | Route::DocumentsDeleteBatch(uid)
            | Route::Document(uid, ..) => (Action::DocumentsDelete, Some(uid)),
            Route::Documents(uid, _) => (Action::DocumentsAdd, Some(uid)),
            Route::DocumentsEdit(uid) => (Action::DocumentsAll, Some(uid)),
            Route::Search(uid, _) | Route::FacetSearch(uid) | Route::Similar(uid, _) => (Action::Search, Some(uid)),
            Route::Fields(uid) => (Action::FieldsPost, Some(uid)),
            // Each query's index is checked once the queries have been read.
            Route::MultiSearch => (Action::Search, None),
            Route::Tasks(Delete) => (Action::TasksDelete, None),
            Route::TasksCancel => (Action::TasksCancel, None),
            Route::Tasks(_) | Route::Task(_) | Route::Batches | Route::Batch(_) => (Action::TasksGet, None),
            Route::Keys(Post) => (Action::KeysCreate, None),
            Route::Key(_, Patch) => (Action::KeysUpdate, None),
            Route::Key(_, Delete) => (Action::KeysDelete, None),
            Route::Keys(_) | Route::Key(..) => (Action::KeysGet, None),
            Route::Webhooks(Post) => (Action::WebhooksCreate, None),
            Route::Webhook(_, Patch) => (Action::WebhooksUpdate, None),
            Route::Webhook(_, Delete) => (Action::WebhooksDelete, None),
            Route::Webhooks(_) | Route::Webhook(..) => (Action::WebhooksGet, None),
            Route::Chats | Route::Chat(_, Get) => (Action::ChatsGet, None),
            Route::Chat(..) => (Action::ChatsDelete, None),
            Route::ChatSettings(_, Get) => (Action::ChatsSettingsGet, None),
            Route::ChatSettings(..) => (Action::ChatsSettingsUpdate, None),
            Route::SearchRules(Delete) | Route::SearchRule(_, Delete) => (Action::DynamicSearchRulesDelete, None),
            Route::SearchRule(_, Patch) => (Action::DynamicSearchRulesUpdate, None),
            Route::SearchRules(_) | Route::SearchRule(..) => (Action::DynamicSearchRulesGet, None),
        };
        Access::Action(action, index)
    }

    pub fn needs(&self) -> Needs {
        match self {
            Route::Health | Route::Version => Needs::Anyone,
            Route::Admin(route) if route.is_of_each() => Needs::Anyone,
            Route::Search(..)
            | Route::FacetSearch(_)
            | Route::Similar(..)
            | Route::MultiSearch
            | Route::Documents(_, Verb::Get)
            | Route::DocumentsFetch(_)
            | Route::Document(_, _, Verb::Get)
            | Route::Explain(_) => Needs::Picture,
            Route::OfSeveral(route, _) => route.needs(),
            _ => Needs::Leader,
        }
    }

    /// What a token of the search UI needs for it. `None`: no such token opens it.
    pub fn search_ui_scope(&self) -> Option<Scope> {
        match self {
            Route::Search(..) => Some(Scope::Search),
            Route::MultiSearch => Some(Scope::MultiSearch),
            _ => None,
        }
    }

    /// The index in its path.
    pub fn index_uid(&self) -> Option<&IndexUid> {
        match self {
            Route::Index(uid, _)
            | Route::IndexStats(uid)
            | Route::Settings(uid, _, _)
            | Route::Documents(uid, _)
            | Route::DocumentsFetch(uid)
            | Route::DocumentsDeleteBatch(uid)
            | Route::DocumentsDelete(uid)
            | Route::DocumentsEdit(uid)
            | Route::Document(uid, _, _)
            | Route::Search(uid, _)
            | Route::Explain(uid)
            | Route::Similar(uid, _)
            | Route::Fields(uid)
            | Route::FacetSearch(uid) => Some(uid),
            _ => None,
        }
    }

    /// The same route of another index.
    #[must_use]
    pub fn of_index(mut self, uid: &IndexUid) -> Self {
        if let Some(own) = self.index_uid_mut() {
            *own = uid.clone();
        }
        self
    }

    fn index_uid_mut(&mut self) -> Option<&mut IndexUid> {
        match self {
            Route::Index(uid, _)
            | Route::IndexStats(uid)
            | Route::Settings(uid, _, _)
            | Route::Documents(uid, _)
            | Route::DocumentsFetch(uid)
            | Route::DocumentsDeleteBatch(uid)
            | Route::DocumentsDelete(uid)
            | Route::DocumentsEdit(uid)
            | Route::Document(uid, _, _)
            | Route::Search(uid, _)
            | Route::Explain(uid)
            | Route::Similar(uid, _)
            | Route::Fields(uid)
            | Route::FacetSearch(uid) => Some(uid),
            _ => None,
        }
    }

    /// Whether it makes a task: such a request is seen through once it has begun, and may carry an `Idempotency-Key`.
    pub fn writes(&self) -> bool {
        match self {
            Route::Indexes(verb)
            | Route::Index(_, verb)
            | Route::Settings(_, _, verb)
            | Route::Documents(_, verb)
            | Route::Document(_, _, verb)
            | Route::ExperimentalFeatures(verb)
            | Route::Chat(_, verb)
            | Route::ChatSettings(_, verb)
            | Route::Tasks(verb) => *verb != Verb::Get,
            Route::SearchRules(verb) => *verb == Verb::Delete,
            Route::SearchRule(_, verb) => *verb != Verb::Get,
            Route::Admin(route) => route.writes(),
            Route::SwapIndexes
            | Route::DocumentsDelete(_)
            | Route::DocumentsDeleteBatch(_)
            | Route::DocumentsEdit(_)
            | Route::TasksCancel => true,
            _ => false,
        }
    }

    /// Whether its handler reads the request's body to the end before it writes anything.
    pub fn reads_body(&self, method: &Method) -> bool {
        *method != Method::DELETE && *self != Route::TasksCancel
    }

    /// Whether its body is JSON and nothing else.
    pub fn takes_json(&self, method: &Method) -> bool {
        let takes_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        if let Route::OfSeveral(route, _) = self {
            return route.takes_json(method);
        }
        // Documents come in several formats, and a cancelation says everything in its address.
        takes_body && !matches!(self, Route::Documents(..) | Route::TasksCancel | Route::Admin(_))
    }

    /// The route as metrics name it: a template, so that the label's values are few.
    pub fn template(&self) -> &'static str {
        match self {
            Route::Health => "/health",
            Route::Version => "/version",
            Route::Stats => "/stats",
            Route::Indexes(_) => "/indexes",
            Route::Index(..) => "/indexes/{uid}",
            Route::IndexStats(_) => "/indexes/{uid}/stats",
            Route::SwapIndexes => "/swap-indexes",
            Route::ExperimentalFeatures(_) => "/experimental-features",
            Route::Settings(..) => "/indexes/{uid}/settings",
            Route::Documents(..) => "/indexes/{uid}/documents",
            Route::DocumentsFetch(_) => "/indexes/{uid}/documents/fetch",
            Route::DocumentsDeleteBatch(_) => "/indexes/{uid}/documents/delete-batch",
            Route::DocumentsDelete(_) => "/indexes/{uid}/documents/delete",
            Route::DocumentsEdit(_) => "/indexes/{uid}/documents/edit",
            Route::Document(..) => "/indexes/{uid}/documents/{id}",
            Route::Search(..) => "/indexes/{uid}/search",
            Route::OfSeveral(route, _) => route.template(),
            Route::Explain(_) => "/indexes/{uid}/explain",
            Route::FacetSearch(_) => "/indexes/{uid}/facet-search",
            Route::Fields(_) => "/indexes/{uid}/fields",
            Route::Similar(..) => "/indexes/{uid}/similar",
            Route::MultiSearch => "/multi-search",
            Route::Tasks(_) => "/tasks",
            Route::TasksCancel => "/tasks/cancel",
            Route::Batches => "/batches",
            Route::Batch(_) => "/batches/{uid}",
            Route::Task(_) => "/tasks/{uid}",
            Route::Keys(_) => "/keys",
            Route::Key(..) => "/keys/{uid_or_key}",
            Route::Webhooks(_) => "/webhooks",
            Route::Webhook(..) => "/webhooks/{uid}",
            Route::Chats => "/chats",
            Route::Chat(..) => "/chats/{uid}",
            Route::ChatSettings(..) => "/chats/{uid}/settings",
            Route::SearchRules(_) => "/dynamic-search-rules",
            Route::SearchRule(..) => "/dynamic-search-rules/{uid}",
            Route::Admin(route) => route.template(),
        }
    }
}

fn task_uid(text: &str) -> Result<TaskUid, ApiError> {
    let invalid = || {
        let message = format!("Task uid `{text}` is invalid. It should only contain numeric characters.");
        ApiError::new(Code::InvalidTaskUids, message)
    };
    text.parse().map(TaskUid).map_err(|_| invalid())
}

fn batch_uid(text: &str) -> Result<TaskUid, ApiError> {
    let invalid = || {
        let message = format!("Batch uid `{text}` is invalid. It should only contain numeric characters.");
        ApiError::new(Code::InvalidBatchUids, message)
    };
    text.parse().map(TaskUid).map_err(|_| invalid())
}

fn not_found(path: &str) -> ApiError {
    ApiError::new(Code::NotFound, format!("There is no route `{path}`."))
}

fn no_such_method(method: &Method, path: &str) -> ApiError {
    ApiError::new(Code::MethodNotAllowed, format!("`{path}` has no method {method}."))
}

fn unserved(method: &Method, path: &str) -> ApiError {
    if let Some(refusal) = refused::refusal(method, path) {
        return refusal;
    }
    // A path that is wrong in itself is one of a route.
    let has_route = |method| !matches!(Route::served(method, path), Ok(None));
    if [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE].iter().any(has_route) {
        return no_such_method(method, path);
    }
    not_found(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(name: &str) -> IndexUid {
        IndexUid::parse(name).unwrap()
    }

    #[test]
    fn routes_are_recognised_by_method_and_path() {
        let cases = [
            (Method::GET, "/health", Route::Health),
            (Method::POST, "/indexes/movies/search", Route::Search(uid("movies"), Verb::Post)),
            (Method::PUT, "/indexes/movies/documents", Route::Documents(uid("movies"), Verb::Put)),
            (Method::GET, "/indexes/m/documents/a%20b", Route::Document(uid("m"), "a b".to_owned(), Verb::Get)),
            (Method::POST, "/indexes/m/documents/delete-batch", Route::DocumentsDeleteBatch(uid("m"))),
            (Method::GET, "/tasks/12", Route::Task(TaskUid(12))),
            (Method::DELETE, "/tasks", Route::Tasks(Verb::Delete)),
            (Method::POST, "/tasks/cancel", Route::TasksCancel),
            (Method::GET, "/batches/3", Route::Batch(TaskUid(3))),
        ];
        for (method, path, expected) in cases {
            assert_eq!(Route::recognise(&method, path).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_not_served_says_why() {
        let code = |method: Method, path: &str| Route::recognise(&method, path).unwrap_err().body.code.into_owned();
        assert_eq!(code(Method::GET, "/nonsense"), "not_found");
        assert_eq!(code(Method::GET, "/multi-search"), "method_not_allowed");
        assert_eq!(code(Method::PUT, "/keys"), "method_not_allowed");
        assert_eq!(code(Method::GET, "/indexes/a/nonsense"), "not_found");
        assert_eq!(code(Method::POST, "/health"), "method_not_allowed");
        assert_eq!(code(Method::PUT, "/indexes"), "method_not_allowed");
        assert_eq!(code(Method::OPTIONS, "/indexes/a"), "method_not_allowed");
        assert_eq!(code(Method::POST, "/snapshots"), "miroir_not_supported");
        assert_eq!(code(Method::GET, "/indexes/a%2Fb"), "invalid_index_uid");
        assert_eq!(code(Method::GET, "/tasks/x"), "invalid_task_uids");
    }
}
