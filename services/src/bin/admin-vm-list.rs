//! Serves `admin.vmclass.List`, `admin.vm.List` and `admin.vm.CurrentState`.

fn main() {
    common::serve::serve(&services::vm::LIST);
}
