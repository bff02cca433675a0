//! The filters of `GET /tasks`, with Meilisearch's names, codes and messages.

use std::borrow::Cow;

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, Time};

use super::kind::{TaskKind, TaskStatus};
use super::task::Task;
use crate::cluster::{IndexUid, TaskUid};
use crate::error::wording::expected_one_of;
use crate::error::{ApiError, Code};

/// Which tasks: everything that is `Some` must hold. An empty list matches nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskFilter {
    pub uids: Option<Vec<u32>>,
    pub batch_uids: Option<Vec<u32>>,
    pub canceled_by: Option<Vec<u32>>,
    pub types: Option<Vec<TaskKind>>,
    pub statuses: Option<Vec<TaskStatus>>,
    pub index_uids: Option<Vec<IndexUid>>,
    pub enqueued_at: TimeRange,
    pub started_at: TimeRange,
    pub finished_at: TimeRange,
}

/// Both ends excluded. A task without the time in question is in no bounded range.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TimeRange {
    pub after: Option<OffsetDateTime>,
    pub before: Option<OffsetDateTime>,
}

/// What `GET /tasks` asks for: newest first, or oldest first with `reverse`.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskQuery {
    pub filter: TaskFilter,
    pub limit: u32,
    pub from: Option<u32>,
    pub reverse: bool,
}

/// Meilisearch's default page length.
const LIMIT_DEFAULT: u32 = 20;

/// Every parameter, in the order in which Meilisearch's message for an unknown one lists them.
const PARAMETERS: [&str; 15] = [
    "limit",
    "from",
    "reverse",
    "batchUids",
    "uids",
    "canceledBy",
    "types",
    "statuses",
    "indexUids",
    "afterEnqueuedAt",
    "beforeEnqueuedAt",
    "afterStartedAt",
    "beforeStartedAt",
    "afterFinishedAt",
    "beforeFinishedAt",
];

impl Default for TaskQuery {
    fn default() -> Self {
        Self { filter: TaskFilter::default(), limit: LIMIT_DEFAULT, from: None, reverse: false }
    }
}

impl TaskQuery {
    /// Reads a query string (without its `?`). Errors are Meilisearch's.
    pub fn parse(query_string: &str) -> Result<Self, ApiError> {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(query_string.as_bytes()) {
            query.set(&name, value)?;
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: Cow<'_, str>) -> Result<(), ApiError> {
        let filter = &mut self.filter;
        match name {
            "limit" => self.limit = number(&value).map_err(invalid(Code::InvalidTaskLimit, name))?,
            "from" => self.from = Some(number(&value).map_err(invalid(Code::InvalidTaskFrom, name))?),
            "reverse" => self.reverse = boolean(&value).map_err(invalid(Code::InvalidTaskReverse, name))?,
            "batchUids" => filter.batch_uids = list(name, &value, Code::InvalidBatchUids, number)?,
            "uids" => filter.uids = list(name, &value, Code::InvalidTaskUids, number)?,
            "canceledBy" => filter.canceled_by = list(name, &value, Code::InvalidTaskCanceledBy, number)?,
            "types" => filter.types = list(name, &value, Code::InvalidTaskTypes, kind)?,
            "statuses" => filter.statuses = list(name, &value, Code::InvalidTaskStatuses, status)?,
            "indexUids" => filter.index_uids = list(name, &value, Code::InvalidIndexUid, index_uid)?,
            "afterEnqueuedAt" => filter.enqueued_at.after = after(name, &value, Code::InvalidTaskAfterEnqueuedAt)?,
            "beforeEnqueuedAt" => filter.enqueued_at.before = before(name, &value, Code::InvalidTaskBeforeEnqueuedAt)?,
            "afterStartedAt" => filter.started_at.after = after(name, &value, Code::InvalidTaskAfterStartedAt)?,
            "beforeStartedAt" => filter.started_at.before = before(name, &value, Code::InvalidTaskBeforeStartedAt)?,
            "afterFinishedAt" => filter.finished_at.after = after(name, &value, Code::InvalidTaskAfterFinishedAt)?,
            "beforeFinishedAt" => filter.finished_at.before = before(name, &value, Code::InvalidTaskBeforeFinishedAt)?,
            _ => return Err(unknown_parameter(name, &PARAMETERS)),
        }
        Ok(())
    }
}

/// The parameters of `POST /tasks/cancel` and `DELETE /tasks`, in the order of Meilisearch's message for an unknown one.
const FILTERS: [&str; 12] = [
    "uids",
    "batchUids",
    "canceledBy",
    "types",
    "statuses",
    "indexUids",
    "afterEnqueuedAt",
    "beforeEnqueuedAt",
    "afterStartedAt",
    "beforeStartedAt",
    "afterFinishedAt",
    "beforeFinishedAt",
];

impl TimeRange {
    fn contains(&self, time: Option<OffsetDateTime>) -> bool {
        let is_after = self.after.is_none_or(|after| time.is_some_and(|time| time > after));
        is_after && self.before.is_none_or(|before| time.is_some_and(|time| time < before))
    }
}

impl TaskFilter {
    /// Reads the query string of a request to "cancel" or "delete" tasks, which must name some filter.
    pub fn parse_to(verb: &str, query_string: &str) -> Result<Self, ApiError> {
        let mut query = TaskQuery::default();
        let mut is_empty = true;
        for (name, value) in form_urlencoded::parse(query_string.as_bytes()) {
            if !FILTERS.contains(&name.as_ref()) {
                return Err(unknown_parameter(&name, &FILTERS));
            }
            query.set(&name, value)?;
            is_empty = false;
        }
        if is_empty {
            let message = format!(
                "Query parameters to filter the tasks to {verb} are missing. Available query parameters are: `uids`, \
                 `indexUids`, `statuses`, `types`, `canceledBy`, `beforeEnqueuedAt`, `afterEnqueuedAt`, `beforeStartedAt`, \
                 `afterStartedAt`, `beforeFinishedAt`, `afterFinishedAt`."
            );
            return Err(ApiError::new(Code::MissingTaskFilters, message));
        }
        Ok(query.filter)
    }

    /// The same, with only those statuses that `are_wanted`.
    #[must_use]
    pub fn with_statuses(self, are_wanted: impl Fn(TaskStatus) -> bool) -> Self {
        let statuses = self.statuses.unwrap_or_else(|| TaskStatus::ALL.to_vec());
        Self { statuses: Some(statuses.into_iter().filter(|status| are_wanted(*status)).collect()), ..self }
    }

    /// The meaning of a filter, for stores that have no query language of their own and as the reference for those
    /// that have.
    pub fn matches(&self, task: &Task) -> bool {
        fn among<T: PartialEq>(wanted: &Option<Vec<T>>, value: Option<&T>) -> bool {
            wanted.as_ref().is_none_or(|wanted| value.is_some_and(|value| wanted.contains(value)))
        }
        among(&self.uids, Some(&task.uid.0))
            && among(&self.batch_uids, task.batch_uid().as_ref())
            && among(&self.canceled_by, task.canceled_by.map(|uid| uid.0).as_ref())
            && among(&self.types, Some(&task.kind))
            && among(&self.statuses, Some(&task.status))
            && among(&self.index_uids, task.index_uid.as_ref())
            && self.enqueued_at.contains(Some(task.enqueued_at))
            && self.started_at.contains(task.started_at)
            && self.finished_at.contains(task.finished_at)
    }
}

/// The uid in the path of `GET /tasks/{uid}`.
pub fn parse_task_uid(text: &str) -> Result<TaskUid, ApiError> {
    text.parse().map(TaskUid).map_err(|_| {
        let message = format!("Task uid `{text}` is invalid. It should only contain numeric characters.");
        ApiError::new(Code::InvalidTaskUids, message)
    })
}

fn invalid<'a>(code: Code, parameter: &'a str) -> impl FnOnce(String) -> ApiError + 'a {
    move |message| ApiError::new(code, format!("Invalid value in parameter `{parameter}`: {message}"))
}

fn number(value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| format!("could not parse `{value}` as a positive integer"))
}

fn boolean(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("could not parse `{value}` as a boolean, expected either `true` or `false`"))
}

fn kind(value: &str) -> Result<TaskKind, String> {
    TaskKind::parse(value).ok_or_else(|| {
        let names = backticked(TaskKind::ALL.iter().map(|kind| kind.name()));
        format!("`{value}` is not a valid task type. Available types are {names}.")
    })
}

fn status(value: &str) -> Result<TaskStatus, String> {
    TaskStatus::parse(value).ok_or_else(|| {
        let names = backticked(TaskStatus::ALL.iter().map(|status| status.name()));
        format!("`{value}` is not a valid task status. Available statuses are {names}.")
    })
}

fn index_uid(value: &str) -> Result<IndexUid, String> {
    IndexUid::parse(value).map_err(|error| error.body.message)
}

fn backticked<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A comma-separated list; a `*` anywhere in it stands for everything. Empty elements are skipped.
fn list<T>(
    parameter: &str,
    value: &str,
    code: Code,
    element: fn(&str) -> Result<T, String>,
) -> Result<Option<Vec<T>>, ApiError> {
    let elements: Vec<&str> = value.split(',').filter(|element| !element.is_empty()).collect();
    let mut parsed = Vec::with_capacity(elements.len());
    for (position, text) in elements.iter().enumerate().filter(|(_, text)| **text != "*") {
        let place = match elements.len() {
            1 => Cow::Borrowed(parameter),
            _ => Cow::Owned(format!("{parameter}[{position}]")),
        };
        parsed.push(element(text).map_err(invalid(code, &place))?);
    }
    Ok((!elements.contains(&"*")).then_some(parsed))
}

fn after(parameter: &str, value: &str, code: Code) -> Result<Option<OffsetDateTime>, ApiError> {
    // A date alone means the whole day, so "after" it begins with the next one.
    date_time(parameter, value, code, Duration::DAY)
}

fn before(parameter: &str, value: &str, code: Code) -> Result<Option<OffsetDateTime>, ApiError> {
    date_time(parameter, value, code, Duration::ZERO)
}

fn date_time(
    parameter: &str,
    value: &str,
    code: Code,
    added_to_a_date: Duration,
) -> Result<Option<OffsetDateTime>, ApiError> {
    if value == "*" {
        return Ok(None);
    }
    if let Ok(time) = OffsetDateTime::parse(value, &Rfc3339) {
        return Ok(Some(time));
    }
    let date = Date::parse(value, format_description!("[year repr:full base:calendar]-[month repr:numerical]-[day]"))
        .map_err(|_| {
        let format = "It should follow the YYYY-MM-DD or RFC 3339 date-time format.";
        invalid(code, parameter)(format!("`{value}` is an invalid date-time. {format}"))
    })?;
    let midnight = date.with_time(Time::MIDNIGHT).assume_utc();
    Ok(Some(midnight.checked_add(added_to_a_date).unwrap_or(midnight)))
}

fn unknown_parameter(name: &str, parameters: &[&'static str]) -> ApiError {
    ApiError::new(Code::BadRequest, format!("Unknown parameter `{name}`: {}", expected_one_of(name, parameters)))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn refused(query: &str) -> (String, String) {
        let error = TaskQuery::parse(query).unwrap_err();
        (error.body.code.to_string(), error.body.message)
    }

    #[test]
    fn all_filters_are_read() {
        let query = TaskQuery::parse(
            "limit=5&from=9&reverse=true&uids=1,2&batchUids=3&canceledBy=4&types=indexCreation,DocumentDeletion\
             &statuses=Enqueued,failed&indexUids=a,b%2Dc&afterEnqueuedAt=2025-01-01&beforeEnqueuedAt=2025-01-01\
             &beforeFinishedAt=2025-01-01T01%3A00%3A00%2B01%3A00",
        )
        .unwrap();
        assert_eq!((query.limit, query.from, query.reverse), (5, Some(9), true));
        let filter = query.filter;
        assert_eq!(
            (filter.uids, filter.batch_uids, filter.canceled_by),
            (Some(vec![1, 2]), Some(vec![3]), Some(vec![4]))
        );
        assert_eq!(filter.types, Some(vec![TaskKind::IndexCreation, TaskKind::DocumentDeletion]));
        assert_eq!(filter.statuses, Some(vec![TaskStatus::Enqueued, TaskStatus::Failed]));
        assert_eq!(filter.index_uids.unwrap()[1].as_str(), "b-c");
        assert_eq!(filter.enqueued_at.after, Some(datetime!(2025-01-02 00:00 UTC)));
        assert_eq!(filter.enqueued_at.before, Some(datetime!(2025-01-01 00:00 UTC)));
        assert_eq!(filter.finished_at.before, Some(datetime!(2025-01-01 00:00 UTC)));
    }

    #[test]
    fn a_star_is_no_filter_and_an_empty_list_matches_nothing() {
        let query = TaskQuery::parse("statuses=*&uids=1,*&beforeStartedAt=*").unwrap();
        assert_eq!(query, TaskQuery::default());
        assert_eq!(TaskQuery::parse("uids=").unwrap().filter.uids, Some(vec![]));
        assert_eq!(TaskQuery::parse("").unwrap().limit, 20);
    }

    #[test]
    fn canceling_and_deleting_need_a_filter_and_take_no_page() {
        let refused = |query: &str| TaskFilter::parse_to("delete", query).unwrap_err();
        assert!(refused("").is(Code::MissingTaskFilters));
        assert!(refused("").body.message.starts_with("Query parameters to filter the tasks to delete are missing."));
        let unknown = refused("limit=3").body.message;
        assert!(unknown.starts_with("Unknown parameter `limit`: expected one of `uids`, `batchUids`, "), "{unknown}");
        assert_eq!(TaskFilter::parse_to("cancel", "uids=*").unwrap(), TaskFilter::default());
        let unfinished = TaskFilter::default().with_statuses(|status| !status.is_final());
        assert_eq!(unfinished.statuses.unwrap(), [TaskStatus::Enqueued, TaskStatus::Processing]);
    }

    #[test]
    fn errors_are_meilisearchs() {
        let (code, message) = refused("limit=pied");
        assert_eq!(code, "invalid_task_limit");
        assert_eq!(message, "Invalid value in parameter `limit`: could not parse `pied` as a positive integer");
        let (code, message) = refused("uids=1,bonjour");
        assert_eq!(code, "invalid_task_uids");
        assert_eq!(message, "Invalid value in parameter `uids[1]`: could not parse `bonjour` as a positive integer");
        let (code, message) = refused("statuses=finished");
        assert_eq!(code, "invalid_task_statuses");
        assert_eq!(
            message,
            "Invalid value in parameter `statuses`: `finished` is not a valid task status. Available statuses are \
             `enqueued`, `processing`, `succeeded`, `failed`, `canceled`."
        );
        let (code, message) = refused("beforeFinishedAt=yesterday");
        assert_eq!(code, "invalid_task_before_finished_at");
        assert_eq!(
            message,
            "Invalid value in parameter `beforeFinishedAt`: `yesterday` is an invalid date-time. It should follow the \
             YYYY-MM-DD or RFC 3339 date-time format."
        );
        assert_eq!(parse_task_uid("7").unwrap(), TaskUid(7));
        assert!(parse_task_uid("mtask-7").unwrap_err().is(Code::InvalidTaskUids));
        assert_eq!(refused("reverse=yes").0, "invalid_task_reverse");
        assert_eq!(refused("types=search").0, "invalid_task_types");
        assert_eq!(refused("indexUids=a%20b").0, "invalid_index_uid");
        let (code, message) = refused("uid=1");
        assert_eq!(code, "bad_request");
        assert!(
            message.starts_with("Unknown parameter `uid`: expected one of `limit`, `from`, `reverse`, "),
            "{message}"
        );
        assert!(refused("statusses=1").1.starts_with("Unknown parameter `statusses`: did you mean `statuses`? "));
    }
}
