//! Logs: one JSON object per line on standard output.

use std::io::Write;

use env_logger::Env;
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use time::OffsetDateTime;

/// Starts logging; `RUST_LOG` chooses what, `info` by default. Calling it twice does nothing.
pub fn start() {
    let result = env_logger::Builder::from_env(Env::default().default_filter_or("info"))
        .target(env_logger::Target::Stdout)
        .format(|line, record| {
            let object = json!({
                "timestamp": OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
                "level": record.level().as_str(),
                "target": record.target(),
                "message": record.args().to_string(),
            });
            writeln!(line, "{object}")
        })
        .try_init();
    if result.is_err() {
        log::debug!("logging was started before");
    }
}
