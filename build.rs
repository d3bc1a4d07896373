//! Tells the crate where it comes from (`ZNN_GIT_HASH`, `ZNN_TARGET`) and the linker where an installed FFTW is.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    provenance();
    #[cfg(all(feature = "fftw-system", not(feature = "fftw-source")))]
    fftw::probe();
}

/// `ZNN_TARGET` is the target triple; `ZNN_GIT_HASH` the commit, or empty where this is not a checkout of znn's own.
fn provenance() {
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=ZNN_TARGET={target}");
    // A copy vendored into another repository must not take that repository's commit for its own.
    let here =
        env::var_os("CARGO_MANIFEST_DIR").and_then(|directory| Path::new(&directory).canonicalize().ok());
    let top = git(&["rev-parse", "--show-toplevel"])
        .and_then(|directory| Path::new(&directory).canonicalize().ok());
    let hash = if here == top { git(&["rev-parse", "--short=12", "HEAD"]) } else { None };
    println!("cargo::rustc-env=ZNN_GIT_HASH={}", hash.as_deref().unwrap_or_default());
    if hash.is_some() {
        // Both change with a checkout; the log of HEAD also with a commit. Cargo takes a file that is missing for one
        // that has changed, so name only what exists.
        for file in ["HEAD", "logs/HEAD"] {
            if let Some(path) =
                git(&["rev-parse", "--git-path", file]).filter(|path| Path::new(path).exists())
            {
                println!("cargo::rerun-if-changed={path}");
            }
        }
    }
}

/// What a git command prints; `None` where there is no git or it fails.
fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The crate `fftw-sys` links `fftw3f` and `fftw3` by name only.
#[cfg(all(feature = "fftw-system", not(feature = "fftw-source")))]
mod fftw {
    use std::env;
    use std::path::PathBuf;
    use std::process::{Command, exit};

    /// Tries the environment variable `FFTW_DIR`, then pkg-config, then the linker's own search path.
    pub fn probe() {
        println!("cargo::rerun-if-env-changed=FFTW_DIR");
        if let Some(directory) = env::var_os("FFTW_DIR") {
            let directory = PathBuf::from(directory);
            let candidates = [directory.join("lib"), directory.join("lib64"), directory.clone()];
            match candidates.iter().find(|candidate| holds_fftw(candidate)) {
                Some(found) => println!("cargo::rustc-link-search=native={}", found.display()),
                None => fail(&format!(
                    "FFTW_DIR is `{}`, but neither it nor its `lib` or `lib64` holds the libraries fftw3f and fftw3 \
                     (single and double precision).",
                    directory.display()
                )),
            }
            return;
        }
        let mut search = pkg_config::Config::new();
        let search = search.atleast_version("3.3").cargo_metadata(false);
        if let (Ok(single), Ok(double)) = (search.probe("fftw3f"), search.probe("fftw3")) {
            for path in single.link_paths.iter().chain(&double.link_paths) {
                println!("cargo::rustc-link-search=native={}", path.display());
            }
            return;
        }
        if !links() {
            fail(
                "Neither pkg-config nor the linker finds the libraries fftw3f and fftw3 (single and double precision).",
            );
        }
    }

    /// Whether a directory has both libraries, static or shared.
    fn holds_fftw(directory: &std::path::Path) -> bool {
        let has = |name: &str| {
            ["a", "so", "dylib"].iter().any(|suffix| directory.join(format!("lib{name}.{suffix}")).exists())
        };
        has("fftw3f") && has("fftw3")
    }

    /// Whether a C compiler links an empty program with both libraries. Taken for granted where it cannot be tried.
    fn links() -> bool {
        if env::var("HOST") != env::var("TARGET") {
            return true;
        }
        let directory = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
        let source = directory.join("probe.c");
        let written = std::fs::write(&source, "int main(void) { return 0; }\n");
        let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
        let tried = Command::new(compiler)
            .arg(&source)
            .arg("-o")
            .arg(directory.join("probe"))
            .args(["-lfftw3f", "-lfftw3"])
            .output();
        written.is_err() || tried.map_or(true, |output| output.status.success())
    }

    fn fail(reason: &str) {
        for line in [
            reason,
            "Install FFTW 3 (Debian, Ubuntu: apt install libfftw3-dev; Fedora: dnf install fftw-devel),",
            "or set FFTW_DIR to the directory it was installed to,",
            "or build FFTW from source: --features fftw-source (needs a C compiler and make),",
            "or do without it: the default is pure Rust.",
        ] {
            println!("cargo::error={line}");
        }
        exit(1);
    }
}
