//! The start of a connection: TLS, and the answer to the upgrade request.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::{Conn, Phase};
use crate::lab::flood::Flood;
use crate::lab::script::Opening;
use crate::lab::transcript::{End, Request, What};
use crate::lab::upgrade;

impl Conn {
    /// Begins as the script wants.
    pub(in crate::lab) fn start(&mut self, now: Instant) {
        match self.script.opening {
            Opening::Reset => self.reset(),
            Opening::Fin => self.end_soon(End::Fin, now),
            Opening::StallTls => self.phase = Phase::Deaf,
            _ => {
                #[cfg(feature = "native-tls")]
                if let Some(identity) = &self.shared.tls {
                    let outcome = self.stream.start_tls(&identity.acceptor);
                    self.phase = Phase::Tls;
                    self.shaken(outcome);
                    return;
                }
                self.past_tls();
            }
        }
    }

    fn past_tls(&mut self) {
        let deaf = matches!(self.script.opening, Opening::NeverUpgrade);
        self.phase = if deaf { Phase::Deaf } else { Phase::Request };
    }

    pub(super) fn shaken(&mut self, outcome: io::Result<bool>) {
        match outcome {
            Ok(true) => {
                self.note(What::TlsDone);
                self.past_tls();
                // What came with the end of the handshake may be buffered where no poll sees it.
                self.again = true;
            }
            Ok(false) => {}
            Err(error) => self.over = Some(End::Tls(error.to_string())),
        }
    }

    /// Answers the upgrade request.
    pub(super) fn answer(&mut self, request: Request, now: Instant) {
        let request = Arc::new(request);
        self.note(What::Requested(Arc::clone(&request)));
        self.greeted = Some(Arc::clone(&request));
        let Some(key) = request.header("Sec-WebSocket-Key") else { return self.refuse(400, "", now) };
        let subprotocol = upgrade::subprotocol(&self.script, &request);
        let mut head = upgrade::switching(&self.script, key, subprotocol.as_deref());
        match self.script.opening.clone() {
            Opening::Refuse { status, body } => return self.refuse(status, &body, now),
            Opening::EndlessHeader => {
                self.out.queue(head.as_bytes());
                self.out.start_flood(Flood::of_header_lines());
                self.phase = Phase::Deaf;
                return;
            }
            Opening::RawResponse(bytes) => self.out.queue(&bytes),
            Opening::Upgrade { wrong_accept: true, .. } => {
                let wrong = upgrade::switching(&self.script, "wrong", subprotocol.as_deref());
                self.out.queue(format!("{wrong}\r\n").as_bytes());
            }
            Opening::Upgrade { trickle: Some(every), .. } => {
                self.out.trickle(format!("{head}\r\n").into_bytes(), every, now);
            }
            Opening::LongHeader(bytes) => {
                upgrade::push(&mut head, "X-Filler", &"x".repeat(bytes));
                self.out.queue(format!("{head}\r\n").as_bytes());
            }
            _ => self.out.queue(format!("{head}\r\n").as_bytes()),
        }
        self.note(What::Upgraded { subprotocol });
        self.phase = Phase::Open;
        for command in std::mem::take(&mut self.early) {
            self.command(command, now);
        }
        self.advance(now);
    }

    pub(super) fn refuse(&mut self, status: u16, body: &str, now: Instant) {
        self.out.queue(upgrade::refusal(status, &self.script.headers, body).as_bytes());
        self.note(What::Refused { status });
        self.end_soon(End::Fin, now);
    }
}
