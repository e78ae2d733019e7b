//! Milvus' filter expressions over Arrow columns: read once, checked against a schema, evaluated to a bitmap.
//!
//! No IO, no async, no panics on any input; errors never repeat the filter's text.
//!
//! ```
//! use std::sync::Arc;
//!
//! use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
//! use custody_filter::{FieldType, Filter, Params, Schema};
//!
//! let schema = Schema::new().primary("id", FieldType::Int64).field("name", FieldType::VarChar);
//! let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
//! let names: ArrayRef = Arc::new(StringArray::from(vec!["ada", "grace", "alan"]));
//! let batch = RecordBatch::try_from_iter([("id", ids), ("name", names)])?;
//!
//! let filter = Filter::parse("id > 1 and name like 'a%'", &schema, &Params::new())?;
//! let found = filter.evaluate(&batch, 3)?;
//! assert_eq!(found.set_indices().collect::<Vec<_>>(), [2]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The language
//!
//! | | |
//! |---|---|
//! | values | `5`, `-5`, `0x1f`, `0b101`, `017` (octal), `2.5`, `.5`, `1e3`, `'text'`, `"text"`, `true`, `[1, 2]`, `{placeholder}` |
//! | text escapes | `\\ \' \" \? \a \b \f \n \r \t \v \101 \x41 \u0041 \U00000041`; a backslash before anything else stays |
//! | fields | `name`, `tags[0]`, `doc["key"][0]`, `$meta["key"]`; a name outside the schema is a key of the dynamic field |
//! | comparisons | `== != < <= > >=`, ranges `1 < a <= 5`, fields with fields, `in [..]`, `not in [..]`, `like 'a%_'` |
//! | conditions | `and && or \|\| not !`, a Bool field alone, `is null`, `is not null`, `exists doc["key"]` |
//! | arithmetic | `+ - * / % **`, signs, `array_length(tags)` |
//! | lists | `array_contains(tags, x)`, `array_contains_all(tags, [..])`, `array_contains_any(tags, [..])`; `json_` alike |
//!
//! Keywords may be written in any case. From the loosest to the tightest: `or`; `and`; `not`; comparisons; `+ -`; `* / %`;
//! signs; `**`. Operators of one level group from the left, `**` too, as in Milvus. `not a == 1` is `not (a == 1)`, which
//! Milvus refuses. Where a field of the schema is spelled like a keyword, the field is meant in a value's place.
//!
//! # What is unknown
//!
//! A condition is true, false or **unknown**, as in SQL; only rows where the whole filter is true are found, and `not` of
//! unknown is unknown. So does Milvus since its pull requests 46939 (null), 50702 (JSON) and 50979 (elements); older
//! releases found rows without the key by `doc["key"] != 1`. Unknown is every comparison, `in`, `like` and `contains` of
//! - a null, a missing key, a JSON null, an element beyond the list's end;
//! - a JSON value of another kind than what it is compared with (`in`: than any value of the list), under `!=` too;
//! - arithmetic without a result: a division by zero, an integer beyond 64 bits, a float that is not finite.
//!
//! `is null` and `exists` are never unknown: for a JSON path both take a missing key and a JSON null for the same.
//!
//! # How values compare
//!
//! - Integers and floats compare exactly, also above 2^53. A literal beside a Float (32-bit) field is rounded to 32 bits
//!   first, as in Milvus, so that `price == 0.1` finds what was stored as 0.1.
//! - Integer arithmetic stays in 64 bits, `/` truncates towards zero, `%` has the sign of its left side; `**` is in
//!   Double always. A literal zero as divisor is refused.
//! - Text compares by bytes. `_` in `like` is one character; `\%`, `\_` and `\\` are literal.
//! - Bool and lists have no order. Lists are equal element by element. A JSON integer beyond Int64 is a Double.
//! - Values whose types can never be equal (`name < 5`) are refused when the filter is read.
//!
//! Limits: [`MAX_TEXT`], [`MAX_VALUES`], [`MAX_CONDITIONS`], [`MAX_DEPTH`], [`MAX_PATHS`], [`MAX_STEPS`],
//! [`MAX_INNER_LISTS`], [`MAX_WILD`]. Within them a filter may still be slow over many rows: run it off the async threads.

mod bits;
mod build;
mod check;
mod column;
mod error;
mod evaluate;
mod expression;
mod filter;
mod json;
mod like;
mod limits;
mod list;
mod params;
mod parser;
mod schema;
mod set;
mod text_literal;
mod token;
mod value;

pub use column::Columns;
pub use error::FilterError;
pub use filter::{Filter, PrimaryKeys};
pub use limits::{MAX_CONDITIONS, MAX_DEPTH, MAX_INNER_LISTS, MAX_PATHS, MAX_STEPS, MAX_TEXT, MAX_VALUES, MAX_WILD};
pub use params::Params;
pub use schema::{FieldType, Schema};
