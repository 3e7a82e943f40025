//! Many pointers as one tree, so that one pass over a message finds the values of all.

use crate::dialect::json::pointer::{Pointer, Token};
use std::collections::HashMap;

/// A pointer in use, or the whole text, or the whole bytes.
pub(in crate::dialect) type Slot = usize;

/// The whole text of a text message.
pub(in crate::dialect) const TEXT: Slot = 0;
/// The whole bytes of a binary message.
pub(in crate::dialect) const BINARY: Slot = 1;

/// From here on names are looked up in a table.
const FEW: usize = 8;

/// The tree.
#[derive(Debug)]
pub(in crate::dialect) struct Trie {
    nodes: Vec<Node>,
    free_nodes: Vec<usize>,
    slots: Vec<Use>,
    free_slots: Vec<Slot>,
}

/// What values are looked for at.
#[derive(Debug, Default)]
struct Use {
    node: usize,
    wild: bool,
    /// How often it is looked for.
    any: usize,
    /// Of these, where objects and arrays are of interest, too.
    containers: usize,
}

/// A step of one or several pointers.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Node {
    /// The node above, and the step from there; none at the root.
    above: Option<(usize, Token)>,
    /// Pointers that end here.
    pub(in crate::dialect) slot: Option<Slot>,
    /// Whether an object or array that stands here is a value to be found.
    pub(in crate::dialect) containers: bool,
    /// Steps that go on from here.
    below: usize,
    /// Of these, members that are looked for by name.
    pub(in crate::dialect) named: usize,
    names: Names,
    /// A bit for each [`likeness`] of a name there has been.
    like: u64,
    elements: Vec<(usize, usize)>,
    pub(in crate::dialect) each: Option<usize>,
    pub(in crate::dialect) json: Option<usize>,
}

/// The members that are looked for in an object.
#[derive(Debug)]
enum Names {
    Few(Vec<(Box<[u8]>, usize)>),
    Many(HashMap<Box<[u8]>, Vec<usize>>),
}

impl Default for Names {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Names {
    fn insert(&mut self, name: &str, node: usize) {
        if let Self::Few(few) = self
            && few.len() == FEW
        {
            let mut many: HashMap<_, Vec<_>> = HashMap::new();
            for (name, node) in few.drain(..) {
                many.entry(name).or_default().push(node);
            }
            *self = Self::Many(many);
        }
        let name = Box::from(name.as_bytes());
        match self {
            Self::Few(few) => few.push((name, node)),
            Self::Many(many) => many.entry(name).or_default().push(node),
        }
    }

    fn remove(&mut self, name: &str, node: usize) {
        match self {
            Self::Few(few) => few.retain(|(_, own)| *own != node),
            Self::Many(many) => {
                if let Some(nodes) = many.get_mut(name.as_bytes()) {
                    nodes.retain(|own| *own != node);
                    if nodes.is_empty() {
                        many.remove(name.as_bytes());
                    }
                }
                if many.is_empty() {
                    *self = Self::default();
                }
            }
        }
    }
}

impl Node {
    /// How many elements of an array are looked for by their place.
    #[inline]
    pub(in crate::dialect) fn elements(&self) -> usize {
        self.elements.len()
    }

    /// Whether there may be a member of such a [`likeness`].
    #[inline]
    pub(in crate::dialect) fn may_lead(&self, likeness: u64) -> bool {
        self.like & likeness != 0
    }

    /// Where a member leads to.
    pub(in crate::dialect) fn members(&self, name: &[u8], mut found: impl FnMut(usize)) {
        match &self.names {
            Names::Few(few) => {
                for (own, node) in few {
                    if **own == *name {
                        found(*node);
                    }
                }
            }
            Names::Many(many) => many.get(name).into_iter().flatten().for_each(|node| found(*node)),
        }
    }

    /// Where an element leads to.
    #[inline]
    pub(in crate::dialect) fn at(&self, place: usize, mut found: impl FnMut(usize)) {
        // Ascending, so that what follows has a greater place.
        let start = self.elements.partition_point(|(own, _)| *own < place);
        let here = self.elements.get(start..).into_iter().flatten();
        here.take_while(|(own, _)| *own == place).for_each(|(_, node)| found(*node));
    }

    /// Whether nothing below is looked for.
    #[inline]
    pub(in crate::dialect) fn is_leaf(&self) -> bool {
        self.below == 0
    }
}

/// The same bit for equal names, and mostly another for others.
#[inline]
pub(in crate::dialect) fn likeness(name: &[u8]) -> u64 {
    let first = name.first().copied().unwrap_or_default();
    1 << ((usize::from(first) + 8 * name.len()) % 64)
}

impl Default for Trie {
    fn default() -> Self {
        let slots = vec![Use::default(), Use::default()];
        Self { nodes: vec![Node::default()], free_nodes: Vec::new(), slots, free_slots: Vec::new() }
    }
}

impl Trie {
    /// Looks for the values of a pointer from now on. To be undone by [`Trie::remove`].
    pub(in crate::dialect) fn insert(&mut self, pointer: &Pointer, containers: bool) -> Slot {
        let mut node = 0;
        for token in pointer.tokens() {
            node = self.step(node, token).unwrap_or_else(|| self.grow(node, token));
        }
        let slot = self.nodes[node].slot.unwrap_or_else(|| {
            let slot = self.free_slots.pop().unwrap_or_else(|| {
                self.slots.push(Use::default());
                self.slots.len() - 1
            });
            self.slots[slot] = Use { node, wild: pointer.is_wild(), any: 0, containers: 0 };
            self.nodes[node].slot = Some(slot);
            slot
        });
        let used = &mut self.slots[slot];
        used.any += 1;
        used.containers += usize::from(containers);
        self.nodes[node].containers = used.containers > 0;
        slot
    }

    /// Looks at the whole text or the whole bytes from now on. To be undone by [`Trie::remove`].
    pub(in crate::dialect) fn insert_whole(&mut self, slot: Slot) {
        self.slots[slot].any += 1;
    }

    /// Whether a slot is looked for.
    #[inline]
    pub(in crate::dialect) fn is_used(&self, slot: Slot) -> bool {
        self.slots[slot].any > 0
    }

    /// Undoes one [`Trie::insert`].
    pub(in crate::dialect) fn remove(&mut self, slot: Slot, containers: bool) {
        let used = &mut self.slots[slot];
        used.any -= 1;
        if slot == TEXT || slot == BINARY {
            return;
        }
        used.containers -= usize::from(containers);
        let mut node = used.node;
        self.nodes[node].containers = used.containers > 0;
        if used.any > 0 {
            return;
        }
        self.free_slots.push(slot);
        self.nodes[node].slot = None;
        while self.nodes[node].slot.is_none()
            && self.nodes[node].is_leaf()
            && let Some((above, token)) = self.nodes[node].above.take()
        {
            self.cut(above, &token, node);
            self.nodes[node] = Node::default();
            self.free_nodes.push(node);
            node = above;
        }
    }

    /// Whether no values are looked for.
    #[inline]
    pub(in crate::dialect) fn is_empty(&self) -> bool {
        self.nodes.first().is_none_or(|root| root.is_leaf() && root.slot.is_none())
    }

    /// Whether a slot may have several values.
    pub(in crate::dialect) fn is_wild(&self, slot: Slot) -> bool {
        self.slots.get(slot).is_some_and(|used| used.wild)
    }

    /// The steps of a slot's pointer; none for text and bytes.
    pub(in crate::dialect) fn path(&self, slot: Slot) -> Vec<Token> {
        let mut path = Vec::new();
        let mut node = self.slots.get(slot).map_or(0, |used| used.node);
        while let Some((above, token)) = &self.nodes[node].above {
            path.push(token.clone());
            node = *above;
        }
        path.reverse();
        path
    }

    #[inline]
    pub(in crate::dialect) fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// How many nodes there may be.
    pub(in crate::dialect) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// How many slots there may be.
    pub(in crate::dialect) fn slots(&self) -> usize {
        self.slots.len()
    }

    fn step(&self, from: usize, token: &Token) -> Option<usize> {
        let node = &self.nodes[from];
        let mut next = None;
        let mut candidate = |to: usize| {
            if matches!(&self.nodes[to].above, Some((_, own)) if own == token) {
                next = Some(to);
            }
        };
        match token {
            Token::Member(name) | Token::Either(name, _) => node.members(name.as_bytes(), candidate),
            Token::Element(place) => node.at(*place, candidate),
            Token::Each => node.each.into_iter().for_each(&mut candidate),
            Token::Json => node.json.into_iter().for_each(&mut candidate),
        }
        next
    }

    fn grow(&mut self, from: usize, token: &Token) -> usize {
        let new = Node { above: Some((from, token.clone())), ..Node::default() };
        let to = match self.free_nodes.pop() {
            Some(to) => {
                self.nodes[to] = new;
                to
            }
            None => {
                self.nodes.push(new);
                self.nodes.len() - 1
            }
        };
        let node = &mut self.nodes[from];
        node.below += 1;
        if let Some(name) = token.key() {
            node.named += 1;
            node.names.insert(name, to);
            node.like |= likeness(name.as_bytes());
        }
        if let Some(place) = token.index() {
            let at = node.elements.partition_point(|(own, _)| *own < place);
            node.elements.insert(at, (place, to));
        }
        match token {
            Token::Each => node.each = Some(to),
            Token::Json => node.json = Some(to),
            Token::Member(_) | Token::Element(_) | Token::Either(..) => {}
        }
        to
    }

    fn cut(&mut self, from: usize, token: &Token, to: usize) {
        let node = &mut self.nodes[from];
        node.below -= 1;
        if let Some(name) = token.key() {
            node.named -= 1;
            node.names.remove(name, to);
            if node.named == 0 {
                node.like = 0;
            }
        }
        if token.index().is_some() {
            node.elements.retain(|(_, own)| *own != to);
        }
        match token {
            Token::Each => node.each = None,
            Token::Json => node.json = None,
            Token::Member(_) | Token::Element(_) | Token::Either(..) => {}
        }
    }
}
