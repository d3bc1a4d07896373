//! What a person may get wrong ends with one message that names the file, the place and what was expected.

mod support;

use std::fs;

use support::{Desk, NET, TRAIN};
use znn::data::NumberType;
use znn::network::weights_file;
use znn::{Extent, Tensor};

/// Runs `arguments`, which must fail with a message that has all `parts`.
fn refuse(desk: &Desk, arguments: &str, parts: &[&str]) {
    let output = desk.znn(arguments);
    let (stdout, stderr) = (support::text(&output.stdout), support::text(&output.stderr));
    if std::env::var_os("ZNN_SHOW_MESSAGES").is_some() {
        println!("$ znn {arguments}\n{stderr}");
    }
    assert!(matches!(output.status.code(), Some(1 | 2)), "znn {arguments}: {}\n{stderr}", output.status);
    assert_eq!(stdout, "", "znn {arguments}");
    assert!(
        !stderr.contains("panicked") && !stderr.contains("memory allocation"),
        "znn {arguments}\n{stderr}"
    );
    assert!(!stderr.trim_end().contains("\n\n") || stderr.starts_with("error: "), "one paragraph: {stderr}");
    let message = stderr.find("znn: error: ").or_else(|| stderr.find("error: "));
    let message = &stderr[message.unwrap_or_else(|| panic!("znn {arguments}: no message\n{stderr}"))..];
    for part in parts {
        assert!(message.contains(part), "znn {arguments}: `{part}` is not in\n{stderr}");
    }
}

/// `TRAIN` into the folder `run`, with one thing different.
fn train(from: &str, to: &str) -> String {
    assert!(TRAIN.contains(from), "{from}");
    format!("{} --iterations 2 --out run", TRAIN.replace(from, to))
}

#[test]
fn files_that_are_not_there() {
    let desk = Desk::new();
    for (from, file) in [
        ("net.znn", "no.znn"),
        (" raw.tif", " no.tif"),
        (" cells.tif", " no.tif"),
        (" val_raw.tif", " no.tif"),
        (" val_cells.tif", " no.tif"),
    ] {
        refuse(&desk, &train(from, file), &[file.trim(), "No such file"]);
    }
    refuse(&desk, &format!("{TRAIN} --masks no.tif"), &["no.tif", "No such file"]);
    refuse(&desk, "train --job no.toml", &["no.toml", "No such file"]);
    refuse(&desk, "check --net no.znn", &["no.znn", "No such file"]);
    refuse(&desk, "info --net no.znn", &["no.znn", "No such file"]);
    refuse(&desk, "infer --model no --input raw.tif --output out.tif", &["no", "No such file"]);
    refuse(&desk, "train --resume --out no", &["no holds no run to resume: job.toml is missing"]);
    assert!(
        !desk.path("run").exists() && !desk.path("out").exists(),
        "a run that cannot start leaves no folder"
    );
}

#[test]
fn files_that_are_no_volume() {
    let desk = Desk::new();
    let whole = fs::read(desk.path("raw.tif")).unwrap();
    desk.write("text.tif", "the quick brown fox jumps over the lazy dog\n");
    desk.write("empty.tif", "");
    desk.write("short.tif", &whole[..whole.len() / 2]);
    desk.write("header.tif", &whole[..20]);
    refuse(&desk, &train(" raw.tif", " text.tif"), &["text.tif, page 1: this is not a TIFF file"]);
    refuse(&desk, &train(" raw.tif", " empty.tif"), &["empty.tif, page 1: this is not a TIFF file"]);
    refuse(&desk, &train(" raw.tif", " short.tif"), &["short.tif, page ", "truncated"]);
    refuse(&desk, &train(" cells.tif", " header.tif"), &["header.tif, page 1: ", "truncated"]);
    refuse(
        &desk,
        &train(" raw.tif", " ."),
        &["., the folder: ", "expected the folder of a Zarr or N5 array"],
    );
}

#[test]
fn volumes_that_do_not_fit() {
    let desk = Desk::new();
    refuse(
        &desk,
        &train(" cells.tif", " val_cells.tif"),
        &["raw.tif: the image has the extent 4,40,44, expected 3,32,36 like the label"],
    );
    let masks = format!("{TRAIN} --masks val_cells.tif --iterations 2");
    refuse(&desk, &masks, &["raw.tif: the mask has the extent 3,32,36, expected 4,40,44 like the label"]);
    refuse(
        &desk,
        &train("1,12,12", "1,34,12"),
        &[
            "raw.tif: the volume is too small (4,40,44) for a patch",
            "the image",
            "at least 3,42,20 voxels (z,y,x); a smaller output patch (--output-size)",
        ],
    );
    refuse(
        &desk,
        &train("1,12,12", "9,12,12 --mirror"),
        &["the label, of extent 4,40,44, must have at least 9,"],
    );
    refuse(&desk, &train("1,12,12", "1,100000,100000"), &["the volume is too small (4,40,44)"]);

    let mut broken = desk.volume("raw.tif");
    broken.data_mut()[40 * 44 + 44 + 3] = f32::NAN;
    desk.write_volume("nan.tif", &broken, NumberType::F32);
    let place = "nan.tif: the image has the value NaN at z,y,x = 1,1,3; expected finite numbers";
    refuse(&desk, &train(" raw.tif", " nan.tif"), &[place]);
    refuse(&desk, &train(" val_raw.tif", " nan.tif"), &[place]);
    desk.succeed(&format!("{TRAIN} --iterations 2 --out run"));
    refuse(&desk, "infer --model run --input nan.tif --output out.tif", &[place]);
    desk.write_volume("dot.tif", &Tensor::zeros(1, Extent::ONE), NumberType::U8);
    refuse(
        &desk,
        "infer --model run --input dot.tif --output out.tif --valid",
        &["dot.tif: the volume has extent 1,1,1, but the network's field of view is 2,8,8"],
    );
    desk.succeed("infer --model run --input dot.tif --output out.tif");
}

#[test]
fn labels_of_one_class_are_a_warning() {
    let desk = Desk::new();
    desk.write_volume("zero.tif", &Tensor::zeros(1, Extent::new(4, 40, 44)), NumberType::U8);
    let (_, stderr) = desk.succeed(&train(" cells.tif", " zero.tif"));
    assert!(
        stderr.contains("warning: raw.tif: every valid voxel of the label is 0, no voxel is > 0"),
        "{stderr}"
    );
    desk.write_volume("one.tif", &Tensor::from_fn(1, Extent::new(3, 32, 36), |_| 1.0), NumberType::U8);
    let arguments = train(" val_cells.tif", " one.tif");
    let (_, stderr) = desk.succeed(&format!("{arguments} --overwrite"));
    assert!(stderr.contains("warning: val_raw.tif: every valid voxel of the label is > 0"), "{stderr}");
}

#[test]
fn networks_that_cannot_be_computed() {
    let desk = Desk::new();
    for (from, to, parts) in [
        (
            "type conv",
            "type convolution",
            &["bad.znn:6: edges conv1: `type` is `convolution`, expected one of conv, max_filter"][..],
        ),
        ("input input", "input inptu", &["bad.znn:9: ", "edges conv1: ", "`inptu`"]),
        ("size 1,3,3", "size 1,0,3", &["bad.znn:8: ", "edges conv1: ", "`1,0,3`", "within 1..=65536"]),
        ("size 4", "size 0", &["bad.znn:", "nodes layer1: ", "within 1..=65536"]),
        ("size 4", "size 100000", &["bad.znn:", "nodes layer1: ", "within 1..=65536"]),
        ("size 4", "size many", &["bad.znn:", "nodes layer1: ", "`many`"]),
        (
            "input layer1",
            "input pooled1",
            &["bad.znn:24: nodes pooled1: the edges form a cycle: pooled1 -> pooled1"],
        ),
        ("function linear", "function linnear", &["bad.znn:", "nodes output: ", "`linnear`", "linear"]),
        ("ratio 0.9", "ratio 0", &["bad.znn:", "edges drop1: ", "above 0 and at most 1"]),
    ] {
        assert!(NET.contains(from), "{from}");
        desk.write("bad.znn", NET.replacen(from, to, 1));
        for arguments in ["check --net bad.znn", "info --net bad.znn", &train("net.znn", "bad.znn")] {
            refuse(&desk, arguments, parts);
        }
    }
    for (content, parts) in [
        ("", &["bad.znn"][..]),
        ("nodes", &["bad.znn:1: "]),
        ("\u{0}\u{1}\u{2}", &["bad.znn:1: "]),
        ("size 3\nnodes a\n", &["bad.znn:1: "]),
    ] {
        desk.write("bad.znn", content);
        refuse(&desk, "info --net bad.znn", parts);
    }
    fs::copy(desk.path("raw.tif"), desk.path("bad.znn")).unwrap();
    refuse(&desk, "info --net bad.znn", &["bad.znn"]);
}

#[test]
fn networks_that_do_not_fit_the_task() {
    let desk = Desk::new();
    desk.write("three.znn", NET.replace("function linear\nsize 2", "function linear\nsize 3"));
    refuse(
        &desk,
        &train("net.znn", "three.znn"),
        &[
            "the network ends in `output` of 3 maps, but training with the target `boundary` needs one output group of \
           1 or 2 maps",
        ],
    );
    refuse(
        &desk,
        &train("net.znn", "net.znn --target affinity"),
        &["`output` of 2 maps", "of 3 maps (--target)"],
    );
    desk.write("one.znn", NET.replace("function linear\nsize 2", "function linear\nsize 1"));
    refuse(&desk, &train("net.znn", "one.znn --loss softmax"), &["loss = softmax: expected another loss"]);
    desk.write("rgb.znn", NET.replace("type input\nsize 1", "type input\nsize 3"));
    refuse(
        &desk,
        &train("net.znn", "rgb.znn"),
        &["input group `input` of the network takes 3 maps, expected 1"],
    );

    // Pooling in front of a smaller branch that is cropped by too little.
    let branches = format!(
        "{NET}\nedges side\ntype crop\noffset 0,1,1\ninput dropped1\noutput aside\n\nnodes aside\ntype sum\nsize 4\n\n\
         edges conv3\ntype conv\ninit msra\nsize 1,1,1\ninput aside\noutput output\n"
    );
    desk.write("branches.znn", branches);
    refuse(
        &desk,
        &train("net.znn", "branches.znn"),
        &[
            "nodes dropped1: edges conv2 to nodes output needs 2 voxels along z, but edges side to nodes aside needs 1",
            "branches must agree",
        ],
    );
}

#[test]
fn sizes_beyond_the_machine_are_refused_before_memory_is_taken() {
    let desk = Desk::new();
    let needs = &["of memory are needed, but this machine has "][..];
    for command in ["check", "info --plan"] {
        refuse_after_table(&desk, &format!("{command} --net net.znn --output-size 1,100000,100000"), needs);
        refuse_after_table(&desk, &format!("{command} --net net.znn --output-size 10,100000,100000"), needs);
        refuse(
            &desk,
            &format!("{command} --net net.znn --output-size 100000,100000,100000"),
            &["nodes output: the image becomes 100000,100000,100000, more than 16777216 along an axis or "],
        );
        refuse(
            &desk,
            &format!("{command} --net net.znn --output-size 1,1,99999999999999999999"),
            &["expected three integers z,y,x"],
        );
        refuse(
            &desk,
            &format!("{command} --net net.znn --output-size 18446744073709551615,2,1"),
            &["more than"],
        );
        refuse(&desk, &format!("{command} --net net.znn --output-size 1,0,1"), &["1,0,1"]);
    }
    // Two wide layers: more weights than any network has.
    let wide = NET.replace("size 4", "size 65536").replace("size 2\n", "size 60000\n");
    desk.write("wide.znn", wide);
    for arguments in ["check --net wide.znn", "info --net wide.znn", &train("net.znn", "wide.znn")] {
        refuse(&desk, arguments, &["wide.znn", "weights"]);
    }
}

/// As [`refuse`]; the table of the network, which `info` prints first, is no part of the answer.
fn refuse_after_table(desk: &Desk, arguments: &str, parts: &[&str]) {
    if arguments.starts_with("info") {
        let output = desk.znn(arguments);
        let stderr = support::text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "znn {arguments}\n{stderr}");
        assert!(parts.iter().all(|part| stderr.contains(part)), "znn {arguments}\n{stderr}");
    } else {
        refuse(desk, arguments, parts);
    }
}

#[test]
fn checkpoints_that_cannot_be_used() {
    let desk = Desk::new();
    desk.succeed(&format!("{TRAIN} --iterations 2 --out run"));
    let model = desk.path("run/model.safetensors");
    let whole = fs::read(&model).unwrap();
    let every =
        ["infer --model run --input raw.tif --output out.tif", "train --resume --iterations 4 --out run"];
    let broken = |content: &[u8], parts: &[&str]| {
        fs::write(&model, content).unwrap();
        every.iter().for_each(|arguments| refuse(&desk, arguments, parts));
        assert!(!desk.path("out.tif").exists());
    };
    for len in [0, 7, 100, whole.len() - 1] {
        broken(&whole[..len], &["run/model.safetensors: not a complete safetensors file"]);
    }
    broken(b"not a model at all, only a text", &["run/model.safetensors: not a complete safetensors file"]);
    broken(&[255; 64], &["run/model.safetensors: not a complete safetensors file"]);
    let header = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    broken(&header("{}"), &["run/model.safetensors: the metadata has no `znn_format`"]);
    // The same length, so that the places of the tensors stay as they are.
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = whole.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        [&whole[..at], to.as_bytes(), &whole[at + from.len()..]].concat()
    };
    broken(
        &replaced(r#""znn_format":"1""#, r#""znn_format":"7""#),
        &["the format version is `7`, expected 1"],
    );
    broken(
        &replaced(r#""shape":[4,1,1,3,3]"#, r#""shape":[1,4,1,3,3]"#),
        &["run/model.safetensors: tensor `conv1.weight", "[1, 4, 1, 3, 3]", "expected [4, 1, 1, 3, 3]"],
    );
    broken(&replaced(r#""layer1.bias":"#, r#""layer2.bias":"#), &["tensor `layer1.bias` is missing"]);
    let mut nan = whole.clone();
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    broken(&nan, &["run/model.safetensors: tensor `", "the value NaN"]);
    fs::write(&model, replaced(r#""iteration":"2""#, r#""iteration":"x""#)).unwrap();
    refuse(&desk, every[1], &["run/model.safetensors: the note `iteration` is `x`, expected a number"]);

    fs::write(&model, &whole).unwrap();
    desk.write("net.znn", NET.replace("size 4", "size 5"));
    refuse(
        &desk,
        every[1],
        &["run/model.safetensors: the network of the checkpoint is not that of ", "net.znn"],
    );
    desk.write("net.znn", NET);
    fs::write(desk.path("run/metrics.jsonl"), "{}\n{}\n").unwrap();
    refuse(&desk, every[1], &["run/metrics.jsonl, line 1: expected one JSON object of metrics"]);
}

#[test]
fn places_that_cannot_be_written() {
    let desk = Desk::new();
    desk.write("file", "in the way");
    refuse(
        &desk,
        &format!("{TRAIN} --iterations 2 --out file"),
        &["file", "cannot make the folder of the run"],
    );
    refuse(&desk, &format!("{TRAIN} --iterations 2 --out file/run"), &["file/run", "cannot make the folder"]);
    desk.succeed(&format!("{TRAIN} --iterations 2 --out run"));
    let infer = |output: &str| format!("infer --model run --input raw.tif --output {output}");
    refuse(&desk, &infer("no/out.tif"), &["cannot create no/out.tif: No such file"]);
    refuse(&desk, &infer("file/out.tif"), &["cannot create file/out.tif: Not a directory"]);
    refuse(&desk, &infer("run"), &["run, the folder: it is not empty; remove it, or give another name"]);
    refuse(&desk, &format!("{} --preview no/a.png", infer("out.tif")), &["no/a.png"]);
}

/// Permissions mean nothing to the superuser, who runs the tests in many containers.
#[cfg(unix)]
#[test]
fn folders_without_permission() {
    use std::os::unix::fs::PermissionsExt;

    let desk = Desk::new();
    fs::create_dir(desk.path("locked")).unwrap();
    fs::set_permissions(desk.path("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(desk.path("locked/probe"), "").is_ok() {
        println!("skipped: this user may write anywhere");
        return;
    }
    refuse(&desk, &format!("{TRAIN} --iterations 2 --out locked"), &["locked/", "Permission denied"]);
    refuse(&desk, &format!("{TRAIN} --iterations 2 --out locked/run"), &["locked/run", "Permission denied"]);
}

#[test]
fn numbers_that_make_no_sense() {
    let desk = Desk::new();
    for (option, parts) in [
        ("--threads 100000", &["100000 threads", "at most 4096"][..]),
        ("--threads -1", &["-1"]),
        ("--eta 0", &["eta = 0: expected a number above 0"]),
        ("--eta=-0.1", &["eta = -0.1: expected a number above 0"]),
        ("--eta nan", &["eta = NaN: expected a number above 0"]),
        ("--eta 1e-400", &["eta = 0: expected a number above 0"]),
        ("--momentum 1", &["momentum = 1: expected a number from 0 to below 1"]),
        ("--weight-decay inf", &["weight-decay = inf: expected a number from 0 to 1"]),
        ("--time-limit 0", &["time-limit = 0: expected a number of seconds above 0"]),
        ("--time-limit 1e300", &["time-limit = "]),
        ("--iterations 0", &["iterations = 0: expected an integer above 0"]),
        ("--iterations 1.5", &["invalid value '1.5' for '--iterations <N>'"]),
        ("--checkpoint-every 0", &["checkpoint-every = 0: expected an integer above 0"]),
        ("--seed 9223372036854775808", &["9223372036854775808"]),
    ] {
        refuse(&desk, &format!("train --demo {option}"), parts);
    }
    for (text, parts) in [
        ("etta = 1", &["job.toml, line 1: `etta = 1`: unknown field `etta`, expected one of "][..]),
        (
            "demo = true\nthreads = -1",
            &[
                "job.toml, line 2: `threads = -1`: invalid value: integer `-1`, expected a whole number from 0",
            ],
        ),
        ("demo = true\nseed = 99999999999999999999", &["job.toml, line 2: "]),
        ("demo = true\neta = [1, 2]", &["job.toml, line 2: ", "expected a number"]),
        ("demo = true\neta = 0", &["eta = 0: expected a number above 0"]),
        ("demo = tru", &["job.toml, line 1: `demo = tru`: "]),
        ("\u{1}", &["job.toml, line 1: "]),
        ("[train]\ndemo = true", &["job.toml, line 1: `[train]`: unknown field `train`"]),
    ] {
        desk.write("job.toml", text);
        refuse(&desk, "train --job job.toml", parts);
    }
    desk.write("job.toml", b"demo = \xff\xfe");
    refuse(&desk, "train --job job.toml", &["job.toml: cannot read the job", "UTF-8"]);
    desk.succeed(&format!("{TRAIN} --iterations 2 --out run"));
    for (option, parts) in [
        ("--threads 100000", &["100000 threads", "at most 4096"][..]),
        ("--memory 0", &["expected a number of bytes such as 500M or 2G, found `0`"]),
        ("--memory 1K", &["a tile of one output voxel needs ", "more than the bound of 1.0 KiB"]),
        ("--tile 1,2", &["expected three integers z,y,x, found `1,2`"]),
        ("--tile 1,0,8", &["raw.tif: the output size is 1,0,8, expected at least 1 along each axis"]),
        ("--algorithm fastest", &["fastest"]),
        ("--isa sse2", &["sse2"]),
        ("--preprocess none2d", &["unknown normalisation `none2d`, expected standard2d"]),
    ] {
        refuse(&desk, &format!("infer --model run --input raw.tif --output out.tif {option}"), parts);
    }
}

#[test]
fn a_learning_rate_that_is_too_large_is_told() {
    let desk = Desk::new();
    let arguments =
        train("--eta 0.05", "--loss square --eta 1e30").replace("--iterations 2", "--iterations 50");
    let output = desk.znn(&arguments);
    let stderr = support::text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("a smaller learning rate (--eta)") && !stderr.contains("panicked"), "{stderr}");
    assert!(stderr.contains("is not finite. Such numbers arose first in the "), "{stderr}");
    assert!(stderr.contains("stopped.safetensors"), "{stderr}");
    weights_file::load(&desk.path("run").join("stopped.safetensors")).expect("the last good state");
    assert_eq!(desk.model("run").notes["iteration"], "0", "the last good checkpoint is kept");
}
