//! The service of accounts, sessions and API keys.

use proto::manager::v1;
use proto::manager::v1::auth_service_server::AuthService;
use tonic::{Request, Response, Status};

use super::{Api, caller_of};

#[tonic::async_trait]
impl AuthService for Api {
    async fn setup(
        &self,
        request: Request<v1::SetupRequest>,
    ) -> Result<Response<v1::SetupResponse>, Status> {
        let (caller, message) = caller_of(request);
        Ok(Response::new(self.0.setup(&caller, message).await?))
    }

    async fn login(
        &self,
        request: Request<v1::LoginRequest>,
    ) -> Result<Response<v1::LoginResponse>, Status> {
        let (caller, message) = caller_of(request);
        Ok(Response::new(self.0.login(&caller, message).await?))
    }

    async fn refresh(
        &self,
        request: Request<v1::RefreshRequest>,
    ) -> Result<Response<v1::RefreshResponse>, Status> {
        let (caller, message) = caller_of(request);
        Ok(Response::new(self.0.refresh(&caller, &message).await?))
    }

    async fn logout(
        &self,
        request: Request<v1::LogoutRequest>,
    ) -> Result<Response<v1::LogoutResponse>, Status> {
        let (caller, _) = caller_of(request);
        Ok(Response::new(self.0.logout(&caller).await?))
    }

    async fn who_am_i(
        &self,
        request: Request<v1::WhoAmIRequest>,
    ) -> Result<Response<v1::WhoAmIResponse>, Status> {
        let (caller, _) = caller_of(request);
        Ok(Response::new(self.0.who_am_i(&caller)?))
    }

    async fn create_account(
        &self,
        request: Request<v1::CreateAccountRequest>,
    ) -> Result<Response<v1::CreateAccountResponse>, Status> {
        let (caller, message) = caller_of(request);
        Ok(Response::new(
            self.0.create_account(&caller, message).await?,
        ))
    }

    async fn list_accounts(
        &self,
        _request: Request<v1::ListAccountsRequest>,
    ) -> Result<Response<v1::ListAccountsResponse>, Status> {
        Ok(Response::new(self.0.list_accounts().await?))
    }

    async fn get_account(
        &self,
        request: Request<v1::GetAccountRequest>,
    ) -> Result<Response<v1::GetAccountResponse>, Status> {
        Ok(Response::new(self.0.find_account(request.get_ref()).await?))
    }

    async fn update_account(
        &self,
        request: Request<v1::UpdateAccountRequest>,
    ) -> Result<Response<v1::UpdateAccountResponse>, Status> {
        let (caller, message) = caller_of(request);
        Ok(Response::new(
            self.0.update_account(&caller, message).await?,
        ))
    }

    async fn delete_account(
        &self,
        request: Request<v1::DeleteAccountRequest>,
    ) -> Result<Response<v1::DeleteAccountResponse>, Status> {
        let (caller, message) = caller_of(request);
        Ok(Response::new(
            self.0.delete_account(&caller, &message).await?,
        ))
    }

    async fn create_key(
        &self,
        request: Request<v1::CreateKeyRequest>,
    ) -> Result<Response<v1::CreateKeyResponse>, Status> {
        let (caller, message) = caller_of(request);
        Ok(Response::new(self.0.create_key(&caller, message).await?))
    }

    async fn list_keys(
        &self,
        _request: Request<v1::ListKeysRequest>,
    ) -> Result<Response<v1::ListKeysResponse>, Status> {
        Ok(Response::new(self.0.list_keys().await?))
    }

    async fn revoke_key(
        &self,
        request: Request<v1::RevokeKeyRequest>,
    ) -> Result<Response<v1::RevokeKeyResponse>, Status> {
        let (caller, message) = caller_of(request);
        Ok(Response::new(self.0.revoke_key(&caller, message).await?))
    }
}
