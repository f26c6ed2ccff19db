//! `tests/README.md` leads a reader to files that exist, and names every binary.

use std::fs;
use std::path::Path;

const MAP: &str = include_str!("../README.md");

fn tests() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
}

#[test]
fn every_link_of_the_map_leads_to_a_file() {
    let links: Vec<_> =
        MAP.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)).collect();
    assert!(links.len() > 40, "{links:?}");
    for link in links {
        assert!(tests().join(link).is_file(), "tests/README.md: there is no {link}");
    }
}

#[test]
fn every_test_binary_stands_in_the_map() {
    for entry in fs::read_dir(tests()).expect("the tests") {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        if tests().join(&name).join("main.rs").is_file() {
            let link = format!("({name}/main.rs)");
            assert!(MAP.contains(&link), "tests/README.md does not name {name}");
        }
    }
}
