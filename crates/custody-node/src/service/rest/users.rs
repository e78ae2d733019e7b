//! Users. gRPC carries passwords as base64, REST as they are.

use base64::Engine as _;
use milvus::proto::milvus::{
    CreateCredentialRequest, DeleteCredentialRequest, ListCredUsersRequest, ListCredUsersResponse, SelectUserRequest,
    SelectUserResponse, UpdateCredentialRequest, UserEntity,
};
use serde_json::json;
use zeroize::Zeroizing;

use super::{Answer, Body, Result};

fn password(body: &mut Body<'_>, name: &str) -> Result<String> {
    let password = Zeroizing::new(body.required(name)?);
    Ok(base64::engine::general_purpose::STANDARD.encode(password.as_bytes()))
}

pub(super) fn create(body: &mut Body<'_>) -> Result<CreateCredentialRequest> {
    let (username, password) = (body.required("userName")?, password(body, "password")?);
    Ok(CreateCredentialRequest { username, password, ..CreateCredentialRequest::default() })
}

pub(super) fn update(body: &mut Body<'_>) -> Result<UpdateCredentialRequest> {
    let username = body.required("userName")?;
    let (old_password, new_password) = (password(body, "password")?, password(body, "newPassword")?);
    Ok(UpdateCredentialRequest { username, old_password, new_password, ..UpdateCredentialRequest::default() })
}

pub(super) fn drop(body: &mut Body<'_>) -> Result<DeleteCredentialRequest> {
    Ok(DeleteCredentialRequest { username: body.required("userName")?, ..DeleteCredentialRequest::default() })
}

pub(super) fn list(body: &mut Body<'_>) -> Result<ListCredUsersRequest> {
    // Every call may name a database; users belong to none.
    body.text("dbName")?;
    Ok(ListCredUsersRequest::default())
}

pub(super) fn listed(reply: ListCredUsersResponse) -> Answer {
    json!(reply.usernames).into()
}

pub(super) fn describe(body: &mut Body<'_>) -> Result<SelectUserRequest> {
    let user = UserEntity { name: body.required("userName")? };
    Ok(SelectUserRequest { user: Some(user), include_role_info: true, ..SelectUserRequest::default() })
}

/// A user is described by its roles.
pub(super) fn described(reply: SelectUserResponse) -> Answer {
    let roles = reply.results.into_iter().flat_map(|user| user.roles).map(|role| role.name);
    json!(roles.collect::<Vec<_>>()).into()
}
