//! A JSON value that another one must contain, taken apart into what has to hold where.

use crate::dialect::json::pointer::{Pointer, Token};
use crate::dialect::json::scalar::Scalar;
use crate::dialect::json::scan;
use serde_json::Value;

/// What has to hold for one value.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::dialect) enum Leaf {
    /// It equals a scalar.
    Equal(Value),
    /// It is an object.
    Object,
    /// It is an array.
    Array,
    /// It is not there.
    Absent,
}

/// Calls `found` with each condition, and where it must hold, from `pointer` on. Objects may have further members;
/// arrays must be as long.
pub(in crate::dialect) fn flatten(value: &Value, pointer: &Pointer, found: &mut dyn FnMut(Pointer, Leaf)) {
    match value {
        Value::Object(members) => {
            // A member that must be there says as much.
            if members.is_empty() {
                found(pointer.clone(), Leaf::Object);
            }
            for (key, member) in members {
                flatten(member, &pointer.join(Token::Member(key.clone())), found);
            }
        }
        Value::Array(items) => {
            if items.is_empty() {
                found(pointer.clone(), Leaf::Array);
            }
            for (index, item) in items.iter().enumerate() {
                flatten(item, &pointer.join(Token::Element(index)), found);
            }
            found(pointer.join(Token::Element(items.len())), Leaf::Absent);
        }
        scalar => found(pointer.clone(), Leaf::Equal(scalar.clone())),
    }
}

/// A value that others must contain, for those that can't be looked up.
#[derive(Debug, Clone, Default)]
pub(in crate::dialect) struct Contained(Vec<(Pointer, Leaf)>);

impl Contained {
    pub(in crate::dialect) fn new(value: &Value) -> Self {
        let mut leaves = Vec::new();
        flatten(value, &Pointer::default(), &mut |pointer, leaf| leaves.push((pointer, leaf)));
        Self(leaves)
    }

    /// Whether the raw JSON contains it.
    pub(in crate::dialect) fn is_in(&self, raw: &[u8]) -> bool {
        self.0.iter().all(|(pointer, leaf)| {
            let mut holds = *leaf == Leaf::Absent;
            scan::values(raw, pointer, &mut |raw| {
                holds = leaf.holds(&raw);
                false
            });
            holds
        })
    }
}

impl Leaf {
    /// Whether it holds for a value that is there.
    pub(in crate::dialect) fn holds(&self, raw: &[u8]) -> bool {
        match self {
            Self::Equal(value) => {
                let own = Scalar::parse(raw);
                own.is_some() && own == Scalar::of(value)
            }
            Self::Object => raw.first() == Some(&b'{'),
            Self::Array => raw.first() == Some(&b'['),
            Self::Absent => false,
        }
    }
}
