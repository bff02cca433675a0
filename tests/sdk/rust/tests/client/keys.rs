use meilisearch_sdk::errors::ErrorCode;
use meilisearch_sdk::key::{Action, Key, KeyBuilder, KeyUpdater, KeysQuery};
use meilisearch_sdk::search::SearchResults;
use meilisearch_sdk::settings::Settings;
use miroir_sdk_tests::*;
use serde_json::json;
use time::{Duration, OffsetDateTime};

async fn key_of(actions: &[Action], index: &str) -> Key {
    KeyBuilder::new().with_actions(actions.to_vec()).with_index(index).execute(&client()).await.expect("a key")
}

#[tokio::test]
async fn a_key_is_made_read_changed_and_deleted() {
    let client = client();
    let uid = uuid::Uuid::new_v4().to_string();
    let mut builder = KeyBuilder::new();
    builder.with_uid(&uid).with_name("search").with_description("For the site.").with_action(Action::Search);
    let later = OffsetDateTime::now_utc() + Duration::hours(1);
    let key = builder.with_indexes(["films*"]).with_expires_at(later).execute(&client).await.unwrap();
    assert_eq!(
        (key.uid.as_str(), key.name.as_deref(), &key.indexes[..]),
        (&*uid, Some("search"), &["films*".to_owned()][..])
    );
    assert_eq!(client.get_key(&key).await.unwrap().uid, uid);
    let changed = KeyUpdater::new(&key).with_name("site").with_description("For both sites.").execute(&client).await.unwrap();
    assert_eq!((changed.name.as_deref(), changed.description.as_deref()), (Some("site"), Some("For both sites.")));
    let listed = KeysQuery::new().with_limit(1000).execute(&client).await.unwrap();
    assert!(listed.results.iter().any(|listed| listed.uid == uid));
    key.delete(&client).await.unwrap();
    assert_eq!(refusal(client.get_key(&uid).await), ErrorCode::ApiKeyNotFound);
}

#[tokio::test]
async fn a_key_does_what_it_was_made_for_and_nothing_else() {
    let client = client();
    let (index, books) = (film_index(&client, Settings::new()).await, new_index(&client).await);
    let limited = client_with(Some(&key_of(&[Action::Search], &index.uid).await.key));
    let found = limited.index(&index.uid).search().with_query("alien").execute::<Film>().await.unwrap();
    assert_eq!(found.hits[0].result.id, 2);
    assert_eq!(refusal(limited.index(&books.uid).search().execute::<Film>().await), ErrorCode::InvalidApiKey);
    assert_eq!(refusal(limited.index(&index.uid).get_settings().await), ErrorCode::InvalidApiKey);
    assert_eq!(refusal(limited.get_keys().await), ErrorCode::InvalidApiKey);
    assert_eq!(refusal(client_with(Some("wrong")).get_keys().await), ErrorCode::InvalidApiKey);
    assert_eq!(refusal(client_with(None).get_keys().await), ErrorCode::MissingAuthorizationHeader);
}

#[tokio::test]
async fn a_tenant_token_sees_its_part_of_an_index() {
    let client = client();
    let index = film_index(&client, Settings::new().with_filterable_attributes(["director", "year"])).await;
    let key = key_of(&[Action::Search], &index.uid).await;
    let rules = json!({ index.uid.clone(): { "filter": "director = 'Ridley Scott'" } });
    let soon = OffsetDateTime::now_utc() + Duration::hours(1);
    let token = client.generate_tenant_token(key.uid.clone(), rules, Some(&key.key), Some(soon)).unwrap();
    let tenant = client_with(Some(&token));
    let own: SearchResults<Film> = tenant.index(&index.uid).search().execute().await.unwrap();
    assert_eq!(sorted_ids(&own.hits), ids_where(|film| film.director == "Ridley Scott"));
    let many = tenant.index(&index.uid);
    let mut searches = tenant.multi_search();
    searches.with_search_query(many.search().with_filter("year > 1985").build());
    let answer = searches.execute::<Film>().await.unwrap();
    assert_eq!(sorted_ids(&answer.results[0].hits), [3, 4]);
    assert_eq!(refusal(tenant.index(&index.uid).get_settings().await), ErrorCode::InvalidApiKey);
    client.delete_key(&key).await.unwrap();
    assert_eq!(refusal(tenant.index(&index.uid).search().execute::<Film>().await), ErrorCode::InvalidApiKey);
}
