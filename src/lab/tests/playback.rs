//! Playbacks: order, times, waiting for the client, and their end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::lab::{Cue, Playback};

fn text(n: u64) -> Command {
    Command::Send(format!("{n}"))
}

fn play<I>(make: impl Fn(usize) -> I + Send + Sync + 'static) -> Script
where
    I: IntoIterator<Item = Cue>,
    I::IntoIter: Send + 'static,
{
    Script::new().play(Playback::new(make))
}

fn read(client: &mut WebSocket<TcpStream>) -> Message {
    client.read().unwrap()
}

#[test]
fn cues_are_played_in_order_at_their_times_with_all_commands() {
    let lab = Lab::start(play(|connection| {
        vec![
            Cue::At(ms(0), text(connection as u64)),
            Cue::At(ms(80), Command::SendBinary(vec![1, 2])),
            Cue::At(ms(40), text(3)), // late already
            Cue::At(ms(80), Command::Close(1000, "over".into())),
        ]
    }))
    .unwrap();
    let begin = Instant::now();
    let mut client = client(&lab);
    assert_eq!(read(&mut client), Message::text("1"));
    assert_eq!(read(&mut client), Message::binary(vec![1, 2]));
    assert!(begin.elapsed() >= ms(80), "{:?}", begin.elapsed());
    assert_eq!(read(&mut client), Message::text("3"));
    assert!(matches!(read(&mut client), Message::Close(Some(frame)) if frame.reason == "over"));
}

#[test]
fn a_playback_waits_for_the_client_and_all_that_follows_is_later() {
    let lab = Lab::start(play(|_| {
        vec![
            Cue::At(ms(0), text(1)),
            Cue::Heard(ms(10)),
            Cue::At(ms(60), text(2)),
            Cue::Heard(ms(60)),
            Cue::At(ms(60), text(3)),
        ]
    }))
    .unwrap();
    let mut client = client(&lab);
    assert_eq!(read(&mut client), Message::text("1"));
    client.get_ref().set_read_timeout(Some(ms(120))).unwrap();
    assert!(client.read().is_err(), "nothing before the client has said something");
    client.get_ref().set_read_timeout(Some(LIMIT)).unwrap();
    let asked = Instant::now();
    client.send(Message::text("subscribe")).unwrap();
    client.send(Message::binary(vec![0])).unwrap(); // long before it is waited for
    assert_eq!(read(&mut client), Message::text("2"));
    assert!(asked.elapsed() >= ms(50), "{:?}", asked.elapsed());
    assert_eq!(read(&mut client), Message::text("3"));
}

#[test]
fn a_playback_is_made_no_further_than_the_client_takes_it() {
    let made = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&made);
    let lab = Lab::start(play(move |_| {
        let count = Arc::clone(&count);
        (0..).map(move |n: u64| {
            count.fetch_add(1, Ordering::Relaxed);
            Cue::At(ms(0), Command::Send(format!("{n:01000}")))
        })
    }))
    .unwrap();
    let mut client = client(&lab);
    let mut latest = 0;
    // Until as much is on its way as the buffers of the system hold: then no more is made while none is read.
    loop {
        let before = std::mem::replace(&mut latest, made.load(Ordering::Relaxed));
        if latest > 0 && latest == before {
            break;
        }
        std::thread::sleep(ms(100));
    }
    assert!(latest < 60_000, "{latest} messages of 1,000 bytes were made");
    for n in 0..5_000 {
        assert_eq!(read(&mut client).to_text().unwrap().parse(), Ok(n));
    }
    assert!(lab.wait_for(|_| made.load(Ordering::Relaxed) > latest, LIMIT).is_some());
}

#[test]
fn a_muted_playback_goes_on_where_it_was() {
    let lab = Lab::start(play(|_| (0..1000).map(|n| Cue::At(ms(n), text(n))))).unwrap();
    let mut client = client(&lab);
    assert_eq!(read(&mut client), Message::text("0"));
    lab.control().all(Command::MuteAll);
    lab.control().all(Command::Send("muted".into()));
    let mut next = 1;
    loop {
        let message = read(&mut client);
        if message == Message::text("muted") {
            break;
        }
        assert_eq!(message, Message::text(next.to_string()));
        next += 1;
    }
    client.get_ref().set_read_timeout(Some(ms(50))).unwrap();
    assert!(client.read().is_err(), "it goes on while muted");
    client.get_ref().set_read_timeout(Some(LIMIT)).unwrap();
    lab.control().all(Command::UnmuteAll);
    for n in next..1000 {
        assert_eq!(read(&mut client), Message::text(n.to_string()));
    }
}

#[test]
fn what_a_playback_is_made_of_is_dropped_with_the_connection() {
    let (sender, gone) = crossbeam_channel::bounded::<()>(1);
    let lab = Lab::start(play(move |_| {
        let held = sender.clone();
        (0..).map(move |n| {
            let _ = &held;
            Cue::At(ms(n * 10), text(n))
        })
    }))
    .unwrap();
    let mut client = client(&lab);
    assert_eq!(read(&mut client), Message::text("0"));
    drop(client);
    assert!(lab.wait_for(|entry| matches!(entry.what, What::Ended(_)), LIMIT).is_some());
    lab.control().script(Script::new());
    assert_eq!(gone.recv_timeout(LIMIT), Err(crossbeam_channel::RecvTimeoutError::Disconnected));
}
