use znn_kernels::Isa;

use super::*;
use crate::conv::{Accuracy, Choice, Method};

fn layer(text: &str) -> Table {
    toml::from_str(text).unwrap()
}

/// A job that is valid without `demo`, and `text` on top.
fn job(text: &str) -> Result<Job, JobError> {
    Job::from_layers(&[layer("net = 'a.znn'\nimages = 'a.tif'\nlabels = 'b.tif'"), layer(text)])
}

#[test]
fn a_job_survives_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.toml");
    let written = Job {
        net: Some("/nets/a.znn".into()),
        images: vec!["/data/a.tif".into()],
        labels: vec!["/data/b.tif".into()],
        out: "/runs/a".into(),
        output_size: Extent::new(2, 30, 40),
        preprocess: Preprocess::SymmetricRescale,
        target: Target::Affinity,
        rebalance: Some(Rebalance::Patch),
        loss: LossKind::SquareSquare,
        eta: 0.003,
        schedule: ScheduleKind::Cosine,
        time_limit: Some(1.5),
        seed: i64::MAX as u64,
        isa: IsaChoice::Scalar,
        algorithm: Choice::Fixed(Method::Winograd),
        accuracy: Accuracy::Fast,
        workspace: Bytes(300 << 20),
        tuning: Tuning::File("/cache/tuning".into()),
        augment: false,
        ..Job::default()
    };
    written.write(&path).unwrap();
    assert_eq!(Job::from_layers(&[Job::read_layer(&path).unwrap()]).unwrap(), written);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no partial file is left");
}

#[test]
fn the_default_and_the_demo_survive_their_tables() {
    for job in [Job::default(), Job::demo()] {
        assert_eq!(job.to_table().try_into::<Job>().unwrap(), job);
    }
    Job::demo().validate().unwrap();
}

#[test]
fn later_layers_override_earlier_ones() {
    let job = Job::from_layers(&[
        layer("demo = true\neta = 0.5\nseed = 3"),
        layer("eta = 0.25\noutput-size = [1, 8, 9]"),
    ])
    .unwrap();
    assert_eq!((job.eta, job.seed, job.output_size), (0.25, 3, Extent::new(1, 8, 9)));
    assert_eq!(job.iterations, Job::demo().iterations, "the demo has defaults of its own");
}

#[test]
fn paths_are_relative_to_the_file_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.toml");
    std::fs::write(&path, "net = 'nets/a.znn'\nimages = '/data/a.tif'\nlabels = '../b.tif'\neta = 1\n")
        .unwrap();
    let job = Job::from_layers(&[Job::read_layer(&path).unwrap()]).unwrap();
    assert_eq!(job.net, Some(folder.path().join("nets/a.znn")));
    assert_eq!(job.images, [PathBuf::from("/data/a.tif")]);
    assert_eq!(job.labels, vec![folder.path().join("../b.tif")]);
    assert_eq!(job.out, Path::new("out"), "a default is relative to the working directory");
    assert_eq!(job.eta, 1.0, "an integer is a number");
}

#[test]
fn a_stored_job_has_absolute_paths() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.toml");
    let written = Job { net: Some("a.znn".into()), ..Job::default() };
    written.write(&path).unwrap();
    let table = Job::read_layer(&path).unwrap();
    assert_eq!(
        table["net"].as_str().unwrap(),
        std::env::current_dir().unwrap().join("a.znn").to_str().unwrap()
    );
}

#[test]
fn errors_of_a_file_name_the_line_and_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.toml");
    for (text, expected) in [
        (
            "seed = 1\netta = 0.1\n",
            "line 2: `etta = 0.1`: unknown field `etta`, expected one of `demo`, `net`",
        ),
        ("\neta = 'fast'\n", "line 2: `eta = 'fast'`: invalid type: string \"fast\", expected a number"),
        (
            "output-size = [1, 2]\n",
            "line 1: `output-size = [1, 2]`: invalid length 2, expected an array of length 3",
        ),
        (
            "target = 'edges'\n",
            "unknown variant `edges`, expected one of `boundary`, `affinity`, `semantic`, `raw`",
        ),
        (
            "preprocess = 'none '\n",
            "line 1: `preprocess = 'none '`: unknown normalisation `none `, expected standard2d",
        ),
        ("rebalance = 'all'\n", "unknown variant `all`, expected one of `none`, `global`, `patch`"),
        (
            "iterations = -5\n",
            "line 1: `iterations = -5`: invalid value: integer `-5`, expected a whole number from 0",
        ),
        ("demo = maybe\n", "line 1: `demo = maybe`: "),
        ("seed = 1\nseed = 2\n", "line 2: `seed = 2`: duplicate key"),
    ] {
        std::fs::write(&path, text).unwrap();
        let message = Job::read_layer(&path).unwrap_err().to_string();
        assert!(message.starts_with(path.to_str().unwrap()), "{message}");
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
    let error = Job::read_layer(&folder.path().join("absent.toml")).unwrap_err();
    assert!(error.to_string().ends_with("absent.toml: cannot read the job"), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn errors_of_values_name_key_value_and_what_was_expected() {
    for (text, expected) in [
        ("output-size = [1, 0, 5]", "output-size = 1,0,5: expected at least 1 voxel along each axis"),
        ("eta = 0", "eta = 0: expected a number above 0"),
        ("eta = nan", "eta = NaN: expected a number above 0"),
        ("momentum = 1", "momentum = 1: expected a number from 0 to below 1"),
        ("weight-decay = -0.5", "weight-decay = -0.5: expected a number from 0 to 1"),
        ("anneal-factor = 1.5", "anneal-factor = 1.5: expected a number above 0 and at most 1"),
        ("time-limit = 0", "time-limit = 0: expected a number of seconds above 0 and below 1e19"),
        (
            "time-limit = 3e19",
            "time-limit = 30000000000000000000: expected a number of seconds above 0 and below 1e19",
        ),
        ("anneal-every = 0", "anneal-every = 0: expected an integer above 0"),
        ("iterations = 0", "iterations = 0: expected an integer above 0"),
        ("report-every = 0", "report-every = 0: expected an integer above 0"),
        ("validate-every = 0", "validate-every = 0: expected an integer above 0"),
        ("validate-patches = 0", "validate-patches = 0: expected an integer above 0"),
        ("checkpoint-every = 0", "checkpoint-every = 0: expected an integer above 0"),
        ("demo = true", "images cannot go with demo: the demo trains on its own synthetic volume"),
        ("val-images = 'v.tif'", "val-labels is missing: the validation images need labels (TIFF)"),
        ("val-labels = 'v.tif'", "val-images is missing: the validation labels need images (TIFF)"),
        ("eta = 'fast'", "invalid type: string \"fast\", expected a number"),
    ] {
        assert_eq!(job(text).unwrap_err().to_string(), expected, "{text}");
    }
    for (text, expected) in [
        ("", "net is missing: without demo, a network description (.znn) is needed"),
        ("net = 'a.znn'", "images is missing: without demo, training images (TIFF) are needed"),
        ("net = 'a.znn'\nimages = 'a.tif'", "labels is missing: the training images need labels (TIFF)"),
    ] {
        assert_eq!(Job::from_layers(&[layer(text)]).unwrap_err().to_string(), expected);
    }
    let seed = Job { seed: u64::MAX, ..Job::demo() }.validate().unwrap_err();
    assert_eq!(seed.to_string(), "seed = 18446744073709551615: expected an integer below 2^63");
}

#[test]
fn a_missing_tier_is_an_error_and_a_present_one_is_not() {
    for (choice, isa) in
        [(IsaChoice::Scalar, Isa::Scalar), (IsaChoice::Avx2, Isa::Avx2), (IsaChoice::Avx512f, Isa::Avx512f)]
    {
        let result = Job { isa: choice, ..Job::demo() }.validate();
        assert_eq!(result.is_ok(), isa.is_available(), "{isa}");
        if let Err(error) = result {
            assert_eq!(
                error.to_string(),
                format!("isa = {isa}: expected a tier that this machine has; `znn info` lists them")
            );
        }
    }
}

#[test]
fn changes_are_listed_by_key() {
    let before = job("").unwrap();
    let now = job("iterations = 9\ntime-limit = 5\nout = 'elsewhere'").unwrap();
    let changes: Vec<String> = before.changes(&now).iter().map(Change::to_string).collect();
    assert_eq!(changes, ["iterations: 400000 -> 9", "time-limit: unset -> 5.0"]);
    assert!(now.changes(&now).is_empty());
}

#[test]
fn auto_loss_follows_the_target() {
    use crate::data::Target;
    let resolve = |loss: LossKind, target| loss.resolve(target).unwrap();
    assert_eq!(resolve(LossKind::Auto, Target::Boundary { channels: 2 }), LossKind::Softmax);
    assert_eq!(resolve(LossKind::Auto, Target::Boundary { channels: 1 }), LossKind::Square);
    assert_eq!(resolve(LossKind::Auto, Target::Affinity), LossKind::BinomialCrossEntropy);
    assert_eq!(resolve(LossKind::Auto, Target::Raw), LossKind::Square);
    assert_eq!(resolve(LossKind::Square, Target::Affinity), LossKind::Square);
    let error = LossKind::Softmax.resolve(Target::Boundary { channels: 1 }).unwrap_err().to_string();
    assert!(
        error.starts_with("loss = softmax: expected another loss: the network has one output map"),
        "{error}"
    );
}

#[test]
fn targets_accept_their_numbers_of_output_maps() {
    for channels in 0..5 {
        assert_eq!(Target::Boundary.with_channels(channels).is_some(), channels == 1 || channels == 2);
        assert_eq!(Target::Affinity.with_channels(channels).is_some(), channels == 3);
        assert_eq!(Target::Raw.with_channels(channels).is_some(), channels == 1);
    }
    for target in [Target::Boundary, Target::Affinity, Target::Raw] {
        let channels = (1..4).rev().find(|channels| target.with_channels(*channels).is_some()).unwrap();
        assert_eq!(target.with_channels(channels).unwrap().channels(), channels);
        assert!(target.expected_channels().contains(&channels.to_string()));
    }
}

#[test]
fn names_are_those_of_the_file() {
    let name = |key: &str, job: Job| job.to_table()[key].as_str().unwrap().to_owned();
    for target in [Target::Boundary, Target::Affinity, Target::Raw] {
        assert_eq!(name("target", Job { target, ..Job::default() }), target.to_string());
    }
    for loss in [
        LossKind::Auto,
        LossKind::Square,
        LossKind::SquareSquare,
        LossKind::BinomialCrossEntropy,
        LossKind::Softmax,
    ] {
        assert_eq!(name("loss", Job { loss, ..Job::default() }), loss.to_string());
    }
}

#[test]
fn the_tuning_file_is_a_path_or_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.toml");
    for (text, tuning) in [
        ("auto", Tuning::Auto),
        ("none", Tuning::Off),
        ("a/b.jsonl", Tuning::File(folder.path().join("a/b.jsonl"))),
    ] {
        std::fs::write(&path, format!("demo = true\ntuning = '{text}'\n")).unwrap();
        let job = Job::from_layers(&[Job::read_layer(&path).unwrap()]).unwrap();
        assert_eq!(job.tuning, tuning);
        job.write(&path).unwrap();
        assert_eq!(Job::from_layers(&[Job::read_layer(&path).unwrap()]).unwrap().tuning, job.tuning);
    }
    assert_eq!(Tuning::Off.path(), None);
    let error = Job::from_layers(&[layer("demo = true\ntuning = ''")]).unwrap_err().to_string();
    assert!(error.contains("expected auto, none or the path of a file"), "{error}");
}

#[test]
fn convolutions_are_chosen_by_name() {
    let choices = [Choice::Measure, Choice::Estimate].into_iter().chain(Method::ALL.map(Choice::Fixed));
    for choice in choices {
        let text = format!("demo = true\nalgorithm = '{choice}'\naccuracy = 'fast'\nworkspace = '1.5G'");
        let job = Job::from_layers(&[layer(&text)]).unwrap();
        assert_eq!((job.algorithm, job.accuracy), (choice, Accuracy::Fast));
        assert_eq!(job.workspace, Bytes(3 << 29));
    }
    for (text, expected) in [
        ("algorithm = 'magic'", "expected auto, estimate, direct, fft or winograd, found `magic`"),
        ("accuracy = 'exact'", "`standard`"),
        ("workspace = 'much'", "expected a number of bytes such as 500M or 2G, found `much`"),
    ] {
        let error = Job::from_layers(&[layer(&format!("demo = true\n{text}"))]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
