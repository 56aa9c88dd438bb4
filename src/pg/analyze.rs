//! ANALYZE's interface for types with statistics of their own (`typanalyze`).

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::{self, Datum, Oid};

/// Bytes of the widest value that is kept as a most common one (analyze.c's WIDTH_THRESHOLD).
const WIDEST: usize = 1024;

/// A sample of one column.
pub struct Sample {
    stats: *mut pg_sys::VacAttrStats,
    fetch: unsafe extern "C-unwind" fn(*mut pg_sys::VacAttrStats, i32, *mut bool) -> Datum,
    len: usize,
    total_rows: f64,
}

impl Sample {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Estimated number of rows of the table.
    pub fn total_rows(&self) -> f64 {
        self.total_rows
    }

    /// How many most common values are wanted.
    pub fn wanted(&self) -> usize {
        // SAFETY: valid during ANALYZE. The column's own target or the default was put there before.
        unsafe { target(self.stats).max(1) as usize }
    }

    /// The n-th value; `None` for NULL.
    pub fn value(&self, n: usize) -> Option<Datum> {
        let mut is_null = false;
        // SAFETY: ANALYZE's own function, with a position in the sample. pgrx guards no function pointers, so we do.
        let datum = unsafe {
            let (fetch, stats) = (self.fetch, self.stats);
            pg_sys::ffi::pg_guard_ffi_boundary(|| fetch(stats, n as i32, &mut is_null))
        };
        (!is_null).then_some(datum)
    }

    /// Bytes that a varlena takes as it is stored.
    pub fn width(&self, value: Datum) -> usize {
        // SAFETY: a varlena, by its type.
        unsafe { pg_sys::toast_datum_size(value) }
    }
}

/// What goes into `pg_statistic`.
#[derive(Default)]
pub struct Statistics {
    pub null_fraction: f32,
    pub width: i32,
    /// As `stadistinct`; 0 is unknown.
    pub distinct: f32,
    /// Positions in the sample and shares of all rows.
    pub most_common: Vec<(usize, f32)>,
}

/// What a type's ANALYZE does with a sample.
pub trait Look {
    type Error: Into<ErrorReport>;
    fn look(sample: &Sample) -> Result<Statistics, Self::Error>;
}

/// Tells ANALYZE to look at the column as `L` does; what a `typanalyze` function does.
pub fn set_up<L: Look>(stats: Datum) {
    let stats: *mut pg_sys::VacAttrStats = stats.cast_mut_ptr();
    // SAFETY: typanalyze functions get a VacAttrStats.
    unsafe {
        (*stats).compute_stats = Some(compute::<L>);
        // As std_typanalyze: enough rows for the error that its comment derives.
        (*stats).minrows = 300 * target(stats).max(1);
    }
}

/// Called by ANALYZE with a sample of `rows` rows.
unsafe extern "C-unwind" fn compute<L: Look>(
    stats: *mut pg_sys::VacAttrStats,
    fetch: pg_sys::AnalyzeAttrFetchFunc,
    rows: i32,
    total_rows: f64,
) {
    let Some(fetch) = fetch else { return };
    if rows <= 0 {
        return;
    }
    // SAFETY: the arguments are ANALYZE's; the guard keeps panics from crossing into C.
    unsafe {
        pg_sys::panic::pgrx_extern_c_guard(|| {
            let sample = Sample {
                stats,
                fetch,
                len: rows as usize,
                total_rows,
            };
            let found = match L::look(&sample) {
                Ok(found) => found,
                Err(error) => {
                    let report: ErrorReport = error.into();
                    report.report(pgrx::PgLogLevel::ERROR);
                    unreachable!("ERROR does not return")
                }
            };
            (*stats).stats_valid = true;
            (*stats).stanullfrac = found.null_fraction;
            (*stats).stawidth = found.width;
            (*stats).stadistinct = found.distinct;
            if let (Some(equality), false) = (
                equality_operator((*stats).attrtypid),
                found.most_common.is_empty(),
            ) {
                store_most_common(stats, &sample, &found.most_common, equality);
            }
        })
    }
}

/// Fills slot 0 as `STATISTIC_KIND_MCV`.
unsafe fn store_most_common(
    stats: *mut pg_sys::VacAttrStats,
    sample: &Sample,
    common: &[(usize, f32)],
    equality: Oid,
) {
    // SAFETY: as in `compute`; both arrays have as many entries as we write.
    unsafe {
        let caller = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = (*stats).anl_context;
        let values = pg_sys::palloc(std::mem::size_of::<Datum>() * common.len()).cast::<Datum>();
        let shares = pg_sys::palloc(std::mem::size_of::<f32>() * common.len()).cast::<f32>();
        let mut stored = 0;
        for (position, share) in common {
            // As PostgreSQL does, wide values are left out: statistics are read at every planning.
            if let Some(value) = sample
                .value(*position)
                .filter(|value| sample.width(*value) <= WIDEST)
            {
                let copy = pg_sys::pg_detoast_datum_copy(value.cast_mut_ptr());
                values.add(stored).write(Datum::from(copy));
                shares.add(stored).write(*share);
                stored += 1;
            }
        }
        pg_sys::CurrentMemoryContext = caller;
        // A kind of statistics without values is one that PostgreSQL fails to read.
        if stored == 0 {
            return;
        }
        (*stats).stakind[0] = pg_sys::STATISTIC_KIND_MCV as i16;
        (*stats).staop[0] = equality;
        (*stats).stacoll[0] = (*stats).attrcollid;
        (*stats).stanumbers[0] = shares;
        (*stats).numnumbers[0] = stored as i32;
        (*stats).stavalues[0] = values;
        (*stats).numvalues[0] = stored as i32;
    }
}

/// The column's statistics target, or the default where it has none.
unsafe fn target(stats: *mut pg_sys::VacAttrStats) -> i32 {
    // SAFETY: per the callers.
    unsafe {
        #[cfg(feature = "pg15")]
        let target = (*(*stats).attr).attstattarget;
        #[cfg(feature = "pg16")]
        let target = i32::from((*(*stats).attr).attstattarget);
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        let target = (*stats).attstattarget;
        if target < 0 {
            pg_sys::default_statistics_target
        } else {
            target
        }
    }
}

/// The equality operator of a type's default class, which most common values are stored with.
fn equality_operator(type_oid: Oid) -> Option<Oid> {
    // SAFETY: the type cache entry lives as long as the process.
    let operator = unsafe { (*pg_sys::lookup_type_cache(type_oid, pg_sys::TYPECACHE_EQ_OPR as i32)).eq_opr };
    (operator != pg_sys::InvalidOid).then_some(operator)
}
