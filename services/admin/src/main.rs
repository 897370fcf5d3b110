//! `qubes-admin`: the operator's tool.

use std::process::ExitCode;

fn main() -> ExitCode {
    qubes_admin::tool::main()
}
