//! The portable program holds the instructions of each tier and no others: it starts on any x86-64 processor, and what it
//! selects on one with AVX-512 runs on the first of them (Knights Landing) as on the latest.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::collections::BTreeMap;

use iced_x86::{Decoder, DecoderOptions, EncodingKind};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

/// The functions of the program: name, and which features their instructions need beyond those of each x86-64.
fn functions() -> Vec<(String, BTreeMap<String, usize>)> {
    let program = std::fs::read(env!("CARGO_BIN_EXE_znn")).expect("the program");
    let program = object::File::parse(&*program).expect("an ELF file");
    let mut functions = Vec::new();
    for symbol in program.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        let Some(index) = symbol.section_index() else { continue };
        let section = program.section_by_index(index).expect("a section");
        let code =
            section.data_range(symbol.address(), symbol.size()).expect("code").expect("inside the section");
        let mut needs = BTreeMap::new();
        for instruction in Decoder::with_ip(64, code, symbol.address(), DecoderOptions::NONE) {
            assert!(!instruction.is_invalid(), "{}: no instruction at {:x}", name(&symbol), instruction.ip());
            if instruction.encoding() == EncodingKind::Legacy {
                continue;
            }
            for feature in instruction.cpuid_features() {
                *needs.entry(format!("{feature:?}")).or_insert(0) += 1;
            }
        }
        functions.push((name(&symbol), needs));
    }
    functions
}

fn name(symbol: &object::Symbol<'_, '_>) -> String {
    symbol.name().unwrap_or("?").to_owned()
}

#[test]
fn kernels_need_what_their_tiers_say() {
    if cfg!(target_feature = "avx") {
        println!("skipped: built for a processor with AVX, so that the compiler may use what that has");
        return;
    }
    let functions = functions();
    let own = functions.iter().filter(|(name, _)| name.contains("3znn"));
    assert!(own.clone().count() > 1000, "where is the engine? {} functions", own.count());
    for (name, needs) in own {
        assert!(
            needs.is_empty(),
            "{name}, which is in no tier, does not run on every processor: {needs:?} (instructions by feature)"
        );
    }
    let mut counts = BTreeMap::<&str, usize>::new();
    for (name, needs) in functions.iter().filter(|(name, _)| name.contains("znn_kernels")) {
        for (feature, count) in needs {
            let of_a_tier = ["AVX", "AVX2", "FMA", "AVX512F"].contains(&&**feature);
            assert!(of_a_tier, "{name} has {count} instructions that need {feature}");
            *counts.entry(feature).or_default() += count;
        }
    }
    println!("instructions of the kernels by feature: {counts:?}");
    for feature in ["AVX", "AVX2", "FMA", "AVX512F"] {
        assert!(counts.get(feature).is_some_and(|&count| count > 500), "where are the kernels? {counts:?}");
    }
}
