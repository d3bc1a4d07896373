//! numpy's arrays as what the engine takes.

use engine::Strides;
use numpy::{PyArrayMethods, PyReadonlyArray5, PyReadwriteArray5, PyUntypedArrayMethods};
use pyo3::PyResult;
use pyo3::exceptions::PyValueError;

/// Sizes of the images of a call: `[image, map, z, y, x]`, and where the maps lie.
pub struct Images {
    pub shape: [usize; 5],
    pub strides: Strides,
}

impl Images {
    /// # Errors
    /// Where the voxels of a map do not lie next to each other in the order of memory, or a stride is negative.
    fn new(name: &str, shape: &[usize], strides: &[isize]) -> PyResult<Self> {
        let wrong = || PyValueError::new_err(format!("{name}: the voxels of a map must be contiguous"));
        let shape: [usize; 5] = shape.try_into().expect("five axes");
        let mut expected = size_of::<f32>();
        for axis in (2..5).rev() {
            if shape[axis] != 1 && strides[axis] != expected as isize {
                return Err(wrong());
            }
            expected *= shape[axis];
        }
        let voxels = expected / size_of::<f32>();
        // The stride of an axis of length one is anything.
        let stride = |axis: usize, contiguous: usize| match strides[axis] {
            _ if shape[axis] == 1 => Ok(contiguous),
            bytes if bytes >= 0 && (bytes as usize).is_multiple_of(size_of::<f32>()) => {
                Ok(bytes as usize / size_of::<f32>())
            }
            _ => Err(wrong()),
        };
        let strides = Strides { image: stride(0, shape[1] * voxels)?, map: stride(1, voxels)? };
        Ok(Self { shape, strides })
    }

    /// Contiguous ones.
    pub fn contiguous(shape: [usize; 5]) -> Self {
        let [_, maps, z, y, x] = shape;
        Self { shape, strides: Strides::contiguous(maps, z * y * x) }
    }

    /// Floats from the first to the last.
    fn len(&self) -> usize {
        let [images, maps, z, y, x] = self.shape;
        if self.shape.contains(&0) {
            return 0;
        }
        (images - 1) * self.strides.image + (maps - 1) * self.strides.map + z * y * x
    }
}

/// An array that is read.
pub fn images<'a>(name: &str, array: &'a PyReadonlyArray5<'_, f32>) -> PyResult<(Images, &'a [f32])> {
    let images = Images::new(name, array.shape(), array.strides())?;
    // SAFETY: with strides that are not negative, all floats from the first to the last of the array lie in the memory
    // that it was made from; the borrow keeps that, and others from writing the array.
    let floats = unsafe { std::slice::from_raw_parts(array.data(), images.len()) };
    Ok((images, floats))
}

/// An array that is written.
pub fn images_mut<'a>(
    name: &str,
    array: &'a mut PyReadwriteArray5<'_, f32>,
) -> PyResult<(Images, &'a mut [f32])> {
    let images = Images::new(name, array.shape(), array.strides())?;
    // SAFETY: as in `images`; the borrow is exclusive.
    let floats = unsafe { std::slice::from_raw_parts_mut(array.data(), images.len()) };
    Ok((images, floats))
}
