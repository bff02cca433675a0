//! What a route that names an alias comes to: its index in the alias' place, or a read of several indexes as one.
//!
//! A request resolves its alias once, and keeps the snapshot until it has been answered: what the alias stood for then is not
//! deleted before.

use std::sync::Arc;

use super::{alias_search, document_list, facet_search, stats, Answer, Body, Request, Route, Verb};
use crate::app::App;
use crate::cluster::{Alias, AliasKind, Index, IndexUid, Snapshot};
use crate::error::{ApiError, Code};

/// A route, with its alias resolved.
pub struct Resolved {
    /// What is carried out, or why this alias cannot be used so.
    pub route: Result<Route, ApiError>,
    /// The same route of each index that the alias stands for: the client needs the right to all of them, and not to the alias'
    /// name, which by itself opens nothing. Of a route without an alias it is the route itself.
    pub needed: Vec<Route>,
    /// What the client called the index, if that is an alias.
    pub alias: Option<IndexUid>,
}

pub fn resolve(snapshot: &Snapshot, route: Route) -> Resolved {
    let Some(alias) = route.index_uid().and_then(|uid| snapshot.alias(uid)).cloned() else {
        return Resolved { needed: vec![route.clone()], route: Ok(route), alias: None };
    };
    let needed = alias.targets.iter().map(|target| route.clone().of_index(target)).collect();
    let name = alias.name.clone();
    Resolved { route: of_targets(route, alias), needed, alias: Some(name) }
}

fn of_targets(route: Route, alias: Alias) -> Result<Route, ApiError> {
    match (alias.kind, alias.targets.as_slice()) {
        (AliasKind::Single, [target]) => Ok(route.of_index(target)),
        _ if route.writes() => {
            let message = format!("Alias `{}` stands for several indexes and cannot be written.", alias.name);
            Err(ApiError::new(Code::MiroirMultiAliasNotWritable, message))
        }
        _ if reads_several(&route) => Ok(Route::OfSeveral(Box::new(route), alias.targets)),
        _ => {
            let message = format!(
                "Alias `{}` stands for several indexes, of which this route can read only one; name that index.",
                alias.name
            );
            Err(ApiError::new(Code::MiroirNotSupported, message))
        }
    }
}

/// Whether the answer for several indexes is that for one which has all of their documents. A document's id names one in each of
/// them, and settings are each index's own.
fn reads_several(route: &Route) -> bool {
    matches!(
        route,
        Route::Search(..)
            | Route::FacetSearch(_)
            | Route::Documents(_, Verb::Get)
            | Route::DocumentsFetch(_)
            | Route::IndexStats(_)
    )
}

/// Carries out a route that [`reads_several`].
pub async fn read(
    app: &App,
    route: &Route,
    targets: &[IndexUid],
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    match route {
        Route::Search(_, verb) => {
            let snapshot = app.cluster.snapshot();
            let indexes: Vec<&Index> =
                targets.iter().filter_map(|uid| snapshot.index(uid)).map(AsRef::as_ref).collect();
            let snapshot = request.accepting(Arc::clone(&snapshot), &indexes)?;
            alias_search::search(app, &snapshot, targets, *verb, request, body).await
        }
        Route::FacetSearch(_) => facet_search::facet_search(app, targets, request, body).await,
        Route::Documents(..) => document_list::list_of_several(app, targets, request).await,
        Route::DocumentsFetch(_) => document_list::fetch_of_several(app, targets, request, body).await,
        Route::IndexStats(_) => stats::of_several(app, targets, request).await,
        _ => Err(ApiError::new(Code::Internal, "A route of one index was taken for one of several.")),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use time::OffsetDateTime;

    use super::*;
    use crate::cluster::tests_support::snapshot;

    fn uid(name: &str) -> IndexUid {
        IndexUid::parse(name).unwrap()
    }

    fn alias(name: &str, targets: &[&str]) -> (IndexUid, Alias) {
        let alias = Alias {
            name: uid(name),
            kind: if targets.len() == 1 { AliasKind::Single } else { AliasKind::Multi },
            targets: targets.iter().map(|target| uid(target)).collect(),
            version: 1,
            created_at: OffsetDateTime::UNIX_EPOCH,
            updated_at: OffsetDateTime::UNIX_EPOCH,
            history: Vec::new(),
        };
        (uid(name), alias)
    }

    #[test]
    fn the_rights_that_a_client_needs_are_those_to_the_targets() {
        let snapshot = snapshot(&[1], 1, 8).with_aliases([alias("one", &["a"]), alias("all", &["a", "b"])].into());
        let resolved = |method, path| resolve(&snapshot, Route::recognise(&method, path).unwrap());
        let of = |name: &str| Route::Search(uid(name), Verb::Post);
        let plain = resolved(Method::POST, "/indexes/a/search");
        assert_eq!((plain.route.unwrap(), plain.needed, plain.alias), (of("a"), vec![of("a")], None));
        let one = resolved(Method::POST, "/indexes/one/search");
        assert_eq!((one.route.unwrap(), one.needed, one.alias), (of("a"), vec![of("a")], Some(uid("one"))));
        let all = resolved(Method::POST, "/indexes/all/search");
        assert_eq!(all.route.unwrap(), Route::OfSeveral(Box::new(of("all")), vec![uid("a"), uid("b")]));
        assert_eq!(all.needed, [of("a"), of("b")]);
        let written = resolved(Method::POST, "/indexes/all/documents");
        assert!(written.route.unwrap_err().is(Code::MiroirMultiAliasNotWritable));
        assert_eq!(written.needed, [Route::Documents(uid("a"), Verb::Post), Route::Documents(uid("b"), Verb::Post)]);
        assert!(resolved(Method::GET, "/indexes/all/documents/1").route.unwrap_err().is(Code::MiroirNotSupported));
    }
}
