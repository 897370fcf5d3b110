//! Serves `admin.label.*`.

fn main() {
    common::serve::serve(&services::label::FAMILY);
}
