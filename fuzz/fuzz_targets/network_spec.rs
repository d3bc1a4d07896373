#![no_main]

use libfuzzer_sys::fuzz_target;
use znn::network::{drawing, spec};
use znn::Extent;

fuzz_target!(|bytes: &[u8]| {
    for parsed in [spec::parse(bytes, "net.znn"), spec::parse_toml(bytes, "net.toml")].into_iter().flatten() {
        let network = parsed.network;
        let again = spec::parse(network.to_string(), "again.znn").expect("what was written can be read");
        assert_eq!(again.network, network);
        let again = spec::parse_toml(spec::to_toml(&network), "again.toml").expect("what was written can be read");
        assert_eq!(again.network, network);
        if let Ok(shapes) = network.shapes(Extent::new(1, 2, 3))
            && network.nodes().len() + network.edges().len() < 20
        {
            let _ = drawing::svg(&network, &shapes);
        }
    }
});
