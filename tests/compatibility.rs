//! `docs/compatibility.md` says the truth about every route of Meilisearch.

mod support;

use serde_json::json;
use support::{Answer, Client, Cluster, ClusterOptions, SingleServer};

/// A row of the table of routes.
struct Decision<'a> {
    path: &'a str,
    methods: Vec<&'a str>,
    verdict: &'a str,
    reason: &'a str,
}

fn decisions() -> Vec<Decision<'static>> {
    let document = include_str!("../docs/compatibility.md");
    let section = document.split_once("\n## Routes\n").expect("the routes").1;
    let section = section.split("\n## ").next().expect("a split has a first part");
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| match row.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>()[..] {
        [path, methods, verdict, ref rest @ ..] => Decision {
            path: path.trim_matches('`'),
            methods: methods.split(", ").collect(),
            verdict,
            reason: rest.first().copied().unwrap_or_default(),
        },
        _ => panic!("not a row: {row}"),
    })
    .collect()
}

/// Sends a request that changes nothing, whatever the route: what it names does not exist.
fn ask(client: &Client, method: &str, path: &str) -> Answer {
    let path =
        path.replace("{uid}", if path.starts_with("/tasks") || path.starts_with("/batches") { "0" } else { "none" });
    let path = path.replace("{id}", "none").replace("{key}", "none");
    let body = matches!(method, "POST" | "PUT" | "PATCH").then(|| b"{\"nonsense\":1}".to_vec());
    client.send(method, &path, &[("content-type", "application/json")], body)
}

/// Whether the answer is that of a server without such a route.
fn lacks_route(answer: &Answer) -> bool {
    let no_such = matches!(answer.code(), None | Some("not_found" | "method_not_allowed"));
    matches!(answer.status, 404 | 405) && no_such
}

#[test]
fn every_route_is_served_or_refused_as_documented() {
    let cluster = Cluster::start(ClusterOptions { nodes: 1, ..Default::default() });
    let mut faults = Vec::new();
    let mut asked = 0;
    for decision in decisions() {
        for method in &decision.methods {
            let answer = ask(cluster.client(), method, decision.path);
            let is_refused = (answer.status, answer.code()) == (501, Some("miroir_not_supported"));
            let is_true = match decision.verdict {
                "supported" | "with a difference" => !is_refused && !lacks_route(&answer),
                "refused" => {
                    let message = answer.body["message"].as_str().unwrap_or_default();
                    is_refused && !decision.reason.is_empty() && message.contains(decision.reason)
                }
                "not yet" => true,
                _ => false,
            };
            if !is_true {
                let Decision { path, verdict, .. } = decision;
                faults.push(format!("{method} {path}: {verdict}? {} {}\n", answer.status, answer.text));
            }
            asked += 1;
        }
    }
    assert!(asked > 100, "only {asked} routes are documented");
    assert!(faults.is_empty(), "{} of {asked}:\n{}", faults.len(), faults.concat());
}

#[test]
fn every_refused_route_is_documented() {
    let documented = decisions();
    for (pattern, why) in miroir::api::refused::REFUSED {
        let stands = |decision: &Decision| {
            decision.path.replace("{uid}", "*") == *pattern && (decision.verdict, decision.reason) == ("refused", why)
        };
        assert!(documented.iter().any(stands), "{pattern}: {why}");
    }
}

#[test]
fn every_documented_route_is_one_of_meilisearch() {
    let single = SingleServer::start();
    if single.is_embedded() {
        // The embedded node has what Miroir needs of a node; the list is that of the real one.
        return;
    }
    // These say nothing else while they are switched off.
    let features = json!({ "metrics": true, "logsRoute": true, "network": true, "chatCompletions": true });
    single.client().patch("/experimental-features", features).expect_status(200);
    let unknown: Vec<String> = decisions()
        .iter()
        .flat_map(|decision| decision.methods.iter().map(|method| (*method, decision.path)))
        .filter(|(method, path)| lacks_route(&ask(single.client(), method, path)))
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    assert_eq!(unknown, Vec::<String>::new());
}

/// A browser asks first whether a page of another origin may call.
#[test]
fn pages_of_any_origin_may_call() {
    let cluster = Cluster::start(ClusterOptions { nodes: 1, ..Default::default() });
    cluster.succeed(cluster.post("/indexes/films/documents?primaryKey=id", json!([{ "id": 1 }])));
    let page = Client::new(&cluster.url, None);
    let asking = [
        ("origin", "http://site.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let allowed = page.send("OPTIONS", "/multi-search", &asking, None);
    assert_eq!((allowed.status, allowed.text.as_str()), (200, ""));
    assert_eq!(allowed.header("access-control-allow-origin"), Some("*"));
    assert_eq!(allowed.header("access-control-allow-headers"), Some("authorization,content-type"));
    assert_eq!(allowed.header("access-control-max-age"), Some("86400"));
    let methods = allowed.header("access-control-allow-methods").expect("methods");
    assert!(["GET", "POST", "PUT", "PATCH", "DELETE"].iter().all(|method| methods.split(", ").any(|m| m == *method)));

    // An answer of Miroir's own, a node's document on its way through, a refusal.
    let origin = [("origin", "http://site.example")];
    let with_key = cluster.client();
    for (client, path) in [(with_key, "/indexes"), (with_key, "/indexes/films/documents/1"), (&page, "/indexes")] {
        let answer = client.send("GET", path, &origin, None);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}: {}", answer.text);
    }
    let operators = cluster.admin().send("GET", "/_miroir/topology", &origin, None);
    assert_eq!((operators.status, operators.header("access-control-allow-origin")), (200, None));
    assert_eq!(page.send("OPTIONS", "/_miroir/topology", &asking, None).header("access-control-allow-origin"), None);
}

#[test]
fn preflights_are_answered_as_by_one_server() {
    let (cluster, single) = (Cluster::start(ClusterOptions { nodes: 1, ..Default::default() }), SingleServer::start());
    if single.is_embedded() {
        // No browser comes to an embedded node.
        return;
    }
    let asking = [
        ("origin", "http://site.example"),
        ("access-control-request-method", "DELETE"),
        ("access-control-request-headers", "x-meilisearch-client"),
    ];
    let told = |url: &str| {
        let answer = Client::new(url, None).send("OPTIONS", "/indexes/films", &asking, None);
        let sorted = |name: &str| {
            let mut parts: Vec<String> =
                answer.header(name).unwrap_or_default().split(", ").map(str::to_owned).collect();
            parts.sort();
            parts
        };
        let names = ["access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers"];
        (answer.status, names.map(sorted), sorted("access-control-max-age"))
    };
    assert_eq!(told(&cluster.url), told(single.url()));
}
