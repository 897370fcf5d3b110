//! What follows from the tag `created-by-<qube>`: the creator's extra tags and GUI qube (spec 10 §8.1, §8.3).

use common::call::no_such_domain;
use common::failure::Failure;
use common::model::{Qube, Value};
use common::names::{QubeName, TagName};
use common::store::Txn;

use crate::property::{self, Context};
use crate::tag;

const PREFIX: &str = "created-by-";

/// The tag that names a qube as creator.
///
/// # Errors
/// `QubesInvalidTagError` where the name has a dot, which no tag may have.
pub fn tag_of(creator: &QubeName) -> Result<TagName, Failure> {
    Ok(TagName::parse(&format!("{PREFIX}{creator}"))?)
}

/// Refuses a creator tag that names no qube (spec 10 H13), before it is added. One that is there already, of a
/// creator since removed, may stay.
///
/// # Errors
/// `QubesVMNotFoundError`.
pub fn require_known(txn: &Txn<'_>, qube: &QubeName, tag: &TagName) -> Result<(), Failure> {
    let is_new = |found: &Qube| found.class.is_local() && !found.tags.contains(tag);
    let is_new = txn.qube(qube)?.is_some_and(|found| is_new(&found));
    match tag.as_str().strip_prefix(PREFIX) {
        Some(creator) if is_new && txn.qube_named(creator)?.is_none() => Err(no_such_domain(creator)),
        _ => Ok(()),
    }
}

/// Brings about what a creator tag, just added, asks for.
///
/// # Errors
/// Those of the tags and of the `guivm` property.
pub fn follow_tag(
    txn: &mut Txn<'_>,
    context: &Context<'_>,
    qube: &QubeName,
    added: &TagName,
) -> Result<(), Failure> {
    let local = txn.qube(qube)?.is_some_and(|found| found.class.is_local());
    let Some(creator) = added.as_str().strip_prefix(PREFIX).filter(|_| local) else { return Ok(()) };
    let Some(creator) = txn.qube_named(creator)? else { return Ok(()) };
    for word in creator.feature("tag-created-vm-with").unwrap_or_default().split_ascii_whitespace() {
        tag::add(txn, qube, &TagName::parse(word)?)?;
    }
    match creator.feature("set-created-guivm").filter(|name| !name.is_empty()) {
        Some(guivm) => set_guivm(txn, context, qube, guivm),
        None => Ok(()),
    }
}

fn set_guivm(txn: &mut Txn<'_>, context: &Context<'_>, qube: &QubeName, guivm: &str) -> Result<(), Failure> {
    if txn.qube_named(guivm)?.is_none() {
        return Err(no_such_domain(guivm));
    }
    property::set(txn, context, qube, "guivm", Value::Text(guivm.to_owned()))
}
