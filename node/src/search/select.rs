//! Parts of a document named by dotted paths, as attributes name them: `race.name` is the member `name` of whatever
//! `race` holds, an object or an array of objects, and also a member whose own name is `race.name`.

use milli_core::Object;
use serde_json::Value;

const SEPARATOR: char = '.';

/// Whether `path` is `ancestor` or lies below it.
pub fn is_within(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with(SEPARATOR))
}

/// Keeps of the document what the paths name. Objects and arrays on the way to something named stay, even if emptied.
pub fn select(document: Object, paths: &[&str]) -> Object {
    document.into_iter().filter_map(|(key, value)| select_member(key, value, paths)).collect()
}

fn select_member(key: String, value: Value, paths: &[&str]) -> Option<(String, Value)> {
    let is_named = paths.contains(&key.as_str());
    if is_named && !key.contains(SEPARATOR) {
        return Some((key, value));
    }
    let paths_below: Vec<&str> =
        paths.iter().filter_map(|path| path.strip_prefix(key.as_str())?.strip_prefix(SEPARATOR)).collect();
    if paths_below.is_empty() {
        return is_named.then_some((key, value));
    }
    match value {
        Value::Object(object) => Some((key, Value::Object(select(object, &paths_below)))),
        Value::Array(array) => Some((key, Value::Array(select_in_array(array, &paths_below)))),
        _ => None,
    }
}

fn select_in_array(array: Vec<Value>, paths: &[&str]) -> Vec<Value> {
    let selected = array.into_iter().filter_map(|value| match value {
        Value::Array(inner) => Some(Value::Array(select_in_array(inner, paths))),
        Value::Object(object) => Some(select(object, paths)).filter(|object| !object.is_empty()).map(Value::Object),
        _ => None,
    });
    selected.collect()
}

/// Calls `change` with every value that is neither an object nor an array and lies on, below or above one of the paths,
/// its own path, and the indices of the arrays it lies in, outermost first.
pub fn change_leaves(document: &mut Object, paths: &[&str], change: &mut impl FnMut(&str, &[usize], &mut Value)) {
    change_in_object(document, paths, "", &mut Vec::new(), change);
}

fn change_in_object(
    object: &mut Object,
    paths: &[&str],
    parent: &str,
    indices: &mut Vec<usize>,
    change: &mut impl FnMut(&str, &[usize], &mut Value),
) {
    for (key, value) in object.iter_mut() {
        let path = if parent.is_empty() { key.clone() } else { format!("{parent}{SEPARATOR}{key}") };
        if paths.iter().any(|named| is_within(named, &path) || is_within(&path, named)) {
            change_in_value(value, paths, &path, indices, change);
        }
    }
}

fn change_in_value(
    value: &mut Value,
    paths: &[&str],
    path: &str,
    indices: &mut Vec<usize>,
    change: &mut impl FnMut(&str, &[usize], &mut Value),
) {
    match value {
        Value::Object(object) => change_in_object(object, paths, path, indices, change),
        Value::Array(array) => {
            for (index, element) in array.iter_mut().enumerate() {
                indices.push(index);
                change_in_value(element, paths, path, indices, change);
                indices.pop();
            }
        }
        leaf => change(path, indices, leaf),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        match value {
            Value::Object(object) => object,
            other => panic!("not an object: {other}"),
        }
    }

    #[test]
    fn nested_paths_keep_what_they_name_and_nothing_beside_it() {
        let document = object(json!({
            "id": 1,
            "dog": { "name": "Max", "age": 3 },
            "cats": [ { "name": "Kit", "age": 1 }, "stray", { "age": 2 } ],
            "a.b": 5,
        }));
        assert_eq!(
            Value::Object(select(document, &["dog.name", "cats.name", "a.b"])),
            json!({ "dog": { "name": "Max" }, "cats": [ { "name": "Kit" } ], "a.b": 5 })
        );
    }

    #[test]
    fn a_path_through_a_scalar_names_nothing() {
        let document = object(json!({ "dog": 3, "dogs": 4 }));
        assert_eq!(Value::Object(select(document, &["dog.name"])), json!({}));
    }

    #[test]
    fn leaves_are_reported_with_path_and_array_indices() {
        let mut document = object(json!({ "a": [ { "b": 1 }, [2, 3] ], "c": 4, "ab": 5 }));
        let mut seen = Vec::new();
        change_leaves(&mut document, &["a"], &mut |path, indices, value| {
            seen.push(format!("{path} {indices:?} {value}"));
            *value = Value::Null;
        });
        assert_eq!(seen, ["a.b [0] 1", "a [1, 0] 2", "a [1, 1] 3"]);
        assert_eq!(document["c"], json!(4));
        assert_eq!(document["ab"], json!(5));
    }
}
