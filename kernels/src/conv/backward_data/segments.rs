//! Rows that the same taps along y reach.

use crate::conv::Geometry;
use core::ops::Range;

/// Rows of a plane, `stride` apart, that are read by the same taps along y: each by those of the first one, from
/// as many output rows further on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub first: usize,
    pub count: usize,
}

/// Cuts rows into segments of at most `most` rows.
pub(super) fn segments(
    geometry: &Geometry,
    rows: Range<usize>,
    most: usize,
) -> impl Iterator<Item = Segment> {
    let geometry = *geometry;
    let stride = geometry.stride[1];
    (rows.start..rows.end.min(rows.start + stride)).flat_map(move |first| {
        let end = rows.end;
        let taps = move |row| {
            let mut taps = geometry.taps_of(1, row).map(|(tap, _)| tap);
            let first = taps.next();
            (first, taps.last())
        };
        let mut next = first;
        core::iter::from_fn(move || {
            if next >= end {
                return None;
            }
            let (first, same) = (next, taps(next));
            while next < end && (next - first) / stride < most && taps(next) == same {
                next += stride;
            }
            Some(Segment { first, count: (next - first) / stride })
        })
    })
}
