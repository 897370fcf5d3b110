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

use create::{create, create_in_pool};
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
        create("admin.vm.Create.AdminVM"),
        create("admin.vm.Create.AppVM"),
        create("admin.vm.Create.DispVM"),
        create("admin.vm.Create.RemoteVM"),
        create("admin.vm.Create.StandaloneVM"),
        create("admin.vm.Create.TemplateVM"),
        create_in_pool("admin.vm.CreateInPool.AdminVM"),
        create_in_pool("admin.vm.CreateInPool.AppVM"),
        create_in_pool("admin.vm.CreateInPool.DispVM"),
        create_in_pool("admin.vm.CreateInPool.RemoteVM"),
        create_in_pool("admin.vm.CreateInPool.StandaloneVM"),
        create_in_pool("admin.vm.CreateInPool.TemplateVM"),
    ],
};

/// The family that removes qubes.
pub const REMOVAL: Family = Family { name: "admin-vm-remove", calls: &[entry::<remove::Remove>()] };

/// The family that hands out disposables.
pub const DISPOSABLE: Family =
    Family { name: "admin-vm-disposable", calls: &[entry::<disposable::CreateDisposable>()] };

/// The family that makes qubes without being told all of them: templates from streams, and disposables in advance.
pub const TEMPLATE: Family = Family {
    name: "admin-vm-template",
    calls: &[entry::<create_template::CreateTemplate>(), entry::<in_advance::MakeDisposable>()],
};
