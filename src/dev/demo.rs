//! Loads the sample data through the proxy, as an ordinary client would, and searches it.

use std::time::{Duration, Instant};

use anyhow::{bail, Context};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{json, Value};
use tokio::time::sleep;

use super::client::Client;

const INDEX: &str = "cities";
const SETTINGS: &str = include_str!("../../demo/settings.json");
const CITIES: &str = include_str!("../../demo/cities.ndjson");

/// Documents per request: large enough that a node's fixed cost per task is small, small enough to see progress.
const BATCH_DOCUMENTS: usize = 5_000;
/// Longest time for one task; a batch takes a second or two, ten times that in a debug build on a busy machine.
const TASK_PATIENCE: Duration = Duration::from_secs(300);
const TASK_POLL: Duration = Duration::from_millis(50);

/// Fills the index `cities` unless it is full already, then prints a search and its answer.
pub(super) async fn load(client: Client) -> anyhow::Result<()> {
    let lines: Vec<&str> = CITIES.lines().collect();
    if documents_in(&client).await? == Some(lines.len() as u64) {
        eprintln!("\nThe index `{INDEX}` already has its {} cities.", lines.len());
    } else {
        fill(&client, &lines).await?;
    }
    show_a_search(&client).await
}

/// Number of documents of the index; `None` if there is no such index.
async fn documents_in(client: &Client) -> anyhow::Result<Option<u64>> {
    let answer = client.get(&format!("/indexes/{INDEX}/stats")).await?;
    match answer.status {
        404 => Ok(None),
        _ => Ok(answer.success("reading the index's statistics")?["numberOfDocuments"].as_u64()),
    }
}

async fn fill(client: &Client, lines: &[&str]) -> anyhow::Result<()> {
    let progress = ProgressBar::new(lines.len() as u64);
    let style = ProgressStyle::with_template("{msg:<24} [{bar:40}] {human_pos}/{human_len} cities, {elapsed}");
    progress.set_style(style.context("the progress bar's template")?.progress_chars("=> "));

    progress.set_message("Creating the index");
    if client.get(&format!("/indexes/{INDEX}")).await?.status == 404 {
        let created = client.send("POST", "/indexes", &json!({ "uid": INDEX, "primaryKey": "id" })).await?;
        finish(client, created.success("creating the index")?).await?;
    }
    progress.set_message("Setting it up");
    let settings: Value = serde_json::from_str(SETTINGS).context("demo/settings.json")?;
    let set = client.send("PATCH", &format!("/indexes/{INDEX}/settings"), &settings).await?;
    finish(client, set.success("changing the settings")?).await?;

    progress.set_message("Indexing");
    let path = format!("/indexes/{INDEX}/documents");
    let mut tasks = Vec::new();
    for batch in lines.chunks(BATCH_DOCUMENTS) {
        let body = batch.join("\n").into_bytes();
        let answer = client.call("POST", &path, "application/x-ndjson", body).await?;
        tasks.push((batch.len() as u64, answer.success("sending documents")?));
    }
    for (documents, task) in tasks {
        finish(client, task).await?;
        progress.inc(documents);
    }
    progress.finish_with_message("Indexed");
    Ok(())
}

/// Waits until the task that `accepted` names has succeeded.
async fn finish(client: &Client, accepted: Value) -> anyhow::Result<()> {
    let uid = accepted["taskUid"].as_u64().with_context(|| format!("the answer {accepted} names no task"))?;
    let deadline = Instant::now() + TASK_PATIENCE;
    while Instant::now() < deadline {
        let task = client.get(&format!("/tasks/{uid}")).await?.success("reading a task")?;
        match task["status"].as_str() {
            Some("succeeded") => return Ok(()),
            Some("failed" | "canceled") => bail!("task {uid} did not succeed: {}", task["error"]),
            _ => sleep(TASK_POLL).await,
        }
    }
    bail!("task {uid} did not end within {TASK_PATIENCE:?}")
}

async fn show_a_search(client: &Client) -> anyhow::Result<()> {
    let path = format!("/indexes/{INDEX}/search");
    let query = json!({
        "q": "san",
        "filter": "population > 500000",
        "facets": ["country"],
        "limit": 3,
        "attributesToRetrieve": ["name", "country", "population"]
    });
    let answer = client.send("POST", &path, &query).await?.success("searching")?;
    eprintln!("\nA search over all nodes:\n");
    eprintln!(
        "  curl '{}{path}' -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' -d '{query}'\n",
        client.url(),
        client.key()
    );
    eprintln!("{}", serde_json::to_string_pretty(&answer)?);
    Ok(())
}
