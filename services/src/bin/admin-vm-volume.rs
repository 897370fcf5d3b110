//! Serves `admin.vm.volume.*`.

fn main() {
    common::serve::serve(&services::volume::FAMILY);
}
