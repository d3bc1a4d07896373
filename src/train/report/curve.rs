//! The learning curve of a run as a picture: loss and pixel error over the iterations.

use plotters::prelude::RGBColor;

use super::chart::{Panel, Series, points, smoothed, thinned};
use super::metrics::{Phase, Record};
use super::picture::{Picture, PictureError};

/// The width and height of the picture in pixels.
pub const SIZE: (u32, u32) = (900, 760);

/// Drawn at this multiple of its size and then reduced, so that lines are smooth.
const SCALE: u32 = 2;

const TRAIN: RGBColor = RGBColor(31, 119, 180);
const VALIDATION: RGBColor = RGBColor(214, 90, 20);

/// The learning curve of `records`, which are in the order of the iterations; empty axes where there is none.
pub fn draw(records: &[Record]) -> Result<Picture, PictureError> {
    let mut picture = Picture::new(SIZE.0 * SCALE, SIZE.1 * SCALE, [255; 3]);
    let last = records.last().map_or(1, |record| record.iteration.max(1)) as f64;
    picture.draw(|canvas| {
        let (loss, pixel_error) = canvas.split_vertically(SIZE.1 * SCALE / 2);
        panel("loss", records, |record| Some(record.loss)).draw(&loss, last, SCALE)?;
        let constant = records.iter().rev().find_map(|record| record.constant_error);
        let panel = Panel { constant, ..panel("pixel error", records, |record| Some(record.pixel_error)) };
        panel.draw(&pixel_error, last, SCALE)
    })?;
    Ok(picture.halved())
}

/// A quantity as single patches, as their moving mean, and of the validations.
fn panel(name: &'static str, records: &[Record], value: impl Fn(&Record) -> Option<f64>) -> Panel {
    let train = thinned(&points(records, Phase::Train, &value));
    let smooth = smoothed(&train, train.len() as f64 / 25.0);
    let validation = points(records, Phase::Validation, &value);
    let line = |label: Option<&str>, points, colour, opacity, width| {
        let label = label.map(str::to_owned);
        Series { label, points, colour, opacity, width, dots: false }
    };
    let series = vec![
        line(None, train, TRAIN, 0.3, 1),
        line(Some("training (smoothed)"), smooth, TRAIN, 1.0, 2),
        Series { dots: true, ..line(Some("validation"), validation, VALIDATION, 1.0, 2) },
    ];
    Panel { name, series, constant: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSTANT: RGBColor = RGBColor(110, 110, 110);

    fn records(n: u64) -> Vec<Record> {
        let mut records = Vec::new();
        for i in 1..=n {
            let noise = ((i * 7919) % 101) as f64 / 101.0 - 0.5;
            let fall = (-(i as f64) / (n as f64 / 4.0)).exp();
            let record = Record {
                iteration: 10 * i,
                phase: Phase::Train,
                loss: 0.15 + 0.5 * fall + 0.1 * noise,
                pixel_error: 0.07 + 0.2 * fall + 0.03 * noise,
                rand_error: None,
                constant_error: None,
                eta: 0.01,
                gradient_norm: None,
                batch: 1,
                classes: Vec::new(),
                voxels_per_second: 1e5,
                seconds: i as f64,
            };
            records.push(record.clone());
            if i % 25 == 0 {
                records.push(Record {
                    phase: Phase::Validation,
                    loss: record.loss + 0.02 - 0.08 * noise,
                    pixel_error: record.pixel_error + 0.01 - 0.025 * noise,
                    constant_error: Some(0.208),
                    ..record
                });
            }
        }
        records
    }

    fn count(picture: &Picture, is: impl Fn([u8; 3]) -> bool) -> usize {
        (0..picture.height())
            .flat_map(|y| (0..picture.width()).map(move |x| (x, y)))
            .filter(|&(x, y)| is(picture.pixel(x, y)))
            .count()
    }

    fn is_near(colour: RGBColor) -> impl Fn([u8; 3]) -> bool {
        move |pixel| pixel.iter().zip([colour.0, colour.1, colour.2]).all(|(a, b)| a.abs_diff(b) < 12)
    }

    #[test]
    fn the_picture_has_its_size_and_every_line() {
        let picture = draw(&records(400)).unwrap();
        // To look at: the folder named there receives the picture.
        if let Some(folder) = std::env::var_os("ZNN_PICTURES") {
            picture.write_png(&std::path::Path::new(&folder).join("curve.png")).unwrap();
        }
        assert_eq!((picture.width(), picture.height()), SIZE);
        for colour in [TRAIN, VALIDATION, CONSTANT] {
            assert!(count(&picture, is_near(colour)) > 300, "{colour:?}");
        }
        let black = count(&picture, |pixel| pixel.iter().all(|value| *value < 80));
        assert!(black > 500, "labels are drawn: {black} dark pixels");
    }

    #[test]
    fn a_run_that_has_just_started_has_axes() {
        for records in
            [vec![], records(1), vec![Record { loss: f64::NAN, pixel_error: 0.0, ..records(1)[0].clone() }]]
        {
            assert_eq!(draw(&records).unwrap().height(), SIZE.1);
        }
    }
}
