//! Input, prediction and label of one section beside each other, as a picture.

use plotters::prelude::{IntoFont, RGBColor, Text};
use plotters::style::TextStyle;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::picture::{FONT, Picture, PictureError};
use crate::volume::{Extent, Tensor};

/// A smaller section is shown with larger pixels, so that its longer side has at least this many.
const MIN_SIDE: usize = 256;
/// The height of the captions in pixels.
const CAPTION: usize = 26;
/// The width of the lines between the panels in pixels.
const SEPARATOR: usize = 2;
/// The colour around the panels, none of theirs as a rule.
const GROUND: [u8; 3] = [60, 66, 76];

/// One section with its caption.
#[derive(Clone, Debug)]
pub struct Panel {
    caption: &'static str,
    rows: usize,
    columns: usize,
    colours: Vec<[u8; 3]>,
}

impl Panel {
    /// The middle section of the first channel, from its 1st percentile (black) to its 99th (white): raw data.
    pub fn contrast(caption: &'static str, image: &Tensor) -> Self {
        Self::within(caption, image, percentiles(middle(image, 0)))
    }

    /// The middle section of the first channel, from the first of `greys` (black) to the second (white).
    pub fn within(caption: &'static str, image: &Tensor, (low, high): (f32, f32)) -> Self {
        let range = if high > low { high - low } else { 1.0 };
        Self::grey(caption, image, middle(image, 0).iter().map(|value| (value - low) / range))
    }

    /// The middle section of what a network should give: as [`unit`](Self::unit); of more than three channels, each voxel
    /// in the colour of the greatest.
    pub fn target(caption: &'static str, image: &Tensor) -> Self {
        if image.channels() <= 3 {
            return Self::unit(caption, image);
        }
        let greatest = |voxel: usize| {
            let value = |&channel: &usize| middle(image, channel)[voxel];
            (0..image.channels()).max_by(|a, b| value(a).total_cmp(&value(b))).unwrap_or(0)
        };
        let colours = (0..middle(image, 0).len()).map(|voxel| colour(greatest(voxel) as u32)).collect();
        Self { caption, rows: image.extent().y, columns: image.extent().x, colours }
    }

    /// The middle section from 0 (black) to 1 (white): probabilities. Three channels are shown as red, green and
    /// blue, of any other number the first.
    pub fn unit(caption: &'static str, image: &Tensor) -> Self {
        if image.channels() != 3 {
            return Self::grey(caption, image, middle(image, 0).iter().copied());
        }
        let channels = [0, 1, 2].map(|channel| middle(image, channel));
        let colours = (0..channels[0].len()).map(|i| channels.map(|channel| level(channel[i]))).collect();
        Self { caption, rows: image.extent().y, columns: image.extent().x, colours }
    }

    /// How far apart the middle sections are, in the mean over the channels: black for 0, through red, to yellow
    /// for 1. Panics where the shapes differ.
    pub fn difference(caption: &'static str, a: &Tensor, b: &Tensor) -> Self {
        assert_eq!((a.channels(), a.extent()), (b.channels(), b.extent()), "images of different shapes");
        let mut mean = vec![0.0; middle(a, 0).len()];
        for channel in 0..a.channels() {
            for (mean, (a, b)) in mean.iter_mut().zip(middle(a, channel).iter().zip(middle(b, channel))) {
                *mean += (a - b).abs();
            }
        }
        let twice = 2.0 / a.channels() as f32;
        let colours = mean.iter().map(|sum| [level(twice * sum), level(twice * sum - 1.0), 0]).collect();
        Self { caption, rows: a.extent().y, columns: a.extent().x, colours }
    }

    /// The middle section of a segmentation: each segment in a colour of its own, no segment in black. Panics where the
    /// lengths differ.
    pub fn segments(caption: &'static str, segments: &[u32], extent: Extent) -> Self {
        assert_eq!(segments.len(), extent.len(), "a segment for each voxel");
        let section = extent.y * extent.x;
        let colours = segments[extent.z / 2 * section..][..section].iter().map(|&id| colour(id)).collect();
        Self { caption, rows: extent.y, columns: extent.x, colours }
    }

    fn grey(caption: &'static str, image: &Tensor, values: impl Iterator<Item = f32>) -> Self {
        let colours = values.map(|value| [level(value); 3]).collect();
        Self { caption, rows: image.extent().y, columns: image.extent().x, colours }
    }
}

/// The values of a volume's first channel to be shown as black and white.
pub fn greys(image: &Tensor) -> (f32, f32) {
    // Of a large volume some voxels tell enough.
    let step = (image.channel(0).len() / 100_000).max(1);
    percentiles(&image.channel(0).iter().copied().step_by(step).collect::<Vec<f32>>())
}

/// The 1st and the 99th percentile.
fn percentiles(values: &[f32]) -> (f32, f32) {
    let mut sorted: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    let rank =
        |percent: usize| sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0.0);
    (rank(1), rank(99))
}

/// A bright colour that differs from that of the next ids; black for 0.
fn colour(id: u32) -> [u8; 3] {
    // Multiples of the golden ratio are spread evenly over the bits.
    let hash = id.wrapping_mul(0x9e37_79b9);
    match id {
        0 => [0; 3],
        _ => [hash >> 24, hash >> 16, hash >> 8].map(|byte| 64 + (byte & 255) as u8 / 4 * 3),
    }
}

/// The voxels of the middle section of `channel`.
fn middle(image: &Tensor, channel: usize) -> &[f32] {
    let section = image.extent().y * image.extent().x;
    &image.channel(channel)[image.extent().z / 2 * section..][..section]
}

/// 0 to 1 as 0 to 255; what is no number is 0.
fn level(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

/// Input, prediction, label and their difference, each the middle section. The input may be larger than the
/// prediction by the field of view: its centre is shown. Prediction and target have one shape and lie in 0..1.
pub fn draw(input: &Tensor, prediction: &Tensor, target: &Tensor) -> Result<Picture, PictureError> {
    side_by_side(&[
        Panel::contrast("input", &centre(input, prediction.extent())),
        Panel::unit("prediction", prediction),
        Panel::unit("label", target),
        Panel::difference("error", prediction, target),
    ])
}

/// The middle of `image` of at most the extent `extent`.
pub fn centre(image: &Tensor, extent: Extent) -> Tensor {
    let extent = extent.min(image.extent());
    let margin = image.extent() - extent;
    image.crop(Extent::new(margin.z / 2, margin.y / 2, margin.x / 2), extent)
}

/// The panels from left to right, each below its caption.
pub fn side_by_side(panels: &[Panel]) -> Result<Picture, PictureError> {
    let side = panels.iter().map(|panel| panel.rows.max(panel.columns)).max().unwrap_or(0).max(1);
    let zoom = MIN_SIDE.div_ceil(side);
    let rows = panels.iter().map(|panel| panel.rows).max().unwrap_or(0);
    let columns: usize = panels.iter().map(|panel| panel.columns * zoom + SEPARATOR).sum();
    let (width, height) = (columns + SEPARATOR, CAPTION + rows * zoom + SEPARATOR);
    let mut picture = Picture::new(width as u32, height as u32, GROUND);
    let mut left = SEPARATOR;
    let mut captions = Vec::new();
    for panel in panels {
        for row in 0..panel.rows * zoom {
            for column in 0..panel.columns * zoom {
                let colour = panel.colours[row / zoom * panel.columns + column / zoom];
                picture.set_pixel((left + column) as u32, (CAPTION + row) as u32, colour);
            }
        }
        captions.push((panel.caption, (left + panel.columns * zoom / 2) as i32));
        left += panel.columns * zoom + SEPARATOR;
    }
    let strip = caption_strip(width as u32, &captions)?;
    for y in 0..strip.height() {
        (0..strip.width()).for_each(|x| picture.set_pixel(x, y, strip.pixel(x, y)));
    }
    Ok(picture)
}

/// The captions, each centred at its column. They are drawn twice as large and reduced, so that the letters keep
/// their distances.
fn caption_strip(width: u32, captions: &[(&str, i32)]) -> Result<Picture, PictureError> {
    let mut strip = Picture::new(2 * width, 2 * CAPTION as u32, GROUND);
    strip.draw(|canvas| {
        let style = TextStyle::from((FONT, 34).into_font())
            .color(&RGBColor(240, 240, 240))
            .pos(Pos::new(HPos::Center, VPos::Center));
        for (caption, centre) in captions {
            canvas.draw(&Text::new(*caption, (2 * centre, CAPTION as i32), style.clone()))?;
        }
        Ok(())
    })?;
    Ok(strip.halved())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_shows_the_sections_at_their_place() {
        let extent = Extent::new(3, 100, 120);
        let inside = |i: usize| {
            let (y, x) = (i / 120 % 100, i % 120);
            ((y as f32 - 50.0).powi(2) + (x as f32 - 60.0).powi(2)).sqrt() < 40.0
        };
        let target =
            Tensor::from_fn(2, extent, |i| f32::from(inside(i % extent.len()) != (i >= extent.len())));
        let prediction = Tensor::from_fn(2, extent, |i| 0.1 + 0.8 * target.data()[i]);
        let field = Extent::new(3, 110, 130);
        let input = Tensor::from_fn(1, field, |i| 100.0 + (i % 130) as f32);
        let picture = draw(&input, &prediction, &target).unwrap();
        if let Some(folder) = std::env::var_os("ZNN_PICTURES") {
            picture.write_png(&std::path::Path::new(&folder).join("preview.png")).unwrap();
        }
        // 120 columns are zoomed threefold to reach 256.
        assert_eq!((picture.width(), picture.height()), (4 * (360 + 2) + 2, 26 + 300 + 2));
        let at = |panel: u32, y: u32, x: u32| picture.pixel(2 + panel * 362 + 3 * x + 1, 26 + 3 * y + 1);
        assert!(at(0, 50, 10)[0] < at(0, 50, 100)[0]);
        assert_eq!((at(1, 50, 60), at(1, 2, 2)), ([230; 3], [26; 3]));
        assert_eq!((at(2, 50, 60), at(2, 2, 2)), ([255; 3], [0; 3]));
        assert_eq!(at(3, 50, 60), [51, 0, 0]);
        let bright = (0..26).flat_map(|y| (0..362).map(move |x| (x, y)));
        assert!(bright.filter(|&(x, y)| picture.pixel(x, y)[0] > 150).count() > 30, "the caption is drawn");
    }

    #[test]
    fn three_channels_are_a_colour() {
        let image = Tensor::from_slice(3, Extent::ONE, &[1.0, 0.0, 0.6]);
        assert_eq!(Panel::unit("", &image).colours, [[255, 0, 153]]);
    }

    #[test]
    fn contrast_spreads_the_values_and_bears_constants_and_nan() {
        let image = Tensor::from_fn(1, Extent::new(1, 1, 101), |i| i as f32 * 10.0);
        let colours = Panel::contrast("", &image).colours;
        assert_eq!((colours[0], colours[1], colours[50], colours[99], colours[100]), {
            ([0; 3], [0; 3], [128; 3], [255; 3], [255; 3])
        });
        let flat = Tensor::from_fn(1, Extent::new(1, 2, 2), |i| if i == 0 { f32::NAN } else { 7.0 });
        assert_eq!(Panel::contrast("", &flat).colours, [[0; 3]; 4]);
    }

    #[test]
    fn the_difference_runs_from_black_through_red_to_yellow() {
        let a = Tensor::from_slice(1, Extent::new(1, 1, 3), &[0.5, 0.0, 1.0]);
        let b = Tensor::from_slice(1, Extent::new(1, 1, 3), &[0.5, 0.5, 0.0]);
        assert_eq!(Panel::difference("", &a, &b).colours, [[0, 0, 0], [255, 0, 0], [255, 255, 0]]);
    }

    #[test]
    fn small_and_odd_shapes_make_a_picture() {
        for extent in [Extent::ONE, Extent::new(2, 1, 700), Extent::new(1, 5, 3)] {
            let image = Tensor::zeros(1, extent);
            let picture = draw(&image, &image, &image).unwrap();
            assert!(picture.width() >= 256 && picture.height() > 26, "{extent}");
        }
    }
}
