//! A folder for one test.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// A folder that is empty at first, and removed on drop.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let folder = target().join("tmp").join(name);
        // An interrupted run may have left one.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn empty(&self) {
        fs::remove_dir_all(&self.0).expect("it is removed");
        fs::create_dir_all(&self.0).expect("a folder");
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Cargo's target folder. Cargo passes its path to tests, but not to this library.
pub fn target() -> PathBuf {
    let test = env::current_exe().expect("this test");
    test.ancestors().nth(3).expect("in target/debug/deps").to_owned()
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
