//! From a message to its class and its subscriptions.

use super::matcher::{MatchFn, Matcher};
use super::scan::{self, Number, Pointer, Scalar};
use crate::message::{Names, Payload, SubscriptionId};
use crate::panics::caught;
use std::collections::HashMap;

/// A subscription as the router sees it: its key, its name, and what its data looks like (`None`: any data).
pub(crate) type Route = (u64, SubscriptionId, Option<Matcher>);

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Class {
    #[default]
    Data,
    Heartbeat,
}

/// What [`Router::classify`] found. Made once and used again, so that it allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Hit {
    pub(crate) class: Class,
    /// The keys of the routes that were met, in the order of the routes.
    pub(crate) keys: Vec<u64>,
    /// Their names; `None` if there are none.
    pub(crate) names: Option<Names>,
    /// What a matcher said that panicked; the first, if several did.
    pub(crate) panicked: Option<String>,
    targets: Vec<usize>,
}

impl Hit {
    fn clear(&mut self) {
        self.class = Class::Data;
        self.keys.clear();
        self.names = None;
        self.panicked = None;
        self.targets.clear();
    }
}

/// Recognises heartbeats and finds the subscriptions of a message.
///
/// Fields and whole texts are looked up in tables: the cost does not grow with the number of routes.
/// Prefixes and closures are tried one by one. A message that is a heartbeat belongs to no subscription.
#[derive(Debug, Default)]
pub(crate) struct Router {
    routes: Vec<(u64, SubscriptionId)>,
    targets: Vec<Target>,
    /// The target of the routes that take any data.
    any: Option<usize>,
    /// Those with heartbeats come first.
    pointers: Vec<Field>,
    texts: HashMap<String, usize>,
    prefixes: Vec<(String, usize)>,
    closures: Vec<(MatchFn, usize)>,
    heartbeat_closures: Vec<MatchFn>,
}

/// What one condition leads to.
#[derive(Debug, Default)]
struct Target {
    heartbeat: bool,
    /// Indices of routes, ascending.
    slots: Vec<usize>,
    names: Option<Names>,
}

/// A field and the targets of its values.
#[derive(Debug)]
struct Field {
    pointer: Pointer,
    heartbeat: bool,
    texts: HashMap<Vec<u8>, usize>,
    numbers: HashMap<u64, Vec<(Number, usize)>>,
    bools: [Option<usize>; 2],
    null: Option<usize>,
}

impl Field {
    fn new(pointer: Pointer) -> Self {
        Self {
            pointer,
            heartbeat: false,
            texts: HashMap::new(),
            numbers: HashMap::new(),
            bools: [None; 2],
            null: None,
        }
    }

    /// The target of a value, made by `new` if there is none yet.
    fn entry(&mut self, value: Scalar<'_>, new: impl FnOnce() -> usize) -> usize {
        match value {
            Scalar::Text(text) => *self.texts.entry(text.into_owned()).or_insert_with(new),
            Scalar::Bool(value) => *self.bools[usize::from(value)].get_or_insert_with(new),
            Scalar::Null => *self.null.get_or_insert_with(new),
            Scalar::Number(number) => {
                let bucket = self.numbers.entry(number.bucket()).or_default();
                if let Some((_, target)) = bucket.iter().find(|(own, _)| own.is_same(number)) {
                    return *target;
                }
                let target = new();
                bucket.push((number, target));
                target
            }
        }
    }

    /// The targets of the value that a message has here. Several only where the same
    /// number was given as an integer and as a float.
    fn find(&self, json: &[u8], mut found: impl FnMut(usize)) {
        let one = match scan::find(json, &self.pointer).and_then(Scalar::parse) {
            None => None,
            Some(Scalar::Text(text)) => self.texts.get(&*text).copied(),
            Some(Scalar::Bool(value)) => self.bools[usize::from(value)],
            Some(Scalar::Null) => self.null,
            Some(Scalar::Number(number)) => {
                if let Some(bucket) = self.numbers.get(&number.bucket()) {
                    bucket.iter().filter(|(own, _)| *own == number).for_each(|(_, target)| found(*target));
                }
                None
            }
        };
        one.into_iter().for_each(found);
    }
}

impl Router {
    /// Builds the tables. Matchers are taken to be checked: one that is not valid matches nothing.
    pub(crate) fn new(heartbeats: &[Matcher], routes: &[Route]) -> Self {
        let mut router = Self::default();
        let mut fields = HashMap::new();
        for matcher in heartbeats {
            router.add(&mut fields, matcher, None);
        }
        for (slot, (key, name, matcher)) in routes.iter().enumerate() {
            router.routes.push((*key, name.clone()));
            match matcher {
                Some(matcher) => router.add(&mut fields, matcher, Some(slot)),
                None => {
                    let targets = &mut router.targets;
                    let target = *router.any.get_or_insert_with(|| new_target(targets));
                    router.targets[target].slots.push(slot);
                }
            }
        }
        router.pointers.sort_by_key(|field| !field.heartbeat);
        for target in &mut router.targets {
            if !target.slots.is_empty() {
                let names = target.slots.iter().map(|slot| router.routes[*slot].1.clone()).collect();
                target.names = Some(Names::new(names));
            }
        }
        router
    }

    /// Adds a condition: of a route, or of heartbeats (`None`).
    fn add(&mut self, fields: &mut HashMap<Pointer, usize>, matcher: &Matcher, slot: Option<usize>) {
        let targets = &mut self.targets;
        let target = match matcher {
            Matcher::Pointer { pointer, equals } => {
                let (Ok(pointer), Some(value)) = (Pointer::parse(pointer), Scalar::of(equals)) else {
                    return;
                };
                let field = *fields.entry(pointer.clone()).or_insert_with(|| {
                    self.pointers.push(Field::new(pointer));
                    self.pointers.len() - 1
                });
                let field = &mut self.pointers[field];
                field.heartbeat |= slot.is_none();
                field.entry(value, || new_target(targets))
            }
            Matcher::Text(text) => *self.texts.entry(text.clone()).or_insert_with(|| new_target(targets)),
            Matcher::Prefix(prefix) => match self.prefixes.iter().find(|(own, _)| own == prefix) {
                Some((_, target)) => *target,
                None => {
                    let target = new_target(targets);
                    self.prefixes.push((prefix.clone(), target));
                    target
                }
            },
            Matcher::Closure(closure) if slot.is_none() => {
                self.heartbeat_closures.push(closure.clone());
                return;
            }
            Matcher::Closure(closure) => {
                let target = new_target(targets);
                self.closures.push((closure.clone(), target));
                target
            }
        };
        let target = &mut self.targets[target];
        match slot {
            Some(slot) => target.slots.push(slot),
            None => target.heartbeat = true,
        }
    }

    /// Whether there are neither heartbeats nor routes, so that every message is data of no subscription.
    pub(crate) fn is_trivial(&self) -> bool {
        self.targets.is_empty() && self.heartbeat_closures.is_empty()
    }

    /// Says what a message is and whose. Closures of the application are called here.
    pub(crate) fn classify(&self, payload: Payload<'_>, hit: &mut Hit) {
        hit.clear();
        if self.is_trivial() {
            return;
        }
        if self.is_heartbeat(payload, hit) {
            hit.class = Class::Heartbeat;
            return;
        }
        for (closure, target) in &self.closures {
            if call(closure, payload, &mut hit.panicked) {
                hit.targets.push(*target);
            }
        }
        hit.targets.extend(self.any);
        match hit.targets[..] {
            [] => {}
            [target] => {
                let target = &self.targets[target];
                hit.keys.extend(target.slots.iter().map(|slot| self.routes[*slot].0));
                hit.names.clone_from(&target.names);
            }
            _ => self.join(hit),
        }
    }

    /// Tries everything but the closures of routes, which a heartbeat must not reach.
    fn is_heartbeat(&self, payload: Payload<'_>, hit: &mut Hit) -> bool {
        let mut heartbeat = false;
        let mut found = |target: usize| {
            heartbeat |= self.targets[target].heartbeat;
            hit.targets.push(target);
        };
        if !self.pointers.is_empty() && scan::is_container(payload.as_bytes()) {
            for field in &self.pointers {
                field.find(payload.as_bytes(), &mut found);
            }
        }
        if let Payload::Text(text) = payload {
            if !self.texts.is_empty() {
                self.texts.get(text).copied().into_iter().for_each(&mut found);
            }
            for (prefix, target) in &self.prefixes {
                if text.starts_with(prefix.as_str()) {
                    found(*target);
                }
            }
        }
        heartbeat || self.heartbeat_closures.iter().any(|closure| call(closure, payload, &mut hit.panicked))
    }

    /// Several conditions were met: their routes together, each once, in order.
    fn join(&self, hit: &mut Hit) {
        let mut slots: Vec<usize> =
            hit.targets.iter().flat_map(|target| &self.targets[*target].slots).copied().collect();
        slots.sort_unstable();
        hit.keys.extend(slots.iter().map(|slot| self.routes[*slot].0));
        hit.names = Some(Names::new(slots.iter().map(|slot| self.routes[*slot].1.clone()).collect()));
    }
}

fn new_target(targets: &mut Vec<Target>) -> usize {
    targets.push(Target::default());
    targets.len() - 1
}

fn call(closure: &MatchFn, payload: Payload<'_>, panicked: &mut Option<String>) -> bool {
    caught(|| closure.call(payload)).unwrap_or_else(|message| {
        panicked.get_or_insert(message);
        false
    })
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
