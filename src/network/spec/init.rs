//! The keys `init` and `init_args`.

use super::group::GroupReader;
use super::{suggest, value};
use crate::network::Init;

const KINDS: &[&str] = &["zero", "constant", "uniform", "gaussian", "bernoulli", "xavier", "msra"];

/// `None` where the key is absent or, which is reported, wrong or absent though `required`.
pub(super) fn read(reader: &mut GroupReader, required: bool) -> Option<Init> {
    let parse = |text: &str| {
        let known = KINDS.iter().find(|&&kind| kind == text).copied();
        known.ok_or_else(|| {
            format!("one of {}{}", KINDS.join(", "), suggest::hint(text, KINDS.iter().copied()))
        })
    };
    let kind = if required { reader.required("init", parse) } else { reader.optional("init", parse) }?;
    match kind {
        "zero" => Some(Init::Zero),
        "xavier" => Some(Init::Xavier),
        "msra" => Some(Init::Msra),
        "constant" => reader.required("init_args", |text| {
            value::number(text).map(Init::Constant).ok_or_else(|| "a number".to_owned())
        }),
        "uniform" => Some(arguments(reader, Init::Uniform { low: -0.1, high: 0.1 }, uniform)),
        "gaussian" => Some(arguments(reader, Init::Gaussian { mean: 0.0, deviation: 0.01 }, gaussian)),
        _ => Some(arguments(reader, Init::Bernoulli { p: 0.5 }, bernoulli)),
    }
}

fn arguments(
    reader: &mut GroupReader,
    default: Init,
    parse: impl FnOnce(&[f32]) -> Result<Init, &'static str>,
) -> Init {
    let given = reader.optional("init_args", |text| Ok(parse(&value::numbers(text).unwrap_or_default())?));
    given.unwrap_or(default)
}

fn uniform(args: &[f32]) -> Result<Init, &'static str> {
    match *args {
        [low, high] if low <= high => Ok(Init::Uniform { low, high }),
        [radius] if radius >= 0.0 => Ok(Init::Uniform { low: -radius, high: radius }),
        _ => Err("the two numbers a,b of the interval, the smaller first, or r for -r,r"),
    }
}

fn gaussian(args: &[f32]) -> Result<Init, &'static str> {
    match *args {
        [mean, deviation] if deviation >= 0.0 => Ok(Init::Gaussian { mean, deviation }),
        _ => Err("the two numbers mu,sigma, sigma at least 0"),
    }
}

fn bernoulli(args: &[f32]) -> Result<Init, &'static str> {
    match *args {
        [p] if (0.0..=1.0).contains(&p) => Ok(Init::Bernoulli { p }),
        _ => Err("the probability of 1, within 0 and 1"),
    }
}
