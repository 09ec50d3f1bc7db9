//! The habits of CONTRIBUTING.md that a machine can check, over every file of the repository.
//!
//! What rustc, clippy and rustfmt check is left to them: function length, parameters, unused code,
//! layout. A rule says what to do instead, and all violations are reported at once.
#![expect(
    clippy::string_slice,
    reason = "offsets come from searches of the same text"
)]

mod checklist;
mod code;
mod crates;
mod documents;
mod modules;
mod report;
mod shape;
mod source;
mod tree;

use report::Report;
use tree::Tree;

#[test]
fn the_repository_keeps_its_habits() {
    let tree = Tree::read();
    let mut report = Report::default();
    shape::check(&tree, &mut report);
    code::check(&tree, &mut report);
    crates::check(&tree, &mut report);
    modules::check(&tree, &mut report);
    documents::check(&tree, &mut report);
    checklist::check(&tree, &mut report);
    report.assert_empty();
}
