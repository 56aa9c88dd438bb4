//! What a literal is for, asked by an input function while the parser reads it.

use pgrx::pg_sys::{self, ParseExprKind::*};

/// Whether the statement that is being parsed only compares or tests what it reads here: a condition, from which nothing
/// gets into a row. False outside of the parser, so for parameters and COPY, and wherever else it can't be known.
pub fn is_in_condition() -> bool {
    // SAFETY: the parser pushes a callback of its own onto the stack of error contexts while it calls an input function,
    // with its state as argument. That callback is no symbol of the server's; which function it is shows by having
    // PostgreSQL push one more, and take it away again. Other callbacks have other arguments and are not looked into.
    unsafe {
        let top = pg_sys::error_context_stack;
        let mut ours = pg_sys::ParseCallbackState::default();
        pg_sys::setup_parser_errposition_callback(&mut ours, std::ptr::null_mut(), 0);
        let parsers = ours.errcallback.callback;
        pg_sys::cancel_parser_errposition_callback(&mut ours);
        if top.is_null() || !same(parsers, (*top).callback) {
            return false;
        }
        let state: *const pg_sys::ParseCallbackState = (*top).arg.cast();
        let parse = (*state).pstate;
        !parse.is_null() && is_condition((*parse).p_expr_kind)
    }
}

type Callback = Option<unsafe extern "C-unwind" fn(*mut core::ffi::c_void)>;

fn same(a: Callback, b: Callback) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => std::ptr::fn_addr_eq(a, b),
        _ => false,
    }
}

fn is_condition(kind: pg_sys::ParseExprKind::Type) -> bool {
    matches!(
        kind,
        EXPR_KIND_WHERE
            | EXPR_KIND_HAVING
            | EXPR_KIND_FILTER
            | EXPR_KIND_JOIN_ON
            | EXPR_KIND_MERGE_WHEN
            | EXPR_KIND_CHECK_CONSTRAINT
            | EXPR_KIND_DOMAIN_CHECK
            | EXPR_KIND_INDEX_PREDICATE
            | EXPR_KIND_TRIGGER_WHEN
            | EXPR_KIND_POLICY
    )
}
