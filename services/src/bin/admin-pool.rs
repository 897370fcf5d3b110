//! Serves `admin.pool.*`.

fn main() {
    common::serve::serve(&services::pool::FAMILY);
}
