//! Drivers of JavaScript, Java, Ruby and PHP.

use std::sync::Arc;

use libtest_mimic::Trial;
use tests::Cluster;

use super::client::{Client, Language, create_tables};
use crate::suite::{Outcome, Suite, shared};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        node_postgres_sees_no_difference,
        jdbc_sees_no_difference,
        ruby_pg_sees_no_difference,
        php_pdo_sees_no_difference,
    )
    .into()
}

const NODE: Client = Client {
    language: Language::Node,
    name: "node",
    modules: &["pg"],
    arguments: &[],
};

const JDBC: Client = Client {
    language: Language::Java,
    name: "jdbc",
    modules: &["javac", "postgresql.jar"],
    arguments: &[],
};

const RUBY: Client = Client {
    language: Language::Ruby,
    name: "ruby",
    modules: &["pg"],
    arguments: &[],
};

const PHP: Client = Client {
    language: Language::Php,
    name: "php",
    modules: &["pdo_pgsql"],
    arguments: &[],
};

async fn node_postgres_sees_no_difference(cluster: &Cluster) -> Outcome {
    create_tables(cluster, NODE.name).await?;
    NODE.sees_no_difference(cluster).await?;
    let refused = [r#"all shards: "0A000""#, r#"after: [{"a":1}]"#, "end: "];
    NODE.is_refused(cluster, &refused).await
}

async fn jdbc_sees_no_difference(cluster: &Cluster) -> Outcome {
    create_tables(cluster, JDBC.name).await?;
    JDBC.sees_no_difference(cluster).await?;
    let refused = ["all shards: 0A000", "after: [[1]]", "end:"];
    JDBC.is_refused(cluster, &refused).await
}

async fn ruby_pg_sees_no_difference(cluster: &Cluster) -> Outcome {
    create_tables(cluster, RUBY.name).await?;
    RUBY.sees_no_difference(cluster).await?;
    let refused = [r#"all shards: "0A000""#, r#"after: [["1"]]"#, "end: "];
    RUBY.is_refused(cluster, &refused).await
}

async fn php_pdo_sees_no_difference(cluster: &Cluster) -> Outcome {
    create_tables(cluster, PHP.name).await?;
    PHP.sees_no_difference(cluster).await?;
    let refused = [r#"all shards: "0A000""#, "after: 1", "end: "];
    PHP.is_refused(cluster, &refused).await
}
