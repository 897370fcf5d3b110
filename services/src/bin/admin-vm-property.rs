//! Serves `admin.vm.property.*`.

fn main() {
    common::serve::serve(&services::property::VM);
}
