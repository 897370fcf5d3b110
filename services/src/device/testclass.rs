//! Class `testclass`, which no dom0 has (spec 30 §4.6): its devices are lines of a file that a test writes, and attaching one is
//! what it is for every class, with nothing to be done.

use common::failure::Failure;
use common::files;
use common::model::{Place, Qube};
use common::names::QubeName;
use common::store::{Note, Store};

use super::class::{DeviceClass, at_port};
use super::exposed::{Attached, Exposed};
use super::work::{Plan, Work};
use crate::property::Case;

/// The class.
pub(super) struct TestClass;

const NAME: &str = "testclass";
/// A file for each qube that has devices: port and identity a line.
const FOLDER: &str = "/etc/qubes/testclass";

impl DeviceClass for TestClass {
    fn name(&self) -> &'static str {
        NAME
    }

    fn exposed(&self, case: &Case<'_>, backend: &Qube) -> Result<Vec<Exposed>, Failure> {
        let file = case.context.root.path(FOLDER).join(backend.name.as_str());
        let lines = files::read_if_present(&file).ok().flatten().unwrap_or_default();
        let device = |line: &str| {
            let (port, identity) = line.split_once(' ')?;
            Some(Exposed::new(NAME, &backend.name, port, identity.to_owned()))
        };
        Ok(String::from_utf8_lossy(&lines).lines().filter_map(device).collect())
    }

    fn attached(&self, case: &Case<'_>, frontend: &Qube) -> Result<Vec<Attached>, Failure> {
        let note = Store::at(case.context.root).note(Note::Attached, &frontend.name)?.unwrap_or_default();
        let note = String::from_utf8_lossy(&note);
        let mut attached = Vec::new();
        for place in note.lines().map(Place::of_words).filter(|place| place.class == NAME) {
            let backend = QubeName::parse(&place.backend)?;
            let found = match case.view.qube(&backend)? {
                Some(qube) => at_port(self, case, &qube, &place.port)?,
                None => None,
            };
            attached.push(Attached::at(&backend, place.port, found.as_ref(), Vec::new()));
        }
        Ok(attached)
    }

    fn plan(
        &self,
        _: &Case<'_>,
        _: &Qube,
        _: &Exposed,
        options: &[(String, String)],
    ) -> Result<Plan, Failure> {
        Ok(Plan { work: Work::Nothing, options: options.to_vec() })
    }

    fn undoing(&self, _: &Case<'_>, _: &Qube, _: &Attached) -> Result<Work, Failure> {
        Ok(Work::Nothing)
    }
}
