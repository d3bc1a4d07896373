//! Compression of chunks. What a chunk decompresses to is known, so that nothing more is ever made of damaged data.

use std::io::Read;

use crc::{CRC_32_ISCSI, Crc};
use flate2::Compression;
use flate2::read::{GzEncoder, MultiGzDecoder, ZlibDecoder};

use super::blosc;

/// A step between the numbers of a chunk and its bytes on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    /// gzip.
    Gzip,
    /// zlib.
    Zlib,
    /// Zstandard.
    Zstd,
    /// An LZ4 block behind its size, as numcodecs writes it.
    Lz4,
    /// LZ4 blocks as the Java library of N5 writes them.
    Lz4Stream,
    /// Blosc with any compressor but Snappy.
    Blosc,
    /// Four bytes of a CRC-32C behind the data.
    Crc32c,
    /// Bytes of the numbers grouped by significance; of numbers of so many bytes.
    Shuffle(usize),
    /// Four bytes of HDF5's Fletcher sum behind the data, which is not compared.
    Fletcher32,
}

impl Codec {
    /// The bytes before this step, at most `limit`.
    ///
    /// # Errors
    /// Where the data are damaged: how.
    pub fn decode(self, bytes: &[u8], limit: usize) -> Result<Vec<u8>, String> {
        let damaged = |reason: &dyn std::fmt::Display| format!("damaged: {reason}");
        let read = |stream: &mut dyn Read| {
            let mut found = Vec::with_capacity(limit.min(1 << 24));
            stream.take(limit as u64 + 1).read_to_end(&mut found).map_err(|error| damaged(&error))?;
            Ok::<_, String>(found)
        };
        let found = match self {
            Self::Gzip => read(&mut MultiGzDecoder::new(bytes))?,
            Self::Zlib => read(&mut ZlibDecoder::new(bytes))?,
            Self::Zstd => zstd(bytes, limit)?,
            Self::Lz4 => {
                let (size, block) = bytes.split_first_chunk::<4>().ok_or("shorter than its size")?;
                let size = u32::from_le_bytes(*size) as usize;
                if size > limit {
                    return Err(format!("{size} bytes, expected {limit}"));
                }
                lz4_flex::block::decompress(block, size).map_err(|error| damaged(&error))?
            }
            Self::Lz4Stream => lz4_stream(bytes, limit)?,
            Self::Blosc => blosc::decode(bytes, limit)?,
            Self::Crc32c => {
                let (data, sum) = bytes.split_last_chunk::<4>().ok_or("shorter than its checksum")?;
                if crc32c(data) != u32::from_le_bytes(*sum) {
                    return Err("damaged: the checksum (CRC-32C) is another one".to_owned());
                }
                data.to_vec()
            }
            Self::Shuffle(width) => unshuffle(bytes, width),
            Self::Fletcher32 => bytes.split_last_chunk::<4>().ok_or("shorter than its checksum")?.0.to_vec(),
        };
        if found.len() > limit {
            Err(format!("more than the {limit} bytes that were expected"))
        } else {
            Ok(found)
        }
    }
}

/// The bytes compressed by gzip, at the fastest level.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut found = Vec::new();
    GzEncoder::new(bytes, Compression::fast()).read_to_end(&mut found).expect("reading memory does not fail");
    found
}

/// A frame of Zstandard.
pub(super) fn zstd(bytes: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let mut found = Vec::with_capacity(limit.min(1 << 24));
    let stream = ruzstd::decoding::StreamingDecoder::new(bytes);
    let stream = stream.map_err(|error| format!("damaged: {error}"))?;
    stream.take(limit as u64 + 1).read_to_end(&mut found).map_err(|error| format!("damaged: {error}"))?;
    Ok(found)
}

/// Blocks, each behind a magic word, a method, both sizes and a checksum, which is not compared.
fn lz4_stream(mut bytes: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    const HEAD: usize = 21;
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() {
        if !head.starts_with(b"LZ4Block") {
            return Err("damaged: no LZ4 block".to_owned());
        }
        let size =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (stored, whole) = (size(9), size(13));
        if whole == 0 {
            break;
        }
        let block = rest.get(..stored).ok_or("truncated")?;
        if whole > limit - found.len().min(limit) {
            return Err(format!("more than the {limit} bytes that were expected"));
        }
        match head[8] & 0xf0 {
            0x10 => found.extend_from_slice(block),
            _ => found.extend(
                lz4_flex::block::decompress(block, whole).map_err(|error| format!("damaged: {error}"))?,
            ),
        }
        bytes = &rest[stored..];
    }
    Ok(found)
}

/// Puts the bytes of each number beside each other again; what is less than a number stays at the end.
pub(super) fn unshuffle(bytes: &[u8], width: usize) -> Vec<u8> {
    let count = bytes.len() / width.max(1);
    let mut found = bytes.to_vec();
    for byte in 0..width {
        for (number, &value) in bytes[byte * count..(byte + 1) * count].iter().enumerate() {
            found[number * width + byte] = value;
        }
    }
    found
}

/// The CRC-32C (Castagnoli) of RFC 3720.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    CRC.checksum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let mut bytes = b"abc".to_vec();
        bytes.extend(crc32c(b"abc").to_le_bytes());
        assert_eq!(Codec::Crc32c.decode(&bytes, 3).unwrap(), b"abc");
        bytes[0] ^= 1;
        assert!(Codec::Crc32c.decode(&bytes, 3).unwrap_err().contains("checksum"));
    }

    #[test]
    fn more_than_expected_is_never_made() {
        let zeros = vec![0; 1 << 20];
        let packed = gzip(&zeros);
        assert_eq!(Codec::Gzip.decode(&packed, 1 << 20).unwrap(), zeros);
        assert!(Codec::Gzip.decode(&packed, 1000).unwrap_err().contains("more than the 1000 bytes"));
        assert!(Codec::Gzip.decode(&packed[..20], 1 << 20).is_err());
        let packed =
            ruzstd::encoding::compress_to_vec(&zeros[..], ruzstd::encoding::CompressionLevel::Fastest);
        assert_eq!(Codec::Zstd.decode(&packed, 1 << 20).unwrap(), zeros);
        assert!(Codec::Zstd.decode(&packed, 1000).unwrap_err().contains("more than the 1000 bytes"));
        let mut packed = (zeros.len() as u32).to_le_bytes().to_vec();
        packed.extend(lz4_flex::block::compress(&zeros));
        assert_eq!(Codec::Lz4.decode(&packed, 1 << 20).unwrap(), zeros);
        assert_eq!(Codec::Lz4.decode(&packed, 1000).unwrap_err(), "1048576 bytes, expected 1000");
        for codec in [Codec::Gzip, Codec::Zlib, Codec::Zstd, Codec::Lz4, Codec::Blosc, Codec::Crc32c] {
            for length in 0..40 {
                let _ = codec.decode(&vec![0xff; length], 100);
            }
            assert!(codec.decode(&[1, 2], 100).is_err(), "{codec:?}");
        }
    }

    #[test]
    fn shuffled_bytes_come_together() {
        assert_eq!(unshuffle(&[1, 3, 2, 4, 9], 2), [1, 2, 3, 4, 9]);
    }
}
