//! The fronts: each turns what its clients send into statements and the answers into its own form.
//! Routing and execution are the same behind all of them.

pub mod grpc;
pub mod http;
pub mod pg;

/// What one request of the HTTP and gRPC fronts may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest body of a request.
    pub max_body_bytes: usize,
    /// Longest result of a call that returns it in one message.
    pub max_result_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 16 << 20,
            // gRPC's clients take messages of up to 4 MiB unless told otherwise.
            max_result_bytes: 4 << 20,
        }
    }
}
