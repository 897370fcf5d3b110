//! A qube that speaks of itself, and who follows it (spec 30 §17.3).

use std::rc::Rc;

use common::call::no_such_domain;
use common::event::Event;
use common::failure::Failure;
use common::log;
use common::model::Qube;
use common::names::QubeName;
use common::store::Txn;

use super::said::Said;
use super::{agent, supported, windows};
use crate::feature;
use crate::property::{Case, Context};

/// A qube and what it says, in the change that makes it so.
pub(super) struct Guest<'a, 's> {
    pub(super) txn: &'a mut Txn<'s>,
    pub(super) context: Context<'a>,
    pub(super) name: &'a QubeName,
    pub(super) said: &'a Said,
}

type Follower = fn(&mut Guest<'_, '_>) -> Result<(), Failure>;

/// Who follows, in the order in which listeners hear of it, and whether also where there is a template, which speaks for
/// itself about all else.
const FOLLOWERS: [(Follower, bool); 6] = [
    (windows::follow, false),
    (supported::services, false),
    (supported::features, false),
    (supported::rpcs, true),
    (|guest| guest.announce(), true),
    (agent::follow, false),
];

impl Guest<'_, '_> {
    /// Takes over what the qube may decide of what it says.
    pub(super) fn follow(mut self) -> Result<(), Failure> {
        let is_based = self.qube()?.class.has_template();
        if is_based {
            log::line(&format!("{} has a template, so that little of what it says counts", self.name));
        }
        for (follow, _) in FOLLOWERS.iter().filter(|(_, always)| *always || !is_based) {
            follow(&mut self)?;
        }
        Ok(())
    }

    fn announce(&mut self) -> Result<(), Failure> {
        let event = Event::on(self.name, "features-request");
        self.txn.event(event.with("untrusted_features", self.said.to_event_text()));
        Ok(())
    }

    /// The qube as this change has made it until now.
    pub(super) fn qube(&self) -> Result<Rc<Qube>, Failure> {
        self.txn.qube(self.name)?.ok_or_else(|| no_such_domain(self.name.as_str()))
    }

    /// Whether it has a feature, or its template has.
    pub(super) fn has(&self, feature: &str) -> Result<bool, Failure> {
        let qube = self.qube()?;
        let case = Case { view: self.txn, context: self.context, qube: Some(&qube) };
        Ok(case.feature(feature)?.is_some())
    }

    pub(super) fn set(&mut self, feature: &str, value: &str) -> Result<(), Failure> {
        feature::store(self.txn, self.name, feature, value)
    }

    pub(super) fn unset(&mut self, feature: &str) -> Result<(), Failure> {
        feature::delete(self.txn, self.name, feature)
    }
}
