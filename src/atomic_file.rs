//! Files that are either the old ones or the new ones, whole, also when the program or the machine stops midway.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes the file `path`, replacing what is there: `content` fills a new file in the same folder, which is synced
/// to the disk and then renamed. Where anything fails, the old file stays as it was and the new one is removed.
///
/// A symbolic link at `path` is replaced by the file.
///
/// # Errors
/// Those of the file system and of `content`.
pub fn write(path: &Path, content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let new = NewFile::create(path)?;
    let mut writer = BufWriter::new(new.file.try_clone()?);
    content(&mut writer)?;
    drop(writer.into_inner().map_err(io::IntoInnerError::into_error)?);
    new.commit()
}

/// A file that takes the place of another with [`commit`](Self::commit), and is removed without it.
pub struct NewFile {
    path: PathBuf,
    folder: PathBuf,
    file: File,
    temporary: Temporary,
}

impl NewFile {
    /// An empty file, to read and write, in the folder of `path`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a file name")
        })?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let (file, temporary) = Temporary::create(folder, name.to_owned())?;
        Ok(Self { path: path.to_owned(), folder: folder.to_owned(), file, temporary })
    }

    /// What is written.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Forces the file to the disk and gives it its name.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn commit(self) -> io::Result<()> {
        let Self { path, folder, file, mut temporary } = self;
        file.sync_all()?;
        // Some systems cannot rename or remove an open file.
        drop(file);
        fs::rename(&temporary.path, path)?;
        temporary.renamed = true;
        sync_folder(&folder)
    }
}

/// Removes what killed processes have left of their attempts to write `path`. Nobody may be writing it now.
///
/// # Errors
/// Those of the file system.
pub fn remove_leftovers(path: &Path) -> io::Result<()> {
    let (Some(name), Some(folder)) = (path.file_name(), path.parent()) else { return Ok(()) };
    let mut beginning = OsString::from(".");
    beginning.push(name);
    beginning.push(".");
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.file_name();
        let found = found.as_encoded_bytes();
        if found.starts_with(beginning.as_encoded_bytes()) && found.ends_with(b".tmp") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A file that is removed unless it was renamed.
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    /// A new file beside `name`, of a name that no other call and no other process uses.
    fn create(folder: &Path, name: OsString) -> io::Result<(File, Self)> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        loop {
            // Relaxed: only the number matters, nothing is published with it.
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let mut temporary = OsString::from(".");
            temporary.push(&name);
            temporary.push(format!(".{}-{number}.tmp", process::id()));
            let path = folder.join(temporary);
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((file, Self { path, renamed: false })),
                // Left by a process that was killed and had the same id.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // The reason why the file is not wanted is being reported; that it stays is the lesser trouble.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the rename itself last. File systems that cannot sync a folder say that the call is invalid there.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        result => result,
    }
}

/// Folders cannot be opened here.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// As [`write()`], of bytes that are there already.
///
/// # Errors
/// Those of the file system.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, |file| file.write_all(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn replaces_the_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        write_bytes(&path, b"first, and longer").unwrap();
        write_bytes(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(folder.path()), ["state"]);
    }

    #[test]
    fn a_failure_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        write_bytes(&path, b"old").unwrap();
        let result = write(&path, |file| {
            file.write_all(b"half of the n")?;
            Err(io::Error::other("the disk is full"))
        });
        assert_eq!(result.unwrap_err().to_string(), "the disk is full");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["state"]);
    }

    #[test]
    fn a_file_in_the_way_of_the_temporary_one_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let name = OsString::from("state");
        let (_file, first) = Temporary::create(folder.path(), name.clone()).unwrap();
        let (_file, second) = Temporary::create(folder.path(), name).unwrap();
        assert_ne!(first.path, second.path);
    }

    #[test]
    fn what_a_kill_has_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        write_bytes(&path, b"whole").unwrap();
        for name in [".state.123-0.tmp", ".state.9-17.tmp", ".state2.1-0.tmp", "state.tmp"] {
            fs::write(folder.path().join(name), b"half").unwrap();
        }
        remove_leftovers(&path).unwrap();
        let mut left = names(folder.path());
        left.sort();
        assert_eq!(left, [".state2.1-0.tmp", "state", "state.tmp"]);
        assert!(remove_leftovers(&folder.path().join("missing").join("state")).is_err());
    }

    #[test]
    fn refuses_paths_without_a_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(write_bytes(Path::new("/"), b"").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let missing = folder.path().join("missing").join("state");
        assert_eq!(write_bytes(&missing, b"").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(write_bytes(folder.path(), b"").is_err(), "a folder is not replaced");
        assert!(names(folder.path()).is_empty());
    }
}
