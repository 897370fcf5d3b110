//! `admin.Events` and `admin.vm.Stats`.

fn main() {
    common::serve::serve(&services::events::FAMILY);
}
