//! `docs/errors.md`, made of the table of codes.

use std::fmt::Write;
use std::path::Path;

use super::Code;

const HEAD: &str = "# Errors

Every error is a JSON object with `message`, `code`, `type` and `link`, as Meilisearch's are. Codes that begin with `miroir_` are
Miroir's own; all others are Meilisearch's, with its types and statuses, whether Miroir or a node answers. An answer of 503 says in
`Retry-After` when to come back.

This page is made of `src/error/codes.rs`: `MIROIR_WRITE_DOCS=1 cargo test -p miroir --lib error::documentation` writes it.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut section = |title: &str, is_in: &dyn Fn(&Code) -> bool| {
        write!(page, "\n## {title}\n\n| code | status | type | when |\n|---|---|---|---|\n")
            .expect("writing to memory");
        let mut codes: Vec<&Code> = Code::ALL.iter().filter(|code| is_in(code)).collect();
        codes.sort_by_key(|code| code.name());
        for code in codes {
            let (name, status, kind, text) = (code.name(), code.status(), code.error_type().name(), code.text());
            writeln!(page, "| <a id=\"{name}\"></a>`{name}` | {status} | {kind} | {text} |")
                .expect("writing to memory");
        }
    };
    section("Miroir's own", &|code| code.is_miroirs());
    section("Meilisearch's", &|code| !code.is_miroirs());
    page
}

#[test]
fn docs_errors_md_says_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    if std::env::var_os("MIROIR_WRITE_DOCS").is_some() {
        std::fs::write(&path, page()).expect("docs/errors.md is written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/errors.md is not what src/error/codes.rs says; its head tells how to write it anew"
    );
}

#[test]
fn every_code_stands_once_and_is_named_after_its_variant() {
    let mut names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    for code in Code::ALL {
        assert_eq!(code.name().replace('_', ""), format!("{code:?}").to_lowercase());
        assert!((400..600).contains(&code.status()) && code.text().ends_with('.'), "{code:?}");
    }
}
