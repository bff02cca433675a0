//! What an operator looks at: metrics, and the command line.

mod support;

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{json, Value};
use support::{wait_until, Cluster, ClusterOptions};

/// How long health checks may take to see that a node is gone, on a busy machine.
const FAILURE_PATIENCE: Duration = Duration::from_secs(20);

fn ctl(cluster: &Cluster, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_miroir-ctl"))
        .args(arguments)
        .env("MIROIR_URL", &cluster.url)
        .env("MIROIR_ADMIN_API_KEY", &cluster.admin_key)
        .output()
        .expect("miroir-ctl runs")
}

#[test]
fn given_a_node_that_died_then_the_command_line_and_the_metrics_say_so() {
    let cluster = Cluster::start(ClusterOptions::default());
    cluster.succeed(cluster.post("/indexes/i/documents", json!([{ "id": 1 }])));

    let healthy = ctl(&cluster, &["status"]);
    let table = String::from_utf8_lossy(&healthy.stdout).into_owned();
    assert!(healthy.status.success(), "{table}");
    assert!(cluster.nodes.iter().all(|node| table.contains(&node.id)), "{table}");
    assert!(table.contains("every shard is served"), "{table}");

    cluster.kill_node(1);
    wait_until("the command line tells it", FAILURE_PATIENCE, || ctl(&cluster, &["status"]).status.code() == Some(2));
    let topology: Value = serde_json::from_slice(&ctl(&cluster, &["status", "--json"]).stdout).expect("JSON");
    assert_eq!(topology["nodes"][1]["status"], "failed");
    assert_eq!(topology["fully_covered"], false);

    let metrics = ureq::get(&cluster.metrics_url).call().expect("metrics").body_mut().read_to_string().expect("text");
    let node = &cluster.nodes[1].id;
    wait_until("the metrics tell it", FAILURE_PATIENCE, || {
        let text = ureq::get(&cluster.metrics_url).call().expect("metrics").body_mut().read_to_string().expect("text");
        text.contains(&format!("miroir_node_healthy{{node=\"{node}\"}} 0"))
    });
    assert!(
        metrics.contains("miroir_requests_total{method=\"POST\",path=\"/indexes/{uid}/documents\",status=\"202\"} 1")
    );
    assert!(!metrics.contains(&cluster.master_key), "no secret is a label");
}

#[test]
fn a_wrong_key_and_a_wrong_file_are_told_with_a_failing_exit_code() {
    let cluster = Cluster::start(ClusterOptions { nodes: 1, ..ClusterOptions::default() });
    let refused = ctl(&cluster, &["--admin-key", "wrong", "status"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("admin key"));

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("miroir.yaml");
    std::fs::write(&file, "miroir:\n  shrads: 3\n").expect("a file");
    let wrong = ctl(&cluster, &["config", "check", &file.to_string_lossy()]);
    assert_eq!(wrong.status.code(), Some(1));
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(told.contains("miroir.yaml:2") && told.contains("shards"), "{told}");
}
