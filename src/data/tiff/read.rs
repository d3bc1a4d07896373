//! Reading.
//!
//! A header can claim any size. Nothing is allocated for a page before its claim was compared with the bytes
//! that the file has for it: no compression in use shrinks data by more than a known factor.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use tiff::decoder::ifd::Value;
use tiff::decoder::{ChunkType, Decoder, DecodingResult, Limits};
use tiff::tags::{CompressionMethod, PlanarConfiguration, Tag};
use tiff::{ColorType, TiffError, TiffResult};

use crate::data::{DataError, NumberType, VoxelSize};
use crate::volume::number_type::exact;
use crate::volume::{Extent, Tensor};

/// Reads a stack of gray pages: one channel, raw values, one z for each page.
///
/// # Errors
/// Names the file and the page where the file is damaged, its pages differ in size, a page is no gray image of a
/// supported type, or an integer is too large to be exact in f32.
pub fn read(path: &Path) -> Result<Tensor, DataError> {
    decode(path, open(path)?, false)
}

fn open(path: &Path) -> Result<BufReader<File>, DataError> {
    // The system opens a folder and fails at the first read, in words about the inside of the file.
    if path.is_dir() {
        let reason = "this is a folder, expected a TIFF file".to_owned();
        return Err(DataError::Tiff { path: path.to_owned(), page: 1, reason });
    }
    File::open(path).map(BufReader::new).map_err(DataError::io("open", path))
}

/// Reads the stack in `source`, which errors call `path`.
pub(super) fn decode<R: Read + Seek>(path: &Path, source: R, allow_rgb: bool) -> Result<Tensor, DataError> {
    let mut stack = Stack::new(path, source, allow_rgb)?;
    stack.read(Extent::ZERO, stack.extent())
}

/// A stack of pages of which boxes can be read: all headers are known, no voxel is.
pub struct Stack<R: Read + Seek> {
    path: PathBuf,
    decoder: Decoder<R>,
    pages: Vec<PageLayout>,
    extent: Extent,
    numbers: NumberType,
    voxel: Option<VoxelSize>,
}

impl Stack<BufReader<File>> {
    /// Opens a stack of gray pages, or also of 8-bit RGB pages, which give `r * 65536 + g * 256 + b`.
    ///
    /// # Errors
    /// As [`read`], but for what is wrong with the voxels.
    pub fn open(path: &Path, allow_rgb: bool) -> Result<Self, DataError> {
        Self::new(path, open(path)?, allow_rgb)
    }
}

impl<R: Read + Seek> Stack<R> {
    /// The stack in `source`, which errors call `path`.
    ///
    /// # Errors
    /// As [`Stack::open`].
    pub fn new(path: &Path, mut source: R, allow_rgb: bool) -> Result<Self, DataError> {
        let fail = |page: usize, reason: String| DataError::Tiff { path: path.to_owned(), page, reason };
        let file_bytes = source
            .seek(SeekFrom::End(0))
            .and_then(|end| source.seek(SeekFrom::Start(0)).map(|_| end))
            .map_err(DataError::io("read", path))?;
        let mut limits = Limits::default();
        // Bounds the values of a tag, for which the decoder reserves 32 bytes each and the file has at least one.
        limits.decoding_buffer_size = usize::try_from(file_bytes.saturating_mul(32))
            .map_or(limits.decoding_buffer_size, |bytes| bytes.min(limits.decoding_buffer_size));
        // Strips and tiles are compared with the size of the file before they are decoded; see `PageLayout`.
        limits.intermediate_buffer_size = usize::MAX;

        let mut decoder = Decoder::new(source).map_err(|e| fail(1, describe(&e)))?.with_limits(limits);
        let voxel = voxel_size(&mut decoder);
        let mut pages: Vec<PageLayout> = Vec::new();
        let mut unclaimed_bytes = file_bytes;
        loop {
            let page = pages.len() + 1;
            let layout =
                PageLayout::of(&mut decoder, allow_rgb, &mut unclaimed_bytes).map_err(|r| fail(page, r))?;
            let first = pages.first().unwrap_or(&layout);
            if (first.height, first.width) != (layout.height, layout.width) {
                return Err(fail(
                    page,
                    format!(
                        "the page has {} x {} pixels (rows x columns), expected {} x {} like the first page",
                        layout.height, layout.width, first.height, first.width
                    ),
                ));
            }
            pages.push(layout);
            if !decoder.more_images() {
                break;
            }
            decoder.next_image().map_err(|e| fail(page + 1, describe(&e)))?;
        }
        let first = &pages[0];
        let extent = Extent::new(pages.len(), first.height, first.width);
        let numbers = first.numbers;
        Ok(Self { path: path.to_owned(), decoder, pages, extent, numbers, voxel })
    }

    /// Pages, rows and columns.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// How the voxels of the first page are stored; colours are segment ids.
    pub fn numbers(&self) -> NumberType {
        self.numbers
    }

    /// What the first page says in the way of ImageJ.
    pub fn voxel_size(&self) -> Option<&VoxelSize> {
        self.voxel.as_ref()
    }

    /// The box of extent `extent` whose first voxel is at `origin`, which has to lie in the stack.
    ///
    /// # Errors
    /// Names the file and the page where the file is damaged, or an integer is too large to be exact in f32.
    pub fn read(&mut self, origin: Extent, extent: Extent) -> Result<Tensor, DataError> {
        let mut volume = Tensor::zeros(1, extent);
        let sections = volume.data_mut().chunks_exact_mut((extent.y * extent.x).max(1));
        for (z, section) in sections.enumerate() {
            let page = origin.z + z;
            let fail = |reason| DataError::Tiff { path: self.path.clone(), page: page + 1, reason };
            self.decoder.seek_to_image(page).map_err(|e| fail(describe(&e)))?;
            let window = Window { row: origin.y, column: origin.x, rows: extent.y, columns: extent.x };
            self.pages[page].decode(&mut self.decoder, &window, section).map_err(fail)?;
        }
        Ok(volume)
    }
}

/// A part of a page.
struct Window {
    row: usize,
    column: usize,
    rows: usize,
    columns: usize,
}

/// The size of a voxel as ImageJ writes it: the spacing of the sections and the unit in the description, the resolution in
/// its tags.
fn voxel_size<R: Read + Seek>(decoder: &mut Decoder<R>) -> Option<VoxelSize> {
    let description = decoder.get_tag_ascii_string(Tag::ImageDescription).ok()?;
    if !description.starts_with("ImageJ=") {
        return None;
    }
    let value = |key: &str| {
        let mut values = description.lines().filter_map(|line| line.split_once('='));
        values.find(|(name, _)| *name == key).map(|(_, value)| value.trim())
    };
    let mut per_unit = |tag| match decoder.get_tag(tag).ok()? {
        Value::Rational(n, d) => Some(f64::from(d) / f64::from(n)),
        _ => None,
    };
    let (y, x) = (per_unit(Tag::YResolution)?, per_unit(Tag::XResolution)?);
    let z = value("spacing").map_or(Some(1.0), |z| z.parse().ok())?;
    VoxelSize::new([z, y, x], value("unit").unwrap_or_default())
}

/// What the header of a page says, after it was found plausible.
struct PageLayout {
    height: usize,
    width: usize,
    samples: usize,
    numbers: NumberType,
    chunks: u32,
    /// Rows and columns of pixels of a strip or tile.
    chunk: (usize, usize),
    /// Strips or tiles beside each other.
    across: usize,
}

impl PageLayout {
    /// The layout of the decoder's current page. `unclaimed_bytes` is what the pages before have left of the
    /// file's bytes; the data of this page are subtracted.
    fn of<R: Read + Seek>(
        decoder: &mut Decoder<R>,
        allow_rgb: bool,
        unclaimed_bytes: &mut u64,
    ) -> Result<Self, String> {
        let expected = if allow_rgb { "gray values or 8-bit RGB" } else { "gray values" };
        let color = decoder.colortype().map_err(|e| format!("{}; expected {expected}", describe(&e)))?;
        let (samples, bits) = match color {
            ColorType::Gray(bits @ (8 | 16 | 32 | 64)) => (1, bits),
            ColorType::Gray(bits) => {
                return Err(format!("{bits} bits per voxel, expected 8, 16, 32 or 64"));
            }
            ColorType::RGB(8) if allow_rgb => (3, 8),
            other => return Err(format!("the page is {}, expected {expected}", describe_color(other))),
        };
        let tag =
            |decoder: &mut Decoder<R>, tag| decoder.find_tag_unsigned::<u16>(tag).map_err(|e| describe(&e));
        let stored_samples = tag(decoder, Tag::SamplesPerPixel)?.unwrap_or(1);
        if usize::from(stored_samples) != samples {
            return Err(format!("{stored_samples} values per pixel, expected {samples}"));
        }
        let planar = tag(decoder, Tag::PlanarConfiguration)?;
        if samples > 1 && planar == Some(PlanarConfiguration::Planar.to_u16()) {
            return Err("colours are stored as separate planes, expected interleaved colours".to_owned());
        }
        let compression = tag(decoder, Tag::Compression)?
            .map_or(CompressionMethod::None, CompressionMethod::from_u16_exhaustive);
        let factor = greatest_compression(compression)
            .ok_or_else(|| format!("compression {compression:?} is not supported"))?;
        let (width, height) = decoder.dimensions().map_err(|e| describe(&e))?;
        let is_tiled = decoder.get_chunk_type() == ChunkType::Tile;
        let (tag, chunks) = if is_tiled {
            (Tag::TileByteCounts, decoder.tile_count())
        } else {
            (Tag::StripByteCounts, decoder.strip_count())
        };
        let chunks = chunks.map_err(|e| describe(&e))?;
        let stored: Vec<u64> = decoder
            .find_tag_unsigned_vec(tag)
            .map_err(|e| describe(&e))?
            .ok_or_else(|| format!("the page has no {tag:?}"))?;
        let stored_total = stored.iter().try_fold(0u64, |sum, &bytes| sum.checked_add(bytes));
        let Some(left) = stored_total.and_then(|total| unclaimed_bytes.checked_sub(total)) else {
            return Err("the page claims more bytes than the file has; is the file truncated?".to_owned());
        };
        *unclaimed_bytes = left;

        let chunk = decoder.chunk_dimensions();
        // The last strip may end early, and many writers give one strip of endless length; tiles are always whole.
        let chunk_height = if is_tiled { chunk.1 } else { chunk.1.min(height) };
        let voxel_bytes = u128::from(bits / 8) * samples as u128;
        let claims = |rows: u32, columns: u32| u128::from(rows) * u128::from(columns) * voxel_bytes;
        let page_claim = claims(height, width);
        let stored_total = stored.iter().map(|&bytes| u128::from(bytes)).sum::<u128>();
        let greatest = stored.iter().copied().max().unwrap_or(0);
        if page_claim > stored_total * factor || claims(chunk_height, chunk.0) > u128::from(greatest) * factor
        {
            return Err(format!(
                "a page of {height} x {width} pixels cannot come from {stored_total} bytes of {compression:?} \
                 data; is the file truncated?"
            ));
        }
        let across = if is_tiled { width.div_ceil(chunk.0) } else { 1 };
        let format: Option<u16> = tag_of(decoder, Tag::SampleFormat);
        Ok(Self {
            height: height as usize,
            width: width as usize,
            samples,
            numbers: number_type(bits, format, samples),
            chunks,
            chunk: (chunk.1 as usize, chunk.0 as usize),
            across: across as usize,
        })
    }

    /// The voxels of a window of the page; only strips and tiles that it meets are decoded.
    fn decode<R: Read + Seek>(
        &self,
        decoder: &mut Decoder<R>,
        window: &Window,
        voxels: &mut [f32],
    ) -> Result<(), String> {
        for chunk in 0..self.chunks {
            let (row, column) =
                (chunk as usize / self.across * self.chunk.0, chunk as usize % self.across * self.chunk.1);
            let columns = self.chunk.1.min(self.width.saturating_sub(column));
            let rows = self.chunk.0.min(self.height.saturating_sub(row));
            let first = (row.max(window.row), column.max(window.column));
            let end = (
                (row + rows).min(window.row + window.rows),
                (column + columns).min(window.column + window.columns),
            );
            if first.0 >= end.0 || first.1 >= end.1 {
                continue;
            }
            let part = match decoder.get_chunk_type() {
                ChunkType::Strip => "strip",
                ChunkType::Tile => "tile",
            };
            let context = |reason: String| format!("{part} {} of {}: {reason}", chunk + 1, self.chunks);
            let values = read_chunk(decoder, chunk).map_err(|e| context(describe(&e)))?;
            let values = to_f32(values, self.samples).map_err(context)?;
            if values.len() != rows * columns {
                return Err(context(format!(
                    "{} voxels, expected {rows} x {columns} (rows x columns)",
                    values.len()
                )));
            }
            for y in first.0..end.0 {
                let from = &values[(y - row) * columns + (first.1 - column)..][..end.1 - first.1];
                let to = (y - window.row) * window.columns + (first.1 - window.column);
                voxels[to..to + from.len()].copy_from_slice(from);
            }
        }
        Ok(())
    }
}

fn tag_of<R: Read + Seek>(decoder: &mut Decoder<R>, tag: Tag) -> Option<u16> {
    decoder.find_tag_unsigned_vec(tag).ok().flatten().and_then(|values| values.first().copied())
}

/// The type of gray values of so many bits; `format` is 1 for unsigned integers, 2 for signed ones, 3 for floats.
fn number_type(bits: u8, format: Option<u16>, samples: usize) -> NumberType {
    use NumberType::{F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
    match (bits, format) {
        _ if samples == 3 => U32,
        (8, Some(2)) => I8,
        (8, _) => U8,
        (16, Some(2)) => I16,
        // Half precision.
        (16, Some(3)) => F32,
        (16, _) => U16,
        (32, Some(2)) => I32,
        (32, Some(3)) => F32,
        (32, _) => U32,
        (_, Some(2)) => I64,
        (_, Some(3)) => F64,
        _ => U64,
    }
}

/// The decoder's own `read_chunk` has the limit that also bounds tags; the size of this chunk was found plausible.
fn read_chunk<R: Read + Seek>(decoder: &mut Decoder<R>, chunk: u32) -> TiffResult<DecodingResult> {
    let layout = decoder.image_chunk_buffer_layout(chunk)?;
    let mut values = DecodingResult::U8(Vec::new());
    values.resize_to(&layout, &Limits::unlimited())?;
    decoder.read_chunk_bytes(chunk, values.as_buffer(0).as_bytes_mut())?;
    Ok(values)
}

/// How many bytes one compressed byte can give at most; `None` for methods that are not decoded.
fn greatest_compression(method: CompressionMethod) -> Option<u128> {
    match method {
        CompressionMethod::None => Some(1),
        // A run of 128 equal bytes takes two.
        CompressionMethod::PackBits => Some(64),
        // A match of 258 bytes takes at least two bits.
        CompressionMethod::Deflate | CompressionMethod::OldDeflate => Some(1032),
        // A code of 12 bits names at most 4096 bytes.
        CompressionMethod::LZW => Some(4096),
        _ => None,
    }
}

/// The values of a strip or tile; RGB triples become segment ids.
fn to_f32(values: DecodingResult, samples: usize) -> Result<Vec<f32>, String> {
    match values {
        DecodingResult::U8(v) if samples == 3 => Ok(v
            .chunks_exact(3)
            .map(|rgb| (u32::from(rgb[0]) << 16 | u32::from(rgb[1]) << 8 | u32::from(rgb[2])) as f32)
            .collect()),
        DecodingResult::U8(v) => Ok(v.into_iter().map(f32::from).collect()),
        DecodingResult::I8(v) => Ok(v.into_iter().map(f32::from).collect()),
        DecodingResult::U16(v) => Ok(v.into_iter().map(f32::from).collect()),
        DecodingResult::I16(v) => Ok(v.into_iter().map(f32::from).collect()),
        DecodingResult::U32(v) => v.into_iter().map(|v| exact(i128::from(v))).collect(),
        DecodingResult::I32(v) => v.into_iter().map(|v| exact(i128::from(v))).collect(),
        DecodingResult::F32(v) => Ok(v),
        DecodingResult::F64(v) => Ok(v.into_iter().map(|v| v as f32).collect()),
        DecodingResult::F16(v) => Ok(v.into_iter().map(f32::from).collect()),
        DecodingResult::U64(v) => v.into_iter().map(|v| exact(i128::from(v))).collect(),
        DecodingResult::I64(v) => v.into_iter().map(|v| exact(i128::from(v))).collect(),
    }
}

fn describe_color(color: ColorType) -> String {
    let bits = color.bit_depth();
    match color {
        ColorType::RGB(_) => format!("a colour image (RGB, {bits} bits)"),
        ColorType::RGBA(_) => format!("a colour image (RGBA, {bits} bits)"),
        ColorType::Palette(_) => "a colour image with a palette".to_owned(),
        other => format!("an image of type {other:?}"),
    }
}

/// The decoder's error in the words of somebody who has a file and wants to know what is wrong with it.
fn describe(error: &TiffError) -> String {
    match error {
        TiffError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the file ends in the middle of the data; is it truncated?".to_owned()
        }
        TiffError::FormatError(
            tiff::TiffFormatError::TiffSignatureNotFound | tiff::TiffFormatError::TiffSignatureInvalid,
        ) => "this is not a TIFF file".to_owned(),
        TiffError::LimitsExceeded | TiffError::IntSizeError => {
            "the header claims sizes that cannot be true; is the file damaged?".to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
