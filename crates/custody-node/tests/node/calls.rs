//! What stands before the calls: who is let in, what is not there, and what is too large.

use crate::common::{API_KEY, PASSWORD, as_root, plain, with_token};
use milvus::proto::{
    milvus::{
        ConnectRequest, CreateRoleRequest, DeleteRequest, GetVersionRequest, HybridSearchRequest, InsertRequest,
        ShowCollectionsRequest,
    },
    schema::{FieldData, LongArray, ScalarField, field_data::Field, scalar_field::Data},
};
use tonic::{Code, Request, codec::ProstCodec};

#[tokio::test]
async fn nobody_is_let_in_without_a_credential() {
    let node = plain().await;
    let mut raw = node.raw().await;
    assert_eq!(raw.get_version(GetVersionRequest {}).await.unwrap_err().code(), Code::Unauthenticated);
    let connect = milvus::proto::milvus::milvus_service_client::MilvusServiceClient::connect;
    assert_eq!(connect(&mut raw, ConnectRequest::default()).await.unwrap_err().code(), Code::Unauthenticated);
    for token in ["root:wrong-password", "nobody:first-password", "key-0123456789abcdef0124", ":", "root"] {
        let status = raw.show_collections(with_token(token, ShowCollectionsRequest::default())).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{token}");
        assert!(!status.message().contains(token));
    }
}

#[tokio::test]
async fn root_and_api_keys_are_let_in() {
    let node = plain().await;
    let mut raw = node.raw().await;
    raw.show_collections(as_root(ShowCollectionsRequest::default())).await.unwrap();
    raw.show_collections(with_token(API_KEY, ShowCollectionsRequest::default())).await.unwrap();
    let mut bearer = Request::new(ShowCollectionsRequest::default());
    bearer.metadata_mut().insert("authorization", format!("Bearer {API_KEY}").parse().unwrap());
    raw.show_collections(bearer).await.unwrap();
}

#[tokio::test]
async fn a_call_that_is_not_there_is_named_whether_milvus_has_it_or_not() {
    let node = plain().await;
    let mut raw = node.raw().await;
    let status = raw.hybrid_search(as_root(HybridSearchRequest::default())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(status.message(), "HybridSearch is not implemented by Custody");
    let status = raw.create_role(as_root(CreateRoleRequest::default())).await.unwrap_err();
    assert_eq!(status.message(), "CreateRole is not implemented by Custody");

    let mut any = tonic::client::Grpc::new(node.channel().await);
    for (path, name) in [
        ("/milvus.proto.milvus.MilvusService/NoSuchCall", "NoSuchCall"),
        ("/milvus.proto.milvus.ClientTelemetryService/ClientHeartbeat", "ClientHeartbeat"),
    ] {
        any.ready().await.unwrap();
        let codec = ProstCodec::<GetVersionRequest, GetVersionRequest>::default();
        let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
        let status = any.unary(as_root(GetVersionRequest {}), path, codec).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
        assert_eq!(status.message(), format!("{name} is not implemented by Custody"));
    }
}

#[tokio::test]
async fn a_request_over_64_mib_is_refused_in_plain_words() {
    let node = plain().await;
    let values = Data::LongData(LongArray { data: vec![i64::MIN; 7_000_000] });
    let column = FieldData {
        field: Some(Field::Scalars(ScalarField { data: Some(values), valid_data: Vec::new() })),
        ..FieldData::default()
    };
    let insert = InsertRequest { fields_data: vec![column], ..InsertRequest::default() };
    let status = node.raw().await.insert(as_root(insert)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("64 MiB"), "{}", status.message());
}

#[tokio::test]
async fn an_empty_delete_deletes_nothing() {
    let node = plain().await;
    let reply = node.raw().await.delete(as_root(DeleteRequest { expr: "  ".into(), ..DeleteRequest::default() })).await;
    let status = reply.unwrap().into_inner().status.unwrap();
    assert_eq!(status.code, 1100);
    assert!(status.reason.contains("every row"));
}

#[tokio::test]
async fn health_needs_no_credential_and_metrics_tell_no_names() {
    let node = plain().await;
    assert!(node.get("/healthz", None).await.starts_with("HTTP/1.1 200"));
    assert!(node.get("/readyz", None).await.ends_with("ready\n"));
    assert!(node.get("/", None).await.starts_with("HTTP/1.1 404"));
    let mut raw = node.raw().await;
    let request = milvus::proto::milvus::DescribeCollectionRequest {
        collection_name: "secret_name".into(),
        ..Default::default()
    };
    raw.describe_collection(as_root(request)).await.unwrap();
    let metrics = node.get("/metrics", None).await;
    assert!(metrics.contains(r#"custody_call_errors_total{call="DescribeCollection",error="100"} 1"#), "{metrics}");
    assert!(metrics.contains("custody_zone_open"));
    for told in ["secret_name", "root", PASSWORD, "default"] {
        assert!(!metrics.contains(told), "{told}");
    }
}
