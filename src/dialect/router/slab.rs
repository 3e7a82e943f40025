//! Things by number; numbers of removed ones are used again.

use std::ops::{Index, IndexMut};

#[derive(Debug)]
pub(in crate::dialect) struct Slab<T> {
    items: Vec<T>,
    free: Vec<usize>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { items: Vec::new(), free: Vec::new() }
    }
}

impl<T: Default> Slab<T> {
    pub(in crate::dialect) fn insert(&mut self, item: T) -> usize {
        match self.free.pop() {
            Some(number) => {
                self.items[number] = item;
                number
            }
            None => {
                self.items.push(item);
                self.items.len() - 1
            }
        }
    }

    pub(in crate::dialect) fn remove(&mut self, number: usize) -> T {
        self.free.push(number);
        std::mem::take(&mut self.items[number])
    }

    #[cfg(test)]
    pub(in crate::dialect) fn is_empty(&self) -> bool {
        self.free.len() == self.items.len()
    }

    /// All of them, and blanks in place of removed ones.
    pub(in crate::dialect) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.items
    }
}

impl<T> Index<usize> for Slab<T> {
    type Output = T;

    fn index(&self, number: usize) -> &T {
        &self.items[number]
    }
}

impl<T> IndexMut<usize> for Slab<T> {
    fn index_mut(&mut self, number: usize) -> &mut T {
        &mut self.items[number]
    }
}
