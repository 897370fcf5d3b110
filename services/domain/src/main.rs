//! `qubes-domain NAME`: the only executable that links libxl. What it shall do comes on standard input, one end of a
//! conversation (`common::hypervisor::Connection`).

fn main() {
    if let Err(error) = domain::run() {
        common::log::line(&format!("qubes-domain: {error}"));
        std::process::exit(1);
    }
}
