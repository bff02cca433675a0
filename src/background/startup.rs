//! Opens the store and takes up what it remembers, before any other service starts; of several Miroirs on one store, leads or follows.
//!
//! It is a service because Pingora forks when it runs as a daemon: threads that were started earlier would be gone.

use std::net::{IpAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use pingora::services::ServiceReadyNotifier;
use tokio::time::{timeout, Instant};

use crate::app::{App, Foundations, Seat};
use crate::conf::{Config, TaskStoreConfig};
use crate::peers::{reads_last, Lead, ReadLease, Role};
use crate::stage::SharedApp;
use crate::store::{Candidacy, Peer, RollCall};

/// How much earlier than the store a leader takes its lease to be over: clocks run at slightly different speeds, and what it has given
/// a node just before must have arrived.
const LEASE_MARGIN: Duration = Duration::from_secs(1);
/// How long a follower lets the store think about who leads.
const ROLL_TIMEOUT: Duration = Duration::from_secs(2);
/// Wait before the store is asked again that could not be reached.
const RETRY_WAIT: Duration = Duration::from_millis(200);
/// How long a leader that is told to end leads on, for the requests that are under way. The process ends half a second later, and the store
/// has to be told before, on a busy machine too.
const LEAVE_WAIT: Duration = Duration::from_millis(500);

pub struct Startup {
    /// Taken when the service starts.
    config: Mutex<Option<Config>>,
    app: SharedApp,
    /// How long the process that this one replaces may keep the store.
    lock_wait: Duration,
    /// Whether it takes the sockets over from one that still runs, and may lead.
    takes_over: bool,
}

impl Startup {
    pub fn new(config: Config, app: SharedApp, lock_wait: Duration, takes_over: bool) -> Self {
        Self { config: Mutex::new(Some(config)), app, lock_wait, takes_over }
    }

    async fn open(&self, config: Config) -> anyhow::Result<Place> {
        let me = Peer { id: format!("{:032x}", fastrand::u128(..)), address: address_of(&config) };
        let is_shared = matches!(config.task_store, TaskStoreConfig::Redis { .. });
        let foundations = Arc::new(Foundations::open(config, self.lock_wait).await?);
        let place = Place { foundations, me, is_shared };
        let candidacy = if self.takes_over { Candidacy::No } else { Candidacy::StartsHere };
        let asked_at = Instant::now();
        let roll = place.call_roll(candidacy).await?;
        place.enter(&self.app, place.open_app(&roll, asked_at).await?);
        Ok(place)
    }
}

#[async_trait]
impl BackgroundService for Startup {
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(config) = config else { return };
        let place = match self.open(config).await {
            Ok(place) => place,
            Err(error) => {
                log::error!("cannot start: {error:#}");
                std::process::exit(1);
            }
        };
        ready.notify_ready();
        // What was opened here lives on this service's runtime.
        tokio::select! {
            () = place.keep(&self.app) => {}
            _ = shutdown.changed() => {}
        }
        if place.is_shared {
            // Requests that are under way get to end.
            tokio::time::sleep(LEAVE_WAIT).await;
            // Nothing more is given to nodes: another one may lead from now on.
            self.app.app().scatter.lead.lose();
            if let Ok(Err(error)) = timeout(ROLL_TIMEOUT, place.foundations.store.leave(&place.me)).await {
                log::warn!("the other Miroirs are not told that this one leaves: {error}");
            }
        }
    }
}

/// A Miroir's place among those on its store.
struct Place {
    foundations: Arc<Foundations>,
    me: Peer,
    /// Whether others may be on it.
    is_shared: bool,
}

impl Place {
    fn lease(&self) -> Duration {
        self.foundations.config.load().leader_election.lease
    }

    fn renew(&self) -> Duration {
        self.foundations.config.load().leader_election.renew
    }

    /// When a lease that was asked for at `asked_at` is over for this Miroir.
    fn lease_end(&self, asked_at: Instant) -> Instant {
        asked_at + self.lease() - LEASE_MARGIN
    }

    async fn call_roll(&self, candidacy: Candidacy) -> anyhow::Result<RollCall> {
        self.foundations.store.call_roll(&self.me, candidacy, self.lease()).await.context("cannot tell who leads")
    }

    /// The application for where `roll`, called at `asked_at`, has found this Miroir.
    async fn open_app(&self, roll: &RollCall, asked_at: Instant) -> anyhow::Result<App> {
        let leads = roll.leader.as_ref() == Some(&self.me);
        if !leads {
            match &roll.leader {
                Some(leader) => log::info!("this Miroir, at {}, follows {leader}", self.me.address),
                None => log::info!("this Miroir, at {}, follows whoever will lead", self.me.address),
            }
            let seat = Seat::Follower { leader: roll.leader.clone(), peers: roll.peers.clone() };
            return self.open_at(roll, seat).await;
        }
        let others = roll.peers.iter().map(|peer| peer.id.clone()).filter(|id| *id != self.me.id).collect();
        if !self.is_shared {
            let (lead, reads) = (Lead::for_good(), ReadLease::for_good());
            return self.open_at(roll, Seat::Leader { term: roll.term, lead, reads, others }).await;
        }
        log::info!("this Miroir, at {}, leads those on its store (term {})", self.me.address, roll.term);
        self.foundations.store.write_in_term(roll.term);
        let end = self.lease_end(asked_at);
        let (lead, reads) = (Lead::until(end), ReadLease::until(end));
        let opening = self.open_at(roll, Seat::Leader { term: roll.term, lead: lead.clone(), reads, others });
        // There may be more to take up than a lease leaves time for.
        tokio::select! {
            opened = opening => opened,
            () = self.keep_lead(roll.term, &lead) => anyhow::bail!("another Miroir leads by now"),
        }
    }

    async fn open_at(&self, roll: &RollCall, seat: Seat) -> anyhow::Result<App> {
        App::open(Arc::clone(&self.foundations), self.me.clone(), roll.secret.clone(), seat).await
    }

    fn enter(&self, stage: &SharedApp, app: App) {
        let leads = app.leads();
        stage.set(Arc::new(app));
        self.foundations.metrics.leader.set(i64::from(leads));
    }

    /// Renews the lead of a term until somebody else has it.
    async fn keep_lead(&self, term: u64, lead: &Lead) {
        loop {
            tokio::time::sleep(self.renew()).await;
            let asked_at = Instant::now();
            match self.call_roll(Candidacy::Stands).await {
                Ok(roll) if roll.leader.as_ref() == Some(&self.me) && roll.term == term => {
                    lead.renew(self.lease_end(asked_at));
                }
                Ok(_) => return,
                Err(error) => log::warn!("{error:#}"),
            }
        }
    }

    /// Says that this Miroir is there, again and again, and changes its application when the lead changes.
    async fn keep(&self, stage: &SharedApp) {
        if !self.is_shared {
            return std::future::pending().await;
        }
        let mut pace = RETRY_WAIT;
        loop {
            let app = stage.app();
            match app.following() {
                Some(following) => drop(timeout(pace, following.lost()).await),
                None => tokio::time::sleep(pace).await,
            }
            pace = match self.look(stage, &app).await {
                Ok(pace) => pace,
                Err(error) => {
                    log::warn!("who leads the Miroirs on this store is not known: {error:#}");
                    RETRY_WAIT
                }
            };
        }
    }

    /// Calls the roll and does what follows from it. Says when to do so again.
    async fn look(&self, stage: &SharedApp, app: &App) -> anyhow::Result<Duration> {
        let asked_at = Instant::now();
        let roll = match timeout(ROLL_TIMEOUT, self.call_roll(Candidacy::Stands)).await {
            Ok(Ok(roll)) => roll,
            failed => {
                // Without the store nobody can change anything.
                let end = asked_at + reads_last(self.lease());
                match app.following() {
                    Some(following) => following.unenrolled(&app.reads, end),
                    None => app.reads.extend_known(end),
                }
                failed.context("the store does not answer in time")??;
                return Ok(RETRY_WAIT);
            }
        };
        self.foundations.metrics.peer_count.set(roll.peers.len() as i64);
        let leads = roll.leader.as_ref() == Some(&self.me);
        match &app.role {
            Role::Leads { term, .. } if leads && roll.term == *term => {
                app.scatter.lead.renew(self.lease_end(asked_at));
                app.reads.extend(self.lease_end(asked_at));
                return Ok(self.renew());
            }
            Role::Leads { .. } => app.scatter.lead.lose(),
            Role::Follows(following) if !leads => {
                // One that is at this address is about to leave it.
                let is_leaving = roll.leader.as_ref().is_some_and(|leader| leader.address == self.me.address);
                following.set_roll(roll.leader, roll.peers);
                following.enrolled(&app.reads, self.lease_end(asked_at));
                return Ok(if is_leaving { RETRY_WAIT } else { self.renew() });
            }
            Role::Follows(_) => {}
        }
        self.enter(stage, self.open_app(&roll, asked_at).await?);
        Ok(self.renew())
    }
}

/// Where the other Miroirs reach this one: as configured, or else where it listens, by the address that leads to the store.
fn address_of(config: &Config) -> String {
    if let Some(address) = &config.leader_election.address {
        return address.clone();
    }
    let listens = config.server.address;
    let own = if listens.ip().is_unspecified() { way_to_store(config).unwrap_or(listens.ip()) } else { listens.ip() };
    std::net::SocketAddr::new(own, listens.port()).to_string()
}

/// This machine's address on the way to the store. Nothing is sent.
fn way_to_store(config: &Config) -> Option<IpAddr> {
    let TaskStoreConfig::Redis { url, .. } = &config.task_store else { return None };
    let url = url::Url::parse(url.reveal()).ok()?;
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect((url.host_str()?, url.port().unwrap_or(6379))).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
