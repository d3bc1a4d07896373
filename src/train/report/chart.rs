//! Quantities over the iterations, drawn on a picture of pixels or of vectors.

use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color, DashedLineSeries, DrawingArea, DrawingBackend, IntoFont, LineSeries,
    PathElement, RGBColor, SeriesLabelPosition, WHITE,
};
use plotters::style::{ShapeStyle, TextStyle};

use super::metrics::{Phase, Record};
use super::picture::{FONT, PictureError};

/// More points than this are drawn as means of neighbours.
const MAX_POINTS: usize = 1500;
/// A line of at most so many points shows them.
const MAX_DOTS: usize = 60;

const CONSTANT: RGBColor = RGBColor(110, 110, 110);

/// Iterations and values.
pub(super) type Points = Vec<(f64, f64)>;

/// A line over the iterations.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// In the legend; none leaves it out.
    pub label: Option<String>,
    pub points: Points,
    pub colour: RGBColor,
    /// Of the ink, 0 to 1.
    pub opacity: f64,
    /// The width in pixels.
    pub width: u32,
    /// Whether the points are shown, where they are few.
    pub dots: bool,
}

/// One quantity over the iterations.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub name: &'static str,
    /// From back to front.
    pub series: Vec<Series>,
    /// The value of the best constant prediction.
    pub constant: Option<f64>,
}

/// The finite values of a phase.
pub(super) fn points(records: &[Record], phase: Phase, value: impl Fn(&Record) -> Option<f64>) -> Points {
    let records = records.iter().filter(|record| record.phase == phase);
    let points = records.filter_map(|record| Some((record.iteration as f64, value(record)?)));
    points.filter(|point| point.1.is_finite()).collect()
}

impl Panel {
    /// Draws the panel up to the iteration `last`, all sizes multiplied by `scale`.
    pub fn draw<B>(&self, canvas: &DrawingArea<B, Shift>, last: f64, scale: u32) -> Result<(), PictureError>
    where
        B: DrawingBackend,
        B::ErrorType: Send + Sync + 'static,
    {
        let px = |size: u32| size * scale;
        let text = |size: u32| TextStyle::from((FONT, px(size)).into_font()).color(&BLACK);
        let top = top(&self.series, self.constant);
        let mut chart = ChartBuilder::on(canvas)
            .margin(px(14))
            .set_label_area_size(plotters::prelude::LabelAreaPosition::Left, px(64))
            .set_label_area_size(plotters::prelude::LabelAreaPosition::Bottom, px(44))
            .build_cartesian_2d(0.0..last, 0.0..top)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225).stroke_width(scale))
            .axis_style(RGBColor(90, 90, 90).stroke_width(scale))
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
        if let Some(value) = self.constant {
            let style = CONSTANT.stroke_width(px(1) + scale / 2);
            let ends = [(0.0, value), (last, value)];
            let end = px(26) as i32;
            chart
                .draw_series(DashedLineSeries::new(ends, px(3), px(4), style))?
                .label("constant prediction")
                .legend(move |(x, y)| {
                    let ends = [(x, y), (x + end, y)];
                    plotters::element::DashedPathElement::new(ends, px(3), px(4), style)
                });
        }
        for series in self.series.iter().filter(|series| !series.points.is_empty()) {
            let style: ShapeStyle = series.colour.mix(series.opacity).stroke_width(px(series.width));
            let line = chart.draw_series(LineSeries::new(series.points.iter().copied(), style))?;
            if let Some(label) = &series.label {
                let end = px(26) as i32;
                line.label(label).legend(move |(x, y)| PathElement::new([(x, y), (x + end, y)], style));
            }
            if series.dots && series.points.len() <= MAX_DOTS {
                let dot = |point: &(f64, f64)| Circle::new(*point, px(3), series.colour.filled());
                chart.draw_series(series.points.iter().map(dot))?;
            }
        }
        if self.series.iter().any(|series| series.label.is_some() && !series.points.is_empty()) {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .margin(px(10))
                .legend_area_size(px(34))
                .background_style(WHITE.mix(0.85))
                .border_style(RGBColor(200, 200, 200).stroke_width(scale))
                .label_font(text(14))
                .draw()?;
        }
        Ok(())
    }
}

/// `points`, or means of equally many neighbours where they are too many to tell apart.
pub(super) fn thinned(points: &[(f64, f64)]) -> Points {
    let group = points.len().div_ceil(MAX_POINTS).max(1);
    points
        .chunks(group)
        .map(|chunk| {
            let sum = chunk.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
            (sum.0 / chunk.len() as f64, sum.1 / chunk.len() as f64)
        })
        .collect()
}

/// The exponential moving mean over about `window` points, without the bias of its start.
pub(super) fn smoothed(points: &[(f64, f64)], window: f64) -> Points {
    let keep = 1.0 - 2.0 / (window + 1.0).max(2.0);
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
fn top(series: &[Series], constant: Option<f64>) -> f64 {
    let most = |series: &Series| {
        let mut values: Vec<f64> = series.points.iter().map(|point| point.1).collect();
        values.sort_by(f64::total_cmp);
        // of a line with dots each point counts
        let rank = if series.dots { values.len().saturating_sub(1) } else { values.len() * 97 / 100 };
        values.get(rank).copied().unwrap_or(0.0)
    };
    let top = 1.1 * series.iter().map(most).chain(constant).fold(0.0, f64::max);
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

    #[test]
    fn smoothing_keeps_a_constant_and_calms_noise() {
        let constant: Points = (0..500).map(|i| (i as f64, 3.0)).collect();
        assert!(smoothed(&constant, 20.0).iter().all(|point| (point.1 - 3.0).abs() < 1e-12));
        let noise: Points = (0..500).map(|i| (i as f64, if i % 2 == 0 { 1.0 } else { -1.0 })).collect();
        assert!(smoothed(&noise, 20.0)[100..].iter().all(|point| point.1.abs() < 0.1));
        let few: Points = vec![(1.0, 5.0), (2.0, 1.0)];
        assert_eq!(smoothed(&few, 0.1), few, "a short window does nothing");
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
        let colour = RGBColor(0, 0, 0);
        let mut series = Series { label: None, points: train, colour, opacity: 1.0, width: 1, dots: false };
        assert!(top(std::slice::from_ref(&series), None) < 1.0);
        assert!(top(std::slice::from_ref(&series), Some(3.0)) > 3.0);
        series.dots = true;
        assert!(top(&[series], None) > 1e6, "of few points each is seen");
    }
}
