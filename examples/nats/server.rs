//! A small NATS server on the lab: verbose answers, a subject that nobody may read, and a stream cut at odd places.

use livefeed::lab::{Command, Incoming, Lab, Script, Topic};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One connection.
#[derive(Default)]
struct Conn {
    /// What is to be sent.
    out: String,
    /// Subjects by sid.
    subjects: BTreeMap<String, String>,
    ticks: u64,
}

/// Starts it, on a free port.
pub(crate) fn start() -> std::io::Result<Lab> {
    Lab::builder().scripts(|_| script()).start()
}

fn script() -> Script {
    let conn = Arc::new(Mutex::new(Conn::default()));
    let other = Arc::clone(&conn);
    // All goes out in the order of one stream, which is cut wherever it happens to be.
    let stream = Topic::new("stream").every(Duration::from_millis(2)).message(move |_, _| {
        let mut conn = other.lock().unwrap_or_else(PoisonError::into_inner);
        conn.tick();
        let out = &mut conn.out;
        let cut = if out.len() > 7 { out.len() - out.len() % 7 } else { out.len() };
        out.drain(..cut).collect::<String>().into_bytes()
    });
    Script::new()
        .greet(|_| vec![Command::send(b"INFO {\"server_id\":\"X\",\"max_payload\":1048576}\r\n".to_vec())])
        .topics([stream])
        .react(move |incoming| {
            let Incoming::Binary(bytes) = incoming else {
                return vec![Command::Close(1003, "binary only".into())];
            };
            let mut conn = conn.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8_lossy(bytes).lines().for_each(|line| conn.hear(line));
            Vec::new()
        })
}

impl Conn {
    fn hear(&mut self, line: &str) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["CONNECT", ..] => self.out += "+OK\r\n",
            ["SUB", subject, _] if subject.starts_with("bad.") => {
                let no = format!("-ERR 'Permissions Violation for Subscription to \"{subject}\"'\r\n");
                self.out += &no;
            }
            ["SUB", subject, sid] => {
                self.subjects.insert(sid.to_owned(), subject.to_owned());
                self.out += "+OK\r\n";
            }
            ["UNSUB", sid] => {
                self.subjects.remove(sid);
                self.out += "+OK\r\n";
            }
            ["PING"] => self.out += "PONG\r\n",
            ["PONG"] => {}
            _ => self.out += "-ERR 'Unknown Protocol Operation'\r\n",
        }
    }

    fn tick(&mut self) {
        self.ticks += 1;
        for (sid, subject) in &self.subjects {
            let payload = format!("{subject} {}", self.ticks);
            self.out += &format!("MSG {subject} {sid} {}\r\n{payload}\r\n", payload.len());
        }
        if self.ticks.is_multiple_of(5) {
            self.out += "PING\r\n";
        }
    }
}
