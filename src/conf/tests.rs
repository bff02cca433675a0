use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::reader::Reader;
use super::{yaml, Config, Environment, NodeAddress, Secret, TaskStoreConfig, UnavailableShardPolicy, WritesConfig};
use crate::cluster::{GroupId, NodeId};
use crate::documents::MissingKey;

const NODE: &str = "  nodes: [{ id: a, address: \"http://127.0.0.1:7701\" }]\n";

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn parse_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    Config::parse(text, Path::new("conf/m.yaml"), &environment(variables)).map_err(|errors| errors.to_string())
}

fn parse(text: &str) -> Result<Config, String> {
    parse_with(text, &[])
}

/// A configuration of one node and `lines` under `miroir`.
fn with(lines: &str) -> Result<Config, String> {
    parse(&format!("miroir:\n{NODE}{lines}"))
}

#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    let errors = parse(text).expect_err("this configuration is wrong");
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn one_node_is_enough_and_everything_else_has_its_default() {
    let config = with("").unwrap();
    assert_eq!(config.nodes.len(), 1);
    assert_eq!(config.nodes[0].id, NodeId::new("a"));
    assert_eq!(config.nodes[0].group, GroupId(0));
    assert_eq!(config.nodes[0].address.authority(), "127.0.0.1:7701");
    assert_eq!((config.shards, config.replication_factor), (64, 1));
    assert_eq!(config.server.address.to_string(), "127.0.0.1:7700");
    assert_eq!(config.server.max_body_bytes, 100 * 1024 * 1024);
    assert_eq!(config.metrics.address.to_string(), "127.0.0.1:9090");
    assert_eq!(config.health.interval, Duration::from_secs(5));
    assert_eq!(config.scatter.unavailable_shard_policy, UnavailableShardPolicy::Partial);
    assert_eq!(config.task_registry.ttl, Duration::from_secs(7 * 24 * 3600));
    assert_eq!(
        config.writes,
        WritesConfig {
            missing_primary_key: MissingKey::Refuse,
            buffer_bytes_max: 1 << 30,
            strict_quorum: false,
            log_bytes_max: 1 << 30,
            log_entries_max: 200_000,
            log_age_max: Duration::from_secs(86_400),
        }
    );
    assert!(config.master_key.is_none() && config.admin.enabled && !config.server.insecure);
}

#[test]
fn every_mistake_is_named_at_once_with_its_line() {
    refused(
        "miroir:\n  nodes:\n    - { id: a, address: \"http://h:1\" }\n    - { id: a, adress: \"http://h:1\" }\n  shards: many\n  \
         server:\n    prot: 7700\n    bind: localhost\n    insecure: maybe\n  sharding: {}\nother: 1\n",
        &[
            "conf/m.yaml:4: miroir.nodes[1].address: is missing; it is needed, as in `address: \"http://10.0.0.10:7700\"`",
            "conf/m.yaml:4: miroir.nodes[1].adress: unknown key; did you mean `address`?",
            "conf/m.yaml:5: miroir.shards: expected a whole number from 1 to 71934, got `many`",
            "conf/m.yaml:7: miroir.server.prot: unknown key; did you mean `port`?",
            "conf/m.yaml:8: miroir.server.bind: expected an IP address such as 127.0.0.1 or 0.0.0.0, got `localhost`",
            "conf/m.yaml:9: miroir.server.insecure: expected true or false, got `maybe`",
            "conf/m.yaml:10: miroir.sharding: unknown key; known here: master_key, master_key_file, master_key_previous, \
             master_key_previous_file, node_master_key, node_master_key_file, node_master_key_previous, \
             node_master_key_previous_file, shards, replication_factor, nodes, task_store, admin, server, metrics, health, \
             scatter, multi_search, vector_search, replica_selection, hedging, query_coalescing, admission, task_registry, writes, \
             settings_broadcast, settings_drift_check, aliases, leader_election, ilm, webhooks, explain, search_ui, admin_ui, ttl",
            "conf/m.yaml:11: other: unknown key; known here: miroir",
        ],
    );
}

#[test]
fn contradictions_are_named_at_once_with_their_lines() {
    refused(
        "miroir:\n  replication_factor: 2\n  nodes:\n    - { id: a, address: \"http://h:1\" }\n    - { id: a, address: \
         \"http://H:1/\" }\n    - { id: c, address: \"http://h:3\", replica_group: 1 }\n  server:\n    bind: 0.0.0.0\n    \
         port: 9090\n    request_timeout_ms: 100\n  health: { timeout_ms: 9000 }\n  writes: { buffer_bytes_max: 209715199 }\n",
        &[
            "conf/m.yaml:1: miroir.master_key: is missing while the server listens on 0.0.0.0: anyone who reaches it could \
             read and delete everything. Set it (or MIROIR_MASTER_KEY), listen on 127.0.0.1, or say `insecure: true` \
             under `server`",
            "conf/m.yaml:1: miroir.metrics.port: 9090 is already the port of miroir.server",
            "conf/m.yaml:1: miroir.scatter.node_timeout_ms: is longer than miroir.server.request_timeout_ms: the request \
             would end before its leg may",
            "conf/m.yaml:2: miroir.replication_factor: is 2, but group 1 has only 1 node",
            "conf/m.yaml:5: miroir.nodes[1].id: `a` is already the id of miroir.nodes[0]",
            "conf/m.yaml:5: miroir.nodes[1].address: `http://h:1` is already the address of miroir.nodes[0]",
            "conf/m.yaml:11: miroir.health.timeout_ms: is longer than interval_ms: checks would overtake each other",
            "conf/m.yaml:12: miroir.writes.buffer_bytes_max: is less than 2 times miroir.server.max_body_bytes: one such body \
             would not fit",
        ],
    );
}

#[test]
fn rollovers_need_aliases() {
    assert!(with("  ilm: { enabled: true }\n").is_ok());
    let errors = with("  aliases: { enabled: false }\n  ilm: { enabled: true }\n").unwrap_err();
    assert!(errors.contains("miroir.ilm.enabled: needs miroir.aliases.enabled"), "{errors}");
    assert!(with("  aliases: { enabled: false }\n").is_ok());
}

#[test]
fn a_file_without_nodes_is_refused() {
    for text in ["", "miroir:\n  shards: 8\n", "miroir:\n  nodes: []\n"] {
        assert!(parse(text).unwrap_err().contains("miroir.nodes: names no node"), "{text:?}");
    }
}

#[test]
fn text_that_is_not_yaml_names_its_line() {
    let errors = parse("miroir:\n  nodes: [\n  server: }\n").unwrap_err();
    assert!(errors.starts_with("conf/m.yaml:3: this is not YAML"), "{errors}");
    assert!(parse("miroir: {}\n---\nmiroir: {}\n").unwrap_err().contains("a second YAML document"));
    assert!(parse("a: &x 1\nb: *x\n").unwrap_err().contains("aliases"));
    let deep = format!("miroir: {}{}", "[".repeat(100), "]".repeat(100));
    assert!(parse(&deep).unwrap_err().contains("nested deeper"));
    assert!(with("  shards: 1\n  shards: 2\n").unwrap_err().contains("m.yaml:4: miroir.shards: stands here twice"));
}

#[test]
fn values_have_the_type_of_their_key() {
    for (lines, expected) in [
        // Without the value: it may be meant as a secret.
        ("  master_key: 12345\n", "miroir.master_key: expected text, got a bare number or truth value; if"),
        ("  master_key: \"\"\n", "miroir.master_key: is empty"),
        ("  master_key:\n", "miroir.master_key: has no value"),
        ("  master_key: clé\n", "miroir.master_key: has characters that no HTTP header carries"),
        ("  shards: \"64\"\n", "miroir.shards: expected a whole number"),
        ("  shards: -1\n", "miroir.shards: expected a whole number"),
        ("  shards: 0\n", "miroir.shards: must be from 1 to 71934, got 0"),
        ("  shards: [64]\n", "miroir.shards: expected a whole number, got a list"),
        ("  shards:\n", "miroir.shards: has no value; expected a whole number"),
        ("  server: 7700\n", "miroir.server: expected keys with values, got a single value"),
        ("  server: { insecure: yes }\n", "miroir.server.insecure: expected true or false, got `yes`"),
        ("  server: { port: 70000 }\n", "miroir.server.port: must be from 1 to 65535, got 70000"),
        ("  scatter: { unavailable_shard_policy: some }\n", "expected partial or error, got `some`"),
        ("  admission: { per_node_initial: 2 }\n", "miroir.admission.per_node_initial: is not between"),
        ("  replica_selection: { strategy: best }\n", "expected adaptive, round_robin or random, got `best`"),
        ("  task_store: { backend: disk }\n", "miroir.task_store.backend: expected sqlite or redis, got `disk`"),
    ] {
        let errors = with(lines).expect_err(lines);
        assert!(errors.contains(expected), "{lines}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.starts_with("conf/m.yaml:3:"), "{errors}");
    }
}

#[test]
fn variables_are_filled_in_anywhere() {
    let text = "miroir: # ${NOT_SET} in a comment is nothing\n  # nor ${HERE\n  shards: ${SHARDS}\n  admin: { api_key: ${KEY} }\n  \
                nodes: [{ id: \"${ID:-n}-0\", address: http://${HOST}:7701 }]\n  master_key: a$${b\n  \
                node_master_key: ${EMPTY:-}\n  server: { insecure: ${FLAG}, port: ${PORT:-7800} }\n";
    // A value that looks like YAML is a value.
    let variables =
        [("SHARDS", "128"), ("KEY", "12, enabled: false }"), ("HOST", "h"), ("EMPTY", ""), ("FLAG", "true")];
    let config = parse_with(text, &variables).unwrap();
    assert_eq!(config.shards, 128);
    assert_eq!(config.admin.api_key.unwrap().reveal(), "12, enabled: false }");
    assert_eq!(config.nodes[0].id, NodeId::new("n-0"));
    assert_eq!(config.nodes[0].address.authority(), "h:7701");
    assert_eq!(config.master_key.unwrap().reveal(), "a${b");
    assert!(config.node_master_key.is_none(), "filled in with nothing is no value");
    assert!(config.admin.enabled && config.server.insecure);
    assert_eq!(config.server.address.port(), 7800);
}

#[test]
fn a_variable_that_is_not_set_is_named() {
    let errors = parse("miroir:\n  master_key: ${NO_SUCH}\n  nodes: [{ id: a, address: \"http://${NOR_THIS}:1\" }]\n");
    let errors = errors.unwrap_err();
    assert!(errors.contains("m.yaml:2: miroir.master_key: the environment variable NO_SUCH is not set"), "{errors}");
    assert!(
        errors.contains("m.yaml:3: miroir.nodes[0].address: the environment variable NOR_THIS is not set"),
        "{errors}"
    );
    assert!(parse("a: ${X\n").unwrap_err().contains("m.yaml:1: `${` without a closing `}`"));
    assert!(parse("a: ${A B}\n").unwrap_err().contains("does not name an environment variable"));
}

#[test]
fn keys_come_from_the_environment_then_the_file_then_the_file_it_names() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("master.key"), "from-file\n").unwrap();
    std::fs::write(folder.path().join("empty.key"), "\n").unwrap();
    let load = |lines: &str, variables: &[(&str, &str)]| {
        let text = format!("miroir:\n{NODE}  admin: {{ enabled: false }}\n{lines}");
        Config::parse(&text, &folder.path().join("m.yaml"), &environment(variables))
            .map(|config| config.master_key.unwrap().reveal().to_owned())
            .map_err(|errors| errors.to_string())
    };
    let variable = [("MIROIR_MASTER_KEY", "from-env")];
    assert_eq!(load("  master_key: written\n", &variable).unwrap(), "from-env");
    assert_eq!(load("  master_key: written\n", &[("MIROIR_MASTER_KEY", "")]).unwrap(), "written");
    assert_eq!(load("  master_key_file: master.key\n", &[]).unwrap(), "from-file");
    assert!(load("  master_key_file: empty.key\n", &[]).unwrap_err().contains("empty.key is empty"));
    assert!(load("  master_key_file: none.key\n", &[]).unwrap_err().contains("none.key cannot be read"));
    let both = load("  master_key: written\n  master_key_file: master.key\n", &[]).unwrap_err();
    assert!(both.contains("miroir.master_key_file: contradicts `master_key`"), "{both}");
}

#[test]
fn an_open_server_stays_on_loopback_unless_that_is_meant() {
    for loopback in ["127.0.0.1", "127.9.9.9", "\"::1\"", "\"::ffff:127.0.0.1\""] {
        with(&format!("  server: {{ bind: {loopback} }}\n")).unwrap();
    }
    assert!(with("  server: { bind: \"::\" }\n").unwrap_err().contains("miroir.master_key: is missing"));
    let open = with("  server: { bind: 0.0.0.0, insecure: true }\n").unwrap();
    assert_eq!(open.warnings(), ["anyone who reaches 0.0.0.0:7700 may do everything: there is no master_key"]);
    let half_open = with("  master_key: key\n").unwrap_err();
    assert!(half_open.contains("miroir.admin.api_key: is missing while there is a master_key"), "{half_open}");
    with("  master_key: key\n  admin: { enabled: false }\n").unwrap();
}

#[test]
fn few_shards_for_many_nodes_are_warned_about() {
    assert_eq!(with("  shards: 8\n").unwrap().warnings(), Vec::<String>::new());
    let warnings = with("  shards: 7\n").unwrap().warnings();
    assert!(warnings[0].contains("miroir.shards is 7 with 1 nodes in the largest group"), "{warnings:?}");
}

#[test]
fn node_addresses_are_http_with_a_port_and_nothing_else() {
    for (given, host, port) in
        [("http://Meili:7700", "meili", 7700), ("http://10.0.0.1:80/", "10.0.0.1", 80), ("http://[::1]:7", "[::1]", 7)]
    {
        let address = NodeAddress::parse(given).unwrap();
        assert_eq!((address.host(), address.port()), (host, port));
    }
    for refused in [
        "",
        "h:1",
        "http://h",
        "https://h:1",
        "ftp://h:1",
        "http://h:1/x",
        "http://h:1?q",
        "http://u@h:1",
        "http://h:0",
    ] {
        assert!(NodeAddress::parse(refused).is_err(), "{refused}");
    }
}

#[test]
fn secrets_are_compared_but_never_printed() {
    let config = with("  master_key: hush\n  admin: { api_key: silence }\n").unwrap();
    let printed = format!("{config:?} {config:#?} {}", config.master_key.as_ref().unwrap());
    assert!(!printed.contains("hush") && !printed.contains("silence"), "{printed}");
    let secret = Secret::new("hush");
    assert!(secret.matches(b"hush") && !secret.matches(b"husk") && !secret.matches(b"hus") && !secret.matches(b""));
}

#[test]
fn relative_paths_start_in_the_folder_of_the_file() {
    let path = |text: &str, file: &str| {
        let config = Config::parse(text, Path::new(file), &Environment::new()).unwrap();
        match config.task_store {
            TaskStoreConfig::Sqlite { path } => path,
            TaskStoreConfig::Redis { .. } => panic!("sqlite is the default"),
        }
    };
    let text = format!("miroir:\n{NODE}  task_store: {{ path: data/m.db }}\n");
    assert_eq!(path(&text, "/etc/miroir/m.yaml"), Path::new("/etc/miroir/data/m.db"));
    assert!(path(&text, "m.yaml").is_absolute());
    assert_eq!(path(&format!("miroir:\n{NODE}"), "/etc/m.yaml"), Path::new("/var/lib/miroir/miroir.db"));
}

#[test]
fn a_store_in_redis_has_a_url_that_is_never_printed() {
    let redis = |config: Result<Config, String>| match config.unwrap().task_store {
        TaskStoreConfig::Redis { url, key_prefix } => (url.reveal().to_owned(), key_prefix, format!("{url:?} {url}")),
        TaskStoreConfig::Sqlite { .. } => panic!("redis was asked for"),
    };
    let (url, prefix, printed) = redis(with("  task_store: { backend: redis, url: \"redis://:hush@h:6379/2\" }\n"));
    assert_eq!((&*url, &*prefix), ("redis://:hush@h:6379/2", "miroir"));
    assert!(!printed.contains("hush"), "{printed}");
    let text = format!("miroir:\n{NODE}  task_store: {{ backend: redis, key_prefix: a.b }}\n");
    let (url, prefix, _) = redis(parse_with(&text, &[("MIROIR_REDIS_URL", "rediss://h")]));
    assert_eq!((&*url, &*prefix), ("rediss://h", "a.b"));
}

#[test]
fn a_store_has_the_keys_of_its_backend_alone() {
    let refused = |store: &str, expected: &str| {
        let errors = with(&format!("  task_store: {{ {store} }}\n")).expect_err("this configuration is wrong");
        assert!(errors.lines().count() == 1 && errors.contains(expected) && !errors.contains("hush"), "{errors}");
    };
    refused("backend: mysql", "expected sqlite or redis, got `mysql`");
    refused("backend: redis", "task_store.url: is missing");
    refused("backend: redis, url: \"http://:hush@h\"", "task_store.url: expected an address such as redis://");
    refused("backend: redis, url: \"redis://h\", path: m.db", "task_store.path: means nothing to the backend redis");
    refused("url: \"redis://:hush@h\"", "task_store.url: means nothing to the backend sqlite");
    refused("backend: redis, url: \"redis://h\", key_prefix: \"a{b\"", "task_store.key_prefix: a prefix has");
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let errors = Config::load(Path::new("/no/such/miroir.yaml")).unwrap_err().to_string();
    assert!(errors.starts_with("/no/such/miroir.yaml: cannot be read: "), "{errors}");
}

/// The paths of all keys in a configuration file, also of those that stand in it as a comment `# key: value`.
fn keys_of(text: &str) -> BTreeSet<String> {
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let (is_item, line) = match line.trim_start().strip_prefix("- ") {
            Some(rest) => (true, rest),
            None => (false, line.trim_start()),
        };
        let line = line.strip_prefix("# ").unwrap_or(line);
        let Some((key, _)) =
            line.split_once(':').filter(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        else {
            continue;
        };
        let indent = if is_item { indent + 2 } else { indent };
        open.retain(|(depth, _)| *depth < indent);
        let parent = open.last().map(|(_, path)| format!("{path}.")).unwrap_or_default();
        let path = format!("{parent}{key}").replace("nodes.", "nodes[].");
        keys.insert(path.clone());
        open.push((indent, path));
    }
    keys
}

#[test]
fn conf_miroir_yaml_shows_every_key_with_its_default() {
    let text = include_str!("../../conf/miroir.yaml");
    let variables =
        environment(&[("MIROIR_MASTER_KEY", "m"), ("MIROIR_NODE_MASTER_KEY", "n"), ("MIROIR_ADMIN_API_KEY", "a")]);
    let reader = Reader::new(Path::new("conf/miroir.yaml"), &variables);
    let mut shown = super::schema::read(&reader, &yaml::parse(text).unwrap()).expect("the file loads");
    assert_eq!(keys_of(text), reader.asked());

    let mut default =
        parse_with(&format!("miroir:\n{NODE}"), &[("MIROIR_MASTER_KEY", "m"), ("MIROIR_ADMIN_API_KEY", "a")]).unwrap();
    default.node_master_key = Some(Secret::new("n"));
    default.nodes[0].id = NodeId::new("meili-0");
    (shown.file, shown.view) = (default.file.clone(), default.view.clone());
    assert_eq!(format!("{shown:?}"), format!("{default:?}"));

    for (before, line) in text.lines().zip(text.lines().skip(1)) {
        let is_key = line.trim_start().starts_with(|c: char| c.is_ascii_lowercase() || c == '-') && line.contains(": ");
        assert!(!is_key || before.trim_start().starts_with("# "), "no comment before: {line}");
    }
}

#[test]
fn conf_dev_yaml_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/dev.yaml");
    let config = Config::load_with(&path, &Environment::new()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn what_is_shown_of_a_configuration_has_every_key_and_no_secret() {
    let lines = "  master_key: hidden-1\n  node_master_key: hidden-2\n  node_master_key_previous: hidden-3\n  \
                 task_store: { backend: redis, url: \"redis://:hidden-4@h:1\" }\n  admin: { api_key: hidden-5 }\n";
    let config = with(lines).unwrap();
    let shown = config.view.to_json();
    assert_eq!(shown["miroir"]["nodes"][0]["address"], "http://127.0.0.1:7701");
    assert_eq!((&shown["miroir"]["shards"], &shown["miroir"]["master_key"]), (&64.into(), &"********".into()));
    assert_eq!(shown["miroir"]["master_key_previous"], serde_json::Value::Null);
    assert!(!format!("{shown} {config:?}").contains("hidden"));
}

#[test]
fn only_keys_can_be_changed_without_a_restart() {
    let config = |lines: &str| with(lines).unwrap();
    let running = config("  node_master_key: a\n  shards: 64\n");
    let rotated = config("  node_master_key: b\n  node_master_key_previous: a\n  admin: { api_key: k }\n");
    assert_eq!(running.restart_needed_for(&rotated), Vec::<String>::new());
    let other = config("  shards: 128\n  node_master_key: a\n  task_store: { backend: redis, url: \"redis://h:1\" }\n");
    assert_eq!(
        running.restart_needed_for(&other),
        ["miroir.shards", "miroir.task_store.backend", "miroir.task_store.url"]
    );
    let previous = parse(&format!("miroir:\n{NODE}  master_key_previous: a\n")).unwrap_err();
    assert!(previous.contains("miroir.master_key_previous: is set without master_key"), "{previous}");
}
