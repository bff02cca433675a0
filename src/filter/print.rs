//! Filters as text that reads as the same tree.

use std::fmt::{self, Display, Formatter};

use super::{Attribute, Condition, Filter, VectorPart};

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Filter::Not(inner) => {
                f.write_str("NOT ")?;
                in_parentheses_if(matches!(**inner, Filter::And(_) | Filter::Or(_)), inner, f)
            }
            Filter::And(operands) => {
                joined(operands, " AND ", |operand| matches!(operand, Filter::And(_) | Filter::Or(_)), f)
            }
            Filter::Or(operands) => joined(operands, " OR ", |operand| matches!(operand, Filter::Or(_)), f),
            Filter::Condition { attribute, condition } => write!(f, "{attribute} {condition}"),
            Filter::In { attribute, values } => {
                write!(f, "{attribute} IN [")?;
                separated(values.iter().map(|value| Quoted(value)), f)?;
                f.write_str("]")
            }
            Filter::Vectors { embedder, part } => {
                f.write_str("_vectors")?;
                if let Some(embedder) = embedder {
                    write!(f, ".{}{part}", Quoted(embedder))?;
                }
                f.write_str(" EXISTS")
            }
            Filter::GeoRadius(numbers) => {
                f.write_str("_geoRadius(")?;
                separated(numbers.iter(), f)?;
                f.write_str(")")
            }
            Filter::GeoBoundingBox(corners) => {
                f.write_str("_geoBoundingBox(")?;
                separated(corners.iter().map(Pair), f)?;
                f.write_str(")")
            }
            Filter::GeoPolygon(points) => {
                f.write_str("_geoPolygon(")?;
                separated(points.iter().map(Pair), f)?;
                f.write_str(")")
            }
            Filter::Foreign { attribute, filter } => write!(f, "_foreign({attribute}, {filter})"),
        }
    }
}

fn joined(operands: &[Filter], between: &str, needs: fn(&Filter) -> bool, f: &mut Formatter<'_>) -> fmt::Result {
    for (n, operand) in operands.iter().enumerate() {
        f.write_str(if n == 0 { "" } else { between })?;
        in_parentheses_if(needs(operand), operand, f)?;
    }
    Ok(())
}

fn in_parentheses_if(needed: bool, filter: &Filter, f: &mut Formatter<'_>) -> fmt::Result {
    if needed {
        write!(f, "({filter})")
    } else {
        filter.fmt(f)
    }
}

fn separated(items: impl Iterator<Item = impl Display>, f: &mut Formatter<'_>) -> fmt::Result {
    for (n, item) in items.enumerate() {
        write!(f, "{}{item}", if n == 0 { "" } else { ", " })?;
    }
    Ok(())
}

struct Pair<'f>(&'f [String; 2]);

impl Display for Pair<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}]", self.0[0], self.0[1])
    }
}

/// A value in quotes, whatever it is: keywords, blanks, quotes, nothing.
struct Quoted<'f>(&'f str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

impl Display for Attribute {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Quoted(&self.name).fmt(f)
    }
}

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (operator, value) = match self {
            Condition::Equal(value) => ("=", value),
            Condition::NotEqual(value) => ("!=", value),
            Condition::GreaterThan(value) => (">", value),
            Condition::GreaterThanOrEqual(value) => (">=", value),
            Condition::LowerThan(value) => ("<", value),
            Condition::LowerThanOrEqual(value) => ("<=", value),
            Condition::Contains(value) => ("CONTAINS", value),
            Condition::StartsWith(value) => ("STARTS WITH", value),
            Condition::Between(from, to) => return write!(f, "{} TO {}", Quoted(from), Quoted(to)),
            Condition::Exists => return f.write_str("EXISTS"),
            Condition::IsNull => return f.write_str("IS NULL"),
            Condition::IsEmpty => return f.write_str("IS EMPTY"),
        };
        write!(f, "{operator} {}", Quoted(value))
    }
}

impl Display for VectorPart {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            VectorPart::Any => Ok(()),
            VectorPart::UserProvided => f.write_str(".userProvided"),
            VectorPart::DocumentTemplate => f.write_str(".documentTemplate"),
            VectorPart::Regenerate => f.write_str(".regenerate"),
            VectorPart::Fragment(name) => write!(f, ".fragments.{}", Quoted(name)),
        }
    }
}
