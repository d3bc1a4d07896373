//! What a task sees of memory.

use znn_kernels::{Rows, RowsMut};

/// The memory of one running task: what it declared, in the order of its declarations.
pub struct Views<'a> {
    /// The regions that it reads.
    pub reads: Reads<'a>,
    /// The regions that it writes.
    pub writes: Writes<'a>,
    /// Its worker's private memory, of the declared length and undefined content.
    pub scratch: &'a mut [f32],
    /// The contribution to be overwritten, or the completed sum; empty where none was declared.
    pub sum: &'a mut [f32],
}

/// One declared region, with its place in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub start: *mut f32,
    pub rows: usize,
    pub cols: usize,
    pub stride: usize,
}

/// The regions that a task reads.
pub struct Reads<'a> {
    places: &'a dyn Fn(usize) -> Place,
    count: usize,
}

/// The regions that a task writes. Not `Clone`: each is handed out once.
pub struct Writes<'a> {
    places: &'a dyn Fn(usize) -> Place,
    count: usize,
}

impl<'a> Reads<'a> {
    /// # Safety
    /// For `'a`, nobody writes the places `0..count`, which must be initialised.
    #[allow(unsafe_code)]
    pub(super) unsafe fn new(places: &'a dyn Fn(usize) -> Place, count: usize) -> Self {
        Self { places, count }
    }

    /// All of them; `N` must be the number declared.
    #[allow(unsafe_code)]
    pub fn take<const N: usize>(self) -> [Rows<'a>; N] {
        assert_eq!(N, self.count, "the number of regions declared as read");
        std::array::from_fn(|i| {
            let place = (self.places)(i);
            // SAFETY: the contract of `new`.
            unsafe { Rows::from_raw(place.start, place.rows, place.cols, place.stride) }
        })
    }

    /// One after another, in the order of their declarations.
    #[allow(unsafe_code)]
    pub fn each(self) -> impl Iterator<Item = Rows<'a>> {
        (0..self.count).map(move |i| {
            let place = (self.places)(i);
            // SAFETY: the contract of `new`.
            unsafe { Rows::from_raw(place.start, place.rows, place.cols, place.stride) }
        })
    }
}

impl<'a> Writes<'a> {
    /// # Safety
    /// For `'a`, the places `0..count` are disjoint, initialised, and reached through nothing else.
    #[allow(unsafe_code)]
    pub(super) unsafe fn new(places: &'a dyn Fn(usize) -> Place, count: usize) -> Self {
        Self { places, count }
    }

    /// All of them; `N` must be the number declared.
    #[allow(unsafe_code)]
    pub fn take<const N: usize>(self) -> [RowsMut<'a>; N] {
        assert_eq!(N, self.count, "the number of regions declared as written");
        std::array::from_fn(|i| {
            let place = (self.places)(i);
            // SAFETY: the contract of `new`; `self` is consumed, so that each place is handed out once.
            unsafe { RowsMut::from_raw(place.start, place.rows, place.cols, place.stride) }
        })
    }

    /// One after another, in the order of their declarations.
    #[allow(unsafe_code)]
    pub fn each(self) -> impl Iterator<Item = RowsMut<'a>> {
        (0..self.count).map(move |i| {
            let place = (self.places)(i);
            // SAFETY: the contract of `new`; `self` is consumed, so that each place is handed out once.
            unsafe { RowsMut::from_raw(place.start, place.rows, place.cols, place.stride) }
        })
    }
}
