//! Filters with places for who asks: `tenant IN [{groups}]`.
//!
//! A template is a tree from the start, and names are put into it as values: whatever is in a name, it stays one value. (Text
//! put together could be led astray by a quote or a bracket.)

use super::{parse, Attribute, Condition, Filter};

/// Words that stand for the places while the template is read: ones that the grammar takes for values.
const GROUPS: &str = "__miroir_groups__";
const USER: &str = "__miroir_user__";

/// A filter with `{user}` and `{groups}` in place of some of its values.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterTemplate(Filter);

impl FilterTemplate {
    /// `{groups}` is an element of an `IN` list that nothing negates, so that whoever belongs to no group finds nothing by it;
    /// `{user}` is an element of a list, or what an attribute is equal or unequal to.
    pub fn parse(text: &str) -> Result<Self, String> {
        let marked = text.replace("{groups}", GROUPS).replace("{user}", USER);
        if marked.contains(['{', '}']) {
            return Err("has braces around something else than {user} and {groups}".to_owned());
        }
        let filter = parse(&marked).map_err(|_| format!("`{text}` is no filter that Meilisearch can read"))?;
        let filter = filter.ok_or("filters by nothing")?;
        if filter.is_foreign() {
            return Err("looks into another index (`_foreign`), which Miroir does not".to_owned());
        }
        check(&filter, false)?;
        Ok(Self(filter))
    }

    /// The filter for one user, as text.
    pub fn render(&self, user: &str, groups: &[&str]) -> String {
        let mut filter = self.0.clone();
        fill(&mut filter, user, groups);
        filter.to_string()
    }
}

fn has_place(text: &str) -> bool {
    text.contains(GROUPS) || text.contains(USER)
}

/// Refuses places where a name would be no value of its own, or where its absence would show more.
fn check(filter: &Filter, is_negated: bool) -> Result<(), String> {
    match filter {
        Filter::Not(inner) => check(inner, true),
        Filter::And(operands) | Filter::Or(operands) => {
            operands.iter().try_for_each(|operand| check(operand, is_negated))
        }
        Filter::In { attribute, values } => {
            check_attribute(attribute)?;
            values.iter().try_for_each(|value| match value.as_str() {
                GROUPS if is_negated => {
                    Err("negates {groups}: whoever belongs to none would see everything".to_owned())
                }
                GROUPS | USER => Ok(()),
                other => check_literal(other),
            })
        }
        Filter::Condition { attribute, condition } => {
            check_attribute(attribute)?;
            match condition {
                Condition::Equal(value) | Condition::NotEqual(value) if value == USER => Ok(()),
                Condition::Equal(value) | Condition::NotEqual(value) if value == GROUPS => {
                    Err("compares with {groups}, which are several: write `attribute IN [{groups}]`".to_owned())
                }
                other => check_literal(&other.to_string()),
            }
        }
        other => check_literal(&other.to_string()),
    }
}

fn check_attribute(attribute: &Attribute) -> Result<(), String> {
    match has_place(&attribute.name) {
        true => Err("has {user} or {groups} in place of an attribute".to_owned()),
        false => Ok(()),
    }
}

fn check_literal(text: &str) -> Result<(), String> {
    match has_place(text) {
        true => Err(
            "has {user} or {groups} where neither can stand: they are elements of `attribute IN [..]`, and {user} is \
                     what an attribute is equal or unequal to"
                .to_owned(),
        ),
        false => Ok(()),
    }
}

fn fill(filter: &mut Filter, user: &str, groups: &[&str]) {
    match filter {
        Filter::Not(inner) => fill(inner, user, groups),
        Filter::And(operands) | Filter::Or(operands) => {
            operands.iter_mut().for_each(|operand| fill(operand, user, groups));
        }
        Filter::In { values, .. } => {
            let filled = std::mem::take(values).into_iter().flat_map(|value| match value.as_str() {
                GROUPS => groups.iter().map(|group| (*group).to_owned()).collect(),
                USER => vec![user.to_owned()],
                _ => vec![value],
            });
            *values = filled.collect();
        }
        Filter::Condition { condition: Condition::Equal(value) | Condition::NotEqual(value), .. } if value == USER => {
            user.clone_into(value);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str, user: &str, groups: &[&str]) -> String {
        FilterTemplate::parse(template).unwrap().render(user, groups)
    }

    /// The values of the only list in a filter.
    fn values(filter: &str) -> Vec<String> {
        match parse(filter).unwrap().unwrap() {
            Filter::In { attribute, values } if attribute.name == "tenant" => values,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_become_values() {
        assert_eq!(rendered("tenant IN [{groups}]", "u", &["a", "b"]), r#""tenant" IN ["a", "b"]"#);
        assert_eq!(
            rendered("tenant IN [public, {groups}, {user}]", "u", &["a"]),
            r#""tenant" IN ["public", "a", "u"]"#
        );
        assert_eq!(rendered("tenant IN ['{groups}']", "u", &["a", "b"]), r#""tenant" IN ["a", "b"]"#, "quotes or none");
        assert_eq!(rendered("owner = {user} AND open != no", "u", &[]), r#""owner" = "u" AND "open" != "no""#);
        assert_eq!(
            rendered("NOT (a = 1 OR blocked IN [{user}])", "u", &[]),
            r#"NOT ("a" = "1" OR "blocked" IN ["u"])"#
        );
    }

    #[test]
    fn nothing_in_a_name_is_anything_but_a_part_of_it() {
        let names = [
            r#"a", "b"#,
            r#"a"] OR "tenant" IN ["b"#,
            r#"\"] OR id EXISTS OR "x" IN [\""#,
            r"a\",
            r"\\",
            r#"\\""#,
            r"\x41\u{41}",
            "'] OR tenant EXISTS OR tenant IN ['",
            "[a]",
            "a) OR (b",
            "NOT",
            "_geoRadius(1, 2, 3)",
            "{groups}",
            "{user}",
            "__miroir_user__",
            "å 団体 \u{1f980} e\u{301}",
            "\t",
            " ",
            "$1\n",
        ];
        for name in names {
            assert_eq!(values(&rendered("tenant IN [{groups}]", "u", &[name])), [name]);
            assert_eq!(values(&rendered("tenant IN [{user}]", name, &[])), [name]);
        }
        assert_eq!(values(&rendered("tenant IN [{groups}]", "u", &names)), names);
    }

    proptest::proptest! {
        #[test]
        fn whatever_names_there_are_they_stay_the_values_of_one_list(
            user in ".*",
            groups in proptest::collection::vec("(\\PC|[\"'\\\\\\[\\](),= ])*", 0..6),
        ) {
            let names: Vec<&str> = groups.iter().map(String::as_str).collect();
            let expected: Vec<&str> = names.iter().copied().chain([user.as_str()]).collect();
            proptest::prop_assert_eq!(values(&rendered("tenant IN [{groups}, {user}]", &user, &names)), expected);
        }
    }

    #[test]
    fn who_belongs_to_no_group_is_shown_nothing_by_groups() {
        assert_eq!(rendered("tenant IN [{groups}]", "u", &[]), r#""tenant" IN []"#);
        for template in ["tenant NOT IN [{groups}]", "NOT tenant IN [{groups}]", "NOT (a = 1 AND tenant IN [{groups}])"]
        {
            assert!(FilterTemplate::parse(template).unwrap_err().contains("negates {groups}"), "{template}");
        }
    }

    #[test]
    fn places_stand_where_values_do_and_nowhere_else() {
        for (template, why) in [
            ("{user} = 1", "in place of an attribute"),
            ("{groups} IN [a]", "in place of an attribute"),
            ("tenant = {groups}", "write `attribute IN [{groups}]`"),
            ("tenant IN ['team-{user}']", "where neither can stand"),
            ("tenant CONTAINS {user}", "where neither can stand"),
            ("tenant {user} TO 9", "where neither can stand"),
            ("tenant IN [{group}]", "braces"),
            ("tenant IN [{groups}", "is no filter"),
            ("", "filters by nothing"),
            ("_foreign(a, tenant IN [{groups}])", "_foreign"),
        ] {
            let refused = FilterTemplate::parse(template).unwrap_err();
            assert!(refused.contains(why), "{template}: {refused}");
        }
    }
}
