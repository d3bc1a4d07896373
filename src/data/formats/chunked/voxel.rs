//! The size of a voxel in the attributes of an array or of its group.
//!
//! Zarr has no word for it, so that those in use are understood: `multiscales` of OME-Zarr (in the group, too),
//! `voxel_size` or `resolution` with `units`; for N5 `pixelResolution` and `resolution`, in its order of axes.

use std::path::Path;

use serde_json::{Value, json};

use super::super::VolumeInfo;
use crate::data::VoxelSize;

/// The scales of an OME-Zarr group.
fn multiscales(attributes: &Value) -> &Value {
    let new = &attributes["ome"]["multiscales"][0];
    if new.is_null() { &attributes["multiscales"][0] } else { new }
}

/// The path of the finest array of a group of scales.
pub(super) fn first_scale(attributes: &Value) -> Option<&str> {
    multiscales(attributes)["datasets"][0]["path"].as_str()
}

/// From the attributes of an array or of a group of scales, slowest axis first.
pub(super) fn of_zarr(attributes: &Value) -> Option<VoxelSize> {
    let scales = multiscales(attributes);
    let transforms = scales["datasets"][0]["coordinateTransformations"].as_array();
    let scale = transforms.into_iter().flatten().find(|transform| transform["type"] == "scale");
    if let Some(scale) = scale {
        let unit = scales["axes"].as_array().and_then(|axes| axes.last()).map(|axis| &axis["unit"]);
        return VoxelSize::new(
            last_three(&scale["scale"])?,
            unit.and_then(Value::as_str).unwrap_or_default(),
        );
    }
    let size = last_three(&attributes["voxel_size"]).or_else(|| last_three(&attributes["resolution"]))?;
    VoxelSize::new(size, unit_of(attributes))
}

/// Of the array `path`, from the group that it is in, whose first scale it is.
pub(super) fn beside(path: &Path) -> Option<VoxelSize> {
    let group = path.parent()?;
    let attributes = match super::read(&group.join("zarr.json")).ok()? {
        Some(metadata) => metadata["attributes"].clone(),
        None => super::read(&group.join(".zattrs")).ok()??,
    };
    let first = first_scale(&attributes)?;
    if path.file_name()?.to_str()? == first { of_zarr(&attributes) } else { None }
}

/// From the attributes of an array of N5.
pub(super) fn of_n5(attributes: &Value) -> Option<VoxelSize> {
    let first_three = |value: &Value| {
        let [x, y, z] = value.as_array()?.first_chunk::<3>()?;
        Some([z.as_f64()?, y.as_f64()?, x.as_f64()?])
    };
    let pixel = &attributes["pixelResolution"];
    // An array of its own is the older form.
    if let Some(size) = first_three(&pixel["dimensions"]).or_else(|| first_three(pixel)) {
        return VoxelSize::new(size, pixel["unit"].as_str().unwrap_or_default());
    }
    VoxelSize::new(first_three(&attributes["resolution"])?, unit_of(attributes))
}

/// One unit, or that of the last axis.
fn unit_of(attributes: &Value) -> &str {
    let units = &attributes["units"];
    let last = units.as_array().and_then(|units| units.last()).unwrap_or(units);
    last.as_str().or_else(|| attributes["unit"].as_str()).unwrap_or_default()
}

fn last_three(value: &Value) -> Option<[f64; 3]> {
    let [z, y, x] = value.as_array()?.last_chunk::<3>()?;
    Some([z.as_f64()?, y.as_f64()?, x.as_f64()?])
}

/// The attributes of a new array.
pub(super) fn zarr_attributes(info: &VolumeInfo) -> Value {
    match &info.voxel {
        Some(voxel) => json!({ "voxel_size": voxel.size, "units": vec![voxel.unit.as_str(); 3] }),
        None => json!({}),
    }
}
