//! A bell that wakes a sleeper once for many letters, and never too rarely.
//!
//! ```text
//!   whoever leaves a letter            the loop
//!   1. puts it into the queue          1. clears the bell
//!   2. rings: was it silent?           2. takes letters until there are none
//!   3. if so, wakes the loop           3. sleeps only while the bell is silent, or until it is woken
//! ```
//!
//! Always holds: every letter is put before its ring, and the bell is cleared before letters are taken. So a letter
//! that the loop did not find was rung for after the clearing: the bell is rung, and its first ringer wakes the loop.
//! Clearing behind the last letter instead would lose the wake of one that came in between;
//! `tests/bell_model.rs` tries the interleavings of two ringers and a sleeper, and finds that mistake.
//!
//! Both sides use a swap that acquires and releases: all swaps of one flag have one order, so a loop that clears a ring
//! sees everything that was put before it, also by those who rang before and were not the first.

use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Relaxed};

/// What a bell is made of; a test puts a model checker's flag in its place.
pub trait Flag: Default {
    /// Sets it and gives what it was, acquiring what earlier setters released and releasing what came before.
    fn swap(&self, raised: bool) -> bool;

    /// What it is, at this moment and without any order.
    fn peek(&self) -> bool;
}

impl Flag for AtomicBool {
    #[inline]
    fn swap(&self, raised: bool) -> bool {
        AtomicBool::swap(self, raised, AcqRel)
    }

    #[inline]
    fn peek(&self) -> bool {
        self.load(Relaxed)
    }
}

/// Rung by many, cleared by one.
#[derive(Debug, Default)]
pub struct Bell<F: Flag = AtomicBool> {
    rung: F,
}

impl<F: Flag> Bell<F> {
    /// A silent one.
    pub fn new() -> Bell<F> {
        Bell { rung: F::default() }
    }

    /// Rings. True for the first since it was cleared: that one must wake whoever listens.
    #[must_use = "the first to ring must wake the listener"]
    pub fn ring(&self) -> bool {
        !self.rung.swap(true)
    }

    /// Silences it. For the listener alone, and before it looks for what it was rung for.
    pub fn clear(&self) {
        self.rung.swap(false);
    }

    /// Whether it is rung. May be a moment behind; then a wake is on its way.
    #[inline]
    pub fn is_rung(&self) -> bool {
        self.rung.peek()
    }
}
