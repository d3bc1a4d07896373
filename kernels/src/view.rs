//! Strided two-dimensional views: the form in which images reach the kernels.
//!
//! A view is `rows` runs of `cols` contiguous floats, whose starts lie `stride` floats apart. Feature maps are
//! the rows and voxels the columns, so that "maps 8..16, planes 3..5" of a `[map][z][y][x]` image is one view.

use core::marker::PhantomData;
use core::ops::Range;

/// A shared view of `rows` x `cols` floats.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    data: *const f32,
    rows: usize,
    cols: usize,
    stride: usize,
    lifetime: PhantomData<&'a [f32]>,
}

// SAFETY: a `Rows` is a set of `&[f32]`, which are Send and Sync.
unsafe impl Send for Rows<'_> {}
// SAFETY: as above.
unsafe impl Sync for Rows<'_> {}

/// An exclusive view of `rows` x `cols` floats.
#[derive(Debug)]
pub struct RowsMut<'a> {
    data: *mut f32,
    rows: usize,
    cols: usize,
    stride: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `RowsMut` is a set of disjoint `&mut [f32]`, which are Send and Sync.
unsafe impl Send for RowsMut<'_> {}
// SAFETY: as above.
unsafe impl Sync for RowsMut<'_> {}

impl<'a> Rows<'a> {
    /// All of `data` as rows of `cols` floats; its length must be a multiple of `cols`.
    pub fn new(data: &'a [f32], cols: usize) -> Self {
        let rows = data.len().checked_div(cols).unwrap_or(0);
        assert_eq!(rows * cols, data.len(), "length is not a multiple of the row length");
        Self { data: data.as_ptr(), rows, cols, stride: cols, lifetime: PhantomData }
    }

    /// A view of raw memory.
    ///
    /// # Safety
    /// For `'a`, each of the `rows` runs of `cols` floats at `data + row * stride` must be initialised and not
    /// be written; `cols <= stride` unless `rows <= 1`.
    pub unsafe fn from_raw(data: *const f32, rows: usize, cols: usize, stride: usize) -> Self {
        debug_assert!(cols <= stride || rows <= 1);
        Self { data, rows, cols, stride, lifetime: PhantomData }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The length of a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The distance between the starts of two rows.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The first float of the first row.
    pub fn as_ptr(&self) -> *const f32 {
        self.data
    }

    /// Row `row`.
    #[inline]
    pub fn row(&self, row: usize) -> &'a [f32] {
        assert!(row < self.rows);
        // SAFETY: the row is within the view, whose contract is that of `from_raw`.
        unsafe { core::slice::from_raw_parts(self.data.add(row * self.stride), self.cols) }
    }

    /// The part of the view at these rows and columns.
    pub fn part(&self, rows: Range<usize>, cols: Range<usize>) -> Rows<'a> {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        assert!(cols.start <= cols.end && cols.end <= self.cols);
        Rows {
            // wrapping: the offset of an empty part may lie outside the allocation
            data: self.data.wrapping_add(rows.start * self.stride + cols.start),
            rows: rows.len(),
            cols: cols.len(),
            stride: self.stride,
            lifetime: PhantomData,
        }
    }

    /// The whole view as one slice; its rows must be adjacent.
    pub fn contiguous(&self) -> &'a [f32] {
        assert!(self.rows <= 1 || self.cols == self.stride, "rows are not adjacent");
        // SAFETY: adjacent rows form one run, which is within the view.
        unsafe { core::slice::from_raw_parts(self.data, self.rows * self.cols) }
    }
}

impl<'a> RowsMut<'a> {
    /// All of `data` as rows of `cols` floats; its length must be a multiple of `cols`.
    pub fn new(data: &'a mut [f32], cols: usize) -> Self {
        let rows = data.len().checked_div(cols).unwrap_or(0);
        assert_eq!(rows * cols, data.len(), "length is not a multiple of the row length");
        Self { data: data.as_mut_ptr(), rows, cols, stride: cols, lifetime: PhantomData }
    }

    /// A view of raw memory.
    ///
    /// # Safety
    /// For `'a`, each of the `rows` runs of `cols` floats at `data + row * stride` must be initialised and not
    /// be reached through anything but this view; `cols <= stride` unless `rows <= 1`.
    pub unsafe fn from_raw(data: *mut f32, rows: usize, cols: usize, stride: usize) -> Self {
        debug_assert!(cols <= stride || rows <= 1);
        Self { data, rows, cols, stride, lifetime: PhantomData }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The length of a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The distance between the starts of two rows.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The first float of the first row.
    pub fn as_mut_ptr(&mut self) -> *mut f32 {
        self.data
    }

    /// Row `row`, shared.
    #[inline]
    pub fn row(&self, row: usize) -> &[f32] {
        assert!(row < self.rows);
        // SAFETY: the row is within the view, whose contract is that of `from_raw`.
        unsafe { core::slice::from_raw_parts(self.data.add(row * self.stride), self.cols) }
    }

    /// Row `row`.
    #[inline]
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows);
        // SAFETY: the row is within the view, whose contract is that of `from_raw`; `&mut self` makes it unique.
        unsafe { core::slice::from_raw_parts_mut(self.data.add(row * self.stride), self.cols) }
    }

    /// The part of the view at these rows and columns, borrowed from it.
    pub fn part(&mut self, rows: Range<usize>, cols: Range<usize>) -> RowsMut<'_> {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        assert!(cols.start <= cols.end && cols.end <= self.cols);
        RowsMut {
            // wrapping: the offset of an empty part may lie outside the allocation
            data: self.data.wrapping_add(rows.start * self.stride + cols.start),
            rows: rows.len(),
            cols: cols.len(),
            stride: self.stride,
            lifetime: PhantomData,
        }
    }

    /// The same view, shared.
    pub fn as_rows(&self) -> Rows<'_> {
        Rows { data: self.data, rows: self.rows, cols: self.cols, stride: self.stride, lifetime: PhantomData }
    }

    /// The whole view as one slice; its rows must be adjacent.
    pub fn contiguous(&mut self) -> &mut [f32] {
        assert!(self.rows <= 1 || self.cols == self.stride, "rows are not adjacent");
        // SAFETY: adjacent rows form one run, which is within the view; `&mut self` makes it unique.
        unsafe { core::slice::from_raw_parts_mut(self.data, self.rows * self.cols) }
    }
}
