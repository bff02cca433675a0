//! Keys of embedding services are written into settings and never shown again.

use serde_json::{json, Map, Value};

/// A key of which only as much can be read as helps to tell two apart, as Meilisearch shows it.
pub fn hidden(key: &str) -> String {
    let (shown_bytes, rest) = match key.len() {
        0..=9 => (0, "XXX..."),
        10..=19 => (2, "XXXX..."),
        20..=29 => (3, "XXXXX..."),
        _ => (5, "XXXXXX..."),
    };
    let end = (shown_bytes..=key.len()).find(|at| key.is_char_boundary(*at)).unwrap_or(0);
    format!("{}{rest}", &key[..end])
}

/// A change of settings as a task's details show it.
pub fn without_secrets(mut settings: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(embedders)) = settings.get_mut("embedders") {
        for embedder in embedders.values_mut() {
            if let Some(Value::String(key)) = embedder.get("apiKey") {
                embedder["apiKey"] = json!(hidden(key));
            }
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_shows_its_first_bytes_at_most() {
        assert_eq!(hidden("short"), "XXX...");
        assert_eq!(hidden("twelve-bytes"), "twXXXX...");
        assert_eq!(hidden(&"k".repeat(40)), "kkkkkXXXXXX...");
        assert_eq!(hidden(&"é".repeat(15)), "éééXXXXXX...");
    }
}
