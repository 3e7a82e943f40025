//! Logging in: the steps of a login, carried out on the reader thread within the budget of the attempt.
//!
//! The steps themselves are pure ([`Login`]); here is the socket. What comes meanwhile and belongs to no step is kept,
//! in order, for the connection that follows.

use super::core::Caller;
use super::decoder::{Broken, Decoder, Sink};
use super::governor::Governor;
use super::routes::Routes;
use super::shared::Shared;
use super::writer::{encode_content, encode_pong, kind_of};
use crate::class::ErrorClass;
use crate::clock::{self, Stamp};
use crate::dialect::{Class, FrameVars, Login, LoginNext, LoginStep, LoginVerdict, Variables};
use crate::error::{EndReason, Stage};
use crate::frame::FrameKind;
use crate::message::Content;
use crate::panics;
use crate::policy::approach::Wait;
use crate::policy::pacing::Kind;
use crate::transport::{Budget, Outcome, Stop, WriteHalf};
use std::collections::VecDeque;
use std::sync::Arc;
use tungstenite::{Bytes, Utf8Bytes};

/// Messages that belong to no step are at most so many.
const MESSAGES: usize = 65_536;

/// What was received and not looked at yet, each with the time of its `recv`.
pub(super) type Kept = VecDeque<(Content, Stamp)>;

/// A new connection, before it counts as one.
pub(super) struct Desk<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) routes: &'a mut Routes,
    pub(super) decoder: &'a mut Decoder,
    pub(super) half: &'a mut WriteHalf,
    pub(super) budget: Budget,
    pub(super) stop: &'a Stop,
    pub(super) epoch: u64,
    /// What is known from earlier connections.
    pub(super) vars: FrameVars,
    /// What is sent counts for the limits, but can't wait for them.
    pub(super) governor: &'a Governor,
    /// Messages that belong to no step may have so many bytes together.
    pub(super) bound: usize,
}

/// What a login leaves behind.
pub(super) struct LoggedIn {
    pub(super) captures: Arc<Variables>,
    /// What came meanwhile, for the connection.
    pub(super) kept: Kept,
}

/// What one `recv` brought.
#[derive(Default)]
struct Inbox {
    messages: Kept,
    ping: Option<Bytes>,
    close: Option<(Option<u16>, String)>,
}

impl Sink for Inbox {
    fn text(&mut self, text: Utf8Bytes, received: &Stamp) {
        self.messages.push_back((Content::Text(text), *received));
    }

    fn binary(&mut self, bytes: Bytes, received: &Stamp) {
        self.messages.push_back((Content::Binary(bytes), *received));
    }

    fn ping(&mut self, payload: Bytes) {
        self.ping = Some(payload);
    }

    fn pong(&mut self) {}

    fn close(&mut self, code: Option<u16>, reason: String) {
        self.close = Some((code, reason));
    }
}

impl Desk<'_> {
    /// Takes all steps.
    pub(super) fn log_in(&mut self, steps: Arc<[LoginStep]>) -> Result<LoggedIn, EndReason> {
        let mut login = Login::new(steps, self.vars.clone());
        let mut kept = Kept::new();
        let taken = self.take(&mut login, &mut kept);
        taken.map_err(|end| match end {
            EndReason::AttemptTimeout { stage, budget, .. } if matches!(login.next(), LoginNext::Wait) => {
                EndReason::AttemptTimeout { stage, budget, detail: login.waiting(kept.len()) }
            }
            end => end,
        })?;
        Ok(LoggedIn { captures: Arc::clone(login.captures()), kept })
    }

    fn take(&mut self, login: &mut Login, kept: &mut Kept) -> Result<(), EndReason> {
        let mut waiting = Kept::new();
        let mut kept_bytes = 0;
        // How the connection ended, behind what waits.
        let mut ended = None;
        loop {
            let next = login.next();
            if !matches!(next, LoginNext::Wait) && ended.is_some() {
                break;
            }
            match next {
                LoginNext::Done => break,
                LoginNext::Failed(problem) => return Err(failed(login.explain(problem))),
                LoginNext::Send(template) => {
                    let template = template.clone();
                    let id = self.shared.with(Caller::Reader, |core| core.session.next_frame());
                    let content = template.render(login.frame(id, Stamp::now().wall), &[]);
                    let content = content.map_err(|problem| failed(login.explain(&problem)))?;
                    self.write(&content)?;
                    login.handle_sent();
                }
                LoginNext::Call(call) => {
                    let mut context = login.context(self.budget.left(Stage::Login)?);
                    match panics::caught(|| call.call(&mut context)) {
                        Ok(Ok(())) => login.handle_called(context),
                        Ok(Err(error)) => {
                            let (detail, class) = (login.explain(&error.to_string()), error.class());
                            return Err(EndReason::LoginFailed { detail, class });
                        }
                        Err(panic) => {
                            return Err(failed(login.explain(&format!("the closure panicked: {panic}"))));
                        }
                    }
                }
                LoginNext::Wait => {
                    let Some((content, received)) = waiting.pop_front() else {
                        if ended.is_some() {
                            break;
                        }
                        ended = self.receive(&mut waiting)?;
                        continue;
                    };
                    match login.handle_message(content.payload()) {
                        LoginVerdict::Taken => {}
                        LoginVerdict::Refused { class, detail } => return Err(refused(detail, class)),
                        LoginVerdict::NotMine => {
                            if let Some(end) = self.refusal(&content) {
                                return Err(end);
                            }
                            kept_bytes += content.len();
                            kept.push_back((content, received));
                            if kept_bytes > self.bound || kept.len() > MESSAGES {
                                let detail = login.explain("too much came before it was answered");
                                return Err(failed(detail));
                            }
                        }
                    }
                    if let Some(panic) = login.take_panic() {
                        self.shared.report_panic(Caller::Reader, "matcher", panic);
                    }
                }
            }
            if self.stop.is_aborted() {
                return Err(EndReason::ClosedByUser);
            }
            self.budget.left(Stage::Login)?;
        }
        if let Some(end) = ended {
            return Err(end);
        }
        kept.extend(waiting);
        Ok(())
    }

    /// What belongs to no step, but is for a rule a refusal of the connection or the feed, will not be followed by
    /// what is waited for.
    fn refusal(&mut self, content: &Content) -> Option<EndReason> {
        let Routes { interpreter, reading, .. } = &mut *self.routes;
        interpreter.read(content.payload(), reading);
        if let Some(panic) = reading.panicked.take() {
            self.shared.report_panic(Caller::Reader, "matcher", panic);
        }
        let control = reading.control.take().filter(|_| reading.class == Class::Nack)?;
        matches!(control.class, ErrorClass::ConnectionFatal | ErrorClass::FeedFatal)
            .then(|| refused(control.detail, control.class))
    }

    /// One `recv`, within the budget. Gives how the connection ended, if it did; a server that refuses says so and hangs
    /// up, so what came before the end counts.
    fn receive(&mut self, messages: &mut Kept) -> Result<Option<EndReason>, EndReason> {
        let left = self.budget.left(Stage::Login)?;
        let mut inbox = Inbox::default();
        let (_, outcome, result) = self.decoder.cycle(Wait::Exactly(left), &mut inbox);
        if self.stop.is_aborted() {
            return Err(EndReason::ClosedByUser);
        }
        for (content, received) in inbox.messages {
            let decoded = self.routes.decode(content, &mut |content| messages.push_back((content, received)));
            if let Err(detail) = decoded {
                return Ok(Some(EndReason::Protocol { detail }));
            }
        }
        if let Some((code, reason)) = inbox.close {
            return Ok(Some(EndReason::ClosedByPeer { code, reason }));
        }
        match (result, outcome) {
            (Err(Broken::Gone(reason) | Broken::Violation { reason, .. }), _) => return Ok(Some(reason)),
            (Ok(()), Outcome::Eof) => return Ok(Some(EndReason::Eof)),
            (Ok(()), Outcome::Failed(reason)) => return Ok(Some(reason)),
            (Ok(()), Outcome::Bytes(_) | Outcome::Nothing | Outcome::Unused) => {}
        }
        if let Some(payload) = &inbox.ping {
            self.shared.sending(Caller::Reader, FrameKind::Pong, payload, self.epoch);
            let mut frame = Vec::new();
            encode_pong(&mut frame, payload);
            self.half.enqueue(&frame);
        }
        if inbox.ping.is_some() || self.decoder.wants_write() {
            return Ok(self.pump().err());
        }
        Ok(None)
    }

    fn write(&mut self, content: &Content) -> Result<(), EndReason> {
        let _ = self.governor.sends(clock::mono(), Kind::Control);
        let payload = content.payload().as_bytes();
        self.shared.sending(Caller::Reader, kind_of(content), payload, self.epoch);
        let mut frame = Vec::new();
        encode_content(&mut frame, content);
        self.half.enqueue(&frame);
        self.pump()
    }

    /// Writes all that waits, within the budget.
    fn pump(&mut self) -> Result<(), EndReason> {
        loop {
            let pumped = self.half.pump();
            if self.stop.is_aborted() {
                return Err(EndReason::ClosedByUser);
            }
            if pumped?.idle {
                return Ok(());
            }
            self.budget.left(Stage::Login)?;
        }
    }
}

/// By no word of the server's; it may work later.
fn failed(detail: String) -> EndReason {
    EndReason::LoginFailed { detail, class: ErrorClass::RetryLater }
}

fn refused(detail: String, class: ErrorClass) -> EndReason {
    EndReason::LoginRefused { detail, class }
}
