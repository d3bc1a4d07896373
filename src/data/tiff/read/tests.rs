//! Files made by hand, tag by tag, and by the encoder, whole and damaged.

use std::io::Cursor;
use std::sync::LazyLock;

use proptest::prelude::*;
use tiff::encoder::colortype::{
    ColorType as Encoded, Gray8, Gray16, Gray32, Gray32Float, GrayI16, RGB8, RGBA8,
};
use tiff::encoder::{Compression, DeflateLevel, TiffEncoder, TiffValue};

use super::*;

fn decode_bytes(bytes: &[u8], allow_rgb: bool) -> Result<Tensor, DataError> {
    decode(Path::new("some/stack.tif"), Cursor::new(bytes), allow_rgb)
}

fn error(bytes: &[u8]) -> String {
    let text = decode_bytes(bytes, false).expect_err("a damaged file").to_string();
    assert!(text.starts_with("some/stack.tif, page "), "{text}");
    text
}

/// Pages written by the encoder.
fn encode<C: Encoded>(compression: Compression, (width, height): (u32, u32), pages: &[&[C::Inner]]) -> Vec<u8>
where
    [C::Inner]: TiffValue,
{
    let mut file = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut file).unwrap().with_compression(compression);
    for page in pages {
        encoder.write_image::<C>(width, height, page).unwrap();
    }
    file.into_inner()
}

const COMPRESSIONS: [Compression; 4] = [
    Compression::Uncompressed,
    Compression::Lzw,
    Compression::Deflate(DeflateLevel::Balanced),
    Compression::Packbits,
];

/// For messages.
fn method(compression: &Compression) -> usize {
    COMPRESSIONS.iter().position(|c| c == compression).unwrap()
}

/// A page as a table of tags, each a list of 32-bit numbers; tag 273 or 324 (offsets) is added for the chunks.
struct Page {
    tags: Vec<(u16, Vec<u32>)>,
    chunks: Vec<Vec<u8>>,
}

impl Page {
    fn gray8(width: u32, height: u32, chunks: Vec<Vec<u8>>) -> Self {
        let counts = chunks.iter().map(|c| c.len() as u32).collect();
        let tags =
            vec![(256, vec![width]), (257, vec![height]), (258, vec![8]), (259, vec![1]), (262, vec![1])];
        let mut page = Self { tags, chunks };
        page.set(277, vec![1]);
        page.set(279, counts);
        page
    }

    fn tiled(width: u32, height: u32, tile: (u32, u32), chunks: Vec<Vec<u8>>) -> Self {
        let mut page = Self::gray8(width, height, chunks);
        let (_, counts) = page.tags.pop().unwrap();
        page.set(322, vec![tile.0]);
        page.set(323, vec![tile.1]);
        page.set(325, counts);
        page
    }

    fn set(&mut self, tag: u16, values: Vec<u32>) {
        self.tags.retain(|(t, _)| *t != tag);
        self.tags.push((tag, values));
    }
}

/// A classic TIFF file of these pages.
fn build(pages: &[Page], big_endian: bool) -> Vec<u8> {
    let word = |v: u32| if big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
    let short = |v: u16| if big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
    let mut file = if big_endian { b"MM".to_vec() } else { b"II".to_vec() };
    file.extend(short(42));
    let mut link = file.len();
    file.extend(word(0));
    for page in pages {
        let mut offsets = Vec::new();
        for chunk in &page.chunks {
            offsets.push(file.len() as u32);
            file.extend(chunk);
        }
        let is_tiled = page.tags.iter().any(|(tag, _)| *tag == 322);
        let mut tags = page.tags.clone();
        tags.push((if is_tiled { 324 } else { 273 }, offsets));
        tags.sort();
        let mut entries = Vec::new();
        for (tag, values) in &tags {
            entries.extend(short(*tag));
            entries.extend(short(4));
            entries.extend(word(values.len() as u32));
            if values.len() == 1 {
                entries.extend(word(values[0]));
            } else {
                entries.extend(word(file.len() as u32));
                values.iter().for_each(|&v| file.extend(word(v)));
            }
        }
        let directory = file.len() as u32;
        file[link..link + 4].copy_from_slice(&word(directory));
        file.extend(short(tags.len() as u16));
        file.extend(entries);
        link = file.len();
        file.extend(word(0));
    }
    file
}

#[test]
fn every_type_and_compression() {
    let extent = Extent::new(2, 5, 7);
    for compression in COMPRESSIONS {
        let u8s: Vec<u8> = (0..70).map(|i| (i * 3 / 10 * 10) as u8).collect();
        let file = encode::<Gray8>(compression, (7, 5), &[&u8s[..35], &u8s[35..]]);
        let expected = Tensor::from_fn(1, extent, |i| f32::from(u8s[i]));
        assert_eq!(decode_bytes(&file, false).unwrap(), expected, "method {}", method(&compression));

        let u16s: Vec<u16> = (0..70).map(|i| i * 900).collect();
        let file = encode::<Gray16>(compression, (7, 5), &[&u16s[..35], &u16s[35..]]);
        let expected = Tensor::from_fn(1, extent, |i| f32::from(u16s[i]));
        assert_eq!(decode_bytes(&file, true).unwrap(), expected, "method {}", method(&compression));

        let i16s: Vec<i16> = (-35..35).map(|i| i * 900).collect();
        let file = encode::<GrayI16>(compression, (7, 5), &[&i16s[..35], &i16s[35..]]);
        let expected = Tensor::from_fn(1, extent, |i| f32::from(i16s[i]));
        assert_eq!(decode_bytes(&file, false).unwrap(), expected, "method {}", method(&compression));

        let f32s: Vec<f32> = (0..70).map(|i| i as f32 * 0.37 - 9.0).collect();
        let file = encode::<Gray32Float>(compression, (7, 5), &[&f32s[..35], &f32s[35..]]);
        assert_eq!(decode_bytes(&file, false).unwrap(), Tensor::from_slice(1, extent, &f32s));
    }
}

#[test]
fn a_page_that_compresses_well_is_plausible() {
    for compression in COMPRESSIONS {
        let page = vec![255; 1500 * 1500];
        let file = encode::<Gray8>(compression, (1500, 1500), &[&page]);
        assert!(
            decode_bytes(&file, false).unwrap().data().iter().all(|&v| v == 255.0),
            "method {}",
            method(&compression)
        );
    }
}

#[test]
fn labels_are_exact_or_refused() {
    let rgb = [1, 2, 3, 0, 0, 255, 255, 255, 255, 0, 0, 0];
    let file = encode::<RGB8>(Compression::Lzw, (2, 2), &[&rgb]);
    assert_eq!(decode_bytes(&file, true).unwrap().data(), [66051.0, 255.0, 16_777_215.0, 0.0]);
    let text = error(&file);
    assert!(text.contains("colour image (RGB, 8 bits), expected gray values"), "{text}");
    let file = encode::<RGBA8>(Compression::Uncompressed, (1, 1), &[&[1, 2, 3, 4]]);
    let text = decode_bytes(&file, true).unwrap_err().to_string();
    assert!(text.contains("RGBA") && text.contains("8-bit RGB"), "{text}");

    let file = encode::<Gray32>(Compression::Uncompressed, (2, 1), &[&[16_777_216, 5]]);
    assert_eq!(decode_bytes(&file, true).unwrap().data(), [16_777_216.0, 5.0]);
    let file = encode::<Gray32>(Compression::Uncompressed, (2, 1), &[&[16_777_217, 5]]);
    assert!(error(&file).contains("16777217 is too large"));
}

#[test]
fn strips_tiles_and_byte_orders() {
    let value = |y: usize, x: usize| (y * 10 + x) as u8;
    let expected = Tensor::from_fn(1, Extent::new(1, 5, 7), |i| f32::from(value(i / 7, i % 7)));
    let rows = |from: usize, to: usize| -> Vec<u8> {
        (from..to).flat_map(|y| (0..7).map(move |x| value(y, x))).collect()
    };
    // Tiles of 4 x 3 (columns x rows) stick out at the right and at the bottom.
    let tile = |ty: usize, tx: usize| -> Vec<u8> {
        (0..3).flat_map(|y| (0..4).map(move |x| value(ty * 3 + y, tx * 4 + x))).collect()
    };
    for big_endian in [false, true] {
        let mut strips = Page::gray8(7, 5, vec![rows(0, 2), rows(2, 4), rows(4, 5)]);
        strips.set(278, vec![2]);
        assert_eq!(decode_bytes(&build(&[strips], big_endian), false).unwrap(), expected);
        let tiles = vec![tile(0, 0), tile(0, 1), tile(1, 0), tile(1, 1)];
        let tiled = Page::tiled(7, 5, (4, 3), tiles);
        assert_eq!(decode_bytes(&build(&[tiled], big_endian), false).unwrap(), expected);
    }
}

#[test]
fn errors_name_the_page_and_what_was_expected() {
    let page = |w: u32, h: u32| Page::gray8(w, h, vec![vec![1; (w * h) as usize]]);
    let text = error(&build(&[page(4, 3), page(4, 3), page(3, 4)], false));
    assert!(text.contains("page 3: ") && text.contains("4 x 3") && text.contains("expected 3 x 4"), "{text}");

    assert!(error(b"").contains("page 1"));
    assert!(error(b"\x89PNG\r\n\x1a\n").contains("not a TIFF file"));
    let good = build(&[page(40, 30), page(40, 30)], false);
    for cut in [good.len() - 1, good.len() / 2, 100, 9, 5] {
        let text = error(&good[..cut]);
        assert!(text.contains("truncated") || text.contains("ends in the middle"), "{cut}: {text}");
    }

    let mut bits = page(4, 4);
    bits.set(258, vec![1]);
    assert!(error(&build(&[bits], false)).contains("1 bits per voxel, expected 8, 16, 32 or 64"));
    let mut jpeg = page(4, 4);
    jpeg.set(259, vec![7]);
    assert!(error(&build(&[jpeg], false)).contains("ModernJPEG is not supported"));
    let mut palette = page(4, 4);
    palette.set(262, vec![3]);
    assert!(error(&build(&[palette], false)).contains("expected gray values"));
}

#[test]
fn absurd_headers_allocate_nothing() {
    let mut huge = Page::gray8(4, 4, vec![vec![1; 16]]);
    huge.set(256, vec![u32::MAX]);
    huge.set(257, vec![u32::MAX]);
    let text = error(&build(&[huge], false));
    assert!(text.contains("sizes that cannot be true"), "{text}");
    for compression in [5, 8, 32773] {
        let mut bomb = Page::gray8(1_000_000, 1_000_000, vec![vec![1; 16]]);
        bomb.set(259, vec![compression]);
        let text = error(&build(&[bomb], false));
        assert!(text.contains("cannot come from 16 bytes"), "{text}");
    }
    let mut liar = Page::gray8(1000, 1000, vec![vec![1; 16]]);
    liar.set(279, vec![1_000_000]);
    assert!(error(&build(&[liar], false)).contains("claims more bytes than the file has"));
    // Each page by itself is plausible, but both claim the same bytes.
    let mut pages = [0, 1].map(|_| Page::gray8(50, 20, vec![vec![7; 1000]]));
    pages[1].chunks[0].clear();
    assert!(error(&build(&pages, false)).contains("page 2: the page claims more bytes"));
    // A chain of pages that bites its tail.
    let mut cycle = build(&[Page::gray8(2, 2, vec![vec![1; 4]])], false);
    let (end, directory) = (cycle.len(), cycle[4..8].to_vec());
    cycle[end - 4..].copy_from_slice(&directory);
    assert!(error(&cycle).contains("cycle"));
}

/// Real microscopy (ISBI 2012, not part of the repository), where it is at hand.
#[test]
fn isbi_2012() {
    let folder = std::env::var("ZNN_ISBI_DIR").unwrap_or_else(|_| "../shared/data/isbi2012".to_owned());
    let folder = Path::new(&folder);
    if !folder.is_dir() {
        println!("skipped: {} is absent (ZNN_ISBI_DIR)", folder.display());
        return;
    }
    for (name, sections) in [("train", 20), ("val", 4)] {
        let image = read(&folder.join(format!("{name}-volume.tif"))).unwrap();
        let label = {
            let path = folder.join(format!("{name}-labels.tif"));
            decode(&path, open(&path).unwrap(), true).unwrap()
        };
        assert_eq!(image.extent(), Extent::new(sections, 512, 512));
        assert_eq!(label.extent(), image.extent());
        assert!(image.data().iter().all(|v| (0.0..=255.0).contains(v)));
        assert!(label.data().iter().all(|&v| v == 0.0 || v == 255.0));
        let membrane = label.data().iter().filter(|&&v| v == 0.0).count() as f64 / label.data().len() as f64;
        assert!((0.2..0.24).contains(&membrane), "{name}: {membrane}");
    }
}

/// Small files of all kinds, to be damaged.
static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let bytes: Vec<u8> = (0..96).map(|i| (i / 5) as u8).collect();
    let floats: Vec<f32> = (0..48).map(|i| i as f32).collect();
    let mut seeds = Vec::new();
    for compression in COMPRESSIONS {
        seeds.push(encode::<Gray8>(compression, (8, 6), &[&bytes[..48], &bytes[48..]]));
        seeds.push(encode::<RGB8>(compression, (8, 4), &[&bytes]));
        seeds.push(encode::<Gray32Float>(compression, (8, 6), &[&floats]));
    }
    let tiles = (0..4).map(|i| vec![i; 12]).collect();
    seeds.push(build(&[Page::tiled(7, 5, (4, 3), tiles)], true));
    let mut strips = Page::gray8(7, 5, vec![vec![1; 14], vec![2; 14], vec![3; 7]]);
    strips.set(278, vec![2]);
    seeds.push(build(&[strips, Page::gray8(7, 5, vec![vec![9; 35]])], false));
    seeds
});

proptest! {
    // At least; PROPTEST_CASES asks for more.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(4000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever happens to the bytes, there is a volume or an error, and soon.
    #[test]
    fn damaged_files_never_panic(
        seed in 0usize..14,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        allow_rgb: bool,
    ) {
        let mut bytes = SEEDS[seed].clone();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(volume) = decode_bytes(&bytes, allow_rgb) {
            prop_assert!(volume.data().len() <= bytes.len() * 4096);
        }
    }

    #[test]
    fn noise_is_no_tiff(mut bytes in prop::collection::vec(any::<u8>(), 0..300), is_big: bool) {
        if bytes.len() > 4 {
            bytes[..4].copy_from_slice(if is_big { b"II\x2b\0" } else { b"MM\0\x2a" });
        }
        let _ = decode_bytes(&bytes, true);
    }
}
