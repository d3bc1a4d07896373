//! The learning curve of a run as a picture: loss and pixel error over the iterations.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    BLACK, Cartesian2d, ChartBuilder, ChartContext, Circle, Color, DashedLineSeries, IntoFont, LineSeries,
    PathElement, RGBColor, SeriesLabelPosition, WHITE,
};
use plotters::style::{ShapeStyle, TextStyle};

use super::metrics::{Phase, Record};
use super::picture::{Canvas, FONT, Picture, PictureError};

/// The width and height of the picture in pixels.
pub const SIZE: (u32, u32) = (900, 760);

/// Drawn at this multiple of its size and then reduced, so that lines are smooth.
const SCALE: u32 = 2;
/// More training points than this are drawn as means of neighbours.
const MAX_POINTS: usize = 1500;

const TRAIN: RGBColor = RGBColor(31, 119, 180);
const VALIDATION: RGBColor = RGBColor(214, 90, 20);
const CONSTANT: RGBColor = RGBColor(110, 110, 110);

type Points = Vec<(f64, f64)>;
type Chart<'a, 'b> =
    ChartContext<'a, plotters::prelude::BitMapBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// The learning curve of `records`, which are in the order of the iterations; empty axes where there is none.
pub fn draw(records: &[Record]) -> Result<Picture, PictureError> {
    let mut picture = Picture::new(SIZE.0 * SCALE, SIZE.1 * SCALE, [255; 3]);
    let last = records.last().map_or(1, |record| record.iteration.max(1)) as f64;
    picture.draw(|canvas| {
        let (loss, pixel_error) = canvas.split_vertically(SIZE.1 * SCALE / 2);
        Panel::new("loss", records, |record| record.loss).draw(&loss, last)?;
        let constant = records.iter().rev().find_map(|record| record.constant_error);
        Panel { constant, ..Panel::new("pixel error", records, |record| record.pixel_error) }
            .draw(&pixel_error, last)
    })?;
    Ok(picture.halved())
}

/// One quantity over the iterations.
struct Panel {
    name: &'static str,
    train: Points,
    validation: Points,
    /// The value of the best constant prediction.
    constant: Option<f64>,
}

impl Panel {
    fn new(name: &'static str, records: &[Record], value: impl Fn(&Record) -> f64) -> Self {
        let points = |phase| -> Points {
            records
                .iter()
                .filter(|record| record.phase == phase)
                .map(|record| (record.iteration as f64, value(record)))
                .filter(|point| point.1.is_finite())
                .collect()
        };
        Self {
            name,
            train: thinned(&points(Phase::Train)),
            validation: points(Phase::Validation),
            constant: None,
        }
    }

    fn draw(&self, canvas: &Canvas<'_>, last: f64) -> Result<(), PictureError> {
        let px = |size: u32| size * SCALE;
        let smooth = smoothed(&self.train);
        let text = |size: u32| TextStyle::from((FONT, px(size)).into_font()).color(&BLACK);
        let top = top(&self.train, &smooth, &self.validation, self.constant);
        let mut chart = ChartBuilder::on(canvas)
            .margin(px(14))
            .set_label_area_size(plotters::prelude::LabelAreaPosition::Left, px(64))
            .set_label_area_size(plotters::prelude::LabelAreaPosition::Bottom, px(44))
            .build_cartesian_2d(0.0..last, 0.0..top)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225).stroke_width(SCALE))
            .axis_style(RGBColor(90, 90, 90).stroke_width(SCALE))
            .set_all_tick_mark_size(px(4))
            .label_style(text(14))
            .axis_desc_style(text(16))
            .x_desc("iteration")
            .y_desc(self.name)
            .x_labels(8)
            .y_labels(6)
            .x_label_formatter(&|x| thousands(*x))
            .y_label_formatter(&|y| decimal(*y, top))
            .draw()?;

        line(&mut chart, &self.train, TRAIN.mix(0.3).stroke_width(SCALE), None)?;
        if let Some(value) = self.constant {
            let style = CONSTANT.stroke_width(px(1) + 1);
            let points = [(0.0, value), (last, value)];
            chart
                .draw_series(DashedLineSeries::new(points, px(3), px(4), style))?
                .label("constant prediction")
                .legend(move |(x, y)| dashes(x, y, style));
        }
        line(&mut chart, &smooth, TRAIN.stroke_width(px(2)), Some("training (smoothed)"))?;
        line(&mut chart, &self.validation, VALIDATION.stroke_width(px(2)), Some("validation"))?;
        if self.validation.len() <= 60 {
            let dot = |point: &(f64, f64)| Circle::new(*point, px(3), VALIDATION.filled());
            chart.draw_series(self.validation.iter().map(dot))?;
        }
        if !self.train.is_empty() || !self.validation.is_empty() {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .margin(px(10))
                .legend_area_size(px(34))
                .background_style(WHITE.mix(0.85))
                .border_style(RGBColor(200, 200, 200).stroke_width(SCALE))
                .label_font(text(14))
                .draw()?;
        }
        Ok(())
    }
}

/// Draws `points`, with an entry in the legend where `label` is given.
fn line(
    chart: &mut Chart<'_, '_>,
    points: &Points,
    style: ShapeStyle,
    label: Option<&str>,
) -> Result<(), PictureError> {
    if points.is_empty() {
        return Ok(());
    }
    let series = chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
    if let Some(label) = label {
        let end = (26 * SCALE) as i32;
        series.label(label).legend(move |(x, y)| PathElement::new([(x, y), (x + end, y)], style));
    }
    Ok(())
}

/// The sample of the dashed line in the legend.
fn dashes(
    x: i32,
    y: i32,
    style: ShapeStyle,
) -> plotters::element::DashedPathElement<impl Iterator<Item = (i32, i32)> + Clone, u32> {
    let end = (26 * SCALE) as i32;
    plotters::element::DashedPathElement::new([(x, y), (x + end, y)], 3 * SCALE, 4 * SCALE, style)
}

/// `points`, or means of equally many neighbours where they are too many to tell apart.
fn thinned(points: &[(f64, f64)]) -> Points {
    let group = points.len().div_ceil(MAX_POINTS).max(1);
    points
        .chunks(group)
        .map(|chunk| {
            let sum = chunk.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
            (sum.0 / chunk.len() as f64, sum.1 / chunk.len() as f64)
        })
        .collect()
}

/// The exponential moving mean over about a 25th of the points, without the bias of its start.
fn smoothed(points: &[(f64, f64)]) -> Points {
    let keep = 1.0 - 2.0 / (points.len() as f64 / 25.0 + 1.0).max(2.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    points
        .iter()
        .map(|&(x, y)| {
            sum = keep * sum + y;
            weight = keep * weight + 1.0;
            (x, sum / weight)
        })
        .collect()
}

/// The upper end of the axis: above all lines, but a few outliers of single patches may leave the picture.
fn top(train: &[(f64, f64)], smooth: &[(f64, f64)], validation: &[(f64, f64)], constant: Option<f64>) -> f64 {
    let mut values: Vec<f64> = train.iter().map(|point| point.1).collect();
    values.sort_by(f64::total_cmp);
    let common = values.get(values.len() * 97 / 100).copied().unwrap_or(0.0);
    let lines = smooth.iter().skip(smooth.len() / 100).chain(validation).map(|point| point.1);
    let top = 1.1 * lines.chain(constant).fold(common, f64::max);
    if top > 0.0 { top } else { 1.0 }
}

/// An iteration as a label: `12 500`.
fn thousands(x: f64) -> String {
    let digits = format!("{x:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A value as a label with the digits that tell the ticks of an axis up to `top` apart.
fn decimal(y: f64, top: f64) -> String {
    let digits = (2.0 - (top / 2.0).log10().floor()).clamp(0.0, 9.0) as usize;
    let text = format!("{y:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn smoothing_keeps_a_constant_and_calms_noise() {
        let constant: Points = (0..500).map(|i| (i as f64, 3.0)).collect();
        assert!(smoothed(&constant).iter().all(|point| (point.1 - 3.0).abs() < 1e-12));
        let noise: Points = (0..500).map(|i| (i as f64, if i % 2 == 0 { 1.0 } else { -1.0 })).collect();
        assert!(smoothed(&noise)[100..].iter().all(|point| point.1.abs() < 0.1));
        let few: Points = vec![(1.0, 5.0), (2.0, 1.0)];
        assert_eq!(smoothed(&few), few, "a short history is not smoothed");
    }

    #[test]
    fn thinning_keeps_the_mean() {
        let points: Points = (0..4000).map(|i| (i as f64, (i % 10) as f64)).collect();
        let thin = thinned(&points);
        assert_eq!(thin.len(), 1334);
        assert_eq!(thin[0], (1.0, 1.0));
        assert_eq!(thinned(&points[..100]), points[..100]);
    }

    #[test]
    fn labels_are_short() {
        assert_eq!([0.0, 999.0, 1000.0, 400_000.0].map(thousands), ["0", "999", "1 000", "400 000"]);
        assert_eq!(decimal(0.05, 0.3), "0.05");
        assert_eq!(decimal(0.0025, 0.01), "0.0025");
        assert_eq!(decimal(20.0, 100.0), "20");
        assert_eq!(decimal(0.0, 1.0), "0");
    }

    #[test]
    fn outliers_do_not_flatten_the_curve() {
        let mut train: Points = (0..200).map(|i| (i as f64, 0.5)).collect();
        train[0].1 = 1e6;
        assert!(top(&train, &train, &[], None) < 1.0);
    }
}
