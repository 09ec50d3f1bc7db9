//! What a form decides, its text decides, too.

use super::cluster::snapshot;
use crate::query::{Form, analyze};
use crate::route::{Constants, NoParameters, holds_for_texts, plan, resolve};

const CORPUS: &str = include_str!("../../../testdata/routes.txt");

/// The statements of the corpus, each as one text.
fn texts() -> Vec<String> {
    let lines = CORPUS.lines().filter(|line| !line.starts_with('#'));
    let lines: Vec<&str> = lines.collect();
    let statements = lines.split(|line| line.starts_with("=> "));
    let texts = statements.map(|lines| lines.join("\n").trim().to_owned());
    texts.filter(|text| !text.is_empty()).collect()
}

#[test]
fn a_form_never_sends_a_text_elsewhere() {
    let snapshot = snapshot();
    let mut form = Form::default();
    let mut decided = 0;
    for sql in texts() {
        if !form.read(&sql) {
            continue;
        }
        let Ok(analysis) = analyze(&form.text) else {
            continue;
        };
        let [statement] = analysis.statements.as_slice() else {
            continue;
        };
        let by_form = plan(statement, &snapshot, &["public"]);
        if !holds_for_texts(statement, &by_form) {
            continue;
        }
        let Ok(found) = resolve(&by_form, &Constants::new(&sql, &form), None, &snapshot) else {
            continue;
        };
        let analysis = analyze(&sql).unwrap();
        let by_text = plan(&analysis.statements[0], &snapshot, &["public"]);
        let expected = resolve(&by_text, &NoParameters, None, &snapshot);
        assert_eq!(expected, Ok(found), "{sql}\n{by_text:?}\n{by_form:?}");
        decided += 1;
    }
    assert!(decided > 50, "only {decided} texts were decided by form");
}
