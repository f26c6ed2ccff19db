//! Error texts that the guide quotes are those of the source.

const PAGE: &str = include_str!("../../docs/compile-errors.md");
const ANSWERS: &str = include_str!("../../src/middleware/answers.rs");

/// A user who searches the guide for the compiler's message must find it.
#[test]
fn page_on_compile_errors_quotes_the_diagnostic() {
    let message = ANSWERS.split("message = \"").nth(1).and_then(|rest| rest.split('"').next());
    let message = message.expect("the diagnostic of `Answer`");
    let (_, rest) = message.split_once("`{Self}`").expect("it begins with the type");
    let (common, _) = rest.split_once("`{R}`").expect("it ends with the body type");
    let quoted = PAGE.lines().filter(|line| line.starts_with("error[E0277]: `"));
    let quoted: Vec<_> = quoted.filter(|line| line.contains("PolarLogoutLayer")).collect();
    assert_eq!(quoted.len(), 2, "{quoted:?}");
    assert!(quoted.iter().all(|line| line.contains(common)), "{quoted:?} should say `{common}`");
}
