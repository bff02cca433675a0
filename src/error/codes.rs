//! The one table of all error codes: Meilisearch's, as version 1.50 has them, and Miroir's own, which begin with `miroir_`.
//!
//! Type and status of Meilisearch's are facts of `meilisearch-types`. Nodes answer with many of them by themselves; they stand here
//! all the same, so that a client finds every code that it may see in one place: `docs/errors.md` is made of this table.

use super::ErrorType;

macro_rules! codes {
    ($($variant:ident $name:literal $kind:ident $status:literal $text:literal;)*) => {
        /// The code of an error, with its type, its HTTP status and what it means.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($variant),* }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => $name),* }
            }

            /// HTTP status of an answer that carries this code.
            pub const fn status(self) -> u16 {
                match self { $(Code::$variant => $status),* }
            }

            pub const fn error_type(self) -> ErrorType {
                match self { $(Code::$variant => ErrorType::$kind),* }
            }

            /// One sentence for the documentation: when a client sees it.
            pub const fn text(self) -> &'static str {
                match self { $(Code::$variant => $text),* }
            }
        }
    };
}

codes! {
    // Meilisearch's.
    ApiKeyAlreadyExists "api_key_already_exists" InvalidRequest 409 "An API key with this uid exists.";
    ApiKeyNotFound "api_key_not_found" InvalidRequest 404 "No API key has this uid or value.";
    BadParameter "bad_parameter" InvalidRequest 400 "A parameter of the request is not known or has a value that is not accepted.";
    BadRequest "bad_request" InvalidRequest 400 "The request cannot be read; the message says where.";
    BatchNotFound "batch_not_found" InvalidRequest 404 "There is no batch with this uid.";
    ChatNotFound "chat_not_found" InvalidRequest 404 "There is no chat workspace with this uid.";
    DatabaseSizeLimitReached "database_size_limit_reached" Internal 500 "A node's database is full.";
    DocumentNotFound "document_not_found" InvalidRequest 404 "The index has no document with this id.";
    DumpAlreadyProcessing "dump_already_processing" InvalidRequest 409 "Another dump is being made.";
    DumpNotFound "dump_not_found" InvalidRequest 404 "There is no such dump.";
    DumpProcessFailed "dump_process_failed" Internal 500 "A dump could not be made.";
    DuplicateIndexFound "duplicate_index_found" InvalidRequest 400 "An index stands twice in a list where each may stand once.";
    DynamicSearchRuleNotFound "dynamic_search_rule_not_found" InvalidRequest 404 "There is no dynamic search rule with this uid.";
    EditDocumentsByFunctionError "edit_documents_by_function_error" InvalidRequest 400 "The function that edits documents failed.";
    FacetSearchDisabled "facet_search_disabled" InvalidRequest 400 "Facet search is off in the settings of the index.";
    FeatureNotEnabled "feature_not_enabled" InvalidRequest 400 "The feature is experimental and not enabled.";
    ImmutableApiKeyActions "immutable_api_key_actions" InvalidRequest 400 "`actions` of an API key cannot be changed.";
    ImmutableApiKeyCreatedAt "immutable_api_key_created_at" InvalidRequest 400 "`createdAt` of an API key cannot be changed.";
    ImmutableApiKeyExpiresAt "immutable_api_key_expires_at" InvalidRequest 400 "`expiresAt` of an API key cannot be changed.";
    ImmutableApiKeyIndexes "immutable_api_key_indexes" InvalidRequest 400 "`indexes` of an API key cannot be changed.";
    ImmutableApiKeyKey "immutable_api_key_key" InvalidRequest 400 "`key` of an API key cannot be changed.";
    ImmutableApiKeyUid "immutable_api_key_uid" InvalidRequest 400 "`uid` of an API key cannot be changed.";
    ImmutableApiKeyUpdatedAt "immutable_api_key_updated_at" InvalidRequest 400 "`updatedAt` of an API key cannot be changed.";
    ImmutableIndexCreatedAt "immutable_index_created_at" InvalidRequest 400 "`createdAt` of an index cannot be changed.";
    ImmutableIndexUpdatedAt "immutable_index_updated_at" InvalidRequest 400 "`updatedAt` of an index cannot be changed.";
    ImmutableWebhook "immutable_webhook" InvalidRequest 400 "This webhook was set at start and cannot be changed.";
    ImmutableWebhookIsEditable "immutable_webhook_is_editable" InvalidRequest 400 "`isEditable` of a webhook cannot be changed.";
    ImmutableWebhookUuid "immutable_webhook_uuid" InvalidRequest 400 "`uuid` of a webhook cannot be changed.";
    ImportTaskAlreadyReceived "import_task_already_received" InvalidRequest 412 "A remote has sent this part of a rebalancing before.";
    ImportTaskUnknownRemote "import_task_unknown_remote" InvalidRequest 412 "A part of a rebalancing came from a remote that is not in the network.";
    ImportTaskWithoutNetworkTask "import_task_without_network_task" InvalidRequest 503 "A part of a rebalancing came before its network was known.";
    InconsistentDocumentChangeHeaders "inconsistent_document_change_headers" InvalidRequest 400 "The headers of a change that a remote passes on contradict each other.";
    IndexAlreadyExists "index_already_exists" InvalidRequest 409 "An index with this uid exists.";
    IndexCreationFailed "index_creation_failed" Internal 500 "The index could not be created on the disk.";
    IndexNotFound "index_not_found" InvalidRequest 404 "There is no index with this uid.";
    IndexPrimaryKeyAlreadyExists "index_primary_key_already_exists" InvalidRequest 400 "The index has a primary key already, which cannot be changed while it has documents.";
    IndexPrimaryKeyMultipleCandidatesFound "index_primary_key_multiple_candidates_found" InvalidRequest 400 "More than one field could be the primary key; name it with `primaryKey`.";
    IndexPrimaryKeyNoCandidateFound "index_primary_key_no_candidate_found" InvalidRequest 400 "No field could be the primary key; name it with `primaryKey`.";
    IndexScopedApiKeyWithGlobalAction "index_scoped_api_key_with_global_action" InvalidRequest 400 "A key for some indexes cannot have an action that concerns all of them.";
    Internal "internal" Internal 500 "Something is wrong in the server; its log says more.";
    InvalidApiKey "invalid_api_key" Auth 403 "The key or token is not valid, has expired, or does not allow this.";
    InvalidApiKeyActions "invalid_api_key_actions" InvalidRequest 400 "`actions` of an API key has a value that is not accepted.";
    InvalidApiKeyDescription "invalid_api_key_description" InvalidRequest 400 "`description` of an API key has a value that is not accepted.";
    InvalidApiKeyExpiresAt "invalid_api_key_expires_at" InvalidRequest 400 "`expiresAt` of an API key has a value that is not accepted.";
    InvalidApiKeyIndexes "invalid_api_key_indexes" InvalidRequest 400 "`indexes` of an API key has a value that is not accepted.";
    InvalidApiKeyLimit "invalid_api_key_limit" InvalidRequest 400 "`limit` of an API key has a value that is not accepted.";
    InvalidApiKeyName "invalid_api_key_name" InvalidRequest 400 "`name` of an API key has a value that is not accepted.";
    InvalidApiKeyOffset "invalid_api_key_offset" InvalidRequest 400 "`offset` of an API key has a value that is not accepted.";
    InvalidApiKeyUid "invalid_api_key_uid" InvalidRequest 400 "`uid` of an API key has a value that is not accepted.";
    InvalidBatchUids "invalid_batch_uids" InvalidRequest 400 "A batch uid is not a whole number.";
    InvalidChatCompletionApiKey "invalid_chat_completion_api_key" InvalidRequest 400 "`apiKey` of chat settings has a value that is not accepted.";
    InvalidChatCompletionApiVersion "invalid_chat_completion_api_version" InvalidRequest 400 "`apiVersion` of chat settings has a value that is not accepted.";
    InvalidChatCompletionBaseApi "invalid_chat_completion_base_api" InvalidRequest 400 "`baseApi` of chat settings has a value that is not accepted.";
    InvalidChatCompletionDeploymentId "invalid_chat_completion_deployment_id" InvalidRequest 400 "`deploymentId` of chat settings has a value that is not accepted.";
    InvalidChatCompletionOrgId "invalid_chat_completion_org_id" InvalidRequest 400 "`orgId` of chat settings has a value that is not accepted.";
    InvalidChatCompletionPreQueryPrompt "invalid_chat_completion_pre_query_prompt" InvalidRequest 400 "`preQueryPrompt` of chat settings has a value that is not accepted.";
    InvalidChatCompletionProjectId "invalid_chat_completion_project_id" InvalidRequest 400 "`projectId` of chat settings has a value that is not accepted.";
    InvalidChatCompletionPrompts "invalid_chat_completion_prompts" InvalidRequest 400 "`prompts` of chat settings has a value that is not accepted.";
    InvalidChatCompletionSearchDescriptionPrompt "invalid_chat_completion_search_description_prompt" InvalidRequest 400 "`searchDescriptionPrompt` of chat settings has a value that is not accepted.";
    InvalidChatCompletionSearchFilterParamPrompt "invalid_chat_completion_search_filter_param_prompt" InvalidRequest 400 "`searchFilterParamPrompt` of chat settings has a value that is not accepted.";
    InvalidChatCompletionSearchIndexUidParamPrompt "invalid_chat_completion_search_index_uid_param_prompt" InvalidRequest 400 "`searchIndexUidParamPrompt` of chat settings has a value that is not accepted.";
    InvalidChatCompletionSearchQueryParamPrompt "invalid_chat_completion_search_query_param_prompt" InvalidRequest 400 "`searchQueryParamPrompt` of chat settings has a value that is not accepted.";
    InvalidChatCompletionSource "invalid_chat_completion_source" InvalidRequest 400 "`source` of chat settings has a value that is not accepted.";
    InvalidChatCompletionSystemPrompt "invalid_chat_completion_system_prompt" InvalidRequest 400 "`systemPrompt` of chat settings has a value that is not accepted.";
    InvalidChatSettingDocumentTemplate "invalid_chat_setting_document_template" InvalidRequest 400 "`documentTemplate` of a chat is not a template.";
    InvalidContentType "invalid_content_type" InvalidRequest 415 "The `Content-Type` of the request is not one that the route takes.";
    InvalidDocumentCsvDelimiter "invalid_document_csv_delimiter" InvalidRequest 400 "`csvDelimiter` of a request for documents has a value that is not accepted.";
    InvalidDocumentEditionContext "invalid_document_edition_context" InvalidRequest 400 "`context` of an edition has a value that is not accepted.";
    InvalidDocumentEditionFunctionFilter "invalid_document_edition_function_filter" InvalidRequest 400 "`filter` of an edition has a value that is not accepted.";
    InvalidDocumentFields "invalid_document_fields" InvalidRequest 400 "`fields` of a request for documents has a value that is not accepted.";
    InvalidDocumentFilter "invalid_document_filter" InvalidRequest 400 "`filter` cannot be read, or uses an attribute that is not filterable.";
    InvalidDocumentGeoField "invalid_document_geo_field" InvalidRequest 400 "`_geo` of a document is not a point.";
    InvalidDocumentGeojsonField "invalid_document_geojson_field" InvalidRequest 400 "`_geojson` of a document is not GeoJSON.";
    InvalidDocumentId "invalid_document_id" InvalidRequest 400 "A document id is not a whole number or up to 511 of `a-z A-Z 0-9 - _`.";
    InvalidDocumentIds "invalid_document_ids" InvalidRequest 400 "`ids` of a request for documents has a value that is not accepted.";
    InvalidDocumentLimit "invalid_document_limit" InvalidRequest 400 "`limit` of a request for documents has a value that is not accepted.";
    InvalidDocumentOffset "invalid_document_offset" InvalidRequest 400 "`offset` of a request for documents has a value that is not accepted.";
    InvalidDocumentRetrieveVectors "invalid_document_retrieve_vectors" InvalidRequest 400 "`retrieveVectors` of a request for documents has a value that is not accepted.";
    InvalidDocumentSort "invalid_document_sort" InvalidRequest 400 "`sort` cannot be read, or uses an attribute that is not sortable.";
    InvalidDocumentUseNetwork "invalid_document_use_network" InvalidRequest 400 "`useNetwork` of a request for documents has a value that is not accepted.";
    InvalidDynamicSearchRuleActions "invalid_dynamic_search_rule_actions" InvalidRequest 400 "`actions` of a dynamic search rule has a value that is not accepted.";
    InvalidDynamicSearchRuleActive "invalid_dynamic_search_rule_active" InvalidRequest 400 "`active` of a dynamic search rule has a value that is not accepted.";
    InvalidDynamicSearchRuleConditions "invalid_dynamic_search_rule_conditions" InvalidRequest 400 "`conditions` of a dynamic search rule has a value that is not accepted.";
    InvalidDynamicSearchRuleDescription "invalid_dynamic_search_rule_description" InvalidRequest 400 "`description` of a dynamic search rule has a value that is not accepted.";
    InvalidDynamicSearchRuleFilter "invalid_dynamic_search_rule_filter" InvalidRequest 400 "`filter` of a dynamic search rule has a value that is not accepted.";
    InvalidDynamicSearchRuleFilterActive "invalid_dynamic_search_rule_filter_active" InvalidRequest 400 "`filterActive` of a dynamic search rule has a value that is not accepted.";
    InvalidDynamicSearchRuleFilterQuery "invalid_dynamic_search_rule_filter_query" InvalidRequest 400 "`filterQuery` of a dynamic search rule has a value that is not accepted.";
    InvalidDynamicSearchRuleLimit "invalid_dynamic_search_rule_limit" InvalidRequest 400 "`limit` of a dynamic search rule has a value that is not accepted.";
    InvalidDynamicSearchRuleOffset "invalid_dynamic_search_rule_offset" InvalidRequest 400 "`offset` of a dynamic search rule has a value that is not accepted.";
    InvalidDynamicSearchRulePriority "invalid_dynamic_search_rule_priority" InvalidRequest 400 "`priority` of a dynamic search rule has a value that is not accepted.";
    InvalidExportApiKey "invalid_export_api_key" InvalidRequest 400 "`apiKey` of an export has a value that is not accepted.";
    InvalidExportIndexFilter "invalid_export_index_filter" InvalidRequest 400 "`indexFilter` of an export has a value that is not accepted.";
    InvalidExportIndexOverrideSettings "invalid_export_index_override_settings" InvalidRequest 400 "`indexOverrideSettings` of an export has a value that is not accepted.";
    InvalidExportIndexesPatterns "invalid_export_indexes_patterns" InvalidRequest 400 "`indexesPatterns` of an export has a value that is not accepted.";
    InvalidExportPayloadSize "invalid_export_payload_size" InvalidRequest 400 "`payloadSize` of an export has a value that is not accepted.";
    InvalidExportUrl "invalid_export_url" InvalidRequest 400 "`url` of an export has a value that is not accepted.";
    InvalidFacetSearchExhaustiveFacetCount "invalid_facet_search_exhaustive_facet_count" InvalidRequest 400 "`exhaustiveFacetCount` of a facet search has a value that is not accepted.";
    InvalidFacetSearchFacetName "invalid_facet_search_facet_name" InvalidRequest 400 "`facetName` has a value that is not accepted, or names an attribute that cannot be searched.";
    InvalidFacetSearchName "invalid_facet_search_name" InvalidRequest 400 "`facetName` has a value that is not accepted.";
    InvalidFacetSearchQuery "invalid_facet_search_query" InvalidRequest 400 "`facetQuery` has a value that is not accepted.";
    InvalidHeaderValue "invalid_header_value" InvalidRequest 400 "A header has a value that cannot be read.";
    InvalidIndexCustomMetadata "invalid_index_custom_metadata" InvalidRequest 400 "`customMetadata` of an index or of a list of indexes has a value that is not accepted.";
    InvalidIndexFieldsFilter "invalid_index_fields_filter" InvalidRequest 400 "`filter` of a list of fields has a value that is not accepted.";
    InvalidIndexFieldsFilterAttributePatterns "invalid_index_fields_filter_attribute_patterns" InvalidRequest 400 "`filter` of a list of fields has a value that is not accepted.";
    InvalidIndexFieldsFilterDisplayed "invalid_index_fields_filter_displayed" InvalidRequest 400 "`filter` of a list of fields has a value that is not accepted.";
    InvalidIndexFieldsFilterDistinct "invalid_index_fields_filter_distinct" InvalidRequest 400 "`filter` of a list of fields has a value that is not accepted.";
    InvalidIndexFieldsFilterFilterable "invalid_index_fields_filter_filterable" InvalidRequest 400 "`filter` of a list of fields has a value that is not accepted.";
    InvalidIndexFieldsFilterRankingRule "invalid_index_fields_filter_ranking_rule" InvalidRequest 400 "`filter` of a list of fields has a value that is not accepted.";
    InvalidIndexFieldsFilterSearchable "invalid_index_fields_filter_searchable" InvalidRequest 400 "`filter` of a list of fields has a value that is not accepted.";
    InvalidIndexFieldsFilterSortable "invalid_index_fields_filter_sortable" InvalidRequest 400 "`filter` of a list of fields has a value that is not accepted.";
    InvalidIndexLimit "invalid_index_limit" InvalidRequest 400 "`limit` of an index or of a list of indexes has a value that is not accepted.";
    InvalidIndexOffset "invalid_index_offset" InvalidRequest 400 "`offset` of an index or of a list of indexes has a value that is not accepted.";
    InvalidIndexPrimaryKey "invalid_index_primary_key" InvalidRequest 400 "`primaryKey` of an index or of a list of indexes has a value that is not accepted.";
    InvalidIndexUid "invalid_index_uid" InvalidRequest 400 "An index uid is not 1 to 512 of `a-z A-Z 0-9 - _`.";
    InvalidMultiSearchDistinct "invalid_multi_search_distinct" InvalidRequest 400 "`distinct` of a multi-search has a value that is not accepted.";
    InvalidMultiSearchFacetOrder "invalid_multi_search_facet_order" InvalidRequest 400 "`facetOrder` of a multi-search has a value that is not accepted.";
    InvalidMultiSearchFacets "invalid_multi_search_facets" InvalidRequest 400 "`facets` of a multi-search has a value that is not accepted.";
    InvalidMultiSearchFacetsByIndex "invalid_multi_search_facets_by_index" InvalidRequest 400 "`facetsByIndex` of a multi-search has a value that is not accepted.";
    InvalidMultiSearchFederated "invalid_multi_search_federated" InvalidRequest 400 "`federated` of a multi-search has a value that is not accepted.";
    InvalidMultiSearchFederationOptions "invalid_multi_search_federation_options" InvalidRequest 400 "`federationOptions` of a multi-search has a value that is not accepted.";
    InvalidMultiSearchMaxValuesPerFacet "invalid_multi_search_max_values_per_facet" InvalidRequest 400 "`maxValuesPerFacet` of a multi-search has a value that is not accepted.";
    InvalidMultiSearchMergeFacets "invalid_multi_search_merge_facets" InvalidRequest 400 "`mergeFacets` of a multi-search has a value that is not accepted.";
    InvalidMultiSearchQueryFacets "invalid_multi_search_query_facets" InvalidRequest 400 "`facets` cannot stand in a query of a federated search.";
    InvalidMultiSearchQueryPagination "invalid_multi_search_query_pagination" InvalidRequest 400 "`pagination` cannot stand in a query of a federated search.";
    InvalidMultiSearchQueryPersonalization "invalid_multi_search_query_personalization" InvalidRequest 400 "`personalization` cannot stand in a query of a federated search.";
    InvalidMultiSearchQueryPosition "invalid_multi_search_query_position" InvalidRequest 400 "`position` cannot stand in a query of a federated search.";
    InvalidMultiSearchQueryRankingRules "invalid_multi_search_query_ranking_rules" InvalidRequest 400 "`rankingRules` cannot stand in a query of a federated search.";
    InvalidMultiSearchQueryShowPerformanceDetails "invalid_multi_search_query_show_performance_details" InvalidRequest 400 "`showPerformanceDetails` cannot stand in a query of a federated search.";
    InvalidMultiSearchRemote "invalid_multi_search_remote" InvalidRequest 400 "`remote` of a multi-search has a value that is not accepted.";
    InvalidMultiSearchWeight "invalid_multi_search_weight" InvalidRequest 400 "`weight` of a multi-search has a value that is not accepted.";
    InvalidNetworkLeader "invalid_network_leader" InvalidRequest 400 "`leader` of a network has a value that is not accepted.";
    InvalidNetworkRemotes "invalid_network_remotes" InvalidRequest 400 "`remotes` of a network has a value that is not accepted.";
    InvalidNetworkSearchApiKey "invalid_network_search_api_key" InvalidRequest 400 "`searchApiKey` of a network has a value that is not accepted.";
    InvalidNetworkSelf "invalid_network_self" InvalidRequest 400 "`self` of a network has a value that is not accepted.";
    InvalidNetworkShards "invalid_network_shards" InvalidRequest 400 "`shards` of a network has a value that is not accepted.";
    InvalidNetworkUrl "invalid_network_url" InvalidRequest 400 "`url` of a network has a value that is not accepted.";
    InvalidNetworkWriteApiKey "invalid_network_write_api_key" InvalidRequest 400 "`writeApiKey` of a network has a value that is not accepted.";
    InvalidRenderInput "invalid_render_input" InvalidRequest 400 "`input` of a rendering has a value that is not accepted.";
    InvalidRenderTemplate "invalid_render_template" InvalidRequest 400 "`template` of a rendering has a value that is not accepted.";
    InvalidS3SnapshotParameters "invalid_s_3_snapshot_parameters" Internal 400 "The parameters of snapshots to S3 are not valid.";
    InvalidS3SnapshotRequest "invalid_s_3_snapshot_request" Internal 400 "The request for a snapshot to S3 is refused there.";
    InvalidSearchAttributesToCrop "invalid_search_attributes_to_crop" InvalidRequest 400 "`attributesToCrop` of a search has a value that is not accepted.";
    InvalidSearchAttributesToHighlight "invalid_search_attributes_to_highlight" InvalidRequest 400 "`attributesToHighlight` of a search has a value that is not accepted.";
    InvalidSearchAttributesToRetrieve "invalid_search_attributes_to_retrieve" InvalidRequest 400 "`attributesToRetrieve` of a search has a value that is not accepted.";
    InvalidSearchAttributesToSearchOn "invalid_search_attributes_to_search_on" InvalidRequest 400 "`attributesToSearchOn` of a search has a value that is not accepted.";
    InvalidSearchCropLength "invalid_search_crop_length" InvalidRequest 400 "`cropLength` of a search has a value that is not accepted.";
    InvalidSearchCropMarker "invalid_search_crop_marker" InvalidRequest 400 "`cropMarker` of a search has a value that is not accepted.";
    InvalidSearchDistinct "invalid_search_distinct" InvalidRequest 400 "`distinct` of a search has a value that is not accepted.";
    InvalidSearchEmbedder "invalid_search_embedder" InvalidRequest 400 "`hybrid.embedder` does not name an embedder of the index.";
    InvalidSearchFacets "invalid_search_facets" InvalidRequest 400 "`facets` has a value that is not accepted, or names an attribute that is not filterable.";
    InvalidSearchFilter "invalid_search_filter" InvalidRequest 400 "`filter` cannot be read, or uses an attribute that is not filterable.";
    InvalidSearchHighlightPostTag "invalid_search_highlight_post_tag" InvalidRequest 400 "`highlightPostTag` of a search has a value that is not accepted.";
    InvalidSearchHighlightPreTag "invalid_search_highlight_pre_tag" InvalidRequest 400 "`highlightPreTag` of a search has a value that is not accepted.";
    InvalidSearchHitsPerPage "invalid_search_hits_per_page" InvalidRequest 400 "`hitsPerPage` of a search has a value that is not accepted.";
    InvalidSearchHybridQuery "invalid_search_hybrid_query" InvalidRequest 400 "`hybrid` has a value that is not accepted.";
    InvalidSearchLimit "invalid_search_limit" InvalidRequest 400 "`limit` of a search has a value that is not accepted.";
    InvalidSearchLocales "invalid_search_locales" InvalidRequest 400 "`locales` of a search has a value that is not accepted.";
    InvalidSearchMatchingStrategy "invalid_search_matching_strategy" InvalidRequest 400 "`matchingStrategy` of a search has a value that is not accepted.";
    InvalidSearchMedia "invalid_search_media" InvalidRequest 400 "`media` of a search has a value that is not accepted.";
    InvalidSearchMediaAndVector "invalid_search_media_and_vector" InvalidRequest 400 "A search has both `media` and `vector`.";
    InvalidSearchOffset "invalid_search_offset" InvalidRequest 400 "`offset` of a search has a value that is not accepted.";
    InvalidSearchPage "invalid_search_page" InvalidRequest 400 "`page` of a search has a value that is not accepted.";
    InvalidSearchPersonalize "invalid_search_personalize" InvalidRequest 400 "`personalize` of a search has a value that is not accepted.";
    InvalidSearchPersonalizeUserContext "invalid_search_personalize_user_context" InvalidRequest 400 "`personalize.userContext` has a value that is not accepted.";
    InvalidSearchQ "invalid_search_q" InvalidRequest 400 "`q` of a search has a value that is not accepted.";
    InvalidSearchRankingScoreThreshold "invalid_search_ranking_score_threshold" InvalidRequest 400 "`rankingScoreThreshold` of a search has a value that is not accepted.";
    InvalidSearchRetrieveVectors "invalid_search_retrieve_vectors" InvalidRequest 400 "`retrieveVectors` of a search has a value that is not accepted.";
    InvalidSearchSemanticRatio "invalid_search_semantic_ratio" InvalidRequest 400 "`hybrid.semanticRatio` is not a number from 0 to 1.";
    InvalidSearchShowMatchesPosition "invalid_search_show_matches_position" InvalidRequest 400 "`showMatchesPosition` of a search has a value that is not accepted.";
    InvalidSearchShowPerformanceDetails "invalid_search_show_performance_details" InvalidRequest 400 "`showPerformanceDetails` of a search has a value that is not accepted.";
    InvalidSearchShowRankingScore "invalid_search_show_ranking_score" InvalidRequest 400 "`showRankingScore` of a search has a value that is not accepted.";
    InvalidSearchShowRankingScoreDetails "invalid_search_show_ranking_score_details" InvalidRequest 400 "`showRankingScoreDetails` of a search has a value that is not accepted.";
    InvalidSearchSort "invalid_search_sort" InvalidRequest 400 "`sort` cannot be read, or uses an attribute that is not sortable.";
    InvalidSearchUseNetwork "invalid_search_use_network" InvalidRequest 400 "`useNetwork` of a search has a value that is not accepted.";
    InvalidSearchVector "invalid_search_vector" InvalidRequest 400 "`vector` of a search has a value that is not accepted.";
    InvalidSettingsDictionary "invalid_settings_dictionary" InvalidRequest 400 "The setting `dictionary` has a value that is not accepted.";
    InvalidSettingsDisplayedAttributes "invalid_settings_displayed_attributes" InvalidRequest 400 "The setting `displayedAttributes` has a value that is not accepted.";
    InvalidSettingsDistinctAttribute "invalid_settings_distinct_attribute" InvalidRequest 400 "The setting `distinctAttribute` has a value that is not accepted.";
    InvalidSettingsEmbedders "invalid_settings_embedders" InvalidRequest 400 "The setting `embedders` has a value that is not accepted.";
    InvalidSettingsFacetSearch "invalid_settings_facet_search" InvalidRequest 400 "The setting `facetSearch` has a value that is not accepted.";
    InvalidSettingsFaceting "invalid_settings_faceting" InvalidRequest 400 "The setting `faceting` has a value that is not accepted.";
    InvalidSettingsFilterableAttributes "invalid_settings_filterable_attributes" InvalidRequest 400 "The setting `filterableAttributes` has a value that is not accepted.";
    InvalidSettingsForeignKeys "invalid_settings_foreign_keys" InvalidRequest 400 "The setting `foreignKeys` has a value that is not accepted.";
    InvalidSettingsIndexChat "invalid_settings_index_chat" InvalidRequest 400 "The setting `chat` has a value that is not accepted.";
    InvalidSettingsLocalizedAttributes "invalid_settings_localized_attributes" InvalidRequest 400 "The setting `localizedAttributes` has a value that is not accepted.";
    InvalidSettingsNonSeparatorTokens "invalid_settings_non_separator_tokens" InvalidRequest 400 "The setting `nonSeparatorTokens` has a value that is not accepted.";
    InvalidSettingsPagination "invalid_settings_pagination" InvalidRequest 400 "The setting `pagination` has a value that is not accepted.";
    InvalidSettingsPrefixSearch "invalid_settings_prefix_search" InvalidRequest 400 "The setting `prefixSearch` has a value that is not accepted.";
    InvalidSettingsProximityPrecision "invalid_settings_proximity_precision" InvalidRequest 400 "The setting `proximityPrecision` has a value that is not accepted.";
    InvalidSettingsRankingRules "invalid_settings_ranking_rules" InvalidRequest 400 "The setting `rankingRules` has a value that is not accepted.";
    InvalidSettingsSearchCutoffMs "invalid_settings_search_cutoff_ms" InvalidRequest 400 "The setting `searchCutoffMs` has a value that is not accepted.";
    InvalidSettingsSearchableAttributes "invalid_settings_searchable_attributes" InvalidRequest 400 "The setting `searchableAttributes` has a value that is not accepted.";
    InvalidSettingsSeparatorTokens "invalid_settings_separator_tokens" InvalidRequest 400 "The setting `separatorTokens` has a value that is not accepted.";
    InvalidSettingsSortableAttributes "invalid_settings_sortable_attributes" InvalidRequest 400 "The setting `sortableAttributes` has a value that is not accepted.";
    InvalidSettingsStopWords "invalid_settings_stop_words" InvalidRequest 400 "The setting `stopWords` has a value that is not accepted.";
    InvalidSettingsSynonyms "invalid_settings_synonyms" InvalidRequest 400 "The setting `synonyms` has a value that is not accepted.";
    InvalidSettingsTypoTolerance "invalid_settings_typo_tolerance" InvalidRequest 400 "The setting `typoTolerance` has a value that is not accepted.";
    InvalidSimilarAttributesToRetrieve "invalid_similar_attributes_to_retrieve" InvalidRequest 400 "`attributesToRetrieve` of a search for similar documents has a value that is not accepted.";
    InvalidSimilarEmbedder "invalid_similar_embedder" InvalidRequest 400 "`embedder` does not name an embedder of the index.";
    InvalidSimilarFilter "invalid_similar_filter" InvalidRequest 400 "`filter` cannot be read, or uses an attribute that is not filterable.";
    InvalidSimilarId "invalid_similar_id" InvalidRequest 400 "`id` of a search for similar documents has a value that is not accepted.";
    InvalidSimilarLimit "invalid_similar_limit" InvalidRequest 400 "`limit` of a search for similar documents has a value that is not accepted.";
    InvalidSimilarOffset "invalid_similar_offset" InvalidRequest 400 "`offset` of a search for similar documents has a value that is not accepted.";
    InvalidSimilarRankingScoreThreshold "invalid_similar_ranking_score_threshold" InvalidRequest 400 "`rankingScoreThreshold` of a search for similar documents has a value that is not accepted.";
    InvalidSimilarRetrieveVectors "invalid_similar_retrieve_vectors" InvalidRequest 400 "`retrieveVectors` of a search for similar documents has a value that is not accepted.";
    InvalidSimilarShowPerformanceDetails "invalid_similar_show_performance_details" InvalidRequest 400 "`showPerformanceDetails` of a search for similar documents has a value that is not accepted.";
    InvalidSimilarShowRankingScore "invalid_similar_show_ranking_score" InvalidRequest 400 "`showRankingScore` of a search for similar documents has a value that is not accepted.";
    InvalidSimilarShowRankingScoreDetails "invalid_similar_show_ranking_score_details" InvalidRequest 400 "`showRankingScoreDetails` of a search for similar documents has a value that is not accepted.";
    InvalidSkipCreation "invalid_skip_creation" InvalidRequest 400 "`skipCreation` is neither `true` nor `false`.";
    InvalidState "invalid_state" Internal 500 "The database is in a state that it should never be in.";
    InvalidStatsShowInternalDatabaseSizes "invalid_stats_show_internal_database_sizes" InvalidRequest 400 "`showInternalDatabaseSizes` of a request for statistics has a value that is not accepted.";
    InvalidStatsSizeFormat "invalid_stats_size_format" InvalidRequest 400 "`sizeFormat` of a request for statistics has a value that is not accepted.";
    InvalidStoreFile "invalid_store_file" Internal 500 "A file of the database cannot be read.";
    InvalidSwapDuplicateIndexFound "invalid_swap_duplicate_index_found" InvalidRequest 400 "An index stands in more than one swap of the request.";
    InvalidSwapIndexes "invalid_swap_indexes" InvalidRequest 400 "`indexes` of a swap does not name two indexes.";
    InvalidSwapRename "invalid_swap_rename" InvalidRequest 400 "`rename` of a swap is neither `true` nor `false`.";
    InvalidTaskAfterEnqueuedAt "invalid_task_after_enqueued_at" InvalidRequest 400 "`afterEnqueuedAt` of a task filter has a value that is not accepted.";
    InvalidTaskAfterFinishedAt "invalid_task_after_finished_at" InvalidRequest 400 "`afterFinishedAt` of a task filter has a value that is not accepted.";
    InvalidTaskAfterStartedAt "invalid_task_after_started_at" InvalidRequest 400 "`afterStartedAt` of a task filter has a value that is not accepted.";
    InvalidTaskBeforeEnqueuedAt "invalid_task_before_enqueued_at" InvalidRequest 400 "`beforeEnqueuedAt` of a task filter has a value that is not accepted.";
    InvalidTaskBeforeFinishedAt "invalid_task_before_finished_at" InvalidRequest 400 "`beforeFinishedAt` of a task filter has a value that is not accepted.";
    InvalidTaskBeforeStartedAt "invalid_task_before_started_at" InvalidRequest 400 "`beforeStartedAt` of a task filter has a value that is not accepted.";
    InvalidTaskCanceledBy "invalid_task_canceled_by" InvalidRequest 400 "`canceledBy` of a task filter has a value that is not accepted.";
    InvalidTaskFrom "invalid_task_from" InvalidRequest 400 "`from` of a task filter has a value that is not accepted.";
    InvalidTaskLimit "invalid_task_limit" InvalidRequest 400 "`limit` of a task filter has a value that is not accepted.";
    InvalidTaskReverse "invalid_task_reverse" InvalidRequest 400 "`reverse` of a task filter has a value that is not accepted.";
    InvalidTaskStatuses "invalid_task_statuses" InvalidRequest 400 "`statuses` of a task filter has a value that is not accepted.";
    InvalidTaskTypes "invalid_task_types" InvalidRequest 400 "`types` of a task filter has a value that is not accepted.";
    InvalidTaskUids "invalid_task_uids" InvalidRequest 400 "`uids` of a task filter has a value that is not accepted.";
    InvalidVectorDimensions "invalid_vector_dimensions" InvalidRequest 400 "A vector does not have the number of dimensions of its embedder.";
    InvalidVectorsType "invalid_vectors_type" InvalidRequest 400 "`_vectors` of a document is not an object of vectors.";
    InvalidWebhookHeaders "invalid_webhook_headers" InvalidRequest 400 "`headers` of a webhook has a value that is not accepted.";
    InvalidWebhookUrl "invalid_webhook_url" InvalidRequest 400 "`url` of a webhook has a value that is not accepted.";
    InvalidWebhookUuid "invalid_webhook_uuid" InvalidRequest 400 "`uuid` of a webhook has a value that is not accepted.";
    InvalidWebhooks "invalid_webhooks" InvalidRequest 400 "The webhooks in the request cannot be read.";
    IoError "io_error" System 422 "The disk cannot be read or written.";
    MalformedPayload "malformed_payload" InvalidRequest 400 "The body of the request is not in the format that its `Content-Type` says.";
    MaxFieldsLimitExceeded "max_fields_limit_exceeded" InvalidRequest 400 "A document has more fields than an index can have.";
    MissingApiKeyActions "missing_api_key_actions" InvalidRequest 400 "`actions` of an API key is missing.";
    MissingApiKeyExpiresAt "missing_api_key_expires_at" InvalidRequest 400 "`expiresAt` of an API key is missing.";
    MissingApiKeyIndexes "missing_api_key_indexes" InvalidRequest 400 "`indexes` of an API key is missing.";
    MissingAuthorizationHeader "missing_authorization_header" Auth 401 "The request has no `Authorization: Bearer` and needs it.";
    MissingContentType "missing_content_type" InvalidRequest 415 "The request has a body and no `Content-Type`.";
    MissingDocumentEditionFunction "missing_document_edition_function" InvalidRequest 400 "`function` is missing.";
    MissingDocumentFilter "missing_document_filter" InvalidRequest 400 "`filter` is missing.";
    MissingDocumentId "missing_document_id" InvalidRequest 400 "A document lacks the primary key of its index.";
    MissingFacetSearchFacetName "missing_facet_search_facet_name" InvalidRequest 400 "`facetName` is missing.";
    MissingIndexUid "missing_index_uid" InvalidRequest 400 "`uid` or `indexUid` is missing.";
    MissingMasterKey "missing_master_key" Auth 401 "The route needs a master key, and the server has been started without one.";
    MissingNetworkUrl "missing_network_url" InvalidRequest 400 "`url` of a remote is missing.";
    MissingPayload "missing_payload" InvalidRequest 400 "The body of the request is empty.";
    MissingSearchHybrid "missing_search_hybrid" InvalidRequest 400 "A search by vector lacks `hybrid`.";
    MissingSwapIndexes "missing_swap_indexes" InvalidRequest 400 "`indexes` of a swap is missing.";
    MissingTaskFilters "missing_task_filters" InvalidRequest 400 "Canceling and deleting tasks needs a filter.";
    NetworkVersionMismatch "network_version_mismatch" InvalidRequest 412 "The remotes of a network have different versions of it.";
    NetworkVersionTooOld "network_version_too_old" InvalidRequest 400 "A newer version of the network is known.";
    NoSpaceLeftOnDevice "no_space_left_on_device" System 422 "The disk is full.";
    NotFoundSimilarId "not_found_similar_id" InvalidRequest 400 "The index has no document with the `id` to which similar ones are sought.";
    NotLeader "not_leader" InvalidRequest 400 "Only the leader of the network takes this.";
    PayloadTooLarge "payload_too_large" InvalidRequest 413 "The body of the request is larger than the server takes.";
    ReceiveImportFinishedUnknownRemote "receive_import_finished_unknown_remote" InvalidRequest 412 "A remote that is not in the network says that its rebalancing is over.";
    RemoteBadRequest "remote_bad_request" InvalidRequest 400 "A remote refused the request that was sent to it.";
    RemoteBadResponse "remote_bad_response" System 502 "A remote answered with something that cannot be read.";
    RemoteCouldNotSendRequest "remote_could_not_send_request" System 502 "A remote cannot be reached.";
    RemoteInvalidApiKey "remote_invalid_api_key" Auth 403 "A remote refused the key.";
    RemoteRemoteError "remote_remote_error" System 502 "A remote could not answer because of an error of its own.";
    RemoteTimeout "remote_timeout" System 502 "A remote did not answer in time.";
    RenderDocumentNotFound "render_document_not_found" InvalidRequest 404 "The document to render is not there.";
    RequiresEnterpriseEdition "requires_enterprise_edition" InvalidRequest 451 "The feature is not in the Community Edition.";
    S3SnapshotServerError "s_3_snapshot_server_error" Internal 502 "S3 could not take the snapshot.";
    TaskFileNotFound "task_file_not_found" InvalidRequest 404 "The documents of this task are not there any more.";
    TaskNotFound "task_not_found" InvalidRequest 404 "There is no task with this uid.";
    TemplateParsingError "template_parsing_error" InvalidRequest 400 "A template cannot be read.";
    TemplateRenderingError "template_rendering_error" InvalidRequest 400 "A template cannot be rendered.";
    TooManyOpenFiles "too_many_open_files" System 422 "The server may not open more files.";
    TooManySearchRequests "too_many_search_requests" System 503 "Too many searches wait already; come back after `Retry-After`.";
    TooManyVectors "too_many_vectors" InvalidRequest 400 "A document has more vectors for one embedder than can be kept.";
    UnexpectedNetworkPreviousRemotes "unexpected_network_previous_remotes" InvalidRequest 400 "`previousRemotes` is set where it cannot be.";
    UnimplementedExternalFunctionCalling "unimplemented_external_function_calling" InvalidRequest 501 "Chat completions call no functions but their own.";
    UnimplementedMultiChoiceChatCompletions "unimplemented_multi_choice_chat_completions" InvalidRequest 501 "Chat completions have one choice only.";
    UnimplementedNonStreamingChatCompletions "unimplemented_non_streaming_chat_completions" InvalidRequest 501 "Chat completions are streamed only.";
    UnknownRemote "unknown_remote" InvalidRequest 400 "The request names a remote that is not in the network.";
    UnprocessedNetworkTask "unprocessed_network_task" InvalidRequest 400 "An earlier change of the network is not finished.";
    UnretrievableDocument "unretrievable_document" Internal 400 "A document cannot be read from the database.";
    UnretrievableErrorCode "unretrievable_error_code" InvalidRequest 400 "The code of an error cannot be read.";
    UnsupportedMediaType "unsupported_media_type" InvalidRequest 415 "The server does not take this type of body.";
    VectorEmbeddingError "vector_embedding_error" InvalidRequest 400 "An embedder could not make a vector.";
    WebhookNotFound "webhook_not_found" InvalidRequest 404 "There is no webhook with this uuid.";

    // HTTP's, for which Meilisearch has no code.
    MethodNotAllowed "method_not_allowed" InvalidRequest 405 "The route has no such method.";
    NotFound "not_found" InvalidRequest 404 "There is no such route.";
    RequestTimeout "request_timeout" InvalidRequest 408 "The body of the request did not arrive in time.";

    // Miroir's own.
    MiroirAliasConflict "miroir_alias_conflict" InvalidRequest 409 "An alias and an index would have the same name, or an alias still stands for the index.";
    MiroirAliasManaged "miroir_alias_managed" InvalidRequest 409 "The alias is made and changed by rollover policies alone: it is for several indexes, or belongs to one.";
    MiroirAliasNotFound "miroir_alias_not_found" InvalidRequest 404 "There is no alias with this name.";
    MiroirCsrfTokenInvalid "miroir_csrf_token_invalid" Auth 403 "The session's cookie changes something only together with `X-CSRF-Token`, as the login gave it.";
    MiroirIdempotencyKeyReused "miroir_idempotency_key_reused" InvalidRequest 409 "The `Idempotency-Key` stands for another write already.";
    MiroirIndexFrozen "miroir_index_frozen" System 503 "The nodes' settings of the index differ and cannot be made equal; writes are refused until they are.";
    MiroirInvalidAlias "miroir_invalid_alias" InvalidRequest 400 "The change of aliases cannot be read, or comes to an alias that cannot be.";
    MiroirInvalidAuth "miroir_invalid_auth" Auth 401 "A route under `/_miroir` needs the admin key, as bearer or in `X-Admin-Key`, or what its message names.";
    MiroirInvalidExpiry "miroir_invalid_expiry" InvalidRequest 400 "A document's `_miroir_expires_at` is neither an integer, in milliseconds since 1970, nor null.";
    MiroirInvalidIdempotencyKey "miroir_invalid_idempotency_key" InvalidRequest 400 "The `Idempotency-Key` cannot be one.";
    MiroirInvalidRolloverPolicy "miroir_invalid_rollover_policy" InvalidRequest 400 "The rollover policy cannot be; the message names the field.";
    MiroirInvalidTtlPolicy "miroir_invalid_ttl_policy" InvalidRequest 400 "The policy of an index whose documents expire cannot be read.";
    MiroirJwtInvalid "miroir_jwt_invalid" Auth 401 "The token of the search UI is forged, expired, not valid yet, or cannot be read.";
    MiroirJwtScopeDenied "miroir_jwt_scope_denied" Auth 403 "The token of the search UI opens searches of its index and nothing else.";
    MiroirMultiAliasNotWritable "miroir_multi_alias_not_writable" InvalidRequest 409 "The alias stands for several indexes, which can be read by it and not written.";
    MiroirNoLeader "miroir_no_leader" System 503 "Of several Miroirs on one store none leads at the moment, or the one that does cannot be reached; try again.";
    MiroirNoQuorum "miroir_no_quorum" System 503 "Too few replicas can take the write; try again.";
    MiroirNotSupported "miroir_not_supported" InvalidRequest 501 "Miroir does not serve this route or this option.";
    MiroirPrimaryKeyRequired "miroir_primary_key_required" InvalidRequest 400 "Documents cannot be dealt out to shards without their primary key.";
    MiroirReloadRefused "miroir_reload_refused" InvalidRequest 409 "The configuration file was not applied; the message says why.";
    MiroirReservedField "miroir_reserved_field" InvalidRequest 400 "A name that begins with `_miroir_` is Miroir's own.";
    MiroirRolloverPolicyNotFound "miroir_rollover_policy_not_found" InvalidRequest 404 "There is no rollover policy with this name.";
    MiroirSettingsDiverged "miroir_settings_diverged" System 503 "A change of settings could not be brought to all nodes.";
    MiroirSettingsVersionStale "miroir_settings_version_stale" System 503 "Too few nodes are known to have the settings version that `X-Miroir-Min-Settings-Version` asks for.";
    MiroirShardUnavailable "miroir_shard_unavailable" System 503 "No replica of some shard can be reached; try again.";
    MiroirStoreUnavailable "miroir_store_unavailable" System 503 "Miroir cannot reach its own records; try again.";
    MiroirTimeout "miroir_timeout" System 504 "The request could not be answered in time.";
    MiroirTooBusy "miroir_too_busy" System 503 "Too many requests are under way; come back after `Retry-After`.";
    MiroirTooManyRequests "miroir_too_many_requests" InvalidRequest 429 "The address has asked too often; come back after `Retry-After`.";
    MiroirTooManyQueries "miroir_too_many_queries" InvalidRequest 400 "A `/multi-search` has more queries than `multi_search.max_queries` allows.";
}

impl Code {
    /// Whether Meilisearch does not know it.
    pub fn is_miroirs(self) -> bool {
        self.name().starts_with("miroir_")
    }

    /// Where it is documented: Meilisearch's pages, or Miroir's own, as a path from the root of the source.
    pub fn link(self) -> String {
        let page = if self.is_miroirs() { "docs/errors.md" } else { "https://docs.meilisearch.com/errors" };
        format!("{page}#{}", self.name())
    }
}
