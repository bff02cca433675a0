use super::*;
use crate::merge::FacetOrders;

fn merged(distributions: &[&str], stats: &[&str], facts: &IndexFacts) -> String {
    let mut facets = Facets::default();
    distributions.iter().for_each(|text| facets.add_distribution(text.as_bytes()).unwrap());
    stats.iter().for_each(|text| facets.add_stats(text.as_bytes()).unwrap());
    let mut out = Vec::new();
    facets.push_distribution(facts, &mut out);
    String::from_utf8(out).unwrap()
}

fn by_count(max_values_per_facet: usize) -> IndexFacts {
    IndexFacts {
        max_values_per_facet,
        facet_order: FacetOrders {
            default: FacetOrder::Alpha,
            by_facet: HashMap::from([("genre".to_owned(), FacetOrder::Count)]),
        },
        ..IndexFacts::default()
    }
}

#[test]
fn counts_add_up_and_the_shard_is_not_a_facet() {
    let legs = [
        r#"{"_miroir_shard":{"\ue000":3},"genre":{"Comedy":2,"drama":1},"empty":{}}"#,
        r#"{"genre":{"Action":1,"Drama":4},"_miroir_shard":{"\ue001":5},"other":{"x":1}}"#,
    ];
    assert_eq!(
        merged(&legs, &[], &IndexFacts::default()),
        r#"{"empty":{},"genre":{"Action":1,"Comedy":2,"Drama":5},"other":{"x":1}}"#
    );
}

#[test]
fn by_count_ties_fall_to_the_greater_value_and_the_cut_is_the_clients() {
    let legs = [r#"{"genre":{"c":1,"b":2,"a":1},"z":{"b":9,"a":1}}"#, r#"{"genre":{"c":1,"d":2}}"#];
    assert_eq!(merged(&legs, &[], &by_count(3)), r#"{"genre":{"d":2,"c":2,"b":2},"z":{"a":1,"b":9}}"#);
    assert_eq!(merged(&legs, &[], &by_count(1)), r#"{"genre":{"d":2},"z":{"a":1}}"#);
}

#[test]
fn numbers_come_first_in_the_order_of_their_digits_until_there_are_many_documents() {
    let few = [r#"{"year":{"10":1,"9":1,"unknown":2,"1.5":1}}"#];
    let stats = [r#"{"year":{"min":1.5,"max":10.0}}"#];
    assert_eq!(merged(&few, &stats, &IndexFacts::default()), r#"{"year":{"1.5":1,"10":1,"9":1,"unknown":2}}"#);

    let many = [r#"{"_miroir_shard":{"\ue000":2000,"\ue001":1001},"year":{"1.5":1,"9":1,"10":1,"unknown":2}}"#];
    assert_eq!(merged(&many, &stats, &IndexFacts::default()), r#"{"year":{"1.5":1,"9":1,"10":1,"unknown":2}}"#);
}

#[test]
fn digits_without_statistics_are_strings() {
    let legs = [r#"{"code":{"10":1,"9":1,"#.to_owned() + r#""1e":1}}"#];
    assert_eq!(merged(&[&legs[0]], &[], &IndexFacts::default()), r#"{"code":{"10":1,"1e":1,"9":1}}"#);
}

#[test]
fn statistics_are_the_least_and_the_greatest_as_the_nodes_wrote_them() {
    let mut facets = Facets::default();
    for stats in [r#"{"b":{"min":-3.0,"max":2.5}}"#, r#"{"a":{"min":1.0,"max":1.0},"b":{"min":-2.0,"max":1e21}}"#] {
        facets.add_stats(stats.as_bytes()).unwrap();
    }
    let mut out = Vec::new();
    facets.push_stats(&mut out);
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"a":{"min":1.0,"max":1.0},"b":{"min":-3.0,"max":1e21}}"#);
}

#[test]
fn values_are_told_apart_as_meilisearch_does() {
    assert_eq!(normalize_facet("  Science-Fiction "), "science-fiction");
    assert_eq!(normalize_facet("ﬁn"), "fin", "compatibility forms are one value");
    assert_eq!(normalize_facet("É"), "e\u{301}");
    assert_ne!(normalize_facet("é"), normalize_facet("e"), "accents tell values apart");
    let long = |end: &str| normalize_facet(&format!("{}{end}", "x".repeat(466)));
    assert_eq!(long("abc"), long("abd"), "long values are told apart by their beginning");
    assert_eq!(long("aé"), format!("{}ae", "x".repeat(466)), "no character is cut in two");
}

#[test]
fn values_of_the_distinct_attribute_count_once() {
    let mut facets = Facets::default();
    for leg in [r#"{"brand":{"a":1,"b":1},"size":{"s":2}}"#, r#"{"brand":{"A":1},"size":{"s":1}}"#] {
        facets.add_distribution(leg.as_bytes()).unwrap();
    }
    facets.count_distinct_once("brand");
    let mut out = Vec::new();
    facets.push_distribution(&IndexFacts::default(), &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"brand":{"a":1,"b":1},"size":{"s":3}}"#);
}

#[test]
fn of_several_spellings_that_of_the_nodes_with_most_documents_is_shown() {
    let shown = |legs: &[&str]| merged(legs, &[], &IndexFacts::default());
    let [team, lower, upper] = [r#"{"by":{"Team":3}}"#, r#"{"by":{"team":2}}"#, r#"{"by":{"TEAM":4}}"#];
    assert_eq!(shown(&[team, lower]), r#"{"by":{"Team":5}}"#);
    assert_eq!(shown(&[lower, team]), r#"{"by":{"Team":5}}"#);
    assert_eq!(shown(&[team, lower, lower]), r#"{"by":{"team":7}}"#);
    assert_eq!(shown(&[team, upper, lower, team, lower]), r#"{"by":{"Team":14}}"#);
}
