//! `/_miroir/peers`: what Miroirs on one store ask each other. No client has the secret that opens it.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use crate::api::{whole_body, Answer, Body, Request, Verb};
use crate::app::App;
use crate::cluster::IndexUid;
use crate::error::{ApiError, Code};
use crate::peers::{Known, News, Picture, Role, NEWS_WAIT, PEER_SECRET};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerRoute {
    /// What is new at the leader.
    News,
    /// Indexes whose settings a follower has found to differ.
    Drift,
}

impl PeerRoute {
    /// `segments` come after `peers`.
    pub fn recognise(segments: &[&str], verb: Verb) -> Option<Self> {
        match (segments, verb) {
            (["news"], Verb::Get) => Some(PeerRoute::News),
            (["drift"], Verb::Post) => Some(PeerRoute::Drift),
            _ => None,
        }
    }

    pub fn template(&self) -> &'static str {
        match self {
            PeerRoute::News => "/_miroir/peers/news",
            PeerRoute::Drift => "/_miroir/peers/drift",
        }
    }
}

pub async fn answer(
    app: &App,
    route: &PeerRoute,
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    let presented = request.origin.and_then(|origin| origin.only(PEER_SECRET.as_str()));
    if !presented.is_some_and(|presented| app.is_peer_secret(presented)) {
        return Err(ApiError::new(Code::MiroirInvalidAuth, "Only Miroirs on the same store may ask this."));
    }
    match route {
        PeerRoute::News => news(app, request.query.unwrap_or_default()).await,
        PeerRoute::Drift => {
            let Drift { indexes } =
                serde_json::from_slice(&whole_body(body).await?).map_err(|error| ApiError::malformed_json(&error))?;
            app.drift_reports.add(indexes);
            Ok(Answer::json(200, &json!({ "acknowledged": true })))
        }
    }
}

#[derive(Deserialize)]
struct Drift {
    indexes: Vec<IndexUid>,
}

/// Waits until there is something new, for a while.
async fn news(app: &App, query: &str) -> Result<Answer, ApiError> {
    let Role::Leads { term, followers } = &app.role else {
        return Err(ApiError::no_leader("This Miroir does not lead."));
    };
    let values: HashMap<_, _> = form_urlencoded::parse(query.as_bytes()).collect();
    let number = |name: &str| values.get(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    let peer = values.get("peer").filter(|peer| !peer.is_empty());
    let peer = peer.ok_or_else(|| ApiError::new(Code::BadRequest, "`peer` says who asks."))?;
    let known = Known { term: number("term"), epoch: number("epoch") };
    if values.contains_key("leaves") {
        followers.forget(peer);
        return Ok(Answer::json(200, &json!({ "acknowledged": true })));
    }
    // Epochs of another term count nothing.
    let is_of_term = known.term == *term;
    let (adopted, left) = if is_of_term { (known.epoch, number("left")) } else { (0, 0) };
    followers.hear(peer, adopted, left);
    if is_of_term {
        let _ = timeout(NEWS_WAIT, app.cluster.epochs().wait_for(|epoch| *epoch > known.epoch)).await;
    }
    let snapshot = app.cluster.snapshot();
    let news = News {
        known: Known { term: *term, epoch: snapshot.epoch },
        picture: (!is_of_term || snapshot.epoch > known.epoch).then(|| Picture::of(&snapshot)),
        overdue: app.overdue.all(),
        reads_last_ms: followers.reads_last().as_millis() as u64,
    };
    // Somebody else may have begun to lead and changed what this one does not know of.
    if !app.scatter.lead.is_held() {
        return Err(ApiError::no_leader("This Miroir cannot tell whether it still leads."));
    }
    Ok(Answer::json(200, &news))
}
