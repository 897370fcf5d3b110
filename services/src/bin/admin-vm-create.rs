//! Serves `admin.vm.Create.*`, `admin.vm.CreateInPool.*` and `admin.vm.Remove`.

fn main() {
    common::serve::serve(&services::vm::LIFETIME);
}
