//! `backup` and `restore`: what is done without a manager.

use super::{Outcome, done};
use crate::args::Output;
use crate::args::backup::{Backup, Other, Restore};
use crate::backup;
use crate::error::Error;
use crate::report::backup as report;

pub(super) async fn backup(command: Backup, output: Output) -> Result<Outcome, Error> {
    match command.command {
        Some(Other::Verify { folder }) => {
            let verified = backup::verify(&folder).await?;
            let report = report::Backup::verified(folder.display().to_string(), &verified);
            Ok(done(&report, output))
        }
        None => {
            let to = command.create.to.clone().unwrap_or_default();
            let created = backup::create(&command.create, &to).await?;
            Ok(done(&report::Backup::created(&created), output))
        }
    }
}

pub(super) async fn restore(command: Restore, output: Output) -> Result<Outcome, Error> {
    let restored = backup::restore(&command).await?;
    Ok(done(&report::Restored::from(restored), output))
}
