//! Variables whose values lie in files, as orchestrators mount secrets: `NAME_FILE` names the file
//! that holds the value of `NAME`.

use std::io::{self, Read as _};
use std::path::Path;

use super::{Env, Violation, Violations};

const SUFFIX: &str = "_FILE";

/// A larger file holds no variable.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// What begins the names of variables that the programs read, besides overrides of fields. Other
/// variables may be read too, when a field names them; or they belong to somebody else.
const OURS: [&str; 3] = ["DB_", "ETCD_", "JWT_"];

/// Hands the environment, with what is in files, to `read`; `prefix` begins overrides of fields.
///
/// # Errors
/// What is wrong with the files, and all that `read` finds.
pub fn with_files<T>(
    prefix: &str,
    env: Env<'_>,
    read: impl FnOnce(Env<'_>) -> Result<T, Violations>,
) -> Result<T, Violations> {
    let (mut complete, mut wrong) = (env.clone(), Vec::new());
    let overrides = format!("{prefix}__");
    for (variable, path) in env {
        let name = variable.strip_suffix(SUFFIX);
        let Some(name) = name.filter(|_| !path.is_empty()) else {
            continue;
        };
        let is_override = name.starts_with(&overrides);
        let is_ours = is_override || OURS.iter().any(|start| name.starts_with(start));
        let is_set = env.get(name).is_some_and(|value| !value.is_empty());
        let found = if is_set {
            Err(format!("must not be set beside {name}"))
        } else {
            value(Path::new(path)).map_err(|error| format!("names {path:?}: {error}"))
        };
        if is_override {
            complete.remove(variable);
        }
        match found {
            Ok(value) => drop(complete.insert(name.to_owned(), value)),
            Err(rule) if is_ours => wrong.push(Violation {
                path: variable.clone(),
                rule,
            }),
            Err(_) => {}
        }
    }
    match (read(&complete), wrong.is_empty()) {
        (result, true) => result,
        (Ok(_), false) => Err(Violations(wrong)),
        (Err(Violations(more)), false) => {
            wrong.extend(more);
            Err(Violations(wrong))
        }
    }
}

/// What the file holds, but for the end of its line.
fn value(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    let length = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(length).is_ok_and(|length| length > MAX_FILE_BYTES) {
        let rule = format!("is larger than {MAX_FILE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, rule));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn completed(env: &[(&str, &str)]) -> Result<BTreeMap<String, String>, String> {
        let env = env.iter();
        let env = env.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let completed = with_files("ROUTER", &env.collect(), |env| Ok(env.clone()));
        completed.map_err(|wrong| wrong.to_string())
    }

    /// A file that goes with the value.
    struct File(std::path::PathBuf);

    impl File {
        fn new(name: &str, text: &[u8]) -> Self {
            let name = format!("platform-files-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, text).unwrap();
            Self(path)
        }

        fn path(&self) -> &str {
            self.0.to_str().unwrap()
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _gone = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_file_gives_the_value_without_the_end_of_its_line() {
        let file = File::new("value", b" of a file \r\n");
        let env = completed(&[
            ("DB_PASSWORD_FILE", file.path()),
            ("ROUTER__SECURITY__JWT_SECRET_FILE", file.path()),
            ("ALICE_FILE", file.path()),
            ("ETCD_PASSWORD_FILE", ""),
            ("ETCD_PASSWORD", "here"),
        ]);
        let env = env.unwrap();
        for name in ["DB_PASSWORD", "ROUTER__SECURITY__JWT_SECRET", "ALICE"] {
            assert_eq!(env[name], " of a file ", "{name}");
        }
        assert_eq!(env["ETCD_PASSWORD"], "here");
        // It would be taken for a field of that name.
        assert!(!env.contains_key("ROUTER__SECURITY__JWT_SECRET_FILE"));
    }

    #[test]
    fn a_file_of_ours_that_gives_no_value_is_a_violation() {
        let large = File::new("large", &[b'a'; 70_000]);
        let binary = File::new("binary", &[0xff; 10]);
        for path in ["/nowhere", large.path(), binary.path()] {
            let wrong = completed(&[("JWT_SECRET_FILE", path)]).unwrap_err();
            assert!(wrong.starts_with("JWT_SECRET_FILE: names"), "{wrong}");
            assert!(!wrong.contains("aaa"), "{wrong}");
            assert!(completed(&[("SSL_CERT_FILE", path)]).is_ok());
        }
        let both = [("DB_PASSWORD", "a"), ("DB_PASSWORD_FILE", "/nowhere")];
        let wrong = completed(&both).unwrap_err();
        assert_eq!(
            wrong,
            "DB_PASSWORD_FILE: must not be set beside DB_PASSWORD"
        );
    }
}
