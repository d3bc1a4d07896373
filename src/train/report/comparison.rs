//! The learning curves of several runs in one picture.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, DrawingBackend, IntoDrawingArea, RGBColor, SVGBackend, WHITE};

use super::chart::{Panel, Series, points, smoothed, thinned};
use super::metrics::{Phase, Record};
use super::picture::{Picture, PictureError, register_fonts};
use crate::atomic_file;

/// A run with its name in the legend.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Such as its folder.
    pub name: String,
    /// In the order of the iterations.
    pub records: Vec<Record>,
}

/// What can be drawn over the iterations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// The loss of a value.
    Loss,
    /// The fraction of wrong values.
    PixelError,
    /// The fraction of pairs of voxels that are joined or parted wrongly.
    RandError,
    /// The learning rate.
    Eta,
}

impl Quantity {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Loss, Self::PixelError, Self::RandError, Self::Eta];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::PixelError => "pixel error",
            Self::RandError => "Rand error",
            Self::Eta => "learning rate",
        }
    }

    /// Its value in a record, where that has it.
    pub fn of(self, record: &Record) -> Option<f64> {
        match self {
            Self::Loss => Some(record.loss),
            Self::PixelError => Some(record.pixel_error),
            Self::RandError => record.rand_error,
            Self::Eta => Some(record.eta),
        }
    }
}

/// The width and height of a panel in pixels.
const PANEL: (u32, u32) = (900, 380);
/// Colours that are told apart by most eyes (Okabe and Ito), but for yellow, which is too light for a line.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(60, 60, 60),
];

/// Writes a picture of a panel for each quantity: thin lines of training, smoothed over `window` points, lines with points of
/// the validations; an SVG where the name of the file ends so, else a PNG.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(runs: &[Run], quantities: &[Quantity], window: f64, path: &Path) -> Result<(), PictureError> {
    let size = (PANEL.0, PANEL.1 * quantities.len().max(1) as u32);
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg")) {
        register_fonts();
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
            area.fill(&WHITE)?;
            draw(runs, quantities, window, &area, 1)?;
            area.present()?;
        }
        return atomic_file::write_bytes(path, text.as_bytes())
            .map_err(|source| PictureError::Write { path: path.to_owned(), source });
    }
    // Drawn twice as large and then reduced, so that lines are smooth.
    let mut picture = Picture::new(2 * size.0, 2 * size.1, [255; 3]);
    picture.draw(|canvas| draw(runs, quantities, window, canvas, 2))?;
    picture.halved().write_png(path)
}

fn draw<B>(
    runs: &[Run],
    quantities: &[Quantity],
    window: f64,
    canvas: &DrawingArea<B, Shift>,
    scale: u32,
) -> Result<(), PictureError>
where
    B: DrawingBackend,
    B::ErrorType: Send + Sync + 'static,
{
    let iterations = runs.iter().flat_map(|run| run.records.last()).map(|record| record.iteration);
    let last = iterations.max().unwrap_or(1).max(1) as f64;
    for (area, &quantity) in canvas.split_evenly((quantities.len().max(1), 1)).iter().zip(quantities) {
        let series = runs.iter().zip(COLOURS.iter().cycle()).flat_map(|(run, &colour)| {
            let train = points(&run.records, Phase::Train, |record| quantity.of(record));
            let train = smoothed(&thinned(&train), window);
            // The rate is that of the training of the moment: once is enough.
            let validation = match quantity {
                Quantity::Eta => Vec::new(),
                _ => points(&run.records, Phase::Validation, |record| quantity.of(record)),
            };
            let named = !validation.is_empty();
            let name = |is: bool| is.then(|| run.name.clone());
            let opacity = if named { 0.45 } else { 1.0 };
            [
                Series { label: name(!named), points: train, colour, opacity, width: 1, dots: false },
                Series { label: name(named), points: validation, colour, opacity: 1.0, width: 2, dots: true },
            ]
        });
        let constant =
            runs.iter().flat_map(|run| &run.records).rev().find_map(|record| record.constant_error);
        let constant = constant.filter(|_| quantity == Quantity::PixelError);
        Panel { name: quantity.name(), series: series.collect(), constant }.draw(area, last, scale)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, offset: f64) -> Run {
        let record = |i: u64, phase| Record {
            iteration: 10 * i,
            phase,
            loss: offset + 1.0 / i as f64,
            pixel_error: offset + 0.5 / i as f64,
            rand_error: None,
            constant_error: None,
            eta: 0.01,
            gradient_norm: None,
            batch: 1,
            classes: Vec::new(),
            voxels_per_second: 1.0,
            seconds: i as f64,
        };
        let records = (1..200_u64).flat_map(|i| {
            let validation = i.is_multiple_of(20).then(|| record(i, Phase::Validation));
            [Some(record(i, Phase::Train)), validation].into_iter().flatten()
        });
        Run { name: name.to_owned(), records: records.collect() }
    }

    #[test]
    fn every_run_has_its_line_and_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let runs = [run("first", 0.1), run("second", 0.3)];
        let svg = folder.path().join("a.svg");
        write(&runs, &Quantity::ALL, 5.0, &svg).unwrap();
        let text = std::fs::read_to_string(&svg).unwrap();
        for word in ["first", "second", "loss", "pixel error", "learning rate", "#0072B2", "#D55E00"] {
            assert!(text.contains(word), "{word}");
        }
        let png = folder.path().join("a.png");
        write(&runs, &[Quantity::Loss, Quantity::PixelError], 5.0, &png).unwrap();
        if let Some(pictures) = std::env::var_os("ZNN_PICTURES") {
            std::fs::copy(&png, Path::new(&pictures).join("comparison.png")).unwrap();
        }
        let picture = Picture::read_png(&png);
        assert_eq!((picture.width(), picture.height()), (900, 760));
        for colour in &COLOURS[..2] {
            let near = |pixel: [u8; 3]| {
                pixel.iter().zip([colour.0, colour.1, colour.2]).all(|(a, b)| a.abs_diff(b) < 12)
            };
            let count = (0..picture.height())
                .flat_map(|y| (0..picture.width()).map(move |x| (x, y)))
                .filter(|&(x, y)| near(picture.pixel(x, y)))
                .count();
            assert!(count > 300, "{colour:?}: {count}");
        }
    }

    #[test]
    fn runs_without_records_have_axes() {
        let folder = tempfile::tempdir().unwrap();
        let empty = Run { name: "empty".to_owned(), records: Vec::new() };
        for name in ["a.svg", "a.png"] {
            write(std::slice::from_ref(&empty), &[Quantity::Loss], 1.0, &folder.path().join(name)).unwrap();
        }
        let error = write(&[], &[Quantity::Loss], 1.0, Path::new("/nowhere/a.svg")).unwrap_err();
        assert_eq!(error.to_string(), "/nowhere/a.svg: cannot write the picture");
    }
}
