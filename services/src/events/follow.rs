//! `admin.Events`: every event of the system, or of one qube, as it happens (spec 30 §12).

use std::os::fd::{AsFd, BorrowedFd};

use common::call::{Call, Granted, Row, World};
use common::event::Event;
use common::failure::Failure;
use common::store::Follower;
use common::stream::{Ended, Source};

use super::filter::Filter;

pub(super) struct Events;

impl Call for Events {
    const ROW: Row =
        Row::read("admin.Events", "Events as they happen: all on dom0, else the destination's.").global();
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Followed, Failure> {
        let filter = Filter::new(world.root(), granted.caller(), granted.destination(), world.view())?;
        let follower = Follower::behind(world.view())?;
        Ok(Followed { follower, filter })
    }
}

/// The event log as one caller sees it.
pub(super) struct Followed {
    follower: Follower,
    filter: Filter,
}

impl Source for Followed {
    fn wakes(&self) -> Option<BorrowedFd<'_>> {
        Some(self.follower.as_fd())
    }

    fn events(&mut self) -> Result<Vec<Event>, Ended> {
        let mut events = Vec::new();
        let read = self.follower.read(|event| events.push(event));
        read.map_err(|lost| Ended(lost.to_string()))?;
        self.filter.apply(events)
    }
}
