//! Serves `admin.property.*`.

fn main() {
    common::serve::serve(&services::property::GLOBAL);
}
