use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::conv::Method;
use crate::data::{Preprocess, Rebalance};
use crate::network::hdf5_file::Layout;
use crate::train::job::Malis;
use crate::volume::Extent;

const NET: &str = "nodes input\ntype input\nsize 1\nnodes output\ntype transfer\nfunction linear\nsize 2\n\
    edges c\ntype conv\nsize 1,3,3\ninit uniform\ninput input\noutput output\n";

const SPEC: &str = "[image1]\nfnames = raw1.tif\npp_types = standard2D\nis_auto_crop = yes\n\
    [label1]\nfnames = lbl1.tif\npp_types = auto\nis_auto_crop = yes\nfmasks = mask1.tif\n\
    [sample1]\ninput = 1\noutput = 1\n\
    [image2]\nfnames = raw2.tif\npp_types = standard2D\n[label2]\nfnames = lbl2.tif\n\
    [sample2]\nInput = image2\noutput = label2\n\
    [image3]\nfnames = raw2.tif\npp_types = none\n[sample3]\ninput = 3\n\
    [image9]\nfnames = absent.tif\n[sample9]\ninput = 9\n";

/// Every key of the original, as its documentation has them.
const CFG: &str = "[parameters]\n\
    # general\nfnet_spec = net.znn\nfdata_spec = data.spec\nnum_threads = 0\ndtype = float32\nout_type = boundary\n\
    logging = no\n\
    train_net_prefix = out/net.h5\ntrain_range = 1-2\ntest_range = 2\ntrain_outsz = 1,10,20\n\
    train_conv_mode = fft\ncost_fn = square_loss\nis_malis = no\nmalis_norm_type = none\nis_constrained_malis = no\n\
    eta = 0.02\nanneal_factor = 0.997\nmomentum = 0.9\nweight_decay = 0.0005\nNum_iter_per_annealing = 50\n\
    is_data_aug = yes\nis_bd_mirror = yes\nrebalance_mode = patch\n\
    is_visual = no\nis_stdio = yes\nis_debug = no\nis_check = no\n\
    Num_iter_per_show = 7\nNum_iter_per_test = 70\ntest_num = 3\nNum_iter_per_save = 700\nMax_iter = 7000\n\
    forward_range = 1,3\nforward_net = trained.h5\nforward_conv_mode = optimize\nforward_outsz = 2,30,30\n\
    output_prefix = out/pred\n";

struct Desk(TempDir);

impl Desk {
    fn new(cfg: &str) -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        for name in ["raw1.tif", "lbl1.tif", "mask1.tif", "raw2.tif", "lbl2.tif", "trained.h5"] {
            desk.write(name, "");
        }
        desk.write("net.znn", NET);
        desk.write("data.spec", SPEC);
        fs::create_dir(desk.path("out")).unwrap();
        desk.write("job.cfg", cfg);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn training(&self) -> Result<Training, JobError> {
        read_training(&self.path("job.cfg"))
    }

    /// The error of reading the job, with the folder left out.
    fn error(&self) -> String {
        let folder = format!("{}/", self.0.path().display());
        self.training().unwrap_err().to_string().replace(&folder, "")
    }

    fn warnings(&self) -> Vec<String> {
        let folder = format!("{}/", self.0.path().display());
        self.training().unwrap().warnings.iter().map(|w| w.to_string().replace(&folder, "")).collect()
    }
}

#[test]
fn every_key_has_its_meaning() {
    let desk = Desk::new(CFG);
    let training = desk.training().unwrap();
    let job = Job::from_layers(&[training.layer]).unwrap();
    let expected = Job {
        net: Some(desk.path("net.znn")),
        images: vec![desk.path("raw1.tif"), desk.path("raw2.tif")],
        labels: vec![desk.path("lbl1.tif"), desk.path("lbl2.tif")],
        masks: vec![desk.path("mask1.tif"), PathBuf::new()],
        val_images: vec![desk.path("raw2.tif")],
        val_labels: vec![desk.path("lbl2.tif")],
        out: desk.path("out/net"),
        hdf5: Some(desk.path("out/net")),
        hdf5_layout: Layout::Single,
        output_size: Extent::new(1, 10, 20),
        preprocess: Preprocess::Standard2d,
        target: Target::Boundary,
        rebalance: Some(Rebalance::Patch),
        augment: true,
        mirror: true,
        centred: true,
        loss: LossKind::Square,
        eta: 0.02,
        momentum: 0.9,
        weight_decay: 0.0005,
        group_rates: false,
        anneal_factor: 0.997,
        anneal_every: 50,
        iterations: 7000,
        algorithm: Choice::Fixed(Method::Fft),
        report_every: 7,
        validate_every: 70,
        validate_patches: 3,
        checkpoint_every: 700,
        ..Job::default()
    };
    assert_eq!(job, expected);
    assert_eq!(training.current, Some(desk.path("out/net_current.h5")));
    let file = desk.path("native.toml");
    job.write(&file).unwrap();
    assert_eq!(
        Job::from_layers(&[Job::read_layer(&file).unwrap()]).unwrap(),
        job,
        "the native form is the same"
    );

    let forward = read_forward(&desk.path("job.cfg"), None).unwrap();
    let images: Vec<_> =
        forward.samples.iter().map(|s| (s.id, s.images[0].image.clone(), s.images[0].preprocess)).collect();
    assert_eq!(
        images,
        [(1, desk.path("raw1.tif"), Preprocess::Standard2d), (3, desk.path("raw2.tif"), Preprocess::None)]
    );
    assert_eq!((forward.model, forward.prefix), (Some(desk.path("trained.h5")), desk.path("out/pred")));
    assert!(forward.mirror && !forward.softmax && forward.algorithm == Choice::Measure);
}

#[test]
fn a_range_may_be_given_and_values_name_others() {
    let cfg = CFG
        .replace("[parameters]\n", "[DEFAULT]\nstem = net\n[parameters]\n")
        .replace("net.znn", "%(stem)s.znn");
    let desk = Desk::new(&cfg);
    let ids = |range| {
        let forward = read_forward(&desk.path("job.cfg"), Some(range)).unwrap();
        forward.samples.iter().map(|sample| sample.id).collect::<Vec<_>>()
    };
    assert_eq!((ids("2"), ids("1-3")), (vec![2], vec![1, 2, 3]));
    let error = read_forward(&desk.path("job.cfg"), Some("4")).unwrap_err().to_string();
    assert!(error.ends_with("job.cfg: --range = 4: there is no [sample4]"), "{error}");
}

#[test]
fn absent_keys_have_the_defaults_of_the_original() {
    let desk = Desk::new(
        "[parameters]\nfnet_spec = net.znn\nfdata_spec = data.spec\nout_type = boundary\ntrain_range = 1\n\
         num_threads = 3\ndtype = float32\n",
    );
    let training = desk.training().unwrap();
    assert_eq!((training.warnings.len(), training.current), (0, None));
    let job = Job::from_layers(&[training.layer]).unwrap();
    assert_eq!((job.eta, job.momentum, job.weight_decay, job.anneal_factor), (0.01, 0.0, 0.0, 1.0));
    assert_eq!((job.anneal_every, job.iterations, job.report_every), (100, 400_000, 100));
    assert_eq!((job.validate_every, job.validate_patches, job.checkpoint_every), (500, 10, 1000));
    assert_eq!((job.augment, job.mirror, job.rebalance, job.threads), (false, false, None, 3));
    assert_eq!((job.output_size, job.loss), (Extent::new(1, 100, 100), LossKind::Auto));
    assert!(job.val_images.is_empty() && job.hdf5.is_none() && !job.group_rates && job.centred);
}

#[test]
fn aliases() {
    let base =
        "[parameters]\nfnet_spec = net.znn\nfdata_spec = data.spec\nout_type = affinity\ntrain_range = 2\n";
    let job = |keys: &str| {
        let layer = Desk::new(&format!("{base}{keys}")).training().unwrap().layer;
        Job::from_layers(&[layer]).unwrap()
    };
    for key in ["train_net", "train_save_net", "train_net_prefix"] {
        assert!(job(&format!("{key} = out/a.h5\n")).out.ends_with("out/a"), "{key}");
    }
    assert!(job("train_net = out/a\ntrain_net_prefix = out/b\n").out.ends_with("out/b"));
    assert!(job("train_net_prefix = out/b\ntrain_net = out/a\n").out.ends_with("out/b"));
    for (keys, algorithm) in [
        ("is_train_optimize = yes\n", Choice::Measure),
        ("is_train_optimize = no\n", Choice::Fixed(Method::Direct)),
        ("force_fft = yes\n", Choice::Fixed(Method::Fft)),
        ("is_train_optimize = no\ntrain_conv_mode = fft\n", Choice::Fixed(Method::Fft)),
    ] {
        assert_eq!(job(keys).algorithm, algorithm, "{keys}");
    }
    for (value, loss) in [
        ("auto", LossKind::Auto),
        ("square-square_loss", LossKind::SquareSquare),
        ("square_loss", LossKind::Square),
        ("binomial_cross_entropy", LossKind::BinomialCrossEntropy),
        ("softmax_loss", LossKind::Softmax),
    ] {
        assert_eq!(job(&format!("cost_fn = {value}\n")).loss, loss, "{value}");
    }
    assert_eq!(job("num_threads = -1\n").threads, 0);
    assert_eq!(job("rebalance_mode = none\n").rebalance, None);
    assert_eq!(job("").target, Target::Affinity);
    for (keys, malis) in [
        ("", Malis::Off),
        ("is_malis = yes\n", Malis::Pairs),
        ("is_malis = yes\nmalis_norm_type = pair\n", Malis::Pair),
        ("malis_norm_type = constrain\nis_malis = yes\n", Malis::Constrained),
        ("is_constrained_malis = yes\nis_malis = yes\nmalis_norm_type = num\n", Malis::Constrained),
        ("is_malis = no\nmalis_norm_type = frac\nis_constrained_malis = yes\n", Malis::Off),
    ] {
        assert_eq!(job(keys).malis, malis, "{keys}");
    }
}

#[test]
fn keys_of_what_is_no_more_are_warnings() {
    let cfg = CFG
        .replace("dtype = float32", "dtype = float64")
        .replace("logging = no", "logging = yes")
        .replace("is_debug = no", "is_debug = yes")
        .replace("is_check = no", "is_check = 1\nis_rebalance = on")
        .replace("is_visual = no", "is_visual = True\neta = 0.02");
    let desk = Desk::new(&cfg);
    assert_eq!(
        desk.warnings(),
        [
            "job.cfg:27: `eta` replaces the value given at line 18",
            "job.cfg:6: `dtype` has no effect: all computing is in 32 bits",
            "job.cfg:8: `logging` has no effect: the history is always written, to metrics.jsonl",
            "job.cfg:26: `is_visual` has no effect: curve.png and preview.png are always written",
            "job.cfg:29: `is_debug` has no effect: patches are not stored; preview.png shows one",
            "job.cfg:30: `is_check` has no effect: gradients are checked with `znn check`",
            "job.cfg:31: `is_rebalance` has no effect: give rebalance_mode = global or patch",
            "job.cfg:40: `forward_outsz` has no effect: tiles are as large as the memory allows (--memory); the \
             result is the same",
        ]
    );
}

#[test]
fn samples_of_several_images_and_labels_become_tables() {
    let desk = Desk::new(&CFG.replace("out_type = boundary", "out_type = semantic"));
    desk.write(
        "net.znn",
        "nodes input\ntype input\nsize 1\nnodes mito\ntype input\nsize 1\n\
         nodes output\ntype transfer\nfunction linear\nsize 2\nnodes other\ntype transfer\nfunction linear\nsize 3\n\
         edges a\ntype conv\nsize 1,3,3\ninit uniform\ninput input\noutput output\n\
         edges b\ntype conv\nsize 1,3,3\ninit uniform\ninput mito\noutput other\n",
    );
    desk.write(
        "data.spec",
        "[image1]\nfnames = raw1.tif\npp_types = standard2D\n[image2]\nfnames = raw2.tif\n\
         [label1]\nfnames = lbl1.tif\nfmasks = mask1.tif\n[label2]\nfnames = lbl2.tif\n\
         [sample1]\ninput = 1\nmito = 2\noutput = 1\nother = 2\n[sample2]\ninput = 1\nmito = 2\nOther = 2\n",
    );
    let job = Job::from_layers(&[desk.training().unwrap().layer]).unwrap();
    assert_eq!(job.target, Target::Semantic);
    assert!(job.images.is_empty() && job.labels.is_empty() && job.masks.is_empty());
    let (raw1, raw2) = (desk.path("raw1.tif"), desk.path("raw2.tif"));
    let (lbl1, lbl2) = (desk.path("lbl1.tif"), desk.path("lbl2.tif"));
    let input = job.input("mito");
    assert_eq!((input.images, input.val_images), (vec![raw2.clone(), raw2.clone()], vec![raw2]));
    assert_eq!(input.preprocess.unwrap().0, Preprocess::None);
    let input = job.input("input");
    assert_eq!(input.images, [raw1.clone(), raw1]);
    assert_eq!(input.preprocess.unwrap().0, Preprocess::Standard2d);
    // A sample that names one label gives it to every output.
    let output = job.output("output");
    assert_eq!((output.labels, output.val_labels), (vec![lbl1, lbl2.clone()], vec![lbl2.clone()]));
    assert_eq!(output.masks, [desk.path("mask1.tif"), PathBuf::new()]);
    let output = job.output("other");
    assert_eq!((output.labels, output.masks), (vec![lbl2.clone(), lbl2], vec![]));
}

#[test]
fn what_is_wrong_is_named_with_file_and_line() {
    for (from, to, expected) in [
        ("momentum = 0.9", "momentun = 0.9", "job.cfg:20: unknown key `momentun`; did you mean `momentum`?"),
        ("eta = 0.02", "eta = fast", "job.cfg:18: eta = fast: expected a number above 0"),
        ("eta = 0.02", "eta = nan", "job.cfg:18: eta = nan: expected a number above 0"),
        ("eta = 0.02", "eta = 1e999", "job.cfg:18: eta = 1e999: expected a number above 0"),
        ("momentum = 0.9", "momentum = 1", "job.cfg:20: momentum = 1: expected a number from 0 to below 1"),
        ("Max_iter = 7000", "Max_iter = 1e6", "job.cfg:34: max_iter = 1e6: expected a whole number above 0"),
        ("is_stdio = yes", "is_stdio = maybe", "job.cfg:27: is_stdio = maybe: expected yes or no"),
        ("= 1,10,20", "= 1,10", "job.cfg:12: train_outsz = 1,10: expected three integers z,y,x above 0"),
        (
            "= 1,10,20",
            "= 0,10,10",
            "job.cfg:12: train_outsz = 0,10,10: expected three integers z,y,x above 0",
        ),
        ("out_type = boundary", "", "job.cfg:1: the required key `out_type` is missing"),
        ("= boundary", "= fuzzy", "job.cfg:7: out_type = fuzzy: expected boundary, affinity or semantic"),
        (
            "is_malis = no\nmalis_norm_type = none",
            "is_malis = yes\nmalis_norm_type = all",
            "job.cfg:16: malis_norm_type = all: expected none, frac, num, pair or constrain",
        ),
        ("train_range = 1-2", "train_range = 1-4", "job.cfg:10: train_range = 1-4: there is no [sample4]"),
        (
            "train_range = 1-2",
            "train_range = 2-1",
            "job.cfg:10: train_range = 2-1: expected numbers of samples",
        ),
        (
            "train_range = 1-2",
            "train_range = 1,x",
            "job.cfg:10: train_range = x: expected numbers of samples",
        ),
        (
            "train_range = 1-2",
            "train_range = ,",
            "job.cfg:10: train_range is empty, expected numbers of samples",
        ),
        ("train_range = 1-2", "", "job.cfg:1: the required key `train_range` is missing"),
        (
            "train_range = 1-2",
            "train_range = 3",
            "job.cfg:10: the images of samples 3 and 2 have different pp_types",
        ),
        ("train_range = 1-2", "train_range = 9", "data.spec:27: fnames = absent.tif: there is no such file"),
        ("net.znn", "no.znn", "job.cfg:3: fnet_spec = no.znn: there is no such file, and no no.znn"),
        ("data.spec", "no.spec", "job.cfg:4: fdata_spec = no.spec: there is no such file"),
        ("[parameters]", "[parameter]", "job.cfg:1: unknown section [parameter], expected [parameters]"),
        ("[parameters]", "[image1]", "job.cfg:1: the section [parameters] is missing"),
    ] {
        assert!(CFG.contains(from), "{from}");
        let error = Desk::new(&CFG.replacen(from, to, 1)).error();
        assert!(error.starts_with(expected), "{to}: {error}");
    }
    for (from, to, expected) in [
        ("fmasks", "fmask", "data.spec:9: `fmask` is not a key of [labelN]; did you mean `fmasks`?"),
        (
            "input = 1",
            "ouput = 1",
            "data.spec:11: `ouput` is no input or output group of the network, which has",
        ),
        ("input = 1", "input = 7", "data.spec:11: input = 7: there is no section [image7]"),
        ("input = 1", "input = one", "data.spec:11: input = one: expected the number of one [imageN]"),
        ("input = 1\n", "", "data.spec:10: [sample1] gives no image to the network's input"),
        ("= raw1.tif", "= raw1.tif, raw2.tif", "data.spec:2: fnames: 2 files, expected one"),
        ("fnames = raw1.tif", "", "data.spec:1: the required key `fnames` of [image1] is missing"),
        ("standard2D", "standard4D", "data.spec:3: pp_types: unknown normalisation `standard4D`"),
        ("[sample9]", "[simple9]", "data.spec:28: unknown section [simple9], expected [imageN], [labelN] or"),
    ] {
        let desk = Desk::new(CFG);
        assert!(SPEC.contains(from), "{from}");
        desk.write("data.spec", &SPEC.replacen(from, to, 1));
        let error = desk.error();
        assert!(error.starts_with(expected), "{to}: {error}");
    }
    let desk = Desk::new(CFG);
    desk.write("net.znn", "nodes input");
    assert!(
        desk.error().contains("net.znn:1: nodes input: The required key `type` is missing"),
        "{}",
        desk.error()
    );
}

#[test]
fn every_known_key_is_understood() {
    for key in keys::KEYS {
        let text = format!("[parameters]\nout_type = boundary\n{key} = ?\n");
        let ini = Ini::parse(Path::new("job.cfg"), &text).unwrap();
        if let Err(error) = Keys::read(&ini, &mut Vec::new()) {
            assert!(!error.to_string().contains("unknown key"), "{error}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A job of which lines are lost, doubled or damaged is read or refused.
    #[test]
    fn a_damaged_job_is_read_or_refused(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..4, "\\PC{0,12}"), 1..4),
    ) {
        let mut lines: Vec<String> = CFG.lines().map(str::to_owned).collect();
        for (at, kind, text) in edits {
            let at = at.index(lines.len());
            match kind {
                0 => lines[at] = text,
                1 => lines[at].push_str(&text),
                2 => lines.insert(at, text),
                _ => lines[at] = lines[at].split('=').next().unwrap_or_default().to_owned() + "=" + &text,
            }
        }
        let desk = Desk::new(&lines.join("\n"));
        if let Ok(training) = desk.training() {
            prop_assert!(Job::from_layers(&[training.layer]).is_ok());
        }
        let _ = read_forward(&desk.path("job.cfg"), None);
    }
}
