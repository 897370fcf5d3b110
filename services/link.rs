//! Links the executables of dom0 small and for a fast start: the unwinder inside, packed relocations, no unwinding tables, none
//! of the code that words std's own backtraces.
use std::path::PathBuf;
use std::process::Command;

/// The linker finds this script under the shared library's name and takes the static parts instead.
const UNWINDER: &str = "INPUT ( -lgcc_eh -lgcc )\n";
/// A release build ends at a panic, and logs where it stands without unwinding tables (`common::trace`).
const NO_TABLES: &str = "/DISCARD/ : { *(.eh_frame) *(.gcc_except_table .gcc_except_table.*) }";
/// Of what std's own report of a panic is made of, by parts of the names: what calls the rest, and what others may share.
const KEPT: &[&str] = &[
    "3std3sys9backtrace",
    "12backtrace_rs5print",
    "4core5slice4sort6shared*5gimli",
    "4core5slice4sort6shared*9addr2line",
    "5alloc7raw_vec",
    "14rustc_demangle21SizeLimitedFmtAdapter",
];
/// The rest, of which ours takes the place before anything can panic (`common::log`). It has an address, as it is
/// referred to, but no content.
const NEVER_CALLED: &[&str] = &[
    "12backtrace_rs9symbolize",
    "9addr2line[0-9]",
    "5gimli[0-9]",
    "11miniz_oxide[0-9]",
    "14rustc_demangle[0-9]",
];
/// The unwinder, which only std's own report starts. What std does while it unwinds refers to it too, and is entered from
/// it alone.
const UNWINDER_CODE: &str = "*libgcc_eh.a:*(.text .text.*)";
/// The compiler whose std these names were compared with. Executables of others have everything in them.
const COMPARED_WITH: &str = "rustc 1.95.";
/// The target for which that compiler takes a linker of its own, if it brings one, which lets equal functions be one.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Where that linker is, below the compiler's folder.
const LINKER: &str = "lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld/ld.lld";
/// The linker makes sure that nothing else refers to it.
const NO_CALLERS: [&str; 3] = [".text", ".data.rel.ro", ".data"];

/// The linker script of a release build.
fn script(compiler: &str, used: &[&str]) -> String {
    let tables = format!("SECTIONS {{ {NO_TABLES} }} INSERT AFTER .text;\n");
    if compiler.starts_with(COMPARED_WITH) { tables + &without_report(used) } else { tables }
}

fn without_report(used: &[&str]) -> String {
    let sections =
        |names: &[&str]| names.iter().map(|name| format!(" *(.text.*{name}*)")).collect::<String>();
    let never: Vec<&str> = NEVER_CALLED.iter().filter(|name| !used.contains(name)).copied().collect();
    let (kept, never) = (sections(KEPT), sections(&never));
    let mut script = format!(
        "SECTIONS {{ .text.report : {{{kept} }} }} INSERT AFTER .text;\n\
         SECTIONS {{ .never ALIGN(4096) (NOLOAD) : {{{never} }} }} INSERT AFTER .bss;\n\
         SECTIONS {{ .unwinder ALIGN(4096) (NOLOAD) : {{ {UNWINDER_CODE} }} }} INSERT AFTER .never;\n"
    );
    for section in NO_CALLERS {
        script.push_str(&format!("NOCROSSREFS_TO(.never {section})\n"));
    }
    script
}

/// What the compiler says of itself.
fn asked(option: &str) -> std::io::Result<String> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_default()).arg(option).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Tells cargo how the executables of a package are linked, which use these parts of std's report for something else.
pub(crate) fn link(used: &[&str]) -> std::io::Result<()> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    if variable("CARGO_CFG_TARGET_ENV") != "gnu" {
        return Ok(());
    }
    let folder = PathBuf::from(variable("OUT_DIR"));
    std::fs::write(folder.join("libgcc_s.so"), UNWINDER)?;
    println!("cargo::rustc-link-search=native={}", folder.display());
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    println!("cargo::rerun-if-env-changed=CARGO_PROFILE_RELEASE_LTO");
    // Without link-time optimisation the names do not tell whose a function is.
    if variable("PROFILE") == "release" && variable("CARGO_PROFILE_RELEASE_LTO") != "off" {
        let path = folder.join("release.ld");
        let compiler = asked("--version")?;
        std::fs::write(&path, script(&compiler, used))?;
        let linker = PathBuf::from(asked("--print=sysroot")?.trim_end()).join(LINKER);
        if compiler.starts_with(COMPARED_WITH) && linker.exists() && variable("TARGET") == TARGET {
            println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
        }
        // Said again, as the profile's word does not reach packages with settings of their own.
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all,--no-eh-frame-hdr,-T,{}", path.display());
    }
    Ok(())
}
