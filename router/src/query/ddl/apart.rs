//! Changes that PostgreSQL makes outside of a transaction block, or for a whole server: upkeep of
//! tables, and roles.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AlterRoleSetStmt, ClusterStmt, ReindexObjectType, ReindexStmt, VacuumStmt,
};

use super::super::names;
use super::{Change, Ddl, Manner};

/// Such a change; none when the statement is something else.
pub(super) fn of(node: &NodeEnum) -> Option<Ddl> {
    Some(match node {
        NodeEnum::VacuumStmt(it) => vacuum(it),
        NodeEnum::ClusterStmt(it) => cluster(it),
        NodeEnum::ReindexStmt(it) => reindex(it),
        other => Ddl::new(of_server(other)?).in_manner(Manner::OncePerServer),
    })
}

/// The tag of a change to what all databases of a server share.
fn of_server(node: &NodeEnum) -> Option<&'static str> {
    Some(match node {
        NodeEnum::CreateRoleStmt(_) => "CREATE ROLE",
        NodeEnum::AlterRoleStmt(_) => "ALTER ROLE",
        NodeEnum::AlterRoleSetStmt(it) if is_harmless(it) => "ALTER ROLE",
        NodeEnum::DropRoleStmt(_) => "DROP ROLE",
        NodeEnum::GrantRoleStmt(it) if it.is_grant => "GRANT ROLE",
        NodeEnum::GrantRoleStmt(_) => "REVOKE ROLE",
        _ => return None,
    })
}

/// Whether what a role's sessions begin with is not what routers rely on: their own logins are
/// roles, too.
fn is_harmless(alter: &AlterRoleSetStmt) -> bool {
    let name = alter.setstmt.as_ref().map_or("", |set| set.name.as_str());
    let name = name.to_ascii_lowercase();
    let relied_on = [
        "client_encoding",
        "session_replication_role",
        "standard_conforming_strings",
        "transform_null_equals",
    ];
    !relied_on.contains(&&*name) && !name.starts_with("vg.") && !name.starts_with("sharding.")
}

fn vacuum(vacuum: &VacuumStmt) -> Ddl {
    let tag = if vacuum.is_vacuumcmd {
        "VACUUM"
    } else {
        "ANALYZE"
    };
    let tables = vacuum.rels.iter().filter_map(|node| match &node.node {
        Some(NodeEnum::VacuumRelation(it)) => it.relation.as_ref().map(names::table),
        _ => None,
    });
    Ddl::with(tag, tables.map(Change::Alter).collect()).in_manner(Manner::InTurn)
}

fn cluster(cluster: &ClusterStmt) -> Ddl {
    let table = cluster.relation.as_ref().map(names::table);
    let changes = table.map(Change::Alter).into_iter().collect();
    Ddl::with("CLUSTER", changes).in_manner(Manner::InTurn)
}

fn reindex(reindex: &ReindexStmt) -> Ddl {
    let table = match reindex.kind() {
        ReindexObjectType::ReindexObjectTable => reindex.relation.as_ref().map(names::table),
        _ => None,
    };
    let changes = table.map(Change::Alter).into_iter().collect();
    Ddl::with("REINDEX", changes).in_manner(Manner::InTurn)
}
