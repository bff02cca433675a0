//! Meilisearch's own clients, unmodified, against Miroir as against one server: whatever passes there passes here.
//!
//! Each client has a folder in `sdk/` with tests in its own language. They run against one node, which shows that they ask
//! for nothing but what Meilisearch does, and against a cluster of three nodes with two copies of each document.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{programs, Cluster, ClusterOptions, SingleServer};

/// Where a client's tests run.
#[derive(Clone, Copy)]
struct Server<'a> {
    url: &'a str,
    key: &'a str,
    is_embedded: bool,
    is_one_node: bool,
}

impl Server<'_> {
    /// An embedded node by itself leaves the judging of keys to Miroir, and knows no pages of other origins.
    fn is_mere_node(self) -> bool {
        self.is_embedded && self.is_one_node
    }
}

fn folder(client: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(client)
}

/// Cargo's target directory: the programs are two levels below it.
fn target() -> PathBuf {
    programs().parent().expect("the programs are in the target directory").to_owned()
}

/// Installs a client, unless it is installed.
fn prepare(client: &str) {
    let script = folder("prepare");
    let status = Command::new(&script).arg(target()).arg(client).status().expect("the script runs");
    assert!(status.success(), "{} could not install the {client} client", script.display());
}

/// Runs a client's tests; panics with what they printed if one fails.
fn run(mut command: Command, server: Server) {
    command.env("MEILI_URL", server.url).env("MEILI_KEY", server.key);
    command.env("MEILI_ENGINE", if server.is_embedded { "embedded" } else { "newest" });
    command.env("MEILI_SERVER", if server.is_one_node { "node" } else { "cluster" });
    let output = command.output().expect("the client's tests start");
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Shown with the test's own output: among it, which tests were left out, and why.
    println!("{printed}");
    assert!(output.status.success(), "against {}: {printed}", server.url);
}

fn on_one_node(command: impl Fn(Server) -> Option<Command>) {
    let single = SingleServer::start();
    let server = Server { url: single.url(), key: single.key(), is_embedded: single.is_embedded(), is_one_node: true };
    if let Some(command) = command(server) {
        run(command, server);
    }
}

fn on_a_cluster(command: impl Fn(Server) -> Option<Command>) {
    let cluster = Cluster::start(ClusterOptions { replication_factor: 2, ..Default::default() });
    let is_embedded = cluster.node_client(0).get("/version").expect_status(200)["commitSha"] == "unknown";
    let server = Server { url: &cluster.url, key: &cluster.master_key, is_embedded, is_one_node: false };
    run(command(server).expect("every client is driven against Miroir"), server);
}

fn python(_: Server) -> Option<Command> {
    prepare("python");
    let mut command = Command::new(target().join("sdk/python/bin/python"));
    command.args(["-B", "-m", "unittest", "discover", "--verbose", "--start-directory"]).arg(folder("python"));
    Some(command)
}

/// Node's own test runner over the tests in `client`'s folder.
fn node_tests(client: &str) -> Command {
    prepare(client);
    let mut command = Command::new("node");
    command.args(["--test", "--test-reporter=spec"]).current_dir(folder(client));
    command
}

fn javascript(_: Server) -> Option<Command> {
    Some(node_tests("javascript"))
}

fn rust(server: Server) -> Option<Command> {
    prepare("rust");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--quiet", "--locked", "--manifest-path"]).arg(folder("rust").join("Cargo.toml"));
    command.arg("--target-dir").arg(target().join("sdk/rust")).arg("--");
    if server.is_mere_node() {
        command.args(["--skip", "a_key_does_what_it_was_made_for", "--skip", "a_tenant_token"]);
    }
    Some(command)
}

fn instantsearch(server: Server) -> Option<Command> {
    (!server.is_mere_node()).then(|| node_tests("instantsearch"))
}

#[test]
fn the_python_client_works_with_one_node() {
    on_one_node(python);
}

#[test]
fn the_python_client_works_with_a_cluster() {
    on_a_cluster(python);
}

#[test]
fn the_javascript_client_works_with_one_node() {
    on_one_node(javascript);
}

#[test]
fn the_javascript_client_works_with_a_cluster() {
    on_a_cluster(javascript);
}

#[test]
fn the_rust_client_works_with_one_node() {
    on_one_node(rust);
}

#[test]
fn the_rust_client_works_with_a_cluster() {
    on_a_cluster(rust);
}

#[test]
fn a_page_with_instantsearch_works_with_one_node() {
    on_one_node(instantsearch);
}

#[test]
fn a_page_with_instantsearch_works_with_a_cluster() {
    on_a_cluster(instantsearch);
}
