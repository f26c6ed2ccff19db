//! Every path and every link target in the tracked Markdown files exists: files, anchors, pages of
//! the guide, and paths in backticks. Web addresses are not checked. Rustdoc checks the items of
//! the API.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Text in backticks is a path if it begins with one of these.
const FOLDERS: [&str; 6] = [".ci/", "benches/", "docs/", "examples/", "src/", "tests/"];

#[test]
fn every_link_and_path_has_its_target() {
    let repository = Repository::read();
    let pages: Vec<_> = repository.tracked.iter().filter(|path| is_markdown(path)).collect();
    assert!(pages.len() > 10, "{pages:?}");
    let broken: Vec<_> = pages
        .iter()
        .flat_map(|page| {
            let text = read(page);
            repository.broken(page, &text).into_iter().map(move |what| format!("{page}: {what}"))
        })
        .collect();
    assert!(broken.is_empty(), "no such target:\n{}", broken.join("\n"));
}

#[test]
fn every_page_is_in_the_guides_contents() {
    let guide = read("src/guide.rs");
    let front = read("src/lib.rs");
    for (page, path) in &guide_pages(&guide) {
        assert!(guide.contains(&format!("//! | [`{page}`] |")), "{path} is not in src/guide.rs");
        assert!(front.contains(&format!("(guide::{page})")), "{path} is not in src/lib.rs");
    }
}

#[test]
fn broken_targets_are_found() {
    let repository = Repository {
        tracked: ["README.md", "docs/a.md", "src/lib.rs", "tests/x/y.rs"].map(String::from).into(),
        anchors: BTreeMap::from([
            ("README.md".to_owned(), anchors("# One\n## One\n")),
            ("docs/a.md".to_owned(), anchors("# The `A`-list, *now*\n")),
            (FRONT.to_owned(), anchors("# Guide\n")),
        ]),
        guide: BTreeMap::from([("a".to_owned(), "docs/a.md".to_owned())]),
    };
    for kept in [
        "[a](a.md#the-a-list-now) [top](../README.md#one-1) ![dir](../src)",
        "[web](https://example.com/nothing#x) [item](crate::Token) [method](Token::parse)",
        "[page](crate::guide::a#the-a-list-now) [front](crate#guide) [`code`](a.md)",
        "[ref]\n\n[ref]: ../README.md \"a title\"\n",
        "`src/lib.rs`, `tests/x/`, `tests/x/y.rs --quick`, `cargo run tests/none.rs`, `README.md`",
        "```\n[a](none.md) `src/none.rs`\n```\n~~~text\n[a](none.md)\n~~~\n",
    ] {
        assert_eq!(repository.broken("docs/a.md", kept), [""; 0], "{kept}");
    }
    for broken in [
        "[a](b.md)",
        "[a](#nothing)",
        "[a](../README.md#one-2)",
        "[over two\nlines](../../README.md)",
        "[page](crate::guide::b)",
        "[page](crate::guide::a#nothing)",
        "[front](crate#nothing)",
        "[a]: none.md",
        "`src/none.rs`",
        "`` tests/x/none.rs ``",
        "`NONE.md`",
    ] {
        assert_eq!(repository.broken("docs/a.md", broken).len(), 1, "{broken}");
    }
}

/// The key for the headings of the crate's front page.
const FRONT: &str = "src/lib.rs";

struct Repository {
    tracked: BTreeSet<String>,
    /// The anchors of each Markdown file, and of the crate's front page.
    anchors: BTreeMap<String, BTreeSet<String>>,
    /// The file of each page of the guide, by the name of its module.
    guide: BTreeMap<String, String>,
}

impl Repository {
    fn read() -> Self {
        let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(ROOT).output();
        let listed = String::from_utf8(listed.expect("git").stdout).expect("UTF-8");
        let tracked: BTreeSet<_> =
            listed.split('\0').filter(|path| !path.is_empty()).map(String::from).collect();
        let pages = tracked.iter().filter(|path| is_markdown(path));
        let mut anchors: BTreeMap<_, _> =
            pages.map(|page| (page.clone(), anchors(&read(page)))).collect();
        let front = read(FRONT);
        let front: Vec<_> = front.lines().filter_map(|line| line.strip_prefix("//! ")).collect();
        anchors.insert(FRONT.to_owned(), self::anchors(&front.join("\n")));
        Self { tracked, anchors, guide: guide_pages(&read("src/guide.rs")) }
    }

    /// The targets in this text that do not exist.
    fn broken(&self, page: &str, text: &str) -> Vec<String> {
        let prose = without_fences(text);
        let (prose, spans) = without_spans(&prose);
        let links = links(&prose).into_iter().filter(|link| !self.has(page, link));
        let paths = spans.iter().filter_map(|span| path_in(span)).filter(|path| {
            let beside = resolved(page, path);
            !self.exists(path) && !beside.is_some_and(|path| self.exists(&path))
        });
        links.chain(paths).map(str::to_owned).collect()
    }

    fn has(&self, page: &str, link: &str) -> bool {
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let is_on_the_web = path.contains("://") || path.starts_with("mailto:");
        let is_item = |byte: u8| byte.is_ascii_alphanumeric() || b"_:".contains(&byte);
        let target = if is_on_the_web {
            return true;
        } else if path.is_empty() {
            page.to_owned()
        } else if path == "crate" {
            FRONT.to_owned()
        } else if let Some(name) = path.strip_prefix("crate::guide::") {
            let Some(path) = self.guide.get(name) else { return false };
            path.clone()
        } else if path.bytes().all(is_item) && !self.exists(path) {
            return true;
        } else {
            let Some(path) = resolved(page, path) else { return false };
            path
        };
        let has_anchor = || self.anchors.get(&target).is_some_and(|known| known.contains(anchor));
        self.exists(&target) && (anchor.is_empty() || has_anchor())
    }

    /// Whether git tracks this file, or a file in this folder.
    fn exists(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        let inside = self.tracked.range(folder.clone()..).next();
        self.tracked.contains(path) || inside.is_some_and(|first| first.starts_with(&folder))
    }
}

fn read(path: &str) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn is_markdown(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "md")
}

/// The modules of the guide that include a file: `#[doc = include_str!("../FILE")] pub mod NAME`.
fn guide_pages(guide: &str) -> BTreeMap<String, String> {
    let pages = guide.split("include_str!(\"../").skip(1).map(|rest| {
        let (path, rest) = rest.split_once('"').expect("a path");
        let (_, rest) = rest.split_once("pub mod ").expect("a module");
        let (name, _) = rest.split_once(' ').expect("a name");
        (name.to_owned(), path.to_owned())
    });
    pages.collect()
}

/// A path relative to `page`, as a path from the root; `None` if it leads out of the repository.
fn resolved(page: &str, path: &str) -> Option<String> {
    let mut parts: Vec<_> = page.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The first word of a code span, if it names a file or a folder of the repository.
fn path_in(span: &str) -> Option<&str> {
    let word = span.split_whitespace().next()?;
    let is_path = FOLDERS.iter().any(|folder| word.starts_with(folder)) || is_markdown(word);
    is_path.then_some(word)
}

fn without_fences(text: &str) -> String {
    let mut fence: Option<&str> = None;
    let mut prose = String::new();
    for line in text.lines() {
        let begin = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(mark));
        match (fence, begin) {
            (None, None) => {
                prose.push_str(line);
                prose.push('\n');
            }
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (Some(_), _) => {}
        }
    }
    prose
}

/// The text, and the code spans that were in it.
fn without_spans(text: &str) -> (String, Vec<String>) {
    let (mut prose, mut spans) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find('`') {
        let (before, from) = rest.split_at(at);
        prose.push_str(before);
        let ticks = from.len() - from.trim_start_matches('`').len();
        let (mark, behind) = from.split_at(ticks);
        let end = behind
            .match_indices(mark)
            .map(|(at, _)| at)
            .find(|at| !behind[..*at].ends_with('`') && !behind[at + ticks..].starts_with('`'));
        match end {
            Some(end) => {
                spans.push(behind[..end].trim().to_owned());
                rest = &behind[end + ticks..];
            }
            None => rest = behind,
        }
    }
    prose.push_str(rest);
    (prose, spans)
}

/// The targets of inline links, of images, and of reference definitions.
fn links(prose: &str) -> Vec<&str> {
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let definitions = prose.lines().filter_map(|line| {
        let (_, target) = line.trim_start().strip_prefix('[')?.split_once("]:")?;
        Some(target)
    });
    inline.chain(definitions).filter_map(|target| target.split_whitespace().next()).collect()
}

/// The anchors of all headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let prose = without_fences(text);
    let headings = prose.lines().filter_map(|line| {
        let heading = line.trim_start_matches('#');
        let level = line.len() - heading.len();
        (1..=6).contains(&level).then(|| heading.strip_prefix(' ')).flatten()
    });
    let anchors = headings.map(|heading| {
        let slug = slug(heading);
        let before = seen.entry(slug.clone()).or_default();
        *before += 1;
        if *before == 1 { slug } else { format!("{slug}-{}", *before - 1) }
    });
    anchors.collect()
}

fn slug(heading: &str) -> String {
    let letters = heading.trim().chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        letter if letter.is_alphanumeric() => Some(letter),
        _ => None,
    });
    letters.flat_map(char::to_lowercase).collect()
}
