//! Serves `admin.vm.feature.*`.

fn main() {
    common::serve::serve(&services::feature::FAMILY);
}
