//! Which row a planned INSERT makes of its parameters, without running it.
//!
//! Starting and ending the executor takes several times as long as what it does for one row. Where the plan is an INSERT of
//! one row of expressions over parameters, and the expressions are simple, their compiled form is kept with the plan
//! (PL/pgSQL does so with its simple expressions), and it is PostgreSQL still who analyzes, plans and
//! invalidates.
//!
//! **Simple** is what calls no code that looks names up or reads tables: parameters, constants, and functions for which the
//! caller vouches. So evaluating needs no search path of its own, can't come back to
//! the same expression, and leaves nothing behind in the transaction; that is why the compiled form outlives it.

use super::list;
use super::plan::{Connection, Parameter, Plan};
use super::raw;
use pgrx::pg_sys::{self, NodeTag, Oid};
use std::rc::Rc;

/// The columns of a table's row, made of parameters.
pub struct RowValues {
    /// Keeps the next alive.
    _plan: Rc<Plan>,
    /// Of the plan, which has one statement.
    source: *mut pg_sys::CachedPlanSource,
    generation: i32,
    pub(super) relation: Oid,
    /// Holds everything below.
    memory: Memory,
    columns: Vec<ColumnValue>,
    parameters: pg_sys::ParamListInfo,
    context: *mut pg_sys::ExprContext,
}

/// How one column is made.
struct ColumnValue {
    state: *mut pg_sys::ExprState,
    /// Numbers of the parameters that it is made of.
    parameters: Vec<usize>,
}

/// Memory that is freed when dropped.
struct Memory(pg_sys::MemoryContext);

impl RowValues {
    /// `None` if the plan is another one. `is_simple` vouches for a function: see above. The caller is whoever writes the row;
    /// that it may call the functions is checked now.
    pub fn of(
        _connection: &Connection<'_>,
        plan: &Rc<Plan>,
        is_simple: impl Fn(Oid) -> bool,
    ) -> Option<Self> {
        // SAFETY: the plan is kept, so the resource owner counts the use that ends here; its nodes are copied before that. What
        // is compiled lives in the context that goes with it.
        unsafe {
            let source =
                list::nodes::<pg_sys::CachedPlanSource>(pg_sys::SPI_plan_get_plan_sources(plan.0)).next()?;
            let planned = pg_sys::SPI_plan_get_cached_plan(plan.0);
            if planned.is_null() {
                return None;
            }
            let found = list::nodes::<pg_sys::PlannedStmt>((*planned).stmt_list)
                .next()
                .and_then(|statement| row_of_insert(statement));
            let made = found.and_then(|(relation, row)| {
                let mut inner = row.inner;
                let columns: Vec<(*mut pg_sys::Expr, Vec<usize>)> = row
                    .columns
                    .into_iter()
                    .map(|column| {
                        let mut copy = copied(column);
                        let mut numbers = Vec::new();
                        simple(&mut copy, &mut inner, &is_simple, &mut numbers).then_some((copy, numbers))
                    })
                    .collect::<Option<_>>()?;
                let (columns, parameters): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
                let compiled = Self::compiled((*source).param_types, (*source).num_params, &columns);
                Some((relation, compiled, parameters))
            });
            pg_sys::ReleaseCachedPlan(planned, pg_sys::CurrentResourceOwner);
            let (relation, (memory, list, context, states), parameters) = made?;
            Some(Self {
                source,
                generation: (*source).generation,
                relation,
                memory,
                columns: std::iter::zip(states, parameters)
                    .map(|(state, parameters)| ColumnValue { state, parameters })
                    .collect(),
                parameters: list,
                context,
                _plan: Rc::clone(plan),
            })
        }
    }

    /// # Safety
    /// As many types as `count`; the expressions are planned.
    unsafe fn compiled(
        types: *mut Oid,
        count: i32,
        columns: &[*mut pg_sys::Expr],
    ) -> (
        Memory,
        pg_sys::ParamListInfo,
        *mut pg_sys::ExprContext,
        Vec<*mut pg_sys::ExprState>,
    ) {
        // SAFETY: everything is allocated in the new context, and the caller's is current again afterwards. Until all is well
        // the context belongs to the caller's, with which it goes if anything raises.
        unsafe {
            let memory = Memory(pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"pg_encrypt row".as_ptr(),
                pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
                pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            ));
            let caller = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = memory.0;
            let list = pg_sys::makeParamList(count);
            for n in 0..count as usize {
                let parameter = (*list).params.as_mut_ptr().add(n);
                (*parameter).ptype = *types.add(n);
                (*parameter).pflags = pg_sys::PARAM_FLAG_CONST as u16;
            }
            let context = pg_sys::CreateStandaloneExprContext();
            (*context).ecxt_param_list_info = list;
            let states = columns
                .iter()
                .map(|column| pg_sys::ExecInitExprWithParams(copied(*column), list))
                .collect();
            pg_sys::CurrentMemoryContext = caller;
            pg_sys::MemoryContextSetParent(memory.0, pg_sys::CacheMemoryContext);
            (memory, list, context, states)
        }
    }

    /// Whether nothing that the statement is about has changed since it was planned. Asked under a lock on the table.
    pub(super) fn is_valid(&self) -> bool {
        // SAFETY: valid as long as the plan, which is ours. A plan that was made anew has another generation.
        unsafe {
            let plan = (*self.source).gplan;
            (*self.source).is_valid
                && (*self.source).generation == self.generation
                && !plan.is_null()
                && (*plan).is_valid
        }
    }

    /// Memory that lives as long.
    pub(super) fn memory(&self) -> pg_sys::MemoryContext {
        self.memory.0
    }

    /// How many columns the table has, those that were dropped included.
    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// Whether a column (from 0) is made of a parameter for which this holds.
    pub(super) fn depends(&self, column: usize, on: impl Fn(usize) -> bool) -> bool {
        self.columns[column].parameters.iter().any(|number| on(*number))
    }

    /// Makes the columns (from 0) that are `wanted`, and hands each over. They are valid until the next time.
    pub(super) fn make(
        &self,
        values: &[Parameter],
        wanted: impl Fn(usize) -> bool,
        mut column: impl FnMut(usize, Parameter),
    ) {
        // SAFETY: the list has as many parameters as the statement, and they are set from as many values at most. No code that
        // is called comes back here, by `of`. After an error the rest of what was made is freed the next time.
        unsafe {
            self.forget();
            for n in 0..(*self.parameters).numParams as usize {
                let parameter = (*self.parameters).params.as_mut_ptr().add(n);
                let value = values.get(n).copied().flatten();
                (*parameter).isnull = value.is_none();
                (*parameter).value = value.unwrap_or(pg_sys::Datum::null());
            }
            let caller = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = (*self.context).ecxt_per_tuple_memory;
            for (n, ColumnValue { state, .. }) in self.columns.iter().enumerate() {
                if let (true, Some(evaluate)) = (wanted(n), (**state).evalfunc) {
                    let mut is_null = false;
                    let (state, context) = (*state, self.context);
                    let value = pg_sys::ffi::pg_guard_ffi_boundary(|| evaluate(state, context, &mut is_null));
                    column(n, (!is_null).then_some(value));
                }
            }
            pg_sys::CurrentMemoryContext = caller;
        }
    }

    /// Frees what was made: it may be plaintext. After an error the next [`Self::make`] does.
    pub(super) fn forget(&self) {
        // SAFETY: our own context, to whose memory nobody points any more. Freeing raises nothing.
        unsafe { raw::MemoryContextReset((*self.context).ecxt_per_tuple_memory) };
    }
}

/// A row as it is planned.
struct PlannedRow {
    columns: Vec<*mut pg_sys::Expr>,
    /// What their variables stand for, if they were planned in two steps: the columns of an INSERT ... SELECT whose types have
    /// yet to be brought to those of the table, by length for example.
    inner: Vec<Option<*mut pg_sys::Expr>>,
}

/// Table and row of an INSERT of one row that is made of nothing but parameters.
///
/// # Safety
/// A planned statement.
unsafe fn row_of_insert(statement: *mut pg_sys::PlannedStmt) -> Option<(Oid, PlannedRow)> {
    // SAFETY: the tags tell which nodes these are; PostgreSQL's headers what their lists hold.
    unsafe {
        let top = (*statement).planTree;
        let is_insert = (*statement).commandType == pg_sys::CmdType::CMD_INSERT
            && (*statement).subplans.is_null()
            && (*top).type_ == NodeTag::T_ModifyTable;
        if !is_insert {
            return None;
        }
        let insert = top.cast::<pg_sys::ModifyTable>();
        if !(*insert).returningLists.is_null() || !(*insert).onConflictSet.is_null() {
            return None;
        }
        let mut targets = list::integers((*insert).resultRelations);
        let number = targets.next().filter(|_| targets.next().is_none())?;
        let table = list::nodes::<pg_sys::RangeTblEntry>((*statement).rtable)
            .nth(usize::try_from(number).ok()?.checked_sub(1)?)?;
        let source = (*top).lefttree;
        let row = match (*source).type_ {
            NodeTag::T_SubqueryScan if (*source).qual.is_null() => PlannedRow {
                columns: columns(source)?,
                inner: columns_of_result((*source.cast::<pg_sys::SubqueryScan>()).subplan)?
                    .into_iter()
                    .map(Some)
                    .collect(),
            },
            _ => PlannedRow {
                columns: columns_of_result(source)?,
                inner: vec![],
            },
        };
        Some(((*table).relid, row))
    }
}

/// The columns of a single row, which comes from no table.
///
/// # Safety
/// A plan.
unsafe fn columns_of_result(plan: *mut pg_sys::Plan) -> Option<Vec<*mut pg_sys::Expr>> {
    // SAFETY: the tag tells which node it is.
    unsafe {
        let is_row = (*plan).type_ == NodeTag::T_Result
            && (*plan).lefttree.is_null()
            && (*plan).qual.is_null()
            && (*plan.cast::<pg_sys::Result>()).resconstantqual.is_null();
        if is_row { columns(plan) } else { None }
    }
}

/// # Safety
/// A plan.
unsafe fn columns(plan: *mut pg_sys::Plan) -> Option<Vec<*mut pg_sys::Expr>> {
    // SAFETY: a target list holds entries.
    unsafe {
        list::nodes::<pg_sys::TargetEntry>((*plan).targetlist)
            .enumerate()
            .map(|(n, entry)| {
                (!(*entry).resjunk && (*entry).resno as usize == n + 1).then_some((*entry).expr)
            })
            .collect()
    }
}

/// # Safety
/// An expression.
unsafe fn copied(expression: *mut pg_sys::Expr) -> *mut pg_sys::Expr {
    // SAFETY: per contract; the copy is in the current memory.
    unsafe { pg_sys::copyObjectImpl(expression.cast_const().cast()).cast() }
}

/// Whether an expression is simple. Puts what variables stand for in their place, each once, since a function may be
/// volatile; collects the numbers of parameters.
///
/// # Safety
/// `place` holds a planned expression that may be changed, or null.
unsafe fn simple(
    place: *mut *mut pg_sys::Expr,
    inner: &mut [Option<*mut pg_sys::Expr>],
    function: &impl Fn(Oid) -> bool,
    parameters: &mut Vec<usize>,
) -> bool {
    // SAFETY: the tag tells which node it is; arguments are lists of expressions, whose cells are pointers to them.
    unsafe {
        let node = *place;
        if node.is_null() {
            return false;
        }
        let mut all =
            |arguments| list::places(arguments).all(|argument| simple(argument, inner, function, parameters));
        match (*node).type_ {
            NodeTag::T_Const => true,
            NodeTag::T_Param => {
                let node = node.cast::<pg_sys::Param>();
                parameters.push((*node).paramid as usize);
                (*node).paramkind == pg_sys::ParamKind::PARAM_EXTERN
            }
            NodeTag::T_Var => {
                let number = usize::try_from((*node.cast::<pg_sys::Var>()).varattno).unwrap_or(0);
                let stands_for = number.checked_sub(1).and_then(|n| inner.get_mut(n)?.take());
                let Some(stands_for) = stands_for else {
                    return false;
                };
                *place = copied(stands_for);
                // No variables in there.
                simple(place, &mut [], function, parameters)
            }
            NodeTag::T_RelabelType => {
                let node = node.cast::<pg_sys::RelabelType>();
                simple(&raw mut (*node).arg, inner, function, parameters)
            }
            NodeTag::T_FuncExpr => {
                let node = node.cast::<pg_sys::FuncExpr>();
                !(*node).funcretset && function((*node).funcid) && all((*node).args)
            }
            NodeTag::T_OpExpr => {
                let node = node.cast::<pg_sys::OpExpr>();
                !(*node).opretset && function((*node).opfuncid) && all((*node).args)
            }
            NodeTag::T_CoerceViaIO => {
                let node = node.cast::<pg_sys::CoerceViaIO>();
                let (mut output, mut input, mut element, mut is_varlena) =
                    (Oid::INVALID, Oid::INVALID, Oid::INVALID, false);
                pg_sys::getTypeOutputInfo(pg_sys::exprType((*node).arg.cast()), &mut output, &mut is_varlena);
                pg_sys::getTypeInputInfo((*node).resulttype, &mut input, &mut element);
                function(output)
                    && function(input)
                    && simple(&raw mut (*node).arg, inner, function, parameters)
            }
            _ => false,
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: our own context, which nobody else uses.
            unsafe { pg_sys::MemoryContextDelete(self.0) };
        }
    }
}
