//! Who may ask for what: the master key opens Meilisearch's routes, the admin key `/_miroir`, and neither the other's.

mod support;

use serde_json::json;
use support::{Client, Cluster, ClusterOptions};

const MASTER_KEY: &str = "the master's key of this test";
const ADMIN_KEY: &str = "the admin's key of this test";

fn cluster() -> Cluster {
    let keys = ["--master-key", MASTER_KEY, "--admin-key", ADMIN_KEY].map(str::to_owned);
    Cluster::start(ClusterOptions { nodes: 1, arguments: keys.into(), ..Default::default() })
}

#[test]
fn each_key_opens_its_own_routes_and_no_others() {
    let cluster = cluster();
    assert_eq!((cluster.master_key.as_str(), cluster.admin_key.as_str()), (MASTER_KEY, ADMIN_KEY));
    let nobody = cluster.client_with(None);
    let master = cluster.client();
    let stranger = cluster.client_with(Some("a guess"));
    let admin_as_bearer = cluster.client_with(Some(ADMIN_KEY));

    // Load balancers have no key.
    for path in ["/health", "/_miroir/ready"] {
        nobody.get(path).expect_status(200);
        stranger.get(path).expect_status(200);
    }

    let write = json!([{ "id": 1 }]);
    for path in ["/version", "/stats", "/indexes", "/tasks"] {
        nobody.get(path).expect_error(401, "missing_authorization_header");
        stranger.get(path).expect_error(403, "invalid_api_key");
        admin_as_bearer.get(path).expect_error(403, "invalid_api_key");
        master.get(path).expect_status(200);
    }
    nobody.post("/indexes/i/documents", write.clone()).expect_error(401, "missing_authorization_header");
    stranger.post("/indexes/i/documents", write.clone()).expect_error(403, "invalid_api_key");
    master.get("/indexes/i").expect_error(404, "index_not_found");
    cluster.succeed(master.post("/indexes/i/documents", write));

    for path in ["/_miroir/topology", "/_miroir/version"] {
        for refused in [&nobody, &stranger, master, &Client::with_header(&cluster.url, "x-admin-key", MASTER_KEY)] {
            refused.get(path).expect_error(401, "miroir_invalid_auth");
        }
        cluster.admin().get(path).expect_status(200);
        admin_as_bearer.get(path).expect_status(200);
    }
}

#[test]
fn a_key_counts_only_as_a_whole_and_as_bearer() {
    let cluster = cluster();
    let present = |authorization: &str| Client::with_header(&cluster.url, "authorization", authorization).get("/stats");
    let longer = format!("{MASTER_KEY}x");
    for wrong in [&MASTER_KEY[1..], &MASTER_KEY[..MASTER_KEY.len() - 1], &longer] {
        present(&format!("Bearer {wrong}")).expect_error(403, "invalid_api_key");
    }
    present(&format!("bearer {MASTER_KEY}")).expect_status(200);
    present(MASTER_KEY).expect_error(401, "missing_authorization_header");
    present("").expect_error(401, "missing_authorization_header");
    // The nodes' key is between Miroir and the nodes.
    present(&format!("Bearer {}", cluster.node_master_key)).expect_error(403, "invalid_api_key");
    cluster.node_client(0).get("/stats").expect_status(200);
    Client::new(&cluster.nodes[0].url, Some(MASTER_KEY)).get("/stats").expect_error(403, "invalid_api_key");
}
