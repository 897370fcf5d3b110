//! `policy.*`: reading and changing qrexec's policy, and asking what it decides (spec 50 §15.2, §17).

mod change;
mod evaluate;
mod file;
mod journal;
mod read;
mod register;

pub(crate) use register::FILE as REGISTERED;

use common::call::{Family, entry};

/// The family.
pub const FAMILY: Family = Family {
    name: "admin-policy",
    calls: &[
        entry::<evaluate::Eval>(),
        entry::<evaluate::EvalGui>(),
        entry::<evaluate::EvalSimple>(),
        entry::<read::Get>(),
        entry::<read::GetFiles>(),
        entry::<read::List>(),
        entry::<read::IncludeGet>(),
        entry::<read::IncludeList>(),
        entry::<register::RegisterArgument>(),
        entry::<change::Remove>(),
        entry::<change::Replace>(),
        entry::<change::IncludeRemove>(),
        entry::<change::IncludeReplace>(),
    ],
};
