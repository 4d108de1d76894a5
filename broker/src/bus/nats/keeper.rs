//! Keeps the server's subscriptions what this node wants, and tells local subscribers when something may have been missed:
//! after a subscription has reached the server, after every reconnect, and when the client overran one of its buffers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_nats::{Client, Message, RequestErrorKind, Subscriber};
use futures_util::StreamExt as _;
use perennial_engine::ports::{Bus as _, Notice, Request};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::interest::{Interest, Topic};
use super::outbox::Outbox;
use super::subjects::Subjects;
use super::{Counter, Line, wire};
use crate::bus::local::Local;
use crate::limits;

/// Executors are asked through one of the processes that reach them.
const HANDS: &str = "hands";

/// The task behind all subscriptions.
pub(super) struct Keeper {
    pub(super) client: Client,
    pub(super) subjects: Subjects,
    pub(super) group: String,
    pub(super) interest: Arc<Interest>,
    pub(super) line: watch::Receiver<Line>,
    pub(super) post: Post,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Ends an ear, and with it its subscription.
    pub(super) ears: HashMap<Topic, CancellationToken>,
    /// Subscribed, but something published before the server knew may be missing.
    pub(super) unsure: HashSet<Topic>,
}

impl Keeper {
    pub(super) async fn run(self) {
        self.stop.clone().run_until_cancelled(self.work()).await;
    }

    async fn work(mut self) {
        let mut look = interval(limits::CONFIRM_AGAIN);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = 0;
        loop {
            let line = *self.line.borrow_and_update();
            if line.up && line.times != seen {
                seen = line.times;
                self.unsure.extend(self.ears.keys());
            }
            if line.up && !self.unsure.is_empty() && self.round_trip().await {
                self.tell_unsure();
            }
            tokio::select! {
                () = self.interest.news.notified() => self.follow().await,
                changed = self.line.changed() => if changed.is_err() { return },
                _ = look.tick(), if !self.unsure.is_empty() => {}
            }
        }
    }

    /// Subscribes to what is wanted now and was not, and the other way round.
    async fn follow(&mut self) {
        for (topic, wanted) in self.interest.changes() {
            match (wanted, self.ears.contains_key(&topic)) {
                (true, false) => self.listen(topic).await,
                (false, true) => {
                    self.unsure.remove(&topic);
                    if let Some(quit) = self.ears.remove(&topic) {
                        quit.cancel();
                    }
                }
                _ => {}
            }
        }
    }

    async fn listen(&mut self, topic: Topic) {
        let client = &self.client;
        let subscribed = match topic {
            Topic::Session(key) => client.subscribe(self.subjects.session(key)).await,
            Topic::Ticks(tick) => client.subscribe(self.subjects.ticks(tick)).await,
            Topic::Wakes => client.queue_subscribe(self.subjects.wakes(), self.group.clone()).await,
            Topic::Requests(executor) => {
                let subject = self.subjects.executor(executor);
                client.queue_subscribe(subject, HANDS.into()).await
            }
        };
        let subscriber = match subscribed {
            Ok(subscriber) => subscriber,
            // Our subjects are well formed, so this is a client that has ended.
            Err(error) => return tracing::error!(%error, "cannot listen on the bus; readers poll"),
        };
        let quit = self.stop.child_token();
        self.ears.insert(topic, quit.clone());
        self.unsure.insert(topic);
        let ear = Ear {
            topic,
            subscriber,
            post: self.post.clone(),
        };
        self.tasks.spawn(ear.run(quit));
    }

    /// Whether the server has read everything sent so far: it answers that nobody listens there.
    async fn round_trip(&self) -> bool {
        let question = async_nats::Request::new().timeout(Some(limits::CONFIRM_WAIT));
        match self.client.send_request(self.subjects.nobody(), question).await {
            Ok(_) => true,
            Err(error) => error.kind() == RequestErrorKind::NoResponders,
        }
    }

    fn tell_unsure(&mut self) {
        for topic in self.unsure.drain() {
            let local = &self.post.local;
            match topic {
                Topic::Session(key) => local.publish(key, &Notice::Lagged),
                Topic::Ticks(tick) => local.tick(tick),
                Topic::Wakes => local.wake(),
                // Who asked got no answer and asks again.
                Topic::Requests(_) => {}
            }
        }
    }
}

/// Where what comes in goes.
#[derive(Clone)]
pub(super) struct Post {
    pub(super) local: Local,
    pub(super) outbox: Arc<Outbox>,
    pub(super) garbage: Counter,
}

impl Post {
    fn deliver(&self, topic: Topic, message: Message) {
        let Message { payload, reply, .. } = message;
        match topic {
            Topic::Session(key) => match wire::notice(&payload) {
                Some(notice) => self.local.publish(key, &notice),
                None => self.garbage.add(),
            },
            Topic::Ticks(tick) if wire::is_tick(&payload) => self.local.tick(tick),
            Topic::Wakes if wire::is_tick(&payload) => self.local.wake(),
            Topic::Requests(executor) => match reply {
                Some(reply) if payload.len() <= limits::REQUEST_BYTES => {
                    let outbox = Arc::clone(&self.outbox);
                    let answer = move |body| outbox.answer(reply, body);
                    let request = Request {
                        body: payload,
                        reply: Box::new(answer),
                    };
                    // Too many wait already: who asks hears nothing and asks again.
                    let _ = self.local.ask(executor, request);
                }
                _ => self.garbage.add(),
            },
            Topic::Ticks(_) | Topic::Wakes => self.garbage.add(),
        }
    }
}

/// One subscription of this node.
struct Ear {
    topic: Topic,
    subscriber: Subscriber,
    post: Post,
}

impl Ear {
    async fn run(mut self, quit: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = quit.cancelled() => break,
                message = self.subscriber.next() => match message {
                    Some(message) => self.post.deliver(self.topic, message),
                    None => return,
                },
            }
        }
        // Without a server there may be no room to say so; the client forgets a subscription that is dropped.
        let left = timeout(limits::LAST_WORDS, self.subscriber.unsubscribe()).await;
        if left.is_ok() && self.topic == Topic::Wakes {
            // What came for us while we left the group is heard by nobody now: another one should look.
            self.post.outbox.wake();
        }
    }
}
