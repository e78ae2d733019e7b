//! Writing rows and deleting them.

use custody_engine::{DeleteRequest, WriteRequest, WriteResult};
use milvus::proto::{
    milvus::{DeleteRequest as WireDelete, InsertRequest, MutationResult, UpsertRequest},
    schema::{FieldData, FieldPartialUpdateOp, field_partial_update_op::OpType},
};

use super::{Adapter, Call};
use crate::{
    convert::{columns::columns, params::template, results::ids},
    errors::Failure,
};

pub(super) async fn insert(node: &Adapter, call: &Call, request: InsertRequest) -> Result<MutationResult, Failure> {
    refuse(request.namespace.as_deref(), &request.rls_principal)?;
    let db = call.db(&request.db_name);
    let rows = Rows { fields: request.fields_data, count: request.num_rows, partition: request.partition_name };
    let write = write(node, db, &request.collection_name, rows, false).await?;
    let result = node.engine.insert(db, &request.collection_name, write).await?;
    let count = counted(&result);
    Ok(MutationResult { insert_cnt: count, ..written(result) })
}

pub(super) async fn upsert(node: &Adapter, call: &Call, request: UpsertRequest) -> Result<MutationResult, Failure> {
    refuse(request.namespace.as_deref(), &request.rls_principal)?;
    refuse_operations(&request.field_ops)?;
    let db = call.db(&request.db_name);
    let rows = Rows { fields: request.fields_data, count: request.num_rows, partition: request.partition_name };
    let write = write(node, db, &request.collection_name, rows, request.partial_update).await?;
    let result = node.engine.upsert(db, &request.collection_name, write).await?;
    let count = counted(&result);
    Ok(MutationResult { upsert_cnt: count, insert_cnt: count, ..written(result) })
}

pub(super) async fn delete(node: &Adapter, call: &Call, request: WireDelete) -> Result<MutationResult, Failure> {
    refuse(request.namespace.as_deref(), &request.rls_principal)?;
    if request.expr.trim().is_empty() {
        return Err(Failure::invalid("a delete needs a filter: an empty one would delete every row"));
    }
    let delete = DeleteRequest {
        partition: named(request.partition_name),
        filter: request.expr,
        params: template(request.expr_template_values)?,
    };
    let result = node.engine.delete(call.db(&request.db_name), &request.collection_name, delete).await?;
    // No keys in the answer, as Milvus has it since 2.3: clients would take them for the whole of it.
    Ok(MutationResult {
        acknowledged: true,
        delete_cnt: counted(&result),
        timestamp: result.timestamp,
        ..MutationResult::default()
    })
}

struct Rows {
    fields: Vec<FieldData>,
    count: u32,
    partition: String,
}

async fn write(node: &Adapter, db: &str, collection: &str, rows: Rows, partial: bool) -> Result<WriteRequest, Failure> {
    let info = node.engine.describe_collection(db, collection).await?;
    let len = rows.count as usize;
    Ok(WriteRequest {
        partition: named(rows.partition),
        len,
        columns: columns(&info.schema, rows.fields, len)?,
        partial,
    })
}

fn named(partition: String) -> Option<String> {
    Some(partition).filter(|name| !name.is_empty())
}

fn refuse(namespace: Option<&str>, principal: &str) -> Result<(), Failure> {
    if namespace.is_some_and(|name| !name.is_empty()) {
        return Err(Failure::unsupported("a namespace"));
    }
    if !principal.is_empty() {
        return Err(Failure::unsupported("row-level security (rls_principal)"));
    }
    Ok(())
}

fn refuse_operations(operations: &[FieldPartialUpdateOp]) -> Result<(), Failure> {
    match operations.iter().find(|operation| operation.op != OpType::Replace as i32) {
        Some(operation) => {
            let name = OpType::try_from(operation.op).map_or("an unknown operation", |known| known.as_str_name());
            Err(Failure::unsupported(&format!("the operation {name} on field '{}'", operation.field_name)))
        }
        None => Ok(()),
    }
}

fn counted(result: &WriteResult) -> i64 {
    i64::try_from(result.count).unwrap_or(i64::MAX)
}

fn written(result: WriteResult) -> MutationResult {
    let rows = u32::try_from(result.keys.len()).unwrap_or(u32::MAX);
    MutationResult {
        succ_index: (0..rows).collect(),
        i_ds: Some(ids(result.keys)),
        acknowledged: true,
        timestamp: result.timestamp,
        ..MutationResult::default()
    }
}
