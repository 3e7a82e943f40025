//! The machine and what the server announces or asks for: notices, replies, keepalives.

use super::acks::cut;
use super::{Action, Detour, Phase, Session};
use crate::class::NoticeAction;
use crate::clock::Stamp;
use crate::error::EndReason;
use crate::event::AlertKind;
use crate::message::Content;
use std::time::Duration;

impl Session {
    /// The server announced something.
    pub(crate) fn handle_notice(&mut self, now: Stamp, action: NoticeAction, detail: String) {
        let Phase::Up(up) = &mut self.phase else { return };
        if !up.is_open() {
            return;
        }
        let detail = cut(detail);
        match action {
            NoticeAction::Reconnect => self.leave(now, EndReason::ServerNotice { detail }),
            NoticeAction::ReconnectWithin(most) => {
                // Not all clients of the server at once. The earliest of several holds.
                let Some(at) = now.mono.checked_add(self.backoff.within(most)) else { return };
                if up.reconnect_at.as_ref().is_none_or(|(before, _)| at < *before) {
                    up.reconnect_at = Some((at, detail));
                }
            }
            NoticeAction::Pause(length) => up.pause(now.mono, length),
            NoticeAction::Resume => self.resume(now),
            NoticeAction::ResubscribeAll => {
                self.resume(now);
                self.make_all_again(now);
            }
            NoticeAction::GoTo(_) => {
                self.detour = Detour::Next;
                self.leave(now, EndReason::ServerNotice { detail });
            }
            NoticeAction::NextEndpoint => {
                self.switch = true;
                self.leave(now, EndReason::ServerNotice { detail });
            }
            NoticeAction::Fatal => {
                up.fatal = true;
                self.leave(now, EndReason::ServerNotice { detail });
            }
            NoticeAction::Alert => self.alert(now, AlertKind::Notice { detail }),
        }
    }

    /// The server is back from what it asked patience for.
    fn resume(&mut self, now: Stamp) {
        if let Phase::Up(up) = &mut self.phase
            && up.resume(now.mono)
        {
            self.demands_break();
        }
    }

    /// The answer to a message of the server, by the rule of this number: it goes out before all that can wait.
    pub(crate) fn handle_reply(&mut self, rule: u32, content: Content) {
        if self.is_connected() {
            self.outbox.push_reply(rule, content);
        }
    }

    /// An answer that takes no other's place: to data, or of a dialect. A server that asks for more and takes none ends
    /// the connection by that.
    pub(crate) fn handle_answering(&mut self, content: Content) {
        let bound = self.settings.outbox_bytes;
        if let Phase::Up(up) = &mut self.phase
            && up.is_open()
            && !self.outbox.push_answer(content, bound)
        {
            let detail = format!("the server takes no answers: more than {bound} bytes of them wait");
            up.end(EndReason::Protocol { detail });
            self.actions.push_back(Action::Abort);
        }
    }

    /// The answer came that the keepalive of this index expects.
    pub(crate) fn handle_answer(&mut self, now: Stamp, index: usize) {
        if let Phase::Up(up) = &mut self.phase {
            let at = up.attention.attended(now.mono);
            if let Some(schedule) = up.keepalives.get_mut(index) {
                schedule.handle_answer(at);
            }
        }
    }

    /// The server refused what the keepalive of an index asked for: the next connection logs in afresh.
    pub(crate) fn handle_answer_refused(&mut self, detail: String) {
        self.server_error(false, detail);
    }

    /// The keepalive of this index is from now on sent so often.
    pub(crate) fn handle_period(&mut self, index: usize, period: Duration) {
        if let Phase::Up(up) = &mut self.phase
            && let Some(schedule) = up.keepalives.get_mut(index)
        {
            schedule.set_period(period);
        }
    }

    /// What the time calls for on an open connection.
    pub(super) fn handle_due(&mut self, now: Stamp) {
        let Phase::Up(up) = &mut self.phase else { return };
        if !up.attention.is_away() {
            self.queue_keepalives(now);
        }
        let Phase::Up(up) = &mut self.phase else { return };
        if up.end_pause(now.mono) {
            self.demands_break();
        }
        let Phase::Up(up) = &mut self.phase else { return };
        if let Some((_, detail)) = up.reconnect_at.take_if(|(at, _)| now.mono >= *at) {
            self.leave(now, EndReason::ServerNotice { detail });
            return;
        }
        self.queue_due(now);
        self.let_out(now);
    }

    /// Queues the keepalives that are due.
    pub(super) fn queue_keepalives(&mut self, now: Stamp) {
        let Phase::Up(up) = &mut self.phase else { return };
        let at = up.attention.attended(now.mono);
        for (index, schedule) in up.keepalives.iter_mut().enumerate() {
            if schedule.take_due(at) {
                self.outbox.push_keepalive(index);
            }
        }
    }

    /// The socket was empty: is an answer to a keepalive overdue, or a heartbeat?
    pub(super) fn judge_keepalives(&mut self, now: Stamp) {
        self.queue_keepalives(now); // the controller is late
        let Phase::Up(up) = &mut self.phase else { return };
        let at = up.attention.attended(now.mono);
        if let Some(waited) = up.keepalives.iter().filter_map(|schedule| schedule.overdue(at)).max() {
            up.end(EndReason::KeepaliveOverdue { waited });
            self.actions.push_back(Action::Abort);
        } else if let Some(waited) = up.heartbeat.overdue(at) {
            up.end(EndReason::HeartbeatOverdue { waited });
            self.actions.push_back(Action::Abort);
        }
    }
}
