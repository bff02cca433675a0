//! A change of settings: what is not in it stays, `null` goes back to the default.
//!
//! Read twice: from a request, where `deserr` gives Meilisearch's error messages, and from a task, where it is known to
//! be right.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::str::FromStr;

use deserr::{take_cf_content, DeserializeError, Deserr, ErrorKind, IntoValue, ValuePointerRef};
use milli_core::tokenizer::Language;
use milli_core::update::{validate_embedding_settings, Setting};
use milli_core::vector::settings::EmbeddingSettings;
use milli_core::{AttributePatterns, Criterion, FilterableAttributesRule};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::{field_codes, Code, ResponseError};
use crate::search::locales::Locale;
use crate::search::parse::BodyError;

field_codes! {
    InvalidSettingsDictionary
    InvalidSettingsDisplayedAttributes
    InvalidSettingsDistinctAttribute
    InvalidSettingsEmbedders
    InvalidSettingsFacetSearch
    InvalidSettingsFaceting
    InvalidSettingsFilterableAttributes
    InvalidSettingsLocalizedAttributes
    InvalidSettingsNonSeparatorTokens
    InvalidSettingsPagination
    InvalidSettingsPrefixSearch
    InvalidSettingsProximityPrecision
    InvalidSettingsRankingRules
    InvalidSettingsSearchCutoffMs
    InvalidSettingsSearchableAttributes
    InvalidSettingsSeparatorTokens
    InvalidSettingsSortableAttributes
    InvalidSettingsStopWords
    InvalidSettingsSynonyms
    InvalidSettingsTypoTolerance
}

use self::codes::*;

/// All settings, in the order in which Meilisearch prints them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Deserr)]
#[serde(rename_all = "camelCase", default)]
#[deserr(error = BodyError, rename_all = camelCase, deny_unknown_fields)]
pub struct SettingsUpdate {
    #[serde(skip_serializing_if = "Setting::is_not_set", serialize_with = "all_if_reset")]
    #[deserr(default, error = BodyError<InvalidSettingsDisplayedAttributes>)]
    pub displayed_attributes: Setting<Vec<String>>,
    #[serde(skip_serializing_if = "Setting::is_not_set", serialize_with = "all_if_reset")]
    #[deserr(default, error = BodyError<InvalidSettingsSearchableAttributes>)]
    pub searchable_attributes: Setting<Vec<String>>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsFilterableAttributes>)]
    pub filterable_attributes: Setting<Vec<FilterableAttributesRule>>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsSortableAttributes>)]
    pub sortable_attributes: Setting<BTreeSet<String>>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsRankingRules>)]
    pub ranking_rules: Setting<Vec<RankingRule>>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsStopWords>)]
    pub stop_words: Setting<BTreeSet<String>>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsNonSeparatorTokens>)]
    pub non_separator_tokens: Setting<BTreeSet<String>>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsSeparatorTokens>)]
    pub separator_tokens: Setting<BTreeSet<String>>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsDictionary>)]
    pub dictionary: Setting<BTreeSet<String>>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsSynonyms>)]
    pub synonyms: Setting<BTreeMap<String, Vec<String>>>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsDistinctAttribute>)]
    pub distinct_attribute: Setting<String>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsProximityPrecision>)]
    pub proximity_precision: Setting<ProximityPrecision>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsTypoTolerance>)]
    pub typo_tolerance: Setting<TypoTolerance>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsFaceting>)]
    pub faceting: Setting<Faceting>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsPagination>)]
    pub pagination: Setting<Pagination>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsEmbedders>)]
    pub embedders: Setting<BTreeMap<String, Setting<EmbeddingSettings>>>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsSearchCutoffMs>)]
    pub search_cutoff_ms: Setting<u64>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsLocalizedAttributes>)]
    pub localized_attributes: Setting<Vec<LocalizedAttributes>>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsFacetSearch>)]
    pub facet_search: Setting<bool>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = BodyError<InvalidSettingsPrefixSearch>)]
    pub prefix_search: Setting<PrefixSearch>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Deserr)]
#[serde(rename_all = "camelCase", default)]
#[deserr(rename_all = camelCase, deny_unknown_fields)]
pub struct TypoTolerance {
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub enabled: Setting<bool>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub min_word_size_for_typos: Setting<MinWordSize>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub disable_on_words: Setting<BTreeSet<String>>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub disable_on_attributes: Setting<BTreeSet<String>>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub disable_on_numbers: Setting<bool>,
}

/// The length, in characters, from which a word may have one typo, and two.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Deserr)]
#[serde(rename_all = "camelCase", default)]
#[deserr(rename_all = camelCase, deny_unknown_fields, validate = ordered_sizes -> __Deserr_E)]
pub struct MinWordSize {
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub one_typo: Setting<u8>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub two_typos: Setting<u8>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Deserr)]
#[serde(rename_all = "camelCase", default)]
#[deserr(rename_all = camelCase, deny_unknown_fields)]
pub struct Faceting {
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub max_values_per_facet: Setting<usize>,
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub sort_facet_values_by: Setting<BTreeMap<String, FacetOrder>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Deserr)]
#[serde(rename_all = "camelCase", default)]
#[deserr(rename_all = camelCase, deny_unknown_fields)]
pub struct Pagination {
    #[serde(skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub max_total_hits: Setting<NonZeroUsize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Deserr)]
#[serde(rename_all = "camelCase")]
#[deserr(rename_all = camelCase)]
pub enum FacetOrder {
    Alpha,
    Count,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Deserr)]
#[serde(rename_all = "camelCase")]
#[deserr(rename_all = camelCase)]
pub enum ProximityPrecision {
    ByWord,
    ByAttribute,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Deserr)]
#[serde(rename_all = "camelCase")]
#[deserr(rename_all = camelCase)]
pub enum PrefixSearch {
    IndexingTime,
    Disabled,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Deserr)]
#[serde(rename_all = "camelCase")]
#[deserr(rename_all = camelCase, deny_unknown_fields)]
pub struct LocalizedAttributes {
    pub attribute_patterns: AttributePatterns,
    pub locales: Vec<LanguageCode>,
}

/// A language, written as its three-letter code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LanguageCode(pub Language);

impl Serialize for LanguageCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.code())
    }
}

impl<'de> Deserialize<'de> for LanguageCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Language::from_code(&code).map(Self).ok_or_else(|| serde::de::Error::custom(format!("no language `{code}`")))
    }
}

impl<E: DeserializeError> Deserr<E> for LanguageCode {
    fn deserialize_from_value<V: IntoValue>(value: deserr::Value<V>, location: ValuePointerRef) -> Result<Self, E> {
        Locale::deserialize_from_value(value, location).map(|locale| Self(locale.0))
    }
}

/// A ranking rule that the engine knows, in its own notation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RankingRule(String);

impl RankingRule {
    pub fn criterion(&self) -> Result<Criterion, ResponseError> {
        Criterion::from_str(&self.0)
            .map_err(|error| ResponseError::new(Code::InvalidSettingsRankingRules, error.to_string()))
    }
}

impl<E: DeserializeError> Deserr<E> for RankingRule {
    fn deserialize_from_value<V: IntoValue>(value: deserr::Value<V>, location: ValuePointerRef) -> Result<Self, E> {
        let rule = <String as Deserr<E>>::deserialize_from_value(value, location)?;
        match Criterion::from_str(&rule) {
            Ok(criterion) => Ok(Self(criterion.to_string())),
            Err(error) => {
                let unexpected = ErrorKind::Unexpected { msg: error.to_string() };
                Err(take_cf_content(E::error::<V>(None, unexpected, location)))
            }
        }
    }
}

fn ordered_sizes<E: DeserializeError>(sizes: MinWordSize, location: ValuePointerRef) -> Result<MinWordSize, E> {
    let (Setting::Set(one), Setting::Set(two)) = (&sizes.one_typo, &sizes.two_typos) else {
        return Ok(sizes);
    };
    if one <= two {
        return Ok(sizes);
    }
    let msg = format!(
        "`minWordSizeForTypos` setting is invalid. `oneTypo` and `twoTypos` fields should be between `0` and `255`, \
         and `twoTypos` should be greater or equals to `oneTypo` but found `oneTypo: {one}` and twoTypos: {two}`."
    );
    let unexpected = ErrorKind::Unexpected { msg };
    Err(take_cf_content(E::error::<std::convert::Infallible>(None, unexpected, location)))
}

impl SettingsUpdate {
    /// Everything back to its default.
    pub fn reset_all() -> Self {
        Self {
            displayed_attributes: Setting::Reset,
            searchable_attributes: Setting::Reset,
            filterable_attributes: Setting::Reset,
            sortable_attributes: Setting::Reset,
            ranking_rules: Setting::Reset,
            stop_words: Setting::Reset,
            non_separator_tokens: Setting::Reset,
            separator_tokens: Setting::Reset,
            dictionary: Setting::Reset,
            synonyms: Setting::Reset,
            distinct_attribute: Setting::Reset,
            proximity_precision: Setting::Reset,
            typo_tolerance: Setting::Reset,
            faceting: Setting::Reset,
            pagination: Setting::Reset,
            embedders: Setting::Reset,
            search_cutoff_ms: Setting::Reset,
            localized_attributes: Setting::Reset,
            facet_search: Setting::Reset,
            prefix_search: Setting::Reset,
        }
    }

    /// Checks what needs to be known of several fields, and gives the form that a task keeps.
    pub fn into_task(mut self) -> Result<Map<String, Value>, ResponseError> {
        if let Setting::Set(embedders) = &mut self.embedders {
            for (name, embedder) in embedders.iter_mut() {
                let unchecked = std::mem::replace(embedder, Setting::NotSet);
                *embedder = validate_embedding_settings(unchecked, name)?;
            }
        }
        match serde_json::to_value(self).map_err(ResponseError::internal)? {
            Value::Object(settings) => Ok(settings),
            other => Err(ResponseError::internal(format!("settings became {other}"))),
        }
    }
}

/// Attribute lists print their default as `["*"]`.
pub fn all_if_reset<S: Serializer>(attributes: &Setting<Vec<String>>, serializer: S) -> Result<S::Ok, S::Error> {
    match attributes {
        Setting::Set(attributes) => attributes.serialize(serializer),
        Setting::Reset => ["*"].serialize(serializer),
        Setting::NotSet => serializer.serialize_none(),
    }
}
