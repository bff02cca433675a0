//! The grammar of filters, as Meilisearch's own parser has it.
//!
//! ```text
//! filter     = or end
//! or         = and ("OR" and)*
//! and        = not ("AND" not)*
//! not        = "NOT" not | primary
//! primary    = "(" or ")" | geo | foreign | vectors | comparison
//! geo        = "_geoRadius(" number{3,4} ")" | "_geoBoundingBox(" pair{2} ")" | "_geoPolygon(" pair{3,} ")"
//! foreign    = "_foreign(" value "," or ")"
//! vectors    = "_vectors" ("." name ("." part)?)? "NOT"? "EXISTS"
//! comparison = value ("=" | "!=" | ">" | ">=" | "<" | "<=" | "NOT"? "CONTAINS" | "NOT"? "STARTS WITH") value
//!            | value value "TO" value
//!            | value "NOT"? "IN" "[" (value ("," value)* ","?)? "]"
//!            | value "NOT"? "EXISTS" | value "IS" "NOT"? ("NULL" | "EMPTY")
//! value      = 'quoted' | "quoted" | word
//! ```
//!
//! Where the two could differ, this one follows the other: operators are symbols that need no end (`x EXISTSAND y = 1`), a
//! blank behind the last `EXISTS` or `)` of a geo filter is an error, a value may stand behind any Unicode blank but before
//! none, some words with a meaning of their own are no values. The tests have the cases, and `tests/planner.rs` asks a node.

use std::ops::Range;

use winnow::ascii::{digit1, multispace0, multispace1};
use winnow::combinator::{alt, cut_err, delimited, eof, opt, peek, preceded, repeat, separated, terminated};
use winnow::error::{EmptyError, ErrMode};
use winnow::prelude::*;
use winnow::stream::LocatingSlice;
use winnow::token::{any, literal, none_of, one_of, take_while};

use super::{Attribute, Condition, Filter, Unreadable, VectorPart};

/// Depth beyond which Meilisearch refuses a filter: four levels for each pair of parentheses, one for each `NOT`.
const DEPTH_MAX: usize = 150;

/// Words that are no values unless they are quoted.
const KEYWORDS: [&str; 12] =
    ["AND", "OR", "IN", "NOT", "TO", "EXISTS", "IS", "NULL", "EMPTY", "CONTAINS", "STARTS", "WITH"];
/// Words that are neither, since who writes them means a filter or a sort.
const GEO_WORDS: [&str; 3] = ["_geo", "_geoRadius", "_geoBoundingBox"];
/// How words begin that are none of the two either.
const GEO_BEGINNINGS: [&str; 2] = ["_geoPoint", "_geoDistance"];

type Input<'t> = LocatingSlice<&'t str>;
type Parsed<T> = ModalResult<T, EmptyError>;

/// Reads a filter that is one string. `None` when it is blank and filters by nothing.
pub fn parse(text: &str) -> Result<Option<Filter>, Unreadable> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let mut input = LocatingSlice::new(text);
    let filter = terminated(|input: &mut Input<'_>| any_of(input, 0), eof).parse_next(&mut input);
    filter.map(Some).map_err(|_| Unreadable)
}

fn refused<T>() -> Parsed<T> {
    Err(ErrMode::Cut(EmptyError))
}

fn is_not_too_deep(depth: usize) -> Parsed<()> {
    if depth > DEPTH_MAX {
        return refused();
    }
    Ok(())
}

fn any_of(input: &mut Input<'_>, depth: usize) -> Parsed<Filter> {
    joined(input, depth, "OR", all_of, Filter::Or)
}

fn all_of(input: &mut Input<'_>, depth: usize) -> Parsed<Filter> {
    joined(input, depth, "AND", maybe_negated, Filter::And)
}

/// One operand, or several with a keyword between them, behind which another must follow.
fn joined(
    input: &mut Input<'_>,
    depth: usize,
    keyword: &'static str,
    operand: fn(&mut Input<'_>, usize) -> Parsed<Filter>,
    join: fn(Vec<Filter>) -> Filter,
) -> Parsed<Filter> {
    is_not_too_deep(depth)?;
    let first = operand(input, depth + 1)?;
    let next = preceded(spaced(word(keyword)), cut_err(|input: &mut Input<'_>| operand(input, depth + 1)));
    let mut others: Vec<Filter> = repeat(0.., next).parse_next(input)?;
    if others.is_empty() {
        return Ok(first);
    }
    others.insert(0, first);
    Ok(join(others))
}

fn maybe_negated(input: &mut Input<'_>, depth: usize) -> Parsed<Filter> {
    is_not_too_deep(depth)?;
    if opt(spaced(word("NOT"))).parse_next(input)?.is_none() {
        return primary(input, depth + 1);
    }
    let negated = cut_err(|input: &mut Input<'_>| maybe_negated(input, depth + 1)).parse_next(input)?;
    Ok(negation(negated))
}

fn negation(filter: Filter) -> Filter {
    match filter {
        Filter::Not(inner) => *inner,
        filter => Filter::Not(Box::new(filter)),
    }
}

fn primary(input: &mut Input<'_>, depth: usize) -> Parsed<Filter> {
    is_not_too_deep(depth)?;
    if opt(spaced('(')).parse_next(input)?.is_some() {
        let inner = |input: &mut Input<'_>| any_of(input, depth + 1);
        return terminated(cut_err(inner), cut_err(spaced(')'))).parse_next(input);
    }
    if let Some(geo) = opt(geo).parse_next(input)? {
        return Ok(geo);
    }
    // In the order in which Meilisearch tries them: of a name that begins with `_vectors` it decides what is meant.
    let start = input.checkpoint();
    let attribute = attribute(input)?;
    if let Some(filter) = opt(|input: &mut Input<'_>| comparison(input, &attribute)).parse_next(input)? {
        return Ok(filter);
    }
    let after_attribute = input.checkpoint();
    input.reset(&start);
    if let Some(filter) = opt(vectors).parse_next(input)? {
        return Ok(filter);
    }
    input.reset(&after_attribute);
    if let Some(filter) = opt(|input: &mut Input<'_>| late_comparison(input, &attribute)).parse_next(input)? {
        return Ok(filter);
    }
    input.reset(&start);
    foreign(input, depth)
}

fn geo(input: &mut Input<'_>) -> Parsed<Filter> {
    let is_named = |name| preceded(multispace0, word(name));
    if opt(is_named("_geoRadius")).parse_next(input)?.is_some() {
        let numbers = cut_err(delimited('(', numbers, ')')).parse_next(input)?;
        return if (3..=4).contains(&numbers.len()) { Ok(Filter::GeoRadius(numbers)) } else { refused() };
    }
    if opt(is_named("_geoBoundingBox")).parse_next(input)?.is_some() {
        let pairs = cut_err(delimited('(', pairs, ')')).parse_next(input)?;
        return match <[_; 2]>::try_from(pairs) {
            Ok(pairs) => Ok(Filter::GeoBoundingBox(pairs)),
            Err(_) => refused(),
        };
    }
    is_named("_geoPolygon").parse_next(input)?;
    let pairs = delimited('(', pairs, (opt(spaced(',')), ')'));
    let pairs = cut_err(pairs).parse_next(input)?;
    if pairs.len() >= 3 {
        Ok(Filter::GeoPolygon(pairs))
    } else {
        refused()
    }
}

fn pairs(input: &mut Input<'_>) -> Parsed<Vec<[String; 2]>> {
    let lists: Vec<Vec<String>> = separated(1.., spaced(delimited('[', numbers, ']')), ',').parse_next(input)?;
    lists.into_iter().map(|list| <[String; 2]>::try_from(list).or_else(|_| refused())).collect()
}

fn numbers(input: &mut Input<'_>) -> Parsed<Vec<String>> {
    separated(1.., spaced(number), ',').parse_next(input)
}

/// Comparisons that Meilisearch tries before it takes a name for that of vectors.
fn comparison(input: &mut Input<'_>, attribute: &Attribute) -> Parsed<Filter> {
    let of_attribute = |condition| Filter::Condition { attribute: attribute.clone(), condition };
    let is_in = spaced(word("IN")).value(false);
    let is_not_in = (word("NOT"), spaced(word("IN"))).value(true);
    if let Some(is_negated) = opt(alt((is_in, is_not_in))).parse_next(input)? {
        let values = cut_err(delimited('[', values, spaced(']'))).parse_next(input)?;
        let filter = Filter::In { attribute: attribute.clone(), values };
        return Ok(if is_negated { negation(filter) } else { filter });
    }
    if let Some(operator) = opt(alt(("<=", ">=", "!=", "<", ">", "="))).parse_next(input)? {
        let (value, _) = cut_err(value).parse_next(input)?;
        return Ok(of_attribute(match operator {
            "<=" => Condition::LowerThanOrEqual(value),
            ">=" => Condition::GreaterThanOrEqual(value),
            "!=" => Condition::NotEqual(value),
            "<" => Condition::LowerThan(value),
            ">" => Condition::GreaterThan(value),
            _ => Condition::Equal(value),
        }));
    }
    let is_negated = preceded(("IS", multispace1), opt(("NOT", multispace1))).parse_next(input)?.is_some();
    let filter = alt((literal("NULL").value(Condition::IsNull), literal("EMPTY").value(Condition::IsEmpty)))
        .map(of_attribute)
        .parse_next(input)?;
    Ok(if is_negated { negation(filter) } else { filter })
}

/// Comparisons that Meilisearch only tries after.
fn late_comparison(input: &mut Input<'_>, attribute: &Attribute) -> Parsed<Filter> {
    let operator = |input: &mut Input<'_>| -> Parsed<Condition> {
        match alt(("EXISTS", "CONTAINS", "STARTS WITH")).parse_next(input)? {
            "EXISTS" => Ok(Condition::Exists),
            "CONTAINS" => Ok(Condition::Contains(cut_err(value).parse_next(input)?.0)),
            _ => Ok(Condition::StartsWith(cut_err(value).parse_next(input)?.0)),
        }
    };
    let between = |input: &mut Input<'_>| -> Parsed<(bool, Condition)> {
        let ((from, _), _, (to, _)) = (value, ("TO", multispace1), cut_err(value)).parse_next(input)?;
        Ok((false, Condition::Between(from, to)))
    };
    let negated = preceded(("NOT", multispace1), operator).map(|condition| (true, condition));
    let plain = operator.map(|condition| (false, condition));
    let (is_negated, condition) = alt((plain, negated, between)).parse_next(input)?;
    let filter = Filter::Condition { attribute: attribute.clone(), condition };
    Ok(if is_negated { negation(filter) } else { filter })
}

/// The values of a list, with or without a comma behind the last.
fn values(input: &mut Input<'_>) -> Parsed<Vec<String>> {
    let values: Vec<(String, Range<usize>)> = separated(0.., value, spaced(',')).parse_next(input)?;
    if !values.is_empty() {
        opt(spaced(',')).parse_next(input)?;
    }
    Ok(values.into_iter().map(|(value, _)| value).collect())
}

fn vectors(input: &mut Input<'_>) -> Parsed<Filter> {
    (multispace0, "_vectors").parse_next(input)?;
    let mut filter = Filter::Vectors { embedder: None, part: VectorPart::Any };
    if opt(multispace1).parse_next(input)?.is_none() {
        '.'.parse_next(input)?;
        let embedder = cut_err(vector_name).parse_next(input)?;
        let part = cut_err(terminated(vector_part, multispace1)).parse_next(input)?;
        filter = Filter::Vectors { embedder: Some(embedder), part };
    }
    let is_negated = cut_err(terminated(opt(("NOT", multispace1)), "EXISTS")).parse_next(input)?.is_some();
    Ok(if is_negated { negation(filter) } else { filter })
}

fn vector_part(input: &mut Input<'_>) -> Parsed<VectorPart> {
    if opt(".fragments").parse_next(input)?.is_some() {
        return preceded('.', vector_name).map(VectorPart::Fragment).parse_next(input);
    }
    let part = alt((
        ".userProvided".value(VectorPart::UserProvided),
        ".documentTemplate".value(VectorPart::DocumentTemplate),
        ".regenerate".value(VectorPart::Regenerate),
    ));
    Ok(opt(part).parse_next(input)?.unwrap_or(VectorPart::Any))
}

/// Name of an embedder or of a fragment: a dot ends it, and a keyword may be one.
fn vector_name(input: &mut Input<'_>) -> Parsed<String> {
    let bare = take_while(1.., |c| is_in_word(c) && c != '.').map(str::to_owned);
    alt((quoted('\''), quoted('"'), bare)).parse_next(input)
}

fn foreign(input: &mut Input<'_>, depth: usize) -> Parsed<Filter> {
    (multispace0, word("_foreign")).parse_next(input)?;
    let inner = |input: &mut Input<'_>| {
        let attribute = terminated(attribute, spaced(',')).parse_next(input)?;
        let filter = any_of(input, depth)?;
        Ok(Filter::Foreign { attribute, filter: Box::new(filter) })
    };
    cut_err(delimited('(', spaced(inner), ')')).parse_next(input)
}

fn attribute(input: &mut Input<'_>) -> Parsed<Attribute> {
    let (name, span) = value(input)?;
    Ok(Attribute { name, span })
}

/// A value without its quotes and escapes, and where it stands. Blanks around it are read over.
fn value(input: &mut Input<'_>) -> Parsed<(String, Range<usize>)> {
    take_while(0.., char::is_whitespace).void().parse_next(input)?;
    terminated(alt((quoted('\''), quoted('"'), bare_word)).with_span(), multispace0).parse_next(input)
}

fn bare_word(input: &mut Input<'_>) -> Parsed<String> {
    let is_of_geo = opt(peek(alt(GEO_BEGINNINGS))).parse_next(input)?.is_some();
    let word = take_while(1.., is_in_word).parse_next(input)?;
    if is_of_geo || GEO_WORDS.contains(&word) {
        return refused();
    }
    if KEYWORDS.contains(&word) {
        return Err(ErrMode::Backtrack(EmptyError));
    }
    Ok(word.to_owned())
}

fn quoted<'t>(quote: char) -> impl Parser<Input<'t>, String, ErrMode<EmptyError>> {
    let escaped = ('\\', any).void();
    let content = repeat(0.., alt((none_of([quote, '\\']).void(), escaped))).map(|()| ()).take();
    let content = content.verify_map(move |content: &str| unescaped(content, quote));
    delimited(quote, cut_err(content), cut_err(quote))
}

/// The text that a quoted one stands for: the quotes in it are freed first, then the escapes of other characters.
fn unescaped(content: &str, quote: char) -> Option<String> {
    if !content.contains('\\') {
        return Some(content.to_owned());
    }
    let escaped_quote: String = ['\\', quote].iter().collect();
    unescaper::unescape(&content.replace(&escaped_quote, quote.encode_utf8(&mut [0; 4]))).ok()
}

fn number(input: &mut Input<'_>) -> Parsed<String> {
    let sign = || opt(one_of(['+', '-']));
    let whole = (digit1, opt(('.', opt(digit1)))).void();
    let fraction = ('.', digit1).void();
    let exponent = opt((one_of(['e', 'E']), sign(), cut_err(digit1)));
    (sign(), alt((whole, fraction)), exponent).take().map(str::to_owned).parse_next(input)
}

fn is_in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// A word, and all of it.
fn word<'t>(name: &'static str) -> impl Parser<Input<'t>, (), ErrMode<EmptyError>> {
    take_while(1.., is_in_word).verify(move |word: &str| word == name).void()
}

/// With blanks around it.
fn spaced<'t, O>(
    inner: impl Parser<Input<'t>, O, ErrMode<EmptyError>>,
) -> impl Parser<Input<'t>, O, ErrMode<EmptyError>> {
    delimited(multispace0, inner, multispace0)
}
