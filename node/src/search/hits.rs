//! Hits as clients see them: the document, `_formatted`, `_matchesPosition`, `_geoDistance` and the scores.

use std::collections::{BTreeMap, BTreeSet};

use milli_core::score_details::ScoreDetails;
use milli_core::tokenizer::{Language, Tokenizer, TokenizerBuilder};
use milli_core::{
    distance_between_two_points, is_faceted_by, AscDesc, DocumentId, FieldId, FormatOptions, LocalizedAttributesRule,
    MatchBounds, MatcherBuilder, MatchingWords, Member, Object, PatternMatch,
};
use serde_json::{json, Value};

use super::query::SearchQuery;
use super::select::{change_leaves, select};
use super::stored::{point_of, Reader};

/// What an index's settings say about cutting text into words.
pub struct WordCuts {
    dictionary: Option<BTreeSet<String>>,
    separators: Option<BTreeSet<String>>,
}

impl WordCuts {
    pub fn of(reader: &Reader<'_>) -> milli_core::Result<Self> {
        Ok(Self {
            dictionary: reader.index.dictionary(reader.rtxn)?,
            separators: reader.index.allowed_separators(reader.rtxn)?,
        })
    }

    /// As the tokenizer borrows it.
    pub fn borrowed(&self) -> BorrowedCuts<'_> {
        BorrowedCuts { dictionary: as_strs(&self.dictionary), separators: as_strs(&self.separators) }
    }
}

fn as_strs(words: &Option<BTreeSet<String>>) -> Option<Vec<&str>> {
    words.as_ref().map(|words| words.iter().map(String::as_str).collect())
}

pub struct BorrowedCuts<'w> {
    dictionary: Option<Vec<&'w str>>,
    separators: Option<Vec<&'w str>>,
}

impl BorrowedCuts<'_> {
    fn tokenizer(&self) -> Tokenizer<'_> {
        let mut builder = TokenizerBuilder::default();
        // Matches are reported in bytes of the original text, so the tokenizer must remember where each character was.
        builder.create_char_map(true);
        if let Some(separators) = &self.separators {
            builder.separators(separators);
        }
        if let Some(dictionary) = &self.dictionary {
            builder.words_dict(dictionary);
        }
        builder.into_tokenizer()
    }
}

/// Renders the hits of one query.
pub struct HitRenderer<'a> {
    reader: &'a Reader<'a>,
    query: &'a SearchQuery,
    matchers: MatcherBuilder<'a>,
    retrieved: BTreeSet<FieldId>,
    /// What is in `_formatted`, and how it is formatted. Empty if the query asks for no formatting.
    formats: BTreeMap<FieldId, FormatOptions>,
    locales: Option<Vec<Language>>,
    localized_attributes: Vec<LocalizedAttributesRule>,
    geo_origin: Option<[f64; 2]>,
}

impl<'a> HitRenderer<'a> {
    /// `matching_words` are what the engine found the query's words to be, `cuts` how the index cuts text into words.
    pub fn new(
        reader: &'a Reader<'a>,
        query: &'a SearchQuery,
        sort: &[AscDesc],
        matching_words: MatchingWords,
        cuts: &'a BorrowedCuts<'a>,
    ) -> milli_core::Result<Self> {
        let mut matchers = MatcherBuilder::new(matching_words, cuts.tokenizer());
        matchers.crop_marker(query.crop_marker.clone());
        matchers.highlight_prefix(query.highlight_pre_tag.clone());
        matchers.highlight_suffix(query.highlight_post_tag.clone());
        let retrieved = reader.retrieved(query.attributes_to_retrieve.as_deref());
        let locales = query.locales.as_ref().map(|locales| locales.iter().map(|locale| locale.0).collect());
        Ok(Self {
            formats: formats(reader, query, &retrieved),
            localized_attributes: reader.index.localized_attributes_rules(reader.rtxn)?.unwrap_or_default(),
            geo_origin: sort.iter().find_map(|criterion| match criterion.member() {
                Member::Geo(point) => Some(*point),
                Member::Field(_) => None,
            }),
            reader,
            query,
            matchers,
            retrieved,
            locales,
        })
    }

    /// The hit; `federation` says where in a federated search it comes from.
    pub fn hit(
        &self,
        id: DocumentId,
        scores: &[ScoreDetails],
        federation: Option<Value>,
    ) -> milli_core::Result<Object> {
        let with_vectors = self.query.retrieve_vectors && self.reader.displays_vectors();
        let mut hit = self.reader.document_for_client(id, &self.retrieved, with_vectors)?;
        if let Some(distance) = self.geo_origin.and_then(|origin| geo_distance(&hit, &origin)) {
            hit.insert("_geoDistance".to_owned(), json!(distance));
        }
        if let Some(federation) = federation {
            hit.insert("_federation".to_owned(), federation);
        }
        if self.query.show_matches_position || !self.formats.is_empty() {
            let (formatted, positions) = self.formatted(id)?;
            if !formatted.is_empty() {
                hit.insert("_formatted".to_owned(), Value::Object(formatted));
            }
            if self.query.show_matches_position {
                hit.insert("_matchesPosition".to_owned(), json!(positions));
            }
        }
        if self.query.show_ranking_score {
            hit.insert("_rankingScore".to_owned(), json!(ScoreDetails::global_score(scores.iter())));
        }
        if self.query.show_ranking_score_details {
            let details = ScoreDetails::to_json_map(scores.iter());
            hit.insert("_rankingScoreDetails".to_owned(), Value::Object(details));
        }
        Ok(hit)
    }

    /// `_formatted` and `_matchesPosition`. Positions are those of all displayed fields, retrieved or not. Of an array
    /// with matches in several elements, the last one's are reported: Meilisearch does so.
    fn formatted(&self, id: DocumentId) -> milli_core::Result<(Object, BTreeMap<String, Vec<MatchBounds>>)> {
        let displayed = self.reader.names(self.reader.displayed());
        let selected = self.reader.names(self.formats.keys());
        let read = if self.query.show_matches_position { &displayed } else { &selected };
        let mut document = self.reader.document(id, read)?;
        let formats: Vec<(&str, FormatOptions)> = self
            .formats
            .iter()
            .filter(|(_, format)| format.should_format())
            .filter_map(|(id, format)| Some((self.reader.fields.name(*id)?, *format)))
            .collect();

        let mut positions = BTreeMap::new();
        change_leaves(&mut document, &displayed, &mut |path, indices, value| {
            // A format set on `dog` and one set on `dog.name` are both meant for `dog.name`.
            let format = formats
                .iter()
                .filter(|(name, _)| is_faceted_by(name, path) || is_faceted_by(path, name))
                .map(|(_, format)| *format)
                .reduce(FormatOptions::merge);
            let matches = self.format_leaf(path, indices, value, format);
            if !matches.is_empty() {
                positions.insert(path.to_owned(), matches);
            }
        });
        Ok((select(document, &selected), positions))
    }

    /// Formats a string; turns a number into a formatted string; leaves the rest. Returns where the query matches.
    fn format_leaf(
        &self,
        path: &str,
        indices: &[usize],
        value: &mut Value,
        format: Option<FormatOptions>,
    ) -> Vec<MatchBounds> {
        let text = match &*value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Vec::new(),
        };
        let mut matcher = self.matchers.build(&text, self.locales_of(path));
        let matches = match self.query.show_matches_position {
            true => matcher.matches(indices),
            false => Vec::new(),
        };
        *value = Value::String(match format {
            Some(format) => matcher.format(format).into_owned(),
            None => text.clone(),
        });
        matches
    }

    /// The query's locales, else those that the settings give to the attribute.
    fn locales_of(&self, path: &str) -> Option<&[Language]> {
        self.locales.as_deref().or_else(|| {
            self.localized_attributes
                .iter()
                .find(|rule| rule.match_str(path) == PatternMatch::Match)
                .map(LocalizedAttributesRule::locales)
        })
    }
}

/// Which fields are formatted, and how. If any is, all retrieved fields are in `_formatted`, the others as they are.
fn formats(
    reader: &Reader<'_>,
    query: &SearchQuery,
    retrieved: &BTreeSet<FieldId>,
) -> BTreeMap<FieldId, FormatOptions> {
    let mut formats: BTreeMap<FieldId, FormatOptions> = BTreeMap::new();
    for name in query.attributes_to_highlight.iter().flatten() {
        for id in displayed_ids(reader, name) {
            formats.entry(id).or_default().highlight = true;
        }
    }
    for attribute in query.attributes_to_crop.iter().flatten() {
        let (name, length) = match attribute.rsplit_once(':') {
            Some((name, length)) => (name, length.parse().unwrap_or(query.crop_length)),
            None => (attribute.as_str(), query.crop_length),
        };
        for id in displayed_ids(reader, name) {
            formats.entry(id).or_default().crop = Some(length);
        }
    }
    if !formats.is_empty() {
        for id in retrieved {
            formats.entry(*id).or_default();
        }
    }
    formats
}

/// The fields that an attribute of a query names: itself if it exists and may be seen, all for `*`.
fn displayed_ids(reader: &Reader<'_>, name: &str) -> Vec<FieldId> {
    if name == "*" {
        return reader.displayed().iter().copied().collect();
    }
    let id = reader.fields.id(name).filter(|id| reader.displayed().contains(id));
    id.into_iter().collect()
}

/// Whole metres between a point and the document, if the document shows where it is.
fn geo_distance(document: &Object, origin: &[f64; 2]) -> Option<u64> {
    Some(distance_between_two_points(origin, &point_of(document)?).round() as u64)
}
