//! The transform of the inputs (B'), or of gradients of the outputs (A), along x, then y, then z.
//!
//! Each lane is its own tile. Rows of the image are taken apart into vectors of "element e of so many tiles" once, for all
//! tiles along y and z that share the row; the tiles of a group lie side by side in the lanes, whatever its box.

use super::axis::{Elements, Gradients, Inputs, with_axis};
use super::group::Group;
use super::shape::Shape;
use crate::vector::{Vector, prefetch};

/// Runs an expression with what a tile of the shape has along an axis as the type `$elements`.
macro_rules! with_elements {
    ($shape:expr, $axis:literal, $elements:ident => $body:expr) => {
        if $shape.is_gradient() {
            with_axis!($shape.tile[$axis], $shape.kernel[$axis], A => {
                type $elements = Gradients<A>;
                $body
            })
        } else {
            with_axis!($shape.tile[$axis], $shape.kernel[$axis], A => {
                type $elements = Inputs<A>;
                $body
            })
        }
    };
}

/// One input map of a group of tiles.
#[derive(Debug)]
pub(crate) struct Input {
    pub shape: Shape,
    pub group: Group,
    /// The map.
    pub image: *const f32,
    /// The map that is transformed next, to be fetched in time.
    pub next: *const f32,
    /// The first point: `[point][tile]`.
    pub to: *mut f32,
    /// Distance between points.
    pub point: usize,
    /// [`scratch_len`] floats.
    pub scratch: *mut f32,
}

/// The places of what is between the steps of one phase.
struct Layout {
    /// Floats of a row of inputs that are read, the last ones for nothing.
    row: usize,
    /// Distance between staged rows; grows with the number of tiles, as all sizes below do.
    pitch: usize,
    /// Rows of inputs of a plane.
    rows: usize,
    /// Distance between points along x of a row of tiles, transformed along x.
    x_point: usize,
    /// Distance between points of a plane, transformed along x and y.
    xy_point: usize,
    /// Planes of inputs.
    planes: usize,
}

impl Layout {
    fn new(shape: &Shape, tiles: [usize; 3], lanes: usize) -> Self {
        let [planes, rows, _] = [0, 1, 2].map(|axis| shape.elements_along(axis, tiles[axis]));
        let [_, y, x] = tiles;
        let width = shape.tile[2];
        // Whole runs of LANES floats where these divide the row, else whole vectors of tiles; and the elements behind.
        let unit = if (x * width).is_multiple_of(lanes) { lanes / width } else { lanes };
        Self {
            row: x.next_multiple_of(unit) * width + if width > 1 { width } else { 0 },
            pitch: (x.next_multiple_of(lanes) * width + width).next_multiple_of(lanes),
            rows,
            x_point: ((y + 1) * x).next_multiple_of(lanes) + lanes,
            xy_point: (y * x).next_multiple_of(lanes) + lanes,
            planes,
        }
    }

    fn staged(&self) -> usize {
        self.pitch * self.rows
    }

    fn along_x(&self, shape: &Shape) -> usize {
        shape.tile[1] * shape.points_along(2) * self.x_point
    }

    fn plane(&self, shape: &Shape) -> usize {
        shape.points_along(1) * shape.points_along(2) * self.xy_point
    }
}

/// Floats of scratch memory for a group of a box of `tiles`.
pub(crate) fn scratch_len(shape: &Shape, tiles: [usize; 3], lanes: usize) -> usize {
    let layout = Layout::new(shape, tiles, lanes);
    layout.staged() + layout.along_x(shape) + layout.planes * layout.plane(shape)
}

/// # Safety
/// The tier of `V` is enabled in the caller. `image` is valid for a map of the shape, `to` for the points and tiles of the
/// group and, beyond each point's last tile, for a vector, whose content is undefined; `scratch` as it says.
#[inline(always)]
pub(crate) unsafe fn transform<V: Vector>(input: &Input) {
    let (shape, group) = (&input.shape, &input.group);
    let layout = Layout::new(shape, group.tiles, V::LANES);
    let [nz, ny, nx] = group.tiles;
    let [_, py, px] = [0, 1, 2].map(|axis| shape.points_along(axis));
    // SAFETY: the steps keep within the places of the layout and of the contract.
    unsafe {
        let staged = input.scratch;
        let along_x = staged.add(layout.staged());
        let planes = along_x.add(layout.along_x(shape));
        for index in 0..group.phases {
            let phase = group.phase(shape, index);
            let to = input.to.add(index * nz * ny * nx);
            for z in 0..layout.planes {
                let rows = Rows::new(input, &layout, phase, staged, z);
                rows.prefetch_after(z);
                with_elements!(shape, 2, E => along_rows::<V, E>(&rows, along_x));
                // Without taps along z, planes are done.
                let (to, point) = match shape.kernel[0] {
                    1 => (to.add(z * ny * nx), input.point),
                    _ => (planes.add(z * layout.plane(shape)), layout.xy_point),
                };
                let step = Step {
                    from: along_x,
                    elements: [px * layout.x_point, nx],
                    from_next: layout.x_point,
                    to,
                    points: px * point,
                    to_next: point,
                    count: px,
                    lanes: ny * nx,
                };
                with_elements!(shape, 1, E => step.run::<V, E>());
            }
            if shape.kernel[0] > 1 {
                for tz in 0..nz {
                    let plane = layout.plane(shape);
                    let step = Step {
                        from: planes.add(tz * shape.tile[0] * plane),
                        elements: [plane, shape.tile[0] * plane],
                        from_next: layout.xy_point,
                        to: to.add(tz * ny * nx),
                        points: py * px * input.point,
                        to_next: input.point,
                        count: py * px,
                        lanes: ny * nx,
                    };
                    with_elements!(shape, 0, E => step.run::<V, E>());
                }
            }
        }
    }
}

/// The transform along y or z of so many lanes, `count` times.
struct Step {
    from: *const f32,
    /// Distance between the elements of a tile, and between the first ones of this tile and the next.
    elements: [usize; 2],
    /// Distance to the next of `count`.
    from_next: usize,
    to: *mut f32,
    /// Distance between points.
    points: usize,
    to_next: usize,
    count: usize,
    lanes: usize,
}

impl Step {
    /// # Safety
    /// The tier of `V` is enabled in the caller; elements are readable and points writable for `lanes`, rounded up to
    /// whole vectors.
    #[inline(always)]
    unsafe fn run<V: Vector, E: Elements>(&self) {
        for next in 0..self.count {
            for lane in (0..self.lanes).step_by(V::LANES) {
                // SAFETY: the caller's contract.
                unsafe {
                    let from = self.from.add(next * self.from_next + lane);
                    let to = self.to.add(next * self.to_next + lane);
                    let mut d = [V::zero(); 6];
                    for (e, d) in d.iter_mut().enumerate().take(E::COUNT) {
                        let place = e % E::STEP * self.elements[0] + e / E::STEP * self.elements[1];
                        *d = V::load(from.add(place));
                    }
                    let points = E::points(d);
                    for (p, point) in points.iter().enumerate().take(E::POINTS) {
                        point.store(to.add(p * self.points));
                    }
                }
            }
        }
    }
}

/// The rows of one plane of inputs.
struct Rows<'a> {
    input: &'a Input,
    layout: &'a Layout,
    staged: *mut f32,
    /// Where the plane begins in the image, if it is one of its.
    plane: Option<usize>,
    /// The image's row of the first row, and the distance to the next.
    rows: (isize, usize),
    /// The image's column of the first element.
    first: isize,
    /// Whether every row has all elements side by side in the image.
    whole: bool,
}

impl<'a> Rows<'a> {
    fn new(input: &'a Input, layout: &'a Layout, phase: [usize; 3], staged: *mut f32, z: usize) -> Self {
        let (shape, group) = (&input.shape, &input.group);
        // The image's coordinate of the first element of the group's first tile.
        let [first_z, first_y, first] = [0, 1, 2].map(|axis| {
            let index = group.first[axis] * shape.tile[axis];
            (index * shape.dilation[axis] + phase[axis]) as isize - shape.before[axis]
        });
        let z = first_z + (z * shape.dilation[0]) as isize;
        let exists = (0..shape.input[0] as isize).contains(&z);
        let len = shape.elements_along(2, group.tiles[2]) as isize;
        Self {
            input,
            layout,
            staged,
            plane: exists.then(|| z as usize * shape.input[1] * shape.input[2]),
            rows: (first_y, shape.dilation[1]),
            first,
            whole: shape.dilation[2] == 1 && first >= 0 && first + len <= shape.input[2] as isize,
        }
    }

    /// Asks for the rows of the next plane, or, after the last one, of the first plane of the next map: rows are too
    /// short, and planes too far apart, for the processor to foresee them.
    #[inline(always)]
    fn prefetch_after(&self, z: usize) {
        /// Floats of a cache line.
        const LINE: usize = 16;
        let [_, height, width] = self.input.shape.input;
        let Some(plane) = self.plane else { return };
        let step = self.input.shape.dilation[0] * height * width;
        let from = if z + 1 < self.layout.planes {
            self.input.image.wrapping_add(plane + step)
        } else {
            self.input.next.wrapping_add(plane).wrapping_sub(z * step)
        };
        let from = from.wrapping_offset(self.rows.0 * width as isize + self.first);
        for y in 0..self.layout.rows {
            let row = from.wrapping_add(y * self.rows.1 * width);
            for at in (0..self.layout.row + LINE).step_by(LINE) {
                prefetch(row.wrapping_add(at));
            }
        }
    }

    /// Where row `y` begins: in the image, or staged with zeros for what the image does not have.
    ///
    /// # Safety
    /// As [`transform`].
    #[inline(always)]
    unsafe fn row<V: Vector>(&self, y: usize) -> *const f32 {
        let [depth, height, width] = self.input.shape.input;
        let at = self.rows.0 + (y * self.rows.1) as isize;
        let row = match self.plane {
            Some(plane) if (0..height as isize).contains(&at) => Some(plane + at as usize * width),
            _ => None,
        };
        match row {
            // Vectors may end in a later row, not in another map.
            Some(row)
                if self.whole && row + self.first as usize + self.layout.row <= depth * height * width =>
            {
                // SAFETY: within the image.
                unsafe { self.input.image.add(row + self.first as usize) }
            }
            // SAFETY: the caller's contract.
            _ => unsafe { self.stage::<V>(y, row) },
        }
    }

    /// Copies row `y`, which begins at `row` of the image.
    ///
    /// # Safety
    /// As [`transform`].
    #[inline(always)]
    unsafe fn stage<V: Vector>(&self, y: usize, row: Option<usize>) -> *const f32 {
        let (shape, pitch) = (&self.input.shape, self.layout.pitch);
        let (first, step) = (self.first, shape.dilation[2]);
        // Elements that exist: those from `start` to before `end`.
        let len = shape.elements_along(2, self.input.group.tiles[2]);
        let start = ((-first).max(0) as usize).div_ceil(step).min(len);
        let end = ((shape.input[2] as isize - first).max(0) as usize).div_ceil(step).min(len);
        let (row, end) = row.map_or((0, start), |row| (row, end));
        let from = self.input.image.wrapping_add(row).wrapping_offset(first);
        // SAFETY: only voxels that exist are read; the staged row has `pitch` floats.
        unsafe {
            let staged = self.staged.add(y * pitch);
            for at in (0..pitch).step_by(V::LANES) {
                let exist = V::between(start.max(at) - at, end.max(at) - at);
                let source = from.wrapping_add(at * step);
                let values = match step {
                    1 => V::load_masked(source, exist),
                    _ => V::load_strided(source, step, exist),
                };
                values.store(staged.add(at));
            }
            staged
        }
    }
}

/// Takes the rows of a plane apart into the elements of tiles and transforms them along x:
/// `to[row within the tile][point][tile]`.
///
/// # Safety
/// As [`transform`].
#[inline(always)]
unsafe fn along_rows<V: Vector, E: Elements>(rows: &Rows<'_>, to: *mut f32) {
    /// Rows whose places are known at a time.
    const MOST: usize = 64;
    let (shape, layout) = (&rows.input.shape, rows.layout);
    let [_, _, nx] = rows.input.group.tiles;
    let height = shape.tile[1];
    // Tiles of a run: neighbours whose elements fill a vector.
    let run = V::LANES / E::STEP;
    // SAFETY: the rows are readable for whole runs and the elements behind them; the points of a vector of tiles lie
    // within `to`.
    unsafe {
        for within in 0..height {
            let to = to.add(within * E::POINTS * layout.x_point);
            let mut ty = 0;
            // Rows of tiles that have this row of inputs; the last tiles share theirs with tiles that do not exist.
            let count = (layout.rows - within).div_ceil(height);
            while ty < count {
                if !nx.is_multiple_of(run) {
                    // Runs would end in another row: the lanes behind the row are overwritten by the next one.
                    let row = rows.row::<V>(ty * height + within);
                    for tx in (0..nx).step_by(V::LANES) {
                        let runs = [0, 1, 2, 3].map(|r| row.wrapping_add((tx + r * run) * E::STEP));
                        vector_along_x::<V, E>(runs, to.add(ty * nx + tx), layout.x_point);
                    }
                    ty += 1;
                } else {
                    let mut starts = [core::ptr::null(); MOST];
                    let mut known = 0;
                    let first = ty;
                    while ty < count && known + nx / run <= MOST {
                        let row = rows.row::<V>(ty * height + within);
                        for r in 0..nx / run {
                            starts[known] = row.add(r * V::LANES);
                            known += 1;
                        }
                        ty += 1;
                    }
                    for vector in (0..known).step_by(E::STEP) {
                        let runs = [0, 1, 2, 3].map(|r| starts[(vector + r).min(known - 1)]);
                        vector_along_x::<V, E>(runs, to.add(first * nx + vector * run), layout.x_point);
                    }
                }
            }
        }
    }
}

/// Transforms LANES tiles along x.
///
/// # Safety
/// As [`elements`]; `to` is valid for a vector at each point.
#[inline(always)]
unsafe fn vector_along_x<V: Vector, E: Elements>(runs: [*const f32; 4], to: *mut f32, point: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        let points = E::points(elements::<V, E>(runs));
        for (p, value) in points.iter().enumerate().take(E::POINTS) {
            value.store(to.add(p * point));
        }
    }
}

/// The elements of LANES tiles that lie in runs of LANES / OUTPUTS neighbours.
///
/// # Safety
/// The tier of `V` is enabled in the caller; each run is readable for LANES floats, and, where there are two elements more
/// than outputs, for as many behind its first OUTPUTS.
#[inline(always)]
unsafe fn elements<V: Vector, E: Elements>(runs: [*const f32; 4]) -> [V; 6] {
    // SAFETY: the caller's contract.
    unsafe {
        match E::STEP {
            1 => [V::load(runs[0]); 6],
            2 => {
                let (d0, d1) = halves(runs[0], runs[1]);
                if E::COUNT == 2 {
                    return [d0, d1, d0, d0, d0, d0];
                }
                let (d2, d3) = halves(runs[0].add(2), runs[1].add(2));
                [d0, d1, d2, d3, d0, d0]
            }
            _ => {
                let (d0, d1, d2, d3) = quarters::<V>(runs);
                if E::COUNT == 4 {
                    return [d0, d1, d2, d3, d0, d0];
                }
                let (d4, d5, _, _) = quarters::<V>(runs.map(|run| run.add(4)));
                [d0, d1, d2, d3, d4, d5]
            }
        }
    }
}

/// Even and odd elements of two runs.
///
/// # Safety
/// The tier of `V` is enabled in the caller; LANES floats are readable from each.
#[inline(always)]
unsafe fn halves<V: Vector>(a: *const f32, b: *const f32) -> (V, V) {
    // SAFETY: the caller's contract.
    unsafe { V::load(a).unzip(V::load(b)) }
}

/// Every fourth element of four runs, from the first, second, third and fourth on.
///
/// # Safety
/// As [`halves`].
#[inline(always)]
unsafe fn quarters<V: Vector>([a, b, c, d]: [*const f32; 4]) -> (V, V, V, V) {
    // SAFETY: the caller's contract.
    unsafe {
        let ((ab_even, ab_odd), (cd_even, cd_odd)) = (halves::<V>(a, b), halves::<V>(c, d));
        let ((d0, d2), (d1, d3)) = (ab_even.unzip(cd_even), ab_odd.unzip(cd_odd));
        (d0, d1, d2, d3)
    }
}
