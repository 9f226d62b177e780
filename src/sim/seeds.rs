//! Many worlds at once, for tests of a service: one call, and the first failure names its seed.

use super::report::{Coverage, Failure};
use super::world::World;
use crate::service::Service;
use std::ops::Range;

/// Runs the worlds of these seeds, one after the other, and gives what they covered together.
///
/// `world` makes the world of one seed, usually from a [`Plan`](super::Plan) that is [drawn](super::Plan::draw) from it.
/// To look at a failure again, run the range of its seed alone: `run_seeds(17..18, world)`.
///
/// # Errors
///
/// The first world in which something did not hold. What it displays is its seed, what did not hold, a line about each
/// client, and the last events.
pub fn run_seeds<S: Service>(
    seeds: Range<u64>,
    mut world: impl FnMut(u64) -> World<S>,
) -> Result<Coverage, Box<Failure>> {
    let mut coverage = Coverage::none();
    for seed in seeds {
        coverage.add(&world(seed).run()?);
    }
    Ok(coverage)
}
