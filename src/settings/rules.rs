//! Dynamic search rules: the same on all nodes, and on those that join or come back.
//!
//! What the store says is what a node is made to have. A change is a task without nodes' parts, which is concluded here: all
//! nodes that are up are given what they lack, then rules and task are stored together. A node that is away is given it when it
//! is back, and answers say until then that nodes differ. A rule names indexes as clients do; a node is told its own names.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use serde::Deserialize;
use serde_json::{json, Map, Value};
use time::OffsetDateTime;

use super::on_nodes::{wait, NotEqual};
use super::Later;
use crate::app::App;
use crate::cluster::{IndexUid, NodeIndex, RuleChange, SearchRule, SearchRules, Snapshot};
use crate::error::{ApiError, ErrorBody};
use crate::scatter::{Delivery, NodeRequest};
use crate::store::Change;
use crate::tasks::{Conclusion, Outcome, Task};

pub const PATH: &str = "/dynamic-search-rules";
/// Under which the store keeps them.
pub const NAME: &str = "dynamic_search_rules";
/// Rules that a node is asked for at once.
const PAGE: usize = 1_000;

/// What a node knows of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knows {
    All,
    /// It does not serve them: they are switched off there, or its version has none. So it pins nothing either.
    Nothing,
}

/// The changes that have been taken and not concluded, oldest first.
pub fn pending(app: &App) -> Vec<Arc<Task>> {
    let mut tasks = app.tasks.concluding();
    tasks.retain(|task| matches!(task.conclusion, Some(Conclusion::Rules(_))));
    tasks
}

/// Concludes the pending changes. Those that no node refuses are concluded together.
pub async fn conclude(app: &App) -> Result<(), Later> {
    let _alone = app.changing_rules.lock().await;
    let tasks = pending(app);
    if tasks.is_empty() {
        return Ok(());
    }
    match carry_out(app, &tasks).await? {
        None => return Ok(()),
        Some(refusal) if tasks.len() == 1 => return fail(app, &tasks[0], refusal).await,
        Some(_) => {}
    }
    for task in &tasks {
        if let Some(refusal) = carry_out(app, std::slice::from_ref(task)).await? {
            fail(app, task, refusal).await?;
        }
    }
    Ok(())
}

/// Makes all nodes have the rules as these tasks leave them, and ends the tasks. Returns what a node said that refuses them; then
/// nothing has been stored.
async fn carry_out(app: &App, tasks: &[Arc<Task>]) -> Result<Option<ErrorBody>, Later> {
    let snapshot = app.cluster.snapshot();
    let mut rules = (**snapshot.search_rules()).clone();
    let mut deleted = Vec::with_capacity(tasks.len());
    for task in tasks {
        let Some(Conclusion::Rules(change)) = &task.conclusion else { continue };
        let before = rules.len();
        rules = rules.after(change, task.enqueued_at);
        deleted.push((task.uid, (*change == RuleChange::Clear).then_some(before)));
    }
    let mut unverified = Vec::new();
    let mut equal = 0;
    for (node, result) in give_all(app, &snapshot, &rules).await {
        match result {
            Ok(_) => equal += 1,
            Err(NotEqual::Unrepairable(refusal)) if !refusal.is_empty() => {
                return Ok(Some(ErrorBody::new(crate::error::Code::Internal, refusal)));
            }
            Err(_) => unverified.push(node),
        }
    }
    if equal == 0 {
        return Err(Later("no node takes search rules".to_owned()));
    }
    unverified.extend(snapshot.topology.node_indexes().filter(|&node| !snapshot.state(node).takes_writes()));
    let rules = Arc::new(rules);
    let record = Change::PutConfiguration { name: NAME.to_owned(), value: rules.to_json() };
    let uids: Vec<_> = tasks.iter().map(|task| task.uid).collect();
    let cluster = Arc::clone(&app.cluster);
    app.tasks
        .change(move |changes| {
            let now = OffsetDateTime::now_utc();
            for (uid, deleted) in deleted {
                changes.task(uid, |task| {
                    if let (Some(count), Some(details)) = (deleted, &mut task.details) {
                        details.insert("deletedDocuments".to_owned(), count.into());
                    }
                    task.conclude(Outcome::Succeeded, now);
                    true
                });
            }
            changes.also(record);
            changes.then(move || {
                cluster.publish(|snapshot| snapshot.with_search_rules(rules, unverified).without_rules_changes(&uids));
            });
        })
        .await?;
    Ok(None)
}

/// Ends a change that a node refuses: the nodes are put back.
async fn fail(app: &App, task: &Task, refusal: ErrorBody) -> Result<(), Later> {
    let snapshot = app.cluster.snapshot();
    let rules = snapshot.search_rules();
    let given = give_all(app, &snapshot, rules).await;
    let unverified = given.into_iter().filter(|(_, result)| result.is_err()).map(|(node, _)| node);
    let unverified: Vec<NodeIndex> = unverified.collect();
    let uid = task.uid;
    let (cluster, rules) = (Arc::clone(&app.cluster), Arc::clone(rules));
    app.tasks
        .change(move |changes| {
            changes.task(uid, |task| {
                task.conclude(Outcome::Failed(refusal), OffsetDateTime::now_utc());
                true
            });
            changes.then(move || {
                cluster.publish(|snapshot| snapshot.with_search_rules(rules, unverified).without_rules_changes(&[uid]));
            });
        })
        .await?;
    Ok(())
}

/// Gives all nodes that are up the rules that they lack.
async fn give_all(app: &App, snapshot: &Snapshot, rules: &SearchRules) -> Vec<(NodeIndex, Result<Knows, NotEqual>)> {
    let wanted = &on_nodes(snapshot, rules);
    let nodes = snapshot.topology.node_indexes().filter(|&node| snapshot.state(node).takes_writes());
    join_all(nodes.map(|node| async move { (node, give(app, node, wanted).await) })).await
}

/// Makes a node have the rules that hold. To be called when it comes up, when what rules name has other names, and from time to
/// time, for what was changed behind Miroir's back.
pub async fn equalize(app: &App, node: NodeIndex) -> Result<(), Later> {
    let _alone = app.changing_rules.lock().await;
    let snapshot = app.cluster.snapshot();
    let rules = Arc::clone(snapshot.search_rules());
    let wanted = on_nodes(&snapshot, &rules);
    match give(app, node, &wanted).await {
        Ok(_) => {
            if app.cluster.snapshot().has_inconsistent_search_rules() {
                app.cluster.publish(|snapshot| snapshot.having_search_rules(node, &rules));
            }
            Ok(())
        }
        Err(why) => {
            app.cluster.publish(|snapshot| snapshot.missing_search_rules(node));
            Err(Later(format!("node {} does not have all search rules: {why:?}", app.scatter.health.id(node))))
        }
    }
}

/// A number that changes with the rules as nodes are to have them: with the rules themselves, and with names of indexes.
pub fn fingerprint(snapshot: &Snapshot) -> u64 {
    let wanted = Value::Array(on_nodes(snapshot, snapshot.search_rules()));
    xxhash_rust::xxh3::xxh3_64(wanted.to_string().as_bytes())
}

/// The rules as nodes are to have them, in the order in which they are made.
fn on_nodes(snapshot: &Snapshot, rules: &SearchRules) -> Vec<Value> {
    rules.iter().map(|rule| comparable(&renamed(snapshot, rule.clone()))).collect()
}

/// A rule with the nodes' names of indexes. What is pinned in an index that does not exist goes, if another one has that name on
/// nodes.
fn renamed(snapshot: &Snapshot, mut rule: SearchRule) -> SearchRule {
    rule.actions.retain_mut(|action| {
        let Some(uid) = &mut action.selector.index_uid else { return true };
        match snapshot.index(uid) {
            Some(index) => *uid = index.node_uid.clone(),
            None => return snapshot.index_on_nodes(uid).is_none(),
        }
        true
    });
    rule
}

/// What of a rule must be the same everywhere; as the body of a `PATCH` that makes it so.
fn comparable(rule: &SearchRule) -> Value {
    json!({
        "uid": rule.uid,
        "description": rule.description,
        "precedence": rule.precedence,
        "active": rule.active,
        "conditions": rule.conditions,
        "actions": rule.actions,
    })
}

#[derive(Deserialize)]
struct Page {
    results: Vec<SearchRule>,
    total: usize,
}

/// Gives a node what it lacks of `wanted`, and takes from it what is not wanted. `Unrepairable` if it refuses something: then with
/// what it says, and with nothing if it cannot be asked.
async fn give(app: &App, node: NodeIndex, wanted: &[Value]) -> Result<Knows, NotEqual> {
    let Some(found) = read(app, node).await? else { return Ok(Knows::Nothing) };
    let found: Map<String, Value> = found.iter().map(|rule| (rule.uid.to_string(), comparable(rule))).collect();
    let uid_of = |rule: &Value| rule["uid"].as_str().unwrap_or_default().to_owned();
    let kept: Vec<String> = wanted.iter().map(uid_of).collect();
    let surplus: Vec<&String> = found.keys().filter(|uid| !kept.contains(uid)).collect();
    let mut requests: Vec<NodeRequest> = match wanted.is_empty() && !surplus.is_empty() {
        true => vec![NodeRequest::delete(PATH)],
        false => surplus.into_iter().map(|uid| NodeRequest::delete(format!("{PATH}/{uid}"))).collect(),
    };
    for rule in wanted.iter().filter(|rule| found.get(&uid_of(rule)) != Some(*rule)) {
        let mut body = rule.clone();
        body.as_object_mut().map(|members| members.shift_remove("uid"));
        let path = format!("{PATH}/{}", uid_of(rule));
        requests.push(NodeRequest::json(Method::PATCH, path, Bytes::from(body.to_string())));
    }
    if requests.is_empty() {
        return Ok(Knows::All);
    }
    log::info!("node {} is given {} changes of search rules", app.scatter.health.id(node), requests.len());
    let mut tasks = Vec::with_capacity(requests.len());
    for request in &requests {
        match app.scatter.deliver(node, request).await {
            Delivery::Acknowledged(acknowledgement) => {
                app.logs.numbered(node, Some(acknowledgement.uid));
                tasks.push(acknowledgement.uid);
            }
            Delivery::Refused(error) => return Err(NotEqual::Unrepairable(error.body.message)),
            // Should it still carry that out, the next comparison shows it.
            Delivery::Late(_) | Delivery::NotSent | Delivery::InDoubt => return Err(NotEqual::Away),
        }
    }
    for task in tasks {
        if let Err(why) = wait(app, node, task).await {
            return match app.cluster.snapshot().state(node).takes_writes() {
                true => Err(NotEqual::Unrepairable(why)),
                false => Err(NotEqual::Away),
            };
        }
    }
    Ok(Knows::All)
}

/// All rules of a node; `None` if it does not serve them.
async fn read(app: &App, node: NodeIndex) -> Result<Option<Vec<SearchRule>>, NotEqual> {
    let mut rules = Vec::new();
    loop {
        let body = json!({ "offset": rules.len(), "limit": PAGE }).to_string();
        let request = NodeRequest::json(Method::POST, PATH, Bytes::from(body));
        let answer = app.scatter.ask(node, &request).await.map_err(|_| NotEqual::Away)?;
        if matches!(answer.status, 400 | 404 | 405) {
            return Ok(None);
        }
        if !answer.is_success() {
            log::info!("a node does not tell its search rules: {}", ApiError::from_node(answer.status, &answer.body));
            return Err(NotEqual::Away);
        }
        let page: Page = serde_json::from_slice(&answer.body).map_err(|error| {
            log::warn!("a node's search rules cannot be read: {error}");
            NotEqual::Away
        })?;
        let is_last = page.results.is_empty() || rules.len() + page.results.len() >= page.total;
        rules.extend(page.results);
        if is_last {
            return Ok(Some(rules));
        }
    }
}

/// Whether a renaming changes which index some rule means.
pub fn mean_any<'u>(snapshot: &Snapshot, uids: impl Iterator<Item = &'u IndexUid>) -> bool {
    snapshot.search_rules().name_any(uids)
}
