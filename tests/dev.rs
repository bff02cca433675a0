//! `miroir dev`: one command starts a cluster, and nothing of it is left afterwards, however it ends.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{json, Value};
use support::{
    descendants, is_running, kill, miroir, terminate, wait_until, Client, Cluster, ClusterOptions, Output,
    START_PATIENCE,
};

/// Every process of a cluster.
fn processes(cluster: &Cluster) -> Vec<u32> {
    let mut pids = descendants(cluster.pid());
    for known in cluster.nodes.iter().map(|node| node.pid).chain([cluster.proxy_pid]) {
        assert!(pids.contains(&known), "{known} is no descendant of {}: {pids:?}", cluster.pid());
    }
    pids.push(cluster.pid());
    pids
}

#[track_caller]
fn all_gone(pids: &[u32]) {
    let left = || pids.iter().filter(|pid| is_running(**pid)).collect::<Vec<_>>();
    wait_until(&format!("none of {pids:?} runs"), Duration::from_secs(5), || left().is_empty());
}

#[test]
fn it_prints_one_line_of_json_and_answers() {
    let mut command = miroir();
    command.args(["dev", "--json", "--nodes", "2", "--groups", "2", "--port", "0", "--metrics-port", "0"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut supervisor = command.spawn().unwrap();
    let errors = Output::collect(supervisor.stderr.take().unwrap());
    let mut output = BufReader::new(supervisor.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();

    let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}\n{}", errors.text()));
    let keys: Vec<_> = ready.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["url", "metrics_url", "master_key", "admin_key", "pid", "nodes", "proxy_pid", "node_master_key"]);
    assert_eq!(ready["pid"], supervisor.id());
    let groups: Vec<_> = ready["nodes"].as_array().unwrap().iter().map(|node| &node["group"]).collect();
    assert_eq!(groups, [0, 1]);

    let health = |url: &Value| Client::new(url.as_str().unwrap(), None).get("/health").expect_status(200);
    assert_eq!(health(&ready["url"])["status"], "available");
    for node in ready["nodes"].as_array().unwrap() {
        health(&node["url"]);
    }

    terminate(supervisor.id());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "standard output is one line");
    assert!(supervisor.wait().unwrap().success());
}

#[test]
fn sigterm_leaves_no_process_and_no_folder() {
    let parent = tempfile::tempdir().unwrap();
    // The supervisor's temporary folder is to be found and watched.
    let cluster = Cluster::start_with(ClusterOptions::default(), |command| {
        command.env("TMPDIR", parent.path());
    });
    let pids = processes(&cluster);
    assert_eq!(pids.len(), 5, "three nodes, the proxy, the supervisor");
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);

    assert!(cluster.stop().success());

    all_gone(&pids);
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn kill_9_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let options = ClusterOptions { data_dir: Some(folder.path().join("data")), ..Default::default() };
    let cluster = Cluster::start(options);
    let pids = processes(&cluster);

    kill(cluster.pid());

    all_gone(&pids);
}

#[test]
fn a_node_that_dies_is_reported_and_the_rest_goes_on() {
    let cluster = Cluster::start(ClusterOptions::default());
    cluster.kill_node(1);
    wait_until("the death is reported", Duration::from_secs(10), || {
        cluster.errors().contains(&format!("node-1 (pid {}) died: signal: 9", cluster.nodes[1].pid))
    });
    assert_eq!(cluster.get("/health").status, 200);
    let pids = processes_but(&cluster, 1);
    assert!(pids.iter().all(|pid| is_running(*pid)));
    assert!(cluster.stop().success());
    all_gone(&pids);
}

fn processes_but(cluster: &Cluster, dead: usize) -> Vec<u32> {
    let nodes = cluster.nodes.iter().enumerate().filter(|(n, _)| *n != dead).map(|(_, node)| node.pid);
    nodes.chain([cluster.proxy_pid, cluster.pid()]).collect()
}

/// How `miroir dev` with `arguments` ends by itself: its standard error.
#[track_caller]
fn refused(arguments: &[&str]) -> String {
    let mut command = miroir();
    command.arg("dev").args(["--port", "0", "--metrics-port", "0"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut supervisor = command.spawn().unwrap();
    let pid = supervisor.id();
    let errors = Output::collect(supervisor.stderr.take().unwrap());
    let mut pids = Vec::new();
    wait_until("it ends by itself", START_PATIENCE, || {
        pids.extend(descendants(pid));
        matches!(supervisor.try_wait(), Ok(Some(status)) if status.code() == Some(1))
    });
    all_gone(&pids);
    errors.whole_text(START_PATIENCE)
}

#[test]
fn a_busy_port_is_an_error_that_names_the_flag() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port().to_string();
    for flag in ["--port", "--metrics-port"] {
        let mut command = miroir();
        let other = if flag == "--port" { "--metrics-port" } else { "--port" };
        let output = command.args(["dev", flag, &port, other, "0"]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(errors.contains(&format!("port {port} is taken")) && errors.contains(flag), "{errors}");
    }
}

#[test]
fn what_cannot_be_started_is_refused_with_a_reason() {
    assert!(refused(&["--nodes", "2", "--replication-factor", "3"]).contains("--replication-factor 3"));
    assert!(refused(&["--node-bin", "/no/such/program"]).contains("/no/such/program is not a file"));
    assert!(refused(&["--node-bin", "no-such-program"]).contains("no such program on PATH"));
}

#[test]
fn a_node_that_does_not_start_ends_the_others_and_is_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("broken-node");
    std::fs::write(&program, "#!/bin/sh\necho 'the disk is on fire' >&2\nexit 3\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let errors = refused(&["--node-bin", program.to_str().unwrap()]);
    assert!(errors.contains("ended at its start") && errors.contains("| the disk is on fire"), "{errors}");
}

#[test]
fn a_data_folder_keeps_documents_from_one_start_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let options = ClusterOptions { data_dir: Some(folder.path().join("data")), ..Default::default() };
    let first = Cluster::start(options.clone());
    let documents: Vec<_> = (0..50).map(|n| json!({ "id": n, "title": format!("document {n}") })).collect();
    first.succeed(first.post("/indexes/kept/documents", json!(documents)));
    assert!(first.stop().success());

    let second = Cluster::start(options);

    let found = second.get("/indexes/kept/documents/17").expect_status(200);
    assert_eq!(found["title"], "document 17");
    let ids: Vec<_> = second.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["node-0", "node-1", "node-2"]);
}

#[test]
fn a_configuration_is_checked_without_serving() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.yaml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let output = miroir().arg("--conf").arg(&file).arg("--test").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, errors) = check("miroir:\n  nodes: [{ id: a, address: \"http://127.0.0.1:7701\" }]\n");
    assert_eq!(code, Some(0), "{errors}");
    let (code, errors) = check("miroir:\n  server: { prot: 1 }\n  shards: x\n");
    assert_eq!(code, Some(1));
    assert!(errors.contains("m.yaml:2: miroir.server.prot: unknown key; did you mean `port`?"), "{errors}");
    assert!(errors.contains("m.yaml:3: miroir.shards: expected a whole number"), "{errors}");
}
