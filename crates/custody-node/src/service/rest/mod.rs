//! Milvus' REST calls (`/v2/vectordb`): the calls of gRPC, with JSON in and out.
//!
//! Each line of the table below names three functions: one reads gRPC's request from the body, one answers it, mostly the
//! one that answers gRPC, and one writes the reply as JSON.

mod aliases;
mod answer;
mod body;
mod collections;
mod databases;
mod entities;
mod http;
mod indexes;
mod partitions;
mod rows;
mod schema;
mod users;

use std::sync::Arc;

use milvus::proto::common::ConsistencyLevel;

use super::{Adapter, Call, detached, run};
use crate::{
    convert::{ConvertError, params::param},
    errors::Failure,
};
use answer::{Answer, done};
use body::Body;
pub(crate) use http::router;
#[cfg(feature = "fuzzing")]
pub(crate) use rows::fuzz;

type Result<T> = std::result::Result<T, ConvertError>;

macro_rules! calls {
    ($($kind:ident $path:literal $read:path, $answer:path, $write:path;)*) => {
        /// The calls that are answered, by the end of their path.
        pub(crate) const CALLS: &[&str] = &[$($path),*];

        /// Whether a call only reads.
        fn reads(path: &str) -> bool {
            match path {
                $($path => stringify!($kind) == "read",)*
                _ => false,
            }
        }

        /// Answers a call of the table.
        async fn perform(node: Arc<Adapter>, call: Call, path: &str, bytes: Vec<u8>) -> std::result::Result<Answer, Refused> {
            let mut body = Body::read(&bytes).map_err(Refused::Unreadable)?;
            match path {
                $($path => {
                    let request = $read(&mut body)?;
                    body.finish()?;
                    // Not kept beside what was read from it.
                    drop(bytes);
                    Ok($write(run!($kind $answer, node, call, request)?))
                })*
                _ => Err(Refused::Unknown),
            }
        }

        /// Reads a call's body as [`perform`] does, for the fuzz targets.
        #[cfg(feature = "fuzzing")]
        pub(crate) fn read(path: &str, bytes: &[u8]) -> std::result::Result<(), String> {
            let mut body = Body::read(bytes)?;
            match path {
                $($path => $read(&mut body).map(drop).and_then(|()| body.finish()).map_err(|error| error.to_string()),)*
                _ => Err("no such call".to_owned()),
            }
        }
    };
}

calls! {
    write "databases/create" databases::create, super::databases::create, done;
    write "databases/drop" databases::drop, super::databases::drop, done;
    read "databases/list" databases::list, super::databases::list, databases::listed;
    read "databases/describe" databases::describe, super::databases::describe, databases::described;
    write "databases/alter" databases::alter, super::databases::alter, done;
    write "databases/alter_properties" databases::alter, super::databases::alter, done;
    write "databases/drop_properties" databases::drop_properties, super::databases::alter, done;

    write "collections/create" schema::create, collections::create, done;
    write "collections/drop" collections::drop, super::collections::drop, done;
    read "collections/has" collections::has, super::collections::has, collections::had;
    read "collections/describe" collections::describe, collections::described, std::convert::identity;
    read "collections/list" collections::list, super::collections::show, collections::listed;
    write "collections/rename" collections::rename, super::collections::rename, done;
    write "collections/alter_properties" collections::alter, super::collections::alter, done;
    write "collections/drop_properties" collections::drop_properties, super::collections::alter, done;
    read "collections/get_stats" collections::statistics, super::collections::statistics, collections::counted;
    write "collections/load" collections::load, super::loading::load, done;
    write "collections/release" collections::release, super::loading::release, done;
    read "collections/get_load_state" collections::load_state, super::loading::state, collections::loaded;
    write "collections/flush" collections::flush, super::maintenance::flush, done;
    write "collections/compact" collections::compact, super::maintenance::compact, collections::compacting;
    read "collections/get_compaction_state" collections::compaction_state, super::maintenance::compaction_state, collections::compacted;

    write "partitions/create" partitions::create, super::partitions::create, done;
    write "partitions/drop" partitions::drop, super::partitions::drop, done;
    read "partitions/has" partitions::has, super::partitions::has, collections::had;
    read "partitions/list" partitions::list, super::partitions::show, partitions::listed;
    read "partitions/get_stats" partitions::statistics, super::partitions::statistics, partitions::counted;
    write "partitions/load" partitions::load, super::loading::load_partitions, done;
    write "partitions/release" partitions::release, super::loading::release_partitions, done;

    write "aliases/create" aliases::create, super::aliases::create, done;
    write "aliases/drop" aliases::drop, super::aliases::drop, done;
    write "aliases/alter" aliases::alter, super::aliases::alter, done;
    read "aliases/describe" aliases::describe, super::aliases::describe, aliases::described;
    read "aliases/list" aliases::list, super::aliases::list, aliases::listed;

    write "indexes/create" indexes::create, indexes::creating, done;
    write "indexes/drop" indexes::drop, super::indexes::drop, done;
    read "indexes/describe" indexes::describe, super::indexes::describe, indexes::described;
    read "indexes/list" indexes::list, indexes::names, std::convert::identity;

    write "entities/insert" entities::insert, entities::inserting, entities::inserted;
    write "entities/upsert" entities::upsert, entities::upserting, entities::upserted;
    write "entities/delete" entities::delete, super::data::delete, entities::deleted;
    read "entities/get" entities::get, entities::getting, entities::found;
    read "entities/query" entities::query, super::query::query, entities::found;
    read "entities/search" entities::search, super::search::search, entities::neighbours;

    write "users/create" users::create, super::users::create, done;
    write "users/update_password" users::update, super::users::update, done;
    write "users/drop" users::drop, super::users::delete, done;
    read "users/list" users::list, super::users::list, users::listed;
    read "users/describe" users::describe, super::users::select, users::described;
}

/// Why a call is not answered.
#[derive(Debug)]
enum Refused {
    /// There is no such call.
    Unknown,
    /// The body is no JSON object.
    Unreadable(String),
    /// As over gRPC.
    Failed(Failure),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<ConvertError> for Refused {
    fn from(error: ConvertError) -> Self {
        Self::Failed(error.into())
    }
}

/// The database and the collection that a call is for.
fn collection(body: &mut Body<'_>) -> Result<(String, String)> {
    Ok((body.text("dbName")?, body.required("collectionName")?))
}

/// The consistency level, by the name that Milvus gives it.
fn consistency(body: &mut Body<'_>) -> Result<Option<ConsistencyLevel>> {
    let name = body.text("consistencyLevel")?;
    if name.is_empty() {
        return Ok(None);
    }
    let level = ConsistencyLevel::from_str_name(&name);
    let why = "it must be Strong, Session, Bounded, Eventually or Customized";
    level.map(Some).ok_or_else(|| param(&body.name("consistencyLevel"), why))
}

/// A database's name as it is told: the default one has a name too.
fn database_name(name: String) -> String {
    if name.is_empty() { custody_engine::DEFAULT_DATABASE.to_owned() } else { name }
}
