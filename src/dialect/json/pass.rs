//! One pass over a message, which finds the values of all pointers in use.
//!
//! It stops as soon as nothing more can be found. What it finds is kept as places in the message, so that it allocates
//! nothing once it has seen a few messages. It recurses over the pointers, not the message.

use crate::dialect::json::cursor::{Cursor, RawString, unescape};
use crate::dialect::json::pointer::MAX_JSON;
use crate::dialect::json::scalar::{Number, Scalar};
use crate::dialect::json::trie::{BINARY, Node, Slot, TEXT, Trie, likeness};
use crate::message::Payload;
use std::borrow::Cow;

/// No further value.
const END: usize = usize::MAX;

/// What one message may leave behind in memory: values, and bytes for each level of JSON inside strings.
const KEEP_VALUES: usize = 16 * 1024;
const KEEP_BYTES: usize = 256 * 1024;

/// What was found in a message.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Pass {
    found: Vec<Found>,
    slots: Vec<Values>,
    /// The slots that have values.
    pub(in crate::dialect) hits: Vec<Slot>,
    /// Nodes that lead to the value at hand, and before them those of the containers around it.
    active: Vec<usize>,
    /// The container in which a node was last met: of equal keys the first counts.
    seen: Vec<u64>,
    /// Counts messages and containers.
    clock: u64,
    message: u64,
    /// Strings without their escapes, by how deep they stand in other strings.
    inside: [Vec<u8>; MAX_JSON],
    /// There are some.
    unescaped: bool,
    /// 0: the message; else the bytes inside a string of that depth.
    source: usize,
}

/// The values of a slot.
#[derive(Debug, Clone, Copy)]
struct Values {
    message: u64,
    first: usize,
    last: usize,
}

/// A value.
#[derive(Debug, Clone, Copy)]
pub(in crate::dialect) struct Found {
    start: usize,
    end: usize,
    source: usize,
    next: usize,
    kind: Kind,
    /// How exact the most exact condition is that it meets.
    pub(in crate::dialect) best: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Between quotes.
    Text {
        escaped: bool,
    },
    /// A number or name.
    Word,
    Container,
    /// The whole message.
    Whole,
}

impl Pass {
    /// Goes over a message.
    pub(in crate::dialect) fn run(&mut self, trie: &Trie, payload: Payload<'_>, json: bool) {
        self.begin(trie);
        let bytes = payload.as_bytes();
        let slot = if matches!(payload, Payload::Text(_)) { TEXT } else { BINARY };
        if trie.is_used(slot) {
            self.record(slot, 0, bytes.len(), Kind::Whole);
        }
        if json {
            self.active.push(0);
            self.value(trie, &mut Cursor::new(bytes), 0, true, false);
        }
    }

    fn begin(&mut self, trie: &Trie) {
        self.found.clear();
        if self.found.capacity() > KEEP_VALUES {
            self.found.shrink_to(KEEP_VALUES);
        }
        if std::mem::take(&mut self.unescaped) {
            for inside in &mut self.inside {
                inside.clear();
                inside.shrink_to(KEEP_BYTES);
            }
        }
        self.hits.clear();
        self.active.clear();
        self.clock += 1;
        self.message = self.clock;
        self.source = 0;
        if self.slots.len() < trie.slots() {
            self.slots.resize(trie.slots(), Values { message: 0, first: END, last: END });
        }
        if self.seen.len() < trie.nodes() {
            self.seen.resize(trie.nodes(), 0);
        }
    }

    #[inline]
    fn record(&mut self, slot: Slot, start: usize, end: usize, kind: Kind) {
        let place = self.found.len();
        self.found.push(Found { start, end, source: self.source, next: END, kind, best: 0 });
        let values = &mut self.slots[slot];
        if values.message == self.message {
            self.found[values.last].next = place;
            values.last = place;
        } else {
            *values = Values { message: self.message, first: place, last: place };
            self.hits.push(slot);
        }
    }

    /// At a value to which the active nodes from `from` on lead: finds what they look for, and steps over it. `need`:
    /// whoever calls has to go on behind it. `None`: there is nothing more to be found.
    fn value(
        &mut self,
        trie: &Trie,
        cursor: &mut Cursor<'_>,
        from: usize,
        root: bool,
        need: bool,
    ) -> Option<()> {
        cursor.space();
        let to = self.active.len();
        let start = cursor.at;
        match cursor.peek()? {
            open @ (b'{' | b'[') => {
                let (mut left, mut wild, mut wanted) = (0, false, false);
                for node in &self.active[from..] {
                    let node = trie.node(*node);
                    left += if open == b'{' { node.named } else { node.elements() };
                    wild |= node.each.is_some();
                    wanted |= node.containers;
                }
                if left == 0 && !wild {
                    if !need && !wanted {
                        return None;
                    }
                    cursor.skip_value()?;
                } else {
                    let inner = Inner { from, left, wild, need: need || wanted };
                    if open == b'{' {
                        self.object(trie, cursor, inner)?;
                    } else {
                        self.array(trie, cursor, inner)?;
                    }
                }
                if wanted {
                    self.record_all(trie, from, start, cursor.at, Kind::Container);
                }
            }
            b'"' => {
                cursor.at += 1;
                let string = cursor.string()?;
                let kind = Kind::Text { escaped: string.escaped };
                for at in from..to {
                    let node = trie.node(self.active[at]);
                    if let Some(slot) = node.slot {
                        self.record(slot, start + 1, cursor.at - 1, kind);
                    }
                    if let Some(json) = node.json {
                        self.active.push(json);
                    }
                }
                if self.active.len() > to {
                    self.go_inside(trie, cursor, string, to);
                }
            }
            _ => {
                if root {
                    cursor.skip_root()?;
                } else {
                    cursor.skip_value()?;
                }
                self.record_all(trie, from, start, cursor.at, Kind::Word);
            }
        }
        Some(())
    }

    #[inline]
    fn record_all(&mut self, trie: &Trie, from: usize, start: usize, end: usize, kind: Kind) {
        for at in from..self.active.len() {
            let node = trie.node(self.active[at]);
            if let Some(slot) = node.slot
                && (node.containers || kind != Kind::Container)
            {
                self.record(slot, start, end, kind);
            }
        }
    }

    fn object(&mut self, trie: &Trie, cursor: &mut Cursor<'_>, mut inner: Inner) -> Option<()> {
        cursor.at += 1;
        if cursor.is_empty(b'}') {
            return Some(());
        }
        let to = self.active.len();
        self.clock += 1;
        let this = self.clock;
        loop {
            let name = cursor.name()?;
            let like = if name.escaped { u64::MAX } else { likeness(name.raw) };
            for at in inner.from..to {
                let node = trie.node(self.active[at]);
                if node.may_lead(like) {
                    self.enter(node, name.raw, name.escaped, &mut inner.left, this);
                }
                if let Some(each) = node.each {
                    self.active.push(each);
                }
            }
            if !self.item(trie, cursor, &inner, to, b'}')? {
                return Some(());
            }
        }
    }

    /// At a member of this name: makes active what leads on from there.
    fn enter(&mut self, node: &Node, raw: &[u8], escaped: bool, left: &mut usize, this: u64) {
        let found = |below: usize| {
            if self.seen[below] != this {
                self.seen[below] = this;
                *left -= 1;
                self.active.push(below);
            }
        };
        if !escaped {
            node.members(raw, found);
        } else if let Some(name) = (RawString { raw, escaped }).text() {
            node.members(&name, found);
        }
    }

    fn array(&mut self, trie: &Trie, cursor: &mut Cursor<'_>, mut inner: Inner) -> Option<()> {
        cursor.at += 1;
        if cursor.is_empty(b']') {
            return Some(());
        }
        let to = self.active.len();
        for place in 0.. {
            for at in inner.from..to {
                let node = trie.node(self.active[at]);
                let active = &mut self.active;
                node.at(place, |below| {
                    inner.left -= 1;
                    active.push(below);
                });
                if let Some(each) = node.each {
                    active.push(each);
                }
            }
            cursor.space();
            if !self.item(trie, cursor, &inner, to, b']')? {
                break;
            }
        }
        Some(())
    }

    /// At a value in a container, to which the active nodes from `to` on lead. Whether another value follows that is
    /// to be looked at; else the container has been stepped over.
    #[inline]
    fn item(
        &mut self,
        trie: &Trie,
        cursor: &mut Cursor<'_>,
        inner: &Inner,
        to: usize,
        close: u8,
    ) -> Option<bool> {
        let last = inner.left == 0 && !inner.wild;
        if self.active.len() == to {
            cursor.skip_value()?;
        } else {
            self.value(trie, cursor, to, false, inner.need || !last)?;
            self.active.truncate(to);
            if last {
                return if inner.need { cursor.leave(close).map(|()| false) } else { None };
            }
        }
        cursor.more(close)
    }

    /// After a string whose inside is looked at by the active nodes from `to` on.
    fn go_inside(&mut self, trie: &Trie, cursor: &Cursor<'_>, string: RawString<'_>, to: usize) {
        // What is wrong inside the string is no harm to what stands around it.
        if string.escaped {
            let depth = self.source;
            let Some(inside) = self.inside.get_mut(depth) else { return };
            let mut inside = std::mem::take(inside);
            self.unescaped = true;
            let start = inside.len();
            if unescape(string.raw, &mut inside).is_some() {
                self.source = depth + 1;
                self.value(trie, &mut Cursor { bytes: &inside, at: start }, to, true, false);
                self.source = depth;
            }
            self.inside[depth] = inside;
        } else {
            let end = cursor.at - 1;
            let bytes = cursor.bytes.get(..end).unwrap_or_default();
            self.value(trie, &mut Cursor { bytes, at: end - string.raw.len() }, to, true, false);
        }
        self.active.truncate(to);
    }

    /// The places of a slot's values.
    #[inline]
    pub(in crate::dialect) fn values(&self, slot: Slot) -> impl Iterator<Item = usize> {
        std::iter::successors(self.first(slot), |place| self.after(*place))
    }

    /// The place of the next value of the same slot.
    #[inline]
    pub(in crate::dialect) fn after(&self, place: usize) -> Option<usize> {
        self.found.get(place).map(|found| found.next).filter(|next| *next != END)
    }

    /// The place of a slot's first value.
    #[inline]
    pub(in crate::dialect) fn first(&self, slot: Slot) -> Option<usize> {
        self.slots.get(slot).filter(|values| values.message == self.message).map(|values| values.first)
    }

    /// How exact the most exact condition is that a value meets.
    pub(in crate::dialect) fn best(&mut self, place: usize) -> &mut usize {
        &mut self.found[place].best
    }

    #[inline]
    fn bytes<'a>(&'a self, json: &'a [u8], found: &Found) -> &'a [u8] {
        let source = match found.source {
            0 => json,
            depth => &self.inside[depth - 1],
        };
        source.get(found.start..found.end).unwrap_or_default()
    }

    /// The raw JSON of a value.
    pub(in crate::dialect) fn raw<'a>(&'a self, json: &'a [u8], place: usize) -> &'a [u8] {
        let mut found = self.found[place];
        if matches!(found.kind, Kind::Text { .. }) {
            (found.start, found.end) = (found.start - 1, found.end + 1);
        }
        self.bytes(json, &found)
    }

    /// The scalar at a place, if it is one. The whole text or bytes count as a string.
    pub(in crate::dialect) fn scalar<'a>(&'a self, json: &'a [u8], place: usize) -> Option<Scalar<'a>> {
        let found = &self.found[place];
        let raw = self.bytes(json, found);
        match found.kind {
            Kind::Text { escaped } => RawString { raw, escaped }.text().map(Scalar::Text),
            Kind::Whole => Some(Scalar::Text(Cow::Borrowed(raw))),
            Kind::Word => Scalar::parse(raw),
            Kind::Container => None,
        }
    }

    /// The string at a place, if nothing in it is escaped.
    #[inline]
    pub(in crate::dialect) fn plain<'a>(&'a self, json: &'a [u8], place: usize) -> Option<&'a [u8]> {
        let found = &self.found[place];
        let plain = matches!(found.kind, Kind::Text { escaped: false } | Kind::Whole);
        plain.then(|| self.bytes(json, found))
    }

    /// Appends what a scalar is looked up by, unless it gets longer than `longest`. The same as [`write_key`].
    #[inline]
    pub(in crate::dialect) fn key(
        &self,
        json: &[u8],
        place: usize,
        longest: usize,
        key: &mut Vec<u8>,
    ) -> bool {
        let found = &self.found[place];
        let raw = self.bytes(json, found);
        match found.kind {
            Kind::Text { escaped: false } | Kind::Whole => {
                if raw.len() > longest {
                    return false;
                }
                write_text(raw, key);
                true
            }
            Kind::Text { escaped: true } => {
                let start = key.len();
                // Escapes shorten to a sixth at most.
                if raw.len() / 6 > longest || unescape(raw, key).is_none() {
                    return false;
                }
                let length = key.len() - start;
                key.resize(start + length.next_multiple_of(WORD), 0);
                end_key(TEXT_KEY, length, key);
                true
            }
            Kind::Word => Scalar::parse(raw).map(|scalar| write_key(&scalar, key)).is_some(),
            Kind::Container => false,
        }
    }

    /// Appends the beginning of a string, if it is one and as long.
    #[inline]
    pub(in crate::dialect) fn beginning(
        &self,
        json: &[u8],
        place: usize,
        length: usize,
        key: &mut Vec<u8>,
    ) -> bool {
        let found = &self.found[place];
        let raw = self.bytes(json, found);
        match found.kind {
            Kind::Text { escaped: false } | Kind::Whole => {
                let Some(beginning) = raw.get(..length) else { return false };
                key.extend_from_slice(beginning);
                true
            }
            Kind::Text { escaped: true } => {
                let start = key.len();
                let long = unescape(raw, key).is_some() && key.len() - start >= length;
                key.truncate(start + length);
                long
            }
            Kind::Word | Kind::Container => false,
        }
    }
}

/// A container at hand.
struct Inner {
    /// The active nodes that lead to it begin here.
    from: usize,
    /// What is still looked for by name or place.
    left: usize,
    /// All that it holds is looked for.
    wild: bool,
    /// It has to be stepped over to its end.
    need: bool,
}

/// Appends what a scalar is looked up by: equal for equal ones. Numbers of 2^53 and more share it with their neighbours.
pub(in crate::dialect) fn write_key(scalar: &Scalar<'_>, key: &mut Vec<u8>) {
    match scalar {
        Scalar::Text(text) => write_text(text, key),
        Scalar::Number(number) => {
            key.extend_from_slice(&number.bucket().to_le_bytes());
            end_key(2, 0, key);
        }
        Scalar::Bool(value) => end_key(3 + u64::from(*value), 0, key),
        Scalar::Null => end_key(5, 0, key),
    }
}

/// Whether a number shares its key with others.
pub(in crate::dialect) fn is_shared(scalar: &Scalar<'_>) -> bool {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    matches!(scalar, Scalar::Number(number) if f64::from_bits(Number::bucket(*number)).abs() >= EXACT)
}

const WORD: usize = size_of::<u64>();
const TEXT_KEY: u64 = 1;

/// In the words in which it will be hashed: for what is written in other pieces than it is read in, the processor waits.
#[inline]
fn write_text(text: &[u8], key: &mut Vec<u8>) {
    let (words, rest) = text.as_chunks();
    words.iter().for_each(|word: &[u8; WORD]| key.extend_from_slice(word));
    if !rest.is_empty() {
        let last = match text.last_chunk() {
            Some(last) => u64::from_le_bytes(*last) >> (8 * (WORD - rest.len())),
            None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        key.extend_from_slice(&last.to_le_bytes());
    }
    end_key(TEXT_KEY, text.len(), key);
}

/// The string that a key of one scalar alone stands for.
pub(in crate::dialect) fn read_text(key: &[u8]) -> Option<&[u8]> {
    let (text, end) = key.split_last_chunk()?;
    let end = u64::from_le_bytes(*end);
    if end & 0xFF == TEXT_KEY { text.get(..usize::try_from(end >> 8).ok()?) } else { None }
}

/// The kind and length stand behind: keys in a row can only be read one way, from the end.
#[inline]
fn end_key(kind: u64, length: usize, key: &mut Vec<u8>) {
    key.extend_from_slice(&((length as u64) << 8 | kind).to_le_bytes());
}

#[cfg(test)]
#[path = "pass_tests.rs"]
mod tests;
