//! What a connection sends by itself, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::command::Command;
use super::playback::Player;
use super::topic::{Sequences, Topic, Wish};
use super::transcript::Sent;

/// A topic that is further behind than this does not catch up.
const CATCH_UP: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Running {
    topic: Topic,
    counter: Arc<AtomicU64>,
    started: bool,
    muted: bool,
    due: Instant,
}

#[derive(Debug)]
struct Beat {
    frame: Vec<u8>,
    kind: Sent,
    every: Duration,
    due: Instant,
}

/// Something that is due.
#[derive(Debug)]
pub(super) enum Due {
    /// A topic's message, as a frame.
    Data(Vec<u8>),
    /// A heartbeat's or a ping's frame.
    Beat(Sent, Vec<u8>),
    /// What a playback wants done.
    Cue(Command),
}

/// The topics, heartbeats and pings of one connection.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    topics: Vec<Running>,
    beats: Vec<Beat>,
    player: Option<Player>,
    data_muted: bool,
    silent: bool,
}

impl Schedule {
    pub(super) fn add(&mut self, topic: Topic, sequences: &Sequences, now: Instant) {
        self.topics.retain(|running| running.topic.name != topic.name);
        self.topics.push(Running {
            counter: sequences.counter(&topic.name),
            started: topic.starts_at_once(),
            muted: false,
            due: now,
            topic,
        });
    }

    pub(super) fn remove(&mut self, topic: &str) {
        self.topics.retain(|running| *running.topic.name != *topic);
    }

    pub(super) fn beat(&mut self, kind: Sent, frame: Vec<u8>, every: Duration, now: Instant) {
        // An interval of zero would leave no time for anything else.
        let every = every.max(Duration::from_micros(100));
        self.beats.push(Beat { frame, kind, every, due: now + every });
    }

    pub(super) fn play(&mut self, player: Player) {
        self.player = Some(player);
    }

    pub(super) fn mute(&mut self, topic: &str, muted: bool, now: Instant) {
        for running in self.topics.iter_mut().filter(|r| *r.topic.name == *topic) {
            running.muted = muted;
            running.due = running.due.max(now);
        }
    }

    pub(super) fn mute_all(&mut self) {
        self.data_muted = true;
    }

    pub(super) fn unmute_all(&mut self, now: Instant) {
        self.data_muted = false;
        for running in &mut self.topics {
            running.muted = false;
            running.due = running.due.max(now);
        }
    }

    pub(super) fn silence(&mut self, silent: bool, now: Instant) {
        self.silent = silent;
        for beat in &mut self.beats {
            beat.due = beat.due.max(now);
        }
    }

    /// A text or binary message of the client has come.
    pub(super) fn heard_message(&mut self, now: Instant) {
        if let Some(player) = &mut self.player {
            player.heard(now);
        }
    }

    /// Starts and stops topics as the client's text wants it; the acks to send.
    pub(super) fn heard(&mut self, text: &str, now: Instant) -> Vec<String> {
        let mut acks = Vec::new();
        for running in &mut self.topics {
            match running.topic.wish(text) {
                Wish::Start => {
                    if !running.started {
                        running.started = true;
                        running.due = now;
                    }
                    acks.extend(running.topic.ack.clone());
                }
                Wish::Stop => running.started = false,
                Wish::Nothing => {}
            }
        }
        acks
    }

    fn runs(&self, running: &Running) -> bool {
        running.started && !running.muted && !self.data_muted && !self.silent
    }

    /// When the next thing is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.silent {
            return None;
        }
        let topics = self.topics.iter().filter(|r| self.runs(r)).map(|r| r.due);
        let played = self.player.as_ref().filter(|_| !self.data_muted).and_then(Player::due);
        topics.chain(self.beats.iter().map(|b| b.due)).chain(played).min()
    }

    /// Takes the thing that is due first, if one is due by now.
    pub(super) fn take(&mut self, now: Instant, connection: usize) -> Option<Due> {
        let first = self.deadline().filter(|&due| due <= now)?;
        if let Some(beat) = self.beats.iter_mut().find(|b| b.due == first) {
            beat.due = next(first, beat.every, now);
            return Some(Due::Beat(beat.kind, beat.frame.clone()));
        }
        let played = self.player.as_mut().filter(|_| !self.data_muted);
        if let Some(player) = played.filter(|player| player.due() == Some(first)) {
            // There may be nothing yet, where it was not known what is next: then the next turn comes when it is due.
            return player.take(now).map(Due::Cue).or_else(|| self.take(now, connection));
        }
        let index = self.topics.iter().position(|r| r.due == first && self.runs(r))?;
        let running = &mut self.topics[index];
        running.due = next(first, running.topic.every, now);
        let seq = running.counter.fetch_add(1, Ordering::Relaxed) + 1;
        Some(Due::Data(running.topic.frame(seq, connection)))
    }
}

fn next(due: Instant, every: Duration, now: Instant) -> Instant {
    let next = due + every;
    if every.is_zero() || next + CATCH_UP < now { now } else { next }
}
