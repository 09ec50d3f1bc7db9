//! psql: a script, its own commands, and errors as it shows them.

use std::sync::Arc;

use libtest_mimic::Trial;
use tests::Cluster;

use crate::suite::{Outcome, Suite, same, shared};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        psql_runs_a_script,
        psql_describes_and_reports_errors_as_usual,
    )
    .into()
}

const SCRIPT: &str = "
    \\set ON_ERROR_STOP on
    BEGIN;
    INSERT INTO driver_psql (k, v) VALUES (7, 'seven');
    SAVEPOINT a;
    INSERT INTO driver_psql (k, v) VALUES (7, 'again') ON CONFLICT DO NOTHING;
    RELEASE a;
    COMMIT;
    \\set key 8
    INSERT INTO driver_psql (k, v) VALUES (:key, 'eight') RETURNING v;
    SELECT v FROM driver_psql WHERE k = 7 \\gset
    \\echo :v
    UPDATE driver_psql SET v = upper(v) WHERE k = :key;
    SELECT v FROM driver_psql WHERE k = 8;
    \\timing on
";

async fn psql_runs_a_script(cluster: &Cluster) -> Outcome {
    cluster
        .create(
            "driver_psql",
            "k bigint PRIMARY KEY, v text",
            ("k", "bigint"),
        )
        .await?;
    let shown = cluster.router(0)?.address().psql_script(SCRIPT).await?;
    same!(
        shown.lines().collect::<Vec<_>>(),
        ["eight", "seven", "EIGHT"]
    );
    Ok(())
}

async fn psql_describes_and_reports_errors_as_usual(cluster: &Cluster) -> Outcome {
    cluster
        .create(
            "driver_shown",
            "k bigint PRIMARY KEY, v text",
            ("k", "bigint"),
        )
        .await?;
    let address = cluster.router(0)?.address();
    // The queries of \d ask the catalog, which is alike on every shard.
    let direct = cluster.shard("shard-1")?.address();
    for command in ["\\d driver_shown\n", "\\dt driver_shown\n", "\\l\n"] {
        let shown = address.psql_script(command).await?;
        same!(shown, direct.psql_script(command).await?, "{command}");
        anyhow::ensure!(!shown.is_empty(), "{command} shows nothing");
    }
    let wrong = "SELECT nowhere FROM driver_shown WHERE k = 7";
    let routed = address.psql_output(wrong).await?;
    let direct = direct.psql_output(wrong).await?;
    same!(
        String::from_utf8(routed.stderr)?,
        String::from_utf8(direct.stderr)?
    );
    same!(routed.status.code(), direct.status.code());
    Ok(())
}
