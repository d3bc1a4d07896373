//! The container of Blosc 1: blocks that are shuffled and then compressed, in parts or as a whole. Read only.
//!
//! The format is described in `README_CHUNK_FORMAT.rst` of c-blosc.

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::codec;

const HEADER: usize = 16;
/// The smallest part of a block that is compressed by itself, in numbers.
const LEAST_SPLIT: usize = 128;
/// The widest numbers whose bytes are compressed apart.
const WIDEST_SPLIT: usize = 16;

/// The bytes in the container, at most `limit`.
///
/// # Errors
/// Where it is damaged or compressed in a way that is not known: how.
pub fn decode(bytes: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let head = bytes.first_chunk::<HEADER>().ok_or("shorter than a Blosc header")?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    let (flags, width) = (head[2], usize::from(head[3]));
    let (size, block_size, stored) = (word(4), word(8), word(12));
    if size > limit {
        return Err(format!("{size} bytes, expected {limit}"));
    }
    let bytes = bytes.get(..stored).ok_or("truncated")?;
    if flags & 2 != 0 {
        let rest = bytes.get(HEADER..).unwrap_or_default();
        return rest.get(..size).map(<[u8]>::to_vec).ok_or_else(|| "truncated".to_owned());
    }
    if size == 0 {
        return Ok(Vec::new());
    }
    if block_size == 0 || width == 0 {
        return Err("damaged: blocks or numbers of no bytes".to_owned());
    }
    let format = Format {
        compressor: flags >> 5,
        width,
        is_shuffled: flags & 1 != 0,
        is_bit_shuffled: flags & 4 != 0,
        is_split: flags & 16 == 0 && width <= WIDEST_SPLIT && block_size / width >= LEAST_SPLIT,
    };
    let mut found = Vec::with_capacity(size);
    for block in 0..size.div_ceil(block_size) {
        let at = HEADER + 4 * block;
        let start = bytes.get(at..at + 4).ok_or("truncated")?;
        let start = u32::from_le_bytes([start[0], start[1], start[2], start[3]]) as usize;
        let length = block_size.min(size - found.len());
        let data = bytes.get(start..).ok_or("truncated")?;
        found.extend(format.block(data, length, length == block_size)?);
    }
    Ok(found)
}

struct Format {
    compressor: u8,
    width: usize,
    is_shuffled: bool,
    is_bit_shuffled: bool,
    is_split: bool,
}

impl Format {
    /// A block of `length` bytes, whose data begin with `data`.
    fn block(&self, mut data: &[u8], length: usize, is_whole: bool) -> Result<Vec<u8>, String> {
        let parts = if self.is_split && is_whole { self.width } else { 1 };
        if !length.is_multiple_of(parts) {
            return Err("damaged: a block cannot be split".to_owned());
        }
        let mut block = Vec::with_capacity(length);
        for _ in 0..parts {
            let (stored, rest) = data.split_first_chunk::<4>().ok_or("truncated")?;
            let stored = u32::from_le_bytes(*stored) as usize;
            let part = rest.get(..stored).ok_or("truncated")?;
            let expected = length / parts;
            let found = if stored == expected { part.to_vec() } else { self.part(part, expected)? };
            if found.len() != expected {
                return Err(format!("damaged: a part of {} bytes, expected {expected}", found.len()));
            }
            block.extend(found);
            data = &rest[stored..];
        }
        Ok(if self.is_bit_shuffled {
            bit_unshuffle(block, self.width)
        } else if self.is_shuffled && self.width > 1 {
            codec::unshuffle(&block, self.width)
        } else {
            block
        })
    }

    fn part(&self, part: &[u8], expected: usize) -> Result<Vec<u8>, String> {
        match self.compressor {
            0 => blosclz(part, expected),
            1 => lz4_flex::block::decompress(part, expected).map_err(|error| format!("damaged: {error}")),
            3 => {
                let mut found = Vec::new();
                let mut stream = ZlibDecoder::new(part).take(expected as u64 + 1);
                stream.read_to_end(&mut found).map_err(|error| format!("damaged: {error}"))?;
                Ok(found)
            }
            4 => codec::zstd(part, expected),
            other => Err(format!("Blosc compressor {other}, expected BloscLZ, LZ4, zlib or Zstandard")),
        }
    }
}

/// Bits of the same significance lie together, of eight numbers in a byte. Of another number of numbers they are as they
/// were.
fn bit_unshuffle(bytes: Vec<u8>, width: usize) -> Vec<u8> {
    let count = bytes.len() / width;
    if !count.is_multiple_of(8) {
        return bytes;
    }
    let mut found = vec![0; bytes.len()];
    let rows = count / 8;
    for bit in 0..8 * width {
        for (group, &packed) in bytes[bit * rows..(bit + 1) * rows].iter().enumerate() {
            for number in 0..8 {
                found[(8 * group + number) * width + bit / 8] |= (packed >> number & 1) << (bit % 8);
            }
        }
    }
    found[count * width..].copy_from_slice(&bytes[count * width..]);
    found
}

/// BloscLZ, of the family of FastLZ: literals and matches by turns.
fn blosclz(bytes: &[u8], expected: usize) -> Result<Vec<u8>, String> {
    const FAR: usize = 8191;
    let mut found: Vec<u8> = Vec::with_capacity(expected);
    let mut input = bytes.iter().copied();
    let mut control = usize::from(input.next().ok_or("truncated")? & 31);
    loop {
        let mut next = || input.next().map(usize::from).ok_or("truncated");
        if control >= 32 {
            let mut length = (control >> 5) - 1;
            let mut offset = (control & 31) << 8;
            if length == 6 {
                loop {
                    let more = next()?;
                    length += more;
                    if more != 255 {
                        break;
                    }
                }
            }
            let low = next()?;
            offset += low;
            if offset == (31 << 8) + 255 {
                offset = (next()? << 8) + next()? + FAR;
            }
            let start = found.len().checked_sub(offset + 1).ok_or("damaged: a match before the begin")?;
            if found.len() + length + 3 > expected {
                return Err(format!("damaged: more than {expected} bytes"));
            }
            for i in 0..length + 3 {
                found.push(found[start + i]);
            }
        } else {
            for _ in 0..=control {
                found.push(next()? as u8);
            }
            if found.len() > expected {
                return Err(format!("damaged: more than {expected} bytes"));
            }
        }
        match input.next() {
            Some(byte) => control = usize::from(byte),
            None => return Ok(found),
        }
    }
}
