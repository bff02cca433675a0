//! The block `admin_ui`: logging in with the admin key, and how long that lasts.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::reader::{Reader, Section};
use super::Config;
use crate::auth::SessionLifetimes;

/// Seconds that a session may last: long enough to read a page, and no longer than a browser is somebody's.
const LIFETIME_RANGE_S: RangeInclusive<u64> = 60..=2_592_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminUiConfig {
    /// Whether anybody can log in, and sessions count.
    pub enabled: bool,
    pub lifetimes: SessionLifetimes,
    /// Whether cookies are for encrypted connections alone, also where it cannot be seen that the request came over one.
    pub secure_cookies: bool,
}

pub(super) fn read(section: &Section<'_, '_>) -> AdminUiConfig {
    let seconds = |key, default| Duration::from_secs(section.number(key, default, LIFETIME_RANGE_S));
    AdminUiConfig {
        enabled: section.truth("enabled", true),
        lifetimes: SessionLifetimes {
            idle_max: seconds("session_idle_s", 3_600),
            age_max: seconds("session_max_s", 43_200),
        },
        secure_cookies: section.truth("secure_cookies", false),
    }
}

pub(super) fn check(reader: &Reader<'_>, config: &Config) {
    let SessionLifetimes { idle_max, age_max } = config.admin_ui.lifetimes;
    if idle_max > age_max {
        reader.problem(
            "miroir.admin_ui.session_idle_s",
            "is longer than session_max_s: no session could be idle so long",
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Environment;
    use super::*;

    fn parse(block: &str) -> Result<Config, String> {
        let text = format!("miroir:\n  nodes: [{{ id: a, address: \"http://h:1\" }}]\n  admin_ui: {{ {block} }}\n");
        Config::parse(&text, Path::new("m.yaml"), &Environment::new()).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_session_is_idle_for_a_part_of_its_life() {
        let ui = parse("").unwrap().admin_ui;
        assert!(ui.enabled && !ui.secure_cookies && ui.lifetimes.idle_max < ui.lifetimes.age_max);
        parse("session_idle_s: 600, session_max_s: 600").unwrap();
        let refused = parse("session_idle_s: 601, session_max_s: 600").unwrap_err();
        assert!(
            refused.contains("m.yaml:3: miroir.admin_ui.session_idle_s: is longer than session_max_s"),
            "{refused}"
        );
        assert!(parse("session_max_s: 59").unwrap_err().contains("must be from 60 to 2592000"));
    }
}
