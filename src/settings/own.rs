//! What Miroir adds to an index's filterable attributes on the nodes, and takes out of what it reads there.

use serde_json::{json, Value};

use crate::reserved::{EXPIRY_FIELD, SHARD_FIELD};

/// The rule by which nodes look for expired documents. A client that names the field itself does so in another form, so that
/// the two can be told apart; the first rule that fits a field counts, so it stands before all others, and allows all that a
/// client's own could.
fn expiry_rule() -> Value {
    json!({
        "attributePatterns": [EXPIRY_FIELD],
        "features": { "facetSearch": true, "filter": { "equality": true, "comparison": true } },
    })
}

/// The attributes for the nodes, of those that a client has set.
pub fn with_own(mut attributes: Vec<Value>, expires: bool) -> Vec<Value> {
    if attributes.iter().all(|attribute| attribute != SHARD_FIELD) {
        attributes.push(json!(SHARD_FIELD));
    }
    if expires {
        attributes.insert(0, expiry_rule());
    }
    attributes
}

/// The attributes that a client has set, of those of a node.
pub fn without_own(mut attributes: Vec<Value>) -> Vec<Value> {
    attributes.retain(|attribute| attribute != SHARD_FIELD);
    if attributes.first() == Some(&expiry_rule()) {
        attributes.remove(0);
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_has_set_comes_back_as_it_was() {
        let attributes = |attributes: Value| attributes.as_array().unwrap().clone();
        for set in
            [json!([]), json!(["a", EXPIRY_FIELD]), json!([{ "attributePatterns": ["*"] }]), json!([EXPIRY_FIELD])]
        {
            for expires in [true, false] {
                let on_nodes = with_own(attributes(set.clone()), expires);
                assert_eq!(on_nodes.first() == Some(&expiry_rule()), expires);
                assert!(on_nodes.contains(&json!(SHARD_FIELD)));
                assert_eq!(Value::Array(without_own(on_nodes)), set);
            }
        }
    }
}
