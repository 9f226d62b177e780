//! A handler with a mistake, what the simulator says about it, and the mended handler.
//!
//! ```text
//! cargo run --example simulated
//! ```

use tidegate::base::Rng;
use tidegate::service::FnService;
use tidegate::sim::{Answer, Draft, Failure, Plan, Request, World, run_seeds};
use tidegate::{Frame, Replied, Reply, Status};

const MALFORMED: Status = Status::application(256);

#[allow(clippy::print_stdout, reason = "it has no other way to tell")]
fn main() {
    match simulate(careless) {
        Ok(()) => println!("nothing was found"),
        Err(failure) => println!("{failure}"),
    }
    match simulate(careful) {
        Ok(()) => println!("nothing was found in the mended one"),
        Err(failure) => println!("{failure}"),
    }
}

/// Doubles a number of four bytes. Mistaken: payloads have any length.
pub(crate) fn careless(frame: Frame<'_>, reply: Reply<'_>) -> Replied {
    let number = u32::from_be_bytes(frame.payload()[..4].try_into().expect("four bytes"));
    reply.send(&(number * 2).to_be_bytes())
}

/// Doubles a number of four bytes.
pub(crate) fn careful(frame: Frame<'_>, reply: Reply<'_>) -> Replied {
    match frame.payload().try_into().map(u32::from_be_bytes).ok().and_then(|number| number.checked_mul(2)) {
        Some(double) => reply.send(&double.to_be_bytes()),
        None => reply.fail(MALFORMED, "send a number of four bytes, below 2147483648"),
    }
}

/// What must come of a request, whoever sends it and whatever happens on the way.
fn due(request: &Request<'_>) -> Answer {
    match request.payload {
        [first, _, _, _] if *first < 0x80 => {
            let number = u32::from_be_bytes(request.payload.try_into().expect("it has four"));
            Answer::Reply((number * 2).to_be_bytes().to_vec())
        }
        _ => Answer::Fails(MALFORMED.code()),
    }
}

/// Numbers, and now and then what is none.
fn payload(_draft: Draft, rng: &mut Rng) -> Vec<u8> {
    let bytes = if rng.chance(900) { 4..8 } else { 3..8 };
    rng.next_u64().to_be_bytes()[bytes].to_vec()
}

/// A hundred worlds, each with its own clients, network and troubles.
pub(crate) fn simulate(handler: fn(Frame<'_>, Reply<'_>) -> Replied) -> Result<(), Box<Failure>> {
    let world = |seed| {
        let plan = Plan { payloads: Some(payload), ..Plan::draw(seed, &[7]) };
        World::new(plan, move || FnService(handler), due)
    };
    run_seeds(0..100, world).map(drop)
}
