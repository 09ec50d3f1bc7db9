//! The table of gRPC: every method with who may call it. A method that is not in it is not served;
//! its roles are those of REST.

use platform::access::Need::{self, Identity, Nothing};
use platform::access::Role;
use platform::routes::methods::Method;

const VIEWER: Need = Need::Role(Role::Viewer);
const OPERATOR: Need = Need::Role(Role::Operator);
const ADMIN: Need = Need::Role(Role::Admin);

/// All methods but those of health and reflection.
pub const METHODS: &[Method] = &[
    Method::new("/sharding.manager.v1.ShardService/CreateShard", OPERATOR),
    Method::new("/sharding.manager.v1.ShardService/ListShards", VIEWER),
    Method::new("/sharding.manager.v1.ShardService/GetShard", VIEWER),
    Method::new("/sharding.manager.v1.ShardService/DeleteShard", OPERATOR),
    Method::new("/sharding.manager.v1.ShardService/PromoteShard", OPERATOR),
    Method::new("/sharding.manager.v1.TableService/CreateGroup", OPERATOR),
    Method::new("/sharding.manager.v1.TableService/ListGroups", VIEWER),
    Method::new("/sharding.manager.v1.TableService/CreateTable", OPERATOR),
    Method::new("/sharding.manager.v1.TableService/ListTables", VIEWER),
    Method::new("/sharding.manager.v1.TableService/DeleteTable", OPERATOR),
    Method::new("/sharding.manager.v1.TableService/CountRows", VIEWER),
    Method::new("/sharding.manager.v1.UserService/CreateUser", ADMIN),
    Method::new("/sharding.manager.v1.UserService/ListUsers", VIEWER),
    Method::new("/sharding.manager.v1.UserService/GetUser", VIEWER),
    Method::new("/sharding.manager.v1.UserService/UpdateUser", ADMIN),
    Method::new("/sharding.manager.v1.UserService/DeleteUser", ADMIN),
    Method::new("/sharding.manager.v1.AuthService/Setup", Nothing),
    Method::new("/sharding.manager.v1.AuthService/Login", Nothing),
    Method::new("/sharding.manager.v1.AuthService/Refresh", Nothing),
    Method::new("/sharding.manager.v1.AuthService/Logout", Identity),
    Method::new("/sharding.manager.v1.AuthService/WhoAmI", Identity),
    Method::new("/sharding.manager.v1.AuthService/CreateAccount", ADMIN),
    Method::new("/sharding.manager.v1.AuthService/ListAccounts", ADMIN),
    Method::new("/sharding.manager.v1.AuthService/GetAccount", ADMIN),
    Method::new("/sharding.manager.v1.AuthService/UpdateAccount", ADMIN),
    Method::new("/sharding.manager.v1.AuthService/DeleteAccount", ADMIN),
    Method::new("/sharding.manager.v1.AuthService/CreateKey", ADMIN),
    Method::new("/sharding.manager.v1.AuthService/ListKeys", ADMIN),
    Method::new("/sharding.manager.v1.AuthService/RevokeKey", ADMIN),
    Method::new("/sharding.manager.v1.TopologyService/GetRing", VIEWER),
    Method::new("/sharding.manager.v1.TopologyService/GetTopology", VIEWER),
    Method::new("/sharding.manager.v1.TopologyService/ShardForKey", VIEWER),
    Method::new("/sharding.manager.v1.TopologyService/GetStatus", Identity),
    Method::new("/sharding.manager.v1.TopologyService/ListRouters", VIEWER),
    Method::new("/sharding.manager.v1.AuditService/ListEntries", VIEWER),
    Method::new("/sharding.manager.v1.AuditService/Verify", VIEWER),
    Method::new("/sharding.manager.v1.SchemaService/Diff", VIEWER),
    Method::new("/sharding.manager.v1.SchemaService/Repair", OPERATOR),
    Method::new("/sharding.manager.v1.ReshardService/Plan", VIEWER),
    Method::new("/sharding.manager.v1.ReshardService/RunPlan", OPERATOR),
    Method::new("/sharding.manager.v1.ReshardService/Split", OPERATOR),
    Method::new("/sharding.manager.v1.ReshardService/Merge", OPERATOR),
    Method::new("/sharding.manager.v1.ReshardService/Move", OPERATOR),
    Method::new("/sharding.manager.v1.ReshardService/AddShard", OPERATOR),
    Method::new("/sharding.manager.v1.ReshardService/Drain", OPERATOR),
    Method::new("/sharding.manager.v1.ReshardService/Rebalance", OPERATOR),
    Method::new("/sharding.manager.v1.ReshardService/ListJobs", VIEWER),
    Method::new("/sharding.manager.v1.ReshardService/GetJob", VIEWER),
    Method::new("/sharding.manager.v1.ReshardService/PauseJob", OPERATOR),
    Method::new("/sharding.manager.v1.ReshardService/ResumeJob", OPERATOR),
    Method::new("/sharding.manager.v1.ReshardService/CancelJob", OPERATOR),
    Method::new("/sharding.manager.v1.ReshardService/RollbackJob", OPERATOR),
    Method::new("/sharding.manager.v1.ReshardService/FinishJob", OPERATOR),
    Method::new("/sharding.manager.v1.ReshardService/WatchJob", VIEWER),
];

/// Reflection tells no more than this repository.
pub const REFLECTION: Need = Identity;
