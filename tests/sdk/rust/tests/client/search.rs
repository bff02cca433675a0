use std::collections::{HashMap, HashSet};

use meilisearch_sdk::errors::ErrorCode;
use meilisearch_sdk::indexes::Index;
use meilisearch_sdk::search::{FederationOptions, MatchingStrategies, Selectors};
use meilisearch_sdk::settings::{Embedder, EmbedderSource, Settings};
use meilisearch_sdk::similar::SimilarQuery;
use miroir_sdk_tests::*;
use serde_json::{json, Value};

async fn searchable() -> Index {
    let settings = Settings::new()
        .with_filterable_attributes(["genres", "year", "director", "rating", "_geo"])
        .with_sortable_attributes(["year", "title", "rating", "_geo"]);
    film_index(&client(), settings).await
}

fn ids_by_year() -> Vec<u32> {
    let mut films = films();
    films.sort_by(|a, b| (a.year, &a.title).cmp(&(b.year, &b.title)));
    films.iter().map(|film| film.id).collect()
}

#[tokio::test]
async fn hits_are_ranked_paged_and_counted() {
    let index = searchable().await;
    let answer = index.search().with_query("blade runner").execute::<Film>().await.unwrap();
    let titles: Vec<&str> = answer.hits.iter().take(2).map(|hit| hit.result.title.as_str()).collect();
    assert_eq!(titles, ["Blade Runner", "Blade Runner 2049"]);
    assert_eq!((answer.offset, answer.limit, answer.query.as_str()), (Some(0), Some(20), "blade runner"));
    let sort = ["year:asc", "title:asc"];
    let part = index.search().with_sort(&sort).with_offset(10).with_limit(5).execute::<Film>().await.unwrap();
    assert_eq!(part.hits.iter().map(|hit| hit.result.id).collect::<Vec<_>>(), ids_by_year()[10..15]);
    assert_eq!(part.estimated_total_hits, Some(films().len()));
    let page = index.search().with_sort(&sort).with_page(3).with_hits_per_page(6).execute::<Film>().await.unwrap();
    assert_eq!(page.hits.iter().map(|hit| hit.result.id).collect::<Vec<_>>(), ids_by_year()[12..18]);
    assert_eq!((page.page, page.total_pages, page.total_hits), (Some(3), Some(6), Some(films().len())));
}

#[tokio::test]
async fn filters_strategies_distinct_and_thresholds() {
    let index = searchable().await;
    let recent = index.search().with_filter("year >= 2000").with_limit(100).execute::<Film>().await.unwrap();
    assert_eq!(sorted_ids(&recent.hits), ids_where(|film| film.year >= 2000));
    let both = index.search().with_array_filter(vec!["year > 1990", "genres = War"]).execute::<Film>().await.unwrap();
    assert_eq!(sorted_ids(&both.hits), ids_where(|film| film.year > 1990 && film.genres.contains(&"War".to_owned())));
    let near = index.search().with_filter("_geoRadius(34.05, -118.24, 20000)").execute::<Film>().await.unwrap();
    assert_eq!(sorted_ids(&near.hits), [1, 6, 7, 31]);
    let distinct = index.search().with_distinct("director").with_limit(100).execute::<Film>().await.unwrap();
    assert_eq!(distinct.hits.len(), films().iter().map(|film| &film.director).collect::<HashSet<_>>().len());
    for (strategy, finds) in
        [(MatchingStrategies::ALL, false), (MatchingStrategies::LAST, true), (MatchingStrategies::FREQUENCY, true)]
    {
        let mut search = index.search();
        let answer = search.with_query("blade unfindable").with_matching_strategy(strategy).execute::<Film>();
        assert_eq!(!answer.await.unwrap().hits.is_empty(), finds);
    }
    let on_titles =
        index.search().with_query("ridley").with_attributes_to_search_on(&["title"]).execute::<Film>().await;
    assert!(on_titles.unwrap().hits.is_empty());
    let mut good = index.search();
    good.with_query("blade runner").with_ranking_score_threshold(0.99).with_show_ranking_score(true);
    let good = good.execute::<Film>().await.unwrap();
    assert!(!good.hits.is_empty() && good.hits.iter().all(|hit| hit.ranking_score.unwrap() >= 0.99));
    let french = index.search().with_query("amelie").with_locales(&["fra"]).execute::<Film>().await.unwrap();
    assert_eq!(french.hits[0].result.title, "Amélie");
}

#[tokio::test]
async fn hits_show_what_is_asked_for() {
    let index = searchable().await;
    let mut search = index.search();
    search
        .with_query("alien")
        .with_attributes_to_retrieve(Selectors::Some(&["title"]))
        .with_attributes_to_highlight(Selectors::Some(&["title"]))
        .with_highlight_pre_tag("<b>")
        .with_highlight_post_tag("</b>")
        .with_attributes_to_crop(Selectors::Some(&[("director", None)]))
        .with_crop_length(1)
        .with_crop_marker("+")
        .with_show_matches_position(true)
        .with_show_ranking_score(true)
        .with_show_ranking_score_details(true);
    let answer = search.execute::<Value>().await.unwrap();
    let hit = &answer.hits[0];
    assert_eq!(hit.result, json!({ "title": "Alien" }));
    let formatted = hit.formatted_result.as_ref().unwrap();
    assert_eq!((&formatted["title"], &formatted["director"]), (&json!("<b>Alien</b>"), &json!("Ridley+")));
    let range = &hit.matches_position.as_ref().unwrap()["title"][0];
    assert_eq!((range.start, range.length), (0, 5));
    assert!(hit.ranking_score.unwrap() > 0.0);
    assert!(hit.ranking_score_details.as_ref().unwrap().contains_key("words"));
}

#[tokio::test]
async fn facets_are_counted_and_searched() {
    let index = searchable().await;
    let facets = Selectors::Some(&["genres", "year"][..]);
    let answer = index.search().with_facets(facets).execute::<Film>().await.unwrap();
    let mut genres: HashMap<String, usize> = HashMap::new();
    for genre in films().into_iter().flat_map(|film| film.genres) {
        *genres.entry(genre).or_default() += 1;
    }
    assert_eq!(answer.facet_distribution.unwrap()["genres"], genres);
    let years = &answer.facet_stats.unwrap()["year"];
    assert_eq!((years.min, years.max), (1950.0, 2021.0));
    let mut search = index.facet_search("director");
    let found = search.with_facet_query("ri").with_filter("year >= 1979").execute().await.unwrap();
    assert_eq!(found.facet_hits.len(), 1);
    assert_eq!((found.facet_hits[0].value.as_str(), found.facet_hits[0].count), ("Ridley Scott", 4));
}

#[tokio::test]
async fn several_searches_in_one_request() {
    let client = client();
    let (index, books) = (searchable().await, new_index(&client).await);
    succeed(&client, books.add_documents(&[Titled::new(1, "Blade"), Titled::new(2, "Emma")], None).await).await;
    let mut many = client.multi_search();
    many.with_search_query(index.search().with_query("alien").with_limit(1).build());
    many.with_search_query(books.search().with_query("emma").build());
    let answer = many.execute::<Titled>().await.unwrap();
    let found: Vec<Vec<u32>> =
        answer.results.iter().map(|result| result.hits.iter().map(|hit| hit.result.id).collect()).collect();
    assert_eq!(found, [[2], [2]]);

    let mut federated = client.multi_search();
    federated.with_search_query_and_weight(index.search().with_query("blade").build(), 0.5);
    federated.with_search_query(books.search().with_query("blade").build());
    let federated = federated.with_federation(FederationOptions { limit: Some(2), ..Default::default() });
    let answer = federated.execute::<Titled>().await.unwrap();
    let places: Vec<(&str, usize)> = answer
        .hits
        .iter()
        .map(|hit| hit.federation.as_ref().unwrap())
        .map(|place| (place.index_uid.as_str(), place.queries_position))
        .collect();
    assert_eq!(places, [(books.uid.as_str(), 1), (index.uid.as_str(), 0)]);
}

#[tokio::test]
async fn similar_documents_and_hybrid_searches_go_by_vectors() {
    let client = client();
    let index = new_index(&client).await;
    let embedder = Embedder { source: EmbedderSource::UserProvided, dimensions: Some(2), ..Embedder::default() };
    succeed(&client, index.set_embedders(&HashMap::from([("mine".to_owned(), embedder)])).await).await;
    let vectors = [(1, [1.0, 0.0]), (2, [0.9, 0.1]), (3, [0.0, 1.0]), (4, [-1.0, 0.0])];
    let document = |(id, mine)| json!({ "id": id, "title": "", "_vectors": { "mine": mine } });
    let documents: Vec<Value> = vectors.into_iter().map(document).collect();
    succeed(&client, index.add_documents(&documents, None).await).await;
    let similar = SimilarQuery::new(&index, "1", "mine").with_limit(2).execute::<Titled>().await.unwrap();
    assert_eq!(similar.hits.iter().map(|hit| hit.result.id).collect::<Vec<_>>(), [2, 3]);
    let mut search = index.search();
    let nearest = search.with_vector(&[1.0, 0.0]).with_hybrid("mine", 1.0).with_limit(2).execute::<Titled>();
    assert_eq!(nearest.await.unwrap().hits.iter().map(|hit| hit.result.id).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn a_search_that_cannot_be_done_says_why() {
    let client = client();
    let index = searchable().await;
    let filter = index.search().with_filter("minutes > 90").execute::<Film>().await;
    assert_eq!(refusal(filter), ErrorCode::InvalidSearchFilter);
    let sort = index.search().with_sort(&["minutes:asc"]).execute::<Film>().await;
    assert_eq!(refusal(sort), ErrorCode::InvalidSearchSort);
    let facets = index.search().with_facets(Selectors::Some(&["minutes"][..])).execute::<Film>().await;
    assert_eq!(refusal(facets), ErrorCode::InvalidSearchFacets);
    let nowhere = client.index(new_name()).search().execute::<Film>().await;
    assert_eq!(refusal(nowhere), ErrorCode::IndexNotFound);
}
