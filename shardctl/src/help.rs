//! The long texts of `--help`: exit codes and the shape of each command's JSON. The shapes are a
//! promise to scripts: fields may be added, none is renamed or removed.

pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the manager refused the request, or it went wrong
  2  the command line is wrong
  3  the thing named does not exist
  4  no manager could be reached, or none can answer at present: try again
  5  it is not known whether the change took effect: look before trying again

Errors go to stderr as `error: ...`, with a line `hint: ...` where there is one.

JSON: every command prints one object. Numbers are JSON numbers, absent values are null. Fields
may be added, none is renamed or removed. The --help of each command documents its object.";

pub(crate) const STATUS: &str = r#"JSON:
  {"leader": {"id", "address"} or null,
   "term": number, "epoch": number,
   "managers": [{"address", "id", "role": "leader" | "follower" | "unreachable",
                 "epoch", "version", "error"}],
   "shards": [{"id", "status", "health": "healthy" | "unhealthy" | "unknown", "error",
               "owned_vnodes", "primary_endpoint"}]}

The managers are those of --manager, each asked for itself. Exit code 0 as long as one answers."#;

pub(crate) const BACKUP: &str = r#"Reads ETCD_ENDPOINTS, DB_USERNAME and DB_PASSWORD; variables of libpq such as PGSSLMODE hold.
It is refused while a reshard job has rows on two shards.

JSON:
  {"id", "folder", "method": "dump" | "basebackup", "point_at", "fence_ms": number, "epoch": number,
   "shards": [text], "files": number, "bytes": number, "removed": [text], "verified": boolean}

fence_ms is for how long transactions over several shards could not be committed."#;

pub(crate) const BACKUP_VERIFY: &str = r#"Compares every file with its checksum, and asks pg_restore or pg_verifybackup about the shards'.

JSON: as that of `backup`, with verified true. Exit code 1 when something is not as it was written."#;

pub(crate) const RESTORE: &str = r#"Into an etcd without our keys and databases without tables. Start managers and routers afterwards.

A backup by basebackup takes two calls: one with --pgdata for each shard, which makes data folders;
and, once their servers run, one without, which writes etcd.

JSON:
  {"id", "point_at", "shards": {shard: endpoint or folder}, "epoch": number or null}"#;

pub(crate) const SHARDS_LIST: &str = r#"JSON:
  {"shards": [{"id", "name", "primary_endpoint", "replicas": [text], "status", "version",
               "vnode_count", "owned_vnodes", "weight", "created_at", "updated_at", "promoting",
               "timeline", "system_identifier"}]}

vnode_count is what a plan gives the shard, owned_vnodes what it has at this epoch."#;

pub(crate) const SHARD: &str = r#"JSON:
  {"id", "name", "primary_endpoint", "replicas": [text], "status": "active" | "draining" |
   "inactive", "version", "vnode_count", "owned_vnodes", "weight", "created_at", "updated_at",
   "promoting": true | false, "timeline", "system_identifier",
   "servers": [{"endpoint", "role": "primary" | "replica" | "unknown", "reachable", "error",
                "system_identifier", "timeline", "received_lsn", "replayed_lsn", "lag_bytes",
                "lag_seconds", "synchronous", "seen_at"}]}

vnode_count is what a plan gives the shard, owned_vnodes what it has at this epoch. servers is what
the asked manager's last probes found."#;

pub(crate) const PROMOTE: &str = r#"JSON:
  {"shard_id", "done": true | false, "from", "to", "old_primary_error", "received_lsn",
   "behind_bytes", "may_be_lost": text or null, "system_identifier", "old_timeline",
   "new_timeline", "jobs": [text], "notes": [text], "epoch", "took_ms"}

done is false with --dry-run. An old primary that answers is fenced and loses nothing; one that does
not needs --old-primary-is-down, unless the manager has a fence command.

Examples:
  shardctl shards promote shard-1 --dry-run
  shardctl shards promote shard-1 --old-primary-is-down --accept-loss"#;

pub(crate) const REMOVED: &str = r#"JSON:
  {"kind": "shard" | "table" | "user", "id", "removed": true}"#;

pub(crate) const TABLES_LIST: &str = r#"JSON:
  {"tables": [{"name", "kind": "sharded" | "reference" | "unsharded", "shard_key", "key_type",
               "group", "shard_id"}]}

shard_key, key_type and group are those of a sharded table, shard_id is an unsharded table's home
shard; they are null otherwise."#;

pub(crate) const TABLE: &str = r#"JSON:
  {"name", "kind": "sharded" | "reference" | "unsharded", "shard_key", "key_type", "group",
   "shard_id"}

shard_key, key_type and group are those of a sharded table, shard_id is an unsharded table's home
shard; they are null otherwise.

Examples:
  shardctl tables add public.orders --shard-key customer_id --key-type bigint
  shardctl tables add countries --reference
  shardctl tables add migrations --unsharded shard-1"#;

pub(crate) const COUNT: &str = r#"JSON:
  {"tables": [{"name", "kind", "rows": number or null, "copies_agree": true | false | null,
               "shards": [{"shard_id", "rows": number or null, "error": text or null}]}]}

rows is the number of different rows: the sum over the shards, or one copy of a reference table.
It is null when a shard could not be asked, and then the exit code is 1. copies_agree says of a
reference table whether every shard has as many rows as the others."#;

pub(crate) const ROUTERS_LIST: &str = r#"JSON:
  {"epoch": number, "routers": [{"number", "address", "incarnation", "applied_epoch", "version"}]}

epoch is what the manager has seen. A router begins no statement by a topology that is older than
its applied_epoch, which it says anew when keys are moved; between moves it may say less than it
has. One that has died, or that the store does not hear, is listed for 15 seconds more."#;

pub(crate) const GROUPS_LIST: &str = r#"JSON:
  {"groups": [{"name", "key_type"}]}"#;

pub(crate) const GROUP: &str = r#"JSON:
  {"name", "key_type": "bigint" | "text" | "uuid"}"#;

pub(crate) const LOGIN: &str = r#"JSON:
  {"access_token", "expires_in": seconds, "refresh_token", "refresh_expires_in": seconds}
  with --token-file: {"token_file", "expires_in": seconds}

The password comes from where `users create --help` says. The token is printed for SHARDCTL_TOKEN,
or written to --token-file, which is made readable for its owner alone.

Examples:
  shardctl setup root --password-file /run/secrets/root
  export SHARDCTL_TOKEN=$(shardctl login alice)
  shardctl login alice --token-file ~/.shardctl-token"#;

pub(crate) const ACCOUNTS: &str = r#"JSON:
  {"accounts": [{"name", "roles": [text], "groups": [text] or null for all,
    "enabled": true | false, "version": number, "created_at", "updated_at"}]}"#;

pub(crate) const ACCOUNT: &str = r#"JSON:
  {"name", "roles": [text], "groups": [text] or null for all, "enabled": true | false,
   "version": number, "created_at", "updated_at"}

The password comes from where `users create --help` says.

Example:
  shardctl accounts create bob --role operator --password-file /run/secrets/bob"#;

pub(crate) const KEYS: &str = r#"JSON:
  {"keys": [{"id", "name", "roles": [text], "groups": [text] or null for all, "created_by",
    "created_at", "expires_at": text or null}]}"#;

pub(crate) const KEY: &str = r#"JSON:
  {"id", "name", "roles": [text], "groups": [text] or null for all, "created_by", "created_at",
   "expires_at": text or null, "key"}

The table form is the key alone. It is shown this once; only its SHA-256 is kept.

Example:
  shardctl keys create billing --role writer --group default --expires-in 30d"#;

pub(crate) const USERS_LIST: &str = r#"JSON:
  {"users": [{"name", "enabled": true | false, "version": number, "created_at", "updated_at"}]}"#;

pub(crate) const USER: &str = r#"JSON:
  {"name", "enabled": true | false, "version": number, "created_at", "updated_at"}

A password is never taken from the command line. It is the first line of --password-file, or
SHARDCTL_USER_PASSWORD, or the first line of standard input, where a terminal asks for it unseen.
What begins with SCRAM-SHA-256$ is taken as a verifier, as PostgreSQL keeps it in pg_authid.

Examples:
  shardctl users create app --password-file /run/secrets/app
  pwgen -s 32 1 | shardctl users passwd app"#;

pub(crate) const SCHEMA_DIFF: &str = r#"JSON:
  {"epoch": number, "shards": [text], "objects": number, "is_equal": true | false,
   "differences": [{"kind", "name", "versions": [{"shards": [text], "definition": text or null}]}],
   "notes": [text]}

A definition is null where the object is missing. Exit code 1 when the schemas differ. Notes tell of
tables that are registered and on no shard, or on the shards and not registered."#;

pub(crate) const SCHEMA_REPAIR: &str = r#"JSON:
  {"actions": [{"kind", "name", "statement": text or null,
                "outcome": "planned" | "done" | "manual" | "failed", "reason": text or null}]}

What differs or is too much is never changed: it is shown as manual, with the statement that would
settle it. Exit code 1 when anything is left to be done.

Examples:
  shardctl schema diff
  shardctl schema repair --from shard-1 --to shard-3 --dry-run"#;

pub(crate) const AUDIT_LIST: &str = r#"JSON:
  {"entries": [{"sequence": number, "epoch": number, "term": number, "at", "actor",
                "request_id", "from", "action", "target", "result": "done" | "refused",
                "detail", "changes": [{"key", "before", "after"}],
                "previous": text or null, "hash"}],
   "next": number or null}

next is what --before is for the page of older entries. before and after are the records that
changed, without what is secret.

Examples:
  shardctl audit list --result refused --since 2026-01-31T12:00:00Z
  shardctl audit list --target shard-1 --output json"#;

pub(crate) const AUDIT_VERIFY: &str = r#"JSON:
  {"is_intact": true | false, "entries": number, "chained": number,
   "head": {"sequence": number, "hash"}, "cut_through": number or null,
   "faults": [{"sequence": number, "kind", "message"}]}

Exit code 1 when there are faults. Who can write all of etcd can also write a whole log anew: note
the newest entry's digest elsewhere from time to time, and compare."#;

pub(crate) const RING: &str = r#"JSON:
  {"epoch": number, "vnode_count": number,
   "shards": [{"shard_id", "vnodes": number, "share": 0.0 to 1.0, "tokens": [number]}]}

A vnode is named by its token; a key belongs to the first vnode at or after its own token."#;

pub(crate) const PLAN: &str = r#"JSON:
  {"id", "type": "split" | "merge" | "move" | "add_shard" | "drain" | "rebalance", "epoch",
   "legs": [{"source_shard",
             "flows": [{"from", "to", "vnodes": [number], "share", "rows", "bytes", "seconds"}]}],
   "shards": [{"shard_id", "is_new", "vnodes_before", "vnodes_after", "share_before",
               "share_after"}],
   "moved_vnodes", "moved_share", "rows", "bytes", "seconds", "assumed_bytes_per_second",
   "notes": [text]}

rows, bytes and seconds are estimates from the servers' statistics; null when a shard could not be
asked. A plan can be run by its id for a day, as long as the ring is the same.

Examples:
  shardctl plan add-shard shard-3=postgres://db3:5432/app
  shardctl plan split shard-1 --into shard-1 --into shard-4
  shardctl plan rebalance --by size"#;

pub(crate) const JOB: &str = r#"JSON:
  {"id", "type", "plan_id", "source_shards": [text], "target_shards": [text],
   "status": "pending" | "precopy" | "deltasync" | "cutover" | "completed" | "failed" | "paused" |
             "cancelled" | "rolled_back",
   "state", "reversible", "settled", "progress": 0.0 to 1.0, "keys_migrated", "total_keys",
   "bytes_migrated", "total_bytes", "lag_bytes", "lag_ms", "rate", "eta_seconds", "pause_ms",
   "longest_pause_ms", "attempts", "error_message", "created_by", "created_at", "started_at",
   "completed_at", "max_pause_ms", "keep_reverse_seconds",
   "legs": [{"number", "source_shard", "target_shards": [text], "vnodes", "phase", "step",
             "progress", "keys_migrated", "total_keys", "pause_ms", "attempts",
             "certificates": [{"at", "instant", "equal", "tables", "rows", "digest"}], "error"}]}

With --dry-run it prints a plan, as `shardctl plan` does. With --wait it prints the job once it is
over, its progress meanwhile on standard error, and ends with 1 if the job ended otherwise than was
asked for. A job that completed can be rolled back until it is finished."#;

pub(crate) const JOBS: &str = r#"JSON:
  {"jobs": [job]}

A job is as `reshard status` prints it."#;

pub(crate) const ROUTE: &str = r#"JSON:
  {"key", "group", "token": number, "vnode": number, "shard_id", "epoch": number}

The table shows token and vnode as eight hexadecimal digits.

Examples:
  shardctl route 4711
  shardctl route -- -text-that-begins-with-a-hyphen
  shardctl route 8c6f7a52-29a1-4a5f-9d3b-0d7a3f5f6f10 --group sessions"#;

pub(crate) const VERSION: &str = r#"JSON:
  {"client": text, "managers": [{"address", "version": text or null, "error": text or null}]}"#;
