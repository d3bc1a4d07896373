use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::network::testing::{NODES, RESIZING, network, spelled};

const TEXT: &str = "nodes in\ntype input\nsize 2\n\
    edges c\ntype conv\nsize 1,2,3\ninit gaussian\neta 0.1\ninput in\noutput a\nload 0\n\
    nodes a\ntype transfer\nfunction tanh\nfunction_args 1.7159,0.6666\nsize 3\ninit uniform\n\
    edges p\ntype max_filter\nsize 1,2,2\nstride 1,2,2\ninput a\noutput b\n\
    nodes b\ntype sum\nsize 3\n";

/// A model in which every value is another one, momentum too.
fn model() -> Model {
    let network = network(TEXT);
    let mut parameters = Parameters::init(&network, 11);
    let momentum = parameters.edge_mut(EdgeId(0)).unwrap().momentum_mut();
    momentum.iter_mut().enumerate().for_each(|(i, value)| *value = i as f32 - 0.5);
    parameters.node_mut(NodeId(1)).unwrap().momentum_mut().copy_from_slice(&[1.0, -2.0, f32::MIN_POSITIVE]);
    let notes = [("loss", "softmax \"\n\\"), ("iteration", "1000")];
    Model { network, parameters, notes: notes.map(|(k, v)| (k.to_owned(), v.to_owned())).into() }
}

fn save_model(path: &Path, model: &Model, with_momentum: bool) -> Result<(), WeightsFileError> {
    save(path, &model.network, &model.parameters, &model.notes, with_momentum)
}

fn saved(with_momentum: bool) -> (TempDir, PathBuf, Model) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let model = model();
    save_model(&path, &model, with_momentum).unwrap();
    (folder, path, model)
}

#[test]
fn round_trip() {
    let (_folder, path, model) = saved(true);
    assert_eq!(load(&path).unwrap(), model);
    let first = fs::read(&path).unwrap();
    save_model(&path, &model, true).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first, "the same bytes");
}

#[test]
fn the_state_of_adam_is_kept() {
    let (_folder, path, mut model) = saved(true);
    let squares = model.parameters.edge_mut(EdgeId(0)).unwrap().variance_mut();
    squares.iter_mut().enumerate().for_each(|(i, value)| *value = i as f32);
    model.parameters.node_mut(NodeId(1)).unwrap().variance_mut().copy_from_slice(&[3.0, 0.5, 0.25]);
    model.parameters.set_updates(7);
    save_model(&path, &model, true).unwrap();
    assert_eq!(load(&path).unwrap(), model);
    model.notes.insert("updates".to_owned(), "many".to_owned());
    let saved = std::panic::catch_unwind(|| save_model(&path, &model, true));
    assert!(saved.is_err(), "the name is the format's own");
}

#[test]
fn all_kinds_of_groups() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for text in [RESIZING, NODES] {
        let network = network(&spelled(text));
        let mut parameters = Parameters::init(&network, 3);
        for (count, (_, parameter)) in parameters.groups_mut(&network).enumerate() {
            for (i, momentum) in parameter.momentum_mut().iter_mut().enumerate() {
                *momentum = (count * 1000 + i) as f32;
            }
        }
        for id in network.node_ids() {
            parameters.statistics_mut(id).iter_mut().zip(1..).for_each(|(value, i)| *value = 0.25 * i as f32);
        }
        let model = Model { network, parameters, notes: BTreeMap::new() };
        save_model(&path, &model, true).unwrap();
        assert_eq!(load(&path).unwrap(), model);
    }
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<&str> = file.names().into_iter().filter(|name| name.starts_with("a2.")).collect();
    names.sort_unstable();
    let expected = ["a2.bias", "a2.bias.momentum", "a2.mean", "a2.scale", "a2.scale.momentum", "a2.variance"];
    assert_eq!(names, expected, "of a normalise group and an edge that shares its kernels");
    assert!(file.tensor("a.slope").is_ok());
}

#[test]
fn momentum_is_optional() {
    let (_folder, path, mut model) = saved(false);
    model.parameters.edge_mut(EdgeId(0)).unwrap().momentum_mut().fill(0.0);
    model.parameters.node_mut(NodeId(1)).unwrap().momentum_mut().fill(0.0);
    assert_eq!(load(&path).unwrap(), model);
}

#[test]
fn documented_layout() {
    let (_folder, path, model) = saved(true);
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort_unstable();
    assert_eq!(names, ["a.bias", "a.bias.momentum", "c.weight", "c.weight.momentum"]);
    let weight = file.tensor("c.weight").unwrap();
    assert_eq!((weight.shape(), weight.dtype()), (&[3, 2, 1, 2, 3][..], Dtype::F32));
    let values: Vec<u8> = model
        .parameters
        .edge(EdgeId(0))
        .unwrap()
        .values()
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    assert_eq!(weight.data(), values);
    assert_eq!(file.tensor("a.bias").unwrap().shape(), [3]);
    let metadata = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
    assert_eq!(metadata["znn_format"], "1");
    assert_eq!(metadata["network"], model.network.to_string());
    assert_eq!(metadata["iteration"], "1000");
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(header % 8, 0, "aligned values");
}

#[test]
fn nothing_is_written_over_by_values_that_are_not_finite() {
    let (_folder, path, mut model) = saved(true);
    let before = fs::read(&path).unwrap();
    model.parameters.node_mut(NodeId(1)).unwrap().values_mut()[2] = f32::NAN;
    let error = save_model(&path, &model, true).unwrap_err().to_string();
    let expected = "model.safetensors: tensor `a.bias` has the value NaN at place 2, expected finite numbers";
    assert!(error.ends_with(expected), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// The file with the JSON of its header changed, and the values made to fit.
fn edited(path: &Path, edit: impl FnOnce(&mut Value)) -> String {
    let bytes = fs::read(path).unwrap();
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    edit(&mut header);
    let header = header.to_string();
    let mut edited = (header.len() as u64).to_le_bytes().to_vec();
    edited.extend_from_slice(header.as_bytes());
    edited.extend_from_slice(&bytes[8 + len..]);
    fs::write(path, edited).unwrap();
    let error = load(path).unwrap_err().to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    error[path.display().to_string().len()..].to_owned()
}

fn rename(header: &mut Value, from: &str, to: &str) {
    let tensor = header.as_object_mut().unwrap().remove(from).unwrap();
    header[to] = tensor;
}

#[test]
fn what_is_wrong_is_named() {
    let check = |edit: fn(&mut Value), expected: &str| {
        let (_folder, path, _) = saved(true);
        let error = edited(&path, edit);
        assert!(error.starts_with(expected), "{error}\nexpected {expected}");
    };
    check(
        |header| rename(header, "c.weight", "d.weight"),
        ": tensor `c.weight` is missing, expected shape [3, 2, 1, 2, 3]",
    );
    check(
        |header| rename(header, "a.bias.momentum", "b.bias"),
        ": tensor `b.bias` belongs to no group of the network in the file",
    );
    check(
        |header| header["c.weight"]["shape"] = json!([2, 3, 1, 2, 3]),
        ": tensor `c.weight` has shape [2, 3, 1, 2, 3] of F32, expected [3, 2, 1, 2, 3] of F32",
    );
    check(
        |header| header["a.bias.momentum"]["dtype"] = json!("I32"),
        ": tensor `a.bias.momentum` has shape [3] of I32, expected [3] of F32",
    );
    check(
        |header| header["__metadata__"]["znn_format"] = json!("2"),
        ": the format version is `2`, expected 1",
    );
    check(
        |header| drop(header["__metadata__"].as_object_mut().unwrap().remove("network")),
        ": the metadata has no `network`: expected a weights file of znn",
    );
    check(
        |header| drop(header.as_object_mut().unwrap().remove("__metadata__")),
        ": the metadata has no `znn_format`: expected a weights file of znn",
    );
    check(
        |header| header["__metadata__"]["network"] = json!("nodes in\ntype inptu\nsize 2"),
        " (network):2: nodes in: `type` is `inptu`, expected one of",
    );
    check(
        |header| header["c.weight"]["data_offsets"] = json!([0, 1_u64 << 40]),
        ": not a complete safetensors file: ",
    );
}

#[test]
fn broken_files() {
    let (folder, path, _) = saved(true);
    let bytes = fs::read(&path).unwrap();
    for len in [0, 4, 8, 100, bytes.len() - 1] {
        fs::write(&path, &bytes[..len]).unwrap();
        assert!(matches!(load(&path), Err(WeightsFileError::Container { .. })), "{len} bytes");
    }
    let mut bytes = bytes;
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(load(&path), Err(WeightsFileError::NotFinite { place: 2, .. })));
    assert!(matches!(load(&folder.path().join("missing")), Err(WeightsFileError::Io { .. })));
    let model = model();
    let nowhere = save_model(&folder.path().join("missing").join("file"), &model, true);
    assert!(matches!(nowhere, Err(WeightsFileError::Io { .. })));
}

#[test]
fn networks_that_are_no_text_are_refused() {
    let (_folder, path, model) = saved(true);
    let (mut nodes, edges) = (model.network.nodes().to_vec(), model.network.edges().to_vec());
    nodes[1].update.eta = Some(f32::INFINITY);
    let odd = Network::new(nodes, edges).unwrap();
    let result = save(&path, &odd, &model.parameters, &model.notes, true);
    assert!(matches!(result, Err(WeightsFileError::NotText { .. })));
    assert_eq!(load(&path).unwrap(), model);
}

proptest! {
    #[test]
    fn no_bytes_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let (_folder, path, _) = saved(true);
        let mut bytes = fs::read(&path).unwrap();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        fs::write(&path, bytes).unwrap();
        let _ = load(&path);
    }
}
