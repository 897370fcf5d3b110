//! `admin.deviceclass.List` and `admin.vm.device.*`: devices that qubes have for each other (spec 30 §1 to §7).

mod appear;
mod ask;
mod assign;
mod attach;
mod auto;
mod block;
mod book;
pub mod bus;
mod class;
mod denied;
mod dom0_block;
mod dom0_used;
pub mod ended;
mod exposed;
mod guest;
pub mod halfway;
mod hwdata;
mod lists;
mod mic;
mod needed;
mod pci;
#[cfg(feature = "testclass")]
mod testclass;
mod usb;
mod webcam;
mod work;

use common::call::{Entry, Family, Row, World, entry, no_such_method};
use common::failure::Failure;
use common::model::Qube;
use common::root::Root;

use block::Block;
use class::{DeviceClass, is_served};
use mic::Mic;
use pci::Pci;
#[cfg(feature = "testclass")]
use testclass::TestClass;
use usb::Usb;
use webcam::Webcam;

pub use block::node;
pub use needed::{check_required, required};

/// Sees to the devices of a qube that starts, in processes of their own: those that it gets, and those that it has.
pub fn arm(root: &Root, qube: &Qube) {
    auto::arm(root, qube);
    appear::arm(root, &qube.name);
}

/// Names of the calls of one class.
struct Names {
    available: &'static str,
    assigned: &'static str,
    attached: &'static str,
    list: &'static str,
    assign: &'static str,
    unassign: &'static str,
    attach: &'static str,
    detach: &'static str,
    set_assignment: &'static str,
    set_required: &'static str,
}

/// A class that has calls.
trait OfClass: 'static {
    const CLASS: &'static dyn DeviceClass;
    const NAMES: Names;
}

macro_rules! classes {
    ($($class:ident $name:literal),+ $(,)?) => {
        $(impl OfClass for $class {
            const CLASS: &'static dyn DeviceClass = &$class;
            const NAMES: Names = Names {
                available: concat!("admin.vm.device.", $name, ".Available"),
                assigned: concat!("admin.vm.device.", $name, ".Assigned"),
                attached: concat!("admin.vm.device.", $name, ".Attached"),
                list: concat!("admin.vm.device.", $name, ".List"),
                assign: concat!("admin.vm.device.", $name, ".Assign"),
                unassign: concat!("admin.vm.device.", $name, ".Unassign"),
                attach: concat!("admin.vm.device.", $name, ".Attach"),
                detach: concat!("admin.vm.device.", $name, ".Detach"),
                set_assignment: concat!("admin.vm.device.", $name, ".Set.assignment"),
                set_required: concat!("admin.vm.device.", $name, ".Set.required"),
            };
        })+
    };
}

/// Some calls, then those of classes that do not touch what runs.
macro_rules! calls {
    ($($other:ty),+; $($class:ident),+) => {
        &[
            $(entry::<$other>(),)+
            $(
                entry::<lists::Available<$class>>(),
                entry::<lists::Assigned<$class>>(),
                entry::<lists::Attached<$class>>(),
                entry::<lists::List<$class>>(),
                entry::<assign::Assign<$class>>(),
                entry::<assign::Unassign<$class>>(),
                entry::<assign::SetAssignment<$class>>(),
                entry::<assign::SetRequired<$class>>(),
            )+
        ]
    };
}

macro_rules! hot_calls {
    ($($class:ident),+) => {
        &[$(entry::<attach::Attach<$class>>(), entry::<attach::Detach<$class>>(),)+]
    };
}

classes!(Block "block", Mic "mic", Pci "pci", Usb "usb", Webcam "webcam");

/// All classes in the order of lists.
const CLASSES: &[&dyn DeviceClass] = &[&Block, &Mic, &Pci, &Usb, &Webcam];

const CALLS: &[Entry] =
    calls!(lists::Classes, denied::List, denied::Add, denied::Remove; Block, Mic, Pci, Usb, Webcam);

const HOT_CALLS: &[Entry] = hot_calls!(Block, Mic, Pci, Usb, Webcam);

#[cfg(feature = "testclass")]
classes!(TestClass "testclass");

/// The family of a class that tests ask for, and nothing installs.
#[cfg(feature = "testclass")]
pub const TEST: Family = Family {
    name: "admin-testclass",
    calls: calls!(attach::Attach<TestClass>, attach::Detach<TestClass>; TestClass),
};

/// The family of lists and assignments.
pub const FAMILY: Family = Family { name: "admin-vm-device", calls: CALLS };

/// The family of what happens to running qubes.
pub const HOT: Family = Family { name: "admin-vm-attach", calls: HOT_CALLS };

/// The family of what happens by itself, which nobody calls from outside.
pub const AUTO: Family = Family {
    name: "admin-vm-auto-attach",
    calls: &[entry::<auto::AttachAll>(), entry::<appear::Watch>(), entry::<appear::Look>()],
};

/// The class of a call, if the part of dom0 is there that it belongs to.
fn served(
    class: &'static dyn DeviceClass,
    world: &World<'_>,
    row: &Row,
) -> Result<&'static dyn DeviceClass, Failure> {
    if is_served(class, world.root()) { Ok(class) } else { Err(no_such_method(row.name)) }
}
