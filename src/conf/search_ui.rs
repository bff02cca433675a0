//! The block `search_ui`: who is given tokens to search with, for which indexes, and what signs them.

use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;

use super::reader::{Reader, Section};
use super::schema::network;
use super::{Config, Secret};
use crate::auth::IndexPattern;
use crate::filter::template::FilterTemplate;

/// Fewest characters of a secret that signs: the length of the signature (RFC 7518, 3.2). Whoever has one token can try
/// shorter ones at leisure.
const JWT_SECRET_LENGTH_MIN: usize = 32;
/// Fewest characters of a key that visitors present; it can be tried only here.
const SHARED_KEY_LENGTH_MIN: usize = 16;
/// Seconds that tokens may be good for: long enough to be worth the request, and not for ever, since none can be taken back.
const LIFETIME_RANGE_S: RangeInclusive<u64> = 60..=86_400;

/// Tokens of the search UI. All of it can be changed while Miroir runs.
#[derive(Clone, Debug)]
pub struct SearchUiConfig {
    /// Whether tokens are given and accepted at all.
    pub enabled: bool,
    /// What tokens are signed with. Set if `enabled`.
    pub jwt_secret: Option<Secret>,
    /// The secret before, whose tokens count until they expire.
    pub jwt_secret_previous: Option<Secret>,
    pub token_lifetime: Duration,
    /// The indexes, or aliases, that there are tokens for.
    pub indexes: Vec<IndexPattern>,
    pub access: SearchUiAccess,
}

/// Who is given a token.
#[derive(Clone, Debug)]
pub enum SearchUiAccess {
    /// Everyone, so many times a minute from one address.
    Public { sessions_per_minute: u32 },
    /// Who presents this key, or the one before it.
    SharedKey { key: Secret, previous: Option<Secret> },
    /// Whom one of these proxies names in `X-Forwarded-User`; what is found is what the filter lets through for this user.
    OauthProxy { proxies: Vec<IpNet>, filter: Option<FilterTemplate> },
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Public,
    SharedKey,
    OauthProxy,
}

impl SearchUiConfig {
    /// None at all.
    pub fn off() -> Self {
        Self {
            enabled: false,
            jwt_secret: None,
            jwt_secret_previous: None,
            token_lifetime: Duration::ZERO,
            indexes: Vec::new(),
            access: SearchUiAccess::Public { sessions_per_minute: 1 },
        }
    }

    /// What tokens may be signed with, the secret for new ones first.
    pub fn jwt_secrets(&self) -> impl Iterator<Item = &Secret> {
        self.jwt_secret.iter().chain(&self.jwt_secret_previous)
    }

    /// Whether there are tokens for an index, or an alias, of this name.
    pub fn offers(&self, name: &str) -> bool {
        self.enabled && self.indexes.iter().any(|pattern| pattern.matches(name))
    }
}

pub(super) fn read(section: &Section<'_, '_>) -> SearchUiConfig {
    SearchUiConfig {
        enabled: section.truth("enabled", false),
        jwt_secret: section.secret("jwt_secret", "jwt_secret_file", Some("SEARCH_UI_JWT_SECRET")),
        jwt_secret_previous: section.secret("jwt_secret_previous", "jwt_secret_previous_file", None),
        token_lifetime: Duration::from_secs(section.number("token_lifetime_s", 900, LIFETIME_RANGE_S)),
        indexes: section.texts("indexes", IndexPattern::parse),
        access: access(section),
    }
}

fn access(section: &Section<'_, '_>) -> SearchUiAccess {
    let mode = section.parsed("access", Mode::Public, |mode| match mode {
        "public" => Ok(Mode::Public),
        "shared_key" => Ok(Mode::SharedKey),
        "oauth_proxy" => Ok(Mode::OauthProxy),
        other => Err(format!("expected public, shared_key or oauth_proxy, got `{other}`")),
    });
    let sessions_per_minute = section.number("sessions_per_minute", 60, 1..=1_000_000) as u32;
    let key =
        section.secret("shared_key", "shared_key_file", (mode == Mode::SharedKey).then_some("SEARCH_UI_SHARED_KEY"));
    let previous = section.secret("shared_key_previous", "shared_key_previous_file", None);
    let proxies = section.texts("oauth_proxies", network);
    let filter = section.parsed("filter_template", None, |text| FilterTemplate::parse(text).map(Some));

    let of_modes: [(Mode, &str, &[&str]); 3] = [
        (Mode::Public, "public", &["sessions_per_minute"]),
        (
            Mode::SharedKey,
            "shared_key",
            &["shared_key", "shared_key_file", "shared_key_previous", "shared_key_previous_file"],
        ),
        (Mode::OauthProxy, "oauth_proxy", &["oauth_proxies", "filter_template"]),
    ];
    for (_, name, keys) in of_modes.iter().filter(|(of, ..)| *of != mode) {
        for key in keys.iter().filter(|key| section.has(key)) {
            section.problem(key, format!("belongs to `access: {name}`; remove it, or choose that"));
        }
    }
    match mode {
        Mode::Public => SearchUiAccess::Public { sessions_per_minute },
        Mode::SharedKey => {
            if key.is_none() {
                section.problem("shared_key", "is missing; visitors present it in X-Search-UI-Key");
            }
            SearchUiAccess::SharedKey { key: key.unwrap_or_else(|| Secret::new("")), previous }
        }
        Mode::OauthProxy => {
            if proxies.is_empty() && !section.has_items("oauth_proxies") {
                section.problem(
                    "oauth_proxies",
                    "names no address; from whom X-Forwarded-User counts must be said, as in `oauth_proxies: [10.0.0.5]`",
                );
            }
            SearchUiAccess::OauthProxy { proxies, filter }
        }
    }
}

/// Reports what cannot stand together, within the block and with other keys.
pub(super) fn check(reader: &Reader<'_>, config: &Config) {
    let ui = &config.search_ui;
    let problem = |key: &str, message: &str| reader.problem(&format!("miroir.search_ui.{key}"), message);
    check_secrets(reader, config);
    if !ui.enabled {
        return;
    }
    if ui.jwt_secret.is_none() {
        problem("jwt_secret", "is missing; tokens are signed with it. Set it (or SEARCH_UI_JWT_SECRET)");
    }
    if ui.indexes.is_empty() {
        problem(
            "indexes",
            "names no index; list those that visitors may search, as in `indexes: [products, \"docs_*\"]`",
        );
    }
    let asks_who = !matches!(ui.access, SearchUiAccess::Public { .. });
    if asks_who && config.master_key.is_none() {
        problem(
            "access",
            "holds back nobody while there is no master_key: everyone may search everything without a token",
        );
    }
}

fn check_secrets(reader: &Reader<'_>, config: &Config) {
    let ui = &config.search_ui;
    let (shared, shared_previous) = match &ui.access {
        SearchUiAccess::SharedKey { key, previous } => {
            (Some(key).filter(|key| !key.reveal().is_empty()), previous.as_ref())
        }
        _ => (None, None),
    };
    let signing = [("jwt_secret", ui.jwt_secret.as_ref()), ("jwt_secret_previous", ui.jwt_secret_previous.as_ref())];
    let presented = [("shared_key", shared), ("shared_key_previous", shared_previous)];
    let with_length = |(key, secret), length| (key, secret, length);
    let all = signing.map(|one| with_length(one, JWT_SECRET_LENGTH_MIN));
    for (key, secret, length) in all.into_iter().chain(presented.map(|one| with_length(one, SHARED_KEY_LENGTH_MIN))) {
        if secret.is_some_and(|secret| secret.reveal().len() < length) {
            let message = format!("is too short; use at least {length} characters, at random (openssl rand -hex 32)");
            reader.problem(&format!("miroir.search_ui.{key}"), message);
        }
    }
    if ui.jwt_secret_previous.is_some() && ui.jwt_secret.is_none() {
        let message = "is set without jwt_secret: what there was before counts only beside what there is";
        reader.problem("miroir.search_ui.jwt_secret_previous", message);
    }
    // Whoever holds one of these could sign tokens for any index, with no filter.
    let others = [
        ("miroir.master_key", config.master_key.as_ref()),
        ("miroir.node_master_key", config.node_master_key.as_ref()),
        ("miroir.admin.api_key", config.admin.api_key.as_ref()),
        ("miroir.search_ui.shared_key", shared),
    ];
    for (key, secret) in signing.into_iter().filter_map(|(key, secret)| Some((key, secret?))) {
        let same = others.iter().find(|(_, other)| other.is_some_and(|other| other.reveal() == secret.reveal()));
        if let Some((other, _)) = same {
            reader.problem(
                &format!("miroir.search_ui.{key}"),
                format!("is the same as {other}; give it a value of its own"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::Path;

    use super::super::Environment;
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn parse_with(block: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let text = format!(
            "miroir:\n  master_key: the-master-key\n  admin: {{ api_key: the-admin-key }}\n  nodes: [{{ id: a, address: \
             \"http://h:1\" }}]\n  search_ui: {{ {block} }}\n"
        );
        let variables: Environment =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::parse(&text, Path::new("m.yaml"), &variables).map_err(|errors| errors.to_string())
    }

    fn parse(block: &str) -> Result<Config, String> {
        parse_with(block, &[])
    }

    #[test]
    fn it_is_off_unless_told_otherwise() {
        let ui = parse("").unwrap().search_ui;
        assert!(!ui.enabled && !ui.offers("products") && ui.jwt_secrets().next().is_none());
        assert_eq!(ui.token_lifetime, Duration::from_secs(900));
        assert!(matches!(ui.access, SearchUiAccess::Public { sessions_per_minute: 60 }));
    }

    #[test]
    fn each_kind_of_access_has_its_keys() {
        let on = format!("enabled: true, jwt_secret: {SECRET}, indexes: [products, \"docs_*\"]");
        let ui = parse(&on).unwrap().search_ui;
        assert!(ui.offers("products") && ui.offers("docs_fr") && !ui.offers("orders"));
        let shared = format!("{on}, access: shared_key, shared_key: of-sixteen-chars");
        assert!(matches!(parse(&shared).unwrap().search_ui.access,
            SearchUiAccess::SharedKey { key, previous: None } if key.matches(b"of-sixteen-chars")));
        let proxied = format!(
            "{on}, access: oauth_proxy, oauth_proxies: [10.0.0.5, \"fd00::/8\"], filter_template: \"tenant IN [{{groups}}]\""
        );
        match parse(&proxied).unwrap().search_ui.access {
            SearchUiAccess::OauthProxy { proxies, filter: Some(filter) } => {
                assert!(proxies[0].contains(&"10.0.0.5".parse::<IpAddr>().unwrap()));
                assert!(!proxies[0].contains(&"10.0.0.6".parse::<IpAddr>().unwrap()));
                assert!(proxies[1].contains(&"fd00::1".parse::<IpAddr>().unwrap()));
                assert_eq!(filter.render("u", &["a"]), r#""tenant" IN ["a"]"#);
            }
            other => panic!("{other:?}"),
        }
        let variables = [("SEARCH_UI_JWT_SECRET", SECRET), ("SEARCH_UI_SHARED_KEY", "of-sixteen-chars")];
        parse_with("enabled: true, indexes: [\"*\"], access: shared_key", &variables).unwrap();
        // A key that nothing asks for is none.
        parse_with("enabled: true, indexes: [\"*\"]", &variables).unwrap();
    }

    #[test]
    fn what_cannot_stand_together_is_refused() {
        let on = format!("enabled: true, indexes: [products], jwt_secret: {SECRET}");
        for (block, expected) in [
            ("enabled: true, indexes: [products]", "search_ui.jwt_secret: is missing"),
            ("enabled: true, jwt_secret: SECRET", "search_ui.indexes: names no index"),
            (
                "enabled: true, jwt_secret: SECRET, indexes: [\"a b\"]",
                "search_ui.indexes[0]: `a b` is not a valid index uid",
            ),
            ("jwt_secret: short", "search_ui.jwt_secret: is too short; use at least 32 characters"),
            ("jwt_secret_previous: SECRET", "search_ui.jwt_secret_previous: is set without jwt_secret"),
            ("jwt_secret: SECRET, token_lifetime_s: 59", "token_lifetime_s: must be from 60 to 86400"),
            ("ON, access: everyone", "expected public, shared_key or oauth_proxy, got `everyone`"),
            ("ON, access: shared_key", "search_ui.shared_key: is missing"),
            ("ON, access: shared_key, shared_key: short", "search_ui.shared_key: is too short; use at least 16"),
            (
                "ON, access: shared_key, shared_key: SECRET",
                "search_ui.jwt_secret: is the same as miroir.search_ui.shared_key",
            ),
            ("ON, access: oauth_proxy", "search_ui.oauth_proxies: names no address"),
            ("ON, access: oauth_proxy, oauth_proxies: [proxy]", "oauth_proxies[0]: expected an address"),
            ("ON, shared_key: of-sixteen-chars", "search_ui.shared_key: belongs to `access: shared_key`"),
            ("ON, filter_template: \"tenant IN [{groups}]\"", "filter_template: belongs to `access: oauth_proxy`"),
            (
                "ON, access: oauth_proxy, oauth_proxies: [10.0.0.5], filter_template: \"tenant NOT IN [{groups}]\"",
                "filter_template: negates {groups}",
            ),
        ] {
            let block = block.replace("ON", &on).replace("SECRET", SECRET);
            let errors = parse(&block).expect_err(&block);
            assert!(errors.contains(expected), "{block}: {errors}");
            assert_eq!(errors.lines().count(), 1, "{errors}");
        }
        let long_key = "a-master-key-that-is-as-long-as-a-secret";
        let text = format!(
            "miroir:\n  master_key: {long_key}\n  admin: {{ enabled: false }}\n  nodes: [{{ id: a, address: \"http://h:1\" }}]\n  \
             search_ui: {{ jwt_secret: {long_key} }}\n"
        );
        let errors = Config::parse(&text, Path::new("m.yaml"), &Environment::new()).unwrap_err().to_string();
        assert!(errors.contains("search_ui.jwt_secret: is the same as miroir.master_key"), "{errors}");
    }

    #[test]
    fn who_is_asked_for_a_key_must_need_it() {
        let text = format!(
            "miroir:\n  nodes: [{{ id: a, address: \"http://h:1\" }}]\n  search_ui: {{ enabled: true, indexes: [a], jwt_secret: \
             {SECRET}, access: shared_key, shared_key: of-sixteen-chars }}\n"
        );
        let errors = Config::parse(&text, Path::new("m.yaml"), &Environment::new()).unwrap_err().to_string();
        assert!(errors.contains("search_ui.access: holds back nobody while there is no master_key"), "{errors}");
    }

    #[test]
    fn all_of_it_is_applied_without_a_restart_and_no_secret_is_shown() {
        let before = parse(&format!("enabled: true, indexes: [a], jwt_secret: {SECRET}")).unwrap();
        let new = "f".repeat(40);
        let after = parse(&format!(
            "enabled: true, indexes: [a, b], jwt_secret: {new}, jwt_secret_previous: {SECRET}, token_lifetime_s: 60, access: \
             shared_key, shared_key: of-sixteen-chars"
        ))
        .unwrap();
        assert_eq!(before.restart_needed_for(&after), Vec::<String>::new());
        let changed = before.view.differences(&after.view);
        assert!(changed.iter().any(|path| path == "miroir.search_ui.jwt_secret"), "{changed:?}");
        let shown = format!("{} {after:?}", after.view.to_json());
        assert!([SECRET, &new, "of-sixteen-chars"].iter().all(|secret| !shown.contains(secret)), "{shown}");
        assert_eq!(after.view.to_json()["miroir"]["search_ui"]["indexes"][1], "b");
    }
}
