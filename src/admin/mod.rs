//! The `/_miroir` API: what operators see of the cluster.

mod aliases;
mod login;
mod peers;
mod rollover_policies;
mod search_ui;
mod ttl;

use futures_util::future::join_all;
use serde_json::{json, Value};

use crate::api::{Answer, Body, Request, Verb};
use crate::app::App;
use crate::cluster::{CoveringSet, IndexUid, NodeIndex, Shard, ShardSet, Snapshot, TaskUid};
use crate::error::ApiError;
use crate::scatter::NodeRequest;

pub use aliases::AliasRoute;
pub use login::PresentedSession;
pub use peers::PeerRoute;
pub use rollover_policies::RolloverRoute;
pub use ttl::TtlRoute;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminRoute {
    Aliases(AliasRoute),
    Config,
    Login,
    Logout,
    Peers(PeerRoute),
    Ready,
    Reload,
    Rollover(RolloverRoute),
    /// With the index, or alias, that there is to be a token for.
    SearchUiSession(IndexUid),
    Task(TaskUid),
    Topology,
    Ttl(TtlRoute),
    Version,
}

impl AdminRoute {
    /// `segments` come after `/_miroir`.
    pub fn recognise(segments: &[&str], verb: Verb) -> Option<Self> {
        match segments {
            ["aliases", rest @ ..] => AliasRoute::recognise(rest, verb).map(AdminRoute::Aliases),
            ["rollover-policies", rest @ ..] => RolloverRoute::recognise(rest, verb).map(AdminRoute::Rollover),
            ["admin", "login"] if verb == Verb::Post => Some(AdminRoute::Login),
            ["admin", "logout"] if verb == Verb::Post => Some(AdminRoute::Logout),
            ["indexes", uid, "ttl-policy"] => TtlRoute::recognise(uid, verb).map(AdminRoute::Ttl),
            ["peers", rest @ ..] => PeerRoute::recognise(rest, verb).map(AdminRoute::Peers),
            ["reload"] if verb == Verb::Post => Some(AdminRoute::Reload),
            _ if verb != Verb::Get => None,
            ["config"] => Some(AdminRoute::Config),
            ["ready"] => Some(AdminRoute::Ready),
            ["tasks", uid] => uid.parse().ok().map(TaskUid).map(AdminRoute::Task),
            ["topology"] => Some(AdminRoute::Topology),
            ["ui", "search", index, "session"] => IndexUid::parse(index).ok().map(AdminRoute::SearchUiSession),
            ["version"] => Some(AdminRoute::Version),
            _ => None,
        }
    }

    /// Whether its handler has to know where the request comes from.
    pub fn asks_for_origin(&self) -> bool {
        matches!(self, AdminRoute::Login | AdminRoute::Logout | AdminRoute::Peers(_) | AdminRoute::SearchUiSession(_))
    }

    /// Whether each of several Miroirs answers for itself.
    pub fn is_of_each(&self) -> bool {
        matches!(
            self,
            AdminRoute::Config | AdminRoute::Peers(_) | AdminRoute::Ready | AdminRoute::Reload | AdminRoute::Version
        )
    }

    pub fn writes(&self) -> bool {
        match self {
            AdminRoute::Aliases(route) => route.writes(),
            AdminRoute::Rollover(route) => route.writes(),
            AdminRoute::Ttl(route) => route.writes(),
            _ => false,
        }
    }

    pub fn template(&self) -> &'static str {
        match self {
            AdminRoute::Aliases(route) => route.template(),
            AdminRoute::Config => "/_miroir/config",
            AdminRoute::Login => "/_miroir/admin/login",
            AdminRoute::Logout => "/_miroir/admin/logout",
            AdminRoute::Peers(route) => route.template(),
            AdminRoute::Ready => "/_miroir/ready",
            AdminRoute::Reload => "/_miroir/reload",
            AdminRoute::Rollover(route) => route.template(),
            AdminRoute::SearchUiSession(_) => "/_miroir/ui/search/{index}/session",
            AdminRoute::Task(_) => "/_miroir/tasks/{uid}",
            AdminRoute::Topology => "/_miroir/topology",
            AdminRoute::Ttl(_) => TtlRoute::TEMPLATE,
            AdminRoute::Version => "/_miroir/version",
        }
    }
}

pub async fn answer(
    app: &App,
    route: &AdminRoute,
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    match route {
        AdminRoute::Aliases(route) => return aliases::answer(app, route, request, body).await,
        AdminRoute::Rollover(route) => return rollover_policies::answer(app, route, body).await,
        AdminRoute::Login => return login::login(app, request, body).await,
        AdminRoute::Logout => return login::logout(app, request).await,
        AdminRoute::Peers(route) => return peers::answer(app, route, request, body).await,
        AdminRoute::Ttl(route) => return ttl::answer(app, route, body).await,
        _ => {}
    }
    let snapshot = app.cluster.snapshot();
    Ok(match route {
        AdminRoute::Aliases(_)
        | AdminRoute::Rollover(_)
        | AdminRoute::Login
        | AdminRoute::Logout
        | AdminRoute::Peers(_)
        | AdminRoute::Ttl(_) => {
            unreachable!("answered above, without holding a snapshot")
        }
        AdminRoute::Config => Answer::json(200, &app.view.load().to_json()),
        AdminRoute::Ready => ready(app, &snapshot),
        AdminRoute::Reload => Answer::json(200, &json!({ "changed": app.reload().await? })),
        AdminRoute::SearchUiSession(index) => search_ui::session(app, index, request)?,
        AdminRoute::Task(uid) => Answer::json(200, &app.tasks.get(*uid).await?.breakdown()),
        AdminRoute::Topology => topology(app, &snapshot).await,
        AdminRoute::Version => Answer::json(200, &json!({ "version": env!("CARGO_PKG_VERSION") })),
    })
}

/// 200 once every shard has a replica that serves reads, and this Miroir knows which.
fn ready(app: &App, snapshot: &Snapshot) -> Answer {
    let missing = missing_shards(app, snapshot);
    let is_ready = missing.is_empty() && app.reads.is_held();
    let status = if is_ready { 200 } else { 503 };
    Answer::json(status, &json!({ "ready": is_ready, "missing_shards": missing }))
}

/// Shards that no replica may be read for, in any index or, without indexes, by placement alone.
fn missing_shards(app: &App, snapshot: &Snapshot) -> Vec<Shard> {
    let placement = snapshot.placement(app.config.shards);
    let groups = 0..snapshot.topology.groups.len();
    let is_served = |shard: &Shard| {
        let mut replicas = groups.clone().flat_map(|group| placement.replicas(group, *shard));
        replicas.any(|&node| snapshot.state(node).serves_reads())
    };
    let mut missing: Vec<Shard> = placement.shards().filter(|shard| !is_served(shard)).collect();
    for index in snapshot.indexes() {
        let shards: Vec<Shard> = (0..index.shard_count).map(Shard).collect();
        missing.extend(CoveringSet::choose(snapshot, index, &shards, 0, &[]).missing);
    }
    missing.sort_unstable();
    missing.dedup();
    missing
}

async fn topology(app: &App, snapshot: &Snapshot) -> Answer {
    let topology = &snapshot.topology;
    let nodes = join_all(topology.node_indexes().map(|node| node_view(app, snapshot, node))).await;
    let groups = topology.groups.iter().map(|group| {
        let names: Vec<&str> = group.nodes.iter().map(|&node| topology.node(node).id.as_str()).collect();
        json!({ "id": group.id, "nodes": names })
    });
    let degraded = topology.nodes.len() - snapshot.serving_nodes().len();
    let view = json!({
        "epoch": snapshot.epoch,
        "shards": app.config.shards,
        "replication_factor": topology.replication_factor,
        "groups": groups.collect::<Vec<Value>>(),
        "nodes": nodes,
        "degraded_node_count": degraded,
        "fully_covered": missing_shards(app, snapshot).is_empty(),
    });
    Answer::json(200, &view)
}

async fn node_view(app: &App, snapshot: &Snapshot, node: NodeIndex) -> Value {
    let described = snapshot.topology.node(node);
    let mut view = json!({
        "id": described.id,
        "address": described.address,
        "group": described.group,
        "status": snapshot.state(node).name(),
        "shard_count": snapshot.placement(app.config.shards).shards_of(node).len(),
    });
    let backlog = app.logs.backlog(node);
    let lags = snapshot.indexes().filter_map(|index| snapshot.lag(node, index));
    view["lagging_shards"] = json!(lags.map(ShardSet::len).sum::<usize>());
    view["replica_log"] = json!({ "entries": backlog.entries, "bytes": backlog.bytes });
    match app.scatter.ask(node, &NodeRequest::get("/version")).await {
        Ok(answer) if answer.is_success() => {
            let version: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            view["version"] = version["pkgVersion"].clone();
        }
        Ok(answer) => view["error"] = json!(ApiError::from_node(answer.status, &answer.body).to_string()),
        Err(error) => view["error"] = json!(error.to_string()),
    }
    view
}
