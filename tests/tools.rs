//! The program's tools around training: previews, statistics, conversions and pictures of networks.

mod support;

use support::{Desk, NET, TRAIN};

/// The width and height in a PNG.
fn png_size(desk: &Desk, name: &str) -> (u32, u32) {
    let bytes = std::fs::read(desk.path(name)).unwrap();
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// What the program says where it ends with that code.
fn fail(desk: &Desk, arguments: &str, code: i32) -> String {
    let output = desk.znn(arguments);
    let stderr = support::text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments}: {stderr}");
    stderr
}

#[test]
fn a_preview_shows_what_training_takes() {
    let desk = Desk::new();
    desk.write(
        "job.toml",
        "net = 'net.znn'\nimages = 'raw.tif'\nlabels = 'cells.tif'\noutput-size = [1, 12, 12]\nrotate = 180\n\
         missing-section = 0.5\nmisalign = 4\nblur = 1.5\nbrightness = 0.4\ncontrast = 0.4\nrebalance = 'patch'\n",
    );
    desk.succeed("preview job.toml --count 3 --out a.png");
    desk.succeed("preview job.toml --count 3 --out b.png");
    assert_eq!(std::fs::read(desk.path("a.png")).unwrap(), std::fs::read(desk.path("b.png")).unwrap());
    let (width, height) = png_size(&desk, "a.png");
    // Two sections of the input, a target and a weight for each patch.
    assert!(width >= 4 * 12 && height >= 3 * 19, "{width} x {height}");
    desk.succeed("preview job.toml --count 1 --first 2 --out c.png");
    assert!(png_size(&desk, "c.png").1 * 3 == height);
    let stderr = fail(&desk, "preview job.toml --out nowhere/a.png", 1);
    assert!(stderr.contains("nowhere/a.png: cannot write the picture"), "{stderr}");
    desk.write("job.toml", "net = 'net.znn'\nimages = 'raw.tif'\nlabels = 'cells.tif'\nrotate = 200\n");
    let stderr = fail(&desk, "preview job.toml", 2);
    assert!(stderr.contains("rotate = 200: expected an angle from 0 to 180 degrees"), "{stderr}");
}

#[test]
fn runs_are_compared() {
    let desk = Desk::new();
    for (run, momentum) in [("a", "0.9"), ("b", "0.5")] {
        let train = TRAIN.replace("--momentum 0.9", &format!("--momentum {momentum}"));
        desk.succeed(&format!("{train} --iterations 20 --out {run} --hdf5 {run}/net"));
    }
    let (table, _) = desk.succeed("stats a b/metrics.jsonl a/net_current.h5 --out curves.svg");
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("run "), "{table}");
    for (line, name) in lines[1..4].iter().zip(["a", "b/metrics.jsonl", "a/net_current.h5"]) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((words[0], words[1]), (name, "20"), "{table}");
    }
    let svg = std::fs::read_to_string(desk.path("curves.svg")).unwrap();
    assert!(svg.contains("b/metrics.jsonl") && svg.contains("pixel error"));
    desk.succeed("stats a --show loss,learning-rate,rand-error --window 1 --out curves.png");
    assert!(png_size(&desk, "curves.png").1 > 600);
    let stderr = fail(&desk, "stats absent", 1);
    assert!(stderr.contains("absent: cannot read the metrics"), "{stderr}");
}

#[test]
fn networks_are_written_in_toml_and_drawn() {
    let desk = Desk::new();
    desk.succeed("convert net.znn net.toml");
    desk.succeed("convert net.toml again.znn");
    let parse = |text: &str| znn::network::spec::parse(text, "net").unwrap().network;
    let again = std::fs::read_to_string(desk.path("again.znn")).unwrap();
    assert_eq!(parse(&again), parse(NET));
    let (table, _) = desk.succeed("info --net net.toml --output-size 1,12,12 --draw net.svg");
    assert_eq!(table, desk.succeed("info --net net.znn --output-size 1,12,12").0);
    let svg = std::fs::read_to_string(desk.path("net.svg")).unwrap();
    assert!(svg.contains("conv1: conv 1,3,3") && svg.contains("4 x "), "{svg}");
    desk.succeed(&format!("{} --iterations 2 --out run", TRAIN.replace("net.znn", "net.toml")));
    let stderr = fail(&desk, "convert net.toml net.h5", 1);
    assert!(stderr.contains("net.toml"), "{stderr}");
}
