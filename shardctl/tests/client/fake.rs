//! A manager without etcd or shards: it keeps the shards that it is given and answers as it is
//! told. Ends when it is dropped.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use proto::manager::v1 as pb;
use proto::manager::v1::reshard_service_server::ReshardServiceServer;
use proto::manager::v1::shard_service_server::{ShardService, ShardServiceServer};
use proto::manager::v1::table_service_server::{TableService, TableServiceServer};
use proto::manager::v1::topology_service_server::{TopologyService, TopologyServiceServer};
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) address: String,
    script: Arc<Script>,
    _server: JoinSet<()>,
}

#[derive(Debug, Default)]
pub(crate) struct Script {
    /// What the job of this manager is, one after the other.
    pub(crate) statuses: Mutex<Vec<String>>,
    /// What was asked of jobs.
    pub(crate) said: Mutex<Vec<String>>,
    shards: Mutex<Vec<pb::Shard>>,
    change_answer: Mutex<Option<Status>>,
    token: Mutex<Option<String>>,
    silent: Mutex<bool>,
    changes: AtomicUsize,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        Self::serve("http", Server::builder()).await
    }

    /// A manager that shows this certificate.
    pub(crate) async fn start_tls(identity: Identity) -> Self {
        let tls = ServerTlsConfig::new().identity(identity);
        let server = Server::builder().tls_config(tls);
        Self::serve(
            "https",
            server.expect("the identity is a certificate and its key"),
        )
        .await
    }

    async fn serve(scheme: &str, mut server: Server) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let script = Arc::new(Script::default());
        let service = Service(Arc::clone(&script));
        let serving = server
            .add_service(ShardServiceServer::new(service.clone()))
            .add_service(TableServiceServer::new(service.clone()))
            .add_service(TopologyServiceServer::new(service.clone()))
            .add_service(ReshardServiceServer::new(service))
            .serve_with_incoming(TcpIncoming::from(listener));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { serving.await.expect("the fake serves until it is dropped") });
        Self {
            address: format!("{scheme}://{address}"),
            script,
            _server: tasks,
        }
    }

    pub(crate) fn answer_changes_with(&self, status: Status) {
        *locked(&self.script.change_answer) = Some(status);
    }

    pub(crate) fn never_answer_changes(&self) {
        *locked(&self.script.silent) = true;
    }

    pub(crate) fn want_token(&self, token: &str) {
        *locked(&self.script.token) = Some(format!("Bearer {token}"));
    }

    /// What the job is, each time that it is asked for; the last one stays.
    pub(crate) fn job_becomes(&self, statuses: &[&str]) {
        let statuses = statuses.iter().map(|status| (*status).to_owned());
        *locked(&self.script.statuses) = statuses.collect();
    }

    /// The last thing that was asked about resharding.
    pub(crate) fn last_said(&self) -> String {
        locked(&self.script.said)
            .last()
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) fn changes(&self) -> usize {
        self.script.changes.load(Ordering::SeqCst)
    }
}

/// An address at which nobody listens: the port was free a moment ago.
pub(crate) fn closed_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    format!(
        "http://{}",
        listener
            .local_addr()
            .expect("a bound socket has an address")
    )
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding a lock")
}

#[derive(Clone)]
pub(crate) struct Service(pub(crate) Arc<Script>);

impl Service {
    pub(crate) async fn change(&self) -> Result<(), Status> {
        self.0.changes.fetch_add(1, Ordering::SeqCst);
        let silent = *locked(&self.0.silent);
        if silent {
            std::future::pending::<()>().await;
        }
        locked(&self.0.change_answer).clone().map_or(Ok(()), Err)
    }

    fn shard(&self, id: &str) -> Result<pb::Shard, Status> {
        let shards = locked(&self.0.shards);
        let found = shards.iter().find(|shard| shard.id == id).cloned();
        found.ok_or_else(|| Status::not_found(format!("shard {id} does not exist")))
    }
}

fn orders() -> pb::Table {
    pb::Table {
        name: "public.orders".to_owned(),
        kind: "sharded".to_owned(),
        group: "default".to_owned(),
        ..pb::Table::default()
    }
}

#[tonic::async_trait]
impl ShardService for Service {
    async fn create_shard(
        &self,
        request: Request<pb::CreateShardRequest>,
    ) -> Answer<pb::CreateShardResponse> {
        self.change().await?;
        let request = request.into_inner();
        let shard = pb::Shard {
            id: request.name.clone(),
            name: request.name,
            primary_endpoint: request.primary_endpoint,
            replicas: request.replicas,
            vnode_count: request.vnode_count,
            ..pb::Shard::default()
        };
        locked(&self.0.shards).push(shard.clone());
        Ok(Response::new(pb::CreateShardResponse {
            shard: Some(shard),
        }))
    }

    async fn list_shards(
        &self,
        request: Request<pb::ListShardsRequest>,
    ) -> Answer<pb::ListShardsResponse> {
        let wanted = locked(&self.0.token).clone();
        let token = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        if wanted.is_some() && wanted.as_deref() != token {
            return Err(Status::unauthenticated("a bearer token is needed"));
        }
        let shards = locked(&self.0.shards).clone();
        Ok(Response::new(pb::ListShardsResponse { shards }))
    }

    async fn get_shard(
        &self,
        request: Request<pb::GetShardRequest>,
    ) -> Answer<pb::GetShardResponse> {
        let shard = self.shard(&request.into_inner().id)?;
        Ok(Response::new(pb::GetShardResponse { shard: Some(shard) }))
    }

    async fn delete_shard(
        &self,
        _request: Request<pb::DeleteShardRequest>,
    ) -> Answer<pb::DeleteShardResponse> {
        self.change().await?;
        Ok(Response::new(pb::DeleteShardResponse {}))
    }

    async fn promote_shard(
        &self,
        request: Request<pb::PromoteShardRequest>,
    ) -> Answer<pb::PromoteShardResponse> {
        self.change().await?;
        let promotion = pb::Promotion {
            shard_id: request.into_inner().id,
            ..pb::Promotion::default()
        };
        Ok(Response::new(pb::PromoteShardResponse {
            promotion: Some(promotion),
        }))
    }
}

#[tonic::async_trait]
impl TableService for Service {
    async fn create_group(
        &self,
        request: Request<pb::CreateGroupRequest>,
    ) -> Answer<pb::CreateGroupResponse> {
        let pb::CreateGroupRequest { name, key_type } = request.into_inner();
        let group = Some(pb::Group { name, key_type });
        Ok(Response::new(pb::CreateGroupResponse { group }))
    }

    async fn list_groups(
        &self,
        _request: Request<pb::ListGroupsRequest>,
    ) -> Answer<pb::ListGroupsResponse> {
        Ok(Response::new(pb::ListGroupsResponse::default()))
    }

    async fn create_table(
        &self,
        request: Request<pb::CreateTableRequest>,
    ) -> Answer<pb::CreateTableResponse> {
        let request = request.into_inner();
        let table = pb::Table {
            shard_key: request.shard_key,
            ..orders()
        };
        Ok(Response::new(pb::CreateTableResponse {
            table: Some(table),
        }))
    }

    async fn list_tables(
        &self,
        _request: Request<pb::ListTablesRequest>,
    ) -> Answer<pb::ListTablesResponse> {
        Ok(Response::new(pb::ListTablesResponse {
            tables: vec![orders()],
        }))
    }

    async fn delete_table(
        &self,
        _request: Request<pb::DeleteTableRequest>,
    ) -> Answer<pb::DeleteTableResponse> {
        Ok(Response::new(pb::DeleteTableResponse {}))
    }

    async fn count_rows(
        &self,
        _request: Request<pb::CountRowsRequest>,
    ) -> Answer<pb::CountRowsResponse> {
        let count = |shard_id: &str, rows, error: &str| pb::RowCount {
            table: "public.orders".to_owned(),
            shard_id: shard_id.to_owned(),
            rows,
            error: error.to_owned(),
        };
        let counts = vec![count("alpha", 10, ""), count("beta", 0, "refused")];
        Ok(Response::new(pb::CountRowsResponse { counts }))
    }
}

#[tonic::async_trait]
impl TopologyService for Service {
    async fn get_ring(&self, _request: Request<pb::GetRingRequest>) -> Answer<pb::GetRingResponse> {
        let share = pb::RingShare {
            shard_id: "alpha".to_owned(),
            tokens: vec![1, 2],
            share: 1.0,
        };
        Ok(Response::new(pb::GetRingResponse {
            epoch: 1,
            vnode_count: 2,
            shares: vec![share],
        }))
    }

    async fn get_topology(
        &self,
        _request: Request<pb::GetTopologyRequest>,
    ) -> Answer<pb::GetTopologyResponse> {
        Ok(Response::new(pb::GetTopologyResponse::default()))
    }

    async fn shard_for_key(
        &self,
        _request: Request<pb::ShardForKeyRequest>,
    ) -> Answer<pb::ShardForKeyResponse> {
        let shard_id = "alpha".to_owned();
        Ok(Response::new(pb::ShardForKeyResponse {
            shard_id,
            token: 1,
            vnode: 2,
            epoch: 1,
        }))
    }

    async fn get_status(
        &self,
        _request: Request<pb::GetStatusRequest>,
    ) -> Answer<pb::GetStatusResponse> {
        Ok(Response::new(pb::GetStatusResponse {
            manager_id: "fake".to_owned(),
            is_leader: true,
            leader_id: "fake".to_owned(),
            version: "9.9.9".to_owned(),
            ..pb::GetStatusResponse::default()
        }))
    }

    async fn list_routers(
        &self,
        _request: Request<pb::ListRoutersRequest>,
    ) -> Answer<pb::ListRoutersResponse> {
        Ok(Response::new(pb::ListRoutersResponse::default()))
    }

    async fn inspect(&self, _request: Request<pb::InspectRequest>) -> Answer<pb::InspectResponse> {
        Err(Status::unimplemented("not of this manager"))
    }
}
