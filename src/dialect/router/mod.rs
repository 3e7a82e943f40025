//! From a message to the rule that takes it, the request it answers, or the subscriptions it belongs to.
//!
//! Matchers are taken apart into alternatives, each of which is looked up in a table by the values it asks for: what a
//! message costs does not grow with how many there are. This file keeps the tables; `classify` asks them.

mod classify;
mod conditions;
mod evaluate;
mod shape;
mod slab;

use crate::dialect::json::pass::Pass;
use crate::dialect::json::trie::{Slot, Trie};
use crate::dialect::matcher::Matcher;
use crate::dialect::router::conditions::{Alternative, Compiler, Expr, Test};
use crate::dialect::router::evaluate::Called;
use crate::dialect::router::shape::{Arranged, Field, Shape, arrange};
use crate::dialect::router::slab::Slab;
use crate::message::{Names, SubscriptionId};
use std::collections::HashMap;

/// Whom a matcher belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Owner {
    /// A rule, by its place.
    Rule(u32),
    /// A request that waits for its answer.
    Request(u64),
    /// The data of a subscription, by its key.
    Data(u64),
}

/// What [`Router::classify`] found. Made once and used again, so that it allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Hit {
    /// The first rule that matches; then the rest is empty.
    pub(crate) rule: Option<u32>,
    /// Else the first request that matches; then there are no keys.
    pub(crate) request: Option<u64>,
    /// Else the keys of the subscriptions it is data of, ascending. [`Router::names`] has their names.
    pub(crate) keys: Vec<u64>,
    /// What a closure said that panicked; the first, if several did.
    pub(crate) panicked: Option<String>,
}

impl Hit {
    pub(in crate::dialect) fn clear(&mut self) {
        self.rule = None;
        self.request = None;
        self.keys.clear();
        self.panicked = None;
    }
}

/// Finds what a message is by the matchers of all owners together.
///
/// Owners come and go one by one; that costs about as much as their own matchers are large. A message is gone over once,
/// and not at all if it is no JSON object or array, or nothing looks at fields. What can't be looked up is tried
/// one by one: matchers that say nothing but `not`, or are closures.
#[derive(Debug, Default)]
pub(crate) struct Router {
    pub(in crate::dialect) owners: HashMap<Owner, State>,
    pub(in crate::dialect) trie: Trie,
    pub(in crate::dialect) pass: Pass,
    shape_ids: HashMap<Vec<Field>, usize>,
    pub(in crate::dialect) shapes: Slab<Shape>,
    /// The shapes to look at when a slot has a value.
    pub(in crate::dialect) leads: Vec<Vec<usize>>,
    /// The target of what has to be tried for each message.
    pub(in crate::dialect) always: Option<usize>,
    pub(in crate::dialect) targets: Slab<Target>,
    pub(in crate::dialect) entries: Slab<Entry>,
    pub(in crate::dialect) closures: Slab<Called>,
    data: usize,
    /// Of these, without a matcher.
    unmatched: usize,
    pub(in crate::dialect) scratch: classify::Scratch,
}

/// What is known of an owner.
#[derive(Debug, Default)]
pub(in crate::dialect) struct State {
    pub(in crate::dialect) name: Option<SubscriptionId>,
    /// The name alone.
    pub(in crate::dialect) alone: Option<Names>,
    unmatched: bool,
    entries: Vec<usize>,
    slots: Vec<(Slot, bool)>,
    closures: Vec<usize>,
}

/// What one key of a table leads to.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Target {
    pub(in crate::dialect) shape: usize,
    key: Box<[u8]>,
    /// Rules and requests, ascending, and their entries.
    pub(in crate::dialect) control: Vec<(Owner, usize)>,
    /// Data, ascending, and the entries.
    pub(in crate::dialect) data: Vec<(u64, usize)>,
    /// How many data entries ask for more than the key.
    pub(in crate::dialect) partial: usize,
    /// All data, if it has been put together.
    pub(in crate::dialect) together: Option<Together>,
    /// The last message that led here.
    pub(in crate::dialect) message: u64,
    pub(in crate::dialect) matched: usize,
    /// No more exact condition stands in its way.
    pub(in crate::dialect) alive: bool,
}

/// Keys and names of all data of a target.
#[derive(Debug)]
pub(in crate::dialect) struct Together {
    /// The first key, mostly the only one, stands here: the next place in memory is far.
    pub(in crate::dialect) first: u64,
    pub(in crate::dialect) others: Vec<u64>,
    pub(in crate::dialect) names: Option<Names>,
}

/// An alternative of an owner's matcher.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Entry {
    target: usize,
    pub(in crate::dialect) tests: Vec<Test>,
    pub(in crate::dialect) rest: Vec<Expr>,
    /// The last message it was tried for, and what came of it.
    pub(in crate::dialect) message: u64,
    pub(in crate::dialect) matched: bool,
}

impl Entry {
    pub(in crate::dialect) fn is_partial(&self) -> bool {
        !(self.tests.is_empty() && self.rest.is_empty())
    }
}

impl Router {
    /// Adds an owner, in place of what it had before. Data without a matcher is any data. Matchers are taken to be
    /// checked and rendered: a condition that is not valid is not met.
    pub(crate) fn insert(&mut self, owner: Owner, name: Option<&SubscriptionId>, matcher: Option<&Matcher>) {
        self.remove(owner);
        let mut state = State { name: name.cloned(), unmatched: matcher.is_none(), ..State::default() };
        state.alone = state.name.clone().map(|name| Names::new(vec![name]));
        let alternatives = match (matcher, owner) {
            (Some(matcher), _) => {
                let (closures, used) = (&mut self.closures, &mut state.closures);
                let mut closure = |closure: &crate::dialect::matcher::MatchFn| {
                    let number = closures.insert(closure.clone().into());
                    used.push(number);
                    number
                };
                let mut compiler =
                    Compiler { trie: &mut self.trie, slots: Vec::new(), closure: &mut closure };
                let alternatives = compiler.alternatives(matcher);
                state.slots = compiler.slots;
                alternatives
            }
            (None, Owner::Data(_)) => vec![Alternative::default()],
            (None, _) => Vec::new(),
        };
        for alternative in alternatives {
            let arranged = arrange(alternative, &self.trie);
            state.entries.extend(self.add(owner, arranged));
        }
        if matches!(owner, Owner::Data(_)) {
            self.data += 1;
            self.unmatched += usize::from(state.unmatched);
        }
        self.owners.insert(owner, state);
        self.scratch.forget();
    }

    /// Removes an owner, if it is there.
    pub(crate) fn remove(&mut self, owner: Owner) {
        let Some(state) = self.owners.remove(&owner) else { return };
        for entry in state.entries {
            self.drop_entry(owner, entry);
        }
        for (slot, containers) in state.slots {
            self.trie.remove(slot, containers);
        }
        for closure in state.closures {
            self.closures.remove(closure);
        }
        if matches!(owner, Owner::Data(_)) {
            self.data -= 1;
            self.unmatched -= usize::from(state.unmatched);
        }
        self.scratch.forget();
    }

    /// Whether there are no owners, so that every message is data of no subscription.
    pub(crate) fn is_trivial(&self) -> bool {
        self.owners.is_empty()
    }

    /// Whether there is data and all of it has a matcher: a message that meets none is no data.
    pub(crate) fn is_strict(&self) -> bool {
        self.data > 0 && self.unmatched == 0
    }

    /// Adds an alternative. `None`: the owner has the same already.
    fn add(&mut self, owner: Owner, arranged: Arranged) -> Option<usize> {
        let Arranged { fields, key, tests, rest } = arranged;
        let lead = fields.first().map(|field| field.slot);
        let shape = match self.shape_ids.get(&fields) {
            Some(shape) => *shape,
            None => {
                let shape = self.shapes.insert(Shape::new(fields.clone()));
                self.shape_ids.insert(fields, shape);
                if let Some(lead) = lead {
                    if self.leads.len() <= lead {
                        self.leads.resize(lead + 1, Vec::new());
                    }
                    self.leads[lead].push(shape);
                }
                shape
            }
        };
        let targets = &mut self.targets;
        let target = self.shapes[shape].entry(&key, || {
            targets.insert(Target { shape, key: key.as_slice().into(), ..Target::default() })
        });
        if lead.is_none() {
            self.always = Some(target);
        }
        let entry = Entry { target, tests, rest, ..Entry::default() };
        let partial = entry.is_partial();
        let target = &mut self.targets[target];
        match owner {
            Owner::Data(key) => {
                let mine = target.data.partition_point(|(own, _)| *own < key);
                let rest = target.data.get(mine..).into_iter().flatten();
                let mut same = rest.take_while(|(own, _)| *own == key);
                if !partial && same.any(|(_, entry)| !self.entries[*entry].is_partial()) {
                    return None;
                }
                let entry = self.entries.insert(entry);
                target.data.insert(mine, (key, entry));
                target.partial += usize::from(partial);
                target.together = None;
                Some(entry)
            }
            Owner::Rule(_) | Owner::Request(_) => {
                let entry = self.entries.insert(entry);
                let place = target.control.partition_point(|(own, _)| *own < owner);
                target.control.insert(place, (owner, entry));
                Some(entry)
            }
        }
    }

    fn drop_entry(&mut self, owner: Owner, number: usize) {
        let entry = self.entries.remove(number);
        let target = &mut self.targets[entry.target];
        match owner {
            Owner::Data(key) => {
                let mine = target.data.partition_point(|(own, _)| *own < key);
                let place = target.data.iter().skip(mine).position(|(_, own)| *own == number);
                if let Some(place) = place {
                    target.data.remove(mine + place);
                    target.partial -= usize::from(entry.is_partial());
                    target.together = None;
                }
            }
            Owner::Rule(_) | Owner::Request(_) => target.control.retain(|(_, own)| *own != number),
        }
        if !(target.data.is_empty() && target.control.is_empty()) {
            return;
        }
        let target = self.targets.remove(entry.target);
        let shape = &mut self.shapes[target.shape];
        shape.remove(&target.key);
        if self.always == Some(entry.target) {
            self.always = None;
        }
        if shape.is_empty() {
            let shape = self.shapes.remove(target.shape);
            self.shape_ids.remove(&shape.fields);
            if let Some(lead) = shape.fields.first() {
                self.leads[lead.slot].retain(|own| *own != target.shape);
            }
        }
    }
}

#[cfg(test)]
impl Router {
    /// Whether nothing is left of owners that were removed.
    fn is_bare(&self) -> bool {
        let tables = self.shape_ids.is_empty() && self.always.is_none();
        tables && self.leads.iter().all(Vec::is_empty) && self.targets.is_empty() && self.entries.is_empty()
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod model_tests;
#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;

#[cfg(test)]
mod hostile_tests;
