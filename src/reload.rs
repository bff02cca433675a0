//! Applying a configuration file that has changed to the Miroir that runs on it.

use std::sync::Arc;

use crate::app::App;
use crate::auth::Secrets;
use crate::conf::{Config, ConfigErrors};
use crate::error::{ApiError, Code};

impl App {
    /// Reads the configuration file again and applies what has changed: all of it, or nothing. Returns the paths of the keys
    /// that have changed.
    ///
    /// Requests that are under way go on with the secrets that they began with.
    pub async fn reload(&self) -> Result<Vec<String>, ReloadError> {
        let file = self.config.file.clone();
        let read = tokio::task::spawn_blocking(move || Config::load(&file)).await;
        let next = read.map_err(|error| ReloadError::Unread(error.to_string()))??;
        let running = self.view.load_full();
        let unappliable = self.config.restart_needed_for(&next);
        if !unappliable.is_empty() {
            return Err(ReloadError::RestartNeeded(unappliable));
        }
        // The only step that can fail comes first.
        self.scatter.nodes.keys.replace(next.node_keys()).map_err(|error| ReloadError::Unread(error.to_string()))?;
        self.gate.replace_secrets(Secrets::of(&next));
        let changed = running.differences(&next.view);
        self.view.store(Arc::new(next.view.clone()));
        self.foundations.config.store(Arc::new(next));
        log::info!("the configuration was read again; changed: {}", listed(&changed));
        Ok(changed)
    }
}

/// Why the configuration was not applied. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("The configuration is not valid, so nothing was changed: {0}")]
    Invalid(#[from] ConfigErrors),
    #[error("Nothing was changed, since these are only read at start: {}. Restart Miroir, or put them back.", .0.join(", "))]
    RestartNeeded(Vec<String>),
    #[error("The configuration could not be read, so nothing was changed: {0}")]
    Unread(String),
}

impl From<ReloadError> for ApiError {
    fn from(error: ReloadError) -> Self {
        ApiError::new(Code::MiroirReloadRefused, error.to_string())
    }
}

fn listed(paths: &[String]) -> String {
    if paths.is_empty() {
        "nothing".to_owned()
    } else {
        paths.join(", ")
    }
}
