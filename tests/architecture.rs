//! Dependencies point one way: `ARCHITECTURE.md` lists the folders from the inside out.

use std::path::{Path, PathBuf};

/// The modules of `src`, each of which may use those before it.
const ORDER: [&str; 20] = [
    "atomic_file",
    "stats",
    "machine",
    "volume",
    "hdf5",
    "segment",
    "fft",
    "pool",
    "trace",
    "plan",
    "conv",
    "ops",
    "engine",
    "embed",
    "network",
    "data",
    "infer",
    "train",
    "session",
    "error",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn modules_use_only_those_before_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut checked = 0;
    for file in files {
        let relative = file.strip_prefix(&root).expect("below the root");
        let module =
            relative.components().next().expect("a name").as_os_str().to_string_lossy().replace(".rs", "");
        // The program uses the library from outside; the root only names the modules.
        let Some(place) = ORDER.iter().position(|name| *name == module) else {
            assert!(["lib", "main", "cli"].contains(&module.as_str()), "{module} has no place in the order");
            continue;
        };
        let text = std::fs::read_to_string(&file).expect("a source file");
        // Tests may build what they need from anywhere.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        if relative.to_string_lossy().contains("tests") {
            continue;
        }
        for used in code.split("crate::").skip(1) {
            let name: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(target) = ORDER.iter().position(|other| *other == name) else { continue };
            assert!(target <= place, "{} uses {name}, which comes after {module}", relative.display());
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} uses were found");
}
