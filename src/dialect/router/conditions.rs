//! Matchers taken apart: into alternatives, each of some tests that can be looked up and others that can't.

use crate::dialect::json::pointer::Pointer;
use crate::dialect::json::scalar::Scalar;
use crate::dialect::json::trie::{BINARY, Slot, TEXT, Trie};
use crate::dialect::matcher::contains::{self, Contained, Leaf};
use crate::dialect::matcher::{MatchFn, Matcher};
use std::borrow::Cow;
use std::sync::Arc;

/// Products of alternatives over this are not multiplied out.
const MAX_ALTERNATIVES: usize = 1024;

/// A condition on the values of a slot; met if one of them meets it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::dialect) struct Test {
    pub(in crate::dialect) slot: Slot,
    pub(in crate::dialect) by: By,
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::dialect) enum By {
    Equal(Scalar<'static>),
    Prefix(Box<[u8]>),
    Exists,
}

/// A condition that is not looked up.
#[derive(Debug, Clone)]
pub(in crate::dialect) enum Expr {
    Test(Test),
    Leaf(Slot, Leaf),
    Contained(Slot, Contained),
    Bits(Slot, u64),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
    Closure(usize),
    Shared(Arc<Self>),
}

/// Tests and other conditions, all of which must be met.
#[derive(Debug, Clone, Default)]
pub(in crate::dialect) struct Alternative {
    pub(in crate::dialect) tests: Vec<Test>,
    pub(in crate::dialect) rest: Vec<Expr>,
}

/// Takes matchers apart, and remembers what they need.
pub(in crate::dialect) struct Compiler<'a> {
    pub(in crate::dialect) trie: &'a mut Trie,
    /// What is looked for, and whether containers count.
    pub(in crate::dialect) slots: Vec<(Slot, bool)>,
    /// Gives a closure its number.
    pub(in crate::dialect) closure: &'a mut dyn FnMut(&MatchFn) -> usize,
}

impl Compiler<'_> {
    /// The alternatives of a matcher. None: nothing meets it.
    pub(in crate::dialect) fn alternatives(&mut self, matcher: &Matcher) -> Vec<Alternative> {
        match matcher {
            Matcher::All(matchers) => {
                let mut product = vec![Alternative::default()];
                for matcher in matchers {
                    let factor = self.alternatives(matcher);
                    product = multiply(product, factor);
                }
                product
            }
            Matcher::Any(matchers) => {
                matchers.iter().flat_map(|matcher| self.alternatives(matcher)).collect()
            }
            Matcher::OneOf { pointer, one_of } => {
                let values: Vec<_> = one_of.iter().filter_map(owned).collect();
                let Some(slot) = self.pointer(pointer, false) else { return Vec::new() };
                values
                    .into_iter()
                    .map(|value| Test { slot, by: By::Equal(value) })
                    .map(Alternative::from)
                    .collect()
            }
            Matcher::Contains { pointer, contains } => self.contains(pointer, contains),
            Matcher::Pointer { .. }
            | Matcher::Exists { .. }
            | Matcher::StartsWith { .. }
            | Matcher::Bits { .. }
            | Matcher::Text(_)
            | Matcher::Prefix(_)
            | Matcher::Binary(_)
            | Matcher::Not(_)
            | Matcher::Closure(_) => self.single(matcher).into_iter().collect(),
        }
    }

    /// Matchers with no alternatives. `None`: nothing meets it.
    fn single(&mut self, matcher: &Matcher) -> Option<Alternative> {
        let (slot, by) = match matcher {
            Matcher::Pointer { pointer, equals } => {
                let value = owned(equals)?;
                (self.pointer(pointer, false)?, By::Equal(value))
            }
            Matcher::Exists { pointer, exists } => {
                let test = Test { slot: self.pointer(pointer, true)?, by: By::Exists };
                return Some(if *exists {
                    test.into()
                } else {
                    Expr::Not(Box::new(Expr::Test(test))).into()
                });
            }
            Matcher::StartsWith { pointer, starts_with } => {
                (self.pointer(pointer, false)?, By::Prefix(starts_with.as_bytes().into()))
            }
            Matcher::Bits { pointer, bits } => {
                return Some(Expr::Bits(self.pointer(pointer, false)?, *bits).into());
            }
            Matcher::Text(text) => {
                (self.whole(TEXT), By::Equal(Scalar::Text(Cow::Owned(text.clone().into_bytes()))))
            }
            Matcher::Prefix(prefix) => (self.whole(TEXT), By::Prefix(prefix.as_bytes().into())),
            Matcher::Binary(bytes) => (self.whole(BINARY), By::Prefix(bytes.as_slice().into())),
            Matcher::Not(matcher) => {
                let inner = self.expression(matcher);
                return Some(Expr::Not(Box::new(inner)).into());
            }
            Matcher::Closure(closure) => return Some(Expr::Closure((self.closure)(closure)).into()),
            Matcher::All(_) | Matcher::Any(_) | Matcher::OneOf { .. } | Matcher::Contains { .. } => {
                return None;
            }
        };
        Some(Test { slot, by }.into())
    }

    /// A matcher as one condition.
    fn expression(&mut self, matcher: &Matcher) -> Expr {
        match matcher {
            Matcher::All(matchers) => Expr::All(matchers.iter().map(|m| self.expression(m)).collect()),
            Matcher::Any(matchers) => Expr::Any(matchers.iter().map(|m| self.expression(m)).collect()),
            other => any(self.alternatives(other)),
        }
    }

    fn contains(&mut self, pointer: &str, contains: &serde_json::Value) -> Vec<Alternative> {
        let Ok(pointer) = Pointer::parse(pointer) else { return Vec::new() };
        let mut leaves = Vec::new();
        contains::flatten(contains, &pointer, &mut |pointer, leaf| leaves.push((pointer, leaf)));
        let mut out = Alternative::default();
        // Of several values one must meet all; that they are met one by one is necessary, but not enough.
        let wild = pointer.is_wild() && (leaves.len() > 1 || leaves.iter().any(|(_, l)| *l == Leaf::Absent));
        for (pointer, leaf) in leaves {
            match leaf {
                Leaf::Equal(value) => {
                    if let Some(value) = owned(&value) {
                        let slot = self.slot(&pointer, false);
                        out.tests.push(Test { slot, by: By::Equal(value) });
                    }
                }
                Leaf::Object | Leaf::Array if !wild => {
                    let slot = self.slot(&pointer, true);
                    out.tests.push(Test { slot, by: By::Exists });
                    out.rest.push(Expr::Leaf(slot, leaf));
                }
                Leaf::Absent if !wild => {
                    let test = Test { slot: self.slot(&pointer, true), by: By::Exists };
                    out.rest.push(Expr::Not(Box::new(Expr::Test(test))));
                }
                Leaf::Object | Leaf::Array | Leaf::Absent => {}
            }
        }
        if wild {
            out.rest.push(Expr::Contained(self.slot(&pointer, true), Contained::new(contains)));
        }
        vec![out]
    }

    fn pointer(&mut self, text: &str, containers: bool) -> Option<Slot> {
        Pointer::parse(text).ok().map(|pointer| self.slot(&pointer, containers))
    }

    fn whole(&mut self, slot: Slot) -> Slot {
        self.trie.insert_whole(slot);
        self.slots.push((slot, false));
        slot
    }

    fn slot(&mut self, pointer: &Pointer, containers: bool) -> Slot {
        let slot = self.trie.insert(pointer, containers);
        self.slots.push((slot, containers));
        slot
    }
}

impl From<Test> for Alternative {
    fn from(test: Test) -> Self {
        Self { tests: vec![test], rest: Vec::new() }
    }
}

impl From<Expr> for Alternative {
    fn from(expr: Expr) -> Self {
        Self { tests: Vec::new(), rest: vec![expr] }
    }
}

impl From<Alternative> for Expr {
    fn from(alternative: Alternative) -> Self {
        let mut all: Vec<_> = alternative.tests.into_iter().map(Self::Test).collect();
        all.extend(alternative.rest);
        match all.pop() {
            Some(one) if all.is_empty() => one,
            last => {
                all.extend(last);
                Self::All(all)
            }
        }
    }
}

fn any(alternatives: Vec<Alternative>) -> Expr {
    Expr::Any(alternatives.into_iter().map(Expr::from).collect())
}

/// All of one and all of the other.
fn multiply(a: Vec<Alternative>, b: Vec<Alternative>) -> Vec<Alternative> {
    if a.len() * b.len() > MAX_ALTERNATIVES.max(a.len()).max(b.len()) {
        // The greater part is looked up.
        let (mut kept, tried) = if a.len() >= b.len() { (a, any(b)) } else { (b, any(a)) };
        let tried = Arc::new(tried);
        kept.iter_mut().for_each(|alternative| alternative.rest.push(Expr::Shared(Arc::clone(&tried))));
        return kept;
    }
    a.iter()
        .flat_map(|a| {
            b.iter().map(|b| Alternative {
                tests: [&*a.tests, &*b.tests].concat(),
                rest: [&*a.rest, &*b.rest].concat(),
            })
        })
        .collect()
}

fn owned(value: &serde_json::Value) -> Option<Scalar<'static>> {
    Some(match Scalar::of(value)? {
        Scalar::Text(text) => Scalar::Text(Cow::Owned(text.into_owned())),
        Scalar::Number(number) => Scalar::Number(number),
        Scalar::Bool(value) => Scalar::Bool(value),
        Scalar::Null => Scalar::Null,
    })
}
