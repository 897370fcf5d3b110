//! Serves `admin.vm.notes.*`.

fn main() {
    common::serve::serve(&services::notes::FAMILY);
}
