//! RGB pictures with text, written as PNG.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Once;

use epaint_default_fonts::UBUNTU_LIGHT;
use plotters::coord::Shift;
use plotters::prelude::{BitMapBackend, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::style::{FontStyle, register_font};

/// The family name of the font that the program carries; no font of the machine is used.
pub(super) const FONT: &str = "sans-serif";

/// A picture cannot be drawn or written.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The system refuses the file.
    #[error("{}: cannot write the picture", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The drawing library refuses.
    #[error("cannot draw the picture: {0}")]
    Draw(String),
}

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for PictureError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        PictureError::Draw(error.to_string())
    }
}

/// Rows of RGB pixels, 8 bits each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

/// What the drawing library draws on.
pub(super) type Canvas<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// Makes the font that the program carries known to the drawing library, as `sans-serif`.
pub fn register_fonts() {
    static FONT_IS_KNOWN: Once = Once::new();
    FONT_IS_KNOWN.call_once(|| {
        // Only a damaged font is refused, and this one is part of the program.
        register_font(FONT, FontStyle::Normal, UBUNTU_LIGHT)
            .unwrap_or_else(|_| unreachable!("the font is whole"));
    });
}

impl Picture {
    /// All pixels of one colour.
    pub fn new(width: u32, height: u32, colour: [u8; 3]) -> Self {
        Self { width, height, pixels: colour.repeat(width as usize * height as usize) }
    }

    /// Pixels from left to right.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels from top to bottom.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The colour of a pixel. Panics outside of the picture.
    pub fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        let at = self.position(x, y);
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }

    /// Sets the colour of a pixel. Panics outside of the picture.
    pub fn set_pixel(&mut self, x: u32, y: u32, colour: [u8; 3]) {
        let at = self.position(x, y);
        self.pixels[at..at + 3].copy_from_slice(&colour);
    }

    fn position(&self, x: u32, y: u32) -> usize {
        assert!(x < self.width && y < self.height, "pixel {x},{y} of {} x {}", self.width, self.height);
        3 * (y as usize * self.width as usize + x as usize)
    }

    /// Draws on the picture with `draw`.
    pub(super) fn draw(
        &mut self,
        draw: impl FnOnce(&Canvas<'_>) -> Result<(), PictureError>,
    ) -> Result<(), PictureError> {
        register_fonts();
        let area =
            BitMapBackend::with_buffer(&mut self.pixels, (self.width, self.height)).into_drawing_area();
        draw(&area)?;
        area.present()?;
        Ok(())
    }

    /// Half the width and height, each pixel the mean of four: smooth lines out of a picture drawn at twice its size.
    pub fn halved(&self) -> Self {
        let mut half = Self::new(self.width / 2, self.height / 2, [0; 3]);
        for y in 0..half.height {
            for x in 0..half.width {
                let corners =
                    [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(dy, dx)| self.pixel(2 * x + dx, 2 * y + dy));
                let mean = |c: usize| (corners.iter().map(|pixel| u32::from(pixel[c])).sum::<u32>() + 2) / 4;
                half.set_pixel(x, y, [mean(0) as u8, mean(1) as u8, mean(2) as u8]);
            }
        }
        half
    }

    /// The pictures below each other, from the left.
    pub fn stacked(pictures: &[Self]) -> Self {
        let width = pictures.iter().map(Self::width).max().unwrap_or(1);
        let height = pictures.iter().map(Self::height).sum::<u32>().max(1);
        let mut all = Self::new(width, height, [255; 3]);
        let mut top = 0;
        for picture in pictures {
            for y in 0..picture.height {
                (0..picture.width).for_each(|x| all.set_pixel(x, top + y, picture.pixel(x, y)));
            }
            top += picture.height;
        }
        all
    }

    /// Writes the picture as PNG; a reader sees the old file or the new one, never a part.
    pub fn write_png(&self, path: &Path) -> Result<(), PictureError> {
        let partial = path.with_extension("png.partial");
        self.encode(&partial)
            .and_then(|()| std::fs::rename(&partial, path))
            .map_err(|source| PictureError::Write { path: path.to_owned(), source })
    }

    fn encode(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        let mut encoder = png::Encoder::new(&mut file, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()?;
        file.flush()
    }

    /// The picture in a PNG file as [`Picture::write_png`] writes it.
    #[cfg(test)]
    pub(super) fn read_png(path: &Path) -> Self {
        let mut reader =
            png::Decoder::new(io::BufReader::new(File::open(path).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
        Self { width: info.width, height: info.height, pixels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_survive_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let mut picture = Picture::new(5, 3, [10, 20, 30]);
        picture.set_pixel(4, 2, [255, 0, 1]);
        picture.write_png(&path).unwrap();
        assert_eq!(Picture::read_png(&path), picture);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no partial file is left");
    }

    #[test]
    fn stacking_keeps_each_picture() {
        let (a, b) = (Picture::new(2, 1, [1; 3]), Picture::new(3, 2, [2; 3]));
        let all = Picture::stacked(&[a, b]);
        assert_eq!((all.width(), all.height()), (3, 3));
        assert_eq!((all.pixel(1, 0), all.pixel(2, 0), all.pixel(2, 2)), ([1; 3], [255; 3], [2; 3]));
    }

    #[test]
    fn halving_takes_the_mean_of_four() {
        let mut picture = Picture::new(4, 2, [0; 3]);
        for (x, y, value) in [(2, 0, 10), (3, 0, 20), (2, 1, 30), (3, 1, 40)] {
            picture.set_pixel(x, y, [value, 0, 255]);
        }
        let half = picture.halved();
        assert_eq!((half.width(), half.height()), (2, 1));
        assert_eq!((half.pixel(0, 0), half.pixel(1, 0)), ([0; 3], [25, 0, 255]));
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_with_the_path() {
        let error = Picture::new(1, 1, [0; 3]).write_png(Path::new("/nowhere/a.png")).unwrap_err();
        assert_eq!(error.to_string(), "/nowhere/a.png: cannot write the picture");
    }
}
