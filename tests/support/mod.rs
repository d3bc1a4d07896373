//! What the tests of the program share: a folder with tiny volumes and networks, and how to run `znn` in it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use znn::data::synthetic;
use znn::data::{NumberType, tiff};
use znn::network::weights_file::{self, Model};
use znn::{Extent, Tensor};

/// Two convolutions with pooling and dropout between them; the field of view is 2,8,8.
pub const NET: &str = "\
nodes input
type input
size 1

edges conv1
type conv
init msra
size 1,3,3
input input
output layer1

nodes layer1
type transfer
function rectify_linear
size 4

edges pool1
type max_filter
size 1,2,2
stride 1,2,2
input layer1
output pooled1

nodes pooled1
type sum
size 4

edges drop1
type dropout
ratio 0.9
input pooled1
output dropped1

nodes dropped1
type sum
size 4

edges conv2
type conv
init msra
size 2,3,3
input dropped1
output output

nodes output
type transfer
function linear
size 2
";

/// The options of a training on the volumes of a [`Desk`].
pub const TRAIN: &str = "train --net net.znn --images raw.tif --labels cells.tif --val-images val_raw.tif \
    --val-labels val_cells.tif --output-size 1,12,12 --eta 0.05 --momentum 0.9 --validate-every 10 --report-every 1 \
    --validate-patches 20";

/// A folder of its own to work in.
pub struct Desk {
    folder: TempDir,
}

impl Desk {
    /// With volumes and a network.
    pub fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().expect("a folder") };
        desk.write("net.znn", NET);
        for (seed, extent, image, label) in [
            (1, Extent::new(4, 40, 44), "raw.tif", "cells.tif"),
            (2, Extent::new(3, 32, 36), "val_raw.tif", "val_cells.tif"),
        ] {
            let (raw, cells) = synthetic(seed, extent);
            desk.write_volume(image, &raw, NumberType::F32);
            desk.write_volume(label, &cells, NumberType::U8);
        }
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("a file");
    }

    /// Writes the first channel as a stack of pages.
    pub fn write_volume(&self, name: &str, volume: &Tensor, sample: NumberType) {
        let extent = volume.extent();
        let mut writer = tiff::Writer::create(&self.path(name), extent, sample).expect("a file");
        for section in volume.channel(0).chunks_exact(extent.y * extent.x) {
            writer.write_section(section).expect("a section");
        }
        writer.finish().expect("a whole file");
    }

    /// The program with `arguments`, words without quotes, in this folder.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_znn"));
        command.args(arguments.split_whitespace()).current_dir(self.folder.path());
        command.stdin(Stdio::null()).env_remove("RUST_BACKTRACE");
        // Measurements beside other tests are not for the user's cache.
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    /// Runs the program to its end.
    pub fn znn(&self, arguments: &str) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    /// Runs the program, which must succeed; what it printed on standard output and on standard error.
    pub fn succeed(&self, arguments: &str) -> (String, String) {
        let output = self.znn(arguments);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "znn {arguments}\n{stdout}{stderr}");
        (stdout, stderr)
    }

    pub fn model(&self, run: &str) -> Model {
        weights_file::load(&self.path(run).join("model.safetensors")).expect("a checkpoint")
    }

    pub fn volume(&self, name: &str) -> Tensor {
        tiff::read(&self.path(name)).expect("a volume")
    }

    /// The names in a folder, sorted.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}
