//! The primary key of a document: which field it is, and what it says.
//!
//! Meilisearch's rules, so that the shard of a document never depends on who reads its key: a path `a.b` also matches a
//! field that is literally called `a.b`; integers and strings of letters, digits, `-` and `_` are keys, nothing else is.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::reserved::{EXPIRY_FIELD, SHARD_FIELD};

/// Longest document id in bytes; Meilisearch's limit, which comes from the longest key its database can hold.
const DOCUMENT_ID_LENGTH_MAX: usize = 511;
/// Symbol that separates the levels of a nested primary key.
const LEVEL_SEPARATOR: char = '.';
/// The field for a document's place.
pub(super) const PLACE_FIELD: &str = "_geo";
/// Beginnings of the names of fields whose values only the nodes check, when they carry the write out: shapes and vectors.
const FIELDS_FOR_NODES: [&str; 2] = ["_geojson", "_vectors"];
/// How the name of a field ends, in any case, that may be taken for the primary key.
const CANDIDATE_ENDING: &str = "id";

/// What a field that stands twice in one object means to Meilisearch, which depends on the format of the payload: JSON
/// is read into a map first, NDJSON is stored as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RepeatedField {
    LastWins,
    BothCount,
}

/// What the top level of a document says about it.
#[derive(Debug)]
pub(super) struct Header<'de> {
    pub key: Result<Cow<'de, str>, KeyProblem>,
    /// The document has a field of a name that is Miroir's own.
    pub has_reserved_field: bool,
    /// The document has a field whose value only nodes check.
    pub has_field_for_nodes: bool,
    /// What stands in the field `_geo`; the last one if there are several.
    pub place: Option<&'de RawValue>,
    /// What stands where the time of its end should, if that is no time.
    pub bad_expiry: Option<&'de str>,
}

/// What is read of documents beside their key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeaderRules<'p> {
    pub primary_key: &'p str,
    pub repeated: RepeatedField,
    /// Whether documents may say when they expire; otherwise that is a field like any other.
    pub expires: bool,
}

/// Why a document has no usable key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyProblem {
    Missing,
    /// The key's value, as JSON.
    Invalid(String),
    /// A nested path that leads to several values.
    TooMany,
}

/// Reads the key and the names of the fields of a document, and checks that all of it is JSON that a tree can hold, in
/// one pass.
///
/// Errors are the JSON parser's, also the one that says that the value is no object.
pub(super) fn read_header<'de>(document: &'de str, rules: HeaderRules<'_>) -> serde_json::Result<Header<'de>> {
    let mut parser = serde_json::Deserializer::from_str(document);
    let header = parser.deserialize_map(HeaderVisitor::<Strict> { rules, other: PhantomData })?;
    parser.end()?;
    Ok(header)
}

/// The same for a document that [`read_header`] has refused: `Ok` when it is JSON all the same.
///
/// The parser counts levels from where it starts, and Meilisearch starts at each field: what is one level too deep for
/// the whole document may be just right for its field. The second part is what Meilisearch would find in the fields.
pub(super) fn read_unusual_header<'de>(
    document: &'de str,
    rules: HeaderRules<'_>,
) -> serde_json::Result<(Header<'de>, serde_json::Result<()>)> {
    let mut parser = serde_json::Deserializer::from_str(document);
    let header = parser.deserialize_map(HeaderVisitor::<IgnoredAny> { rules, other: PhantomData })?;
    parser.end()?;
    let fields: BTreeMap<Cow<str>, &RawValue> = serde_json::from_str(document)?;
    let in_fields = fields.values().try_for_each(|value| value.deserialize_any(Strict).map(drop));
    Ok((header, in_fields))
}

/// Names of the fields of a document that may be its primary key, sorted: those that end in `id`.
pub(super) fn key_candidates(document: &str) -> serde_json::Result<BTreeSet<String>> {
    serde_json::Deserializer::from_str(document).deserialize_map(CandidatesVisitor)
}

/// Whether Meilisearch takes this string as a document's id.
pub fn is_document_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=DOCUMENT_ID_LENGTH_MAX).contains(&id.len()) && id.bytes().all(allowed)
}

/// What is left of a key's path once `field` has been entered; `Some("")` when the field itself is the key.
fn rest_of_path<'p>(path: &'p str, field: &str) -> Option<&'p str> {
    if field.is_empty() {
        return None;
    }
    let rest = path.strip_prefix(field)?;
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix(LEVEL_SEPARATOR)
    }
}

/// Reads fields off the key's path as `T`s and forgets them.
struct HeaderVisitor<'p, T> {
    rules: HeaderRules<'p>,
    other: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for HeaderVisitor<'_, T> {
    type Value = Header<'de>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut has_reserved_field, mut has_field_for_nodes) = (false, false);
        let (mut place, mut bad_expiry) = (None, None);
        let HeaderRules { primary_key, repeated, expires } = self.rules;
        // One in every document whose key is not spelled in an odd way.
        let mut on_path: SmallVec<[(OnPath, &'de RawValue); 1]> = SmallVec::new();
        while let Some(field) = map.next_key_seed(FieldSeed { path: primary_key })? {
            let step = match field {
                Field::OnPath(step) => Some(step),
                Field::Place => None,
                Field::Expiry if expires => None,
                Field::Reserved | Field::Expiry | Field::ForNodes | Field::Other => {
                    has_reserved_field |= field == Field::Reserved;
                    has_field_for_nodes |= field == Field::ForNodes;
                    map.next_value::<T>()?;
                    continue;
                }
            };
            let value: &RawValue = map.next_value()?;
            if step.is_none_or(|step| !step.rest.is_empty()) {
                T::deserialize(value).map_err(serde::de::Error::custom)?;
            }
            let Some(step) = step else {
                match field {
                    Field::Place => place = Some(value),
                    _ => bad_expiry = bad_expiry.or_else(|| Some(value.get()).filter(|value| !is_expiry(value))),
                }
                continue;
            };
            let seen = on_path.iter_mut().find(|(known, _)| *known == step);
            match (seen, repeated) {
                (Some(entry), RepeatedField::LastWins) => entry.1 = value,
                _ => on_path.push((step, value)),
            }
        }
        let mut found = None;
        let key = on_path
            .into_iter()
            .try_for_each(|(step, value)| follow(value, step.rest, &mut found))
            .and_then(|()| found.ok_or(KeyProblem::Missing));
        Ok(Header { key, has_reserved_field, has_field_for_nodes, place, bad_expiry })
    }
}

/// Whether JSON says when a document expires: by an integer, or by `null` that it never does.
fn is_expiry(value: &str) -> bool {
    value == "null" || value.parse::<i64>().is_ok() || value.parse::<u64>().is_ok()
}

/// Goes down from `value` along `path` and notes the key found there; nothing there is no error.
fn follow<'de>(value: &'de RawValue, path: &str, found: &mut Option<Cow<'de, str>>) -> Result<(), KeyProblem> {
    let key = if path.is_empty() {
        let key = value.deserialize_any(IdVisitor).ok().filter(|id| is_document_id(id));
        key.ok_or_else(|| KeyProblem::Invalid(value.get().to_owned()))?
    } else {
        match value.deserialize_map(LevelVisitor { path }) {
            Ok(Ok(Some(key))) => key,
            Ok(Err(problem)) => return Err(problem),
            // Not an object: the path does not lead through here.
            Ok(Ok(None)) | Err(_) => return Ok(()),
        }
    };
    match found.replace(key) {
        None => Ok(()),
        Some(_) => Err(KeyProblem::TooMany),
    }
}

/// One level below the top of a nested key.
struct LevelVisitor<'p> {
    path: &'p str,
}

impl<'de> Visitor<'de> for LevelVisitor<'_> {
    type Value = Result<Option<Cow<'de, str>>, KeyProblem>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut problem = None;
        while let Some(field) = map.next_key_seed(FieldSeed { path: self.path })? {
            let value: &'de RawValue = map.next_value()?;
            if let (Field::OnPath(step), None) = (field, &problem) {
                problem = follow(value, step.rest, &mut found).err();
            }
        }
        Ok(match problem {
            Some(problem) => Err(problem),
            None => Ok(found),
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Field<'p> {
    OnPath(OnPath<'p>),
    Reserved,
    Place,
    /// When the document expires.
    Expiry,
    /// Checked by nodes alone.
    ForNodes,
    Other,
}

/// A field that the key's path leads through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OnPath<'p> {
    /// Tells the fields of one path apart: each is another beginning of it.
    name_len: usize,
    rest: &'p str,
}

/// Recognises a field's name without keeping it. Escapes are resolved first, so no spelling of a name hides it.
struct FieldSeed<'p> {
    path: &'p str,
}

impl<'de, 'p> DeserializeSeed<'de> for FieldSeed<'p> {
    type Value = Field<'p>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for FieldSeed<'p> {
    type Value = Field<'p>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(match rest_of_path(self.path, name) {
            _ if name == SHARD_FIELD => Field::Reserved,
            Some(rest) => Field::OnPath(OnPath { name_len: name.len(), rest }),
            None if name == PLACE_FIELD => Field::Place,
            None if name == EXPIRY_FIELD => Field::Expiry,
            None if FIELDS_FOR_NODES.iter().any(|field| name.starts_with(field)) => Field::ForNodes,
            None => Field::Other,
        })
    }
}

struct CandidatesVisitor;

impl<'de> Visitor<'de> for CandidatesVisitor {
    type Value = BTreeSet<String>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut candidates = BTreeSet::new();
        while let Some((name, _)) = map.next_entry::<Cow<str>, IgnoredAny>()? {
            if name.to_lowercase().ends_with(CANDIDATE_ENDING) {
                candidates.insert(name.into_owned());
            }
        }
        Ok(candidates)
    }
}

/// A document id in its canonical form: integers as decimals, strings as they are.
struct IdVisitor;

impl<'de> Visitor<'de> for IdVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an integer or a string")
    }

    fn visit_borrowed_str<E>(self, id: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(id))
    }

    fn visit_str<E>(self, id: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(id.to_owned()))
    }

    fn visit_u64<E>(self, id: u64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(id.to_string()))
    }

    fn visit_i64<E>(self, id: i64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(id.to_string()))
    }
}

/// Whether the value at the start of `json` is an object whose fields have names that are text.
pub(super) fn check_object(json: &[u8]) -> serde_json::Result<()> {
    serde_json::Deserializer::from_slice(json).deserialize_map(CandidatesVisitor).map(drop)
}

/// Whether the value at the start of `json` is an object that can be held as a tree.
pub(super) fn check_object_tree(json: &[u8]) -> serde_json::Result<()> {
    serde_json::Deserializer::from_slice(json).deserialize_map(Strict).map(drop)
}

/// Accepts what a tree of JSON values can hold and nothing else, without building the tree: strings that are text,
/// numbers that have a value, and no more levels than the parser's limit of 128.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Strict)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Strict>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Strict, Strict>()?.is_some() {}
        Ok(self)
    }
}
