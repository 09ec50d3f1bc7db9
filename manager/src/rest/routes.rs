//! The table of REST: every route with who may call it. The axum router, the OpenAPI document and
//! the tests are made of it.

use axum::extract::State;
use platform::access::Need::{self, Identity, Nothing};
use platform::access::Role;
use platform::http_error::Json;
use platform::routes::document::{Form, document};
use platform::telemetry::level;
use serde_json::{Value, json};

use super::reshard::body::{AddShard, Drain, Merge, Move, Options, Rebalance, Split};
use super::reshard::shape::{Job, Plan};
use super::{
    audit, auth, failover, reshard, routers, schema, shards, system, tables, topology, users,
};
use crate::service::Service;

/// A route of REST.
pub type Route = platform::routes::Route<Service>;

const VIEWER: Need = Need::Role(Role::Viewer);
const OPERATOR: Need = Need::Role(Role::Operator);
const ADMIN: Need = Need::Role(Role::Admin);

/// All routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    let parts = [
        of_auth(),
        of_shards(),
        of_tables(),
        of_users(),
        of_reshard(),
        of_jobs(),
        of_rest(),
        level::routes("/api/v1/log-level"),
    ];
    parts.into_iter().flatten().collect()
}

fn of_auth() -> Vec<Route> {
    vec![
        Route::post("/api/v1/auth/setup", Nothing, auth::setup)
            .does("create the first administrator, once, and log in")
            .takes::<auth::Login>()
            .gives::<auth::Session>(201)
            .at_the_door(),
        Route::post("/api/v1/auth/login", Nothing, auth::login)
            .does("log in")
            .takes::<auth::Login>()
            .gives::<auth::Session>(200)
            .at_the_door(),
        Route::post("/api/v1/auth/refresh", Nothing, auth::refresh)
            .does("exchange a refresh token for new tokens")
            .takes::<auth::Refresh>()
            .gives::<auth::Session>(200)
            .at_the_door(),
        Route::post("/api/v1/auth/logout", Identity, auth::logout)
            .does("end the session of the token that is sent along")
            .answers(204),
        Route::get("/api/v1/auth/me", Identity, auth::me)
            .does("say who the caller is")
            .gives::<auth::Me>(200),
        Route::get("/api/v1/auth/accounts", ADMIN, auth::list_accounts)
            .does("list the accounts of the control plane")
            .gives::<auth::Accounts>(200),
        Route::post("/api/v1/auth/accounts", ADMIN, auth::create_account)
            .does("create an account")
            .takes::<auth::NewAccount>()
            .gives::<auth::Account>(201),
        Route::get("/api/v1/auth/accounts/{name}", ADMIN, auth::find_account)
            .does("show an account")
            .gives::<auth::Account>(200),
        Route::patch("/api/v1/auth/accounts/{name}", ADMIN, auth::update_account)
            .does("change an account and end its sessions")
            .takes::<auth::AccountChange>()
            .gives::<auth::Account>(200),
        Route::delete("/api/v1/auth/accounts/{name}", ADMIN, auth::delete_account)
            .does("forget an account and end its sessions")
            .answers(204),
        Route::get("/api/v1/auth/keys", ADMIN, auth::list_keys)
            .does("list the API keys")
            .gives::<auth::ApiKeys>(200),
        Route::post("/api/v1/auth/keys", ADMIN, auth::create_key)
            .does("make an API key, which is shown once")
            .takes::<auth::NewKey>()
            .gives::<auth::MadeKey>(201),
        Route::delete("/api/v1/auth/keys/{id}", ADMIN, auth::revoke_key)
            .does("revoke an API key")
            .answers(204),
    ]
}

fn of_shards() -> Vec<Route> {
    vec![
        Route::get("/api/v1/shards", VIEWER, shards::list)
            .does("list the shards")
            .gives::<shards::Shards>(200),
        Route::post("/api/v1/shards", OPERATOR, shards::create)
            .does("register a shard")
            .takes::<shards::NewShard>()
            .gives::<shards::Shard>(201),
        Route::get("/api/v1/shards/{id}", VIEWER, shards::find)
            .does("show a shard")
            .gives::<shards::Shard>(200),
        Route::post("/api/v1/shards/{id}/promote", OPERATOR, failover::promote)
            .does("make a replica the shard's primary")
            .takes::<failover::Promote>()
            .gives::<failover::Promotion>(200),
        Route::delete("/api/v1/shards/{id}", OPERATOR, shards::delete)
            .does("forget a shard")
            .answers(204),
    ]
}

fn of_tables() -> Vec<Route> {
    vec![
        Route::get("/api/v1/groups", VIEWER, tables::list_groups)
            .does("list the table groups")
            .gives::<tables::Groups>(200),
        Route::post("/api/v1/groups", OPERATOR, tables::create_group)
            .does("create a table group")
            .takes::<tables::Group>()
            .gives::<tables::Group>(201),
        Route::get("/api/v1/tables", VIEWER, tables::list)
            .does("list the registered tables")
            .gives::<tables::Tables>(200),
        Route::post("/api/v1/tables", OPERATOR, tables::create)
            .does("register a table")
            .takes::<tables::NewTable>()
            .gives::<tables::Table>(201),
        Route::get("/api/v1/tables/{name}", VIEWER, tables::find)
            .does("show a registered table")
            .gives::<tables::Table>(200),
        Route::delete("/api/v1/tables/{name}", OPERATOR, tables::delete)
            .does("forget a table that exists on no shard")
            .answers(204),
        Route::get("/api/v1/schema/diff", VIEWER, schema::diff)
            .does("compare the shards' schemas")
            .gives::<schema::Diff>(200),
        Route::post("/api/v1/schema/repair", OPERATOR, schema::repair)
            .does("create on one shard what it lacks of another one's schema")
            .takes::<schema::Pair>()
            .gives::<schema::Repair>(200),
    ]
}

/// Users of the Postgres front: whoever makes one lets somebody at the rows.
fn of_users() -> Vec<Route> {
    let change = |route: Route| {
        route
            .does("change a user's password, or whether it may log in")
            .takes::<users::UserChange>()
            .gives::<users::User>(200)
    };
    vec![
        Route::get("/api/v1/users", VIEWER, users::list)
            .does("list the users of the Postgres front")
            .gives::<users::Users>(200),
        Route::post("/api/v1/users", ADMIN, users::create)
            .does("let a user in")
            .takes::<users::NewUser>()
            .gives::<users::User>(201),
        Route::get("/api/v1/users/{name}", VIEWER, users::find)
            .does("show a user")
            .gives::<users::User>(200),
        change(Route::patch("/api/v1/users/{name}", ADMIN, users::update)),
        change(Route::put("/api/v1/users/{name}", ADMIN, users::update)),
        Route::delete("/api/v1/users/{name}", ADMIN, users::delete)
            .does("forget a user")
            .answers(204),
    ]
}

fn of_reshard() -> Vec<Route> {
    let kinds = ["split", "merge", "move", "add-shard", "drain", "rebalance"];
    let plan = json!({
        "type": "object",
        "required": ["type"],
        "properties": { "type": { "type": "string", "enum": kinds } },
    });
    let run = json!({
        "type": "object",
        "required": ["plan_id"],
        "properties": { "plan_id": { "type": "string", "minLength": 1 } },
    });
    vec![
        Route::post("/api/v1/reshard/plan", VIEWER, reshard::plan)
            .does("show what a change of the ring would move")
            .takes_json("PlanRequest", plan)
            .gives::<Plan>(200),
        Route::post("/api/v1/reshard/run", OPERATOR, reshard::run_plan)
            .does("run a plan that was shown")
            .takes_json("RunRequest", run)
            .answers(202),
        Route::post("/api/v1/reshard/split", OPERATOR, reshard::start::<Split>)
            .does("split a shard")
            .takes_both::<Split, Options>()
            .answers(202),
        Route::post("/api/v1/reshard/merge", OPERATOR, reshard::start::<Merge>)
            .does("merge shards")
            .takes_both::<Merge, Options>()
            .answers(202),
        Route::post("/api/v1/reshard/move", OPERATOR, reshard::start::<Move>)
            .does("move vnodes")
            .takes_both::<Move, Options>()
            .answers(202),
        Route::post("/api/v1/reshard/drain", OPERATOR, reshard::start::<Drain>)
            .does("move all from a shard")
            .takes_both::<Drain, Options>()
            .answers(202),
        Route::post(
            "/api/v1/reshard/add-shard",
            OPERATOR,
            reshard::start::<AddShard>,
        )
        .does("register a shard and move its part to it")
        .takes_both::<AddShard, Options>()
        .answers(202),
        Route::post(
            "/api/v1/reshard/rebalance",
            OPERATOR,
            reshard::start::<Rebalance>,
        )
        .does("move vnodes so that each shard has its share")
        .takes_both::<Rebalance, Options>()
        .answers(202),
    ]
}

fn of_jobs() -> Vec<Route> {
    vec![
        Route::get("/api/v1/reshard/jobs", VIEWER, reshard::list)
            .does("list the jobs")
            .gives::<reshard::Jobs>(200),
        Route::get("/api/v1/reshard/jobs/{id}", VIEWER, reshard::find)
            .does("show a job")
            .gives::<Job>(200),
        Route::get("/api/v1/reshard/jobs/{id}/events", VIEWER, reshard::events)
            .does("follow a job as server-sent events")
            .answers(200),
        Route::post(
            "/api/v1/reshard/jobs/{id}/{request}",
            OPERATOR,
            reshard::ask,
        )
        .does("pause, resume, cancel, rollback or finish a job")
        .answers(200),
    ]
}

fn of_rest() -> Vec<Route> {
    let audit = Route::get("/api/v1/audit", VIEWER, audit::list).does("list the audit log");
    let texts = [
        "actor",
        "action",
        "target",
        "from",
        "request_id",
        "result",
        "since",
        "until",
    ];
    let audit = texts
        .into_iter()
        .fold(audit, |route, name| route.asks(name, Form::Text));
    let counts = ["limit", "before"];
    let audit = counts
        .into_iter()
        .fold(audit, |route, name| route.asks(name, Form::Count));
    vec![
        audit.answers(200),
        Route::get("/api/v1/audit/verify", VIEWER, audit::verify)
            .does("check that the audit log is what was written")
            .answers(200),
        Route::get("/api/v1/routers", VIEWER, routers::list)
            .does("list the routers that live")
            .answers(200),
        Route::get("/api/v1/ring", VIEWER, topology::ring)
            .does("show the ring")
            .answers(200),
        Route::get("/api/v1/topology", VIEWER, topology::topology)
            .does("show shards, groups, tables and epoch")
            .answers(200),
        Route::get("/api/v1/shard-for-key", VIEWER, topology::shard_for_key)
            .does("say which shard a key hashes to")
            .asks("key", Form::NeededText)
            .asks("group", Form::Text)
            .answers(200),
        Route::get("/api/v1/health", Identity, system::health)
            .does("say how this manager and the shards are")
            .gives::<system::Health>(200),
        Route::get("/api/v1/version", Identity, system::version)
            .does("say which release this is")
            .gives::<system::Version>(200),
        Route::get("/api/v1/openapi.json", Nothing, openapi)
            .does("show this document")
            .answers(200),
    ]
}

/// The document of these routes.
#[must_use]
pub fn openapi_document() -> Value {
    document("Sharding manager", env!("CARGO_PKG_VERSION"), &routes())
}

async fn openapi(State(_service): State<Service>) -> Json<Value> {
    Json(openapi_document())
}
