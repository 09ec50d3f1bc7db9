//! What the fronts let in and refuse, on its way to the cluster's audit log. Only managers add to
//! that: this router counts what happens in a [`table`] of bounded size, and a [`courier`] takes
//! it from there to etcd, where the leader fetches it.
//!
//! A statement passes nothing of this. A login, or a refusal, costs a lock and a look into the
//! table, and waits for nobody.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use platform::access::refused::{Observer, Refused};
use prometheus::Registry;
use tokio::time::Instant;
use topology::records::{Occasion, RouterEvent, Surface};

mod courier;
mod metrics;
mod shown;
mod table;

pub use courier::Courier;

use metrics::Metrics;
use shown::shown;
use table::Table;

/// Who has proven nothing.
const ANONYMOUS: &str = "anonymous";

/// What is put on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whether logins that went well are.
    pub logins: bool,
    /// How long what happens again is counted before it is told again.
    pub repeat_interval: Duration,
}

/// Takes events; clones share the table.
#[derive(Debug, Clone)]
pub struct Inbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    logins: bool,
    table: Mutex<Table>,
    metrics: Metrics,
}

/// Why a login is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// The password is wrong.
    WrongPassword,
    /// There is no such user with a password.
    UnknownUser,
    /// The user may not log in.
    Disabled,
    /// What came is no SCRAM-SHA-256.
    Malformed,
    /// Too many logins of the user have failed from there.
    TooManyFailed,
    /// The connection is not encrypted.
    InClear,
    /// No certificate was shown.
    NoCertificate,
    /// A certificate that no authority of ours has issued, or whose time is over.
    BadCertificate,
    /// The certificate is another user's.
    OthersCertificate,
    /// The user may not use the admin console.
    NoOperator,
    /// There is no such database.
    NoDatabase,
    /// There are as many sessions as may be.
    NoPlace,
}

impl Denial {
    fn as_str(self) -> &'static str {
        match self {
            Self::WrongPassword => "wrong password",
            Self::UnknownUser => "unknown user",
            Self::Disabled => "the user is disabled",
            Self::Malformed => "no SCRAM-SHA-256 exchange",
            Self::TooManyFailed => "too many failed logins",
            Self::InClear => "not encrypted",
            Self::NoCertificate => "no client certificate",
            Self::BadCertificate => "the client certificate is not valid here",
            Self::OthersCertificate => "the client certificate is another user's",
            Self::NoOperator => "not in pgwire.admin_users",
            Self::NoDatabase => "no such database",
            Self::NoPlace => "too many clients",
        }
    }

    /// Whether it comes after the user has shown who it is: whoever tries a password may see by it
    /// that the password was right.
    fn is_of_proven(self) -> bool {
        match self {
            Self::NoOperator | Self::NoDatabase | Self::NoPlace => true,
            Self::WrongPassword
            | Self::UnknownUser
            | Self::Disabled
            | Self::Malformed
            | Self::TooManyFailed
            | Self::InClear
            | Self::NoCertificate
            | Self::BadCertificate
            | Self::OthersCertificate => false,
        }
    }
}

/// Somebody at the Postgres port.
#[derive(Debug, Clone, Copy)]
pub struct Visitor<'a> {
    /// Where they come from.
    pub from: IpAddr,
    /// Whom they say they are, where they have said so.
    pub user: Option<&'a str>,
    /// Whether they ask for the admin console.
    pub is_console: bool,
}

impl Visitor<'_> {
    fn occasion(&self, is_proven: bool) -> Occasion {
        let (surface, action) = if self.is_console {
            (Surface::Console, "console_login")
        } else {
            (Surface::Postgres, "pg_login")
        };
        let user = self.user.map(|user| format!("user:{}", shown(user)));
        let actor = user.clone().filter(|_| is_proven);
        Occasion {
            surface: Some(surface),
            actor: actor.unwrap_or_else(|| ANONYMOUS.to_owned()),
            from: Some(self.from.to_canonical().to_string()),
            action: action.to_owned(),
            target: user.unwrap_or_else(|| "user".to_owned()),
            refused: false,
            reason: None,
        }
    }
}

impl Inbox {
    /// An empty one, of the router whose Postgres front is at `address`.
    ///
    /// # Errors
    /// When the name of a metric is taken.
    pub fn register(
        settings: Settings,
        address: &str,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self(Arc::new(Inner {
            logins: settings.logins,
            table: Mutex::new(Table::new(address, settings.repeat_interval)),
            metrics: Metrics::register(registry)?,
        })))
    }

    /// Somebody has logged in.
    pub fn let_in(&self, visitor: Visitor<'_>) {
        if self.0.logins {
            self.note(visitor.occasion(true), None);
        }
    }

    /// Somebody was not let in.
    pub fn denied(&self, visitor: Visitor<'_>, denial: Denial) {
        let occasion = Occasion {
            refused: true,
            reason: Some(denial.as_str().to_owned()),
            ..visitor.occasion(denial.is_of_proven())
        };
        self.note(occasion, None);
    }

    /// Hears of the calls that a front refuses.
    #[must_use]
    pub fn ear(&self, surface: Surface) -> Arc<dyn Observer> {
        Arc::new(Ear {
            inbox: self.clone(),
            surface,
        })
    }

    fn note(&self, occasion: Occasion, request_id: Option<&str>) {
        let is_listed =
            self.table()
                .note(occasion, request_id, (Instant::now(), SystemTime::now()));
        if !is_listed {
            self.0.metrics.unlisted.inc();
        }
    }

    /// What is due, so many events at most; all that there is, before the end.
    fn take(&self, most: usize, is_last: bool) -> Vec<RouterEvent> {
        self.table().take(most, Instant::now(), is_last)
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears of calls for one front.
#[derive(Debug)]
struct Ear {
    inbox: Inbox,
    surface: Surface,
}

impl Observer for Ear {
    fn refused(&self, call: &Refused<'_>) {
        let action = match self.surface {
            Surface::Http => format!("{} {}", call.method, call.route),
            Surface::Grpc | Surface::Postgres | Surface::Console => call.route.to_owned(),
        };
        let occasion = Occasion {
            surface: Some(self.surface),
            actor: call.actor.map_or_else(|| ANONYMOUS.to_owned(), shown),
            from: Some(call.from.to_string()),
            action: shown(&action),
            target: call.route.to_owned(),
            refused: true,
            reason: Some(shown(call.reason)),
        };
        self.inbox.note(occasion, call.request_id);
    }
}
