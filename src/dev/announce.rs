//! What is printed when the cluster is ready.

use std::io::Write;

use anyhow::Context;
use serde_json::json;

use super::cluster::Cluster;

/// Addresses, keys, and three lines to paste.
pub(super) fn print_for_people(cluster: &Cluster) {
    let plan = cluster.plan();
    let (url, key) = (cluster.url(), &plan.master_key);
    println!("\nMiroir is ready at {url}\n");
    println!("  master key   {key}");
    println!("  admin key    {}", plan.admin_key);
    println!("  metrics      {}", cluster.metrics_url());
    for node in cluster.nodes() {
        println!("  {:<12} {}  group {}  pid {}", node.id, node.url(), node.group, node.pid().unwrap_or_default());
    }
    let removed = if cluster.folder().is_kept() { "" } else { "  (removed at the end)" };
    println!("  data, logs   {}{removed}", cluster.folder().path().display());
    println!("\nTry:\n");
    let post = |path: &str, body: &str| {
        format!("  curl '{url}{path}' -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{body}'")
    };
    println!("{}", post("/indexes/books/documents", r#"[{"id":1,"title":"Dune"},{"id":2,"title":"Emma"}]"#));
    println!("{}", post("/indexes/books/search", r#"{"q":"emma"}"#));
    println!("  curl '{url}/_miroir/topology' -H 'X-Admin-Key: {}'", plan.admin_key);
    println!("\nCtrl-C ends everything.");
}

/// One line of JSON, for scripts.
pub(super) fn print_line(cluster: &Cluster) -> anyhow::Result<()> {
    let nodes: Vec<_> = cluster
        .nodes()
        .iter()
        .map(|node| json!({ "id": node.id, "url": node.url(), "group": node.group, "pid": node.pid() }))
        .collect();
    let line = json!({
        "url": cluster.url(),
        "metrics_url": cluster.metrics_url(),
        "master_key": cluster.plan().master_key,
        "admin_key": cluster.plan().admin_key,
        "pid": std::process::id(),
        "nodes": nodes,
        "proxy_pid": cluster.proxy_pid(),
        // For tests, which look behind the proxy; people have no use for it.
        "node_master_key": cluster.node_key(),
    });
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).context("cannot print to standard output")
}
