//! Users. Root and API keys manage them; everyone may change their own password.

use base64::Engine as _;
use custody_engine::EngineError;
use custody_password::{PasswordError, hash as hash_password};
use milvus::proto::{
    common::Status,
    milvus::{
        CreateCredentialRequest, DeleteCredentialRequest, ListCredUsersRequest, ListCredUsersResponse,
        SelectUserRequest, SelectUserResponse, UpdateCredentialRequest, UserEntity, UserResult,
    },
};
use zeroize::Zeroizing;

use super::{Adapter, Call};
use crate::{
    auth::{Caller, ROOT},
    errors::{Failure, MilvusCode},
};

impl From<PasswordError> for Failure {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Hash(_) => Self::Reply(MilvusCode::Unexpected, error.to_string()),
            PasswordError::Length(_) => Self::invalid(error.to_string()),
        }
    }
}

/// A password as Milvus' requests carry it: base64 of the text.
fn decode_password(wire: &str) -> Result<Zeroizing<String>, Failure> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(wire).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(Zeroizing::new).ok_or_else(|| Failure::invalid("invalid password: it must arrive as base64 of UTF-8 text"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_is_not_base64_of_text_is_refused() {
        assert_eq!(*decode_password("c2VjcmV0").unwrap(), "secret");
        assert!(decode_password("not base64!").is_err());
        assert!(decode_password("//79").is_err());
    }
}
