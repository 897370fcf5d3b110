//! When a qube was backed up last, which its property tells.

use common::event::Event;
use common::failure::Failure;
use common::model::{Class, Value};
use common::names::QubeName;
use common::store::Txn;

use crate::property;

const PROPERTY: &str = "backup_timestamp";

/// Whether qubes of a class have it.
pub(super) fn is_told_of(class: Class) -> bool {
    property::is_settable(class, PROPERTY)
}

/// Notes a backup of these qubes, as far as they are still there. Nothing else follows from this property, so that the table of
/// all is not needed.
///
/// # Errors
/// What the store says.
pub(super) fn stamp(txn: &mut Txn<'_>, qubes: &[QubeName], seconds: u64) -> Result<(), Failure> {
    let new = Value::Int(i64::try_from(seconds).unwrap_or(i64::MAX));
    for name in qubes {
        let Some(qube) = txn.qube(name)? else { continue };
        let old = qube.properties.get(PROPERTY).cloned().unwrap_or(Value::None);
        let event = |kind: &str| {
            let event = Event::on(name, format!("property-{kind}:{PROPERTY}")).with("name", PROPERTY);
            event.with("newvalue", new.to_event_text()).with("oldvalue", old.to_event_text())
        };
        txn.event(event("pre-set"));
        txn.edit_qube(name, |qube| drop(qube.properties.insert(PROPERTY.to_owned(), new.clone())))?;
        txn.event(event("set"));
    }
    Ok(())
}
