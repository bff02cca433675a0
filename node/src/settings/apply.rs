//! From a change of settings to the calls that the engine offers for it.

use milli_core::update::{Setting, Settings};
use milli_core::{proximity, LocalizedAttributesRule, OrderBy};
use serde_json::{Map, Value};

use super::update::{
    FacetOrder, Faceting, LocalizedAttributes, MinWordSize, Pagination, PrefixSearch, ProximityPrecision,
    SettingsUpdate, TypoTolerance,
};
use crate::error::ResponseError;

/// `set` or `reset` for one setting of the engine, or neither.
macro_rules! put {
    ($builder:ident, $setting:expr, $set:ident, $reset:ident) => {
        put!($builder, $setting, $set, $reset, |value| value)
    };
    ($builder:ident, $setting:expr, $set:ident, $reset:ident, $convert:expr) => {
        match $setting {
            Setting::Set(value) =>
            {
                #[allow(clippy::redundant_closure_call)]
                $builder.$set($convert(value))
            }
            Setting::Reset => $builder.$reset(),
            Setting::NotSet => {}
        }
    };
}

/// Tells the engine what a settings task asks for. The caller executes it.
pub fn apply(settings: &Map<String, Value>, builder: &mut Settings<'_, '_, '_>) -> Result<(), ResponseError> {
    let update: SettingsUpdate =
        serde_json::from_value(Value::Object(settings.clone())).map_err(ResponseError::internal)?;
    apply_attributes(&update, builder);
    match &update.ranking_rules {
        Setting::Set(rules) => {
            let rules = rules.iter().map(|rule| rule.criterion());
            builder.set_criteria(rules.collect::<Result<_, _>>()?);
        }
        Setting::Reset => builder.reset_criteria(),
        Setting::NotSet => {}
    }
    put!(builder, update.stop_words, set_stop_words, reset_stop_words);
    put!(builder, update.non_separator_tokens, set_non_separator_tokens, reset_non_separator_tokens);
    put!(builder, update.separator_tokens, set_separator_tokens, reset_separator_tokens);
    put!(builder, update.dictionary, set_dictionary, reset_dictionary);
    put!(builder, update.synonyms, set_synonyms, reset_synonyms);
    put!(builder, update.distinct_attribute, set_distinct_field, reset_distinct_field);
    put!(builder, update.proximity_precision, set_proximity_precision, reset_proximity_precision, precision);
    apply_typos(update.typo_tolerance, builder);
    apply_faceting(update.faceting, builder);
    let max_total_hits = match update.pagination {
        Setting::Set(Pagination { max_total_hits }) => max_total_hits,
        Setting::Reset => Setting::Reset,
        Setting::NotSet => Setting::NotSet,
    };
    put!(builder, max_total_hits, set_pagination_max_total_hits, reset_pagination_max_total_hits, usize::from);
    put!(builder, update.embedders, set_embedder_settings, reset_embedder_settings);
    put!(builder, update.search_cutoff_ms, set_search_cutoff, reset_search_cutoff);
    put!(
        builder,
        update.localized_attributes,
        set_localized_attributes_rules,
        reset_localized_attributes_rules,
        localized_rules
    );
    put!(builder, update.facet_search, set_facet_search, reset_facet_search);
    put!(builder, update.prefix_search, set_prefix_search, reset_prefix_search, prefix_search);
    Ok(())
}

fn apply_attributes(update: &SettingsUpdate, builder: &mut Settings<'_, '_, '_>) {
    let searchable = all_is_default(&update.searchable_attributes);
    put!(builder, searchable, set_searchable_fields, reset_searchable_fields);
    let displayed = all_is_default(&update.displayed_attributes);
    put!(builder, displayed, set_displayed_fields, reset_displayed_fields);
    let filterable = update.filterable_attributes.clone();
    put!(builder, filterable, set_filterable_fields, reset_filterable_fields);
    let sortable = update.sortable_attributes.clone();
    put!(builder, sortable, set_sortable_fields, reset_sortable_fields, |names: std::collections::BTreeSet<_>| {
        names.into_iter().collect()
    });
}

/// A list that contains `*` is the default: all attributes, whatever they will be.
fn all_is_default(attributes: &Setting<Vec<String>>) -> Setting<Vec<String>> {
    match attributes {
        Setting::Set(names) if names.iter().any(|name| name == "*") => Setting::Reset,
        other => other.clone(),
    }
}

fn apply_typos(typos: Setting<TypoTolerance>, builder: &mut Settings<'_, '_, '_>) {
    let typos = match typos {
        Setting::Set(typos) => typos,
        Setting::Reset => TypoTolerance {
            enabled: Setting::Reset,
            min_word_size_for_typos: Setting::Reset,
            disable_on_words: Setting::Reset,
            disable_on_attributes: Setting::Reset,
            disable_on_numbers: Setting::Reset,
        },
        Setting::NotSet => return,
    };
    put!(builder, typos.enabled, set_autorize_typos, reset_authorize_typos);
    let sizes = match typos.min_word_size_for_typos {
        Setting::Set(sizes) => sizes,
        Setting::Reset => MinWordSize { one_typo: Setting::Reset, two_typos: Setting::Reset },
        Setting::NotSet => MinWordSize::default(),
    };
    put!(builder, sizes.one_typo, set_min_word_len_one_typo, reset_min_word_len_one_typo);
    put!(builder, sizes.two_typos, set_min_word_len_two_typos, reset_min_word_len_two_typos);
    put!(builder, typos.disable_on_words, set_exact_words, reset_exact_words);
    put!(
        builder,
        typos.disable_on_attributes,
        set_exact_attributes,
        reset_exact_attributes,
        |names: std::collections::BTreeSet<_>| names.into_iter().collect()
    );
    put!(builder, typos.disable_on_numbers, set_disable_on_numbers, reset_disable_on_numbers);
}

fn apply_faceting(faceting: Setting<Faceting>, builder: &mut Settings<'_, '_, '_>) {
    let faceting = match faceting {
        Setting::Set(faceting) => faceting,
        Setting::Reset => Faceting { max_values_per_facet: Setting::Reset, sort_facet_values_by: Setting::Reset },
        Setting::NotSet => return,
    };
    put!(builder, faceting.max_values_per_facet, set_max_values_per_facet, reset_max_values_per_facet);
    put!(
        builder,
        faceting.sort_facet_values_by,
        set_sort_facet_values_by,
        reset_sort_facet_values_by,
        |orders: std::collections::BTreeMap<String, FacetOrder>| {
            orders.into_iter().map(|(name, order)| (name, order_by(order))).collect()
        }
    );
}

fn order_by(order: FacetOrder) -> OrderBy {
    match order {
        FacetOrder::Alpha => OrderBy::Lexicographic,
        FacetOrder::Count => OrderBy::Count,
    }
}

fn precision(precision: ProximityPrecision) -> proximity::ProximityPrecision {
    match precision {
        ProximityPrecision::ByWord => proximity::ProximityPrecision::ByWord,
        ProximityPrecision::ByAttribute => proximity::ProximityPrecision::ByAttribute,
    }
}

fn prefix_search(search: PrefixSearch) -> milli_core::index::PrefixSearch {
    match search {
        PrefixSearch::IndexingTime => milli_core::index::PrefixSearch::IndexingTime,
        PrefixSearch::Disabled => milli_core::index::PrefixSearch::Disabled,
    }
}

fn localized_rules(rules: Vec<LocalizedAttributes>) -> Vec<LocalizedAttributesRule> {
    let rules = rules.into_iter().map(|rule| LocalizedAttributesRule {
        attribute_patterns: rule.attribute_patterns,
        locales: rule.locales.into_iter().map(|code| code.0).collect(),
    });
    rules.collect()
}
