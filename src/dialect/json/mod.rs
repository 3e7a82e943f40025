//! Finds values in JSON text without building a tree.
//!
//! [`scan`] looks for one pointer, [`pass`] for all pointers of a router at once, along the [`trie`] that they make.

mod block;
mod cursor;
pub(in crate::dialect) mod elements;
pub(in crate::dialect) mod pass;
pub(in crate::dialect) mod place;
pub(crate) mod pointer;
pub(in crate::dialect) mod scalar;
pub(in crate::dialect) mod scan;
pub(in crate::dialect) mod trie;
