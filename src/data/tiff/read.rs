//! Reading.
//!
//! A header can claim any size. Nothing is allocated for a page before its claim was compared with the bytes
//! that the file has for it: no compression in use shrinks data by more than a known factor.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use tiff::decoder::{ChunkType, Decoder, DecodingResult, Limits};
use tiff::tags::{CompressionMethod, PlanarConfiguration, Tag};
use tiff::{ColorType, TiffError, TiffResult};

use crate::data::DataError;
use crate::volume::{Extent, Tensor};

/// Integers up to this one are exact in f32.
const EXACT: f64 = 16_777_216.0;

/// Reads a stack of gray pages: one channel, raw values, one z for each page.
///
/// # Errors
/// Names the file and the page where the file is damaged, its pages differ in size, a page is no gray image of a
/// supported type, or an integer is too large to be exact in f32.
pub fn read(path: &Path) -> Result<Tensor, DataError> {
    decode(path, open(path)?, false)
}

/// As [`read`], and 8-bit RGB pages give `r * 65536 + g * 256 + b`.
///
/// # Errors
/// As [`read`].
pub fn read_labels(path: &Path) -> Result<Tensor, DataError> {
    decode(path, open(path)?, true)
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
pub(super) fn decode<R: Read + Seek>(
    path: &Path,
    mut source: R,
    allow_rgb: bool,
) -> Result<Tensor, DataError> {
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
    let mut sections: Vec<Vec<f32>> = Vec::new();
    let mut size = None;
    let mut unclaimed_bytes = file_bytes;
    loop {
        let page = sections.len() + 1;
        let layout =
            PageLayout::of(&mut decoder, allow_rgb, &mut unclaimed_bytes).map_err(|r| fail(page, r))?;
        let found = (layout.height, layout.width);
        let first = *size.get_or_insert(found);
        if first != found {
            return Err(fail(
                page,
                format!(
                    "the page has {} x {} pixels (rows x columns), expected {} x {} like the first page",
                    found.0, found.1, first.0, first.1
                ),
            ));
        }
        sections.push(layout.decode(&mut decoder).map_err(|r| fail(page, r))?);
        if !decoder.more_images() {
            break;
        }
        decoder.next_image().map_err(|e| fail(page + 1, describe(&e)))?;
    }
    let (height, width) = size.unwrap_or_default();
    let extent = Extent::new(sections.len(), height, width);
    // Sections are freed as they are copied, so that the peak is one volume and not two.
    let mut voxels = sections.into_iter().flatten();
    Ok(Tensor::from_fn(1, extent, |_| voxels.next().unwrap_or_default()))
}

/// What the header of a page says, after it was found plausible.
struct PageLayout {
    height: usize,
    width: usize,
    samples: usize,
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
                return Err(format!("{bits} bits per voxel, expected 8, 16 or 32"));
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
        Ok(Self {
            height: height as usize,
            width: width as usize,
            samples,
            chunks,
            chunk: (chunk.1 as usize, chunk.0 as usize),
            across: across as usize,
        })
    }

    /// The voxels of the page.
    fn decode<R: Read + Seek>(&self, decoder: &mut Decoder<R>) -> Result<Vec<f32>, String> {
        let mut page = vec![0.0; self.height * self.width];
        for chunk in 0..self.chunks {
            let (row, column) =
                (chunk as usize / self.across * self.chunk.0, chunk as usize % self.across * self.chunk.1);
            let part = match decoder.get_chunk_type() {
                ChunkType::Strip => "strip",
                ChunkType::Tile => "tile",
            };
            let context = |reason: String| format!("{part} {} of {}: {reason}", chunk + 1, self.chunks);
            let values = read_chunk(decoder, chunk).map_err(|e| context(describe(&e)))?;
            let values = to_f32(values, self.samples).map_err(context)?;
            let columns = self.chunk.1.min(self.width.saturating_sub(column));
            let rows = self.chunk.0.min(self.height.saturating_sub(row));
            if values.len() != rows * columns {
                return Err(context(format!(
                    "{} voxels, expected {rows} x {columns} (rows x columns)",
                    values.len()
                )));
            }
            for (y, line) in values.chunks_exact(columns.max(1)).enumerate() {
                page[(row + y) * self.width + column..][..columns].copy_from_slice(line);
            }
        }
        Ok(page)
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
    let exact = |value: f64| {
        if value.abs() <= EXACT {
            Ok(value as f32)
        } else {
            Err(format!("the value {value} is too large, expected at most {EXACT}"))
        }
    };
    match values {
        DecodingResult::U8(v) if samples == 3 => Ok(v
            .chunks_exact(3)
            .map(|rgb| (u32::from(rgb[0]) << 16 | u32::from(rgb[1]) << 8 | u32::from(rgb[2])) as f32)
            .collect()),
        DecodingResult::U8(v) => Ok(v.into_iter().map(f32::from).collect()),
        DecodingResult::I8(v) => Ok(v.into_iter().map(f32::from).collect()),
        DecodingResult::U16(v) => Ok(v.into_iter().map(f32::from).collect()),
        DecodingResult::I16(v) => Ok(v.into_iter().map(f32::from).collect()),
        DecodingResult::U32(v) => v.into_iter().map(|v| exact(f64::from(v))).collect(),
        DecodingResult::I32(v) => v.into_iter().map(|v| exact(f64::from(v))).collect(),
        DecodingResult::F32(v) => Ok(v),
        DecodingResult::F64(v) => Ok(v.into_iter().map(|v| v as f32).collect()),
        DecodingResult::F16(v) => Ok(v.into_iter().map(f32::from).collect()),
        DecodingResult::U64(_) | DecodingResult::I64(_) => {
            Err("64-bit integers, expected 8, 16 or 32 bits".to_owned())
        }
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
