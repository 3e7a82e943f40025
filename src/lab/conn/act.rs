//! What each command does to a connection.

use std::time::Instant;

use super::Conn;
use crate::lab::command::Command;
use crate::lab::flood::Flood;
use crate::lab::frames::{self, BINARY, PING, PONG, TEXT};
use crate::lab::transcript::{End, Sent};

impl Conn {
    pub(super) fn act(&mut self, command: Command, now: Instant) {
        match command {
            Command::Topics(topics) => topics.into_iter().for_each(|topic| self.start_topic(topic, now)),
            Command::Mute(topic) => self.schedule.mute(&topic, true, now),
            Command::Drop(topic) => self.schedule.remove(&topic),
            Command::Unmute(topic) => self.schedule.mute(&topic, false, now),
            Command::Skip(topic, messages) => self.shared.sequences.skip(&topic, messages),
            Command::MuteAll => {
                self.schedule.mute_all();
                self.out.mute_flood(true);
            }
            Command::UnmuteAll => {
                self.schedule.unmute_all(now);
                self.out.mute_flood(false);
            }
            Command::Silence => {
                self.schedule.silence(true, now);
                self.out.mute_flood(true);
            }
            Command::Resume => {
                self.schedule.silence(false, now);
                self.schedule.unmute_all(now);
                self.out.mute_flood(false);
                self.out.release();
            }
            Command::Flood(flood) => self.out.start_flood(flood),
            Command::Play(playback) => self.schedule.play(playback.start(self.number, now)),
            Command::PingFlood => {
                self.reading = false;
                self.out.start_flood(Flood::of_pings());
            }
            Command::Heartbeats(text, every) => {
                self.schedule.beat(Sent::Heartbeat, frames::frame(TEXT, text.as_bytes()), every, now);
            }
            Command::Pings(every) => self.schedule.beat(Sent::Ping, frames::frame(PING, b""), every, now),
            Command::Send(text) => self.send(Sent::Text, &frames::frame(TEXT, text.as_bytes())),
            Command::SendBinary(bytes) => self.send(Sent::Binary, &frames::frame(BINARY, &bytes)),
            Command::SendSized(bytes) => {
                self.send(Sent::Text, &frames::frame(TEXT, "x".repeat(bytes).as_bytes()));
            }
            Command::Fragments(text, parts) => self.send(Sent::Text, &frames::fragments(&text, parts)),
            Command::Raw(bytes) => self.send(Sent::Raw, &bytes),
            Command::Violate(what) => self.send(Sent::Raw, &frames::violation(what)),
            Command::Ping(payload) => self.send(Sent::Ping, &frames::frame(PING, &payload)),
            Command::Pong(payload) => self.send(Sent::Pong, &frames::frame(PONG, &payload)),
            Command::Trickle(text, every) => {
                self.out.trickle(frames::frame(TEXT, text.as_bytes()), every, now);
            }
            Command::HalfFrame(text) => {
                let frame = frames::frame(TEXT, text.as_bytes());
                let (first, second) = frame.split_at(frame.len() / 2);
                self.send(Sent::Raw, first);
                self.out.hold();
                self.out.queue(second);
            }
            Command::Close(code, reason) => {
                let payload = if code == 1005 { Vec::new() } else { frames::close_payload(code, &reason) };
                self.send_close(&payload, now);
            }
            Command::Reset => {
                self.write(now);
                self.reset();
            }
            Command::Fin => self.end_soon(End::Fin, now),
            Command::StopReading => self.reading = false,
            Command::StartReading => self.reading = true,
            Command::Freeze => {
                self.write(now);
                self.frozen = true;
            }
            Command::Thaw => {
                self.frozen = false;
                self.wake();
            }
            Command::AnswerPings(yes) => self.answer_pings = yes,
            Command::AnswerClose(yes) => self.answer_close = yes,
            Command::React(reaction) => self.reaction = Some(reaction),
        }
    }
}
