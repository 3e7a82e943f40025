//! One dead topic among lively ones: what it costs them.

use super::*;
use crate::event::Repair;
use crate::health::SubscriptionState;
use crate::policy::ladder::Rung;

/// Who was found stale, what came next, and when.
struct Lived {
    repairs: Vec<(u64, Repair)>,
    down: Duration,
    connections: u64,
}

/// Lively ones, a second apart, beside some that are mute; for so long.
fn live(mute: &[Want], lively: usize, time: Duration) -> (World, Lived) {
    let mut world = World::new(Settings { stale_after: Some(5 * SECOND), ..settings() });
    let fed: Vec<Key> = (0..lively)
        .map(|n| world.session.handle_subscribe(world.now, want(&format!("s{n}"), Some(5 * SECOND))).0)
        .collect();
    for want in mute {
        world.session.handle_subscribe(world.now, want.clone());
    }
    let lived = go_on(&mut world, &fed, time);
    (world, lived)
}

fn go_on(world: &mut World, fed: &[Key], time: Duration) -> Lived {
    let begin = world.now.mono;
    let mut lived = Lived { repairs: Vec::new(), down: Duration::ZERO, connections: 0 };
    while world.now.mono < begin + time {
        if !world.session.is_connected() {
            if world.session.is_up() {
                world.end(EndReason::Eof);
            }
            let before = world.now.mono;
            world.connect();
            lived.down += world.now.mono - before;
            lived.connections += 1;
        }
        if !fed.is_empty() {
            world.data(fed);
        }
        for _ in 0..4 {
            if world.session.is_connected() {
                world.idle(250 * MS);
            }
        }
        for event in world.events.drain(..) {
            if let Event::Stale(stale) = event {
                lived.repairs.push(((world.now.mono - begin).as_secs(), stale.next));
            }
        }
    }
    lived
}

fn mute(id: &str, rungs: &[Rung]) -> Want {
    Want { repair: rungs.into(), can_probe: true, ..want(id, Some(5 * SECOND)) }
}

const DEFAULT: [Rung; 3] = [Rung::Resubscribe(Duration::from_secs(10)), Rung::Reconnect, Rung::NextEndpoint];

#[test]
fn one_mute_topic_does_not_take_the_lively_ones_down() {
    let (mut world, lived) = live(&[mute("mute", &DEFAULT)], 20, 140 * SECOND);
    assert!(lived.down < 5 * SECOND, "{:?}", lived.down);
    let next: Vec<Repair> = lived.repairs.iter().map(|(_, next)| *next).collect();
    let (first, second) = ([Repair::Resubscribe, Repair::Reconnect], [Repair::Resubscribe, Repair::Wait]);
    assert_eq!(next[..4], [first, second].concat());
    assert_eq!(next[4], Repair::Reconnect);
    assert!((59..=62).contains(&(lived.repairs[4].0 - lived.repairs[1].0)), "{:?}", lived.repairs);
    assert_eq!(world.state("mute"), SubscriptionState::Stale);
    assert_eq!(world.session.health("x", world.now.mono).alerts, ["subscription_stale"]);
    // For hours: the pauses grow, and so what is said of it is little.
    let fed: Vec<Key> = (1..=20).collect();
    let lived = go_on(&mut world, &fed, 6 * 3600 * SECOND);
    assert!((10..=16).contains(&lived.connections), "{}", lived.connections);
    assert!(lived.repairs.len() < 60, "{:?}", lived.repairs);
    // Its data leads back, and the alert is over.
    let all: Vec<Key> = (1..=21).collect();
    go_on(&mut world, &all, 10 * SECOND);
    assert_eq!(world.session.health("x", world.now.mono).alerts, [""; 0]);
    let lived = go_on(&mut world, &fed, 20 * SECOND);
    let next: Vec<Repair> = lived.repairs.iter().map(|(_, next)| *next).collect();
    assert_eq!(next[..2], [Repair::Resubscribe, Repair::Reconnect], "as the first time");
}

#[test]
fn many_mute_topics_cost_no_more_than_one() {
    for rungs in [&DEFAULT[..], &DEFAULT[1..]] {
        let many: Vec<Want> = (0..20).map(|n| mute(&format!("m{n}"), rungs)).collect();
        let (_, lived) = live(&many, 3, 900 * SECOND);
        assert!(lived.connections <= 6, "{} new connections", lived.connections);
        assert!(lived.down < 10 * SECOND);
    }
}

#[test]
fn without_a_witness_new_connections_are_made_as_ever() {
    let (_, lived) = live(&[mute("mute", &DEFAULT)], 0, 600 * SECOND);
    assert!(!lived.repairs.iter().any(|(_, next)| *next == Repair::Wait));
    assert!(lived.connections > 15, "{}", lived.connections);
    // R1: a server that accepts and goes mute is not hammered.
    assert!(lived.down > 200 * SECOND, "{:?}", lived.down);
}

#[test]
fn a_list_that_names_no_new_connection_gets_none() {
    for rungs in [[Rung::Resubscribe(SECOND)], [Rung::Probe(5 * SECOND)]] {
        let (mut world, lived) = live(&[mute("mute", &rungs)], 1, 3600 * SECOND);
        assert_eq!(lived.connections, 1);
        assert!((10..30).contains(&lived.repairs.len()), "{:?}", lived.repairs);
        assert_eq!(world.state("mute"), SubscriptionState::Stale);
        assert_eq!(world.session.health("x", world.now.mono).alerts, ["subscription_stale"]);
        assert!(!world.session.is_fresh(world.now.mono));
        world.session.handle_unsubscribe(world.now, &"mute".into());
        world.settle();
        assert!(world.session.health("x", world.now.mono).alerts.is_empty());
        // The connection's own limit holds all the same.
        world.idle(6 * SECOND);
        assert!(!world.session.is_connected());
    }
}
