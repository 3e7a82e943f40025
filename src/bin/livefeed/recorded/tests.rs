//! What is played of which recording.

use super::*;
use crate::recording::{Block, MAGIC, Sealer};
use livefeed::crossbeam_channel::unbounded;

/// A record: kind, whether it was sent, time, epoch, body.
type Line<'a> = (Kind, bool, u64, u64, &'a str);

struct Temp(PathBuf);

impl Temp {
    fn new(name: &str, blocks: &[&[Line<'_>]]) -> Self {
        let mut bytes = MAGIC.to_vec();
        let mut sealer = Sealer::new();
        for records in blocks {
            let mut block = Block::default();
            for (kind, sent, at, epoch, body) in *records {
                let body = Body::Whole(body.as_bytes());
                block.add(&Record { kind: *kind, sent: *sent, at: *at, epoch: *epoch, body });
            }
            sealer.seal(&block, &mut bytes).unwrap();
        }
        let path = std::env::temp_dir().join(format!("livefeed-{name}-{}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn played(recording: &Arc<Recording>, number: usize, in_step: bool) -> String {
    let cues = Cues::new(Arc::clone(recording), Some(number), Pace::Times(1.0), in_step, unbounded().0);
    let line = |cue| match cue {
        Cue::At(at, command) => format!("{at:?} {command:?}"),
        Cue::Heard(at) => format!("{at:?} heard"),
    };
    cues.map(line).collect::<Vec<_>>().join("; ")
}

#[test]
fn what_was_sent_behind_the_end_of_its_connection_is_no_part_of_the_next() {
    let late = [
        (Kind::Start, false, 0, 0, "{}"),
        (Kind::Connected, false, 1000, 1, "{}"),
        (Kind::Ended, false, 2000, 1, "{}"),
        (Kind::Text, true, 3000, 1, "late"),
        (Kind::Close, true, 3000, 1, ""),
        (Kind::Text, false, 10_000, 2, "hello"),
        (Kind::Connected, false, 11_000, 2, "{}"),
        (Kind::Close, false, 12_000, 2, "\u{3}x"),
        (Kind::Ended, false, 12_000, 2, "{}"),
    ];
    let temp = Temp::new("late", &[&late]);
    let recording = Arc::new(Recording::scan(&temp.0).unwrap());
    assert_eq!(recording.connections(), 2);
    let second = played(&recording, 1, true);
    assert!(second.starts_with("0ns Send(") && second.contains("2ms Close(888"), "{second}");
}

#[test]
fn a_connection_may_have_the_epoch_of_an_attempt_that_failed_in_the_login() {
    let both = [
        (Kind::Start, false, 0, 0, "{}"),
        (Kind::Text, false, 1, 1, "no"),
        (Kind::Ended, false, 2, 1, "{}"),
        (Kind::Text, false, 3, 1, "yes"),
        (Kind::Connected, false, 4, 1, "{}"),
        (Kind::Ended, false, 5, 1, "{}"),
    ];
    let temp = Temp::new("failed", &[&both]);
    let recording = Arc::new(Recording::scan(&temp.0).unwrap());
    assert_eq!(recording.connections(), 2);
    assert!(played(&recording, 1, false).contains("yes"));
}

#[test]
fn a_client_that_had_enough_is_not_reset_in_the_replay() {
    for (reason, said) in [("io", "Close(1000"), ("closed without close frame", "Close(1000")] {
        let ended = format!("{{\"reason\":{reason:?}}}");
        let run = [
            (Kind::Connected, false, 0, 1, "{}"),
            (Kind::Close, true, 1, 1, ""),
            (Kind::Ended, false, 2, 1, ended.as_str()),
        ];
        let mut late = run;
        late.swap(1, 2);
        for (name, run) in [("enough", run), ("enough-late", late)] {
            let temp = Temp::new(name, &[&run]);
            let shown = played(&Arc::new(Recording::scan(&temp.0).unwrap()), 0, false);
            assert!(shown.contains(said), "{name}, {reason}: {shown}");
        }
    }
}

#[test]
fn times_that_no_clock_has_are_played_to_an_end() {
    let far = u64::MAX - 1;
    let run = [
        (Kind::Start, false, 0, 0, "{}"),
        (Kind::Connected, false, 0, 1, "{}"),
        (Kind::Text, false, far, 1, "a"),
        (Kind::Ended, false, 3, 1, "{}"),
    ];
    let temp = Temp::new("far", &[&run, &run, &run]);
    let recording = Arc::new(Recording::scan(&temp.0).unwrap());
    assert_eq!((recording.connections(), recording.micros), (3, u64::MAX));
    let cues = Cues::new(recording, None, Pace::Times(0.001), false, unbounded().0);
    assert_eq!(cues.count(), 4);
}

#[test]
fn more_connections_than_memory_should_hold_are_refused() {
    let mut block = Block::default();
    for epoch in 1..=1 << 17 {
        for kind in [Kind::Connected, Kind::Ended] {
            block.add(&Record { kind, sent: false, at: 0, epoch, body: Body::Whole(b"") });
        }
    }
    let mut sealed = Vec::new();
    Sealer::new().seal(&block, &mut sealed).unwrap();
    let mut bytes = MAGIC.to_vec();
    let start = (Kind::Start, false, 0, 0, "{}");
    let temp = Temp::new("many", &[&[start]]);
    bytes.extend(&std::fs::read(&temp.0).unwrap()[MAGIC.len()..]);
    let start = bytes[MAGIC.len()..].to_vec();
    for _ in 0..9 {
        bytes.extend(&start);
        bytes.extend(&sealed);
    }
    std::fs::write(&temp.0, &bytes).unwrap();
    let error = Recording::scan(&temp.0).unwrap_err().to_string();
    assert!(error.contains("more than 1048576 connections"), "{error}");
}

#[test]
fn a_recording_that_vanished_ends_its_connection() {
    let run = [(Kind::Start, false, 0, 0, "{}"), (Kind::Text, false, 0, 1, "a")];
    let temp = Temp::new("gone", &[&run]);
    let recording = Arc::new(Recording::scan(&temp.0).unwrap());
    drop(temp);
    let shown = played(&recording, 0, false);
    assert!(shown.contains("Close(1011") && !shown.contains(';'), "{shown}");
}
