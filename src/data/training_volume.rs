//! Images with their label.

use std::fmt;

use super::DataError;
use crate::volume::{Extent, Tensor};

/// What one volume gives to training: an image for each input of the network, and a label for each output.
///
/// ```
/// use znn::data::{DataError, TrainingVolume};
/// use znn::{Extent, Tensor};
///
/// let (large, small) = (Tensor::zeros(1, Extent::new(4, 8, 8)), Tensor::zeros(1, Extent::new(2, 4, 4)));
/// let volume = TrainingVolume::new("a", vec![small.clone()], small.clone(), None)?;
/// assert_eq!((volume.name(), volume.extent()), ("a", small.extent()));
/// // A label for a second output.
/// assert_eq!(volume.with_label(small.clone(), None)?.labels().len(), 2);
///
/// // An image may only be larger than its label where that is meant.
/// assert!(TrainingVolume::new("b", vec![large.clone()], small.clone(), None).is_err());
/// let volume = TrainingVolume::centred("b", vec![large], small, None)?;
/// assert_eq!(volume.images()[0].extent(), Extent::new(4, 8, 8));
/// # Ok::<(), DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TrainingVolume {
    name: String,
    images: Vec<Tensor>,
    /// At least one, all of one extent.
    labels: Vec<Label>,
}

/// A label.
#[derive(Clone, Debug)]
pub struct Label {
    /// One channel.
    pub values: Tensor,
    /// Where it is valid (> 0), one channel of the same extent; everywhere where absent.
    pub mask: Option<Tensor>,
}

/// A label that training will learn little from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelWarning {
    /// The volume.
    pub name: String,
    /// Whether all voxels are > 0; otherwise all are 0.
    pub is_all_positive: bool,
}

impl fmt::Display for LabelWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, missing) = if self.is_all_positive { ("> 0", "0") } else { ("0", "> 0") };
        write!(f, "{}: every valid voxel of the label is {found}, no voxel is {missing}", self.name)
    }
}

impl TrainingVolume {
    /// A volume, called `name` in errors. `images` are ready for the network (see
    /// [`Preprocess`](super::Preprocess)) and, as `mask` (> 0 where the label is valid), of the label's extent.
    /// Label and mask have one channel.
    ///
    /// # Errors
    /// When extents differ, a part is empty, a label or mask has several channels, or a value is not finite.
    pub fn new(
        name: impl Into<String>,
        images: Vec<Tensor>,
        label: Tensor,
        mask: Option<Tensor>,
    ) -> Result<Self, DataError> {
        let name = name.into();
        for image in &images {
            check_extent(&name, "image", image, label.extent())?;
        }
        Self::centred(name, images, label, mask)
    }

    /// As [`new`](Self::new), but an image may have another extent than the label: their centres, voxel
    /// `(n - 1) / 2` of an axis of `n` voxels, coincide.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn centred(
        name: impl Into<String>,
        images: Vec<Tensor>,
        label: Tensor,
        mask: Option<Tensor>,
    ) -> Result<Self, DataError> {
        let name = name.into();
        for image in &images {
            check_values(&name, "image", image)?;
        }
        let mut volume = Self { name, images, labels: Vec::new() };
        volume.push_label(label, mask)?;
        Ok(volume)
    }

    /// Adds the label of the network's next output, of the extent of the first.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_label(mut self, label: Tensor, mask: Option<Tensor>) -> Result<Self, DataError> {
        check_extent(&self.name, "label of a further output", &label, self.extent())?;
        self.push_label(label, mask)?;
        Ok(self)
    }

    fn push_label(&mut self, values: Tensor, mask: Option<Tensor>) -> Result<(), DataError> {
        let name = &self.name;
        check_values(name, "label", &values)?;
        check_channels(name, "label", &values)?;
        if let Some(mask) = &mask {
            check_extent(name, "mask", mask, values.extent())?;
            check_values(name, "mask", mask)?;
            check_channels(name, "mask", mask)?;
        }
        self.labels.push(Label { values, mask });
        Ok(())
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The image for each input.
    pub fn images(&self) -> &[Tensor] {
        &self.images
    }

    /// The label for each output.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// The first label, one channel.
    pub(crate) fn label(&self) -> &Tensor {
        &self.labels[0].values
    }

    /// Where the first label is valid (> 0), one channel; everywhere where absent.
    pub(crate) fn mask(&self) -> Option<&Tensor> {
        self.labels[0].mask.as_ref()
    }

    /// The labels' extent.
    pub fn extent(&self) -> Extent {
        self.label().extent()
    }

    /// A warning where the valid voxels of the label are all zero or all positive.
    pub(crate) fn warning(&self) -> Option<LabelWarning> {
        let is_valid = |i: usize| self.mask().is_none_or(|mask| mask.data()[i] > 0.0);
        let mut seen = [false; 2];
        for (i, &label) in self.label().data().iter().enumerate() {
            seen[usize::from(label > 0.0)] |= is_valid(i);
            if seen == [true; 2] {
                return None;
            }
        }
        Some(LabelWarning { name: self.name.clone(), is_all_positive: seen[1] })
    }
}

fn check_extent(name: &str, role: &'static str, tensor: &Tensor, expected: Extent) -> Result<(), DataError> {
    let found = tensor.extent();
    if found == expected {
        Ok(())
    } else {
        Err(DataError::Extents { name: name.to_owned(), role, found, expected })
    }
}

fn check_channels(name: &str, role: &'static str, tensor: &Tensor) -> Result<(), DataError> {
    match tensor.channels() {
        1 => Ok(()),
        channels => Err(DataError::Channels { name: name.to_owned(), role, channels }),
    }
}

fn check_values(name: &str, role: &'static str, tensor: &Tensor) -> Result<(), DataError> {
    let extent = tensor.extent();
    if extent.is_empty() || tensor.channels() == 0 {
        return Err(DataError::Empty { name: name.to_owned(), role, extent });
    }
    check_finite(name, role, tensor)
}

/// Whether all voxels of `tensor`, the image, label or mask (`role`) of the volume `name`, are numbers.
///
/// # Errors
/// With the first that is not.
pub fn check_finite(name: &str, role: &'static str, tensor: &Tensor) -> Result<(), DataError> {
    check_finite_at(name, role, tensor, Extent::ZERO)
}

/// As [`check_finite`], of the part of a volume whose first voxel is at `origin`.
pub(crate) fn check_finite_at(
    name: &str,
    role: &'static str,
    tensor: &Tensor,
    origin: Extent,
) -> Result<(), DataError> {
    let extent = tensor.extent();
    match tensor.data().iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(i) => {
            let voxel = i % extent.len();
            let inside =
                Extent::new(voxel / (extent.y * extent.x), voxel / extent.x % extent.y, voxel % extent.x);
            let position = origin + inside;
            Err(DataError::NotFinite { name: name.to_owned(), role, value: tensor.data()[i], position })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(image: Tensor, label: Tensor, mask: Option<Tensor>) -> Result<TrainingVolume, DataError> {
        TrainingVolume::new("train", vec![image], label, mask)
    }

    #[test]
    fn parts_that_do_not_belong_together() {
        let size = Extent::new(2, 3, 4);
        let good = || Tensor::zeros(1, size);
        let other = || Tensor::zeros(1, Extent::new(2, 4, 3));
        let text = |r: Result<TrainingVolume, DataError>| r.unwrap_err().to_string();
        assert!(make(good(), good(), Some(good())).is_ok());
        assert_eq!(
            text(make(other(), good(), None)),
            "train: the image has the extent 2,4,3, expected 2,3,4 like the label (z,y,x)"
        );
        assert!(text(make(good(), good(), Some(other()))).contains("the mask has the extent 2,4,3"));
        assert!(text(make(good(), Tensor::zeros(2, size), None)).contains("label has 2 channels"));
        let empty = Tensor::zeros(1, Extent::new(0, 3, 4));
        assert!(text(make(empty.clone(), empty, None)).contains("the image is empty"));
        assert!(TrainingVolume::centred("train", vec![other()], good(), None).is_ok());
    }

    #[test]
    fn values_that_are_no_numbers() {
        let size = Extent::new(2, 3, 4);
        for bad in [f32::NAN, f32::INFINITY] {
            let broken = Tensor::from_fn(1, size, |i| if i == 18 { bad } else { 0.0 });
            let text = make(broken.clone(), Tensor::zeros(1, size), None).unwrap_err().to_string();
            assert!(text.contains("image has the value") && text.contains("1,1,2"), "{text}");
            let text = make(Tensor::zeros(1, size), broken, None).unwrap_err().to_string();
            assert!(text.contains("the label has"), "{text}");
        }
    }

    #[test]
    fn labels_of_one_class_are_told() {
        let size = Extent::new(1, 2, 2);
        let image = || Tensor::zeros(1, size);
        let label = Tensor::from_slice(1, size, &[0.0, 0.0, 255.0, 255.0]);
        assert_eq!(make(image(), label.clone(), None).unwrap().warning(), None);
        let mask = Tensor::from_slice(1, size, &[0.0, 0.0, 1.0, 1.0]);
        let warning = make(image(), label, Some(mask)).unwrap().warning().unwrap();
        assert!(warning.is_all_positive && warning.to_string().contains("is > 0, no voxel is 0"));
        let warning = make(image(), image(), None).unwrap().warning().unwrap();
        assert!(warning.to_string().contains("is 0, no voxel is > 0"), "{warning}");
    }
}
