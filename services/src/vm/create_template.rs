//! `admin.vm.CreateTemplate`: a template whose root volume comes as a stream (spec 10 §2.5).

use common::call::{Call, Content, Destination, Granted, Presence, Received, Reply, Row, Values, World};
use common::failure::{Failure, Refusal};
use common::model::Class;
use common::names::{NewLabelName, QubeName};

use super::make::{Wish, foresee, make};
use crate::input;
use crate::property::Context;

/// The label of a template that is made so: the specification's.
const LABEL: &str = "black";

pub(super) struct CreateTemplate;

impl Call for CreateTemplate {
    const ROW: Row = Row::write(
        "admin.vm.CreateTemplate",
        "Makes a template: argument its name, payload the image that its root volume gets.",
    )
    .global()
    .on(Destination::Dom0)
    .argument(Presence::Required)
    .payload(Presence::Stream);
    type Input = Wish;

    fn sanitise(received: &Received) -> Result<Wish, Refusal> {
        let name: QubeName = input::argument(received)?;
        let image = Some(received.upload());
        let label = Some(NewLabelName::parse(LABEL)?);
        Ok(Wish { image, ..Wish::plain(Class::TemplateVM, name, label) })
    }

    fn facts(wish: &Wish) -> Values {
        Values::argument(wish.name.as_str()).with("name", wish.name.as_str()).with("label", LABEL)
    }

    /// The lifecycle lock of the name is held as long as bytes come; the store's is not.
    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Reply, Failure> {
        let (store, context, wish) = (world.store(), Context::of(world), granted.input());
        // How many bytes come is not known.
        granted.check_growth(0, u64::MAX)?;
        foresee(&granted, world, wish)?;
        let _lifecycle = store.lock_lifecycle(&wish.name)?;
        let caller = granted.caller();
        let made = make(store, &context, caller, wish, &mut |change| world.change(&granted, change))?;
        Ok(Reply::Ended(made.map(|_| Content::new())))
    }
}
