//! The example programs in C and C++: compiled as a user would, with the static and with the shared library, and run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of the libraries, which tests alone do not make cargo build. As they are built here for the whole workspace
/// and together with a test, their dependencies have the features that they have under `cargo test --workspace`, and are
/// there already.
fn libraries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--workspace", "--lib", "--test", "header", "--quiet"])
            .current_dir(root().join("../.."));
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        run(&mut build);
        let test = std::env::current_exe().expect("this test's path");
        test.parent().and_then(Path::parent).expect("the folder of the profile").to_owned()
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out
}

/// Compiles an example and runs it on `arguments`.
fn example(compiler: &str, source: &str, is_static: bool, arguments: &[&Path]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("program");
    let libraries = libraries();
    let mut command = Command::new(compiler);
    command.args(["-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    command.arg("-I").arg(root().join("include"));
    command.arg(root().join("examples").join(source)).arg("-o").arg(&program);
    if is_static {
        command.arg(libraries.join("libznn.a"));
        // What `pkg-config --static --libs znn` adds.
        command.args(["-lpthread", "-ldl", "-lm"]);
    } else {
        command.arg("-L").arg(libraries).arg("-lznn").arg("-lm");
    }
    run(&mut command);
    run(Command::new(&program).env("LD_LIBRARY_PATH", libraries).args(arguments))
}

#[test]
fn convolution_in_c() {
    for is_static in [true, false] {
        let out = example("cc", "conv3d.c", is_static, &[]);
        assert!(out.contains("all passes agree"), "{out}");
    }
}

#[test]
fn network_in_cpp() {
    let network = root().join("../../examples/networks/hello.znn");
    for is_static in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let model = folder.path().join("model.safetensors");
        let out = example("c++", "network.cpp", is_static, &[&network, &model]);
        assert!(out.contains("the saved model gives the same"), "{out}");
    }
}

#[test]
fn pkg_config_knows_the_library() {
    let prefix = tempfile::tempdir().expect("a folder");
    let script = root().join("install.sh");
    run(Command::new("sh").arg(script).arg(prefix.path()).arg(libraries()));
    let ask = |flags: &[&str]| {
        run(Command::new("pkg-config")
            .args(flags)
            .arg("znn")
            .env("PKG_CONFIG_PATH", prefix.path().join("lib/pkgconfig")))
    };
    assert_eq!(ask(&["--modversion"]).trim(), env!("CARGO_PKG_VERSION"));
    let program = prefix.path().join("program");
    let build_and_run = |flags: &str| {
        let mut command = Command::new("cc");
        command.arg(root().join("examples/conv3d.c")).arg("-o").arg(&program).args(flags.split_whitespace());
        run(command.arg("-lm"));
        // Wherever the library is.
        run(Command::new(&program).env_remove("LD_LIBRARY_PATH"));
    };
    build_and_run(&ask(&["--cflags", "--libs"]));
    let archive = prefix.path().join("lib/libznn.a");
    build_and_run(&format!(
        "{} {} {}",
        ask(&["--cflags"]),
        archive.display(),
        ask(&["--variable=static_libs"])
    ));
}
