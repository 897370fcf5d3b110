//! Serves `admin.vm.tag.*`.

fn main() {
    common::serve::serve(&services::tag::FAMILY);
}
