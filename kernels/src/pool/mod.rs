//! Maxima over windows: the sliding window (max filter) and the non-overlapping blocks (max pool).
//!
//! Forward keeps one byte per output voxel, the *winner*: the offset `(mz * ky + my) * kx + mx` of the largest
//! voxel inside its window. Of equal voxels the one of the lowest offset wins. A NaN counts as larger than
//! everything (of several the last wins), so a window that holds one yields a NaN and sends its gradient there.

pub mod max_filter;
pub mod max_pool;
mod window;

pub use window::Window;
