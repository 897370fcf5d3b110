//! Libraries in C that stand in front of the real ones, from `src/fakes`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One that is compiled, and there for as long as this is kept.
pub struct Preloaded {
    folder: tempfile::TempDir,
}

impl Preloaded {
    /// Compiles one, together with the libraries that it needs.
    pub fn compiled(source: &str, libraries: &[&str]) -> Self {
        let compiled = Self { folder: tempfile::tempdir().unwrap() };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fakes").join(source);
        let mut cc = Command::new("cc");
        cc.args(["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]).arg(source);
        cc.args(libraries).arg("-o").arg(compiled.path());
        assert!(cc.status().unwrap().success(), "the stand-in does not compile");
        compiled
    }

    /// What `LD_PRELOAD` has to say.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("fake.so")
    }
}
