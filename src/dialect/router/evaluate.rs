//! Conditions that are not looked up, on the values of one message.

use crate::dialect::json::pass::Pass;
use crate::dialect::json::scalar::Scalar;
use crate::dialect::matcher::{MatchFn, has_bits};
use crate::dialect::router::conditions::{By, Expr, Test};
use crate::message::Payload;
use crate::panics::caught;

/// A closure and what it said last, so that it is called once for a message.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Called {
    pub(in crate::dialect) closure: Option<MatchFn>,
    message: u64,
    /// `None`: it panicked.
    said: Option<bool>,
}

impl From<MatchFn> for Called {
    fn from(closure: MatchFn) -> Self {
        Self { closure: Some(closure), ..Self::default() }
    }
}

/// A message, and what has been found in it.
pub(in crate::dialect) struct View<'a> {
    pub(in crate::dialect) payload: Payload<'a>,
    pub(in crate::dialect) pass: &'a Pass,
    /// The number of the message, from 1.
    pub(in crate::dialect) message: u64,
    pub(in crate::dialect) closures: &'a mut [Called],
    pub(in crate::dialect) panicked: &'a mut Option<String>,
}

impl View<'_> {
    /// Whether all hold. A closure that panics makes it `false`.
    pub(in crate::dialect) fn all(&mut self, tests: &[Test], rest: &[Expr]) -> bool {
        tests.iter().all(|test| self.test(test)) && rest.iter().all(|expr| self.holds(expr) == Some(true))
    }

    fn test(&self, test: &Test) -> bool {
        self.pass.values(test.slot).any(|place| meets(self.pass, self.payload, place, &test.by))
    }

    fn holds(&mut self, expr: &Expr) -> Option<bool> {
        let json = self.payload.as_bytes();
        Some(match expr {
            Expr::Test(test) => self.test(test),
            Expr::Leaf(slot, leaf) => {
                self.pass.values(*slot).any(|place| leaf.holds(self.pass.raw(json, place)))
            }
            Expr::Contained(slot, contained) => {
                self.pass.values(*slot).any(|place| contained.is_in(self.pass.raw(json, place)))
            }
            Expr::Bits(slot, bits) => {
                self.pass.values(*slot).any(|place| has_bits(self.pass.raw(json, place), *bits))
            }
            Expr::Not(inner) => !self.holds(inner)?,
            Expr::All(all) => {
                for inner in all {
                    if !self.holds(inner)? {
                        return Some(false);
                    }
                }
                true
            }
            Expr::Any(any) => {
                for inner in any {
                    if self.holds(inner)? {
                        return Some(true);
                    }
                }
                false
            }
            Expr::Shared(inner) => self.holds(inner)?,
            Expr::Closure(number) => {
                let called = self.closures.get_mut(*number)?;
                if called.message != self.message {
                    let closure = called.closure.as_ref()?;
                    called.message = self.message;
                    called.said = match caught(|| closure.call(self.payload)) {
                        Ok(said) => Some(said),
                        Err(message) => {
                            self.panicked.get_or_insert(message);
                            None
                        }
                    };
                }
                called.said?
            }
        })
    }
}

/// Whether a value meets a condition.
pub(in crate::dialect) fn meets(pass: &Pass, payload: Payload<'_>, place: usize, by: &By) -> bool {
    match by {
        By::Exists => true,
        By::Equal(scalar) => pass.scalar(payload.as_bytes(), place).is_some_and(|own| own == *scalar),
        By::Prefix(prefix) => {
            matches!(pass.scalar(payload.as_bytes(), place), Some(Scalar::Text(text)) if text.starts_with(prefix))
        }
    }
}
