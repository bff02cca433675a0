//! Carries rollover policies out: looks whether an index has to give way, makes the next one, flips the aliases to it in one commit, and
//! deletes what retention ends.
//!
//! Where a policy stands is stored before each thing that is done, so that a crash at any point is gone on from. Nothing here waits for
//! tasks or for requests to end: a policy that has to is looked at again soon, and the others get their turn.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::api::{self, Request};
use crate::app::App;
use crate::auth::Rights;
use crate::cluster::{AliasAction, AliasKind, IndexUid, Snapshot, TaskUid, TARGETS_MAX};
use crate::error::{ApiError, Code, ErrorBody};
use crate::rollover::{
    aliases_of, ended, Doomed, Member, Phase, Policy, PolicyName, Progress, Rolling, Rollover, Step, Trigger,
};
use crate::stage::SharedApp;
use crate::tasks::{Task, TaskStatus};

/// How often tasks that a policy waits for are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

pub struct IndexRollovers {
    app: SharedApp,
}

impl IndexRollovers {
    pub fn new(app: SharedApp) -> Self {
        Self { app }
    }
}

#[async_trait]
impl BackgroundService for IndexRollovers {
    async fn start(&self, shutdown: ShutdownWatch) {
        // What is cut short here is gone on with by the next start.
        let rolling = |app: Arc<App>| async move {
            if app.config.ilm.enabled {
                work(&app).await;
            }
        };
        self.app.while_leading(shutdown, rolling).await;
    }
}

/// What a policy could not do. It is tried again by the next check.
struct Stuck {
    /// As the metric names it.
    step: &'static str,
    error: ErrorBody,
}

fn stuck<E: Into<ApiError>>(step: &'static str) -> impl FnOnce(E) -> Stuck {
    move |error| Stuck { step, error: error.into().body }
}

/// How far a policy got.
#[derive(PartialEq, Eq)]
enum Standing {
    /// Nothing is left to do for now.
    Done,
    /// The nodes have not done their part yet, or requests go by what was before.
    Waits,
}

/// What is kept between looks.
#[derive(Default)]
struct Desk {
    /// How many rollovers may begin yet.
    budget: usize,
    /// Requests that began before this epoch may read what a policy has taken out of its alias. They are waited for as long as a request
    /// may take; those of an earlier process have ended with it.
    leaving: HashMap<PolicyName, (u64, Instant)>,
}

impl Desk {
    /// Whether some request may read what the policy deletes.
    fn is_being_left(&self, app: &App, name: &PolicyName) -> bool {
        self.leaving.get(name).is_some_and(|(epoch, until)| !app.is_left(*epoch) && Instant::now() < *until)
    }
}

async fn work(app: &Arc<App>) {
    let mut posted = app.rollovers.posted();
    let mut check_at = Instant::now();
    let (mut desk, mut waiting) = (Desk::default(), Vec::new());
    loop {
        let is_check = Instant::now() >= check_at;
        // Between checks, what is under way may end, and nothing new begins.
        let mut names: Vec<PolicyName> = std::mem::take(&mut waiting);
        desk.budget = 0;
        if is_check {
            check_at = Instant::now() + app.config.ilm.check_interval;
            names = by_last_rollover(app);
            desk.budget = app.config.ilm.rollovers_per_check_max;
        }
        for name in names {
            match look(app, &name, &mut desk).await {
                Ok(Standing::Waits) => waiting.push(name),
                Ok(Standing::Done) => app.rollovers.set_trouble(&name, None),
                Err(Stuck { step, error }) => {
                    log::warn!("rollover policy `{name}` cannot {step}, which is tried again: {}", error.message);
                    app.metrics.rollover_failures.with_label_values(&[step]).inc();
                    app.rollovers.set_trouble(&name, Some(format!("{step}: {}", error.message)));
                }
            }
        }
        let wake_at = if waiting.is_empty() { check_at } else { check_at.min(Instant::now() + LOOK_INTERVAL) };
        tokio::select! {
            _ = posted.changed() => check_at = Instant::now(),
            () = tokio::time::sleep_until(wake_at) => {}
        }
    }
}

/// All policies: those that have waited longest first, since a check may not get to all that are due.
fn by_last_rollover(app: &App) -> Vec<PolicyName> {
    let table = app.rollovers.all();
    let mut all: Vec<&Rolling> = table.values().collect();
    all.sort_by_key(|rolling| rolling.progress.last_rollover.as_ref().map(|rollover| rollover.at));
    all.into_iter().map(|rolling| rolling.policy.name.clone()).collect()
}

/// A policy's turn.
async fn look(app: &Arc<App>, name: &PolicyName, desk: &mut Desk) -> Result<Standing, Stuck> {
    let rolled = roll(app, name, desk).await;
    if let Ok(Standing::Waits) = rolled {
        return rolled;
    }
    // Whatever keeps a new index from coming: the old ones are none of its affair.
    let retired = retire(app, name, desk).await;
    rolled.and(retired)
}

async fn roll(app: &Arc<App>, name: &PolicyName, desk: &mut Desk) -> Result<Standing, Stuck> {
    if go_on(app, name).await? == Standing::Waits {
        return Ok(Standing::Waits);
    }
    if desk.budget > 0 && begin(app, name).await? {
        desk.budget -= 1;
        return go_on(app, name).await;
    }
    Ok(Standing::Done)
}

/// Begins a rollover if one is due, and says whether it has.
async fn begin(app: &App, name: &PolicyName) -> Result<bool, Stuck> {
    let Ok(Rolling { policy, progress }) = app.rollovers.find(name) else { return Ok(false) };
    let snapshot = app.cluster.snapshot();
    let newest = snapshot.alias(&policy.write_alias).and_then(|alias| alias.targets.last());
    let trigger = match newest.and_then(|newest| snapshot.index(newest)) {
        None => Some(Trigger::First),
        Some(index) => {
            let size = api::size_of(app, index).await.map_err(stuck("look"))?;
            let age = OffsetDateTime::now_utc() - index.created_at;
            policy.triggers.reached(&size, age.try_into().unwrap_or_default())
        }
    };
    let Some(trigger) = trigger else { return Ok(false) };
    if series(&snapshot, &policy).len() >= TARGETS_MAX {
        let message =
            format!("alias `{}` stands for {TARGETS_MAX} indexes already, which is all it can", policy.read_alias);
        return Err(Stuck { step: "look", error: ErrorBody::new(Code::MiroirAliasConflict, message) });
    }
    let is_taken = |name: &IndexUid| {
        let is_index = snapshot.index(name).is_some() || snapshot.index_for_writes(name).is_some();
        is_index || snapshot.alias(name).is_some() || app.rollovers.owner(name).is_some()
    };
    let now = OffsetDateTime::now_utc();
    let Some(index) = policy.pattern.next(newest, now, is_taken) else {
        let message = format!("all names of `{}` are taken for now", policy.pattern.as_str());
        return Err(Stuck { step: "look", error: ErrorBody::new(Code::IndexAlreadyExists, message) });
    };
    let key = format!("miroir-rollover-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let step = Step { index, trigger, begun_at: now, phase: Phase::Creating { key } };
    log::info!("rollover policy `{name}`: index `{}` is to come, by {}", step.index, trigger.name());
    let after = Progress { step: Some(step), ..progress.clone() };
    app.rollovers.hold().await.advance(app, name, &progress, after, &[]).await.map_err(stuck("look"))
}

/// Takes a rollover that has begun as far as it gets.
async fn go_on(app: &Arc<App>, name: &PolicyName) -> Result<Standing, Stuck> {
    loop {
        // A policy that is gone has nothing more to do.
        let Ok(rolling) = app.rollovers.find(name) else { return Ok(Standing::Done) };
        let Some(step) = rolling.progress.step.clone() else { return Ok(Standing::Done) };
        let next = match &step.phase {
            Phase::Creating { key } => create(app, &rolling, &step, key).await?,
            Phase::Configuring { task } => configure(app, &rolling, &step, *task).await?,
        };
        match next {
            Next::Wait => return Ok(Standing::Waits),
            Next::Look => {}
            Next::Step(after) => {
                let after = Progress { step: after, ..rolling.progress.clone() };
                let holding = app.rollovers.hold().await;
                holding.advance(app, name, &rolling.progress, after, &[]).await.map_err(stuck("look"))?;
            }
            Next::Flip => flip(app, name, &step).await.map_err(stuck("flip"))?,
        }
    }
}

/// What comes next in a rollover.
enum Next {
    /// Look again: something has been done that can be seen.
    Look,
    /// The nodes are not ready.
    Wait,
    /// Another phase, or none: the rollover is given up.
    Step(Option<Step>),
    /// The index is ready.
    Flip,
}

/// The task that is known by its key, as it stands; `None` where nothing remembers it.
async fn task_of(app: &App, key: &str) -> Result<Option<Arc<Task>>, ApiError> {
    match app.store.idempotent_write(key).await? {
        Some(write) => found(app.tasks.get(write.task).await),
        None => Ok(None),
    }
}

/// Finished tasks can be deleted, by clients or by their age.
fn found(task: Result<Arc<Task>, ApiError>) -> Result<Option<Arc<Task>>, ApiError> {
    match task {
        Ok(task) => Ok(Some(task)),
        Err(error) if error.is(Code::TaskNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn create(app: &Arc<App>, rolling: &Rolling, step: &Step, key: &str) -> Result<Next, Stuck> {
    let phase = Phase::Configuring { task: None };
    if let Some(task) = task_of(app, key).await.map_err(stuck("create"))? {
        return match task.status {
            TaskStatus::Succeeded => Ok(Next::Step(Some(Step { phase, ..step.clone() }))),
            TaskStatus::Enqueued | TaskStatus::Processing => Ok(Next::Wait),
            TaskStatus::Failed | TaskStatus::Canceled => {
                turn_back(app, rolling, None).await?;
                Err(Stuck { step: "create", error: error_of(&task) })
            }
        };
    }
    if app.index_for_writes(&step.index).is_some() {
        // Somebody else's, for all that is known: it is left alone, and the next check chooses another name.
        log::warn!("index `{}` has come to exist meanwhile; another is made", step.index);
        return Ok(Next::Step(None));
    }
    let (index, primary_key, key) = (step.index.clone(), rolling.policy.template.primary_key.clone(), key.to_owned());
    let created = seen_through(app, move |app| async move {
        api::create_index_for_us(&app, &index, primary_key.as_deref(), &key).await
    });
    match created.await {
        Ok(_) => Ok(Next::Look),
        Err(error) => {
            // A node or an alias has the name.
            if error.status == Code::IndexAlreadyExists.status() {
                turn_back(app, rolling, None).await?;
            }
            Err(Stuck { step: "create", error: error.body })
        }
    }
}

async fn configure(app: &Arc<App>, rolling: &Rolling, step: &Step, task: Option<TaskUid>) -> Result<Next, Stuck> {
    if app.index_for_writes(&step.index).is_none() {
        log::warn!("index `{}` has been deleted before it was used; another is made", step.index);
        return Ok(Next::Step(None));
    }
    let settings = &rolling.policy.template.settings;
    if settings.is_empty() {
        return Ok(Next::Flip);
    }
    let by = |task| Next::Step(Some(Step { phase: Phase::Configuring { task }, ..step.clone() }));
    let Some(task) = task else {
        let (index, settings) = (step.index.clone(), settings.clone());
        let sent =
            seen_through(app, move |app| async move { api::change_settings_for_us(&app, &index, settings).await });
        return Ok(by(Some(sent.await.map_err(stuck("configure"))?)));
    };
    match found(app.tasks.get(task).await).map_err(stuck("configure"))? {
        Some(task) if task.status == TaskStatus::Succeeded => Ok(Next::Flip),
        Some(task) if !task.status.is_final() => Ok(Next::Wait),
        Some(task) => {
            // The next check sends them again; an operator may have mended the template by then.
            let again = Step { phase: Phase::Configuring { task: None }, ..step.clone() };
            turn_back(app, rolling, Some(again)).await?;
            Err(Stuck { step: "configure", error: error_of(&task) })
        }
        None => Ok(by(None)),
    }
}

/// In one commit: later writes go to the new index, reads have it too, and the policy has no step any more.
async fn flip(app: &App, name: &PolicyName, step: &Step) -> Result<(), ApiError> {
    let holding = app.rollovers.hold().await;
    let Ok(Rolling { policy, progress }) = app.rollovers.find(name) else { return Ok(()) };
    if progress.step.as_ref() != Some(step) {
        return Ok(());
    }
    let mut series = series(&app.cluster.snapshot(), &policy).to_vec();
    series.push(step.index.clone());
    let rollover = Rollover { index: step.index.clone(), trigger: step.trigger, at: OffsetDateTime::now_utc() };
    let after = Progress { step: None, last_rollover: Some(rollover), ..progress.clone() };
    if holding.advance(app, name, &progress, after, &aliases_of(&policy, &series)).await? {
        log::info!("rollover policy `{name}`: `{}` stands for `{}` now", policy.write_alias, step.index);
        app.metrics.rollovers.with_label_values(&[step.trigger.name()]).inc();
    }
    Ok(())
}

/// After a failure: what the next check begins with.
async fn turn_back(app: &App, rolling: &Rolling, step: Option<Step>) -> Result<(), Stuck> {
    let after = Progress { step, ..rolling.progress.clone() };
    let holding = app.rollovers.hold().await;
    holding.advance(app, &rolling.policy.name, &rolling.progress, after, &[]).await.map_err(stuck("look"))?;
    Ok(())
}

/// Takes indexes out of the read alias that retention ends, and deletes them once no request reads them any more.
async fn retire(app: &Arc<App>, name: &PolicyName, desk: &mut Desk) -> Result<Standing, Stuck> {
    if doom(app, name).await.map_err(stuck("retire"))? {
        let until = Instant::now() + app.request_timeout();
        desk.leaving.insert(name.clone(), (app.cluster.snapshot().epoch, until));
    }
    if desk.is_being_left(app, name) {
        return Ok(Standing::Waits);
    }
    while let Ok(Rolling { policy, progress }) = app.rollovers.find(name) {
        let Some(doomed) = progress.doomed.first() else { break };
        delete(app, doomed).await.map_err(stuck("delete"))?;
        let left = progress.doomed[1..].to_vec();
        let after = Progress { doomed: left, ..progress.clone() };
        let holding = app.rollovers.hold().await;
        if !holding.advance(app, &policy.name, &progress, after, &[]).await.map_err(stuck("delete"))? {
            break;
        }
    }
    desk.leaving.remove(name);
    Ok(Standing::Done)
}

/// In one commit: the read alias does without them, no other alias stands for them, and it is known that they are to be deleted. Says
/// whether there are any.
async fn doom(app: &App, name: &PolicyName) -> Result<bool, ApiError> {
    let holding = app.rollovers.hold().await;
    let Ok(Rolling { policy, progress }) = app.rollovers.find(name) else { return Ok(false) };
    let (Some(keep), true) = (policy.retention.keep_indexes, progress.doomed.is_empty()) else { return Ok(false) };
    let snapshot = app.cluster.snapshot();
    let series = series(&snapshot, &policy);
    let member =
        |index: &IndexUid| Some(Member { index: index.clone(), created_at: snapshot.index(index)?.created_at });
    let members: Vec<Member> = series.iter().filter_map(member).collect();
    let lock = app.config.ilm.safety_lock.try_into().unwrap_or(time::Duration::MAX);
    let doomed = ended(&members, &policy.pattern, keep, lock, OffsetDateTime::now_utc());
    if doomed.is_empty() {
        return Ok(false);
    }
    let is_doomed = |index: &IndexUid| doomed.iter().any(|doomed| doomed.index == *index);
    let targets = series.iter().filter(|index| !is_doomed(index)).cloned().collect();
    let mut actions = vec![AliasAction::Set { name: policy.read_alias.clone(), kind: AliasKind::Multi, targets }];
    actions.extend(doomed.iter().map(|doomed| AliasAction::RemoveIndex { index: doomed.index.clone() }));
    let after = Progress { doomed, ..progress.clone() };
    holding.advance(app, name, &progress, after, &actions).await
}

/// Deletes an index if it is still the one that was meant.
async fn delete(app: &Arc<App>, doomed: &Doomed) -> Result<(), ApiError> {
    let index = doomed.index.clone();
    if app.index_for_writes(&index).is_none_or(|there| there.created_at != doomed.created_at) {
        return Ok(());
    }
    log::info!("index `{index}` is deleted at the end of its retention");
    let deleted = seen_through(app, move |app| async move {
        let rights = Rights::everything();
        api::delete_index(&app, &index, &Request::of_ours(&Method::DELETE, &rights)).await
    });
    deleted.await?;
    app.metrics.rollover_deletions.inc();
    Ok(())
}

/// The indexes of a policy, the oldest first.
fn series<'s>(snapshot: &'s Snapshot, policy: &Policy) -> &'s [IndexUid] {
    snapshot.alias(&policy.read_alias).map_or(&[], |alias| &alias.targets)
}

fn error_of(task: &Task) -> ErrorBody {
    let canceled = || ErrorBody::new(Code::Internal, format!("Task `{}` has been canceled.", task.uid));
    task.error.clone().unwrap_or_else(canceled)
}

/// Carries a write out to its end, also when this service is stopped: some nodes may have taken it.
async fn seen_through<T, F>(app: &Arc<App>, write: impl FnOnce(Arc<App>) -> F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ApiError>> + Send + 'static,
{
    let given_up = |_| ApiError::new(Code::Internal, "A write was given up.");
    tokio::spawn(write(Arc::clone(app))).await.map_err(given_up)?
}
