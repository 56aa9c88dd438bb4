-- What a topic has found.
\pset footer off
\pset null ''
select exists (select from bench.works) as has_works, exists (select from bench.comparisons) as has_comparisons,
       exists (select from bench.facts) as has_facts \gset

\if :has_works
select case when lag(work) over by_work is distinct from work then work else '' end as work,
       case when lag(work) over by_work is distinct from work then "pg_encrypt ns" end as "pg_encrypt ns",
       peer, "peer ns", ratio, goal, case when ok then 'yes' when not ok then 'NO' end as ok
from bench.report
window by_work as (order by work_ord, peer_ord)
order by work_ord, peer_ord;
\endif

\if :has_comparisons
select work, round(encrypted_ns) as "encrypted ns", round(plain_ns) as "plain ns",
       case unit when 'times' then round(measured, 2) else round(measured) end as measured, unit, round(at_most, 2) as "at most",
       case when ok then 'yes' else 'NO' end as ok
from bench.comparison_report
order by ord;
\endif

\if :has_facts
select fact, round(measured, 2) as measured, unit, trim_scale(round(at_most, 2)) as "at most",
       case when measured <= at_most then 'yes' else 'NO' end as ok
from bench.facts
order by ord;
\endif
