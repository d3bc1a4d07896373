//! `znn infer`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use znn::train::report::Verbosity;
use znn::volume::Extent;

use super::CommandResult;

/// Run a trained network over a volume of any size.
///
/// The volume is computed in tiles that fit into --memory; the result is the same for any tile. The output is a
/// TIFF of the input's size, with the input mirrored at its border, or of the valid part (--valid).
#[derive(Args)]
#[command(after_help = "Examples:
  znn infer --model run --input raw.tif --output cells.tif
  znn infer --model run --input raw.tif --output cells.tif --memory 500M --format u8 --preview cells.png")]
pub struct InferArgs {
    /// The folder of a training run, or one of its checkpoints.
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// The volume, a multi-page TIFF of 8 or 16 bits or floats.
    #[arg(long, value_name = "FILE.tif")]
    input: PathBuf,
    /// The output volume; with several channels, one file for each, numbered before the extension.
    #[arg(long, value_name = "FILE.tif")]
    output: PathBuf,
    /// Write only the voxels whose field of view lies in the volume.
    #[arg(long)]
    valid: bool,
    /// The memory for images and workspaces, in bytes or with a unit K, M, G or T of 1024.
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    memory: Bytes,
    /// The output voxels of a tile, in place of the largest that fits into --memory.
    #[arg(long, value_name = "Z,Y,X", conflicts_with = "memory")]
    tile: Option<Extent>,
    /// The numbers of the output: u8 and u16 spread 0..1 over their range.
    #[arg(long, value_name = "TYPE", value_parser = ["u8", "u16", "f32"], default_value = "f32")]
    format: String,
    /// Write a picture of input and output, the middle section, as PNG.
    #[arg(long, value_name = "FILE.png")]
    preview: Option<PathBuf>,
    /// Worker threads; 0 is one for each core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// How convolutions are computed; auto measures which is fastest for each layer.
    #[arg(long, value_name = "NAME", value_parser = ["auto", "direct", "fft"], default_value = "auto")]
    algorithm: String,
    /// The instruction set; auto is the widest of the machine.
    #[arg(long, value_name = "TIER", value_parser = ["auto", "scalar", "avx2", "avx512f"], default_value = "auto")]
    isa: String,
}

/// A number of bytes, written as `500M` or `2G`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || format!("expected a number of bytes such as 500M or 2G, found `{text}`");
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift =
            match text[digits.len()..].to_ascii_uppercase().trim_end_matches('B').trim_end_matches('I') {
                "" => 0,
                "K" => 10,
                "M" => 20,
                "G" => 30,
                "T" => 40,
                _ => return Err(fail()),
            };
        let number: f64 = digits.parse().map_err(|_| fail())?;
        let bytes = number * (1_u64 << shift) as f64;
        if bytes >= 1.0 && bytes < u64::MAX as f64 { Ok(Self(bytes as u64)) } else { Err(fail()) }
    }
}

/// Runs `znn infer`.
pub fn run(args: &InferArgs, _verbosity: Verbosity) -> CommandResult {
    let InferArgs { model, input, output, valid, memory, tile, format, preview, threads, algorithm, isa } =
        args;
    Err(format!(
        "this build has no inference: {model:?} {input:?} {output:?} {valid} {} {tile:?} {format} {preview:?} \
         {threads} {algorithm} {isa}",
        memory.0
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("1000", 1000),
            ("2G", 2 << 30),
            ("500M", 500 << 20),
            ("1.5k", 1536),
            ("3GiB", 3 << 30),
            ("1TB", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "G", "-1G", "0", "1X", "1e99T", "nan", "inf", "two"] {
            let error = text.parse::<Bytes>().unwrap_err();
            assert_eq!(error, format!("expected a number of bytes such as 500M or 2G, found `{text}`"));
        }
    }
}
