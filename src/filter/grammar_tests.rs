//! What the grammar reads, and what it refuses: facts from the tests of Meilisearch's parser, and from its source where those
//! are silent.

use super::*;

fn read(text: &str) -> Filter {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).unwrap_or_else(|| panic!("{text} filters"))
}

fn shown(text: &str) -> String {
    read(text).to_string()
}

fn condition(name: &str, condition: Condition) -> Filter {
    Filter::Condition { attribute: Attribute { name: name.to_owned(), span: 0..0 }, condition }
}

fn equal(name: &str, value: &str) -> Filter {
    condition(name, Condition::Equal(value.to_owned()))
}

#[test]
fn values_are_words_or_quoted() {
    for (text, value) in [
        ("x = channel", "channel"),
        ("x =    channel   ", "channel"),
        ("x = .private", ".private"),
        ("x = I-love-kebab", "I-love-kebab"),
        ("x = été", "été"),
        ("x='channel'", "channel"),
        ("x = \"channel\"", "channel"),
        ("x = 'cha)nnel'", "cha)nnel"),
        ("x = 'cha\"nnel'", "cha\"nnel"),
        ("x = \"cha'nnel\"", "cha'nnel"),
        ("x = \" some spaces \"", " some spaces "),
        ("x = ''", ""),
        ("x = 'AND'", "AND"),
        ("x = \u{a0}y", "y"),
        (r#"x = "\\""#, r"\"),
        (r#"x = "\\\\\\""#, r"\\\"),
        (r#"x = "aa\\aa""#, r"aa\aa"),
        (r#"x = "Hello \"world\"""#, r#"Hello "world""#),
        (r#"x = "Hello \\\"world\\\"""#, r#"Hello \"world\""#),
        (r#"x = "\"\"""#, r#""""#),
        (r"x = 'Hello \'world\''", "Hello 'world'"),
        (r"x = 'Hello \\\'world\\\''", r"Hello \'world\'"),
        (r"x = 'foo\\\\'", r"foo\\"),
        (r#"x = 'foo\x20\n\t\"\'"'"#, "foo \n\t\"'\""),
        (r"x = '\u{e9}\u00e9\351'", "ééé"),
    ] {
        assert_eq!(read(text), equal("x", value), "{text}");
    }
    assert_eq!(read("'dog race' = Borzoi"), equal("dog race", "Borzoi"));
    assert_eq!(read("x = _geoPolygon"), equal("x", "_geoPolygon"), "a word like others, unlike its siblings");
    assert_eq!(read("_vectors = 1"), equal("_vectors", "1"));
    assert_eq!(read("_foreign = 1"), equal("_foreign", "1"));
}

#[test]
fn every_operator_is_read() {
    for (text, printed) in [
        ("subscribers < 1000", r#""subscribers" < "1000""#),
        ("subscribers<=1000", r#""subscribers" <= "1000""#),
        ("subscribers >1000", r#""subscribers" > "1000""#),
        ("subscribers >= 1000", r#""subscribers" >= "1000""#),
        ("subscribers != 1000", r#""subscribers" != "1000""#),
        ("NOT subscribers != 1000", r#"NOT "subscribers" != "1000""#),
        ("subscribers 100 TO 1000", r#""subscribers" "100" TO "1000""#),
        ("NOT subscribers 100 TO   1000", r#"NOT "subscribers" "100" TO "1000""#),
        ("subscribers EXISTS", r#""subscribers" EXISTS"#),
        ("subscribers NOT   EXISTS", r#"NOT "subscribers" EXISTS"#),
        ("NOT subscribers NOT EXISTS", r#""subscribers" EXISTS"#),
        ("subscribers IS NULL", r#""subscribers" IS NULL"#),
        ("subscribers IS   NOT   NULL", r#"NOT "subscribers" IS NULL"#),
        ("subscribers IS EMPTY", r#""subscribers" IS EMPTY"#),
        ("NOT subscribers IS NOT EMPTY", r#""subscribers" IS EMPTY"#),
        ("subscribers CONTAINS 'hello'", r#""subscribers" CONTAINS "hello""#),
        ("subscribers NOT   CONTAINS hello", r#"NOT "subscribers" CONTAINS "hello""#),
        ("subscribers STARTS WITH hel", r#""subscribers" STARTS WITH "hel""#),
        ("NOT subscribers NOT STARTS WITH 'hel'", r#""subscribers" STARTS WITH "hel""#),
        ("colour IN[]", r#""colour" IN []"#),
        ("colour IN[green]", r#""colour" IN ["green"]"#),
        ("colour IN[green,blue ,]", r#""colour" IN ["green", "blue"]"#),
        ("colour NOT IN [ 'green' , \"blue\" , ]", r#"NOT "colour" IN ["green", "blue"]"#),
        ("NOT colour NOT IN[green]", r#""colour" IN ["green"]"#),
        ("_geoRadius(12, 13, 14)", "_geoRadius(12, 13, 14)"),
        ("  _geoRadius(+12.5e1,-.5,1.,1000)", "_geoRadius(+12.5e1, -.5, 1., 1000)"),
        ("NOT _geoBoundingBox([12, 13], [14, 15])", "NOT _geoBoundingBox([12, 13], [14, 15])"),
        ("_geoPolygon([12, 13], [14, 15],[-1.2,2939.2] , )", "_geoPolygon([12, 13], [14, 15], [-1.2, 2939.2])"),
        ("_vectors EXISTS", "_vectors EXISTS"),
        ("  _vectors  NOT  EXISTS", "NOT _vectors EXISTS"),
        ("_vectors.embedder EXISTS", r#"_vectors."embedder" EXISTS"#),
        ("_vectors.'an embedder'.userProvided EXISTS", r#"_vectors."an embedder".userProvided EXISTS"#),
        ("_vectors.AND.documentTemplate NOT EXISTS", r#"NOT _vectors."AND".documentTemplate EXISTS"#),
        ("_vectors.a.regenerate EXISTS", r#"_vectors."a".regenerate EXISTS"#),
        (
            r#"_vectors." valid.name  ".fragments."also.. valid! " EXISTS"#,
            r#"_vectors." valid.name  ".fragments."also.. valid! " EXISTS"#,
        ),
        ("_foreign(channel, subscribers = 1000)", r#"_foreign("channel", "subscribers" = "1000")"#),
        (
            "_foreign( channel , a = ponce AND ( b != 'x' OR c > 1 ) )",
            r#"_foreign("channel", "a" = "ponce" AND ("b" != "x" OR "c" > "1"))"#,
        ),
    ] {
        assert_eq!(shown(text), printed, "{text}");
    }
}

#[test]
fn and_binds_before_or_and_two_negations_cancel() {
    let [a, b, c] = [equal("a", "1"), equal("b", "2"), equal("c", "3")];
    assert_eq!(read("a = 1 AND b = 2 OR c = 3"), Filter::Or(vec![Filter::And(vec![a.clone(), b.clone()]), c.clone()]));
    assert_eq!(
        read("a = 1 AND ( b = 2 OR c = 3 )"),
        Filter::And(vec![a.clone(), Filter::Or(vec![b.clone(), c.clone()])])
    );
    assert_eq!(
        read("(a = 1 AND b = 2) AND c = 3"),
        Filter::And(vec![Filter::And(vec![a.clone(), b.clone()]), c.clone()])
    );
    assert_eq!(read("NOT NOT NOT NOT a = 1"), a);
    assert_eq!(read("NOT NOT (NOT NOT a = 1)"), a);
    assert_eq!(read("NOT(NOT(NOT a = 1))"), Filter::Not(Box::new(a.clone())));
    assert_eq!(
        read(r#"NOT "OR" EXISTS AND "EXISTS" NOT EXISTS"#),
        Filter::And(vec![
            Filter::Not(Box::new(condition("OR", Condition::Exists))),
            Filter::Not(Box::new(condition("EXISTS", Condition::Exists))),
        ])
    );
    let no_blanks_needed = "a EXISTSAND b IS NULLOR'c'=\"3\"AND(b=2)";
    assert_eq!(shown(no_blanks_needed), r#""a" EXISTS AND "b" IS NULL OR "c" = "3" AND "b" = "2""#);
}

#[test]
fn blank_filters_filter_by_nothing() {
    for blank in ["", "  ", "\n\t"] {
        assert_eq!(parse(blank), Ok(None), "{blank:?}");
    }
}

#[test]
fn what_meilisearch_refuses_is_refused() {
    for text in [
        "channel = Ponce = 12",
        "channel =    ",
        "channel = 🐻",
        "channel = 🐻 AND followers < 100",
        "'OR'",
        "OR",
        "channel Ponce",
        "channel = Ponce OR",
        "channel = Ponce AND",
        "channel == Ponce",
        "= Ponce",
        "NOT",
        "()",
        "x = EXISTS",
        "AND = 8",
        "NOT OR EXISTS AND EXISTS NOT EXISTS",
        "value NULL",
        "value NOT NULL",
        "value EMPTY",
        "value IS",
        "value IS NOT",
        "value IS EXISTS",
        "value IS NOT EXISTS",
        "value ISNULL",
        "x EXISTS ",
        "x IS NULL ",
        "x STARTS  WITH y",
        "x NOTEXISTS",
        "colour NOT EXIST",
        "subscribers 100 TO1000",
        "subscribers 100 200",
        "channel = ponce ORdog != 'bernese mountain'",
        "channel = 'ponce",
        "channel = \"ponce",
        "channel = 'ponce\"",
        "channel = 'ponce\\",
        r#"name = "\x""#,
        r#"name = "\q""#,
        r#"name = "\u{110000}""#,
        r#"name = "\xzz""#,
        "channel = mv OR (followers >= 1000",
        "channel = mv OR followers >= 1000)",
        "colour IN blue, green]",
        "colour IN [blue, green, 'blue' > 2]",
        "colour IN [blue, green, AND]",
        "colour IN [blue, green",
        "colour IN ['blue, green",
        "colour IN [,]",
        "colour IN [blue,,]",
        "colour NOTIN [blue]",
        "_geoRadius",
        "_geoRadius = 12",
        "_geoRadius(1,2)",
        "_geoRadius(1,2,3,4,5)",
        "_geoRadius(1,2,3,)",
        "_geoRadius(1,2,x)",
        "_geoRadius(1,2,1e)",
        "_geoRadius (1,2,3)",
        "_geoRadius(1,2,3) ",
        "_geoBoundingBox",
        "_geoBoundingBox = 12",
        "_geoBoundingBox(1.0, 1.0)",
        "_geoBoundingBox([1,2],[3,4],[5,6])",
        "_geoBoundingBox([1,2],[3,4],)",
        "_geoBoundingBox([1,2],[3,4,5])",
        "_geoPolygon = 12",
        "_geoPolygon([1,2,3])",
        "_geoPolygon(1,2,3)",
        "_geoPolygon([1,2],[1,2],[1,2,3])",
        "_geoPolygon([1,2],[1,2])",
        "_geoPolygon([1,2)",
        "_geoPoint(12, 13, 14)",
        "_geoPointless = 1",
        "position <= _geoPoint(12, 13, 14)",
        "_geoDistance(12, 13, 14)",
        "position <= _geoDistance(12, 13, 14)",
        "_geo(12, 13, 14)",
        "_geo = 1",
        "position <= _geo(12, 13, 14)",
        "position <= _geoRadius(12, 13, 14)",
        "position IN [_geoRadius]",
        "_vectors _vectors EXISTS",
        "_vectors. embedderName EXISTS",
        "_vectors .embedderName EXISTS",
        "_vectors.embedderName. EXISTS",
        "_vectors.\"embedderName EXISTS",
        "_vectors.\"embedderNam\"e EXISTS",
        "_vectors.embedderName.documentTemplate. EXISTS",
        "_vectors.embedderName.fragments EXISTS",
        "_vectors.embedderName.fragments. EXISTS",
        "_vectors.embedderName.fragments.test test EXISTS",
        "_vectors.embedderName.fragments. test EXISTS",
        "_vectors.embedderName .fragments.test EXISTS",
        "_vectors.embedderName.fargments.test EXISTS",
        "_vectors.embedderName.\"userProvided\" EXISTS",
        "_vectors.embedderName.userProvided.fragments.test EXISTS",
        "_vectors CONTAINS x",
        "_vectors 1 TO 2",
        "_foreign(channel)",
        "_foreign(channel, )",
        "_foreign(channel, x = 1",
        "_foreign (channel, x = 1)",
    ] {
        assert_eq!(parse(text), Err(Unreadable), "{text}");
    }
}

#[test]
fn depth_is_bounded_where_meilisearch_bounds_it() {
    let in_parentheses = |count: usize| format!("{}x = 1{}", "(".repeat(count), ")".repeat(count));
    assert_eq!(read(&in_parentheses(36)), equal("x", "1"));
    assert_eq!(parse(&in_parentheses(37)), Err(Unreadable));
    assert_eq!(parse(&in_parentheses(100_000)), Err(Unreadable));
    let negated = |count: usize| format!("{}x = 1", "NOT ".repeat(count));
    assert_eq!(read(&negated(147)), Filter::Not(Box::new(equal("x", "1"))));
    assert_eq!(parse(&negated(200)), Err(Unreadable));
    assert_eq!(parse(&negated(100_000)), Err(Unreadable));
    let in_foreign = |count: usize| format!("{}x = 1{}", "_foreign(a, ".repeat(count), ")".repeat(count));
    assert!(parse(&in_foreign(40)).is_ok());
    assert_eq!(parse(&in_foreign(100_000)), Err(Unreadable));
}

#[test]
fn attributes_are_found_with_their_place() {
    let text = "a = 1 AND (NOT 'b c' IN [x] OR _foreign( d , _geoRadius(1,2,3) AND \"e\" EXISTS))";
    let filter = read(text);
    let mut found = Vec::new();
    filter.attributes(&mut |attribute| found.push((attribute.name.clone(), &text[attribute.span.clone()])));
    let expected = [("a", "a"), ("b c", "'b c'"), ("d", "d"), ("e", "\"e\"")];
    assert_eq!(found, expected.map(|(name, at)| (name.to_owned(), at)));
    assert!(filter.is_foreign() && !read("a = 1").is_foreign());
}

#[test]
fn arrays_are_ands_of_ors() {
    let of = |json: serde_json::Value| Filter::from_json(&json);
    use serde_json::json;
    let [a, b, c] = [equal("a", "1"), equal("b", "2"), equal("c", "3")];
    assert_eq!(of(json!(null)), Ok(None));
    assert_eq!(of(json!([])), Ok(None));
    assert_eq!(of(json!(["", [], [" "]])), Ok(None));
    assert_eq!(of(json!("a = 1")), Ok(Some(a.clone())));
    assert_eq!(of(json!(["a = 1", ""])), Ok(Some(a.clone())));
    assert_eq!(of(json!([["a = 1"]])), Ok(Some(a.clone())));
    assert_eq!(of(json!([["a = 1", "b = 2"], "c = 3"])), Ok(Some(Filter::And(vec![Filter::Or(vec![a, b]), c]))));
    for refused in [json!(7), json!({"a": 1}), json!([7]), json!([[["a = 1"]]]), json!([[null]]), json!(["a ="])] {
        assert_eq!(of(refused.clone()), Err(Unreadable), "{refused}");
    }
}
