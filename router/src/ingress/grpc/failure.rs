//! An error as a gRPC status, with `sqlstate`, `detail` and `hint` in its metadata.

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::error::Error;

/// Longest text of one metadata entry: headers are bounded in number and size everywhere.
const MAX_METADATA_BYTES: usize = 1024;

/// The status of an error. By value, since it stands in `map_err`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that map_err asks for"
)]
pub(super) fn status(error: Error) -> Status {
    let mut metadata = MetadataMap::new();
    let fields = [
        ("sqlstate", Some(error.sqlstate())),
        ("detail", error.detail()),
        ("hint", error.hint()),
    ];
    for (name, text) in fields {
        if let Some(value) = text.and_then(|text| MetadataValue::try_from(visible(text)).ok()) {
            metadata.insert(name, value);
        }
    }
    let code = Code::from_i32(error.kind().grpc_code());
    Status::with_metadata(code, error.to_string(), metadata)
}

/// Metadata holds visible ASCII only.
fn visible(text: &str) -> String {
    let shown = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    text.chars().take(MAX_METADATA_BYTES).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_the_sqlstate_and_the_hint() {
        let status = status(Error::Shard {
            sqlstate: "23505".to_owned(),
            message: "duplicate key \u{e9}".to_owned(),
            detail: Some("Key (id)=(\u{e9}) already exists.".to_owned()),
            hint: None,
        });
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.message(), "duplicate key \u{e9}");
        assert_eq!(status.metadata().get("sqlstate").unwrap(), "23505");
        let detail = status.metadata().get("detail").unwrap();
        assert_eq!(detail, "Key (id)=(?) already exists.");
        assert!(status.metadata().get("hint").is_none());
    }
}
