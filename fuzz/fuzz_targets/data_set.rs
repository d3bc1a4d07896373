#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use znn::data::data_set::DataSet;
use znn::data::ini::Ini;
use znn::network::spec;

const NET: &str = "nodes input\ntype input\nsize 1\nnodes output\ntype transfer\nfunction linear\nsize 2\n\
    edges c\ntype conv\nsize 1,3,3\ninit uniform\ninput input\noutput output\n";

fuzz_target!(|text: &str| {
    let network = spec::parse(NET, "net.znn").expect("a network").network;
    let Ok(ini) = Ini::parse(Path::new("data.spec"), text) else { return };
    if let Ok(data) = DataSet::new(&[&ini], &network) {
        for id in 0..10 {
            let _ = data.sample(id);
        }
    }
});
