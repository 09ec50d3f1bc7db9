//! Generated code of the gRPC services. No logic.

mod secretive;

/// The manager's services.
pub mod manager {
    #[expect(missing_docs, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("sharding.manager.v1");
    }
}

/// The router's service.
pub mod router {
    #[expect(missing_docs, clippy::enum_variant_names, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("sharding.router.v1");
    }
}

/// All descriptors, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
