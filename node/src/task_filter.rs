//! The parameters that choose tasks or batches, with all that Meilisearch says about wrong ones.

use deserr::Deserr;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime};

use crate::error::field_codes;
use crate::indexes::{check_uid, uid_refusal};
use crate::queue::{Filter, Page, Status, KINDS};
use crate::search::parse::{FromParameter, List, Param, QueryError};

/// Tasks or batches per page, unless asked otherwise.
const DEFAULT_LIMIT: u32 = 20;

field_codes! {
    InvalidTaskLimit
    InvalidTaskFrom
    InvalidTaskReverse
    InvalidBatchUids
    InvalidTaskUids
    InvalidTaskCanceledBy
    InvalidTaskTypes
    InvalidTaskStatuses
    InvalidIndexUid
    InvalidTaskAfterEnqueuedAt
    InvalidTaskBeforeEnqueuedAt
    InvalidTaskAfterStartedAt
    InvalidTaskBeforeStartedAt
    InvalidTaskAfterFinishedAt
    InvalidTaskBeforeFinishedAt
}

use self::codes::*;

/// The parameters that choose tasks, after others that come first: refusals name all of them in their order.
macro_rules! choosing_tasks {
    ($(#[$meta:meta])* $name:ident { $($first:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, Deserr)]
        #[deserr(error = QueryError, rename_all = camelCase, deny_unknown_fields)]
        pub struct $name {
            $($first)*
            #[deserr(default, error = QueryError<InvalidTaskCanceledBy>)]
            canceled_by: Option<List<OrAll<u32>>>,
            #[deserr(default, error = QueryError<InvalidTaskTypes>)]
            types: Option<List<OrAll<Kind>>>,
            #[deserr(default, error = QueryError<InvalidTaskStatuses>)]
            statuses: Option<List<OrAll<Status>>>,
            #[deserr(default, error = QueryError<InvalidIndexUid>)]
            index_uids: Option<List<OrAll<IndexUid>>>,
            #[deserr(default, error = QueryError<InvalidTaskAfterEnqueuedAt>)]
            after_enqueued_at: Option<Param<OrAll<After>>>,
            #[deserr(default, error = QueryError<InvalidTaskBeforeEnqueuedAt>)]
            before_enqueued_at: Option<Param<OrAll<Before>>>,
            #[deserr(default, error = QueryError<InvalidTaskAfterStartedAt>)]
            after_started_at: Option<Param<OrAll<After>>>,
            #[deserr(default, error = QueryError<InvalidTaskBeforeStartedAt>)]
            before_started_at: Option<Param<OrAll<Before>>>,
            #[deserr(default, error = QueryError<InvalidTaskAfterFinishedAt>)]
            after_finished_at: Option<Param<OrAll<After>>>,
            #[deserr(default, error = QueryError<InvalidTaskBeforeFinishedAt>)]
            before_finished_at: Option<Param<OrAll<Before>>>,
        }

        impl From<$name> for Filter {
            fn from(asked: $name) -> Self {
                Self {
                    uids: wanted(asked.uids, |uid| uid),
                    batch_uids: wanted(asked.batch_uids, |uid| uid),
                    statuses: wanted(asked.statuses, Status::name),
                    kinds: wanted(asked.types, |kind| kind.0),
                    index_uids: wanted(asked.index_uids, |uid| uid.0),
                    canceled_by: wanted(asked.canceled_by, |uid| uid),
                    after_ns: [asked.after_enqueued_at, asked.after_started_at, asked.after_finished_at]
                        .map(|date| bound(date, |after| after.0)),
                    before_ns: [asked.before_enqueued_at, asked.before_started_at, asked.before_finished_at]
                        .map(|date| bound(date, |before| before.0)),
                }
            }
        }
    };
}

choosing_tasks! {
    /// The parameters of `GET /tasks` and `GET /batches`.
    ListParameters {
        #[deserr(default = Param(DEFAULT_LIMIT), error = QueryError<InvalidTaskLimit>)]
        limit: Param<u32>,
        #[deserr(default, error = QueryError<InvalidTaskFrom>)]
        from: Option<Param<u32>>,
        #[deserr(default, error = QueryError<InvalidTaskReverse>)]
        reverse: Option<Param<bool>>,
        #[deserr(default, error = QueryError<InvalidBatchUids>)]
        batch_uids: Option<List<OrAll<u32>>>,
        #[deserr(default, error = QueryError<InvalidTaskUids>)]
        uids: Option<List<OrAll<u32>>>,
    }
}

choosing_tasks! {
    /// The parameters of `POST /tasks/cancel` and `DELETE /tasks`.
    ChosenTasks {
        #[deserr(default, error = QueryError<InvalidTaskUids>)]
        uids: Option<List<OrAll<u32>>>,
        #[deserr(default, error = QueryError<InvalidBatchUids>)]
        batch_uids: Option<List<OrAll<u32>>>,
    }
}

impl ListParameters {
    /// The page that is asked for, with one more than will be shown: it tells whether there is a next page.
    pub fn page(&self) -> Page {
        Page {
            from: self.from.map(|from| from.0),
            reverse: self.reverse.is_some_and(|reverse| reverse.0),
            limit: self.limit.0.saturating_add(1),
        }
    }
}

/// A value, or `*`, which restricts nothing.
#[derive(Debug)]
enum OrAll<T> {
    One(T),
    All,
}

impl<T: FromParameter> FromParameter for OrAll<T> {
    fn from_parameter(text: &str) -> Result<Self, String> {
        match text {
            "*" => Ok(Self::All),
            text => T::from_parameter(text).map(Self::One),
        }
    }
}

/// A task's `type`.
#[derive(Debug)]
struct Kind(&'static str);

impl FromParameter for Kind {
    fn from_parameter(text: &str) -> Result<Self, String> {
        let kind = KINDS.into_iter().find(|kind| kind.eq_ignore_ascii_case(text));
        kind.map(Self)
            .ok_or_else(|| format!("`{text}` is not a valid task type. Available types are {}.", quoted(&KINDS)))
    }
}

impl FromParameter for Status {
    fn from_parameter(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            format!("`{text}` is not a valid task status. Available statuses are {}.", quoted(&names))
        })
    }
}

#[derive(Debug)]
struct IndexUid(String);

impl FromParameter for IndexUid {
    fn from_parameter(text: &str) -> Result<Self, String> {
        match check_uid(text) {
            Ok(()) => Ok(Self(text.to_owned())),
            Err(_) => Err(uid_refusal(text)),
        }
    }
}

impl FromParameter for u32 {
    fn from_parameter(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("could not parse `{text}` as a positive integer"))
    }
}

/// The end of a day or a moment that tasks have to come after, in nanoseconds since 1970.
#[derive(Debug)]
struct After(i64);

impl FromParameter for After {
    fn from_parameter(text: &str) -> Result<Self, String> {
        // After a day is after its last moment.
        parse_date(text, Duration::DAY).map(Self)
    }
}

/// The beginning of a day or a moment that tasks have to come before, in nanoseconds since 1970.
#[derive(Debug)]
struct Before(i64);

impl FromParameter for Before {
    fn from_parameter(text: &str) -> Result<Self, String> {
        parse_date(text, Duration::ZERO).map(Self)
    }
}

/// A moment, or a day to whose beginning `into_day` is added.
fn parse_date(text: &str, into_day: Duration) -> Result<i64, String> {
    let invalid =
        || format!("`{text}` is an invalid date-time. It should follow the YYYY-MM-DD or RFC 3339 date-time format.");
    let moment = match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(moment) => moment,
        Err(_) => Date::parse(text, format_description!("[year repr:full base:calendar]-[month repr:numerical]-[day]"))
            .ok()
            .and_then(|day| day.midnight().assume_utc().checked_add(into_day))
            .ok_or_else(invalid)?,
    };
    i64::try_from(moment.unix_timestamp_nanos()).map_err(|_| invalid())
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The values of a list, unless it has `*` in it.
fn wanted<T, U>(list: Option<List<OrAll<T>>>, value: impl Fn(T) -> U) -> Option<Vec<U>> {
    let values = list?.0.into_iter().map(|item| match item {
        OrAll::One(item) => Some(value(item)),
        OrAll::All => None,
    });
    values.collect()
}

fn bound<T>(date: Option<Param<OrAll<T>>>, ns: impl Fn(T) -> i64) -> Option<i64> {
    match date?.0 {
        OrAll::One(date) => Some(ns(date)),
        OrAll::All => None,
    }
}
