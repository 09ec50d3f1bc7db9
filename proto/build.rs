//! Compiles the .proto files without protoc.

use prost::Message as _;

const FILES: [&str; 2] = [
    "sharding/manager/v1/manager.proto",
    "sharding/router/v1/router.proto",
];

/// Messages that hold a password, a token or a key; how they show themselves is in `src/secretive.rs`.
const SECRETIVE: [&str; 9] = [
    ".sharding.manager.v1.CreateUserRequest",
    ".sharding.manager.v1.UpdateUserRequest",
    ".sharding.manager.v1.SetupRequest",
    ".sharding.manager.v1.LoginRequest",
    ".sharding.manager.v1.RefreshRequest",
    ".sharding.manager.v1.Tokens",
    ".sharding.manager.v1.CreateAccountRequest",
    ".sharding.manager.v1.UpdateAccountRequest",
    ".sharding.manager.v1.CreateKeyResponse",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .skip_debug(SECRETIVE)
        .compile_fds(descriptors)?;
    Ok(())
}
