//! Requests that single-document writes share: `docs/decisions/017-writes-grouped-by-node.md`.
//!
//! A node flushes its disk for each task that it registers. While a request is under way to it, further writes of the same kind to the
//! same index wait here, and leave together when it has been answered; the first write to an idle node leaves at once.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use prometheus::Histogram;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::marker;
use crate::cluster::NodeIndex;
use crate::scatter::{Delivery, NodeRequest};

/// Writes in one request: their names make a query string of 3 KiB, well within what servers accept.
const WRITES_MAX: usize = 128;
/// Bytes of a document that shares a request. A larger one has little to gain from it, and others would wait for it.
pub const DOCUMENT_BYTES_MAX: usize = 32 << 10;
/// How long a write waits for a request under way before it goes without it: several times a flush of a slow disk. A node that
/// hangs must not cost a write twice the time that one request may take.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// What requests have in common whose writes may share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    pub node: NodeIndex,
    pub method: Method,
    /// Without names of writes.
    pub path_and_query: String,
}

/// A write's part in a request.
#[derive(Clone, Debug)]
pub struct Part {
    /// The write's name: see [`marker`].
    pub marker: String,
    /// One element of a JSON array, cut anywhere.
    pub document: Vec<Bytes>,
}

/// The requests that writes wait for, all over the cluster.
///
/// Nobody runs this: of those who wait, the first sends the next request for all of them. At most [`WRITES_MAX`] wait on one route;
/// routes without a request under way are forgotten.
pub struct SharedRequests {
    routes: Arc<Mutex<HashMap<Route, Traffic>>>,
    writes_per_request: Histogram,
}

#[derive(Default)]
struct Traffic {
    under_way: usize,
    waiting: Vec<Waiting>,
    next_ticket: u64,
}

struct Waiting {
    ticket: u64,
    part: Part,
    told: oneshot::Sender<Told>,
}

/// What a waiting write is told.
enum Told {
    Delivered(Delivery),
    /// To send the next request, for these as well.
    Lead(UnderWay, Vec<Waiting>),
    /// The node refused the request as a whole, and has executed nothing: each finds out for itself whether it is to blame.
    Apart,
}

/// How a write begins.
enum Place {
    Leads(UnderWay),
    Waits(u64, oneshot::Receiver<Told>),
    /// Too many wait already.
    Alone,
}

impl SharedRequests {
    pub fn new(writes_per_request: Histogram) -> Self {
        Self { routes: Arc::default(), writes_per_request }
    }

    /// Delivers the part, alone or together with others. Those must not conflict with it: nothing in a request depends on another
    /// part of it. `send` sends a request once.
    pub async fn deliver<F>(&self, route: &Route, part: Part, send: impl Fn(NodeRequest) -> F) -> Delivery
    where
        F: Future<Output = Delivery>,
    {
        let (ticket, mut told) = match self.enter(route, &part) {
            Place::Leads(under_way) => return self.lead(under_way, part, Vec::new(), send).await,
            Place::Alone => return send(route.request(&[&part])).await,
            Place::Waits(ticket, told) => (ticket, told),
        };
        let word = match timeout(WAIT_MAX, &mut told).await {
            Ok(word) => word,
            Err(_) => match self.depart(route, ticket) {
                Some((under_way, others)) => return self.lead(under_way, part, others, send).await,
                // Its request is under way, and ends in time by itself.
                None => told.await,
            },
        };
        match word {
            Ok(Told::Delivered(delivery)) => delivery,
            Ok(Told::Lead(under_way, others)) => self.lead(under_way, part, others, send).await,
            Ok(Told::Apart) => send(route.request(&[&part])).await,
            // Whoever sent the request was stopped, perhaps in the middle of it.
            Err(_) => Delivery::InDoubt,
        }
    }

    /// Sends one request for a write and `others`, and tells them what became of it.
    async fn lead<F>(
        &self,
        under_way: UnderWay,
        part: Part,
        others: Vec<Waiting>,
        send: impl Fn(NodeRequest) -> F,
    ) -> Delivery
    where
        F: Future<Output = Delivery>,
    {
        let parts: Vec<&Part> = std::iter::once(&part).chain(others.iter().map(|waiting| &waiting.part)).collect();
        let shared_by = parts.len();
        self.writes_per_request.observe(shared_by as f64);
        let delivery = send(under_way.route.request(&parts)).await;
        let alone = under_way.route.request(&[&part]);
        drop(under_way);
        if others.is_empty() {
            return delivery;
        }
        // Who has gone away does not need to hear.
        if matches!(delivery, Delivery::Refused(_)) {
            others.into_iter().for_each(|waiting| drop(waiting.told.send(Told::Apart)));
            return send(alone).await;
        }
        let mut deliveries = delivery.for_each_of(shared_by).into_iter();
        let own = deliveries.next().unwrap_or(Delivery::InDoubt);
        for (waiting, delivery) in others.into_iter().zip(deliveries) {
            drop(waiting.told.send(Told::Delivered(delivery)));
        }
        own
    }

    fn enter(&self, route: &Route, part: &Part) -> Place {
        let mut routes = lock(&self.routes);
        let traffic = match routes.get_mut(route) {
            Some(traffic) => traffic,
            None => routes.entry(route.clone()).or_default(),
        };
        if traffic.under_way == 0 {
            traffic.under_way = 1;
            return Place::Leads(self.under_way(route));
        }
        // The one who leads them is one of them.
        if traffic.waiting.len() >= WRITES_MAX {
            return Place::Alone;
        }
        let ticket = traffic.next_ticket;
        traffic.next_ticket += 1;
        let (told, word) = oneshot::channel();
        traffic.waiting.push(Waiting { ticket, part: part.clone(), told });
        Place::Waits(ticket, word)
    }

    /// The write waits no longer and takes along all others who do. `None` if somebody has taken it along.
    fn depart(&self, route: &Route, ticket: u64) -> Option<(UnderWay, Vec<Waiting>)> {
        let mut routes = lock(&self.routes);
        let traffic = routes.get_mut(route)?;
        let at = traffic.waiting.iter().position(|waiting| waiting.ticket == ticket)?;
        traffic.waiting.remove(at);
        traffic.under_way += 1;
        Some((self.under_way(route), std::mem::take(&mut traffic.waiting)))
    }

    /// For a place that has been counted.
    fn under_way(&self, route: &Route) -> UnderWay {
        UnderWay { routes: Arc::clone(&self.routes), route: route.clone() }
    }
}

fn lock(routes: &Mutex<HashMap<Route, Traffic>>) -> MutexGuard<'_, HashMap<Route, Traffic>> {
    routes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place under way. When the request has been answered, or whoever sent it was stopped, it goes on to the next who waits.
struct UnderWay {
    routes: Arc<Mutex<HashMap<Route, Traffic>>>,
    route: Route,
}

impl UnderWay {
    /// Those who wait, to whom the place belongs from now on; it is gone if there are none.
    fn take_waiting(&self) -> Vec<Waiting> {
        let mut routes = lock(&self.routes);
        let Some(traffic) = routes.get_mut(&self.route) else { return Vec::new() };
        let waiting = std::mem::take(&mut traffic.waiting);
        if waiting.is_empty() {
            traffic.under_way -= 1;
            if traffic.under_way == 0 {
                routes.remove(&self.route);
            }
        }
        waiting
    }

    fn put_back(&self, others: Vec<Waiting>) {
        if let Some(traffic) = lock(&self.routes).get_mut(&self.route) {
            traffic.waiting.splice(0..0, others);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut waiting = self.take_waiting().into_iter();
        let Some(first) = waiting.next() else { return };
        let next = Self { routes: Arc::clone(&self.routes), route: self.route.clone() };
        if let Err(Told::Lead(next, others)) = first.told.send(Told::Lead(next, waiting.collect())) {
            // It has gone away; its place goes on to the one behind it.
            next.put_back(others);
        }
    }
}

impl Route {
    fn request(&self, parts: &[&Part]) -> NodeRequest {
        // Put together, since each piece of a body is a write to the socket.
        let mut body = BytesMut::with_capacity(parts.iter().map(|part| part.len() + 1).sum::<usize>() + 1);
        for (n, part) in parts.iter().enumerate() {
            body.extend_from_slice(if n == 0 { b"[" } else { b"," });
            part.document.iter().for_each(|piece| body.extend_from_slice(piece));
        }
        body.extend_from_slice(b"]");
        NodeRequest {
            method: self.method.clone(),
            path_and_query: marker::append(&self.path_and_query, parts.iter().map(|part| part.marker.as_str())),
            content_type: Some("application/json"),
            body: vec![body.freeze()],
        }
    }
}

impl Part {
    fn len(&self) -> usize {
        self.document.iter().map(Bytes::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use prometheus::HistogramOpts;
    use tokio::time::sleep;

    use super::*;
    use crate::error::{ApiError, Code};
    use crate::tasks::Acknowledgement;

    /// How long the node takes for a request.
    const FLUSH: Duration = Duration::from_millis(10);

    fn requests() -> SharedRequests {
        SharedRequests::new(Histogram::with_opts(HistogramOpts::new("w", "w")).unwrap())
    }

    fn route() -> Route {
        Route { node: NodeIndex(0), method: Method::POST, path_and_query: "/documents?primaryKey=id".to_owned() }
    }

    fn part(n: usize) -> Part {
        let document = vec![Bytes::from(format!("{{\"id\":{n}")), Bytes::from_static(b"}")];
        Part { marker: format!("m{n}"), document }
    }

    fn text(request: &NodeRequest) -> String {
        String::from_utf8(request.body.concat()).unwrap()
    }

    /// A node that takes its time, and gives each request the next number.
    #[derive(Default)]
    struct FakeNode {
        requests: Mutex<Vec<(String, String)>>,
        refused: Option<&'static str>,
        at_once: AtomicUsize,
        at_once_max: AtomicUsize,
        flush: Option<Duration>,
    }

    impl FakeNode {
        async fn take(&self, request: NodeRequest) -> Delivery {
            let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.at_once_max.fetch_max(at_once, Ordering::SeqCst);
            let uid = {
                let mut requests = self.requests.lock().unwrap();
                requests.push((request.path_and_query.clone(), text(&request)));
                requests.len() as u32
            };
            sleep(self.flush.unwrap_or(FLUSH)).await;
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            match self.refused {
                Some(bad) if text(&request).contains(bad) => {
                    Delivery::Refused(ApiError::new(Code::BadRequest, "malformed"))
                }
                _ => Delivery::Acknowledged(Acknowledgement { uid, enqueued_at: None, shared_by: 1 }),
            }
        }

        async fn deliver(&self, requests: &SharedRequests, n: usize) -> Delivery {
            requests.deliver(&route(), part(n), |request| self.take(request)).await
        }
    }

    fn acknowledged(delivery: &Delivery) -> (u32, u32) {
        match delivery {
            Delivery::Acknowledged(acknowledgement) => (acknowledgement.uid, acknowledgement.shared_by),
            other => panic!("not acknowledged: {other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_leaves_at_once_and_those_that_come_meanwhile_leave_together_after_it() {
        let (node, requests) = (FakeNode::default(), requests());
        let deliveries = join_all((0..4).map(|n| node.deliver(&requests, n))).await;
        let told: Vec<_> = deliveries.iter().map(acknowledged).collect();
        assert_eq!(told, [(1, 1), (2, 3), (2, 3), (2, 3)]);
        let sent = node.requests.lock().unwrap().clone();
        assert_eq!(sent[0], ("/documents?primaryKey=id&customMetadata=m0".to_owned(), r#"[{"id":0}]"#.to_owned()));
        assert_eq!(sent[1].0, "/documents?primaryKey=id&customMetadata=m1,m2,m3");
        assert_eq!(sent[1].1, r#"[{"id":1},{"id":2},{"id":3}]"#);
        assert_eq!(node.at_once_max.load(Ordering::SeqCst), 1);
        assert!(lock(&requests.routes).is_empty(), "nothing is kept of routes that nobody uses");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_client_never_waits() {
        let (node, requests) = (FakeNode::default(), requests());
        let started = tokio::time::Instant::now();
        for n in 0..10 {
            assert_eq!(acknowledged(&node.deliver(&requests, n).await), (n as u32 + 1, 1));
        }
        assert_eq!(started.elapsed(), 10 * FLUSH);
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_request_that_is_refused_each_write_is_sent_again_by_itself() {
        let (node, requests) = (FakeNode { refused: Some(r#""id":2"#), ..FakeNode::default() }, requests());
        let deliveries = join_all((0..4).map(|n| node.deliver(&requests, n))).await;
        assert!(matches!(deliveries[2], Delivery::Refused(_)));
        for n in [0, 1, 3] {
            assert_eq!(acknowledged(&deliveries[n]).1, 1, "each has a task of its own");
        }
        assert_eq!(node.requests.lock().unwrap().len(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_hangs_holds_up_only_what_it_was_sent() {
        let (node, requests) = (FakeNode { flush: Some(Duration::from_secs(10)), ..FakeNode::default() }, requests());
        let started = tokio::time::Instant::now();
        join_all((0..4).map(|n| node.deliver(&requests, n))).await;
        assert_eq!(started.elapsed(), WAIT_MAX + Duration::from_secs(10));
        assert_eq!(node.requests.lock().unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_one_request_holds_go_without_waiting() {
        let (node, requests) = (FakeNode::default(), requests());
        join_all((0..WRITES_MAX + 3).map(|n| node.deliver(&requests, n))).await;
        let documents = |(_, body): &(String, String)| body.matches("id").count();
        let sent: Vec<usize> = node.requests.lock().unwrap().iter().map(documents).collect();
        assert_eq!(sent, [1, 1, 1, WRITES_MAX]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_stopped_holds_nobody_up_and_leaves_those_it_took_along_in_doubt() {
        let (node, requests) = (FakeNode::default(), requests());
        let (first, rest) = tokio::join!(
            // Stopped while its request is under way.
            timeout(FLUSH / 2, node.deliver(&requests, 0)),
            join_all((1..4).map(|n| {
                // The second leads the others, and is stopped as well.
                let patience = if n == 1 { FLUSH } else { 100 * FLUSH };
                timeout(patience, node.deliver(&requests, n))
            })),
        );
        assert!(first.is_err() && rest[0].is_err());
        for delivery in &rest[1..] {
            assert!(matches!(delivery, Ok(Delivery::InDoubt)), "{delivery:?}");
        }
        assert_eq!(acknowledged(&node.deliver(&requests, 5).await).1, 1);
        assert!(lock(&requests.routes).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_an_answer_to_all_who_shared_the_request() {
        let late = Delivery::late_for_tests(async {
            sleep(FLUSH).await;
            Delivery::Acknowledged(Acknowledgement { uid: 7, enqueued_at: None, shared_by: 1 })
        });
        for delivery in late.for_each_of(3) {
            let Delivery::Late(late) = delivery else { panic!("{delivery:?} is not late") };
            assert_eq!(acknowledged(&late.within(FLUSH * 2).await.unwrap()), (7, 3));
        }
    }

    proptest::proptest! {
        /// Whenever writes come and whoever is stopped, each that is not is told exactly once, of a request that it was in.
        #[test]
        fn every_write_is_told_of_a_request_that_it_was_in(
            writes in proptest::collection::vec((0_u64..60, proptest::option::weighted(0.2, 0_u64..40)), 1..60),
            flush_ms in 1_u64..250,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let node = FakeNode { flush: Some(Duration::from_millis(flush_ms)), ..FakeNode::default() };
                let requests = requests();
                let of_one = |(n, (begin, patience)): (usize, &(u64, Option<u64>))| {
                    let (begin, patience) = (Duration::from_millis(*begin), patience.map(Duration::from_millis));
                    let (node, requests) = (&node, &requests);
                    async move {
                        sleep(begin).await;
                        timeout(patience.unwrap_or(Duration::MAX), node.deliver(requests, n)).await.ok()
                    }
                };
                let told = join_all(writes.iter().enumerate().map(of_one)).await;
                let sent = node.requests.lock().unwrap().clone();
                for (n, delivery) in told.iter().enumerate() {
                    match delivery {
                        Some(Delivery::Acknowledged(acknowledgement)) => {
                            let (path, body) = &sent[acknowledgement.uid as usize - 1];
                            let markers: Vec<&str> = path.rsplit_once('=').unwrap().1.split(',').collect();
                            let is_in_it = markers.contains(&part(n).marker.as_str());
                            proptest::prop_assert!(is_in_it);
                            proptest::prop_assert_eq!(markers.len(), acknowledgement.shared_by as usize);
                            proptest::prop_assert_eq!(body.matches("id").count(), markers.len());
                        }
                        Some(Delivery::InDoubt) => {
                            proptest::prop_assert!(writes.iter().any(|(_, patience)| patience.is_some()));
                        }
                        Some(other) => panic!("{other:?}"),
                        None => proptest::prop_assert!(writes[n].1.is_some()),
                    }
                }
                proptest::prop_assert!(lock(&requests.routes).is_empty());
                Ok(())
            })?;
        }
    }
}
