//! Pure: what the guards of a shard say by which rows are being moved away from it.
//!
//! Their SQLSTATEs are between the managers, the shards and the routers; no application reads one.

use topology::Epoch;
use wire::backend::Diagnostic;

use super::Error;

/// What a guard has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// VG001: the row's keys are another shard's, or about to be.
    Moved {
        /// The epoch of the hold under which they were closed, where it is told.
        epoch: Option<Epoch>,
    },
    /// VG002: the row's keys are being closed at this moment.
    BeingMoved,
    /// VG003: something that cannot be done while rows are being moved.
    Busy {
        /// The guard's message.
        message: String,
        /// Its DETAIL.
        detail: Option<String>,
        /// Its HINT.
        hint: Option<String>,
    },
    /// VG004 and up: what only a manager is told.
    Internal {
        /// The guard's message.
        message: String,
    },
}

/// The SQLSTATEs begin with it.
const CLASS: &[u8] = b"VG";

/// What the body of an ErrorResponse says, if a guard says it.
#[must_use]
pub fn said(body: &[u8]) -> Option<Said> {
    // Most errors are another's: they are not decoded.
    let mut fields = body.split(|byte| *byte == 0);
    let code = fields.find_map(|field| field.strip_prefix(b"C"))?;
    if !code.starts_with(CLASS) {
        return None;
    }
    let fields = Diagnostic::decode_error(body).ok()?;
    let text = |field: Option<wire::Text<'_>>| field.map(|text| text.to_lossy().into_owned());
    let message = text(fields.message()).unwrap_or_default();
    Some(match code {
        b"VG001" => Said::Moved {
            epoch: fields.detail().and_then(|text| epoch(&text.to_lossy())),
        },
        b"VG002" => Said::BeingMoved,
        b"VG003" => Said::Busy {
            message,
            detail: text(fields.detail()),
            hint: text(fields.hint()),
        },
        _ => Said::Internal { message },
    })
}

/// The number in a detail such as `epoch 41`.
fn epoch(detail: &str) -> Option<Epoch> {
    let digits = detail.trim().rsplit(' ').next()?;
    digits.parse().ok().map(Epoch)
}

impl Said {
    /// Whether the same statement may be run again, elsewhere or later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Moved { .. } | Self::BeingMoved => true,
            Self::Busy { .. } | Self::Internal { .. } => false,
        }
    }

    /// The guard's own SQLSTATE, for metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Moved { .. } => "VG001",
            Self::BeingMoved => "VG002",
            Self::Busy { .. } => "VG003",
            Self::Internal { .. } => "VG004",
        }
    }

    /// What a client is told.
    #[must_use]
    pub fn error(self) -> Error {
        match self {
            Self::Moved { .. } | Self::BeingMoved => Error::Moved { code: self.code() },
            Self::Busy {
                message,
                detail,
                hint,
            } => Error::Busy {
                message,
                detail,
                hint,
            },
            Self::Internal { message } => Error::Internal { message },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(code: &str, more: &str) -> Vec<u8> {
        format!("SERROR\0VERROR\0C{code}\0Mthis row is on another shard\0{more}Fx.c\0\0")
            .replace("\\0", "\0")
            .into_bytes()
    }

    #[test]
    fn guards_are_told_from_other_errors_by_their_code_alone() {
        assert_eq!(said(&body("23505", "DVG001\\0")), None);
        assert_eq!(said(b""), None);
        assert_eq!(said(&body("VG002", "")), Some(Said::BeingMoved));
        assert!(matches!(
            said(&body("VG009", "")),
            Some(Said::Internal { .. })
        ));
    }

    #[test]
    fn the_epoch_that_closed_the_keys_is_read_where_it_is_told() {
        let moved = |epoch| Some(Said::Moved { epoch });
        assert_eq!(said(&body("VG001", "Depoch 41\\0")), moved(Some(Epoch(41))));
        assert_eq!(said(&body("VG001", "D41\\0")), moved(Some(Epoch(41))));
        for detail in ["", "Depoch unknown\\0", "D\\0"] {
            assert_eq!(said(&body("VG001", detail)), moved(None), "{detail}");
        }
    }

    #[test]
    fn what_a_job_does_not_allow_keeps_its_words() {
        let busy = said(&body("VG003", "Hretry after the move\\0"));
        let error = busy.map(Said::error);
        let Some(error) = error else {
            panic!("it is a guard's");
        };
        assert_eq!(error.sqlstate(), "55006");
        assert_eq!(error.to_string(), "this row is on another shard");
        assert_eq!(error.hint(), Some("retry after the move"));
    }
}
