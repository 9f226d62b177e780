//! `tidegate bench`: what a run looks like on a terminal, while it goes on and when it is over.
//!
//! Always holds: standard output gets the result alone, standard error what is said meanwhile; both are made from the
//! values of [`load`](crate::load), so that a table, a page and a file never differ. Never: a measurement.

pub mod diff;
pub mod live;
mod paint;
pub mod table;
#[cfg(test)]
mod tests;
