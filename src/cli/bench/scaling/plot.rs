//! The speedups as a picture.

use std::path::Path;

use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color, DrawingArea, IntoDrawingArea, LineSeries, PathElement, RGBColor,
    SVGBackend, SeriesLabelPosition, WHITE,
};
use plotters::style::{HSLColor, IntoFont};

use znn::train::report::picture::register_fonts;

use super::ScalingFigure;

const PANEL: (u32, u32) = (640, 520);

/// Writes an SVG with a panel for each network and policy: speedup over threads, a line for each width. Measured points
/// are filled, simulated ones hollow.
pub fn write(figures: &[ScalingFigure], path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut panels: Vec<(&str, &str)> = Vec::new();
    for figure in figures {
        if !panels.contains(&(&figure.net, figure.policy)) {
            panels.push((&figure.net, figure.policy));
        }
    }
    register_fonts();
    let mut text = String::new();
    {
        let count = panels.len().max(1);
        let root = SVGBackend::with_string(&mut text, (PANEL.0 * count as u32, PANEL.1)).into_drawing_area();
        root.fill(&WHITE)?;
        for (area, &(net, policy)) in root.split_evenly((1, count)).iter().zip(&panels) {
            let own: Vec<&ScalingFigure> =
                figures.iter().filter(|figure| figure.net == net && figure.policy == policy).collect();
            panel(area, &format!("{net}, {policy}"), &own)?;
        }
        root.present()?;
    }
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    figures: &[&ScalingFigure],
) -> Result<(), Box<dyn std::error::Error>> {
    const GREY: RGBColor = RGBColor(150, 150, 150);
    let most = figures.iter().map(|figure| figure.threads).max().unwrap_or(1) as f64;
    let fastest = figures.iter().map(|figure| figure.speedup).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .caption(title, ("sans-serif", 18))
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..most * 1.05, 0.0..fastest * 1.1)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .x_desc("threads (hollow: simulated)")
        .y_desc("speedup")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .label_style(("sans-serif", 13).into_font().color(&BLACK))
        .draw()?;
    let end = most.min(fastest * 1.1);
    chart
        .draw_series(LineSeries::new([(0.0, 0.0), (end, end)], GREY.stroke_width(1)))?
        .label("linear")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], GREY));
    let mut widths: Vec<usize> = figures.iter().map(|figure| figure.width).collect();
    widths.dedup();
    for (index, &width) in widths.iter().enumerate() {
        let colour = HSLColor(0.75 * index as f64 / widths.len() as f64, 0.75, 0.42);
        let mut own: Vec<&&ScalingFigure> = figures.iter().filter(|figure| figure.width == width).collect();
        own.sort_by_key(|figure| figure.threads);
        let points = || own.iter().map(|figure| (figure.threads as f64, figure.speedup));
        chart
            .draw_series(LineSeries::new(points(), colour.stroke_width(2)))?
            .label(format!("width {width}"))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        chart.draw_series(own.iter().zip(points()).map(|(figure, point)| {
            let style = if figure.simulated { colour.stroke_width(1) } else { colour.filled() };
            Circle::new(point, 4, style)
        }))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font(("sans-serif", 13))
        .draw()?;
    Ok(())
}
