//! Users. Root and API keys manage them; everyone may change their own password.

use custody_engine::EngineError;
use milvus::proto::{
    common::Status,
    milvus::{
        CreateCredentialRequest, DeleteCredentialRequest, ListCredUsersRequest, ListCredUsersResponse,
        SelectUserRequest, SelectUserResponse, UpdateCredentialRequest, UserEntity, UserResult,
    },
};

use super::{Adapter, Call};
use crate::{
    auth::{Caller, PasswordError, ROOT, decode_password, hash_password},
    errors::{Failure, MilvusCode},
};

impl From<PasswordError> for Failure {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Hash(_) => Self::Reply(MilvusCode::Unexpected, error.to_string()),
            _ => Self::invalid(error.to_string()),
        }
    }
}

pub(super) async fn create(node: &Adapter, call: &Call, request: CreateCredentialRequest) -> Result<Status, Failure> {
    if !call.caller.is_admin() {
        return Err(Failure::not_permitted("creating a user"));
    }
    refuse_description(request.description.as_deref())?;
    let hash = hash_password(decode_password(&request.password)?).await?;
    node.engine.create_user(&request.username, &hash).await?;
    node.auth.forget(&request.username);
    Ok(Status::default())
}

pub(super) async fn update(node: &Adapter, call: &Call, request: UpdateCredentialRequest) -> Result<Status, Failure> {
    refuse_description(request.description.as_deref())?;
    let own = matches!(&call.caller, Caller::User(name) if **name == request.username);
    if !own && !call.caller.is_admin() {
        return Err(Failure::not_permitted("changing another user's password"));
    }
    let new = decode_password(&request.new_password)?;
    // Who holds a session of someone must not thereby be able to lock them out; admins may help who forgot.
    if own && !node.auth.verify(&request.username, &decode_password(&request.old_password)?).await? {
        return Err(Failure::invalid("the old password is wrong"));
    }
    let hash = hash_password(new).await?;
    node.engine.update_user(&request.username, &hash).await?;
    node.auth.forget(&request.username);
    Ok(Status::default())
}

pub(super) async fn delete(node: &Adapter, call: &Call, request: DeleteCredentialRequest) -> Result<Status, Failure> {
    if !call.caller.is_admin() {
        return Err(Failure::not_permitted("dropping a user"));
    }
    if request.username == ROOT {
        return Err(Failure::invalid("the user 'root' can't be dropped"));
    }
    node.engine.delete_user(&request.username).await?;
    node.auth.forget(&request.username);
    Ok(Status::default())
}

pub(super) async fn list(
    node: &Adapter,
    call: &Call,
    _: ListCredUsersRequest,
) -> Result<ListCredUsersResponse, Failure> {
    if !call.caller.is_admin() {
        return Err(Failure::not_permitted("listing the users"));
    }
    Ok(ListCredUsersResponse { usernames: node.engine.list_users(), ..ListCredUsersResponse::default() })
}

/// Users with their roles; Custody has no roles.
pub(super) async fn select(
    node: &Adapter,
    call: &Call,
    request: SelectUserRequest,
) -> Result<SelectUserResponse, Failure> {
    let wanted = request.user.map(|user| user.name).filter(|name| !name.is_empty());
    let own = matches!((&call.caller, &wanted), (Caller::User(caller), Some(name)) if **caller == **name);
    if !own && !call.caller.is_admin() {
        return Err(Failure::not_permitted("describing other users"));
    }
    let mut names = node.engine.list_users();
    if let Some(wanted) = wanted {
        names.retain(|name| *name == wanted);
        if names.is_empty() {
            return Err(EngineError::UserNotFound(wanted).into());
        }
    }
    let user = |name| UserResult { user: Some(UserEntity { name }), ..UserResult::default() };
    Ok(SelectUserResponse { results: names.into_iter().map(user).collect(), ..SelectUserResponse::default() })
}

fn refuse_description(description: Option<&str>) -> Result<(), Failure> {
    match description {
        Some(text) if !text.is_empty() => Err(Failure::unsupported("a user's description")),
        _ => Ok(()),
    }
}
