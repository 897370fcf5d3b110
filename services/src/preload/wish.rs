//! What follows from a change of the number that is wished for.

use common::failure::Failure;
use common::model::Value;
use common::names::QubeName;
use common::quote::quote;
use common::store::Txn;

use super::{MAX, is_default, is_for, start_event};

/// Announces that a qube's or dom0's number is now another one, or was removed. Gives the template whose list is to be
/// brought in step once that is committed, if it concerns any.
///
/// # Errors
/// What the store says.
pub fn changed(
    txn: &mut Txn<'_>,
    holder: &QubeName,
    value: Option<&str>,
) -> Result<Option<QubeName>, Failure> {
    let (scope, template) = if holder.is_dom0() {
        let system = txn.system()?;
        let default = system.properties.get("default_dispvm").and_then(Value::as_text);
        ("global", default.map_or(Ok(None), |name| txn.qube_named(name))?)
    } else {
        ("local", txn.qube(holder)?)
    };
    let Some(template) = template.filter(|template| is_for(template.class)) else { return Ok(None) };
    let dom0 = txn.qube(&QubeName::dom0())?;
    let has_global = dom0.is_some_and(|dom0| dom0.feature(MAX).is_some());
    if scope == "local" && has_global && is_default(txn, &template)? {
        return Ok(None);
    }
    let reason = value.map(|value| format!("{scope} feature was set to {}", quote(value)));
    let deleted = (scope == "global").then(|| "global feature was deleted".to_owned());
    if let Some(reason) = reason.or(deleted) {
        txn.event(start_event(&template.name, &reason));
    }
    Ok(Some(template.name.clone()))
}
