//! What the router's tables say of a message.

use crate::dialect::json::pass::Pass;
use crate::dialect::json::scan;
use crate::dialect::json::trie::Slot;
use crate::dialect::router::conditions::{By, Test};
use crate::dialect::router::evaluate::{View, meets};
use crate::dialect::router::shape::{Field, FieldKind, Shape};
use crate::dialect::router::{Entry, Hit, Owner, Router, Target, Together};
use crate::message::{Names, Payload};

/// Equality is more exact than any beginning.
const EQUAL: usize = usize::MAX;

/// What is needed for one message, kept for the next.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Scratch {
    /// Counts messages.
    message: u64,
    key: Vec<u8>,
    /// Targets that were looked up, and the place of the value if it is one of several.
    candidates: Vec<(usize, usize)>,
    /// Of these the ones with data, each once.
    targets: Vec<usize>,
    control: Vec<(Owner, usize)>,
    /// Where beginnings are compared.
    slots: Vec<Slot>,
    /// The last keys that came from several targets, and their names.
    joined: Option<(Vec<u64>, Option<Names>)>,
    named: Named,
}

/// Where the names are of the subscriptions that the last message is data of.
#[derive(Debug, Default)]
enum Named {
    #[default]
    Nowhere,
    /// They are all of a target.
    Target(usize),
    /// It is one alone.
    Alone(u64),
    Joined,
}

impl Scratch {
    /// Forgets what belongs to owners.
    pub(in crate::dialect) fn forget(&mut self) {
        self.joined = None;
        self.named = Named::Nowhere;
    }
}

impl Router {
    /// Says what a message is and whose. Closures of the application are called here.
    pub(crate) fn classify(&mut self, payload: Payload<'_>, hit: &mut Hit) {
        hit.clear();
        self.scratch.named = Named::Nowhere;
        if self.is_trivial() {
            return;
        }
        let json = !self.trie.is_empty() && scan::is_container(payload.as_bytes());
        self.pass.run(&self.trie, payload, json);
        self.scratch.message += 1;
        self.look_up(payload);
        if self.scratch.control.is_empty() || !self.find_control(payload, hit) {
            self.find_data(payload, hit);
        }
    }

    /// The names of the subscriptions that the last message was data of; `None` if there are none, or owners have
    /// changed since.
    pub(crate) fn names(&self) -> Option<&Names> {
        match self.scratch.named {
            Named::Nowhere => None,
            Named::Target(number) => self.targets[number].together.as_ref()?.names.as_ref(),
            Named::Alone(key) => self.owners.get(&Owner::Data(key))?.alone.as_ref(),
            Named::Joined => self.scratch.joined.as_ref()?.1.as_ref(),
        }
    }

    /// Gathers what the message leads to.
    fn look_up(&mut self, payload: Payload<'_>) {
        let Scratch { message, key, candidates, targets, control, .. } = &mut self.scratch;
        candidates.clear();
        targets.clear();
        control.clear();
        let all = &mut self.targets;
        let mut found = |number: usize, place: usize| {
            let target = &mut all[number];
            if target.message != *message {
                target.message = *message;
                if !target.control.is_empty() {
                    control.extend_from_slice(&target.control);
                }
                if !target.data.is_empty() {
                    targets.push(number);
                }
            }
            if !target.data.is_empty() {
                candidates.push((number, place));
            }
        };
        for slot in &self.pass.hits {
            for shape in self.leads.get(*slot).into_iter().flatten() {
                self.shapes[*shape].look_up(&self.pass, payload.as_bytes(), key, &mut found);
            }
        }
        if let Some(target) = self.always {
            found(target, usize::MAX);
        }
    }

    /// The first rule or request that matches.
    #[cold]
    fn find_control(&mut self, payload: Payload<'_>, hit: &mut Hit) -> bool {
        let Scratch { message, control, .. } = &mut self.scratch;
        control.sort_unstable();
        let mut view = View {
            payload,
            pass: &self.pass,
            message: *message,
            closures: self.closures.as_mut_slice(),
            panicked: &mut hit.panicked,
        };
        for (owner, entry) in control {
            if !self.entries[*entry].matches(&mut view) {
                continue;
            }
            match *owner {
                Owner::Rule(rule) => hit.rule = Some(rule),
                Owner::Request(request) => hit.request = Some(request),
                Owner::Data(_) => continue,
            }
            return true;
        }
        false
    }

    fn find_data(&mut self, payload: Payload<'_>, hit: &mut Hit) {
        if let [number] = self.scratch.targets[..]
            && self.targets[number].partial == 0
        {
            // There is nothing that could be more exact.
            return self.take_all(number, hit);
        }
        let mut exactness = false;
        for number in &self.scratch.targets {
            let target = &mut self.targets[*number];
            target.alive = true;
            target.matched = target.data.len();
            exactness |= self.shapes[target.shape].prefix().is_some();
            if target.partial > 0 {
                let mut view = View {
                    payload,
                    pass: &self.pass,
                    message: self.scratch.message,
                    closures: self.closures.as_mut_slice(),
                    panicked: &mut hit.panicked,
                };
                target.matched = 0;
                for (_, entry) in &target.data {
                    let entry = &mut self.entries[*entry];
                    target.matched += usize::from(entry.matches(&mut view));
                    exactness |= entry.tests.iter().any(|test| matches!(test.by, By::Prefix(_)));
                }
            }
        }
        if exactness && (self.scratch.targets.len() > 1 || self.scratch.candidates.len() > 1) {
            self.rank(payload);
        }
        self.collect(hit);
    }

    /// The most exact wins: of what compares the beginning of a value, only what compares most of it remains, and
    /// nothing if something says what it equals. Pointer after pointer, so that always something remains.
    #[cold]
    fn rank(&mut self, payload: Payload<'_>) {
        let mut slots = std::mem::take(&mut self.scratch.slots);
        slots.clear();
        for number in &self.scratch.targets {
            let target = &self.targets[*number];
            slots.extend(self.shapes[target.shape].prefix().map(|(field, _)| field.slot));
            if target.partial > 0 {
                let tests = target.data.iter().flat_map(|(_, entry)| &self.entries[*entry].tests);
                slots.extend(tests.filter(|t| matches!(t.by, By::Prefix(_))).map(|t| t.slot));
            }
        }
        slots.sort_unstable();
        slots.dedup();
        if slots.len() > 1 {
            slots.sort_by_cached_key(|slot| self.trie.path(*slot));
        }
        for slot in &slots {
            self.rank_slot(payload, *slot);
        }
        self.scratch.slots = slots;
    }

    fn rank_slot(&mut self, payload: Payload<'_>, slot: Slot) {
        let Scratch { message, candidates, targets, .. } = &self.scratch;
        let pass = &mut self.pass;
        for (number, place) in candidates {
            let target = &self.targets[*number];
            if target.alive && target.matched > 0 {
                raise_fields(&self.shapes[target.shape], slot, *place, pass);
            }
        }
        for number in targets {
            let target = &mut self.targets[*number];
            if target.alive && target.partial > 0 {
                for (_, entry) in &target.data {
                    let entry = &self.entries[*entry];
                    if entry.is_hit(target, *message) {
                        let tests = entry.tests.iter().filter(|test| test.slot == slot);
                        tests.for_each(|test| raise(test, pass, payload));
                    }
                }
            }
            if self.shapes[target.shape].prefix().is_some_and(|(field, _)| field.slot == slot) {
                target.alive = false; // until one of its values says otherwise
            }
        }
        for (number, place) in candidates {
            let target = &mut self.targets[*number];
            if let Some((field, length)) = self.shapes[target.shape].prefix()
                && field.slot == slot
                && let Some(place) = field.place(*place, pass)
            {
                target.alive |= *pass.best(place) <= length;
            }
        }
        for number in targets {
            let target = &mut self.targets[*number];
            if target.alive && target.partial > 0 {
                for (_, entry) in &target.data {
                    let entry = &mut self.entries[*entry];
                    let mut tests = entry.tests.iter().filter(|test| test.slot == slot);
                    if entry.matched && !tests.all(|test| remains(test, pass, payload)) {
                        entry.matched = false;
                        target.matched -= 1;
                    }
                }
            }
        }
    }

    /// Keys and names of all data of a target.
    fn take_all(&mut self, number: usize, hit: &mut Hit) {
        let target = &mut self.targets[number];
        if target.together.is_none() {
            let mut keys: Vec<u64> = target.data.iter().map(|(key, _)| *key).collect();
            keys.dedup();
            let names = names(&self.owners, &keys);
            let mut keys = keys.into_iter();
            target.together = keys.next().map(|first| Together { first, others: keys.collect(), names });
        }
        if let Some(together) = &target.together {
            hit.keys.push(together.first);
            if !together.others.is_empty() {
                hit.keys.extend_from_slice(&together.others);
            }
        }
        self.scratch.named = Named::Target(number);
    }

    /// Keys and names of what is left.
    fn collect(&mut self, hit: &mut Hit) {
        let Scratch { message, targets, joined, named, .. } = &mut self.scratch;
        targets.retain(|number| {
            let target = &self.targets[*number];
            target.alive && target.matched > 0
        });
        if let [number] = targets[..]
            && self.targets[number].matched == self.targets[number].data.len()
        {
            return self.take_all(number, hit);
        }
        for number in targets.iter() {
            let target = &self.targets[*number];
            let entries = target.data.iter();
            hit.keys.extend(
                entries
                    .filter(|(_, entry)| self.entries[*entry].is_hit(target, *message))
                    .map(|(key, _)| *key),
            );
        }
        hit.keys.sort_unstable();
        hit.keys.dedup();
        *named = match &hit.keys[..] {
            [] => Named::Nowhere,
            [key] => Named::Alone(*key),
            keys => {
                if joined.as_ref().is_none_or(|(own, _)| own != keys) {
                    *joined = Some((keys.to_vec(), names(&self.owners, keys)));
                }
                Named::Joined
            }
        };
    }
}

type Owners = std::collections::HashMap<Owner, crate::dialect::router::State>;

fn names(owners: &Owners, keys: &[u64]) -> Option<Names> {
    let names: Vec<_> = keys.iter().filter_map(|key| owners.get(&Owner::Data(*key))?.name.clone()).collect();
    (!names.is_empty()).then(|| Names::new(names))
}

impl Entry {
    /// Whether its conditions hold, its key being met. Found out once for a message.
    fn matches(&mut self, view: &mut View<'_>) -> bool {
        if self.message != view.message {
            self.message = view.message;
            self.matched = view.all(&self.tests, &self.rest);
        }
        self.matched
    }

    /// Whether it was found to match.
    fn is_hit(&self, target: &Target, message: u64) -> bool {
        target.partial == 0 || (self.message == message && self.matched)
    }
}

impl Field {
    /// Where the value is that was looked up, which of several stands at `place`.
    fn place(&self, place: usize, pass: &Pass) -> Option<usize> {
        if self.each { Some(place) } else { pass.first(self.slot) }
    }
}

/// Notes how exact the fields of a shape are that was met.
fn raise_fields(shape: &Shape, slot: Slot, place: usize, pass: &mut Pass) {
    for field in shape.fields.iter().filter(|field| field.slot == slot) {
        let exact = match field.kind {
            FieldKind::Exists => continue,
            FieldKind::Equal => EQUAL,
            FieldKind::Prefix(length) => length,
        };
        if let Some(place) = field.place(place, pass) {
            let best = pass.best(place);
            *best = exact.max(*best);
        }
    }
}

fn exactness(test: &Test) -> usize {
    match &test.by {
        By::Exists => 0,
        By::Equal(_) => EQUAL,
        By::Prefix(prefix) => prefix.len(),
    }
}

fn raise(test: &Test, pass: &mut Pass, payload: Payload<'_>) {
    let mut next = pass.first(test.slot);
    while let Some(place) = next {
        next = pass.after(place);
        if meets(pass, payload, place, &test.by) {
            let best = pass.best(place);
            *best = exactness(test).max(*best);
        }
    }
}

/// Whether nothing more exact than the test is met by one of the values.
fn remains(test: &Test, pass: &mut Pass, payload: Payload<'_>) -> bool {
    if !matches!(test.by, By::Prefix(_)) {
        return true;
    }
    let mut next = pass.first(test.slot);
    while let Some(place) = next {
        next = pass.after(place);
        if meets(pass, payload, place, &test.by) && *pass.best(place) <= exactness(test) {
            return true;
        }
    }
    false
}
