//! Dynamic search rules: what of each document is pinned where, under which conditions, as clients have set it.
//!
//! Nodes judge the conditions of a search by themselves. Of the rules Miroir must know in which order their pins are taken, which
//! no answer tells: [`PinOrder`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::{IndexUid, NodeIndex, Snapshot, TaskUid};

/// Pins that Meilisearch puts into one list of hits at most: its own number (`MEILI_EXPERIMENTAL_DSR_FUEL_MAX_PIN_ACTIONS`).
pub const PINS_MAX: usize = 100;

/// A rule as clients read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchRule {
    pub uid: IndexUid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub last_updated_at: OffsetDateTime,
    /// The lowest goes first; rules without come last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precedence: Option<u64>,
    pub active: bool,
    pub conditions: Conditions,
    pub actions: Vec<RuleAction>,
}

/// When a rule applies. Nodes judge it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeCondition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<QueryCondition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterCondition>,
}

/// Meilisearch passes over members that it does not know here, and only here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimeCondition {
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub start: Option<OffsetDateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub end: Option<OffsetDateTime>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueryCondition {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_empty: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterCondition {
    #[serde(default)]
    pub values: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleAction {
    pub selector: Selector,
    pub action: Pin,
}

/// The document that an action is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// Without it, the document of every index that has the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_uid: Option<IndexUid>,
    pub id: String,
}

/// Pinning is all that a rule can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub enum Pin {
    Pin { position: u32 },
}

/// What a `PATCH` says of a rule: members that are absent stay, null restores the default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleUpdate {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub description: Option<Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub precedence: Option<Option<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub active: Option<Option<bool>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub conditions: Option<Option<Conditions>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub actions: Option<Option<Vec<RuleAction>>>,
}

/// A member that is there, be it null.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl RuleUpdate {
    /// Reads what Meilisearch accepts; `None` for all else.
    pub fn parse(body: Value) -> Option<Self> {
        if !has_objects(&body) {
            return None;
        }
        let update: Self = serde_json::from_value(body).ok()?;
        let conditions = update.conditions.as_ref().and_then(Option::as_ref);
        let contradicts = |query: &QueryCondition| query.is_empty == Some(true) && query.words.is_some();
        let ends_first = |time: &TimeCondition| time.start.zip(time.end).is_some_and(|(start, end)| start > end);
        let is_refused = conditions.is_some_and(|conditions| {
            conditions.query.as_ref().is_some_and(contradicts) || conditions.time.as_ref().is_some_and(ends_first)
        });
        (!is_refused).then_some(update)
    }
}

/// Whether what must be an object is one: a list of values would be read as one too.
fn has_objects(body: &Value) -> bool {
    let is_object = |value: Option<&Value>| value.is_none_or(|value| value.is_object() || value.is_null());
    let conditions = body.get("conditions");
    let within = |name| conditions.and_then(|conditions| conditions.get(name));
    let actions = body.get("actions").and_then(Value::as_array);
    let mut actions = actions.into_iter().flatten();
    body.is_object()
        && is_object(conditions)
        && ["time", "query", "filter"].into_iter().all(|name| is_object(within(name)))
        && actions
            .all(|action| ["selector", "action"].into_iter().all(|name| action.get(name).is_some_and(Value::is_object)))
}

/// One change of the rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RuleChange {
    Update(IndexUid, RuleUpdate),
    Delete(IndexUid),
    Clear,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Numbered {
    /// Of rules of the same precedence the one with the lower number goes first. One server numbers them as they come, and gives
    /// the lowest free number to the next.
    number: u32,
    rule: SearchRule,
}

/// All rules, and in which order their pins are taken.
#[derive(Clone, Debug, Default)]
pub struct SearchRules {
    by_number: Vec<Numbered>,
    /// Of indexes that some rule names.
    named: HashMap<IndexUid, Arc<PinOrder>>,
    /// Of all other indexes.
    others: Option<Arc<PinOrder>>,
}

impl SearchRules {
    /// Reads what [`SearchRules::to_json`] wrote.
    pub fn from_json(value: Value) -> serde_json::Result<Self> {
        Ok(Self::of(serde_json::from_value(value)?))
    }

    pub fn to_json(&self) -> Value {
        serde_json::to_value(&self.by_number).expect("rules are structs and maps with string keys")
    }

    fn of(mut by_number: Vec<Numbered>) -> Self {
        by_number.sort_by_key(|numbered| numbered.number);
        let mut in_turn: Vec<&Numbered> = by_number.iter().filter(|numbered| numbered.rule.active).collect();
        in_turn.sort_by_key(|numbered| (numbered.rule.precedence.is_none(), numbered.rule.precedence));
        let actions: Vec<&RuleAction> = in_turn.iter().flat_map(|numbered| &numbered.rule.actions).collect();
        let order = |index: Option<&IndexUid>| {
            let concerns = |action: &&&RuleAction| {
                let named = action.selector.index_uid.as_ref();
                named.is_none() || named == index
            };
            PinOrder::of(actions.iter().filter(concerns).copied())
        };
        let names = actions.iter().filter_map(|action| action.selector.index_uid.as_ref());
        let named = names.map(|uid| (uid.clone(), Arc::new(order(Some(uid))))).collect();
        let others = Some(order(None)).filter(|order| order.count > 0).map(Arc::new);
        Self { named, others, by_number }
    }

    pub fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    pub fn get(&self, uid: &IndexUid) -> Option<&SearchRule> {
        self.iter().find(|rule| rule.uid == *uid)
    }

    /// In the order in which they were made, as far as one server tells.
    pub fn iter(&self) -> impl Iterator<Item = &SearchRule> {
        self.by_number.iter().map(|numbered| &numbered.rule)
    }

    /// In which order the pins of an index are taken; `None` if nothing can be pinned there.
    pub fn pins_of(&self, uid: &IndexUid) -> Option<&Arc<PinOrder>> {
        self.named.get(uid).or(self.others.as_ref())
    }

    /// Whether some rule names one of these indexes.
    pub fn name_any<'u>(&self, mut uids: impl Iterator<Item = &'u IndexUid>) -> bool {
        uids.any(|uid| self.named.contains_key(uid))
    }

    /// The rules after a change.
    #[must_use]
    pub fn after(&self, change: &RuleChange, at: OffsetDateTime) -> Self {
        let mut by_number = self.by_number.clone();
        match change {
            RuleChange::Clear => by_number.clear(),
            RuleChange::Delete(uid) => by_number.retain(|numbered| numbered.rule.uid != *uid),
            RuleChange::Update(uid, update) => {
                let known = by_number.iter().position(|numbered| numbered.rule.uid == *uid);
                let place = known.unwrap_or_else(|| {
                    let is_used = |number: u32| by_number.iter().any(|numbered| numbered.number == number);
                    let number = (0..).find(|number| !is_used(*number)).unwrap_or(u32::MAX);
                    by_number.push(Numbered { number, rule: SearchRule::new(uid.clone(), at) });
                    by_number.len() - 1
                });
                by_number[place].rule.update(update.clone(), at);
            }
        }
        Self::of(by_number)
    }
}

impl SearchRule {
    fn new(uid: IndexUid, at: OffsetDateTime) -> Self {
        let (conditions, actions) = (Conditions::default(), Vec::new());
        Self { uid, description: None, last_updated_at: at, precedence: None, active: true, conditions, actions }
    }

    fn update(&mut self, update: RuleUpdate, at: OffsetDateTime) {
        self.description = update.description.unwrap_or_else(|| self.description.take());
        self.precedence = update.precedence.unwrap_or(self.precedence);
        self.active = update.active.map_or(self.active, |active| active.unwrap_or(true));
        if let Some(conditions) = update.conditions {
            self.conditions = conditions.unwrap_or_default();
        }
        if let Some(actions) = update.actions {
            self.actions = actions.unwrap_or_default();
        }
        self.last_updated_at = at;
    }
}

/// In which order the pins of an index are taken: by their rules' precedence, and within a rule as they stand. One server takes
/// the next pin only after the one before, wherever that may stand.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PinOrder {
    /// Positions at which a document is pinned, with the places of those pins.
    by_id: HashMap<String, Vec<(u64, usize)>>,
    count: usize,
}

impl PinOrder {
    fn of<'a>(actions: impl Iterator<Item = &'a RuleAction>) -> Self {
        let mut order = Self::default();
        for RuleAction { selector, action: Pin::Pin { position } } in actions {
            let pins = order.by_id.entry(selector.id.clone()).or_default();
            pins.push((u64::from(*position), order.count));
            order.count += 1;
        }
        order
    }

    /// The place of the pin that put the document at this position: the first, if several rules would have. `None` if there is
    /// no such pin any more.
    pub fn place(&self, id: &str, position: u64) -> Option<usize> {
        self.by_id.get(id)?.iter().find(|(at, _)| *at == position).map(|(_, place)| *place)
    }

    /// How many hits of a list may be pins.
    pub fn pins_max(&self) -> usize {
        self.count.min(PINS_MAX)
    }
}

/// Where the rules stand while not all nodes are known to have them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesState {
    /// Changes that have been taken and not concluded.
    changing: Vec<TaskUid>,
    /// Nodes that are not known to have all rules, in no order.
    unverified: Vec<NodeIndex>,
}

impl Snapshot {
    pub fn search_rules(&self) -> &Arc<SearchRules> {
        &self.search_rules
    }

    /// Whether nodes that serve reads may pin by different rules.
    pub fn has_inconsistent_search_rules(&self) -> bool {
        let state = &self.rules_state;
        !state.changing.is_empty() || state.unverified.iter().any(|node| self.state(*node).serves_reads())
    }

    /// The rules that hold from now on, for all nodes but these.
    #[must_use]
    pub fn with_search_rules(mut self, rules: Arc<SearchRules>, unverified: Vec<NodeIndex>) -> Self {
        self.search_rules = rules;
        Arc::make_mut(&mut self.rules_state).unverified = unverified;
        self
    }

    #[must_use]
    pub fn with_rules_change(mut self, task: TaskUid) -> Self {
        Arc::make_mut(&mut self.rules_state).changing.push(task);
        self
    }

    /// These tasks have been concluded, or withdrawn.
    #[must_use]
    pub fn without_rules_changes(mut self, tasks: &[TaskUid]) -> Self {
        if self.rules_state.changing.iter().any(|task| tasks.contains(task)) {
            Arc::make_mut(&mut self.rules_state).changing.retain(|task| !tasks.contains(task));
        }
        self
    }

    /// A node may miss changes of the rules, or what they name has another name there now.
    #[must_use]
    pub fn missing_search_rules(mut self, node: NodeIndex) -> Self {
        if !self.search_rules.is_empty() && !self.rules_state.unverified.contains(&node) {
            Arc::make_mut(&mut self.rules_state).unverified.push(node);
        }
        self
    }

    /// A node has been found to have all of `rules`, or been given them.
    #[must_use]
    pub fn having_search_rules(mut self, node: NodeIndex, rules: &Arc<SearchRules>) -> Self {
        if Arc::ptr_eq(&self.search_rules, rules) && self.rules_state.unverified.contains(&node) {
            Arc::make_mut(&mut self.rules_state).unverified.retain(|other| *other != node);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const T0: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn uid(name: &str) -> IndexUid {
        IndexUid::parse(name).unwrap()
    }

    fn update(name: &str, body: Value) -> RuleChange {
        RuleChange::Update(uid(name), RuleUpdate::parse(body).unwrap())
    }

    fn pin(id: &str, position: u32) -> Value {
        json!({ "selector": { "id": id }, "action": { "type": "pin", "position": position } })
    }

    #[test]
    fn what_an_update_does_not_name_stays_and_null_restores_the_default() {
        let first = json!({ "description": "d", "precedence": 3, "active": false, "actions": [pin("1", 2)],
            "conditions": { "time": { "start": "2025-01-01T00:00:00+02:00", "other": 1 }, "query": { "words": "a", "isEmpty": null } } });
        let rules = SearchRules::default().after(&update("r", first), T0);
        let shown = |rules: &SearchRules| serde_json::to_value(rules.get(&uid("r")).unwrap()).unwrap();
        let expected = json!({ "uid": "r", "description": "d", "lastUpdatedAt": "1970-01-01T00:00:00Z", "precedence": 3,
            "active": false, "conditions": { "time": { "start": "2025-01-01T00:00:00+02:00" }, "query": { "words": "a" } },
            "actions": [pin("1", 2)] });
        assert_eq!(shown(&rules), expected);
        assert_eq!(shown(&rules.after(&update("r", json!({})), T0)), expected);
        let reset =
            json!({ "description": null, "precedence": null, "active": null, "conditions": null, "actions": null });
        assert_eq!(
            shown(&rules.after(&update("r", reset), T0)),
            json!({ "uid": "r", "lastUpdatedAt": "1970-01-01T00:00:00Z", "active": true, "conditions": {}, "actions": [] })
        );
        let stored = SearchRules::from_json(rules.to_json()).unwrap();
        assert_eq!(shown(&stored), expected);
        assert!(rules.after(&RuleChange::Delete(uid("r")), T0).is_empty());
        assert!(rules.after(&RuleChange::Clear, T0).is_empty());
    }

    #[test]
    fn what_meilisearch_refuses_is_no_update() {
        for refused in [
            json!([]),
            json!({ "conditions": [] }),
            json!({ "conditions": { "query": [true] } }),
            json!({ "actions": [[{ "id": "1" }, { "type": "pin", "position": 0 }]] }),
            json!({ "nonsense": 1 }),
            json!({ "precedence": 1.0 }),
            json!({ "active": "x" }),
            json!({ "conditions": { "query": { "isEmpty": true, "words": "x" } } }),
            json!({ "conditions": { "time": { "start": "2025-01-01T00:00:00Z", "end": "2024-01-01T00:00:00Z" } } }),
            json!({ "conditions": { "time": { "start": "x" } } }),
            json!({ "conditions": { "filter": { "values": 3 } } }),
            json!({ "actions": [{ "selector": { "id": 1 }, "action": { "type": "pin", "position": 0 } }] }),
            json!({ "actions": [{ "selector": { "id": "1", "indexUid": "a b" }, "action": { "type": "pin", "position": 0 } }] }),
            json!({ "actions": [{ "selector": { "id": "1" }, "action": { "type": "pun", "position": 0 } }] }),
            json!({ "actions": [pin("1", 0), { "selector": { "id": "1" }, "action": { "type": "pin", "position": 1_u64 << 32 } }] }),
            json!({ "actions": [{ "selector": { "id": "1" }, "action": { "type": "pin", "position": 0, "x": 1 } }] }),
        ] {
            assert_eq!(RuleUpdate::parse(refused.clone()), None, "{refused}");
        }
        for accepted in [
            json!({}),
            json!({ "conditions": { "filter": {}, "time": {}, "query": {} } }),
            json!({ "conditions": { "query": { "isEmpty": false, "words": "x" } } }),
            json!({ "precedence": u64::MAX }),
        ] {
            assert!(RuleUpdate::parse(accepted.clone()).is_some(), "{accepted}");
        }
    }

    #[test]
    fn pins_are_taken_by_precedence_then_as_their_rules_were_made() {
        let rules = [
            ("late", json!({ "actions": [pin("d", 0)] })),
            ("b", json!({ "precedence": 2, "actions": [pin("b", 0), pin("c", 1)] })),
            ("off", json!({ "precedence": 0, "active": false, "actions": [pin("x", 0)] })),
            ("a", json!({ "precedence": 1, "actions": [pin("a", 5)] })),
        ];
        let rules =
            rules.into_iter().fold(SearchRules::default(), |rules, (name, body)| rules.after(&update(name, body), T0));
        let order = rules.pins_of(&uid("i")).unwrap();
        let places = [("a", 5), ("b", 0), ("c", 1), ("d", 0), ("d", 1), ("x", 0)].map(|(id, at)| order.place(id, at));
        assert_eq!(places, [Some(0), Some(1), Some(2), Some(3), None, None]);
        assert_eq!(order.pins_max(), 4);
        // The number of a rule that is gone is the next one's, which goes before those that were made before it.
        let rules = rules.after(&RuleChange::Delete(uid("late")), T0);
        let rules = rules.after(&update("e", json!({ "precedence": 2, "actions": [pin("e", 0)] })), T0);
        let order = rules.pins_of(&uid("i")).unwrap();
        assert_eq!((order.place("e", 0), order.place("b", 0)), (Some(1), Some(2)));
    }

    #[test]
    fn an_index_has_the_pins_that_name_it_or_none() {
        let named = json!({ "selector": { "id": "1", "indexUid": "a" }, "action": { "type": "pin", "position": 0 } });
        let rules = SearchRules::default().after(&update("r", json!({ "actions": [named] })), T0);
        assert!(rules.pins_of(&uid("a")).is_some() && rules.pins_of(&uid("b")).is_none());
        let rules = rules.after(&update("s", json!({ "actions": [pin("2", 0)] })), T0);
        assert_eq!(rules.pins_of(&uid("a")).unwrap().pins_max(), 2);
        assert_eq!(rules.pins_of(&uid("b")).unwrap().pins_max(), 1);
    }
}
