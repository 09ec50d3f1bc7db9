//! The service of users.

use proto::manager::v1;
use proto::manager::v1::user_service_server::UserService;
use tonic::{Request, Response, Status};

use super::{Api, caller_of, respond};

#[tonic::async_trait]
impl UserService for Api {
    async fn create_user(
        &self,
        request: Request<v1::CreateUserRequest>,
    ) -> Result<Response<v1::CreateUserResponse>, Status> {
        let (caller, message) = caller_of(request);
        respond(self.0.create_user(&caller, message).await)
    }

    async fn list_users(
        &self,
        _request: Request<v1::ListUsersRequest>,
    ) -> Result<Response<v1::ListUsersResponse>, Status> {
        Ok(Response::new(self.0.list_users().await?))
    }

    async fn get_user(
        &self,
        request: Request<v1::GetUserRequest>,
    ) -> Result<Response<v1::GetUserResponse>, Status> {
        Ok(Response::new(self.0.find_user(request.get_ref()).await?))
    }

    async fn update_user(
        &self,
        request: Request<v1::UpdateUserRequest>,
    ) -> Result<Response<v1::UpdateUserResponse>, Status> {
        let (caller, message) = caller_of(request);
        respond(self.0.update_user(&caller, message).await)
    }

    async fn delete_user(
        &self,
        request: Request<v1::DeleteUserRequest>,
    ) -> Result<Response<v1::DeleteUserResponse>, Status> {
        let (caller, message) = caller_of(request);
        respond(self.0.delete_user(&caller, message).await)
    }
}
