use std::fs;
use std::path::Path;
use std::thread;

use super::*;
use crate::conv::Variant;
use crate::volume::Extent;

const DECISION: Decision = Decision {
    forward: Variant::Winograd(Extent::new(2, 4, 4)),
    backward_data: Variant::TiledFft(Extent::new(8, 10, 12)),
    backward_weights: Variant::WholeFft,
};

fn file(path: &Path) -> TuningFile {
    TuningFile::new(path.to_owned(), Isa::Scalar, 3, Accuracy::Standard, 1000)
}

fn problem(c_in: usize) -> Problem {
    Problem::valid(c_in, 5, Extent::new(9, 10, 11), Extent::new(3, 3, 3), Extent::new(1, 2, 2))
}

#[test]
fn decisions_are_found_again_under_the_same_setting_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new").join("tuning.jsonl");
    let first = file(&path);
    assert!(first.read().unwrap().is_empty());
    let padded = Problem { padding: [Extent::ONE, Extent::ZERO], stride: Extent::new(1, 2, 3), ..problem(4) };
    first.add(problem(3), Passes::Training, DECISION).unwrap();
    first.add(padded, Passes::Inference, Decision::all(Variant::Direct)).unwrap();
    let found = file(&path).read().unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[&(problem(3), Passes::Training)], DECISION);
    assert_eq!(found[&(padded, Passes::Inference)], Decision::all(Variant::Direct));

    let other =
        |isa, threads, accuracy, workspace| TuningFile::new(path.clone(), isa, threads, accuracy, workspace);
    let others = [
        other(Isa::Avx2, 3, Accuracy::Standard, 1000),
        other(Isa::Scalar, 2, Accuracy::Standard, 1000),
        other(Isa::Scalar, 3, Accuracy::Fast, 1000),
        other(Isa::Scalar, 3, Accuracy::Standard, 1001),
        TuningFile { setting: Setting { version: "0".into(), ..first.setting.clone() }, ..first.clone() },
        TuningFile {
            setting: Setting { processor: "another".into(), ..first.setting.clone() },
            ..first.clone()
        },
    ];
    for other in others {
        assert!(other.read().unwrap().is_empty(), "{other:?}");
        other.add(problem(3), Passes::Training, Decision::all(Variant::Direct)).unwrap();
        assert_eq!(other.read().unwrap().len(), 1);
    }
    assert_eq!(file(&path).read().unwrap(), found, "other settings leave these alone");
    first.add(problem(3), Passes::Training, Decision::all(Variant::WholeFft)).unwrap();
    assert_eq!(
        file(&path).read().unwrap()[&(problem(3), Passes::Training)],
        Decision::all(Variant::WholeFft)
    );
}

#[test]
fn what_is_no_tuning_file_is_named_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuning.jsonl");
    file(&path).add(problem(3), Passes::Training, DECISION).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let cases = [
        (String::new(), 1),
        ("some notes\n".to_owned(), 1),
        (good.replace("\"znn_tuning\":1", "\"znn_tuning\":2"), 1),
        (good[..good.len() - 20].to_owned(), 2),
        (good.replace("winograd 2,4,4", "sorcery"), 2),
    ];
    for (text, line) in cases {
        assert_ne!(text, good);
        fs::write(&path, &text).unwrap();
        for error in [file(&path).read().unwrap_err(), {
            file(&path).add(problem(4), Passes::Training, DECISION).unwrap_err()
        }] {
            let beginning = format!("{}, line {line}: not a tuning file", path.display());
            assert!(error.to_string().starts_with(&beginning), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    fs::write(&path, b"\xff\xfe\n").unwrap();
    assert!(matches!(file(&path).read(), Err(TuningFileError::Foreign { line: 1, .. })));
    let error = file(folder.path()).read().unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("{}: cannot read the tuning file", folder.path().display())),
        "{error}"
    );
    let error =
        file(Path::new("/proc/nowhere/tuning")).add(problem(3), Passes::Training, DECISION).unwrap_err();
    assert!(error.to_string().starts_with("/proc/nowhere/tuning: cannot write the tuning file"), "{error}");
}

/// It is that of a build which can do more.
#[test]
fn a_decision_that_cannot_be_followed_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuning.jsonl");
    file(&path).add(problem(3), Passes::Training, DECISION).unwrap();
    let text = fs::read_to_string(&path).unwrap().replace("\"stride\":[1,1,1]", "\"stride\":[2,1,1]");
    fs::write(&path, &text).unwrap();
    assert!(file(&path).read().unwrap().is_empty());
    file(&path).add(problem(4), Passes::Training, DECISION).unwrap();
    assert_eq!(file(&path).read().unwrap().len(), 1);
    assert!(fs::read_to_string(&path).unwrap().starts_with(&text));
}

#[test]
fn concurrent_writers_keep_each_others_decisions() {
    const WRITERS: usize = 6;
    const EACH: usize = 5;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuning.jsonl");
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let path = &path;
            scope.spawn(move || {
                for i in 1..=EACH {
                    file(path).add(problem(writer * EACH + i), Passes::Training, DECISION).unwrap();
                    assert!(!file(path).read().unwrap().is_empty());
                }
            });
        }
    });
    assert_eq!(file(&path).read().unwrap().len(), WRITERS * EACH);
}
