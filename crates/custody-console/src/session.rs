//! Who asks: a browser that is signed in; and forms, which carry the session's CSRF token.

use std::sync::Arc;

use axum::{
    Form,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderValue, header, request::Parts},
};
use custody_control::{Control, Refused, access::Visitor, browser};
use serde::{Deserialize, de::DeserializeOwned};

use crate::answer::Failed;

/// Where one signs in.
pub(crate) const SIGN_IN: &str = "/sign-in";

/// Somebody who is signed in.
pub(crate) struct Signed(pub(crate) Visitor);

impl FromRequestParts<Arc<Control>> for Signed {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<Control>) -> Result<Self, Failed> {
        Ok(Self(browser::visitor(control, parts, None).await?))
    }
}

/// The token in a form. Whatever else stands there is not looked at before it.
#[derive(Deserialize)]
struct Token {
    csrf: Option<String>,
}

/// A form that somebody who is signed in has sent on purpose.
pub(crate) struct Meant<T> {
    pub(crate) visitor: Visitor,
    pub(crate) given: T,
}

impl<T: DeserializeOwned> FromRequest<Arc<Control>> for Meant<T> {
    type Rejection = Failed;

    async fn from_request(request: Request, control: &Arc<Control>) -> Result<Self, Failed> {
        let (parts, body) = request.into_parts();
        let whole = Request::from_parts(parts.clone(), body);
        let bytes = Bytes::from_request(whole, &()).await.map_err(|_| too_large())?;
        let Token { csrf } = form(&bytes).await?;
        let visitor = browser::visitor(control, &parts, csrf.as_deref()).await?;
        Ok(Self { visitor, given: form(&bytes).await? })
    }
}

/// What a form gives whose sending says all.
#[derive(Deserialize)]
pub(crate) struct Nothing {}

/// A form that nobody has to be signed in for.
pub(crate) struct Given<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<Control>> for Given<T> {
    type Rejection = Failed;

    async fn from_request(request: Request, _: &Arc<Control>) -> Result<Self, Failed> {
        let bytes = Bytes::from_request(request, &()).await.map_err(|_| too_large())?;
        Ok(Self(form(&bytes).await?))
    }
}

fn too_large() -> Refused {
    Refused::invalid("the form can't be read, or is larger than 64 KiB")
}

async fn form<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Refused> {
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    let mut request = Request::post("/").body(bytes.clone().into()).map_err(Refused::internal)?;
    request.headers_mut().insert(header::CONTENT_TYPE, kind);
    let Form(form) = Form::<T>::from_request(request, &())
        .await
        .map_err(|rejection| Refused::invalid(format!("the form can't be read: {}", rejection.body_text())))?;
    Ok(form)
}

/// The ids in the path.
pub(crate) struct Ids<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Ids<T> {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failed> {
        let ids = Path::<T>::from_request_parts(parts, state).await;
        let Path(ids) = ids.map_err(|_| Refused::not_found("page", parts.uri.path()))?;
        Ok(Self(ids))
    }
}

/// The parameters after the question mark.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failed> {
        let asked = Query::<T>::from_request_parts(parts, state).await;
        let Query(asked) =
            asked.map_err(|_| Refused::invalid("the page's address can't be read: begin at /projects"))?;
        Ok(Self(asked))
    }
}
