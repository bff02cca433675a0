//! Meilisearch's filter language: what a client's filter says, without asking a node.
//!
//! Nodes evaluate filters; Miroir only reads them. It must know which documents a filter can match at all, so that only
//! their shards are asked ([`narrowing`]), and where it names a field that is Miroir's own ([`reserved_names`]). What
//! Meilisearch refuses is refused here too, and goes to a node to be refused in Meilisearch's words.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | the tree, and the JSON forms of a filter |
//! | [`grammar`] | from text to the tree, as Meilisearch 1.50 reads it |
//! | [`print`] | from the tree to text that reads as the same tree |
//! | [`narrowing`] | which shards can hold what a filter matches |
//! | [`reserved_names`] | a filter that names no field of Miroir's own |
//! | [`template`] | a filter with places for who asks |

mod grammar;
pub mod narrowing;
mod print;
pub mod reserved_names;
pub mod template;

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod grammar_tests;
#[cfg(test)]
mod narrowing_tests;

use std::ops::Range;

use serde_json::Value;

pub use grammar::parse;

/// A filter as Meilisearch understands it. `AND` and `OR` have at least two operands; two `NOT`s cancel each other, so that
/// none stands directly in another.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    Not(Box<Filter>),
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Condition {
        attribute: Attribute,
        condition: Condition,
    },
    In {
        attribute: Attribute,
        values: Vec<String>,
    },
    /// `_vectors EXISTS`, `_vectors.<embedder>.<part> EXISTS`.
    Vectors {
        embedder: Option<String>,
        part: VectorPart,
    },
    /// Latitude, longitude, radius in meters, and perhaps a resolution; as they are written.
    GeoRadius(Vec<String>),
    /// Top right, bottom left.
    GeoBoundingBox([[String; 2]; 2]),
    GeoPolygon(Vec<[String; 2]>),
    /// `_foreign(<attribute>, <filter>)`: documents whose attribute names a document of another index that matches.
    Foreign {
        attribute: Attribute,
        filter: Box<Filter>,
    },
}

/// An attribute that a filter names. Where it stands does not make it another one.
#[derive(Clone, Debug)]
pub struct Attribute {
    pub name: String,
    /// Bytes of the filter's text, quotes included.
    pub span: Range<usize>,
}

impl PartialEq for Attribute {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// What an attribute is compared with. Values are as they read without quotes and escapes.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    Equal(String),
    NotEqual(String),
    GreaterThan(String),
    GreaterThanOrEqual(String),
    LowerThan(String),
    LowerThanOrEqual(String),
    Between(String, String),
    Contains(String),
    StartsWith(String),
    Exists,
    IsNull,
    IsEmpty,
}

/// Which vectors of an embedder are meant.
#[derive(Clone, Debug, PartialEq)]
pub enum VectorPart {
    Any,
    UserProvided,
    DocumentTemplate,
    Regenerate,
    Fragment(String),
}

/// Meilisearch refuses the filter, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter cannot be read")]
pub struct Unreadable;

impl Filter {
    /// Reads a filter in any of its JSON forms: a string, or an array whose elements are ANDed, each a string or an array of
    /// strings that are ORed. `None` when it filters by nothing (`null`, empty strings and arrays).
    pub fn from_json(json: &Value) -> Result<Option<Self>, Unreadable> {
        match json {
            Value::Null => Ok(None),
            Value::String(text) => parse(text),
            Value::Array(operands) => {
                let operands = operands.iter().map(|operand| match operand {
                    Value::Array(alternatives) => Self::joined(alternatives.iter().map(Self::of_string), Filter::Or),
                    text => Self::of_string(text),
                });
                Self::joined(operands, Filter::And)
            }
            _ => Err(Unreadable),
        }
    }

    fn of_string(json: &Value) -> Result<Option<Self>, Unreadable> {
        json.as_str().ok_or(Unreadable).and_then(parse)
    }

    /// Operands that filter by nothing do not count, wherever they stand.
    fn joined(
        operands: impl Iterator<Item = Result<Option<Self>, Unreadable>>,
        join: fn(Vec<Filter>) -> Filter,
    ) -> Result<Option<Self>, Unreadable> {
        let mut operands = operands.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
        Ok(match operands.len() {
            0 | 1 => operands.pop(),
            _ => Some(join(operands)),
        })
    }

    /// Calls `visit` with every attribute that the filter names, those of other indexes too.
    pub fn attributes<'f>(&'f self, visit: &mut impl FnMut(&'f Attribute)) {
        match self {
            Filter::Not(inner) => inner.attributes(visit),
            Filter::And(operands) | Filter::Or(operands) => {
                operands.iter().for_each(|operand| operand.attributes(visit));
            }
            Filter::Condition { attribute, .. } | Filter::In { attribute, .. } => visit(attribute),
            Filter::Foreign { attribute, filter } => {
                visit(attribute);
                filter.attributes(visit);
            }
            Filter::Vectors { .. } | Filter::GeoRadius(_) | Filter::GeoBoundingBox(_) | Filter::GeoPolygon(_) => {}
        }
    }

    /// Whether it looks into another index.
    pub fn is_foreign(&self) -> bool {
        match self {
            Filter::Foreign { .. } => true,
            Filter::Not(inner) => inner.is_foreign(),
            Filter::And(operands) | Filter::Or(operands) => operands.iter().any(Self::is_foreign),
            _ => false,
        }
    }
}
