//! Tables of what is looked up: one for all conditions of the same form, by the values they ask for.

use crate::dialect::json::pass::{Pass, is_shared, read_text, write_key};
use crate::dialect::json::scalar::Scalar;
use crate::dialect::json::trie::{Slot, Trie};
use crate::dialect::router::conditions::{Alternative, By, Expr, Test};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A value that is part of the key of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::dialect) struct Field {
    /// It may be one of several, each of which is looked up. Comes last.
    pub(in crate::dialect) each: bool,
    pub(in crate::dialect) slot: Slot,
    pub(in crate::dialect) kind: FieldKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::dialect) enum FieldKind {
    /// It is there; no part of the key.
    Exists,
    /// A scalar.
    Equal,
    /// The beginning of a string, of this length.
    Prefix(usize),
}

/// The conditions of one form, by their values.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Shape {
    pub(in crate::dialect) fields: Vec<Field>,
    /// The longest key. It only grows.
    longest: usize,
    table: Table,
    /// Where one field alone is looked up: strings as they are, so that nothing has to be put together.
    texts: Table,
    /// The field that is looked up alone; the others, if there are any, only have to be there.
    alone: Option<Field>,
}

type Table = HashMap<Box<[u8]>, usize, BuildHasherDefault<Fold>>;

/// A quick hash. Those who send messages put nothing into the tables, so there is nothing to be had from equal ones.
#[derive(Debug, Default, Clone, Copy)]
struct Fold(u64);

impl Fold {
    #[inline]
    fn add(&mut self, a: u64, b: u64) {
        let product = u128::from(self.0 ^ a ^ 0x9E37_79B9_7F4A_7C15) * u128::from(b ^ 0xD6E8_FEB8_6659_FD93);
        self.0 = (product ^ (product >> 64)) as u64;
    }
}

impl Hasher for Fold {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let word = u64::from_le_bytes;
        let (pairs, rest) = bytes.as_chunks::<16>();
        for pair in pairs {
            if let (Some(a), Some(b)) = (pair.first_chunk(), pair.last_chunk()) {
                self.add(word(*a), word(*b));
            }
        }
        match (rest.first_chunk(), rest.last_chunk(), bytes.last_chunk()) {
            (Some(a), Some(b), _) => self.add(word(*a), word(*b)),
            (_, _, Some(last)) if !rest.is_empty() => self.add(word(*last), 0),
            (_, _, Some(_)) => {}
            (_, _, None) => self.add(rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0),
        }
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        // The length, which the bytes follow.
        self.0 ^= number as u64;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

impl Shape {
    pub(in crate::dialect) fn new(fields: Vec<Field>) -> Self {
        let mut compared = fields.iter().filter(|field| field.kind != FieldKind::Exists);
        let alone = compared.next().filter(|_| compared.next().is_none()).copied();
        Self { fields, alone, ..Self::default() }
    }

    /// The table for a key, and the key in it.
    fn table<'a>(&mut self, key: &'a [u8]) -> (&mut Table, &'a [u8]) {
        if self.alone.is_some() {
            if self.prefix().is_some() {
                return (&mut self.texts, key);
            }
            if let Some(text) = read_text(key) {
                return (&mut self.texts, text);
            }
        }
        (&mut self.table, key)
    }

    /// The target of a key, made by `new` if there is none.
    pub(in crate::dialect) fn entry(&mut self, key: &[u8], new: impl FnOnce() -> usize) -> usize {
        self.longest = self.longest.max(key.len());
        let (table, key) = self.table(key);
        *table.entry(key.into()).or_insert_with(new)
    }

    pub(in crate::dialect) fn remove(&mut self, key: &[u8]) {
        let (table, key) = self.table(key);
        table.remove(key);
    }

    pub(in crate::dialect) fn is_empty(&self) -> bool {
        self.table.is_empty() && self.texts.is_empty()
    }

    /// The field whose beginning alone is compared.
    pub(in crate::dialect) fn prefix(&self) -> Option<(&Field, usize)> {
        self.fields.iter().find_map(|field| match field.kind {
            FieldKind::Prefix(length) => Some((field, length)),
            FieldKind::Exists | FieldKind::Equal => None,
        })
    }

    /// Calls `found` with the targets of what the message has, and the place of the value that is one of several.
    #[inline]
    pub(in crate::dialect) fn look_up(
        &self,
        pass: &Pass,
        json: &[u8],
        key: &mut Vec<u8>,
        mut found: impl FnMut(usize, usize),
    ) {
        key.clear();
        if let Some(field) = &self.alone {
            if self.fields.len() > 1 && self.fields.iter().any(|field| pass.first(field.slot).is_none()) {
                return;
            }
            if !field.each {
                if let Some(place) = pass.first(field.slot)
                    && let Some(target) = self.find_alone(pass, json, field.kind, place, key)
                {
                    found(target, usize::MAX);
                }
                return;
            }
            for place in pass.values(field.slot) {
                key.clear();
                if let Some(target) = self.find_alone(pass, json, field.kind, place, key) {
                    found(target, place);
                }
            }
            return;
        }
        for field in &self.fields {
            if field.each {
                let start = key.len();
                for place in pass.values(field.slot) {
                    key.truncate(start);
                    if self.write(pass, json, field.kind, place, key)
                        && let Some(target) = self.table.get(&**key)
                    {
                        found(*target, place);
                    }
                }
                return;
            }
            let Some(place) = pass.first(field.slot) else { return };
            if !self.write(pass, json, field.kind, place, key) {
                return;
            }
        }
        if let Some(target) = self.table.get(&**key) {
            found(*target, usize::MAX);
        }
    }

    /// The target of a value that is looked up alone.
    #[inline]
    fn find_alone(
        &self,
        pass: &Pass,
        json: &[u8],
        kind: FieldKind,
        place: usize,
        key: &mut Vec<u8>,
    ) -> Option<usize> {
        if let Some(text) = pass.plain(json, place) {
            return match kind {
                FieldKind::Prefix(length) => self.texts.get(text.get(..length)?),
                _ if text.len() > self.longest => None,
                _ => self.texts.get(text),
            }
            .copied();
        }
        self.find_written(pass, json, kind, place, key)
    }

    #[inline(never)]
    fn find_written(
        &self,
        pass: &Pass,
        json: &[u8],
        kind: FieldKind,
        place: usize,
        key: &mut Vec<u8>,
    ) -> Option<usize> {
        if !self.write(pass, json, kind, place, key) {
            return None;
        }
        if let FieldKind::Prefix(_) = kind {
            return self.texts.get(&**key).copied();
        }
        match read_text(key) {
            Some(text) => self.texts.get(text).copied(),
            None => self.table.get(&**key).copied(),
        }
    }

    #[inline]
    fn write(&self, pass: &Pass, json: &[u8], kind: FieldKind, place: usize, key: &mut Vec<u8>) -> bool {
        match kind {
            FieldKind::Exists => true,
            FieldKind::Equal => pass.key(json, place, self.longest, key),
            FieldKind::Prefix(length) => pass.beginning(json, place, length, key),
        }
    }
}

/// An alternative as it is looked up.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Arranged {
    pub(in crate::dialect) fields: Vec<Field>,
    pub(in crate::dialect) key: Vec<u8>,
    /// Tests that are not part of the key.
    pub(in crate::dialect) tests: Vec<Test>,
    /// Other conditions.
    pub(in crate::dialect) rest: Vec<Expr>,
}

/// Chooses what is looked up: everything that is compared, but of several wildcards one, and one beginning.
pub(in crate::dialect) fn arrange(alternative: Alternative, trie: &Trie) -> Arranged {
    let Alternative { tests, rest } = alternative;
    let mut out = Arranged { rest, ..Arranged::default() };
    let mut chosen: Vec<(Field, Test)> = Vec::new();
    let equals = tests.clone();
    let mut unique: Vec<Test> = Vec::new();
    for test in tests {
        if !unique.contains(&test) {
            unique.push(test);
        }
    }
    // What is equal is looked up rather than what begins.
    unique.sort_by_key(|test| match &test.by {
        By::Equal(_) => (0, 0),
        By::Prefix(prefix) => (1, usize::MAX - prefix.len()),
        By::Exists => (2, 0),
    });
    for test in unique {
        let wild = trie.is_wild(test.slot);
        let field = match &test.by {
            By::Exists => Field { each: false, slot: test.slot, kind: FieldKind::Exists },
            By::Equal(_) => Field { each: wild, slot: test.slot, kind: FieldKind::Equal },
            By::Prefix(prefix) => {
                Field { each: wild, slot: test.slot, kind: FieldKind::Prefix(prefix.len()) }
            }
        };
        if let By::Prefix(prefix) = &test.by {
            let mut same = equals.iter().filter(|other| other.slot == test.slot);
            let implied = same.clone().any(|other| match &other.by {
                By::Equal(Scalar::Text(text)) => text.starts_with(prefix),
                By::Prefix(longer) => longer.len() > prefix.len() && longer.starts_with(prefix),
                By::Equal(_) | By::Exists => false,
            });
            if implied {
                continue;
            }
            if same.any(|other| matches!(other.by, By::Equal(_))) {
                // Equality is more exact, also where it is another value's.
                out.rest.push(Expr::Test(test));
                continue;
            }
        }
        let is_prefix = |field: &Field| matches!(field.kind, FieldKind::Prefix(_));
        let taken = chosen.iter().any(|(other, _)| {
            (field.each && other.each)
                || (is_prefix(&field) && is_prefix(other))
                || (field.kind == FieldKind::Equal && *other == field)
        });
        if taken {
            out.tests.push(test);
            continue;
        }
        if let By::Equal(scalar) = &test.by
            && is_shared(scalar)
        {
            out.tests.push(test.clone());
        }
        chosen.push((field, test));
    }
    // Closures are asked last.
    out.rest.sort_by_key(|expr| matches!(expr, Expr::Closure(_)));
    chosen.sort_by_key(|(field, _)| *field);
    for (field, test) in &chosen {
        match &test.by {
            By::Exists => {}
            By::Equal(scalar) => write_key(scalar, &mut out.key),
            By::Prefix(prefix) => out.key.extend_from_slice(prefix),
        }
        out.fields.push(*field);
    }
    out
}
