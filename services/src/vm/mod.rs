//! `admin.vmclass.List`, `admin.vm.List`, `.CurrentState`, `.Create.*`, `.CreateInPool.*`, `.CreateDisposable`,
//! `.CreateTemplate` and `.Remove` (spec 10 §2).

mod create;
mod create_template;
mod disposable;
mod in_advance;
mod list;
mod make;
pub mod options;
mod plan;
mod remove;
mod state;

use common::call::{Family, entry};
use common::model::Class;

use create::{Create, CreateInPool};
pub use plan::tag_handed_out;
pub use remove::discard;

/// The family of lists and states.
pub const LIST: Family = Family {
    name: "admin-vm-list",
    calls: &[entry::<list::Classes>(), entry::<list::List>(), entry::<state::CurrentState>()],
};

/// The family that makes qubes.
pub const LIFETIME: Family = Family {
    name: "admin-vm-create",
    calls: &[
        entry::<Create<{ Class::AdminVM as u8 }>>(),
        entry::<Create<{ Class::AppVM as u8 }>>(),
        entry::<Create<{ Class::DispVM as u8 }>>(),
        entry::<Create<{ Class::RemoteVM as u8 }>>(),
        entry::<Create<{ Class::StandaloneVM as u8 }>>(),
        entry::<Create<{ Class::TemplateVM as u8 }>>(),
        entry::<CreateInPool<{ Class::AdminVM as u8 }>>(),
        entry::<CreateInPool<{ Class::AppVM as u8 }>>(),
        entry::<CreateInPool<{ Class::DispVM as u8 }>>(),
        entry::<CreateInPool<{ Class::RemoteVM as u8 }>>(),
        entry::<CreateInPool<{ Class::StandaloneVM as u8 }>>(),
        entry::<CreateInPool<{ Class::TemplateVM as u8 }>>(),
        entry::<in_advance::MakeDisposable>(),
    ],
};

/// The family that removes qubes.
pub const REMOVAL: Family = Family { name: "admin-vm-remove", calls: &[entry::<remove::Remove>()] };

/// The family that hands out disposables.
pub const DISPOSABLE: Family =
    Family { name: "admin-vm-disposable", calls: &[entry::<disposable::CreateDisposable>()] };

/// The family that makes templates from streams.
pub const TEMPLATE: Family =
    Family { name: "admin-vm-template", calls: &[entry::<create_template::CreateTemplate>()] };
