//! Logs: one JSON object per line.

use std::io::Write;

use log::kv::{Key, Value, VisitSource};
use serde_json::Map;
use time::format_description::well_known::Rfc3339;
use time::OffsetDateTime;

/// Which levels are shown is set by `RUST_LOG`; by default Miroir's own from `info` and everything else's from `warn`, but for
/// Pingora's connectors: they report a pooled connection that was just taken by another request as an error, and what really
/// fails is reported by the leg that it fails.
const FILTER_DEFAULT: &str = "warn,miroir=info,pingora_core::connectors=off";

/// Installs the logger. Lines go to standard output.
pub fn init() {
    let environment = env_logger::Env::default().default_filter_or(FILTER_DEFAULT);
    let builder = env_logger::Builder::from_env(environment)
        .target(env_logger::Target::Stdout)
        .format(|out, record| {
            let line = serde_json::Value::Object(fields(record));
            writeln!(out, "{line}")
        })
        .try_init();
    if let Err(error) = builder {
        eprintln!("logs cannot be set up: {error}");
    }
}

fn fields(record: &log::Record<'_>) -> Map<String, serde_json::Value> {
    let mut line = Map::new();
    let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
    line.insert("timestamp".to_owned(), now.into());
    line.insert("level".to_owned(), record.level().as_str().to_ascii_lowercase().into());
    line.insert("target".to_owned(), record.target().into());
    line.insert("message".to_owned(), record.args().to_string().into());
    // The visitor below never fails.
    drop(record.key_values().visit(&mut Fields(&mut line)));
    line
}

struct Fields<'l>(&'l mut Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        let value = match (value.to_u64(), value.to_f64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => match value.to_string() {
                text if text.is_empty() => return Ok(()),
                text => text.into(),
            },
        };
        self.0.insert(key.as_str().to_owned(), value);
        Ok(())
    }
}
