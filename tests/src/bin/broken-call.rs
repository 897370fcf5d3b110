//! A service whose only call panics over its payload once it has been granted.
#![cfg_attr(not(test), no_main)]
#![allow(clippy::panic, reason = "what a panic does is tested with it")]

use common::call::{Call, Content, Family, Granted, Presence, Received, Row, Values, World, entry};
use common::failure::{Failure, Refusal};
use common::names::Ascii;

struct Break;

impl Call for Break {
    const ROW: Row = Row::write("admin.test.Break", "Panics.").payload(Presence::Required);
    type Input = Ascii;

    fn sanitise(received: &Received) -> Result<Ascii, Refusal> {
        Ok(received.payload.sanitise()?)
    }

    fn facts(_: &Ascii) -> Values {
        Values::default()
    }

    fn act(granted: Granted<Self>, _: &mut World<'_>) -> Result<Content, Failure> {
        panic!("cannot serve {}", granted.input())
    }
}

const FAMILY: Family = Family { name: "broken-call", calls: &[entry::<Break>()] };

common::service!(FAMILY);
