//! All contact with PostgreSQL's C interface that needs `unsafe`, behind types that can't be misused. Nothing here
//! knows a business word: no keys, no ciphertext.
//!
//! | module | answers |
//! |---|---|
//! | [`call`] | how does SQL call a Rust function, read its arguments, return a value? |
//! | [`site`] | what may a call remember for the next call from the same place in the same plan? |
//! | [`column`] | which column does a reference mean, and how is it written? |
//! | [`executor`] | pieces of the executor, for those who do without it |
//! | [`identity`] | running statements as somebody else |
//! | [`inval`] | when did something that we cached change? when did a transaction end? |
//! | [`errcode`] | of which class is an SQLSTATE? |
//! | [`error_names`] | which table and constraint does an error name that passes through? |
//! | [`index_statement`] | which columns does CREATE INDEX CONCURRENTLY index, and how? |
//! | [`ddl_command`] | what did a DDL command do? |
//! | [`list`] | what is in a list of PostgreSQL's? |
//! | [`literal`] | is the literal that is being read compared, or stored? |
//! | [`lock`] | locks on tables, and on things that are no relations |
//! | [`modifier`] | what does a type modifier mean, and what does it make of a value? |
//! | [`plan`] | statements that are planned once and run often |
//! | [`transition`] | which rows did a statement change? |
//! | [`planner`] | in which order does a statement bring equal values together? |
//! | [`proc`] | what does the catalog say about a function? |
//! | [`raw`] | which functions are called without a guard of their own? |
//! | [`relation`] | how large a table is, and which file it is in |
//! | [`row_values`] | which row does a planned INSERT make of its parameters? |
//! | [`row_writer`] | how is one row written without the executor? |
//! | [`scan`] | how are our own tables read without SQL, snapshots of old statements, or privileges of the caller? |
//! | [`schema`] | which schema is meant? |
//! | [`settings`] | settings that differ for a moment |
//! | [`scratch`] | memory for the length of one comparison |
//! | [`sort`] | sorting by a key that is expensive to get |
//! | [`sql`] | how are fixed statements run through SPI? |
//! | [`stored_expression`] | what does an expression read whose result is stored? |
//! | [`acl`] | who is asking, and whose privileges has that role? |
//! | [`analyze`] | statistics of a type's own |
//! | [`array`] | arrays as arguments and results |
//! | [`background`] | processes of the server that are no client's |
//! | [`compare`] | a type's own order, equality and hash |
//! | [`datum`] | what is in a datum, how is one made? |
//! | [`encoding`] | text in the database's encoding, and in UTF-8 |
//! | [`transaction`] | many transactions in a row, and parts of one that may fail |
//! | [`typeio`] | any type's canonical text form and back |
//! | [`secret`] | memory for keys: locked, not dumped, wiped in forked children |
//! | [`server`] | facts about this server and process |
//! | [`server_log`] | what of an error goes to the server's log? |
//! | [`wait`] | waiting that a user can cancel |
//! | [`xact`] | waiting for other transactions |

pub mod acl;
pub mod analyze;
pub mod array;
pub mod background;
#[macro_use]
pub mod call;
pub mod column;
pub mod compare;
pub mod datum;
pub mod ddl_command;
pub mod encoding;
pub mod errcode;
pub mod error_names;
mod executor;
pub mod identity;
pub mod index_statement;
pub mod inval;
mod list;
pub mod literal;
pub mod lock;
pub mod modifier;
pub mod plan;
pub mod planner;
pub mod proc;
mod raw;
pub mod relation;
pub mod row_values;
pub mod row_writer;
pub mod scan;
pub mod schema;
pub mod scratch;
pub mod secret;
pub mod server;
pub mod server_log;
pub mod settings;
pub mod site;
pub mod sort;
pub mod sql;
pub mod stored_expression;
pub mod transaction;
pub mod transition;
pub mod trigger;
pub mod typeio;
pub mod wait;
pub mod xact;

/// The description of one column (from 0). From 18 on a tuple descriptor has a compact form in front of it.
///
/// # Safety
/// `descriptor` must be valid and have more than `n` columns.
pub(crate) unsafe fn tuple_attribute(
    descriptor: pgrx::pg_sys::TupleDesc,
    n: usize,
) -> *const pgrx::pg_sys::FormData_pg_attribute {
    // SAFETY: per contract.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        {
            (*descriptor).attrs.as_ptr().add(n)
        }
        #[cfg(feature = "pg18")]
        {
            // TupleDescAttr() is an inline function: the attributes follow the array of their compact forms.
            let attributes = (*descriptor)
                .compact_attrs
                .as_ptr()
                .add((*descriptor).natts as usize);
            attributes.cast::<pgrx::pg_sys::FormData_pg_attribute>().add(n)
        }
    }
}
