//! The program as a shell sees it: help, exit codes, messages.

use std::path::Path;
use std::process::{Command, Output};

fn znn(arguments: &str) -> Output {
    znn_in(Path::new("."), arguments)
}

fn znn_in(folder: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_znn"))
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("the program starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("the program ends by itself")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_and_version_succeed() {
    for arguments in [
        "--help",
        "-h",
        "train --help",
        "infer --help",
        "convert --help",
        "check --help",
        "info --help",
        "--version",
    ] {
        let output = znn(arguments);
        assert_eq!(code(&output), 0, "{arguments}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{arguments}");
    }
    for command in ["train", "infer", "convert", "check", "info"] {
        assert!(stdout(&znn("--help")).contains(&format!("\n  {command} ")), "{command}");
    }
    let help = stdout(&znn("train --help"));
    for flag in ["--demo", "--output-size <Z,Y,X>", "--resume", "--time-limit <SECONDS>", "[default: 0.01"] {
        assert!(help.contains(flag), "{flag} in {help}");
    }
}

#[test]
fn wrong_usage_is_code_2_and_names_the_flag() {
    for (arguments, expected) in [
        ("", "Usage: znn"),
        ("fly", "unrecognized subcommand 'fly'"),
        ("train --etta 1", "unexpected argument '--etta'"),
        ("train --eta fast", "invalid value 'fast' for '--eta <RATE>'"),
        ("train --output-size 1,2", "expected three integers z,y,x, found `1,2`"),
        ("train --target edges", "[possible values: boundary, affinity, semantic, raw]"),
        ("train --seed -1", "'-1'"),
        ("train --resume --overwrite", "cannot be used with"),
        ("infer --model a", "--input <FILE>"),
        (
            "infer --model a --input b --output c --memory lots",
            "expected a number of bytes such as 500M or 2G",
        ),
        ("check", "--net <FILE>"),
        ("info --plan", "--net <FILE>"),
        ("info -q -v", "cannot be used with"),
    ] {
        let output = znn(arguments);
        assert_eq!(code(&output), 2, "{arguments}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments}: {}", stderr(&output));
    }
}

#[test]
fn a_job_that_makes_no_sense_is_code_2_and_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        ("train", "znn: error: net is missing: without demo, a network description (.znn) is needed\n"),
        ("train --demo --eta 0", "znn: error: eta = 0: expected a number above 0\n"),
        (
            "train --demo --images a",
            "znn: error: images cannot go with demo: the demo trains on its own synthetic",
        ),
        (
            "train --net a --images b",
            "znn: error: labels is missing: the training images need labels (TIFF)\n",
        ),
        ("train --demo --output-size 0,1,1", "znn: error: output-size = 0,1,1: expected at least 1 voxel"),
    ] {
        let output = znn_in(folder.path(), arguments);
        assert_eq!(code(&output), 2, "{arguments}");
        assert!(stderr(&output).starts_with(expected), "{arguments}: {}", stderr(&output));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{arguments}");
    }
}

#[test]
fn a_wrong_job_file_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("job.toml"), "demo = true\neta = 'fast'\n").unwrap();
    let output = znn_in(folder.path(), "train --job job.toml");
    assert_eq!(code(&output), 2);
    assert!(
        stderr(&output).starts_with("znn: error: job.toml, line 2: `eta = 'fast'`: "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn failures_are_code_1_with_their_causes() {
    let output = znn("train --job /nowhere/job.toml");
    assert_eq!(code(&output), 1);
    let expected = "znn: error: /nowhere/job.toml: cannot read the job\n  because: No such file or directory";
    assert!(stderr(&output).starts_with(expected), "{}", stderr(&output));
    assert_eq!(stderr(&output).lines().count(), 2, "no backtrace");

    let output = znn("train --resume --out /nowhere");
    assert_eq!(code(&output), 1);
    assert!(
        stderr(&output).starts_with("znn: error: /nowhere holds no run to resume"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn info_describes_the_machine() {
    let output = znn("info");
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    let text = stdout(&output);
    assert!(text.contains("instruction sets scalar, avx2"), "{text}");
    assert!(text.starts_with(concat!("version          ", env!("CARGO_PKG_VERSION"), " ")), "{text}");
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_panic() {
    let output = Command::new("sh")
        .args(["-c", "(sleep 0.1; \"$0\" info) | true"])
        .arg(env!("CARGO_BIN_EXE_znn"))
        .output()
        .expect("a shell");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
