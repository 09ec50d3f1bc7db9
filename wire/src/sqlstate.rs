//! The SQLSTATE codes that a router answers with or looks for.

use std::fmt;

/// Five upper-case letters or digits that say what kind of error it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// The code that these bytes spell, if they spell one.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let code: [u8; 5] = bytes.try_into().ok()?;
        let spelled = code
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        spelled.then_some(Self(code))
    }

    /// The five characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a SqlState holds five ASCII characters")
    }

    /// Whether the code is of this class, its first two characters.
    #[must_use]
    pub fn is_class(self, class: [u8; 2]) -> bool {
        self.0.starts_with(&class)
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SqlState({})", self.as_str())
    }
}

macro_rules! codes {
    ($($name:ident = $code:literal, $meaning:literal;)*) => {
        impl SqlState {
            $(#[doc = $meaning] pub const $name: Self = Self(*$code);)*
        }

        #[cfg(test)]
        const ALL: &[SqlState] = &[$(SqlState::$name),*];
    };
}

codes! {
    SUCCESS = b"00000", "00000: nothing is wrong.";
    CONNECTION_EXCEPTION = b"08000", "08000: a connection went wrong.";
    CANNOT_CONNECT = b"08001", "08001: the connection could not be made.";
    CONNECTION_DOES_NOT_EXIST = b"08003", "08003: there is no such connection.";
    CONNECTION_REJECTED = b"08004", "08004: the server turned the connection down.";
    CONNECTION_FAILURE = b"08006", "08006: the connection broke.";
    TRANSACTION_RESOLUTION_UNKNOWN = b"08007", "08007: whether the transaction took is unknown.";
    PROTOCOL_VIOLATION = b"08P01", "08P01: a message breaks the protocol.";
    FEATURE_NOT_SUPPORTED = b"0A000", "0A000: this is not supported.";
    NUMERIC_VALUE_OUT_OF_RANGE = b"22003", "22003: a number is out of its type's range.";
    CHARACTER_NOT_IN_REPERTOIRE = b"22021", "22021: bytes are not valid in their encoding.";
    INVALID_PARAMETER_VALUE = b"22023", "22023: a setting or code has no such value.";
    INVALID_TEXT_REPRESENTATION = b"22P02", "22P02: a text does not spell a value of its type.";
    INVALID_BINARY_REPRESENTATION = b"22P03", "22P03: bytes are not a value of their type.";
    ACTIVE_TRANSACTION = b"25001", "25001: not allowed inside a transaction.";
    NO_ACTIVE_TRANSACTION = b"25P01", "25P01: there is no transaction.";
    IN_FAILED_TRANSACTION = b"25P02", "25P02: the transaction is aborted.";
    INVALID_STATEMENT_NAME = b"26000", "26000: there is no such prepared statement.";
    INVALID_AUTHORIZATION = b"28000", "28000: this user may not connect.";
    INVALID_PASSWORD = b"28P01", "28P01: the password is wrong.";
    INVALID_CURSOR_NAME = b"34000", "34000: there is no such portal.";
    INVALID_CATALOG_NAME = b"3D000", "3D000: there is no such database.";
    SERIALIZATION_FAILURE = b"40001", "40001: the transaction must be tried again.";
    DEADLOCK_DETECTED = b"40P01", "40P01: the transaction was chosen to end a deadlock.";
    SYNTAX_ERROR = b"42601", "42601: the statement does not parse.";
    UNDEFINED_TABLE = b"42P01", "42P01: there is no such table.";
    UNDEFINED_OBJECT = b"42704", "42704: there is no such object or setting.";
    DUPLICATE_PREPARED_STATEMENT = b"42P05", "42P05: the prepared statement exists already.";
    TOO_MANY_CONNECTIONS = b"53300", "53300: no connection is left.";
    CONFIGURATION_LIMIT_EXCEEDED = b"53400", "53400: a configured limit is reached.";
    PROGRAM_LIMIT_EXCEEDED = b"54000", "54000: a fixed limit is reached.";
    OBJECT_NOT_IN_PREREQUISITE_STATE = b"55000", "55000: not possible in this state.";
    QUERY_CANCELED = b"57014", "57014: cancelled, by request or timeout.";
    ADMIN_SHUTDOWN = b"57P01", "57P01: the server is being shut down.";
    CRASH_SHUTDOWN = b"57P02", "57P02: the server crashed.";
    CANNOT_CONNECT_NOW = b"57P03", "57P03: the server is starting or stopping.";
    IDLE_SESSION_TIMEOUT = b"57P05", "57P05: the session was idle for too long.";
    SYSTEM_ERROR = b"58000", "58000: something outside the database went wrong.";
    INTERNAL_ERROR = b"XX000", "XX000: a fault of the program.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constant_spells_itself() {
        for code in ALL {
            assert_eq!(SqlState::parse(code.as_str().as_bytes()), Some(*code));
        }
    }

    #[test]
    fn no_two_constants_are_equal() {
        let distinct: std::collections::BTreeSet<_> = ALL.iter().collect();
        assert_eq!(distinct.len(), ALL.len());
    }

    #[test]
    fn what_is_not_five_capitals_or_digits_is_no_code() {
        for bytes in [
            &b""[..],
            b"0800",
            b"080000",
            b"08p01",
            b"08 01",
            b"08\xff01",
        ] {
            assert_eq!(SqlState::parse(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn the_class_is_the_first_two_characters() {
        assert!(SqlState::CONNECTION_FAILURE.is_class(*b"08"));
        assert!(!SqlState::CONNECTION_FAILURE.is_class(*b"06"));
    }
}
