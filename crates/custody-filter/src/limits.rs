//! How large a filter may be.

/// The longest text of a filter, in bytes: enough for a list of 100,000 long keys with room to spare.
pub const MAX_TEXT: usize = 16 << 20;

/// The most values in all lists of a filter together, placeholders' included.
pub const MAX_VALUES: usize = 1_000_000;

/// The most conditions in a filter.
pub const MAX_CONDITIONS: usize = 100_000;

/// How deep expressions may nest. A pair of parentheses takes one level, or two behind an operator.
pub const MAX_DEPTH: usize = 256;

/// The most different paths into JSON and dynamic fields.
pub const MAX_PATHS: usize = 16_384;

/// The most lists within a list.
pub const MAX_INNER_LISTS: usize = 1_000;

/// The most characters between two `%` of a pattern with `_`, which is searched for in the plainest way.
pub const MAX_WILD: usize = 256;

/// The most steps in a path such as `a["b"][0]`.
pub const MAX_STEPS: usize = 64;
