//! The patches of a job as a picture, before any training.

use super::job::Job;
use super::report::picture::Picture;
use super::report::preview::{self, Panel};
use super::trainer::read_network;
use super::{TrainError, groups};
use crate::volume::{Extent, Tensor};

/// At most so many sections of an input are shown: those around its middle.
const SECTIONS: usize = 5;

/// What training would be shown in the iterations `first..first + count` of `job`: for each a row with the sections of each
/// input around the middle one, turned and distorted as the job says, the middle section of each target, and, where voxels
/// count differently, of their weights. All inputs have the greys of their first volume, so that changes of brightness are
/// seen. Remarks on the data are the second value.
///
/// # Errors
/// Where the job makes no sense or its files cannot be used.
pub fn preview(job: &Job, first: u64, count: u64) -> Result<(Picture, Vec<String>), TrainError> {
    job.validate()?;
    let mut warnings = Vec::new();
    let network = read_network(job, &mut warnings)?;
    groups::check(&network, job)?;
    let outputs = groups::outputs(&network, job)?;
    let (sampler, _) = groups::samplers(job, &network, &outputs)?;
    warnings.extend(sampler.warnings().iter().map(ToString::to_string));
    let greys: Vec<_> = sampler.volumes()[0].images().iter().map(preview::greys).collect();
    let mut sample = sampler.new_sample();
    let mut rows = Vec::new();
    for iteration in first..first + count {
        sampler.sample(iteration, &mut sample);
        let mut panels = Vec::new();
        for (input, &greys) in sample.inputs.iter().zip(&greys) {
            panels.extend(sections(input).map(|(caption, section)| Panel::within(caption, &section, greys)));
        }
        for output in &sample.outputs {
            panels.push(Panel::target("target", &output.target));
            if let Some(weight) = &output.weight {
                let most = weight.data().iter().copied().fold(0.0, f32::max);
                panels.push(Panel::within("weight", weight, (0.0, most)));
            }
        }
        rows.push(preview::side_by_side(&panels).map_err(super::report::ReportError::from)?);
    }
    Ok((Picture::stacked(&rows), warnings))
}

/// The sections of `input` around its middle.
fn sections(input: &Tensor) -> impl Iterator<Item = (&'static str, Tensor)> {
    const CAPTIONS: [&str; SECTIONS] = ["2 before", "1 before", "input", "1 behind", "2 behind"];
    let Extent { z: depth, y, x } = input.extent();
    let middle = depth / 2;
    CAPTIONS.into_iter().enumerate().filter_map(move |(place, caption)| {
        let z = (middle + place).checked_sub(SECTIONS / 2).filter(|&z| z < depth)?;
        Some((caption, input.crop(Extent::new(z, 0, 0), Extent::new(1, y, x))))
    })
}
